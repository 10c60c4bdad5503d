//! What policy decided for one principal and one table.
//!
//! Owns: the decision as data, for the engine to enforce. Never: enforces it, evaluates SQL.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::diagnostic::Place;
use crate::name::TableName;

/// A table some policy opens to a principal.
///
/// A row is visible if any of `policies` admits it. A cell is clear if any policy that admits *that row* shows
/// it clear; else it shows the first applicable mask, in the order of `policies`; a column granted only by
/// policies that do not admit the row is NULL on it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableGrant {
    /// The table.
    pub table: TableName,
    /// The columns that exist for the principal, in the source's order.
    pub columns: Vec<String>,
    /// The policies that open the table, in the order of file path, then place. Never empty.
    pub policies: Vec<PolicyGrant>,
}

/// What one policy gives on one table.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyGrant {
    /// The policy's name in the project.
    pub policy: String,
    /// The columns this policy grants (clear or masked), in the source's order.
    pub columns: Vec<String>,
    /// Conditions that must all hold on a row; empty admits every row.
    pub rows: Vec<RowFilter>,
    /// By column: the SQL expression over the raw row that replaces the column.
    pub masks: BTreeMap<String, SqlText>,
    /// If set, the rows may be seen only as aggregates over at least so many instances of an entity.
    pub groups: Option<GroupFloor>,
}

/// How many instances of an entity must stand behind what is shown of a table, and which column names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFloor {
    /// The entity's name.
    pub entity: String,
    /// The column of the table that holds the entity's key.
    pub column: String,
    /// At least 2.
    pub size: u32,
}

/// `min_group`: the fewest instances of an entity that may stand behind a number.
#[derive(Clone, Debug, PartialEq)]
pub struct MinGroup {
    /// The entity's name.
    pub entity: String,
    /// At least 2.
    pub size: u32,
    /// Where the entity's name stands.
    pub place: Place,
}

/// A view of `unified` that some policy opens to a principal.
///
/// Its rows and values are those of the tables it is made of, which are decided on their own; of them a policy shows only
/// what it grants here. Cells add up as in a `TableGrant`.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewGrant {
    /// The view.
    pub view: TableName,
    /// The policies that open it, in the order of file path, then place. Never empty.
    pub policies: Vec<ViewPolicy>,
}

/// What one policy gives on a view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewPolicy {
    /// The policy's name in the project.
    pub policy: String,
    /// The only columns it grants; `None` grants all.
    pub columns: Option<Vec<String>>,
    /// By column: the SQL expression over the view's columns that replaces the column.
    pub masks: BTreeMap<String, SqlText>,
    /// Whether it opens the entity's table too, and so says which rows it admits. One that does not admits every row that
    /// other policies open.
    pub opens_table: bool,
}

/// One condition of a policy on the rows of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum RowFilter {
    /// A predicate over the table's own raw columns and `principal.*`.
    Table(SqlText),
    /// The row belongs to a visible instance of an entity.
    Entity(EntityFilter),
}

/// Rows that belong to the instances of an entity for which `predicate` holds.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityFilter {
    /// The entity's name.
    pub entity: String,
    /// The entity's table.
    pub entity_table: TableName,
    /// The entity's key column.
    pub entity_key: String,
    /// The condition over the entity's table and `principal.*`.
    pub predicate: SqlText,
    /// How a row of the governed table finds its entity. Empty for the entity's own table: the predicate applies as it is.
    pub path: Vec<KeyStep>,
}

/// One step from a governed table towards the entity: `column` of the table before equals `key` of `table`.
///
/// The last step's table is the entity's. For `settlement.trans` under a policy on `customer`:
/// `account_id = accounting.disp.account_id` where `type = 'OWNER'`, then `client_id = accounting.client.client_id`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyStep {
    /// The column of the table before (the governed table, for the first step).
    pub column: String,
    /// The table this step enters.
    pub table: TableName,
    /// The column of `table` that equals `column`.
    pub key: String,
    /// The holdings' `where`, over `table`'s raw columns.
    pub condition: Option<SqlText>,
}

/// A piece of SQL from a project file, with its place for diagnostics.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlText {
    /// The text, after `${…}` was resolved.
    pub text: String,
    /// Where it stands: without its quotes.
    pub place: Place,
}

impl SqlText {
    /// The place of a part of the text, for an error inside it: exact where the file holds the text as it stands
    /// (no `${…}`, no escapes, one line), else the whole.
    pub fn place_of(&self, part: Range<usize>) -> Place {
        let verbatim = self.place.source.text.get(self.place.range.clone()) == Some(self.text.as_str());
        if verbatim && part.end <= self.text.len() {
            self.place.part(part)
        } else {
            self.place.clone()
        }
    }
}
