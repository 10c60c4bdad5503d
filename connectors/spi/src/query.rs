//! `RemoteQuery`: the small, typed relational tree a source may be asked to run.
//!
//! Owns: relations, expressions, typed values and keys. Never: SQL text; values become bind parameters.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::RemoteTable;

/// A query over tables of one source.
#[derive(Clone, Debug)]
pub struct RemoteQuery {
    /// The tree.
    pub root: Relation,
}

/// A node of a remote query. Every node's output columns are named, and names are unique within it.
#[derive(Clone, Debug)]
pub enum Relation {
    /// Columns of a table, in the order given. No column at all is a legal scan: it gives rows without columns.
    Scan {
        /// The table, as introspected.
        table: Arc<RemoteTable>,
        /// Indices into `table.columns`, each once.
        columns: Vec<usize>,
    },
    /// The rows of `input` for which `predicate` is TRUE.
    Filter {
        /// Over what.
        input: Box<Relation>,
        /// May use any column of the scan below, fetched or not, so that filtering does not force fetching.
        predicate: Expr,
    },
    /// The first `rows` rows of `input`, in no particular order.
    Limit {
        /// Over what.
        input: Box<Relation>,
        /// How many.
        rows: u64,
    },
}

/// A predicate or value. Columns are those of the scan below the node, by index into `RemoteTable::columns`.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A column of the scanned table.
    Column(usize),
    /// A typed value, always sent as a bind parameter.
    Value(Value),
    /// `left op right`; both of the same Arrow type. NULL if either is NULL.
    Compare {
        /// The operator.
        op: Comparison,
        /// Its left side.
        left: Box<Expr>,
        /// Its right side.
        right: Box<Expr>,
    },
    /// Three-valued AND over two or more.
    And(Vec<Expr>),
    /// Three-valued OR over two or more.
    Or(Vec<Expr>),
    /// Three-valued NOT.
    Not(Box<Expr>),
    /// IS NULL; never NULL itself.
    IsNull(Box<Expr>),
    /// `expr` IN a list of values of its type, with SQL's NULL rules (a NULL in the list never matches; engine drops it only where sound).
    InList {
        /// What is looked up.
        expr: Box<Expr>,
        /// Non-null values, at least one.
        list: Vec<Value>,
    },
    /// `column` equals one of `keys`: one array with no NULL, of the column's Arrow type, sent as one parameter whatever its length.
    InKeys {
        /// Index into `RemoteTable::columns`.
        column: usize,
        /// The keys; may be empty, then no row matches.
        keys: ArrayRef,
    },
    /// `expr` LIKE a constant pattern (`%`, `_`, escape `\`), case-sensitive.
    Like {
        /// The text matched.
        expr: Box<Expr>,
        /// The pattern, a bind parameter too.
        pattern: String,
    },
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A non-null value of one Arrow type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `Boolean`
    Bool(bool),
    /// `Int8` to `Int64`
    Int(i64),
    /// `UInt8` to `UInt64`
    UInt(u64),
    /// `Float32`, `Float64`
    Float(f64),
    /// `Decimal128(precision, scale)`: the unscaled value.
    Decimal {
        /// The value times ten to the `scale`.
        unscaled: i128,
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// `Utf8`
    Text(String),
    /// `Binary`
    Bytes(Vec<u8>),
    /// `Date32`: days since 1970-01-01.
    Date(i32),
    /// `Timestamp(Microsecond, None)`: microseconds since 1970-01-01T00:00:00 with no zone.
    Timestamp(i64),
    /// `Timestamp(Microsecond, "UTC")`: microseconds since the epoch.
    TimestampUtc(i64),
}

impl Relation {
    /// The table scanned at the bottom.
    pub fn table(&self) -> &Arc<RemoteTable> {
        match self {
            Relation::Scan { table, .. } => table,
            Relation::Filter { input, .. } | Relation::Limit { input, .. } => input.table(),
        }
    }

    /// The fetched columns, as indices into the table's.
    pub fn columns(&self) -> &[usize] {
        match self {
            Relation::Scan { columns, .. } => columns,
            Relation::Filter { input, .. } | Relation::Limit { input, .. } => input.columns(),
        }
    }
}

impl RemoteQuery {
    /// The Arrow schema of the result, exactly.
    pub fn schema(&self) -> SchemaRef {
        let table = self.root.table();
        let fields: Vec<Field> = self
            .root
            .columns()
            .iter()
            .filter_map(|index| table.columns.get(*index))
            .map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable))
            .collect();
        Arc::new(Schema::new(fields))
    }
}

impl Expr {
    /// The Arrow type of the expression over `table`; `None` for a column index out of range.
    pub fn data_type(&self, table: &RemoteTable) -> Option<DataType> {
        match self {
            Expr::Column(index) => table.columns.get(*index).map(|column| column.data_type.clone()),
            Expr::Value(value) => Some(value.data_type()),
            _ => Some(DataType::Boolean),
        }
    }
}

impl Value {
    /// Its Arrow type, the widest of its family.
    pub fn data_type(&self) -> DataType {
        use arrow::datatypes::TimeUnit::Microsecond;
        match self {
            Value::Bool(_) => DataType::Boolean,
            Value::Int(_) => DataType::Int64,
            Value::UInt(_) => DataType::UInt64,
            Value::Float(_) => DataType::Float64,
            Value::Decimal { precision, scale, .. } => DataType::Decimal128(*precision, *scale),
            Value::Text(_) => DataType::Utf8,
            Value::Bytes(_) => DataType::Binary,
            Value::Date(_) => DataType::Date32,
            Value::Timestamp(_) => DataType::Timestamp(Microsecond, None),
            Value::TimestampUtc(_) => DataType::Timestamp(Microsecond, Some("UTC".into())),
        }
    }
}
