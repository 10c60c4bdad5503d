//! The policies under test, twice: as the project's YAML, and as what they let a principal see, worked out from the
//! rows by hand.
//!
//! Owns: the shapes of policy, the visible copy. Never: asks the engine what is visible.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use caliber_catalog::principal::{AttributeValue, Principal};

use super::data::{self, Data, Row, SOURCES, Value, next_source, place, whole};
use super::view::yaml as attributes;
use crate::engine;

/// How a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A condition on the table's own columns.
    Predicate,
    /// Rows follow an entity through references.
    References,
    /// Rows follow an entity through holdings into another source.
    Holdings,
    /// Two policies that overlap, each with masks of its own.
    Union,
    /// The principal's list attribute.
    List,
    /// Masks: constant, NULL, SQL over the row.
    Masks,
    /// A list of columns.
    Columns,
}

/// Every shape, in the order of the configuration's values.
pub const SHAPES: [Shape; 7] = [
    Shape::Predicate,
    Shape::References,
    Shape::Holdings,
    Shape::Union,
    Shape::List,
    Shape::Masks,
    Shape::Columns,
];

/// What stands in the place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    Seven,
    Null,
    Parity,
    Initial,
    Region,
}

impl Mask {
    fn sql(self) -> &'static str {
        match self {
            Self::Seven => "'7'",
            Self::Null => "NULL",
            Self::Parity => "kind % 2",
            Self::Initial => "concat(substr(region, 1, 1), '*')",
            Self::Region => "region",
        }
    }

    fn of(self, row: &Row) -> Value {
        let columns = data::columns("t");
        match self {
            Self::Seven => Value::Text("7".to_owned()),
            Self::Null => Value::Null,
            Self::Parity => whole(row, place(columns, "kind")).map_or(Value::Null, |kind| Value::Int(kind % 2)),
            Self::Initial => match row.get(place(columns, "region")) {
                Some(Value::Text(region)) => Value::Text(format!("{}*", region.chars().take(1).collect::<String>())),
                _ => Value::Text("*".to_owned()),
            },
            Self::Region => row.get(place(columns, "region")).cloned().unwrap_or(Value::Null),
        }
    }
}

/// A condition on `bucket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Below,
    NotAbove,
    BelowUpper,
    Between,
    Listed,
}

impl Admission {
    fn sql(self) -> &'static str {
        match self {
            Self::Below => "bucket < principal.share AND (kind IS NULL OR kind >= 0)",
            Self::NotAbove => "NOT (bucket >= principal.share)",
            Self::BelowUpper => "bucket < principal.upper",
            Self::Between => "bucket >= principal.lower AND bucket < principal.share",
            Self::Listed => "bucket IN (principal.buckets)",
        }
    }

    /// Whether it admits a row of that bucket.
    pub fn admits(self, bucket: Option<i64>, share: i64) -> bool {
        bucket.is_some_and(|bucket| match self {
            Self::Below | Self::NotAbove | Self::Listed => bucket < share,
            Self::BelowUpper => bucket < upper(share),
            Self::Between => bucket >= lower(share) && bucket < share,
        })
    }
}

fn upper(share: i64) -> i64 {
    (share * 2 + 2) / 3
}

fn lower(share: i64) -> i64 {
    share / 3
}

/// One policy on `t` and `client`.
pub(super) struct Rule {
    pub admission: Admission,
    pub masks: &'static [(&'static str, Mask)],
    pub columns: Option<&'static [&'static str]>,
}

const LISTED: &[&str] = &["id", "owner", "kind", "region", "word", "amount"];
const NO_DAY: &[&str] = &[
    "id", "bucket", "owner", "kind", "region", "word", "amount", "flag", "code",
];

