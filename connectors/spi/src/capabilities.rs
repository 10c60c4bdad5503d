//! What a source evaluates exactly as the engine does, as data.
//!
//! Owns: sets of type classes for each kind of predicate. Never: decides what is worth pushing.

use arrow::datatypes::DataType;

use crate::{Comparison, Expr, RemoteTable, Value};

/// A family of Arrow types that a source treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum TypeClass {
    /// `Boolean`
    Bool = 1,
    /// Signed and unsigned integers.
    Integer = 2,
    /// `Float32`, `Float64`
    Float = 4,
    /// `Decimal128`, `Decimal256`
    Decimal = 8,
    /// `Utf8`
    Text = 16,
    /// `Binary`
    Binary = 32,
    /// `Date32`
    Date = 64,
    /// `Timestamp` without a zone.
    Timestamp = 128,
    /// `Timestamp` in UTC.
    TimestampUtc = 256,
}

impl TypeClass {
    /// The class of an Arrow type, if it has one.
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            other if other.is_integer() => Self::Integer,
            DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Decimal,
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Binary,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::TimestampUtc,
            _ => return None,
        })
    }
}

/// A set of type classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeSet(u16);

impl TypeSet {
    /// No class.
    pub const NONE: Self = Self(0);

    /// These classes.
    pub const fn of(classes: &[TypeClass]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < classes.len() {
            bits |= classes[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// Whether the class of `data_type` is in the set.
    pub fn holds(self, data_type: &DataType) -> bool {
        TypeClass::of(data_type).is_some_and(|class| self.0 & class as u16 != 0)
    }
}

/// What a source evaluates exactly. Conservative: what is not listed stays local.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Classes compared exactly by `=`, `<>`, IN and IN keys (text bytewise, without padding).
    pub equality: TypeSet,
    /// Classes compared exactly by `<`, `<=`, `>`, `>=` (text by bytes of UTF-8, floats as IEEE total order does for non-NaN).
    pub order: TypeSet,
    /// Classes whose key arrays travel as one parameter.
    pub keys: TypeSet,
    /// The most keys one array may hold; beyond it the engine scans.
    pub keys_max: usize,
    /// Whether LIKE with a constant pattern is exact.
    pub like: bool,
    /// Whether LIMIT is supported.
    pub limit: bool,
    /// The most bind parameters a statement may have.
    pub parameters_max: usize,
    /// The first and last `Date32` the source knows; a value outside stays local.
    pub dates: (i32, i32),
    /// The first and last timestamp (microseconds since the epoch) the source knows; a value outside stays local.
    pub timestamps: (i64, i64),
}

impl Capabilities {
    /// A source that evaluates nothing.
    pub const NONE: Self = Self {
        equality: TypeSet::NONE,
        order: TypeSet::NONE,
        keys: TypeSet::NONE,
        keys_max: 0,
        like: false,
        limit: false,
        parameters_max: 0,
        dates: (i32::MIN, i32::MAX),
        timestamps: (i64::MIN, i64::MAX),
    };

    /// Whether the source evaluates `predicate` over `table` exactly.
    pub fn evaluates(&self, predicate: &Expr, table: &RemoteTable) -> bool {
        match predicate {
            Expr::Compare { op, left, right } => {
                let classes = match op {
                    Comparison::Equal | Comparison::NotEqual => self.equality,
                    _ => self.order,
                };
                self.operand(classes, left, table) && self.operand(classes, right, table)
            }
            Expr::And(parts) | Expr::Or(parts) => parts.iter().all(|part| self.evaluates(part, table)),
            Expr::Not(part) => self.evaluates(part, table),
            Expr::IsNull(part) => matches!(**part, Expr::Column(index) if index < table.columns.len()),
            Expr::InList { expr, list } => {
                self.operand(self.equality, expr, table) && list.iter().all(|value| self.value(self.equality, value))
            }
            Expr::InKeys { column, keys } => {
                keys.len() <= self.keys_max && self.operand(self.keys, &Expr::Column(*column), table)
            }
            Expr::Like { expr, pattern } => {
                self.like && self.operand(self.equality, expr, table) && is_plain_pattern(pattern)
            }
            Expr::Column(index) => {
                table
                    .columns
                    .get(*index)
                    .is_some_and(|column| column.comparable && column.data_type == DataType::Boolean)
                    && self.equality.holds(&DataType::Boolean)
            }
            Expr::Value(_) => false,
        }
    }

    fn operand(&self, classes: TypeSet, expr: &Expr, table: &RemoteTable) -> bool {
        match expr {
            Expr::Column(index) => table
                .columns
                .get(*index)
                .is_some_and(|column| column.comparable && classes.holds(&column.data_type)),
            Expr::Value(value) => self.value(classes, value),
            _ => false,
        }
    }

    fn value(&self, classes: TypeSet, value: &Value) -> bool {
        let known = match value {
            // NUL is no character of a PostgreSQL text, and ends a text in many a driver.
            Value::Text(text) => !text.contains('\0'),
            Value::Float(number) => !number.is_nan(),
            Value::Date(day) => self.dates.0 <= *day && *day <= self.dates.1,
            Value::Timestamp(at) | Value::TimestampUtc(at) => self.timestamps.0 <= *at && *at <= self.timestamps.1,
            _ => true,
        };
        known && classes.holds(&value.data_type())
    }
}

/// Whether every database reads the pattern alike: `\` escapes only `%`, `_` and itself.
fn is_plain_pattern(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\0' => return false,
            '\\' if !matches!(characters.next(), Some('%' | '_' | '\\')) => return false,
            _ => {}
        }
    }
    true
}
