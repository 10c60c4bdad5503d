//! What a principal's policies show of each column, summed up.
//!
//! Owns: the states a column can be in, in the order of what they show. Never: a row.

use caliber_catalog::grant::TableGrant;
use serde::Serialize;

use crate::govern::enforcement::{Cell, Enforcement, GovernedColumn};

/// What a column is for a principal, over all its rows. A later state shows more than an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnState {
    /// It does not exist.
    Absent,
    /// It exists, but no policy gives a row.
    Empty,
    /// No policy shows it clear.
    Masked,
    /// Clear on the rows that some policies admit, masked or NULL on the rows that only others do.
    Partly,
    /// Clear on every visible row.
    Clear,
}

/// What one policy shows of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// The value.
    Clear,
    /// This SQL over the row instead.
    Masked(String),
    /// Nothing: the policy does not grant the column, or an attribute its mask needs is missing.
    Nothing,
}

/// The state of a column of the enforcement.
pub(super) fn state(enforcement: &Enforcement, column: &GovernedColumn) -> ColumnState {
    if !enforcement.shows_rows() {
        ColumnState::Empty
    } else if column.is_clear() {
        ColumnState::Clear
    } else if column.is_never_clear() {
        ColumnState::Masked
    } else {
        ColumnState::Partly
    }
}

/// For each policy that gives rows, what it shows of the column.
pub(super) fn shown(grant: &TableGrant, enforcement: &Enforcement, column: &GovernedColumn) -> Vec<(String, Shown)> {
    let name = enforcement.field(column).name().clone();
    enforcement
        .policies
        .iter()
        .zip(&column.cells)
        .map(|(policy, cell)| {
            let shown = match cell {
                Cell::Clear => Shown::Clear,
                Cell::Absent => Shown::Nothing,
                Cell::Mask(_) => Shown::Masked(mask_text(grant, &policy.name, &name)),
            };
            (policy.name.clone(), shown)
        })
        .collect()
}

fn mask_text(grant: &TableGrant, policy: &str, column: &str) -> String {
    let policy = grant.policies.iter().find(|granted| granted.policy == policy);
    policy
        .and_then(|policy| policy.masks.get(column))
        .map(|sql| sql.text.clone())
        .unwrap_or_default()
}
