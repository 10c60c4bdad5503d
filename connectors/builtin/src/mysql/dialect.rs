//! How MariaDB and MySQL spell a `RemoteQuery`, and what of it is exact there.
//!
//! Owns: casts, the bytes behind a text, keys as a JSON table. Never: a value in the text.
//!
//! Text compares by a collation that may ignore case, accents and trailing blanks. So its UTF-8 bytes are compared
//! instead; where it is an equality, the column's own comparison stands beside it, for an index: equal bytes are
//! equal under every collation.
//!
//! A date such as 0000-00-00 or 2000-02-30 is no date here. It takes part in comparisons as the server orders it; a
//! function of it gives what is refused once it is read.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use caliber_connector_spi::{
    AggregateFunction, Arithmetic, Call, Capabilities, Comparison, DatePart, Dialect, Form, Function, Operand,
    OutputColumn, Parameter, Sql, Subquery, TypeClass, TypeSet, Value, operator,
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
    group: EXACT,
    sort: EXACT,
    extremes: TypeSet::of(&[
        TypeClass::Integer,
        TypeClass::Decimal,
        TypeClass::Text,
        TypeClass::Binary,
        TypeClass::Date,
        TypeClass::Timestamp,
        TypeClass::TimestampUtc,
    ]),
    sums: TypeSet::of(&[TypeClass::Integer, TypeClass::Decimal]),
    join: true,
    union: true,
    subquery: true,
    predicate_values: true,
    functions: &[
        Function::Case,
        Function::IntegerArithmetic,
        Function::DecimalArithmetic,
        Function::NumberCast,
        Function::DateCast,
        Function::DatePart,
        Function::DateTrunc,
        Function::Substring,
        Function::CharLength,
    ],
    // MariaDB has 38, MySQL cuts what follows.
    decimal_scale_max: 30,
    whole: is_short,
    parts: false,
    parameters_max: 10_000,
    // Year 1 to year 9999.
    dates: (-719_162, 2_932_896),
    timestamps: (-62_135_596_800_000_000, 253_402_300_799_999_999),
    ..Capabilities::NONE
};

/// `Boolean` is what a condition gives; there is no column of it.
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

/// The longest text that a column of a JSON table holds here.
const JSON_TEXT_MAX: usize = 4_096;

/// The longest value that is sorted and grouped by.
const SORTED_BYTES: usize = 1_024;
/// What the session pins as `max_sort_length`: the bytes of a value that the server looks at, its length among them.
pub const SORT_LENGTH: usize = 2 * SORTED_BYTES;

/// The dialect of one server.
pub struct Mysql {
    has_json_table: bool,
}

/// Whether no value of the column has more bytes than are sorted and grouped by.
fn is_short(column: &OutputColumn) -> bool {
    let Some(described) = column.described() else {
        return false;
    };
    let native = described.native_type.as_str();
    let (name, rest) = native.split_once('(').unwrap_or((native, ""));
    let length = || {
        rest.split_once(')')
            .and_then(|(length, _)| length.parse::<usize>().ok())
    };
    match name.split_once(' ').map_or(name, |(name, _)| name) {
        "char" | "varchar" => length().is_some_and(|characters| characters * 4 <= SORTED_BYTES),
        "binary" | "varbinary" => length().is_some_and(|bytes| bytes <= SORTED_BYTES),
        "tinyblob" | "tinytext" => true,
        // All elements together.
        "enum" | "set" => native.len() * 4 <= SORTED_BYTES,
        _ => false,
    }
}

fn native(operand: &Operand) -> &str {
    operand.described().map_or("", |column| column.native_type.as_str())
}

/// The character set of a text as described; `None` where it is no column of text.
pub fn character_set(native: &str) -> Option<&str> {
    let (_, rest) = native.split_once(" character set ")?;
    Some(rest.split_once(' ').map_or(rest, |(set, _)| set))
}

/// Whether every text that a column of the character set can hold has a counterpart in Unicode. Of others the server
/// makes a `?`, and says nothing.
pub fn is_unicode(character_set: &str) -> bool {
    matches!(character_set, "utf8mb4" | "utf8mb3" | "utf8" | "latin1")
}

