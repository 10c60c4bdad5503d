//! What differs between two projects for one principal, as far as it is known without a row.
//!
//! Owns: tables, columns and privileges that come and go, and whether rows must be counted. Never: reads a row
//! (`count`), or calls equal what it cannot tell equal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use caliber_catalog::grant::{PolicyGrant, RowFilter};
use caliber_catalog::name::TableName;
use caliber_catalog::project::{Project, Source};
use caliber_catalog::source::OptionValue;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::cells::{ColumnState, Shown, shown, state};
use super::explain::as_text;
use crate::EngineError;
use crate::absorb::key_relation::KeyRelation;
use crate::govern::enforcement::{Admission, Enforcement};
use crate::resolve::governed_catalog::UNIFIED;
use crate::session::Session;

/// What a change makes of one principal's catalog.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// The principal becomes an administrator: sees plans, statements and the audit of everyone.
    pub becomes_admin: bool,
    /// The principal was one and is no more.
    pub loses_admin: bool,
    /// The tables and views for which something changes, sorted.
    pub tables: Vec<TableChange>,
}

/// What a change makes of one table.
#[derive(Clone, Debug, Serialize)]
pub struct TableChange {
    /// The table, or view of `unified`.
    #[serde(serialize_with = "as_text")]
    pub table: TableName,
    /// Whether it is a view: then its rows are those of the tables it is made of.
    pub is_view: bool,
    /// Whether it existed.
    pub existed: bool,
    /// Whether it exists after.
    pub exists: bool,
    /// The columns for which something changes, in the source's order.
    pub columns: Vec<ColumnChange>,
    /// What policies open for numbers over groups alone that was not opened so before: the fewest instances behind a
    /// number, the rows, the columns; in words.
    pub groups_opened: Vec<String>,
    /// What they opened so before and no more.
    pub groups_closed: Vec<String>,
    /// Whether which rows are visible, or which of their cells are clear, may differ: only counting tells.
    pub rows_may_differ: bool,
}

/// What a change makes of one column.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnChange {
    /// The column.
    pub column: String,
    /// What it was.
    pub before: ColumnState,
    /// What it is after.
    pub after: ColumnState,
    /// The masks it had.
    pub masks_before: Vec<String>,
    /// The masks it has after.
    pub masks_after: Vec<String>,
}

impl ColumnChange {
    /// Whether it shows more than before, or something else by another mask, which may be more.
    pub fn opens(&self) -> bool {
        self.after > self.before || (self.after == self.before && self.masks_after != self.masks_before)
    }
}

impl TableChange {
    /// Whether it opens something, whatever the rows are.
    pub fn opens(&self) -> bool {
        (self.exists && !self.existed) || !self.groups_opened.is_empty() || self.columns.iter().any(ColumnChange::opens)
    }
}

/// Compares what two sessions of one principal see; a side that is `None` sees nothing. Asks no source.
pub fn compare(before: Option<&Session>, after: Option<&Session>) -> Result<Comparison, EngineError> {
    let admin = |session: Option<&Session>| session.is_some_and(Session::is_admin);
    let mut comparison = Comparison {
        becomes_admin: admin(after) && !admin(before),
        loses_admin: admin(before) && !admin(after),
        tables: Vec::new(),
    };
    let mut tables: BTreeSet<TableName> = BTreeSet::new();
    let mut views: BTreeSet<String> = BTreeSet::new();
    for session in [before, after].into_iter().flatten() {
        tables.extend(session.catalog.source_tables().map(|grant| grant.table.clone()));
        views.extend(session.catalog.tables(UNIFIED));
    }
    for table in &tables {
        comparison.tables.extend(table_change(before, after, table)?);
    }
    for view in views {
        comparison.tables.extend(view_change(before, after, &view));
    }
    Ok(comparison)
}

