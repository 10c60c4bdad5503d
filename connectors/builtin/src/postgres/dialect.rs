//! How PostgreSQL spells a `RemoteQuery`, and what of it is exact there.
//!
//! Owns: casts, collations, array parameters. Never: a value in the text.
//!
//! Text: `=` under a deterministic collation compares bytes; order is by bytes only under `COLLATE "C"`.
//! `char(n)` ignores trailing blanks and is read without them, so it is compared as the text that was read.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use caliber_connector_spi::{
    Binder, Capabilities, Comparison, Dialect, Operand, RemoteTable, Side, TypeClass, TypeSet, Value, operator,
};

/// What PostgreSQL evaluates as DataFusion does. Floats are not in it: `-0.0 = 0.0` there, and not here.
pub const CAPABILITIES: Capabilities = Capabilities {
    equality: EXACT,
    order: EXACT,
    keys: TypeSet::of(&[
        TypeClass::Integer,
        TypeClass::Decimal,
        TypeClass::Text,
        TypeClass::Binary,
        TypeClass::Date,
        TypeClass::Timestamp,
        TypeClass::TimestampUtc,
    ]),
    keys_max: 65_536,
    like: true,
    limit: true,
    parameters_max: 30_000,
    // 4713 BC to 5874897 AD.
    dates: (-2_440_588, 2_145_042_905),
    timestamps: (-210_866_803_200_000_000, i64::MAX),
    ..Capabilities::NONE
};

const EXACT: TypeSet = TypeSet::of(&[
    TypeClass::Bool,
    TypeClass::Integer,
    TypeClass::Decimal,
    TypeClass::Text,
    TypeClass::Binary,
    TypeClass::Date,
    TypeClass::Timestamp,
    TypeClass::TimestampUtc,
]);

/// The dialect.
pub struct Postgres;

/// How a column's text is reached.
#[derive(Clone, Copy, PartialEq)]
enum Text {
    /// `text`, `varchar`: as it stands, with an index.
    Plain,
    /// `char(n)`: without its padding; an index can narrow first.
    Padded,
    /// Anything else: by its text form.
    Cast,
}

fn text_of(operand: Operand<'_>) -> Text {
    let Some(column) = operand.column.and_then(|index| operand.table.columns.get(index)) else {
        return Text::Plain;
    };
    let native = column.native_type.as_str();
    if native == "text" || native.starts_with("character varying") {
        Text::Plain
    } else if native == "bpchar" || native == "character" || native.starts_with("character(") {
        Text::Padded
    } else {
        Text::Cast
    }
}

/// A column as text, its collation left alone.
fn as_text(sql: &str, text: Text) -> String {
    match text {
        Text::Plain => sql.to_owned(),
        Text::Padded | Text::Cast => format!("{sql}::text"),
    }
}

fn is_text(side: Side<'_>, operand: Operand<'_>) -> bool {
    match side {
        Side::Value(value) => matches!(value, Value::Text(_)),
        Side::Sql(_) => {
            let column = operand.column.and_then(|index| operand.table.columns.get(index));
            column.is_some_and(|column| column.data_type == DataType::Utf8)
        }
    }
}

impl Dialect for Postgres {
    fn identifier(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn placeholder(&self, number: usize, value: &Value) -> String {
        let cast = match value {
            Value::Bool(_) => "bool",
            Value::Int(_) => "int8",
            Value::UInt(value) if i64::try_from(*value).is_ok() => "int8",
            Value::UInt(_) | Value::Decimal { .. } => "text::numeric",
            Value::Float(_) => "float8",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytea",
            Value::Date(_) => "date",
            Value::Timestamp(_) => "timestamp",
            Value::TimestampUtc(_) => "timestamptz",
        };
        format!("${number}::{cast}")
    }

    fn compare(
        &self,
        left: Side<'_>,
        op: Comparison,
        right: Side<'_>,
        operand: Operand<'_>,
        binder: &mut Binder<'_>,
    ) -> String {
        let sign = operator(op);
        if !(is_text(left, operand) || is_text(right, operand)) {
            return format!("({} {sign} {})", binder.side(left), binder.side(right));
        }
        let text = text_of(operand);
        let equality = matches!(op, Comparison::Equal | Comparison::NotEqual);
        match (left, right) {
            (Side::Sql(column), Side::Value(value)) | (Side::Value(value), Side::Sql(column)) if equality => {
                let bound = binder.value(value);
                let exact = format!("{} {sign} {bound}", as_text(column, text));
                match (text, op) {
                    (Text::Padded, Comparison::Equal) => format!("({column} = {bound}::bpchar AND {exact})"),
                    _ => format!("({exact})"),
                }
            }
            _ => {
                let mut bytewise = |side| match side {
                    Side::Sql(column) => format!("{column}::text COLLATE \"C\""),
                    Side::Value(value) => binder.value(value),
                };
                let (left, right) = (bytewise(left), bytewise(right));
                format!("({left} {sign} {right} COLLATE \"C\")")
            }
        }
    }

    fn in_keys(&self, column: &str, keys: &ArrayRef, operand: Operand<'_>, binder: &mut Binder<'_>) -> String {
        let number = binder.keys(keys);
        let any = |cast: &str| format!("ANY(${number}::{cast})");
        let cast = match keys.data_type() {
            DataType::Utf8 => {
                let text = text_of(operand);
                let exact = format!("{} = {}", as_text(column, text), any("text[]"));
                return match text {
                    Text::Padded => format!("({column} = {} AND {exact})", any("text[]::bpchar[]")),
                    Text::Plain | Text::Cast => format!("({exact})"),
                };
            }
            DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => "text[]::numeric[]",
            DataType::Binary => "bytea[]",
            DataType::Date32 => "date[]",
            DataType::Timestamp(_, None) => "timestamp[]",
            DataType::Timestamp(_, Some(_)) => "timestamptz[]",
            _ => "int8[]",
        };
        format!("({column} = {})", any(cast))
    }

    fn like(&self, text: Side<'_>, pattern: &Value, operand: Operand<'_>, binder: &mut Binder<'_>) -> String {
        let text = match text {
            Side::Sql(column) => as_text(column, text_of(operand)),
            Side::Value(value) => binder.value(value),
        };
        format!("({text} LIKE {})", binder.value(pattern))
    }

    fn select_column(&self, quoted: &str, table: &RemoteTable, index: usize) -> String {
        let is_text = table
            .columns
            .get(index)
            .is_some_and(|column| column.data_type == DataType::Utf8);
        if is_text {
            as_text(
                quoted,
                text_of(Operand {
                    table,
                    column: Some(index),
                }),
            )
        } else {
            quoted.to_owned()
        }
    }
}