/// The policies of a shape that names no entity, in their order; empty for one that does.
pub(super) fn rules(shape: Shape, table: &str) -> Vec<Rule> {
    let rule = |admission| Rule {
        admission,
        masks: &[],
        columns: None,
    };
    match shape {
        Shape::Predicate if table == "client" => vec![rule(Admission::NotAbove)],
        Shape::Predicate => vec![rule(Admission::Below)],
        Shape::List => vec![rule(Admission::Listed)],
        Shape::Masks => vec![Rule {
            masks: &[
                ("word", Mask::Seven),
                ("amount", Mask::Null),
                ("kind", Mask::Parity),
                ("region", Mask::Initial),
            ],
            ..rule(Admission::Below)
        }],
        Shape::Columns => vec![Rule {
            columns: Some(LISTED),
            ..rule(Admission::Below)
        }],
        Shape::Union => vec![
            Rule {
                masks: &[("word", Mask::Seven), ("region", Mask::Initial)],
                ..rule(Admission::BelowUpper)
            },
            Rule {
                masks: &[("amount", Mask::Null), ("word", Mask::Region)],
                columns: Some(NO_DAY),
                ..rule(Admission::Between)
            },
        ],
        Shape::References | Shape::Holdings => Vec::new(),
    }
}

/// The principal of a shape at a share, in its home source and maybe one more.
pub fn principal(shape: Shape, share: i64, sources: &[&str]) -> Principal {
    let roles: BTreeSet<String> = sources.iter().map(|source| role(shape, source)).collect();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let buckets = (0..share).map(AttributeValue::Int).collect();
    engine::principal(
        &roles,
        &[
            ("share", AttributeValue::Int(share)),
            ("upper", AttributeValue::Int(upper(share))),
            ("lower", AttributeValue::Int(lower(share))),
            ("buckets", AttributeValue::List(buckets)),
        ],
    )
}

fn role(shape: Shape, source: &str) -> String {
    format!("{shape:?}_{source}").to_lowercase()
}

/// `tables`, `entities` and `policies` of the project.
pub fn yaml() -> String {
    let mut text = String::from("tables:\n");
    for source in SOURCES {
        let next = next_source(source);
        text.push_str(&format!(
            "  {source}.client: {{ key: id, references: {{ kind: {source}.d.id }} }}
  {source}.visit: {{ references: {{ owner: {source}.client.id }} }}
  {source}.item: {{ references: {{ owner: {source}.visit.id }} }}
  {source}.holder: {{ references: {{ client_id: {source}.client.id, account_id: {next}.account.id }} }}
  {source}.entry: {{ references: {{ owner: {source}.account.id }} }}\n"
        ));
    }
    text.push_str("entities:\n");
    for source in SOURCES {
        let next = next_source(source);
        text.push_str(&format!(
            "  customer_{source}:
    table: {source}.client
    key: id
    attributes:\n{}    holdings:
      {next}.account: {{ bridge: {source}.holder, where: role = 'OWNER', rule: full_to_each }}\n",
            attributes(source)
        ));
    }
    text.push_str("policies:\n");
    for (shape, source) in SHAPES.iter().flat_map(|shape| SOURCES.map(|source| (*shape, source))) {
        match shape {
            Shape::References | Shape::Holdings => text.push_str(&entity_policy(shape, source)),
            _ => text.push_str(&table_policies(shape, source)),
        }
    }
    text
}

fn entity_policy(shape: Shape, source: &str) -> String {
    let tables: Vec<String> = names(shape, source)
        .into_iter()
        .map(|(schema, table)| format!("{schema}.{table}"))
        .collect();
    format!(
        "  {}:\n    roles: [{}]\n    tables: [{}]\n    rows: {{ customer_{source}: bucket < principal.share }}\n",
        role(shape, source),
        role(shape, source),
        tables.join(", ")
    )
}

fn table_policies(shape: Shape, source: &str) -> String {
    let mut text = String::new();
    for at in 0..rules(shape, "t").len() {
        let name = role(shape, source);
        text.push_str(&format!(
            "  {name} {at}:\n    roles: [{name}]\n    tables: [{source}.t, {source}.client, {source}.d, unified.{}]\n",
            view(source)
        ));
        let (mut rows, mut columns, mut masks) = (String::new(), String::new(), String::new());
        for table in ["t", "client"] {
            let rules = rules(shape, table);
            let Some(rule) = rules.get(at) else { continue };
            rows.push_str(&format!("      {source}.{table}: {}\n", rule.admission.sql()));
            if let Some(listed) = rule.columns {
                columns.push_str(&format!("      {source}.{table}: [{}]\n", listed.join(", ")));
            }
            for (column, mask) in rule.masks {
                masks.push_str(&format!("      {source}.{table}.{column}: \"{}\"\n", mask.sql()));
            }
        }
        for (key, lines) in [("rows", rows), ("columns", columns), ("masks", masks)] {
            if !lines.is_empty() {
                text.push_str(&format!("    {key}:\n{lines}"));
            }
        }
    }
    text
}

