//! An explanation as people read it.
//!
//! Owns: the sentences and their alignment. Never: a reason that the engine did not give.

use std::fmt::Write;

use caliber_catalog::principal::Principal;
use caliber_engine::Session;
use caliber_engine::policy_tools::{
    ColumnExplanation, ColumnState, Effect, Opening, PolicyExplanation, RowRule, Shown, StatementExplanation,
    TableExplanation, ViewExplanation,
};

use super::subject::described;

/// `petr (role branch_staff, district_id = 1)`
pub fn who(principal: &Principal) -> String {
    format!("{} ({})", principal.name, described(principal))
}

/// A table: whether it exists, the policies, the rows, the columns.
pub fn table(table: &TableExplanation, principal: &Principal) -> String {
    let mut text = format!("{} for {}\n\n", table.table, who(principal));
    let opening: Vec<&PolicyExplanation> = table.policies.iter().filter(|policy| opens(&policy.effect)).collect();
    let verdict = if !table.exists {
        "It does not exist: no policy opens it.".to_owned()
    } else if opening.is_empty() {
        "It exists, and is empty: no policy that opens it gives a row.".to_owned()
    } else {
        format!(
            "It exists: {} of {} policies give rows.",
            opening.len(),
            table.policies.len()
        )
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{verdict}\n\nPolicies");
    for policy in &table.policies {
        let (mark, why) = effect(&policy.effect);
        let why = if why.is_empty() { why } else { format!(": {why}") };
        let _ = writeln!(text, "  {mark:<6}  {} ({}){why}", policy.policy, policy.place);
    }
    if table.exists && !opening.is_empty() {
        text.push_str("\nRows\n");
        if opening.len() > 1 {
            text.push_str("  A row is visible if any of these policies admits it.\n");
        }
        for policy in &opening {
            if let Effect::Opens(opening) = &policy.effect {
                let _ = writeln!(text, "  {}", policy.policy);
                for rule in row_sentences(&table.table.to_string(), opening) {
                    let _ = writeln!(text, "    {rule}");
                }
            }
        }
    }
    if table.exists {
        text.push_str("\nColumns\n");
        let masked = table.columns.iter().any(|column| column.state != ColumnState::Clear);
        if opening.len() > 1 && masked {
            text.push_str(
                "  A cell is clear if any policy that admits its row shows it clear; else the first mask applies, in the\n  order above; a column that no policy admitting the row grants is NULL there.\n",
            );
        }
        text.push_str(&columns(&table.columns));
    }
    text
}

fn opens(effect: &Effect) -> bool {
    matches!(effect, Effect::Opens(_))
}

/// What a policy does, in a word, and why.
fn effect(effect: &Effect) -> (&'static str, String) {
    match effect {
        Effect::OtherRoles { roles } => match roles.as_slice() {
            [] => ("no", "it is for nobody".to_owned()),
            [role] => ("no", format!("it is for role {role}")),
            roles => ("no", format!("it is for roles {}", roles.join(", "))),
        },
        Effect::Expired { day } => ("no", format!("it expired: its last day was {day}")),
        Effect::ConditionFails { condition, attributes } => (
            "no",
            format!("its condition does not hold: {}", with_values(condition, attributes)),
        ),
        Effect::OtherTables => ("no", "it opens other tables".to_owned()),
        Effect::NoColumn => ("no", "it lists none of the table's columns".to_owned()),
        Effect::NotTied { entity, ways } if ways.is_empty() => (
            "no",
            format!("its rows are those of {entity}, and nothing ties this table to that"),
        ),
        Effect::NotTied { entity, ways } => (
            "no",
            format!(
                "this table is tied to {entity} in more than one way: {}",
                ways.join("; ")
            ),
        ),
        Effect::Closed { reasons } => ("closed", reasons.join("; ")),
        Effect::GroupsOnly { entity, size } => (
            "groups",
            format!("numbers over at least {size} of {entity} only, never rows"),
        ),
        Effect::Opens(_) => ("opens", String::new()),
    }
}

/// The rows a policy gives, a sentence each.
fn row_sentences(table: &str, opening: &Opening) -> Vec<String> {
    let mut sentences: Vec<String> = opening.rows.iter().map(|rule| row_sentence(table, rule)).collect();
    for entity in &opening.reference_data_of {
        sentences.push(format!(
            "its filter on {entity} leaves this table open: {entity} rows lead to it"
        ));
    }
    if opening.rows.is_empty() {
        sentences.insert(0, "every row".to_owned());
    }
    sentences
}

fn row_sentence(table: &str, rule: &RowRule) -> String {
    let condition = with_values(&rule.condition, &rule.attributes);
    match &rule.entity {
        None => format!("visible where {condition}"),
        Some(entity) if entity.path.is_empty() => {
            format!("{table} is the table of {}; visible where {condition}", entity.entity)
        }
        Some(entity) => {
            let steps: Vec<String> = entity
                .path
                .iter()
                .map(|step| {
                    let key = if step.key == step.column {
                        String::new()
                    } else {
                        format!(".{}", step.key)
                    };
                    let condition = step.condition.as_ref().map(|condition| format!(" ({condition})"));
                    format!("{} → {}{key}{}", step.column, step.table, condition.unwrap_or_default())
                })
                .collect();
            format!(
                "rows of {table} belong to {} through {}; visible where {condition}",
                entity.entity,
                steps.join(" → ")
            )
        }
    }
}

fn with_values(condition: &str, attributes: &[String]) -> String {
    if attributes.is_empty() {
        condition.to_owned()
    } else {
        format!("{condition} ({})", attributes.join(", "))
    }
}

fn columns(columns: &[ColumnExplanation]) -> String {
    let lines = columns
        .iter()
        .map(|column| [column.column.clone(), column.data_type.clone(), column_words(column)]);
    aligned(lines.collect())
}

/// What a column shows.
fn column_words(column: &ColumnExplanation) -> String {
    let clear: Vec<&str> = column
        .shown
        .iter()
        .filter(|(_, shown)| *shown == Shown::Clear)
        .map(|(policy, _)| policy.as_str())
        .collect();
    let masks: Vec<String> = column
        .shown
        .iter()
        .filter_map(|(policy, shown)| match shown {
            Shown::Masked(sql) => Some(format!("masked by \"{policy}\" as {sql}")),
            Shown::Clear | Shown::Nothing => None,
        })
        .collect();
    let nothing = column.shown.iter().any(|(_, shown)| *shown == Shown::Nothing);
    let mut otherwise = masks;
    if nothing {
        otherwise.push("NULL".to_owned());
    }
    match column.state {
        ColumnState::Absent => "does not exist".to_owned(),
        ColumnState::Empty => "exists; no row is visible".to_owned(),
        ColumnState::Clear => "clear".to_owned(),
        ColumnState::Masked => otherwise.join("; else "),
        ColumnState::Partly => {
            let policies: Vec<String> = clear.iter().map(|policy| format!("\"{policy}\"")).collect();
            format!(
                "clear on rows that {} admits; else {}",
                policies.join(" or "),
                otherwise.join("; else ")
            )
        }
    }
}

/// A view: whether it exists, and what of it.
pub fn view(view: &ViewExplanation) -> String {
    let mut text = match &view.reason {
        None => format!("The view exists: one row for each visible row of {}.\n", view.table),
        Some(reason) => format!("The view does not exist: {reason}.\n"),
    };
    if view.exists {
        let _ = writeln!(text, "  columns  {}", view.columns.join(", "));
        if !view.absent.is_empty() {
            let _ = writeln!(
                text,
                "  absent   {} (made of what does not exist)",
                view.absent.join(", ")
            );
        }
        text.push_str("  An attribute is NULL on rows where something it is made of is masked.\n");
    }
    text
}

/// A statement: whether it runs, the views and tables behind it.
pub fn statement(statement: &StatementExplanation, refused: Option<&str>, principal: &Principal) -> String {
    let mut text = match refused {
        Some(error) => format!("Refused for {}:\n\n{}\n", who(principal), error.trim_end()),
        None => format!("Allowed for {}.\n", who(principal)),
    };
    if refused.is_none() {
        let tables: Vec<String> = statement.tables.iter().map(|table| table.table.to_string()).collect();
        let tables = if tables.is_empty() {
            "none".to_owned()
        } else {
            tables.join(", ")
        };
        let masked = if statement.masked_columns.is_empty() {
            "none".to_owned()
        } else {
            statement.masked_columns.join(", ")
        };
        let _ = writeln!(text, "  tables read          {tables}\n  masked columns used  {masked}");
    }
    for one in &statement.views {
        let _ = write!(text, "\n{}\n{}", one.view, view(one));
    }
    for one in &statement.tables {
        let _ = write!(text, "\n{}", table(one, principal));
    }
    if refused.is_some() && statement.tables.is_empty() {
        text.push_str("\nIt names no table that a source holds.\n");
    }
    text
}

/// Every table in a line.
pub fn everything(tables: &[TableExplanation], views: &[ViewExplanation], session: &Session) -> String {
    let mut text = format!("{}\n", who(session.principal()));
    if session.is_admin() {
        text.push_str("An administrator: full plans, statements and the audit of everyone.\n");
    }
    let mut lines: Vec<[String; 3]> = views
        .iter()
        .map(|view| {
            let columns = match &view.reason {
                Some(reason) => format!("does not exist: {reason}"),
                None => count_of(view.columns.len(), "column"),
            };
            [view.view.to_string(), columns, String::new()]
        })
        .collect();
    lines.extend(
        tables
            .iter()
            .map(|table| [table.table.to_string(), columns_in_short(table), rows_in_short(table)]),
    );
    let exist = tables.iter().filter(|table| table.exists).count();
    let _ = writeln!(text, "{exist} of {} tables exist.\n", tables.len());
    text.push_str(&aligned(lines));
    text
}

fn columns_in_short(table: &TableExplanation) -> String {
    if !table.exists {
        return "does not exist".to_owned();
    }
    let count = |state: ColumnState| table.columns.iter().filter(|column| column.state == state).count();
    let states = [
        (ColumnState::Clear, "clear"),
        (ColumnState::Partly, "partly clear"),
        (ColumnState::Masked, "masked"),
        (ColumnState::Empty, "without rows"),
        (ColumnState::Absent, "absent"),
    ];
    let parts: Vec<String> = states
        .into_iter()
        .filter(|(state, _)| count(*state) > 0)
        .map(|(state, word)| format!("{} {word}", count(state)))
        .collect();
    parts.join(", ")
}

fn rows_in_short(table: &TableExplanation) -> String {
    let mut parts: Vec<String> = Vec::new();
    for policy in &table.policies {
        match &policy.effect {
            Effect::Opens(opening) if opening.rows.is_empty() => return "every row".to_owned(),
            Effect::Opens(opening) => {
                let rules: Vec<String> = opening.rows.iter().map(rule_in_short).collect();
                parts.push(rules.join(" and "));
            }
            Effect::Closed { reasons } => parts.push(format!("no row: {}", reasons.join("; "))),
            Effect::GroupsOnly { entity, size } => parts.push(format!("groups of {size} {entity}")),
            _ => {}
        }
    }
    parts.dedup();
    parts.join(", or ")
}

fn rule_in_short(rule: &RowRule) -> String {
    let condition = with_values(&rule.condition, &rule.attributes);
    match &rule.entity {
        Some(entity) => format!("of each {} where {condition}", entity.entity),
        None => format!("where {condition}"),
    }
}

/// `1 column`, `2 columns`
fn count_of(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Lines of cells, indented, each column as wide as its widest cell; none ends in blanks.
pub fn aligned<const N: usize>(lines: Vec<[String; N]>) -> String {
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
    text
}
