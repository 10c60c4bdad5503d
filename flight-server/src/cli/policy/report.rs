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
            lines.push(format!("{}{}", column_line(column), cells_of(&column.column, counts)));
        }
    }
    if let Some(counts) = counts {
        lines.extend(rows_line(counts));
        for cells in &counts.cells {
            let told = table
                .columns
                .iter()
                .any(|column| column.column == cells.column && column.opens());
            if !told && cells.opened + cells.masked_otherwise > 0 {
                lines.push(format!(
                    "column {}{}",
                    cells.column,
                    cells_of(&cells.column, Some(counts))
                ));
            }
        }
    }
    if table.groups_after != table.groups_before && table.exists && !becomes_groups(table) {
        lines.push(groups_line(table));
    }
    if counts.is_none() && table.undecided {
        lines.push("which rows, or which of their cells are clear, is decided otherwise (not counted)".to_owned());
    }
    lines
}

/// The rows that open, and whose they are.
fn rows_line(counts: &RowCounts) -> Option<String> {
    if counts.opened == 0 {
        return None;
    }
    let owners: Vec<String> = counts
        .entities
        .iter()
        .map(|owners| counted(owners.opened, &owners.entity))
        .collect();
    let owners = if owners.is_empty() {
        String::new()
    } else {
        format!(", of {}", owners.join(", "))
    };
    Some(format!(
        "{} more{owners} ({} before, {} after)",
        counted(counts.opened, "row"),
        grouped(counts.before),
        grouped(counts.after)
    ))
}

/// What was counted of a column, on rows seen before.
fn cells_of(column: &str, counts: Option<&RowCounts>) -> String {
    let cells = counts.and_then(|counts| counts.cells.iter().find(|cells| cells.column == column));
    let mut text = String::new();
    if let Some(cells) = cells {
        if cells.opened > 0 {
            let _ = write!(text, ": {} newly clear", counted(cells.opened, "cell"));
        }
        if cells.masked_otherwise > 0 {
            let masked = counted(cells.masked_otherwise, "cell");
            let _ = write!(text, ": {masked} shown by another mask");
        }
    }
    text
}

/// Whether less is shown than before: numbers in the place of rows, or over larger groups.
fn becomes_groups(table: &TableChange) -> bool {
    table.existed && !table.groups_after.is_empty() && !table.smaller_groups()
}

fn groups_line(table: &TableChange) -> String {
    let floors = |floors: &[(String, u64)]| {
        let floors: Vec<String> = floors.iter().map(|(entity, size)| counted(*size, entity)).collect();
        match floors.as_slice() {
            [] => "rows".to_owned(),
            floors => format!("numbers over at least {}", floors.join(" and ")),
        }
    };
    let after = floors(&table.groups_after);
    if table.existed {
        format!("gives {after}, before {}", floors(&table.groups_before))
    } else {
        format!("gives {after}")
    }
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
        ColumnState::Grouped => "for numbers over groups".to_owned(),
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
    if table.groups_after != table.groups_before && becomes_groups(table) {
        lines.push(groups_line(table));
    }
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
