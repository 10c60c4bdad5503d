//! The names of computed columns.
//!
//! Owns: a beginning for them that no column of a table has. Never: an alias of a table.

use crate::Relation;

/// `c`, as often as it takes.
pub(super) fn prefix(root: &Relation) -> String {
    let mut prefix = "c".to_owned();
    let tables = root.tables();
    let is_taken = |prefix: &str| {
        let mut columns = tables.iter().flat_map(|table| &table.columns);
        columns.any(|column| begins_with_number(&column.name, prefix))
    };
    while is_taken(&prefix) {
        prefix.push('c');
    }
    prefix
}

fn begins_with_number(name: &str, prefix: &str) -> bool {
    let parts = name.split_at_checked(prefix.len());
    parts.is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(prefix) && rest.starts_with(|character: char| character.is_ascii_digit())
    })
}
