//! What each policy of a project makes of one table, in words for a data steward.
//!
//! Owns: the reason why a policy does not open a table. Never: the decision itself (`policy::decide`), whose parts it
//! asks in the same order; shown to nobody but who holds the project's files.

use super::CatalogSnapshot;
use crate::grant::{KeyStep, PolicyGrant, RowFilter};
use crate::name::TableName;
use crate::policy::{self, Reach};
use crate::project::Policy;
use crate::standing::{Standing, Verdict};

/// What a policy makes of a table for a principal.
#[derive(Clone, Debug, PartialEq)]
pub enum TableVerdict {
    /// It does not apply to the principal, and why: never `Verdict::Applies`.
    NotForPrincipal(Verdict),
    /// None of its `tables` covers the table.
    NotThisTable,
    /// It covers the table, but lists none of its columns.
    NoColumn,
    /// Its `rows` on that entity close every table whose rows are not tied to it.
    NotTied {
        /// The entity.
        entity: String,
        /// Where more than one shortest chain ties it, these.
        ways: Vec<String>,
    },
    /// It opens the table, with these entities whose `rows` do not narrow it: they lead to it (reference data).
    Opens {
        /// What it gives.
        grant: PolicyGrant,
        /// The entities.
        reference_data_of: Vec<String>,
    },
}

impl CatalogSnapshot {
    /// For each policy of the project, in order, what it makes of a source's table; nothing for a table that no source holds.
    pub fn verdicts(&self, standing: &Standing, table: &TableName) -> Vec<(&Policy, TableVerdict)> {
        self.project
            .policies
            .iter()
            .filter_map(|policy| Some((policy, self.verdict(policy, standing, table)?)))
            .collect()
    }

    /// How a row of `table` finds the instances of `entity` it belongs to; empty for the entity's own table, `None`
    /// where it belongs to none or where two shortest chains lead there.
    pub fn entity_path(&self, entity: &str, table: &TableName) -> Option<&[KeyStep]> {
        match self.paths.get(entity)?.reach(table) {
            Reach::Path(path) => Some(path),
            Reach::Open | Reach::Closed | Reach::Ambiguous(_) => None,
        }
    }

    /// Every table of every source that could be described, sorted; whoever asks.
    pub fn all_source_tables(&self) -> Vec<TableName> {
        self.source_tables().collect()
    }

    fn verdict(&self, policy: &Policy, standing: &Standing, table: &TableName) -> Option<TableVerdict> {
        let remote = self.remote_table(table)?;
        match standing.verdict(&policy.name) {
            Some(Verdict::Applies) => {}
            verdict => return Some(TableVerdict::NotForPrincipal(verdict.unwrap_or(Verdict::NoRole))),
        }
        if !policy::covers(policy, table) {
            return Some(TableVerdict::NotThisTable);
        }
        let Some(grant) = policy::grant(&self.project, &self.paths, policy, table, remote) else {
            return Some(self.closed_by_entity(policy, table).unwrap_or(TableVerdict::NoColumn));
        };
        let narrowed = |entity: &str| {
            grant
                .rows
                .iter()
                .any(|row| matches!(row, RowFilter::Entity(filter) if filter.entity == entity))
        };
        let reference_data_of = policy
            .entity_rows
            .keys()
            .filter(|entity| !narrowed(entity))
            .cloned()
            .collect();
        Some(TableVerdict::Opens {
            grant,
            reference_data_of,
        })
    }

    fn closed_by_entity(&self, policy: &Policy, table: &TableName) -> Option<TableVerdict> {
        policy.entity_rows.keys().find_map(|entity| {
            let ways = match self.paths.get(entity)?.reach(table) {
                Reach::Path(_) | Reach::Open => return None,
                Reach::Closed => Vec::new(),
                Reach::Ambiguous(ambiguity) => ambiguity.ways.iter().map(|(way, _)| way.clone()).collect(),
            };
            Some(TableVerdict::NotTied {
                entity: entity.clone(),
                ways,
            })
        })
    }
}
