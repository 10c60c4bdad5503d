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

/// A table in full: whether it exists, the policies, the rows, the columns.
pub fn table(table: &TableExplanation, principal: &Principal) -> String {
    let mut text = format!("{} for {}\n\n", table.table, who(principal));
    let opening = opening(table);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}\n\nPolicies", existence(table));
    let mut others = Vec::new();
    for policy in &table.policies {
        let (mark, why) = effect(&policy.effect);
        match policy.effect {
            Effect::OtherTables => others.push(policy.policy.as_str()),
            Effect::Opens(_) => {
                let _ = writeln!(text, "  {mark:<6}  {} ({})", policy.policy, policy.place);
            }
            _ => {
                let _ = writeln!(text, "  {mark:<6}  {} ({}): {why}", policy.policy, policy.place);
            }
        }
    }
    if !others.is_empty() {
        let _ = writeln!(text, "  no      about other tables: {}", others.join("; "));
    }
    if !opening.is_empty() {
        text.push_str("\nRows\n");
        if opening.len() > 1 {
            text.push_str("  A row is visible if any of these policies admits it.\n");
        }
        for (policy, opening) in &opening {
            let _ = writeln!(text, "  {}", policy.policy);
            for rule in row_sentences(&table.table.to_string(), opening) {
                let _ = writeln!(text, "    {rule}");
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

/// A table in a few lines, for a statement that reads it.
pub fn table_in_short(table: &TableExplanation) -> String {
    let mut text = format!("{}\n", table.table);
    if !table.exists {
        let _ = writeln!(text, "  {}", existence(table));
    }
    for policy in &table.policies {
        let (mark, why) = effect(&policy.effect);
        match &policy.effect {
            Effect::Opens(opening) => {
                for rule in row_sentences(&table.table.to_string(), opening) {
                    let _ = writeln!(text, "  rows     {rule} (policy: {})", policy.policy);
                }
            }
            Effect::OtherTables => {}
            Effect::Closed { .. } => {
                let _ = writeln!(text, "  no rows  {}: {why}", policy.policy);
            }
            _ if !table.exists => {
                let _ = writeln!(text, "  {mark:<6}   {}: {why}", policy.policy);
            }
            _ => {}
        }
    }
    if !table.exists {
        return text;
    }
    let _ = writeln!(text, "  columns  {}", columns_in_short(table));
    let masked = |column: &&ColumnExplanation| matches!(column.state, ColumnState::Masked | ColumnState::Partly);
    for column in table.columns.iter().filter(masked) {
        let _ = writeln!(text, "  mask     {}: {}", column.column, column_words(column));
    }
    let absent: Vec<&str> = table
        .columns
        .iter()
        .filter(|column| column.state == ColumnState::Absent)
        .map(|column| column.column.as_str())
        .collect();
    if !absent.is_empty() {
        let _ = writeln!(text, "  absent   {}", absent.join(", "));
    }
    text
}

/// The policies that give rows, or numbers over them.
fn opening(table: &TableExplanation) -> Vec<(&PolicyExplanation, &Opening)> {
    let policies = table.policies.iter();
    policies
        .filter_map(|policy| match &policy.effect {
            Effect::Opens(opening) => Some((policy, opening)),
            _ => None,
        })
        .collect()
}

fn existence(table: &TableExplanation) -> String {
    let opening = opening(table);
    let of = format!("of {} policies", table.policies.len());
    if !table.exists {
        return "It does not exist: no policy opens it.".to_owned();
    }
    match opening.len() {
        0 => "It exists, and is empty: no policy that opens it gives a row.".to_owned(),
        count if opening.iter().all(|(_, opening)| opening.groups.is_some()) => {
            format!("It exists for numbers over groups, never for rows: by {count} {of}.")
        }
        1 => format!("It exists: 1 {of} gives rows."),
        count => format!("It exists: {count} {of} give rows."),
    }
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
        Effect::Closed { reason } => ("closed", reason.clone()),
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
    if let Some(groups) = &opening.groups {
        let only = format!("for numbers over at least {} of {} only", groups.size, groups.entity);
        sentences.push(if groups.overruled {
            format!("{only}; another policy gives rows, so this one adds nothing")
        } else {
            only
        });
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
        ColumnState::Grouped if otherwise.is_empty() => "for numbers over groups".to_owned(),
        ColumnState::Grouped => format!("for numbers over groups, {}", otherwise.join("; else ")),
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
        if !view.always_null.is_empty() {
            let null = view.always_null.join(", ");
            let _ = writeln!(text, "  NULL     {null} (made of what is masked on every row)");
        }
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
        let _ = write!(text, "\n{}", table_in_short(one));
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
        (ColumnState::Grouped, "for numbers"),
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
            Effect::Opens(opening) => {
                let rules: Vec<String> = opening.rows.iter().map(rule_in_short).collect();
                let rows = if rules.is_empty() {
                    "every row".to_owned()
                } else {
                    rules.join(" and ")
                };
                match &opening.groups {
                    Some(groups) if groups.overruled => {}
                    Some(groups) => parts.push(format!("{rows}, in groups of {} {}", groups.size, groups.entity)),
                    None if rules.is_empty() => return rows,
                    None => parts.push(rows),
                }
            }
            Effect::Closed { reason } => parts.push(format!("no row: {reason}")),
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