/// The text in UTF-8; what is no character of its character set becomes what is no UTF-8 either, and is refused once it
/// is read.
///
/// A `?` that was one before goes back to the bytes that are stored.
fn checked_in_utf8(text: &Sql, character_set: &str) -> Sql {
    let converted = in_utf8(text);
    let back = Sql::of(
        "CONVERT({} USING {})",
        &[&converted, &Sql::text(character_set.to_owned())],
    );
    Sql::of(
        "IF(INSTR(CAST({} AS BINARY), 0x3f) = 0 OR CAST({} AS BINARY) <=> CAST({} AS BINARY), {}, CAST(0xff AS BINARY))",
        &[&converted, &back, text, &converted],
    )
}

fn in_utf8(text: &Sql) -> Sql {
    Sql::of("CONVERT({} USING utf8mb4)", &[text])
}

/// The bytes of a text in UTF-8. `CHAR` comes without its padding, as it is read.
fn bytes_of(operand: &Operand) -> Sql {
    match &operand.form {
        Form::Value(_) => Sql::of("CAST({} AS BINARY)", &[&operand.sql]),
        _ => Sql::of("CAST({} AS BINARY)", &[&in_utf8(&operand.sql)]),
    }
}

/// What is compared, sorted and grouped: bytes where it is a text.
fn exact(operand: &Operand) -> Sql {
    if operand.is_text() {
        bytes_of(operand)
    } else {
        operand.sql.clone()
    }
}

