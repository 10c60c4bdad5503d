//! The expressions of a `RemoteQuery`: a closed list, each with one meaning and one type.
//!
//! Owns: what each expression means, its type, typed values. Never: SQL text, what a given source can do of it.
//!
//! Everything here is total over the values it is given: no expression fails on a row. So it does not matter in which
//! order a source evaluates, or on which rows.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use crate::query::{OutputColumn, Relation};

/// A predicate or value over the columns of the relation below.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A column of what is below, by position.
    Column(usize),
    /// A typed value, always sent as a bind parameter.
    Value(Value),
    /// A value of the statement that is known once it runs. Never reaches a connector: `Relation::with_parameters` puts
    /// the values in their places first.
    Parameter {
        /// Which, counted from 0.
        index: usize,
        /// Its type.
        data_type: DataType,
    },
    /// A NULL of this type.
    Null(DataType),
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
        /// The column's position.
        column: usize,
        /// The keys; may be empty, then no row matches.
        keys: ArrayRef,
    },
    /// `expr` equals a value of the one column of `query`, a relation of its own that names nothing from outside. As a
    /// predicate of which only TRUE counts: it stands under AND and OR alone.
    InQuery {
        /// What is looked up.
        expr: Box<Expr>,
        /// Where.
        query: Box<Relation>,
    },
    /// `expr` LIKE a constant pattern (`%`, `_`, escape `\`), case-sensitive.
    Like {
        /// The text matched.
        expr: Box<Expr>,
        /// The pattern, a bind parameter too.
        pattern: String,
    },
    /// The value of the first branch whose condition is TRUE, else `otherwise`, else NULL.
    Case {
        /// Conditions and values, at least one.
        branches: Vec<(Expr, Expr)>,
        /// The value where no condition is TRUE.
        otherwise: Option<Box<Expr>>,
        /// The type of all values.
        data_type: DataType,
    },
    /// `left op right` of numbers, exact: the engine only asks where the result's type has room for every operand's.
    Arithmetic {
        /// The operator.
        op: Arithmetic,
        /// Its left side.
        left: Box<Expr>,
        /// Its right side.
        right: Box<Expr>,
        /// The type of the result: `Int64` of integers of 32 bits or fewer, or a decimal.
        data_type: DataType,
    },
    /// `expr` as a wider type that holds each of its values exactly: integer to integer or decimal, decimal to decimal of no
    /// smaller scale, date to timestamp.
    Cast {
        /// What.
        expr: Box<Expr>,
        /// The type it becomes.
        data_type: DataType,
    },
    /// A part of a `Date32` or `Timestamp` without a zone, as `Int32`.
    DatePart {
        /// Which.
        part: DatePart,
        /// Of what.
        expr: Box<Expr>,
    },
    /// The first instant of the part of the calendar in which `expr` lies, of its type (`Date32` or `Timestamp`).
    DateTrunc {
        /// To what.
        part: DatePart,
        /// What.
        expr: Box<Expr>,
    },
    /// The characters (Unicode scalar values) of a text from `start` on, at most `length` of them.
    Substring {
        /// Of what.
        expr: Box<Expr>,
        /// The first character's number, at least 1.
        start: u32,
        /// How many; all that follow without it.
        length: Option<u32>,
    },
    /// The number of characters (Unicode scalar values) of a text, as `Int32`.
    CharLength(Box<Expr>),
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

/// An operator on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
}

/// A part of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatePart {
    /// The year, astronomical (0 is 1 BC).
    Year,
    /// 1 to 4.
    Quarter,
    /// 1 to 12.
    Month,
    /// 1 to 31.
    Day,
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

impl Expr {
    /// What the expression gives over `below`.
    pub fn output(&self, below: &[OutputColumn]) -> OutputColumn {
        if let Expr::Column(index) = self
            && let Some(column) = below.get(*index)
        {
            return column.clone();
        }
        let mut comparable = true;
        self.visit(&mut |part| {
            if let Expr::Column(index) | Expr::InKeys { column: index, .. } = part {
                comparable &= below.get(*index).is_some_and(|column| column.comparable);
            }
        });
        OutputColumn {
            data_type: self.data_type(below),
            nullable: !matches!(self, Expr::Value(_) | Expr::Parameter { .. } | Expr::IsNull(_)),
            comparable,
            origin: None,
        }
    }