/// The name of an entity's view.
pub(super) fn view(source: &str) -> String {
    format!("customer_{source}_360")
}

/// The tables that a shape opens to its role of `source`, as schema and table.
fn names(shape: Shape, source: &str) -> Vec<(String, String)> {
    let next = next_source(source);
    let tables: Vec<(&str, &str)> = match shape {
        Shape::References => vec![(source, "client"), (source, "visit"), (source, "item"), (source, "d")],
        Shape::Holdings => vec![
            (source, "client"),
            (source, "holder"),
            (next, "account"),
            (next, "entry"),
            (source, "d"),
        ],
        _ => vec![(source, "t"), (source, "client"), (source, "d")],
    };
    let mut names: Vec<(String, String)> = tables
        .into_iter()
        .map(|(schema, table)| (schema.to_owned(), table.to_owned()))
        .collect();
    names.push(("unified".to_owned(), view(source)));
    names
}

/// A table as a principal sees it, its rows in the order of their keys.
#[derive(Clone, Debug)]
pub struct Visible {
    pub schema: String,
    pub table: String,
    pub columns: Vec<(String, DataType)>,
    /// The source enforces that `id` is a key; it is never NULL anyway.
    pub enforced: bool,
    pub rows: Vec<Row>,
    /// Keys of rows that nobody shows the principal: what a leak would be made of.
    pub hidden: Vec<i64>,
    /// Of an entity's view.
    pub view: Option<View>,
}

/// An entity's view as a query: over its table with masked cells NULL, and a column that says where each is clear.
#[derive(Clone, Debug)]
pub struct View {
    pub base: Box<Visible>,
    /// Over `entity.NAME`; `$1`, `$2`, `$3` stand for NULL as text, whole number and date.
    pub sql: String,
}

impl Visible {
    /// Schema and table.
    pub fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

/// Everything that the shape's role of `source` sees at a share, beside the principal's other roles.
pub fn visible(data: &Data, shape: Shape, share: i64, source: &'static str, roles: &[&str]) -> Vec<Visible> {
    let sees = Sees {
        data,
        shape,
        share,
        source,
        roles,
    };
    let mut tables: Vec<Visible> = names(shape, source)
        .iter()
        .filter(|(schema, _)| schema != "unified")
        .map(|(schema, table)| sees.table(schema, table))
        .collect();
    tables.push(sees.view());
    tables
}

/// What one role sees.
pub(super) struct Sees<'a> {
    pub data: &'a Data,
    pub shape: Shape,
    pub share: i64,
    pub source: &'static str,
    /// The sources of all of the principal's roles.
    pub roles: &'a [&'a str],
}