/// Whether the server's own `=` can take both sides: it refuses two collations, and a value for which a character set
/// has no room.
fn can_narrow(left: &Operand, right: &Operand) -> bool {
    let character_set = |operand| {
        native(operand)
            .split_once(" character set ")
            .map(|(_, set)| set.to_owned())
    };
    match (left.as_value(), right.as_value()) {
        (None, None) => character_set(left).is_some_and(|set| Some(set) == character_set(right)),
        (None, Some(Value::Text(text))) => {
            character_set(left).is_some_and(|set| set.starts_with("utf8mb4 ") || text.is_ascii())
        }
        (Some(_), None) => can_narrow(right, left),
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
    fn in_json(needle: &Sql, key_type: String, key: &'static str, keys: &ArrayRef) -> Sql {
        Sql::of(
            "({} IN (SELECT {} FROM JSON_TABLE({}, '$[*]' COLUMNS (v {} PATH '$' ERROR ON EMPTY ERROR ON ERROR)) AS k))",
            &[needle, &Sql::text(key), &Sql::keys(keys), &Sql::text(key_type)],
        )
    }
}

impl Dialect for Mysql {
    fn identifier(&self, name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    fn placeholder(&self, _: usize, parameter: &Parameter) -> String {
        match parameter.as_value() {
            Some(Value::Decimal { precision, scale, .. }) => {
                // A negative scale is written out as zeros.
                let (precision, scale) = if *scale < 0 {
                    (65, 0)
                } else {
                    ((*precision).min(65), *scale)
                };
                format!("CAST(? AS DECIMAL({precision},{scale}))")
            }
            Some(Value::Bytes(_)) => "UNHEX(?)".to_owned(),
            Some(Value::Date(_)) => "CAST(? AS DATE)".to_owned(),
            Some(Value::Timestamp(_) | Value::TimestampUtc(_)) => "CAST(? AS DATETIME(6))".to_owned(),
            _ => "?".to_owned(),
        }
    }

    fn is_positional(&self) -> bool {
        true
    }

    /// A bit field and a year are numbers only where they are compared.
    fn checked(&self, operand: &Operand) -> Operand {
        let native = native(operand);
        let number = if native.starts_with("bit") {
            Sql::of("CAST({} AS UNSIGNED)", &[&operand.sql])
        } else if native.starts_with("year") {
            Sql::of("CAST({} AS SIGNED)", &[&operand.sql])
        } else {
            return operand.clone();
        };
        Operand {
            nullable: operand.nullable,
            ..Operand::typed(number, &operand.data_type)
        }
    }

    fn select(&self, operand: &Operand) -> Sql {
        let sql = &operand.sql;
        match (&operand.form, &operand.data_type) {
            // What has no character set of its own (TIME, UUID, a wide DECIMAL) is read in the server's own spelling.
            (Form::Column(..), DataType::Utf8) if !native(operand).contains(" character set ") => {
                Sql::of("CAST({} AS CHAR)", &[sql])
            }
            (Form::Column(..), DataType::Utf8) => match character_set(native(operand)) {
                Some(set) if !is_unicode(set) => checked_in_utf8(sql, set),
                _ => sql.clone(),
            },
            (Form::Column(..), DataType::UInt64) => self.checked(operand).sql,
            // A parameter alone has no type.
            (Form::Value(Value::Int(_) | Value::Bool(_)), _) => Sql::of("CAST({} AS SIGNED)", &[sql]),
            (Form::Value(Value::UInt(_)), _) => Sql::of("CAST({} AS UNSIGNED)", &[sql]),
            (Form::Value(Value::Text(_)), _) => in_utf8(sql),
            (Form::Value(Value::Float(_)), _) => Sql::of("({} + 0e0)", &[sql]),
            (Form::Loose, DataType::Decimal128(precision, scale)) => {
                let kind = Sql::text(format!("DECIMAL({precision},{scale})"));
                Sql::of("CAST({} AS {})", &[sql, &kind])
            }
            (Form::Loose, DataType::Date32) => Sql::of("CAST({} AS DATE)", &[sql]),
            (Form::Loose, DataType::Timestamp(..)) => Sql::of("CAST({} AS DATETIME(6))", &[sql]),
            _ => sql.clone(),
        }
    }

    fn united(&self, operand: &Operand) -> Sql {
        let selected = self.select(operand);
        if operand.is_text() {
            Sql::of("({} COLLATE utf8mb4_bin)", &[&in_utf8(&selected)])
        } else {
            selected
        }
    }

    fn compare(&self, left: &Operand, op: Comparison, right: &Operand) -> Sql {
        let sign = Sql::text(operator(op));
        let compared = Sql::of("{} {} {}", &[&exact(left), &sign, &exact(right)]);
        if left.is_text() && op == Comparison::Equal && can_narrow(left, right) {
            return Sql::of("({} = {} AND {})", &[&left.sql, &right.sql, &compared]);
        }
        Sql::of("({})", &[&compared])
    }

    fn in_keys(&self, needle: &Operand, keys: &ArrayRef) -> Sql {
        let is_text = *keys.data_type() == DataType::Utf8;
        let longest = if is_text {
            let lengths = keys.as_string::<i32>().iter().flatten().map(str::len);
            lengths.max().unwrap_or(0)
        } else {
            0
        };
        if self.has_json_table && longest <= JSON_TEXT_MAX {
            if let Some(key_type) = value::json_type(keys.data_type()) {
                return Self::in_json(&needle.sql, key_type, "k.v", keys);
            }
            if is_text {
                let key_type = format!("VARCHAR({JSON_TEXT_MAX}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
                return Self::in_json(&bytes_of(needle), key_type, "CAST(k.v AS BINARY)", keys);
            }
        }
        let values: Vec<Operand> = value::values(keys).iter().map(Operand::value).collect();
        self.in_list(needle, &values)
    }

    fn in_query(&self, needle: &Operand, query: &Subquery<'_>) -> Sql {
        if needle.is_text() {
            // Two comparisons for one: the column's own, for an index, and that of the bytes.
            return query.holding(needle);
        }
        Sql::of("({} IN ({}))", &[&needle.sql, &query.selecting(&query.column().sql)])
    }

    fn like(&self, text: &Operand, pattern: &Operand) -> Sql {
        // By characters, not by bytes: `_` is one character. LIKE ignores no trailing blank.
        Sql::of("({} COLLATE utf8mb4_bin LIKE {})", &[&in_utf8(&text.sql), &pattern.sql])
    }

    fn is_null(&self, operand: &Operand) -> Sql {
        // `IS NULL` also finds the date 0000-00-00 in a column that is never NULL.
        Sql::of("({} <=> NULL)", &[&operand.sql])
    }

    fn null(&self, data_type: &DataType) -> Sql {
        Sql::text(match data_type {
            DataType::Decimal128(precision, scale) => format!("CAST(NULL AS DECIMAL({precision},{scale}))"),
            DataType::UInt64 => "CAST(NULL AS UNSIGNED)".to_owned(),
            DataType::Float32 | DataType::Float64 => "(NULL + 0e0)".to_owned(),
            DataType::Utf8 => "CONVERT(NULL USING utf8mb4)".to_owned(),
            DataType::Binary => "CAST(NULL AS BINARY)".to_owned(),
            DataType::Date32 => "CAST(NULL AS DATE)".to_owned(),
            DataType::Timestamp(..) => "CAST(NULL AS DATETIME(6))".to_owned(),
            _ => "CAST(NULL AS SIGNED)".to_owned(),
        })
    }

    fn group(&self, key: &Operand) -> (Sql, Operand) {
        if !key.is_text() {
            return (key.sql.clone(), key.clone());
        }
        // Every text of the group has these bytes.
        let bytes = bytes_of(key);
        let value = in_utf8(&Sql::of("MIN({})", &[&bytes]));
        let value = Operand {
            nullable: key.nullable,
            ..Operand::typed(value, &key.data_type)
        };
        (bytes, value)
    }

    /// HAVING finds columns that are grouped by, and no other part of what is.
    fn has_key(&self, key: &Operand) -> bool {
        key.is_name() || key.is_text()
    }

    /// MariaDB gives the least of a constant, or of what is never NULL, where a left join has only NULL for it.
    fn merges_exactly(&self) -> bool {
        false
    }

    fn order(&self, key: &Operand, descending: bool, nulls_first: bool) -> Sql {
        let mut term = Sql::default();
        // NULL is the least value unless said otherwise.
        if key.nullable && nulls_first == descending {
            term.append(&self.is_null(key));
            term.push(if nulls_first { " DESC, " } else { ", " });
        }
        term.append(&exact(key));
        term.push(if descending { " DESC" } else { "" });
        term
    }

    fn aggregate(&self, call: &Call<'_>) -> Operand {
        let of = match call.argument {
            Some(argument) if call.function != AggregateFunction::Count || call.distinct => exact(argument),
            Some(argument) => argument.sql.clone(),
            None if call.filter.is_some() => Sql::text("1"),
            None => Sql::text("*"),
        };
        let of = match call.filter {
            Some(filter) => Sql::of("CASE WHEN {} THEN {} END", &[filter, &of]),
            None => of,
        };
        let name = Sql::text(match call.function {
            AggregateFunction::Count if call.distinct => "COUNT(DISTINCT ",
            AggregateFunction::Count => "COUNT(",
            AggregateFunction::Sum => "SUM(",
            AggregateFunction::Min => "MIN(",
            AggregateFunction::Max => "MAX(",
        });
        let sql = Sql::of("{}{})", &[&name, &of]);
        match call.argument {
            Some(argument) if argument.is_text() && call.function != AggregateFunction::Count => {
                Operand::typed(in_utf8(&sql), call.data_type)
            }
            Some(argument) if matches!(argument.form, Form::Loose) && call.function != AggregateFunction::Count => {
                Operand::loose(sql, call.data_type)
            }
            _ => Operand::typed(sql, call.data_type),
        }
    }

    fn arithmetic(&self, op: Arithmetic, left: &Operand, right: &Operand, data_type: &DataType) -> Operand {
        let sign = Sql::text(match op {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
        });
        // An unsigned number would make the difference one.
        let side = |operand: &Operand| {
            if data_type.is_integer() {
                Sql::of("CAST({} AS SIGNED)", &[&operand.sql])
            } else {
                operand.sql.clone()
            }
        };
        let sql = Sql::of("({} {} {})", &[&side(left), &sign, &side(right)]);
        Operand::typed(sql, data_type)
    }

    fn date_part(&self, part: DatePart, operand: &Operand) -> Operand {
        let name = Sql::text(match part {
            DatePart::Year => "YEAR",
            DatePart::Quarter => "QUARTER",
            DatePart::Month => "MONTH",
            DatePart::Day => "DAYOFMONTH",
        });
        // What is no year of a calendar becomes more than an INT holds.
        let sql = Sql::of(
            "(CASE WHEN {} THEN {}({}) WHEN NOT ({} <=> NULL) THEN 10000000000 END)",
            &[&is_date(&operand.sql), &name, &operand.sql, &operand.sql],
        );
        Operand::typed(sql, &DataType::Int32)
    }

    fn date_trunc(&self, part: DatePart, operand: &Operand) -> Operand {
        let day = &operand.sql;
        let cut = match part {
            DatePart::Year => Sql::of("DATE_FORMAT({}, '%Y-01-01')", &[day]),
            DatePart::Quarter => Sql::of(
                "CONCAT(DATE_FORMAT({}, '%Y-'), ELT(QUARTER({}), '01-01', '04-01', '07-01', '10-01'))",
                &[day, day],
            ),
            DatePart::Month => Sql::of("DATE_FORMAT({}, '%Y-%m-01')", &[day]),
            DatePart::Day => Sql::of("DATE_FORMAT({}, '%Y-%m-%d')", &[day]),
        };
        let kind = Sql::text(if operand.data_type == DataType::Date32 {
            "DATE"
        } else {
            "DATETIME(6)"
        });
        // What is no date is left as it is, and refused when it is read.
        let sql = Sql::of("IF({}, CAST({} AS {}), {})", &[&is_date(day), &cut, &kind, day]);
        Operand::typed(sql, &operand.data_type)
    }

    fn substring(&self, text: &Operand, start: &Operand, length: Option<&Operand>) -> Operand {
        let text = in_utf8(&text.sql);
        let sql = match length {
            Some(length) => Sql::of("SUBSTRING({}, {}, {})", &[&text, &start.sql, &length.sql]),
            None => Sql::of("SUBSTRING({}, {})", &[&text, &start.sql]),
        };
        Operand::typed(sql, &DataType::Utf8)
    }

    fn char_length(&self, text: &Operand) -> Operand {
        Operand::typed(Sql::of("CHAR_LENGTH({})", &[&in_utf8(&text.sql)]), &DataType::Int32)
    }
}

/// Whether `day` is a day of its month: 0000-00-00 and 2000-02-30 are not.
fn is_date(day: &Sql) -> Sql {
    Sql::of("DAYOFMONTH({}) BETWEEN 1 AND DAYOFMONTH(LAST_DAY({}))", &[day, day])
}

#[cfg(test)]
mod tests {
    //! Which columns are sorted and grouped by whole.

    use std::sync::Arc;

    use caliber_connector_spi::{RemoteColumn, RemoteTable};

    use super::*;

    #[test]
    fn short_columns() {
        let check = |native: &str, is_whole: bool| {
            let column = RemoteColumn {
                name: "c".to_owned(),
                data_type: DataType::Utf8,
                nullable: true,
                native_type: native.to_owned(),
                comment: None,
                comparable: true,
                distinct_estimate: None,
            };
            let table = RemoteTable {
                name: "t".to_owned(),
                namespace: None,
                is_view: false,
                columns: vec![column],
                primary_key: vec![],
                unique_keys: vec![],
                foreign_keys: vec![],
                comment: None,
                rows_estimate: None,
            };
            let output = OutputColumn {
                data_type: DataType::Utf8,
                nullable: true,
                comparable: true,
                origin: Some((Arc::new(table), 0)),
            };
            assert_eq!(is_short(&output), is_whole, "{native}");
        };
        check("varchar(60) character set utf8mb4 collate utf8mb4_bin", true);
        check("char(255) character set latin1 collate latin1_bin", true);
        check("varchar(256) character set utf8mb4 collate utf8mb4_bin", true);
        check("varchar(257) character set utf8mb4 collate utf8mb4_bin", false);
        check("tinytext character set utf8mb4 collate utf8mb4_bin", true);
        check("text character set utf8mb4 collate utf8mb4_bin", false);
        check("longtext character set utf8mb4 collate utf8mb4_bin", false);
        check("enum('a','b') character set utf8mb4 collate utf8mb4_bin", true);
        check("binary(4)", true);
        check("varbinary(1025)", false);
        check("blob", false);
    }
}
