//! A SELECT as it grows, and the text it has in the end.
//!
//! Owns: the order of the clauses. Never: what stands in them.

use super::dialect::Dialect;
use super::{Operand, Sql};
use crate::Comparison;

/// A SELECT under construction.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) from: Sql,
    /// Whether `from` has a JOIN in it.
    pub(super) joins: bool,
    pub(super) filters: Vec<Sql>,
    pub(super) columns: Vec<Operand>,
    /// What is grouped by; with no key, all rows are one group.
    pub(super) groups: Option<Vec<Sql>>,
    /// Whether the database's HAVING cannot speak of the keys.
    pub(super) has_silent_key: bool,
    pub(super) having: Vec<Sql>,
    pub(super) order: Vec<Sql>,
    pub(super) rows: Option<u64>,
}

impl Block {
    /// Whether rows still come one by one from FROM and WHERE.
    pub(super) fn is_open(&self) -> bool {
        self.groups.is_none() && self.rows.is_none()
    }

    pub(super) fn names(&self, name: impl Fn(usize) -> Option<String>, dialect: &dyn Dialect) -> Vec<Sql> {
        let select = |(at, operand): (usize, &Operand)| {
            let mut sql = dialect.answer(operand);
            if let Some(name) = name(at) {
                sql.push(" AS ");
                sql.push(&name);
            }
            sql
        };
        self.columns.iter().enumerate().map(select).collect()
    }

    /// The statement that selects `list`.
    pub(super) fn select(&self, list: &[Sql]) -> Sql {
        let mut sql = Sql::text("SELECT ");
        match (list, &self.groups) {
            // Rows without columns; where all rows are one group, only an aggregate makes them one row.
            ([], Some(keys)) if keys.is_empty() => sql.push("count(*)"),
            ([], _) => sql.push("1"),
            _ => sql.append(&Sql::joined(list, ", ")),
        }
        sql.push(" FROM ");
        sql.append(&self.from);
        let mut clause = |word: &str, parts: &[Sql], between: &'static str| {
            if !parts.is_empty() {
                sql.push(word);
                sql.append(&Sql::joined(parts, between));
            }
        };
        clause(" WHERE ", &self.filters, " AND ");
        clause(" GROUP BY ", self.groups.as_deref().unwrap_or_default(), ", ");
        clause(" HAVING ", &self.having, " AND ");
        clause(" ORDER BY ", &self.order, ", ");
        if let Some(rows) = self.rows {
            // No table has as many rows as would overflow here.
            sql.push(&format!(" LIMIT {}", rows.min(i64::MAX.unsigned_abs())));
        }
        sql
    }
}

/// A relation of one column, to be looked up in.
pub struct Subquery<'a> {
    pub(super) dialect: &'a dyn Dialect,
    pub(super) block: Block,
    pub(super) column: Operand,
}

impl Subquery<'_> {
    /// Its column.
    pub fn column(&self) -> &Operand {
        &self.column
    }

    /// The SELECT that gives `column`, made of [`Subquery::column`].
    pub fn selecting(&self, column: &Sql) -> Sql {
        self.block.select(std::slice::from_ref(column))
    }

    /// `EXISTS` a row for which `needle` equals the column.
    pub fn holding(&self, needle: &Operand) -> Sql {
        let mut filters = self.block.filters.clone();
        filters.push(self.dialect.compare(&self.column, Comparison::Equal, needle));
        let block = Block {
            from: self.block.from.clone(),
            filters,
            ..Block::default()
        };
        Sql::of("EXISTS ({})", &[&block.select(&[])])
    }
}