impl Sees<'_> {
    /// A table, under its policies.
    pub fn table(&self, schema: &str, table: &str) -> Visible {
        let all = self.data.rows(schema, table);
        let (columns, rows) = match rules(self.shape, table) {
            rules if !rules.is_empty() && matches!(table, "t" | "client") => self.under(&rules, schema, table),
            _ => {
                let rows = all.iter().filter(|row| self.admits(table, row)).cloned().collect();
                (data::arrow_columns(schema, table), rows)
            }
        };
        let shown: BTreeSet<i64> = rows.iter().filter_map(|row: &Row| whole(row, 0)).collect();
        let hidden = all
            .iter()
            .filter_map(|row| whole(row, 0))
            .filter(|id| !shown.contains(id));
        Visible {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns,
            enforced: schema != "parquet",
            rows,
            hidden: hidden.collect(),
            view: None,
        }
    }

    /// Rows under policies on the table itself: any admits; a cell is clear if a policy that admits its row shows it so.
    fn under(&self, rules: &[Rule], schema: &str, table: &str) -> (Vec<(String, DataType)>, Vec<Row>) {
        let all = data::columns(table);
        let grants = |rule: &Rule, column: &str| rule.columns.is_none_or(|listed| listed.contains(&column));
        let granted: Vec<usize> = (0..all.len())
            .filter(|at| rules.iter().any(|rule| grants(rule, all[*at].0)))
            .collect();
        let mut rows = Vec::new();
        for row in self.data.rows(schema, table) {
            let bucket = whole(row, place(all, "bucket"));
            let admitting: Vec<&Rule> = rules
                .iter()
                .filter(|rule| rule.admission.admits(bucket, self.share))
                .collect();
            if admitting.is_empty() {
                continue;
            }
            let cells = granted.iter().map(|at| {
                let name = all[*at].0;
                let showing = admitting.iter().filter(|rule| grants(rule, name));
                let masks: Vec<Option<Mask>> = showing.map(|rule| mask_of(rule, name)).collect();
                match masks.first() {
                    None => Value::Null,
                    Some(_) if masks.contains(&None) => row[*at].clone(),
                    Some(mask) => mask.map_or(Value::Null, |mask| mask.of(row)),
                }
            });
            rows.push(cells.collect());
        }
        let columns = data::arrow_columns(schema, table);
        (granted.iter().map(|at| columns[*at].clone()).collect(), rows)
    }

    /// Whether the entity's policy admits a row.
    fn admits(&self, table: &str, row: &Row) -> bool {
        let at = |column: &str| whole(row, place(data::columns(table), column));
        let share = self.share;
        match table {
            "client" => at("bucket").is_some_and(|bucket| bucket < share),
            "visit" => self.client(at("owner")),
            "item" => self.any("visit", "id", at("owner"), |visit| self.client(whole(visit, 2))),
            "holder" => self.client(at("client_id")),
            "account" => self.held(at("id")),
            "entry" => self.held(at("owner")),
            _ => true,
        }
    }

    fn client(&self, key: Option<i64>) -> bool {
        self.any("client", "id", key, |client| self.admits("client", client))
    }

    /// What the next source, which holds the clients' accounts, is known to have of a client; none where nothing of that
    /// source is open to the principal. Accounts and entries are opened by the holdings' policy alone.
    pub fn state_in_next(&self, client: Option<i64>) -> Option<&'static str> {
        let next = data::next_source(self.source);
        if self.shape != Shape::Holdings {
            return self.roles.contains(&next).then_some("denied");
        }
        let held: BTreeSet<i64> = self
            .data
            .rows(self.source, "holder")
            .iter()
            .filter(|holder| holder.get(3) == Some(&Value::Text("OWNER".to_owned())) && whole(holder, 1) == client)
            .filter_map(|holder| whole(holder, 2))
            .collect();
        let leads = |table: &str, column: &str| {
            let at = place(data::columns(table), column);
            let visible = self.data.rows(next, table).iter().filter(|row| self.admits(table, row));
            visible.filter_map(|row| whole(row, at)).any(|key| held.contains(&key))
        };
        let is_present = client.is_some() && (leads("account", "id") || leads("entry", "owner"));
        Some(if is_present { "present" } else { "no_record" })
    }

    /// Whether a visible client owns the account.
    fn held(&self, account: Option<i64>) -> bool {
        self.any("holder", "account_id", account, |holder| {
            holder.get(3) == Some(&Value::Text("OWNER".to_owned())) && self.client(whole(holder, 1))
        })
    }

    fn any(&self, table: &str, column: &str, key: Option<i64>, holds: impl Fn(&Row) -> bool) -> bool {
        let at = place(data::columns(table), column);
        key.is_some()
            && self
                .data
                .rows(self.source, table)
                .iter()
                .any(|row| whole(row, at) == key && holds(row))
    }
}

pub(super) fn mask_of(rule: &Rule, column: &str) -> Option<Mask> {
    rule.masks
        .iter()
        .find(|(name, _)| *name == column)
        .map(|(_, mask)| *mask)
}
