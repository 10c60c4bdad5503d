//! What a change opens and closes, as people and programs read it.
//!
//! Owns: the words, the order: what opens first. Never: counts.

use std::fmt::Write;

use caliber_engine::policy_tools::{ColumnChange, ColumnState, RowCounts, TableChange};

use super::super::rows::counted;
use super::simulate::Change;
use super::subject::{described, json as principal_json};

/// The report, a paragraph for each kind of user for whom something changes.
pub fn text(changes: &[Change]) -> String {
    let mut text = String::new();
    let mut unchanged = Vec::new();
    for change in changes {
        let (opens, closes, rest) = lines(change);
        if opens.is_empty() && closes.is_empty() && rest.is_empty() {
            unchanged.extend(change.users.names.iter().cloned());
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", heading(change));
        for (title, lines) in [
            ("opens", opens),
            ("closes", closes),
            ("changes, and shows nothing more today", rest),
        ] {
            if !lines.is_empty() {
                let _ = writeln!(text, "  {title}");
            }
            for line in lines {
                let _ = writeln!(text, "    {line}");
            }
        }
        text.push('\n');
    }
    if !unchanged.is_empty() {
        let _ = writeln!(text, "Nothing changes for {}.", unchanged.join(", "));
    }
    let opened: Vec<&str> = changes
        .iter()
        .filter(|change| change.opens())
        .flat_map(|change| change.users.names.iter().map(String::as_str))
        .collect();
    let _ = match opened.as_slice() {
        [] => writeln!(text, "The change opens nothing."),
        names => writeln!(text, "The change opens something to {}.", names.join(", ")),
    };
    text
}

fn heading(change: &Change) -> String {
    let users = &change.users;
    let names = users.names.join(", ");
    match (&users.before, &users.after) {
        (Some(before), Some(after)) if described(before) == described(after) => {
            format!("{names} ({})", described(after))
        }
        (Some(before), Some(after)) => format!("{names} ({}; before: {})", described(after), described(before)),
        (None, Some(after)) => format!("{names} (new; {})", described(after)),
        (Some(before), None) => format!("{names} (removed; {})", described(before)),
        (None, None) => names,
    }
}

/// What opens, what closes, and what else changes.
fn lines(change: &Change) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (mut opens, mut closes, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    if change.comparison.becomes_admin {
        opens.push("becomes administrator: full plans, statements and the audit of everyone".to_owned());
    }
    if change.comparison.loses_admin {
        closes.push("is administrator no more".to_owned());
    }
    for table in &change.comparison.tables {
        let counts = change.counts.get(&table.table);
        let (open, close) = (opened(table, counts), closed(table, counts));
        if open.is_empty() && close.is_empty() {
            rest.push(format!("{}: its rows or cells are decided otherwise", table.table));
        }
        let named = |lines: Vec<String>| lines.into_iter().map(|line| format!("{}: {line}", table.table));
        opens.extend(named(open));
        closes.extend(named(close));
    }
    (opens, closes, rest)
}

fn opened(table: &TableChange, counts: Option<&RowCounts>) -> Vec<String> {
    let mut lines = Vec::new();
    if table.exists && !table.existed {
        let kind = if table.is_view { "new view" } else { "new table" };
        let columns: Vec<String> = table
            .columns
            .iter()
            .filter(|column| column.after != ColumnState::Absent)
            .map(|column| match column.after {
                ColumnState::Masked => format!("{} (masked)", column.column),
                ColumnState::Partly => format!("{} (partly masked)", column.column),
                _ => column.column.clone(),
            })
            .collect();
        lines.push(format!("{kind} with columns {}", columns.join(", ")));
    } else {
        for column in table.columns.iter().filter(|column| column.opens()) {
            lines.push(column_line(column));
        }
    }
    lines.extend(table.groups_opened.iter().cloned());
    match counts {
        Some(counts) => {
            if counts.opened > 0 {
                let owners: Vec<String> = counts
                    .entities
                    .iter()
                    .map(|owners| format!("{} {}", grouped(owners.opened), owners.entity))
                    .collect();
                let owners = if owners.is_empty() {
                    String::new()
                } else {
                    format!(", of {}", owners.join(", "))
                };
                lines.push(format!(
                    "{} more{owners} ({} before, {} after)",
                    counted(counts.opened, "row"),
                    grouped(counts.before),
                    grouped(counts.after)
                ));
            }
            for cells in &counts.cells {
                if cells.opened > 0 {
                    let cleared = counted(cells.opened, "cell");
                    lines.push(format!(
                        "column {}: {cleared} newly clear, on rows seen before",
                        cells.column
                    ));
                }
                if cells.masked_otherwise > 0 {
                    let masked = counted(cells.masked_otherwise, "cell");
                    lines.push(format!("column {}: {masked} under another mask", cells.column));
                }
            }
        }
        None if table.rows_may_differ && table.exists => {
            lines.push("rows or cells may open (not counted)".to_owned());
        }
        None => {}
    }
    lines
}

fn column_line(column: &ColumnChange) -> String {
    let name = &column.column;
    match (column.before, column.after) {
        (ColumnState::Absent, after) => format!("new column {name}, {}", state(after, &column.masks_after)),
        (before, after) => format!(
            "column {name}: {}, before {}",
            state(after, &column.masks_after),
            state(before, &column.masks_before)
        ),
    }
}

fn state(state: ColumnState, masks: &[String]) -> String {
    match state {
        ColumnState::Absent => "absent".to_owned(),
        ColumnState::Empty => "without a row".to_owned(),
        ColumnState::Masked if masks.is_empty() => "NULL".to_owned(),
        ColumnState::Masked => format!("masked as {}", masks.join(", ")),
        ColumnState::Partly if masks.is_empty() => "clear on some rows, NULL on others".to_owned(),
        ColumnState::Partly => format!("clear on some rows, masked on others as {}", masks.join(", ")),
        ColumnState::Clear => "clear".to_owned(),
    }
}

fn closed(table: &TableChange, counts: Option<&RowCounts>) -> Vec<String> {
    let mut lines = Vec::new();
    if table.existed && !table.exists {
        lines.push("exists no more".to_owned());
    } else {
        let gone: Vec<&str> = table
            .columns
            .iter()
            .filter(|column| column.after < column.before)
            .map(|column| column.column.as_str())
            .collect();
        if !gone.is_empty() {
            lines.push(format!("less shown of {}", gone.join(", ")));
        }
    }
    lines.extend(table.groups_closed.iter().map(|group| format!("no more: {group}")));
    if let Some(counts) = counts {
        if counts.closed > 0 {
            lines.push(format!(
                "{} fewer ({} before, {} after)",
                counted(counts.closed, "row"),
                grouped(counts.before),
                grouped(counts.after)
            ));
        }
        let cells: u64 = counts.cells.iter().map(|cells| cells.closed).sum();
        if cells > 0 {
            lines.push(format!("{} clear no more", counted(cells, "cell")));
        }
    }
    lines
}

/// `1,056,320`
fn grouped(count: u64) -> String {
    let text = counted(count, "");
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The report for programs.
pub fn json(changes: &[Change]) -> serde_json::Value {
    let principals: Vec<serde_json::Value> = changes
        .iter()
        .map(|change| {
            let tables: Vec<serde_json::Value> = change
                .comparison
                .tables
                .iter()
                .map(|table| {
                    serde_json::json!({
                        "opens": change.table_opens(table),
                        "change": table,
                        "counts": change.counts.get(&table.table),
                    })
                })
                .collect();
            serde_json::json!({
                "users": change.users.names,
                "before": change.users.before.as_ref().map(principal_json),
                "after": change.users.after.as_ref().map(principal_json),
                "opens": change.opens(),
                "becomes_admin": change.comparison.becomes_admin,
                "loses_admin": change.comparison.loses_admin,
                "tables": tables,
            })
        })
        .collect();
    serde_json::json!({ "opens": changes.iter().any(Change::opens), "principals": principals })
}
