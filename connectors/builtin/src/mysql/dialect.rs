//! How MariaDB and MySQL spell a `RemoteQuery`, and what of it is exact there.
//!
//! Owns: casts, the bytes behind a text, keys as a JSON table. Never: a value in the text.
//!
//! Text compares by a collation that may ignore case, accents and trailing blanks. So its UTF-8 bytes are compared
//! instead; where it is an equality, the column's own comparison stands beside it, for an index: equal bytes are
//! equal under every collation.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use caliber_connector_spi::{
    Binder, Capabilities, Comparison, Dialect, Operand, RemoteColumn, RemoteTable, Side, TypeClass, TypeSet, Value,
    operator,
};

use super::session::Server;
use super::value;

/// What both servers evaluate as DataFusion does. Floats are not in it: `-0.0 = 0.0` there, and not here.
pub const CAPABILITIES: Capabilities = Capabilities {
    equality: EXACT,
    order: EXACT,
    keys: TypeSet::of(&[
        TypeClass::Integer,
        TypeClass::Decimal,
        TypeClass::Text,
        TypeClass::Date,
        TypeClass::Timestamp,
        TypeClass::TimestampUtc,
    ]),
    keys_max: 50_000,
    like: true,
    limit: true,
    parameters_max: 10_000,
    // Year 1 to year 9999.
    dates: (-719_162, 2_932_896),
    timestamps: (-62_135_596_800_000_000, 253_402_300_799_999_999),
    ..Capabilities::NONE
};

const EXACT: TypeSet = TypeSet::of(&[
    TypeClass::Integer,
    TypeClass::Decimal,
    TypeClass::Text,
    TypeClass::Binary,
    TypeClass::Date,
    TypeClass::Timestamp,
    TypeClass::TimestampUtc,
]);

/// The longest text that a column of a JSON table holds here.
const JSON_TEXT_MAX: usize = 4_096;

/// The dialect of one server.
pub struct Mysql {
    has_json_table: bool,
}

fn column(operand: Operand<'_>) -> Option<&RemoteColumn> {
    operand.column.and_then(|index| operand.table.columns.get(index))
}

fn is_text(side: Side<'_>, operand: Operand<'_>) -> bool {
    match side {
        Side::Value(value) => matches!(value, Value::Text(_)),
        Side::Sql(_) => column(operand).is_some_and(|column| column.data_type == DataType::Utf8),
    }
}

/// The bytes of a column's text in UTF-8. `CHAR` comes without its padding, as it is read.
fn bytes_of(column: &str) -> String {
    format!("CAST(CONVERT({column} USING utf8mb4) AS BINARY)")
}

/// Whether the column's own `=` can take this value: another character set may have no room for it.
fn can_narrow(operand: Operand<'_>, value: &Value) -> bool {
    let is_unicode = column(operand).is_some_and(|column| column.native_type.contains(" character set utf8mb4"));
    match value {
        Value::Text(text) => is_unicode || text.is_ascii(),
        _ => false,
    }
}

impl Mysql {
    /// The dialect `server` speaks.
    pub fn of(server: Server) -> Self {
        Self {
            has_json_table: server.has_json_table,
        }
    }

    /// `needle IN (keys)`, each key a row of a table made from one JSON parameter.
    fn in_json(needle: &str, key_type: &str, key: &str, keys: &ArrayRef, binder: &mut Binder<'_>) -> String {
        binder.keys(keys);
        format!(
            "({needle} IN (SELECT {key} FROM JSON_TABLE(?, '$[*]' COLUMNS (v {key_type} PATH '$' \
             ERROR ON EMPTY ERROR ON ERROR)) AS k))"
        )
    }
}

impl Dialect for Mysql {
    fn identifier(&self, name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    fn placeholder(&self, _: usize, value: &Value) -> String {
        match value {
            Value::Decimal { precision, scale, .. } => {
                // A negative scale is written out as zeros.
                let (precision, scale) = if *scale < 0 {
                    (65, 0)
                } else {
                    ((*precision).min(65), *scale)
                };
                format!("CAST(? AS DECIMAL({precision},{scale}))")
            }
            Value::Bytes(_) => "UNHEX(?)".to_owned(),
            Value::Date(_) => "CAST(? AS DATE)".to_owned(),
            Value::Timestamp(_) | Value::TimestampUtc(_) => "CAST(? AS DATETIME(6))".to_owned(),
            Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Text(_) => "?".to_owned(),
        }
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
        let narrow = match (left, right) {
            (Side::Sql(column), Side::Value(value)) | (Side::Value(value), Side::Sql(column))
                if op == Comparison::Equal && can_narrow(operand, value) =>
            {
                format!("{column} = {} AND ", binder.value(value))
            }
            _ => String::new(),
        };
        let mut bytes = |side| match side {
            Side::Sql(column) => bytes_of(column),
            Side::Value(value) => format!("CAST({} AS BINARY)", binder.value(value)),
        };
        format!("({narrow}{} {sign} {})", bytes(left), bytes(right))
    }

    fn in_keys(&self, column: &str, keys: &ArrayRef, operand: Operand<'_>, binder: &mut Binder<'_>) -> String {
        let is_text = *keys.data_type() == DataType::Utf8;
        let longest = if is_text {
            keys.as_string::<i32>()
                .iter()
                .flatten()
                .map(str::len)
                .max()
                .unwrap_or(0)
        } else {
            0
        };
        if self.has_json_table && longest <= JSON_TEXT_MAX {
            if let Some(key_type) = value::json_type(keys.data_type()) {
                return Self::in_json(column, &key_type, "k.v", keys, binder);
            }
            if is_text {
                let key_type = format!("VARCHAR({JSON_TEXT_MAX}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
                return Self::in_json(&bytes_of(column), &key_type, "CAST(k.v AS BINARY)", keys, binder);
            }
        }
        let parts: Vec<String> = value::values(keys)
            .iter()
            .map(|value| {
                self.compare(
                    Side::Sql(column),
                    Comparison::Equal,
                    Side::Value(value),
                    operand,
                    binder,
                )
            })
            .collect();
        if parts.is_empty() {
            "(1 = 0)".to_owned()
        } else {
            format!("({})", parts.join(" OR "))
        }
    }

    fn like(&self, text: Side<'_>, pattern: &Value, _: Operand<'_>, binder: &mut Binder<'_>) -> String {
        // By characters, not by bytes: `_` is one character. LIKE ignores no trailing blank.
        let text = binder.side(text);
        format!(
            "(CONVERT({text} USING utf8mb4) COLLATE utf8mb4_bin LIKE {})",
            binder.value(pattern)
        )
    }

    fn is_null(&self, operand: &str) -> String {
        // `IS NULL` also finds the date 0000-00-00 in a column that is never NULL.
        format!("({operand} <=> NULL)")
    }

    fn select_column(&self, quoted: &str, table: &RemoteTable, index: usize) -> String {
        let is_cast = table.columns.get(index).is_some_and(|column| {
            column.data_type == DataType::Utf8 && !column.native_type.contains(" character set ")
        });
        // What has no character set of its own (TIME, UUID, a wide DECIMAL) is read in the server's own spelling.
        if is_cast {
            format!("CAST({quoted} AS CHAR)")
        } else {
            quoted.to_owned()
        }
    }
}
