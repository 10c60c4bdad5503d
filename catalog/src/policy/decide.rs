//! What policy opens of a table to a principal.
//!
//! Owns: putting several policies together: each is decided alone, in the order of files and places, so that the order
//! of roles cannot matter. Never: opens a table no policy covers.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{EntityPaths, Reach};
use super::pattern::Pattern;
use crate::grant::{EntityFilter, GroupFloor, PolicyGrant, RowFilter, SqlText, TableGrant, ViewGrant, ViewPolicy};
use crate::name::{TableName, entity_of_view};
use crate::project::{Policy, Project};
use crate::source_schema::RemoteTable;
use crate::standing::Standing;

/// Whether a policy's patterns cover a table. A pattern that cannot be read covers nothing.
pub(crate) fn covers(policy: &Policy, table: &TableName) -> bool {
    policy
        .tables
        .iter()
        .any(|(pattern, _)| Pattern::parse(pattern).is_ok_and(|pattern| pattern.covers(table)))
}

/// The grant on a view of an entity, or `None` where it does not exist for the principal.
pub(crate) fn decide_view(project: &Project, standing: &Standing, view: &TableName) -> Option<ViewGrant> {
    let entity = project.entities.get(entity_of_view(&view.table)?)?;
    let policies: Vec<ViewPolicy> = project
        .policies
        .iter()
        .filter(|policy| standing.applies(policy) && covers(policy, view))
        .map(|policy| ViewPolicy {
            policy: policy.name.clone(),
            columns: policy
                .columns
                .get(view)
                .map(|(columns, _)| columns.iter().map(|(column, _)| column.clone()).collect()),
            masks: masks(policy, view),
            opens_table: covers(policy, &entity.table),
        })
        .filter(|policy| policy.columns.as_ref().is_none_or(|columns| !columns.is_empty()))
        .collect();
    (!policies.is_empty()).then(|| ViewGrant {
        view: view.clone(),
        policies,
    })
}

fn masks(policy: &Policy, table: &TableName) -> BTreeMap<String, SqlText> {
    policy
        .masks
        .iter()
        .filter(|(column, _)| column.table == *table)
        .map(|(column, mask)| (column.column.clone(), mask.clone()))
        .collect()
}

/// The grant on `table`, or `None` where it does not exist for the principal.
pub(crate) fn decide(
    project: &Project,
    paths: &BTreeMap<String, EntityPaths>,
    standing: &Standing,
    table: &TableName,
    remote: &RemoteTable,
) -> Option<TableGrant> {
    let policies: Vec<PolicyGrant> = project
        .policies
        .iter()
        .filter(|policy| standing.applies(policy))
        .filter_map(|policy| grant(project, paths, policy, table, remote))
        .collect();
    let granted: BTreeSet<&str> = policies
        .iter()
        .flat_map(|policy| policy.columns.iter().map(String::as_str))
        .collect();
    let columns: Vec<String> = remote
        .columns
        .iter()
        .map(|column| &column.name)
        .filter(|name| granted.contains(name.as_str()))
        .cloned()
        .collect();
    (!columns.is_empty()).then(|| TableGrant {
        table: table.clone(),
        columns,
        policies,
    })
}

/// What one policy gives on a table, if it gives anything.
pub(crate) fn grant(
    project: &Project,
    paths: &BTreeMap<String, EntityPaths>,
    policy: &Policy,
    table: &TableName,
    remote: &RemoteTable,
) -> Option<PolicyGrant> {
    if !covers(policy, table) {
        return None;
    }
    let listed = policy.columns.get(table).map(|(columns, _)| columns);
    let columns: Vec<String> = remote
        .columns
        .iter()
        .map(|column| &column.name)
        .filter(|name| listed.is_none_or(|columns| columns.iter().any(|(column, _)| column == *name)))
        .cloned()
        .collect();
    if columns.is_empty() {
        return None;
    }
    let mut rows: Vec<RowFilter> = policy
        .table_rows
        .get(table)
        .cloned()
        .map(RowFilter::Table)
        .into_iter()
        .collect();
    for (name, predicate) in &policy.entity_rows {
        // An entity that is not there cannot admit a row.
        let (entity, paths) = (project.entities.get(name)?, paths.get(name)?);
        match paths.reach(table) {
            Reach::Path(path) => rows.push(RowFilter::Entity(EntityFilter {
                entity: name.clone(),
                entity_table: entity.table.clone(),
                entity_key: entity.key.clone(),
                predicate: predicate.clone(),
                path: path.to_vec(),
            })),
            Reach::Open => {}
            Reach::Closed | Reach::Ambiguous(_) => return None,
        }
    }
    let groups = match groups(project, paths, policy, table) {
        Groups::None => None,
        Groups::Floor(floor) => Some(floor),
        Groups::Closed => return None,
    };
    let masks = policy
        .masks
        .iter()
        .filter(|(column, _)| column.table == *table && columns.contains(&column.column))
        .map(|(column, mask)| (column.column.clone(), mask.clone()))
        .collect();
    Some(PolicyGrant {
        policy: policy.name.clone(),
        columns,
        rows,
        masks,
        groups,
    })
}

/// What `min_group` asks of a table's rows.
enum Groups {
    /// Nothing: no `min_group`, or the entity leads to the table, whose rows are nobody's.
    None,
    /// The floor, and the column that says who stands behind a row.
    Floor(GroupFloor),
    /// A row does not say whose it is: the policy gives nothing of the table.
    Closed,
}

fn groups(project: &Project, paths: &BTreeMap<String, EntityPaths>, policy: &Policy, table: &TableName) -> Groups {
    let Some(floor) = &policy.min_group else {
        return Groups::None;
    };
    let (Some(entity), Some(paths)) = (project.entities.get(&floor.entity), paths.get(&floor.entity)) else {
        return Groups::Closed;
    };
    let column = match paths.reach(table) {
        Reach::Path([]) => &entity.key,
        Reach::Path([step]) => &step.column,
        Reach::Open => return Groups::None,
        Reach::Path(_) | Reach::Closed | Reach::Ambiguous(_) => return Groups::Closed,
    };
    Groups::Floor(GroupFloor {
        entity: floor.entity.clone(),
        column: column.clone(),
        size: floor.size,
    })
}
