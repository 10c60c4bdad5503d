//! `CatalogSnapshot`: a project laid over what its sources were found to hold. Immutable, swapped whole on reload.
//!
//! Owns: resolved references and entity paths; the policy decision. Never: evaluates SQL, connects.

mod findings;
#[cfg(test)]
mod tests;
mod verdicts;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::grant::{KeyStep, TableGrant, ViewGrant};
use crate::name::{ColumnName, TableName};
use crate::policy::{self, EntityPaths, Reach, References};
use crate::project::{Entity, HoldingRule, Project};
use crate::source_schema::{RemoteTable, SourceSchema};
use crate::standing::Standing;

pub use verdicts::TableVerdict;

/// The catalog as one query sees it (INV-7).
#[derive(Debug)]
pub struct CatalogSnapshot {
    /// The project.
    pub project: Arc<Project>,
    /// By source name, what it holds; a source that could not be described is absent.
    pub schemas: BTreeMap<String, Arc<SourceSchema>>,
    /// Names this snapshot: changes with the project's meaning and with the sources' schemas.
    pub version: String,
    references: References,
    paths: BTreeMap<String, EntityPaths>,
}

/// How a row of a table finds its entity.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityPath {
    /// The steps; empty for the entity's own table.
    pub steps: Vec<KeyStep>,
    /// Where a holding lies on the way: the step that enters its bridge, and whose a held row is.
    pub held: Option<(usize, HoldingRule)>,
}

/// Two shortest ways lead from a table to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousPath;

impl CatalogSnapshot {
    /// Lays `project` over `schemas`. All findings at once: references and keys that lead nowhere, masks and
    /// column lists over absent columns, ambiguous entity paths. With an error among the findings the snapshot
    /// must not be served; sources missing from `schemas` are passed over (their names cannot be checked).
    pub fn resolve(project: Arc<Project>, schemas: BTreeMap<String, Arc<SourceSchema>>) -> (Self, Vec<Diagnostic>) {
        let references = References::new(&project, &schemas);
        let paths = project
            .entities
            .values()
            .map(|entity| (entity.name.clone(), EntityPaths::new(entity, &references)))
            .collect();
        let version = version(&project, &schemas);
        let snapshot = Self {
            project,
            schemas,
            version,
            references,
            paths,
        };
        let findings = findings::find(&snapshot);
        (snapshot, findings)
    }

    /// The table as introspected.
    pub fn remote_table(&self, name: &TableName) -> Option<&RemoteTable> {
        self.schemas.get(&name.schema)?.table(&name.table)
    }

    /// What policy opens of a source's table to the principal of `standing`; `None` if the table does not exist for it (INV-4).
    pub fn decide(&self, standing: &Standing, table: &TableName) -> Option<TableGrant> {
        policy::decide(&self.project, &self.paths, standing, table, self.remote_table(table)?)
    }

    /// What policy opens of a view of an entity itself (`unified.<entity>_360`, `unified.<entity>_metrics`); `None` if it does not exist for the principal. The
    /// tables it is made of are decided on their own.
    pub fn decide_view(&self, standing: &Standing, view: &TableName) -> Option<ViewGrant> {
        policy::decide_view(&self.project, standing, view)
    }

    /// Every source table that exists for the principal, sorted.
    pub fn tables(&self, standing: &Standing) -> Vec<TableName> {
        let described = self
            .schemas
            .iter()
            .flat_map(|(source, schema)| schema.tables.iter().map(move |table| (source, table)));
        let mut tables: Vec<TableName> = described
            .filter_map(|(source, table)| {
                let name = TableName::new(source, &table.name);
                policy::decide(&self.project, &self.paths, standing, &name, table).map(|grant| grant.table)
            })
            .collect();
        tables.sort();
        tables
    }

    /// How a row of `table` finds its entity, if there is one way; see `EntityPath`.
    pub fn way_to_entity(&self, entity: &str, table: &TableName) -> Result<Option<EntityPath>, AmbiguousPath> {
        let Some(paths) = self.paths.get(entity) else {
            return Ok(None);
        };
        match paths.reach(table) {
            Reach::Path(steps) => Ok(Some(EntityPath {
                steps: steps.to_vec(),
                held: paths.held_at(steps),
            })),
            Reach::Open | Reach::Closed => Ok(None),
            Reach::Ambiguous(_) => Err(AmbiguousPath),
        }
    }

    /// The entities of the project, sorted by name.
    pub fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.project.entities.values()
    }

    /// Whether some policy with `admin: true` applies.
    pub fn is_admin(&self, standing: &Standing) -> bool {
        self.project
            .policies
            .iter()
            .any(|policy| policy.admin && standing.applies(policy))
    }

    /// The to-one references of `table`: declared ones, and the foreign keys its source enforces, by column.
    pub fn references(&self, table: &TableName) -> BTreeMap<String, ColumnName> {
        let mut by_column = BTreeMap::new();
        for link in self.references.of(table) {
            by_column
                .entry(link.column.clone())
                .or_insert_with(|| link.target.clone());
        }
        by_column
    }

    /// Every table of every source that could be described, sorted.
    fn source_tables(&self) -> impl Iterator<Item = TableName> {
        let mut tables: Vec<TableName> = self
            .schemas
            .iter()
            .flat_map(|(source, schema)| {
                schema
                    .tables
                    .iter()
                    .map(move |table| TableName::new(source, &table.name))
            })
            .collect();
        tables.sort();
        tables.into_iter()
    }
}

/// A hash of the project and of what decides plans and grants in the schemas; estimates and comments do not.
fn version(project: &Project, schemas: &BTreeMap<String, Arc<SourceSchema>>) -> String {
    let mut digest = Digest::new();
    digest.part(&project.hash);
    for (source, schema) in schemas {
        digest.part("source").part(source);
        for table in &schema.tables {
            digest
                .part("table")
                .part(&table.name)
                .part(table.namespace.as_deref().unwrap_or_default())
                .part(&table.is_view.to_string());
            for column in &table.columns {
                digest
                    .part("column")
                    .part(&column.name)
                    .part(&column.data_type.to_string())
                    .part(&column.native_type);
                digest
                    .part(&column.nullable.to_string())
                    .part(&column.comparable.to_string());
            }
            for key in std::iter::once(&table.primary_key).chain(&table.unique_keys) {
                digest.part("key");
                key.iter().for_each(|column| {
                    digest.part(column);
                });
            }
            for key in &table.foreign_keys {
                digest.part("foreign").part(&key.target);
                key.columns.iter().chain(&key.target_columns).for_each(|column| {
                    digest.part(column);
                });
            }
        }
    }
    digest.finish()
}
