//! What a source was found to hold: tables, columns, keys.
//!
//! Owns: the description a connector returns from introspection. Never: any row, any connection.

use arrow_schema::DataType;

/// Everything a connector could describe of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceSchema {
    /// The tables and views, sorted by name.
    pub tables: Vec<RemoteTable>,
    /// What could not be described and why (a column of a type with no mapping), in words, for `check`.
    pub notices: Vec<String>,
}

impl SourceSchema {
    /// The table of that exact name.
    pub fn table(&self, name: &str) -> Option<&RemoteTable> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// One table or view of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteTable {
    /// Its name in the source's own case; also its name in SQL.
    pub name: String,
    /// The namespace it stands in at the source (a PostgreSQL schema), where there is one.
    pub namespace: Option<String>,
    /// Whether it is a view.
    pub is_view: bool,
    /// The columns in the source's order. A column whose type has no mapping is absent, with a notice.
    pub columns: Vec<RemoteColumn>,
    /// The columns of the primary key the source enforces; empty where there is none.
    pub primary_key: Vec<String>,
    /// Further unique keys over non-null columns that the source enforces.
    pub unique_keys: Vec<Vec<String>>,
    /// The foreign keys the source enforces within itself.
    pub foreign_keys: Vec<ForeignKey>,
    /// The source's comment on the table.
    pub comment: Option<String>,
    /// The source's own estimate of its rows.
    pub rows_estimate: Option<u64>,
}

impl RemoteTable {
    /// The column of that exact name.
    pub fn column(&self, name: &str) -> Option<&RemoteColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// One column of a table of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteColumn {
    /// Its name in the source's own case.
    pub name: String,
    /// The Arrow type its values arrive in.
    pub data_type: DataType,
    /// Whether the source allows NULL in it.
    pub nullable: bool,
    /// The type as the source spells it.
    pub native_type: String,
    /// The source's comment on the column.
    pub comment: Option<String>,
    /// Whether comparing this column at the source can be made exact (bytewise for text, no lossy class).
    /// Where it is false, no predicate on the column is pushed.
    pub comparable: bool,
    /// The source's own estimate of how many different values it holds, NULL apart.
    pub distinct_estimate: Option<u64>,
}

/// `columns` of this table reference `target_columns` of `target`, in the same source.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignKey {
    /// The referencing columns.
    pub columns: Vec<String>,
    /// The referenced table's name.
    pub target: String,
    /// The referenced columns, in the order of `columns`.
    pub target_columns: Vec<String>,
}
