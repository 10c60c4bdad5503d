//! An entity's view as a principal sees it, as a query over its table with masked cells NULL.
//!
//! Owns: the attributes, worked out by hand. Never: asks the engine how it expands a view.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::data::{self, Row, Value, next_source, place, whole};
use super::policy::{Admission, Rule, Sees, View, Visible, mask_of, rules, view};

/// The attributes: name, the column it is computed from, its type, SQL over `entity` and `kinds`.
const ATTRIBUTES: [(&str, &str, DataType, &str); 4] = [
    ("label", "label", DataType::Utf8, "kinds.label"),
    ("tag", "word", DataType::Utf8, "concat('+', entity.word)"),
    ("rank", "kind", DataType::Int64, "entity.kind"),
    ("since", "day", DataType::Date32, "entity.day"),
];

/// `attributes` of an entity in the project.
pub fn yaml(source: &str) -> String {
    format!("      label: {source}.d.label\n      tag: concat('+', word)\n      rank: kind\n      since: day\n")
}

impl Sees<'_> {
    /// The view: an attribute is NULL on rows where the column it is computed from is not clear, and is not there where
    /// the column is not.
    pub fn view(&self) -> Visible {
        let client = self.table(self.source, "client");
        let rules = rules(self.shape, "client");
        let exists = |column: &str| client.columns.iter().any(|(name, _)| name == column);
        let mut columns = vec![("id".to_owned(), DataType::Int64)];
        let mut items = vec!["entity.id AS id".to_owned()];
        for (name, column, data_type, sql) in ATTRIBUTES {
            if column != "label" && !exists(column) {
                continue;
            }
            // A policy that an empty list closes shows nothing.
            let open = |rule: &&Rule| rule.admission != Admission::Listed || self.share > 0;
            let shown = rules.iter().filter(open).filter(|rule| shows(rule, column)).count();
            items.push(match shown {
                _ if column == "label" => format!("{sql} AS {name}"),
                0 if !rules.is_empty() => format!("{} AS {name}", null(&data_type)),
                _ if shown == rules.len() => format!("{sql} AS {name}"),
                _ => format!("CASE WHEN entity.{column}_clear THEN {sql} END AS {name}"),
            });
            columns.push((name.to_owned(), data_type));
        }
        let next = next_source(self.source);
        let mut states = vec![(self.source, format!("'present' AS {}_state", self.source))];
        if self.state_in_next(None).is_some() {
            states.push((next, format!("entity.next_state AS {next}_state")));
        }
        states.sort_unstable();
        for (source, item) in states {
            items.push(item);
            columns.push((format!("{source}_state"), DataType::Utf8));
        }
        let base = self.base(&client, &rules);
        let name = view(self.source);
        let source = self.source;
        Visible {
            schema: "unified".to_owned(),
            table: name.clone(),
            columns,
            enforced: false,
            rows: client.rows.clone(),
            hidden: client.hidden.clone(),
            view: Some(View {
                base: Box::new(base),
                sql: format!(
                    "SELECT {} FROM entity.{name} AS entity LEFT JOIN {source}.d AS kinds ON entity.kind = kinds.id",
                    items.join(", ")
                ),
            }),
        }
    }

    /// The entity's table: masked cells are NULL, and beside each column stands whether it is clear; last, what the next
    /// source has of the client.
    fn base(&self, client: &Visible, rules: &[Rule]) -> Visible {
        let all = data::columns("client");
        let raw: BTreeMap<i64, &Row> = self
            .data
            .rows(self.source, "client")
            .iter()
            .filter_map(|row| Some((whole(row, 0)?, row)))
            .collect();
        let names: Vec<&str> = ["id", "kind", "word", "day"]
            .into_iter()
            .filter(|name| client.columns.iter().any(|(column, _)| column == name))
            .collect();
        let rows = client
            .rows
            .iter()
            .filter_map(|row| raw.get(&whole(row, 0)?))
            .map(|row| {
                let bucket = whole(row, place(all, "bucket"));
                let admitting: Vec<&Rule> = rules
                    .iter()
                    .filter(|rule| rule.admission.admits(bucket, self.share))
                    .collect();
                let clear = |name: &str| rules.is_empty() || admitting.iter().any(|rule| shows(rule, name));
                let cells = names.iter().map(|name| match clear(name) {
                    true => row[place(all, name)].clone(),
                    false => Value::Null,
                });
                let state = self.state_in_next(whole(row, 0));
                cells
                    .chain(names.iter().map(|name| Value::Bool(clear(name))))
                    .chain([state.map_or(Value::Null, |state| Value::Text(state.to_owned()))])
                    .collect()
            });
        let typed = data::arrow_columns(self.source, "client");
        let mut columns: Vec<(String, DataType)> = names.iter().map(|name| typed[place(all, name)].clone()).collect();
        columns.extend(names.iter().map(|name| (format!("{name}_clear"), DataType::Boolean)));
        columns.push(("next_state".to_owned(), DataType::Utf8));
        Visible {
            schema: "entity".to_owned(),
            table: view(self.source),
            columns,
            rows: rows.collect(),
            ..client.clone()
        }
    }
}

/// The parameter of the view's query that is NULL of that type.
fn null(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "$1",
        DataType::Int64 => "$2",
        _ => "$3",
    }
}

/// Whether a policy shows a column clear on the rows it admits.
fn shows(rule: &Rule, column: &str) -> bool {
    rule.columns.is_none_or(|listed| listed.contains(&column)) && mask_of(rule, column).is_none()
}
