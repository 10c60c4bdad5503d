//! What differs between two projects for one principal, as far as it is known without a row.
//!
//! Owns: tables, columns and privileges that come and go, and whether rows must be counted. Never: reads a row
//! (`count`), or calls equal what it cannot tell equal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use caliber_catalog::name::TableName;
use caliber_catalog::project::{Project, Source};
use caliber_catalog::source::OptionValue;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::cells::{ColumnState, Shown, shown, state};
use super::explain::as_text;
use super::statement::ViewExplanation;
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
    /// Where it was open for numbers over groups only: by entity, the fewest behind a number.
    pub groups_before: Vec<(String, u64)>,
    /// The same after.
    pub groups_after: Vec<(String, u64)>,
    /// Whether rows or cells may differ: counting tells how many.
    pub must_count: bool,
    /// Whether only counting tells if rows or cells open: their conditions differ.
    pub undecided: bool,
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
    /// Whether it shows more than before, or something else by another mask, which may be more. Numbers over a clear
    /// column are something else than masked rows.
    pub fn opens(&self) -> bool {
        let numbers = self.after == ColumnState::Grouped && self.before == ColumnState::Masked;
        let is_more = |mask: &String| !mask.eq_ignore_ascii_case("null") && !self.masks_before.contains(mask);
        let otherwise = self.after == self.before && self.masks_after.iter().any(is_more);
        self.after > self.before || numbers || otherwise
    }
}

impl TableChange {
    /// Whether it opens something, whatever the rows are.
    pub fn opens(&self) -> bool {
        (self.exists && !self.existed) || self.smaller_groups() || self.columns.iter().any(ColumnChange::opens)
    }
}

impl TableChange {
    /// Whether numbers may stand on fewer instances than before.
    pub fn smaller_groups(&self) -> bool {
        !self.groups_after.is_empty()
            && self.groups_before.iter().any(|(entity, size)| {
                let after = self.groups_after.iter().find(|(after, _)| after == entity);
                after.is_none_or(|(_, after)| after < size)
            })
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
    let (must_count, undecided) = match (&old, &new) {
        (Some(old), Some(new)) => {
            let (old, new) = (&old.enforcement, &new.enforcement);
            let same_rows = same_rows(old, new);
            (
                !same_rows || !same_columns(old, new),
                !same_rows || !same_cells(old, new),
            )
        }
        _ => (true, false),
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
        groups_before: old.map(|side| side.groups).unwrap_or_default(),
        groups_after: new.map(|side| side.groups).unwrap_or_default(),
        must_count,
        undecided,
    };
    let changed = change.existed != change.exists
        || change.must_count
        || !change.columns.is_empty()
        || change.groups_before != change.groups_after;
    Ok(changed.then_some(change))
}

/// What one side sees of a table.
struct Side {
    enforcement: std::sync::Arc<Enforcement>,
    columns: Vec<(String, (ColumnState, Vec<String>))>,
    groups: Vec<(String, u64)>,
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
        groups: floors(&enforcement),
        enforcement,
        columns,
    }))
}

/// What must stand behind a number, where a table is open for numbers over groups only.
fn floors(enforcement: &Enforcement) -> Vec<(String, u64)> {
    let floors = enforcement.groups.iter();
    floors.map(|floor| (floor.entity.clone(), floor.size)).collect()
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
    let name = TableName::new(UNIFIED, view);
    let explained = |session: Option<&Session>| {
        let explained = session.and_then(|session| session.explain_view(&name));
        explained.filter(|view| view.exists)
    };
    let (old, new) = (explained(before), explained(after));
    let state = |view: &Option<ViewExplanation>, column: &String| match view {
        Some(view) if view.always_null.contains(column) => ColumnState::Masked,
        Some(view) if view.columns.contains(column) => ColumnState::Clear,
        _ => ColumnState::Absent,
    };
    let mut columns: Vec<&String> = new.iter().flat_map(|view| &view.columns).collect();
    let gone = old.iter().flat_map(|view| &view.columns);
    columns.extend(gone.filter(|column| !new.iter().any(|view| view.columns.contains(column))));
    let columns: Vec<ColumnChange> = columns
        .into_iter()
        .map(|column| ColumnChange {
            column: column.clone(),
            before: state(&old, column),
            after: state(&new, column),
            masks_before: Vec::new(),
            masks_after: Vec::new(),
        })
        .filter(|change| change.before != change.after)
        .collect();
    let both = before.zip(after).filter(|_| old.is_some() && new.is_some());
    let change = TableChange {
        table: name.clone(),
        is_view: true,
        existed: old.is_some(),
        exists: new.is_some(),
        columns,
        groups_before: Vec::new(),
        groups_after: Vec::new(),
        must_count: false,
        undecided: both.is_some_and(|(before, after)| view_rules(before, &name) != view_rules(after, &name)),
    };
    (change.existed != change.exists || change.undecided || !change.columns.is_empty()).then_some(change)
}

/// What a policy says of a view: the columns it lists, and masks by column.
type ViewRule = (Option<Vec<String>>, Vec<(String, String)>);

/// What the policies that apply say of a view's own columns.
fn view_rules(session: &Session, view: &TableName) -> Vec<ViewRule> {
    let catalog = &session.catalog;
    let policies = catalog.snapshot.catalog.project.policies.iter();
    policies
        .filter(|policy| catalog.standing.applies(policy))
        .map(|policy| {
            let listed = policy.columns.get(view);
            let listed = listed.map(|(columns, _)| columns.iter().map(|(column, _)| column.clone()).collect());
            let masks = policy.masks.iter().filter(|(column, _)| column.table == *view);
            let masks = masks.map(|(column, sql)| (column.column.clone(), sql.text.clone()));
            (listed, masks.collect())
        })
        .filter(|(listed, masks): &(_, Vec<_>)| listed.is_some() || !masks.is_empty())
        .collect()
}

/// Whether two enforcements of one table give the same rows, whatever the data: compiled alike, policy by policy.
fn same_rows(before: &Enforcement, after: &Enforcement) -> bool {
    before.groups == after.groups
        && before.policies.len() == after.policies.len()
        && before.policies.iter().zip(&after.policies).all(|(old, new)| {
            old.admissions.len() == new.admissions.len()
                && old
                    .admissions
                    .iter()
                    .zip(&new.admissions)
                    .all(|(old, new)| same_admission(old, new))
        })
}

/// Whether they show the same columns by the same cells.
fn same_columns(before: &Enforcement, after: &Enforcement) -> bool {
    before.columns.len() == after.columns.len() && same_cells(before, after)
}

/// Whether columns that both have are shown by the same cells.
fn same_cells(before: &Enforcement, after: &Enforcement) -> bool {
    before.columns.iter().all(|old| {
        let new = after.columns.iter().find(|new| new.index == old.index);
        new.is_none_or(|new| old.cells == new.cells)
    })
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
