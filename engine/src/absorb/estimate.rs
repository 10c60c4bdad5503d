//! How many rows a sub-plan may give: guesses from what the source says of its tables, to choose an order by.
//!
//! Owns: selectivities. Never: decides whether an answer is right; every plan is right whatever is guessed here.

use caliber_connector_spi::{Comparison, DatePart, Expr as Remote, RemoteTable};

/// Rows of a table that its source does not estimate.
const UNKNOWN_ROWS: f64 = 10_000.0;
/// Years that the dates of a column lie in.
const YEARS: f64 = 10.0;

/// The guessed size of a relation.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    /// Rows.
    pub rows: f64,
    /// For each column how many different values its table holds, whatever is filtered.
    pub distinct: Vec<f64>,
}

/// The size of a table.
pub(crate) fn of_table(table: &RemoteTable) -> Estimate {
    let rows = table.rows_estimate.map_or(UNKNOWN_ROWS, |rows| rows as f64).max(1.0);
    let distinct = table
        .columns
        .iter()
        .map(|column| {
            let is_key = |key: &Vec<String>| matches!(key.as_slice(), [only] if *only == column.name);
            let references = |key: &caliber_connector_spi::ForeignKey| key.columns.contains(&column.name);
            if is_key(&table.primary_key) || table.unique_keys.iter().any(is_key) {
                rows
            } else if let Some(distinct) = column.distinct_estimate {
                (distinct as f64).clamp(1.0, rows)
            } else if table.foreign_keys.iter().any(references) || table.primary_key.contains(&column.name) {
                (rows / 10.0).max(1.0)
            } else {
                rows.min(10.0)
            }
        })
        .collect();
    Estimate { rows, distinct }
}

impl Estimate {
    /// How many different values an expression may have, where that is known.
    pub fn values_of(&self, expr: &Remote) -> Option<f64> {
        let column = |expr: &Remote| expr.as_column().and_then(|at| self.distinct.get(at)).copied();
        let (expr, most) = match expr {
            Remote::DatePart { part, expr } => match part {
                DatePart::Quarter => (&**expr, 4.0),
                DatePart::Month => (&**expr, 12.0),
                DatePart::Day => (&**expr, 31.0),
                DatePart::Year => (&**expr, YEARS),
            },
            other => (other, f64::INFINITY),
        };
        match column(expr) {
            Some(distinct) => Some(distinct.min(most)),
            None if most.is_finite() => Some(most),
            None => None,
        }
    }

    /// Rows for which `predicate` is TRUE.
    pub fn filtered(&self, predicate: &Remote) -> f64 {
        (self.rows * self.selectivity(predicate)).max(1.0)
    }

    fn selectivity(&self, predicate: &Remote) -> f64 {
        let distinct = |expr: &Remote| {
            expr.as_column()
                .and_then(|at| self.distinct.get(at))
                .map_or(10.0, |distinct| distinct.max(1.0))
        };
        let found = match predicate {
            Remote::Compare { op, left, right } => match op {
                Comparison::Equal => {
                    1.0 / distinct(left).max(if right.as_column().is_some() {
                        distinct(right)
                    } else {
                        1.0
                    })
                }
                Comparison::NotEqual => 0.9,
                _ => 0.33,
            },
            Remote::And(parts) => parts.iter().map(|part| self.selectivity(part)).product(),
            Remote::Or(parts) => parts.iter().map(|part| self.selectivity(part)).sum(),
            Remote::Not(part) => 1.0 - self.selectivity(part),
            Remote::IsNull(_) => 0.05,
            Remote::InList { expr, list } => list.len() as f64 / distinct(expr),
            Remote::InKeys { column, keys } => {
                // Keys that are not known yet are few, or they would not be sent.
                let count = if keys.is_empty() { 100.0 } else { keys.len() as f64 };
                count / distinct(&Remote::Column(*column))
            }
            Remote::Like { .. } => 0.1,
            _ => 0.5,
        };
        found.clamp(0.0, 1.0)
    }
}
