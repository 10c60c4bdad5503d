//! The names a project and its SQL use.
//!
//! Owns: `TableName`, the one spelling of "this table of this source". Never: resolves a name.

use std::fmt;

/// The schemas Caliber makes itself: no source may take their names.
pub const RESERVED_SCHEMAS: [&str; 4] = ["unified", "caliber", "radar", "information_schema"];

/// `schema.table`: a source's table (`credit.loan`) or a table Caliber makes (`unified.customer_360`).
///
/// Both parts keep the case of the source; comparison is exact.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The source's name in the project, or `unified`, `caliber`, `radar`.
    pub schema: String,
    /// The table's name in its source.
    pub table: String,
}

impl TableName {
    /// A name of two parts, taken as they are.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            table: table.into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// `schema.table.column`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnName {
    /// The column's table.
    pub table: TableName,
    /// The column, in the source's case.
    pub column: String,
}

impl fmt::Display for ColumnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.column)
    }
}

/// The suffixes of an entity's views in `unified`: the entity seen whole, and its metrics.
const VIEWS: [&str; 2] = ["_360", "_metrics"];

/// The entity that a view of `unified` is of, by its name.
pub fn entity_of_view(view: &str) -> Option<&str> {
    VIEWS.iter().find_map(|suffix| view.strip_suffix(suffix))
}

/// The names of the views of an entity.
pub fn views_of(entity: &str) -> [String; 2] {
    VIEWS.map(|suffix| format!("{entity}{suffix}"))
}