fn table_change(
    before: Option<&Session>,
    after: Option<&Session>,
    table: &TableName,
) -> Result<Option<TableChange>, EngineError> {
    let (old, new) = (side(before, table)?, side(after, table)?);
    let rows_may_differ = match (&old, &new) {
        (Some(old), Some(new)) => !same(&old.enforcement, &new.enforcement),
        _ => true,
    };
    let mut names: Vec<&String> = Vec::new();
    for side in [&new, &old].into_iter().flatten() {
        names.extend(side.columns.iter().map(|(name, _)| name));
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let columns: Vec<ColumnChange> = names
        .into_iter()
        .filter_map(|name| column_change(name, old.as_ref(), new.as_ref()))
        .collect();
    let change = TableChange {
        table: table.clone(),
        is_view: false,
        existed: old.is_some(),
        exists: new.is_some(),
        columns,
        groups_opened: beyond(&new, &old),
        groups_closed: beyond(&old, &new),
        rows_may_differ,
    };
    let changed = change.existed != change.exists
        || change.rows_may_differ
        || !change.columns.is_empty()
        || !change.groups_opened.is_empty()
        || !change.groups_closed.is_empty();
    Ok(changed.then_some(change))
}

/// What one side sees of a table.
struct Side {
    enforcement: std::sync::Arc<Enforcement>,
    columns: Vec<(String, (ColumnState, Vec<String>))>,
    groups: Vec<String>,
}

fn side(session: Option<&Session>, table: &TableName) -> Result<Option<Side>, EngineError> {
    let Some(session) = session else {
        return Ok(None);
    };
    let Some(enforcement) = session.catalog.enforcement(table)? else {
        return Ok(None);
    };
    let Some(grant) = session.catalog.source_tables().find(|grant| grant.table == *table) else {
        return Ok(None);
    };
    let columns = enforcement
        .columns
        .iter()
        .map(|column| {
            let mut masks: Vec<String> = shown(grant, &enforcement, column)
                .into_iter()
                .filter_map(|(_, shown)| match shown {
                    Shown::Masked(sql) => Some(sql),
                    Shown::Clear | Shown::Nothing => None,
                })
                .collect();
            masks.dedup();
            let name = enforcement.field(column).name().clone();
            (name, (state(&enforcement, column), masks))
        })
        .collect();
    Ok(Some(Side {
        groups: grant.policies.iter().filter_map(group).collect(),
        enforcement,
        columns,
    }))
}

/// What a policy for groups alone opens of a table.
fn group(grant: &PolicyGrant) -> Option<String> {
    let group = grant.groups.as_ref()?;
    let rows: Vec<String> = grant
        .rows
        .iter()
        .map(|row| match row {
            RowFilter::Table(sql) => sql.text.clone(),
            RowFilter::Entity(filter) => format!("{}: {}", filter.entity, filter.predicate.text),
        })
        .collect();
    let rows = if rows.is_empty() {
        "every row".to_owned()
    } else {
        format!("rows where {}", rows.join(" and "))
    };
    let mut masks: Vec<&str> = grant.masks.keys().map(String::as_str).collect();
    masks.retain(|column| grant.columns.iter().any(|granted| granted == column));
    let masked = if masks.is_empty() {
        String::new()
    } else {
        format!(", masked {}", masks.join(", "))
    };
    Some(format!(
        "numbers over at least {} of entity {}, {rows}, columns {}{masked}",
        group.size,
        group.entity,
        grant.columns.join(", ")
    ))
}

/// What one side opens for groups and the other does not.
fn beyond(side: &Option<Side>, other: &Option<Side>) -> Vec<String> {
    let known: Vec<&String> = other.iter().flat_map(|other| &other.groups).collect();
    let groups = side.iter().flat_map(|side| &side.groups);
    groups.filter(|group| !known.contains(group)).cloned().collect()
}

fn column_change(name: &str, old: Option<&Side>, new: Option<&Side>) -> Option<ColumnChange> {
    let of = |side: Option<&Side>| {
        let found = side?.columns.iter().find(|(column, _)| column == name);
        found.map(|(_, column)| column.clone())
    };
    let (before, masks_before) = of(old).unwrap_or((ColumnState::Absent, Vec::new()));
    let (after, masks_after) = of(new).unwrap_or((ColumnState::Absent, Vec::new()));
    let change = ColumnChange {
        column: name.to_owned(),
        before,
        after,
        masks_before,
        masks_after,
    };
    (before != after || change.opens()).then_some(change)
}

fn view_change(before: Option<&Session>, after: Option<&Session>, view: &str) -> Option<TableChange> {
    let columns = |session: Option<&Session>| session.and_then(|session| session.catalog.columns(UNIFIED, view));
    let (old, new) = (columns(before), columns(after));
    let state = |columns: &Option<Vec<String>>, name: &String| match columns {
        Some(columns) if columns.contains(name) => ColumnState::Clear,
        _ => ColumnState::Absent,
    };
    let mut names: Vec<&String> = new.iter().flatten().collect();
    names.extend(
        old.iter()
            .flatten()
            .filter(|name| !new.iter().flatten().any(|new| new == *name)),
    );
    let columns: Vec<ColumnChange> = names
        .into_iter()
        .map(|name| ColumnChange {
            column: name.clone(),
            before: state(&old, name),
            after: state(&new, name),
            masks_before: Vec::new(),
            masks_after: Vec::new(),
        })
        .filter(|change| change.before != change.after)
        .collect();
    let change = TableChange {
        table: TableName::new(UNIFIED, view),
        is_view: true,
        existed: old.is_some(),
        exists: new.is_some(),
        columns,
        groups_opened: Vec::new(),
        groups_closed: Vec::new(),
        rows_may_differ: false,
    };
    (change.existed != change.exists || !change.columns.is_empty()).then_some(change)
}

/// Whether two enforcements of one table give the same rows and cells, whatever the data: compiled alike, policy by policy.
fn same(before: &Enforcement, after: &Enforcement) -> bool {
    let policies = before.policies.len() == after.policies.len()
        && before.policies.iter().zip(&after.policies).all(|(old, new)| {
            old.admissions.len() == new.admissions.len()
                && old
                    .admissions
                    .iter()
                    .zip(&new.admissions)
                    .all(|(old, new)| same_admission(old, new))
        });
    let columns = before.columns.len() == after.columns.len()
        && before
            .columns
            .iter()
            .zip(&after.columns)
            .all(|(old, new)| old.index == new.index && old.cells == new.cells);
    policies && columns
}

fn same_admission(before: &Admission, after: &Admission) -> bool {
    match (before, after) {
        (Admission::Predicate(old), Admission::Predicate(new)) => old == new,
        (
            Admission::Keys {
                column: old_column,
                relation: old,
            },
            Admission::Keys {
                column: new_column,
                relation: new,
            },
        ) => old_column == new_column && same_relation(old, new),
        _ => false,
    }
}

fn same_relation(before: &KeyRelation, after: &KeyRelation) -> bool {
    before.steps.len() == after.steps.len()
        && before.steps.iter().zip(&after.steps).all(|(old, new)| {
            old.source.name == new.source.name
                && old.table == new.table
                && (old.key, old.link) == (new.key, new.link)
                && old.predicate == new.predicate
        })
}

/// The names of the sources that two projects do not define alike, sorted. Options count, and the place a path leads
/// to within the project's folder; limits, owners and labels do not.
pub fn changed_sources(before: &Project, after: &Project) -> Vec<String> {
    let names: BTreeSet<&String> = before.sources.keys().chain(after.sources.keys()).collect();
    names
        .into_iter()
        .filter(|name| match (before.sources.get(*name), after.sources.get(*name)) {
            (Some(old), Some(new)) => {
                old.connector != new.connector || options(old, &before.root) != options(new, &after.root)
            }
            _ => true,
        })
        .cloned()
        .collect()
}

/// An option, comparable between projects. No `Debug`: it may be a secret.
#[derive(PartialEq)]
enum Comparable {
    Text(String),
    Path(PathBuf),
    Integer(i64),
    Bool(bool),
    Tables(BTreeMap<String, BTreeMap<String, String>>),
}

fn options(source: &Source, root: &Path) -> BTreeMap<&'static str, Comparable> {
    let comparable = |value: &OptionValue| match value {
        OptionValue::Text(text) => Comparable::Text(text.clone()),
        OptionValue::Secret(secret) => Comparable::Text(secret.expose_secret().to_owned()),
        OptionValue::Path(path) => Comparable::Path(path.strip_prefix(root).unwrap_or(path).to_owned()),
        OptionValue::Integer(number) => Comparable::Integer(*number),
        OptionValue::Bool(value) => Comparable::Bool(*value),
        OptionValue::Tables(tables) => Comparable::Tables(tables.clone()),
    };
    let values = source.options.values.iter();
    values.map(|(name, (value, _))| (*name, comparable(value))).collect()
}