    /// The Arrow type of the expression over `below`; `Null` for a position out of range.
    pub fn data_type(&self, below: &[OutputColumn]) -> DataType {
        match self {
            Expr::Column(index) => below
                .get(*index)
                .map_or(DataType::Null, |column| column.data_type.clone()),
            Expr::Value(value) => value.data_type(),
            Expr::Null(data_type)
            | Expr::Parameter { data_type, .. }
            | Expr::Case { data_type, .. }
            | Expr::Arithmetic { data_type, .. }
            | Expr::Cast { data_type, .. } => data_type.clone(),
            Expr::DateTrunc { expr, .. } => expr.data_type(below),
            Expr::DatePart { .. } | Expr::CharLength(_) => DataType::Int32,
            Expr::Substring { .. } => DataType::Utf8,
            Expr::Compare { .. }
            | Expr::And(_)
            | Expr::Or(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::InList { .. }
            | Expr::InKeys { .. }
            | Expr::InQuery { .. }
            | Expr::Like { .. } => DataType::Boolean,
        }
    }

    /// The position, where the expression is a column.
    pub fn as_column(&self) -> Option<usize> {
        match self {
            Expr::Column(index) => Some(*index),
            _ => None,
        }
    }

    /// The expressions it is made of.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Column(_) | Expr::Value(_) | Expr::Parameter { .. } | Expr::Null(_) | Expr::InKeys { .. } => {
                Vec::new()
            }
            Expr::Compare { left, right, .. } | Expr::Arithmetic { left, right, .. } => vec![left, right],
            Expr::And(parts) | Expr::Or(parts) => parts.iter().collect(),
            Expr::Not(part) | Expr::IsNull(part) | Expr::CharLength(part) => vec![part],
            Expr::InList { expr, .. }
            | Expr::InQuery { expr, .. }
            | Expr::Like { expr, .. }
            | Expr::Cast { expr, .. }
            | Expr::DatePart { expr, .. }
            | Expr::DateTrunc { expr, .. }
            | Expr::Substring { expr, .. } => vec![expr],
            Expr::Case {
                branches, otherwise, ..
            } => {
                let pairs = branches.iter().flat_map(|(when, then)| [when, then]);
                pairs.chain(otherwise.as_deref()).collect()
            }
        }
    }

    /// The same, to change them.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Expr::Column(_) | Expr::Value(_) | Expr::Parameter { .. } | Expr::Null(_) | Expr::InKeys { .. } => {
                Vec::new()
            }
            Expr::Compare { left, right, .. } | Expr::Arithmetic { left, right, .. } => vec![left, right],
            Expr::And(parts) | Expr::Or(parts) => parts.iter_mut().collect(),
            Expr::Not(part) | Expr::IsNull(part) | Expr::CharLength(part) => vec![part],
            Expr::InList { expr, .. }
            | Expr::InQuery { expr, .. }
            | Expr::Like { expr, .. }
            | Expr::Cast { expr, .. }
            | Expr::DatePart { expr, .. }
            | Expr::DateTrunc { expr, .. }
            | Expr::Substring { expr, .. } => vec![expr],
            Expr::Case {
                branches, otherwise, ..
            } => {
                let pairs = branches.iter_mut().flat_map(|(when, then)| [when, then]);
                pairs.chain(otherwise.as_deref_mut()).collect()
            }
        }
    }

    /// Calls `see` with the expression and everything it is made of. Does not enter the relation of an `InQuery`.
    pub fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Expr)) {
        see(self);
        for child in self.children() {
            child.visit(see);
        }
    }

    /// The same expression over other columns: `place` gives each column's new expression, `None` where there is none.
    /// Keys stand on a column, so what replaces theirs must be one.
    pub fn over(&self, place: &dyn Fn(usize) -> Option<Expr>) -> Option<Expr> {
        match self {
            Expr::Column(index) => place(*index),
            Expr::InKeys { column, keys } => Some(Expr::InKeys {
                column: place(*column)?.as_column()?,
                keys: keys.clone(),
            }),
            other => {
                let mut moved = other.clone();
                for child in moved.children_mut() {
                    *child = child.over(place)?;
                }
                Some(moved)
            }
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
