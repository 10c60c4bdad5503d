//! MySQL's values, to Arrow and from `RemoteQuery` parameters.
//!
//! Owns: every value that crosses the wire. Never: a value that does not fit, made to fit.

use arrow::array::types::{
    Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use caliber_connector_spi::{OutputColumn, Parameter, Value};
use chrono::{DateTime, Datelike, NaiveDate};
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::{Column as WireColumn, Value as Wire};

use super::dialect::{character_set, is_unicode};
use crate::batch::{CELL_BYTES_MAX, Column, Misfit, TOO_LARGE};
use crate::decimal::{decimal_text, parse_decimal};

const SHAPE: Misfit = "came in another form than its type has";
const NO_DATE: Misfit = "holds a date that no calendar has, such as 0000-00-00";
/// The number of the character set of what has none.
const BINARY: u16 = 63;
/// 1970-01-01 in days from the year 1.
const EPOCH_FROM_CE: i32 = 719_163;
const SECOND: i64 = 1_000_000;

/// Appends one value; the bytes it took.
pub fn append(column: &mut Column, wire: Option<&Wire>) -> Result<usize, Misfit> {
    let wire = match wire {
        None => return Err("is missing from the answer"),
        Some(Wire::NULL) => {
            column.null();
            return Ok(1);
        }
        Some(wire) => wire,
    };
    match (column, wire) {
        (Column::Text(builder), Wire::Bytes(bytes)) if bytes.len() <= CELL_BYTES_MAX => {
            builder.append_value(std::str::from_utf8(bytes).map_err(|_| "holds text that is not UTF-8")?);
            return Ok(bytes.len());
        }
        (Column::Binary(builder), Wire::Bytes(bytes)) if bytes.len() <= CELL_BYTES_MAX => {
            builder.append_value(bytes);
            return Ok(bytes.len());
        }
        (Column::Text(_) | Column::Binary(_), Wire::Bytes(bytes)) => return Ok(bytes.len()),
        (Column::Decimal(builder, precision, scale), Wire::Bytes(digits)) => {
            let unscaled = parse_decimal(digits, *precision, *scale);
            builder.append_value(unscaled.ok_or(TOO_LARGE)?);
        }
        (Column::Bool(builder), Wire::Int(truth @ (0 | 1))) => builder.append_value(*truth == 1),
        (Column::Int8(builder), wire) => builder.append_value(integer(wire)?),
        (Column::Int16(builder), wire) => builder.append_value(integer(wire)?),
        (Column::Int32(builder), wire) => builder.append_value(integer(wire)?),
        (Column::Int64(builder), wire) => builder.append_value(integer(wire)?),
        (Column::UInt8(builder), wire) => builder.append_value(integer(wire)?),
        (Column::UInt16(builder), wire) => builder.append_value(integer(wire)?),
        (Column::UInt32(builder), wire) => builder.append_value(integer(wire)?),
        (Column::UInt64(builder), wire) => builder.append_value(integer(wire)?),
        (Column::Float32(builder), Wire::Float(number)) => builder.append_value(*number),
        // A part of an expression is a double there.
        (Column::Float32(builder), Wire::Double(number)) if f64::from(*number as f32) == *number => {
            builder.append_value(*number as f32);
        }
        (Column::Float64(builder), Wire::Double(number)) => builder.append_value(*number),
        (Column::Date(builder), Wire::Date(year, month, day, ..)) => builder.append_value(days(*year, *month, *day)?),
        (Column::Timestamp(builder), Wire::Date(year, month, day, hour, minute, second, micros)) => {
            let seconds = i64::from(days(*year, *month, *day)?) * 86_400
                + i64::from(*hour) * 3_600
                + i64::from(*minute) * 60
                + i64::from(*second);
            builder.append_value(seconds * SECOND + i64::from(*micros));
        }
        _ => return Err(SHAPE),
    }
    Ok(8)
}

/// Whether the server's `wire` column is still what `column` was described as; what is computed is looked at value by
/// value.
pub fn is_expected(column: &OutputColumn, wire: &WireColumn) -> bool {
    use ColumnType::*;
    let Some(described) = column.described() else {
        return true;
    };
    let kind = wire.column_type();
    let is_binary = wire.character_set() == BINARY;
    let is_string = matches!(
        kind,
        MYSQL_TYPE_VARCHAR
            | MYSQL_TYPE_VAR_STRING
            | MYSQL_TYPE_STRING
            | MYSQL_TYPE_TINY_BLOB
            | MYSQL_TYPE_MEDIUM_BLOB
            | MYSQL_TYPE_LONG_BLOB
            | MYSQL_TYPE_BLOB
            | MYSQL_TYPE_ENUM
            | MYSQL_TYPE_SET
    );
    match &column.data_type {
        integer if integer.is_integer() => {
            let is_unsigned = wire.flags().contains(ColumnFlags::UNSIGNED_FLAG);
            let is_integer = matches!(
                kind,
                MYSQL_TYPE_TINY
                    | MYSQL_TYPE_SHORT
                    | MYSQL_TYPE_INT24
                    | MYSQL_TYPE_LONG
                    | MYSQL_TYPE_LONGLONG
                    | MYSQL_TYPE_YEAR
            );
            // A year is without a sign, and read as a number that has one.
            let is_year = described.native_type.starts_with("year");
            is_integer && (is_year || is_unsigned == integer.is_unsigned_integer())
        }
        DataType::Float32 => kind == MYSQL_TYPE_FLOAT,
        DataType::Float64 => kind == MYSQL_TYPE_DOUBLE,
        DataType::Decimal128(_, scale) => kind == MYSQL_TYPE_NEWDECIMAL && i8::try_from(wire.decimals()) == Ok(*scale),
        // What may be no character of its set comes as bytes.
        DataType::Utf8 => {
            let set = character_set(&described.native_type);
            is_string && (!is_binary || set.is_some_and(|set| !is_unicode(set)))
        }
        DataType::Binary => is_string && is_binary,
        DataType::Date32 => kind == MYSQL_TYPE_DATE,
        DataType::Timestamp(_, None) => kind == MYSQL_TYPE_DATETIME,
        DataType::Timestamp(_, Some(_)) => kind == MYSQL_TYPE_TIMESTAMP,
        _ => false,
    }
}

fn integer<T: TryFrom<i64> + TryFrom<u64>>(wire: &Wire) -> Result<T, Misfit> {
    match wire {
        Wire::Int(number) => T::try_from(*number).ok(),
        Wire::UInt(number) => T::try_from(*number).ok(),
        // A sum is a DECIMAL.
        Wire::Bytes(digits) => parse_decimal(digits, 38, 0).and_then(|number| match u64::try_from(number) {
            Ok(number) => T::try_from(number).ok(),
            Err(_) => i64::try_from(number).ok().and_then(|number| T::try_from(number).ok()),
        }),
        _ => return Err(SHAPE),
    }
    .ok_or(TOO_LARGE)
}

fn days(year: u16, month: u8, day: u8) -> Result<i32, Misfit> {
    let date = NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), u32::from(day)).ok_or(NO_DATE)?;
    Ok(date.num_days_from_ce() - EPOCH_FROM_CE)
}

fn date_text(days: i32) -> Option<String> {
    let date = NaiveDate::from_num_days_from_ce_opt(days.checked_add(EPOCH_FROM_CE)?)?;
    (1..=9999)
        .contains(&date.year())
        .then(|| date.format("%Y-%m-%d").to_string())
}

fn timestamp_text(microseconds: i64) -> Option<String> {
    let at = DateTime::from_timestamp_micros(microseconds)?.naive_utc();
    (1..=9999)
        .contains(&at.year())
        .then(|| at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

/// A parameter as it travels; `None` where it cannot, which `Capabilities` keeps from happening.
pub fn encode(parameter: &Parameter) -> Option<Wire> {
    let value = match parameter {
        Parameter::Keys(keys) => return json_keys(keys).map(Wire::from),
        Parameter::Value(value) => value,
    };
    Some(match value {
        Value::Bool(value) => Wire::Int(i64::from(*value)),
        Value::Int(value) => Wire::Int(*value),
        Value::UInt(value) => Wire::UInt(*value),
        Value::Float(value) => Wire::Double(*value),
        Value::Decimal { unscaled, scale, .. } => Wire::from(decimal_text(*unscaled, *scale)),
        Value::Text(value) => Wire::from(value.as_str()),
        Value::Bytes(value) => Wire::from(hexadecimal(value)),
        Value::Date(value) => Wire::from(date_text(*value)?),
        Value::Timestamp(value) | Value::TimestampUtc(value) => Wire::from(timestamp_text(*value)?),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The type of a JSON table's column that holds keys of `data_type` exactly; text is typed by the dialect.
pub fn json_type(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        other if other.is_integer() => "BIGINT".to_owned(),
        DataType::Decimal128(precision, scale) if *scale >= 0 => format!("DECIMAL({precision},{scale})"),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(..) => "DATETIME(6)".to_owned(),
        _ => return None,
    })
}

/// The keys as values. One that no value of the source can equal is left out.
pub fn values(keys: &ArrayRef) -> Vec<Value> {
    macro_rules! each {
        ($type:ty, $value:expr) => {
            keys.as_primitive::<$type>()
                .iter()
                .flatten()
                .map($value)
                .collect()
        };
    }
    match keys.data_type() {
        DataType::Utf8 => keys
            .as_string::<i32>()
            .iter()
            .flatten()
            .map(|text| Value::Text(text.to_owned()))
            .collect(),
        DataType::Int8 => each!(Int8Type, |number| Value::Int(number.into())),
        DataType::Int16 => each!(Int16Type, |number| Value::Int(number.into())),
        DataType::Int32 => each!(Int32Type, |number| Value::Int(number.into())),
        DataType::Int64 => each!(Int64Type, Value::Int),
        DataType::UInt8 => each!(UInt8Type, |number| Value::UInt(number.into())),
        DataType::UInt16 => each!(UInt16Type, |number| Value::UInt(number.into())),
        DataType::UInt32 => each!(UInt32Type, |number| Value::UInt(number.into())),
        DataType::UInt64 => each!(UInt64Type, Value::UInt),
        DataType::Decimal128(precision, scale) => {
            each!(Decimal128Type, |unscaled| Value::Decimal {
                unscaled,
                precision: *precision,
                scale: *scale
            })
        }
        DataType::Date32 => {
            let known = |day: &i32| date_text(*day).is_some();
            keys.as_primitive::<Date32Type>()
                .iter()
                .flatten()
                .filter(known)
                .map(Value::Date)
                .collect()
        }
        DataType::Timestamp(..) => {
            let known = |at: &i64| timestamp_text(*at).is_some();
            keys.as_primitive::<TimestampMicrosecondType>()
                .iter()
                .flatten()
                .filter(known)
                .map(Value::Timestamp)
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The keys as one JSON array: integers as numbers, the rest as text that the JSON table's column converts.
fn json_keys(keys: &ArrayRef) -> Option<String> {
    let elements: Option<Vec<serde_json::Value>> = values(keys)
        .into_iter()
        .map(|value| {
            Some(match value {
                Value::Int(number) => number.into(),
                Value::UInt(number) => number.into(),
                Value::Text(text) => text.into(),
                Value::Decimal { unscaled, scale, .. } => decimal_text(unscaled, scale).into(),
                Value::Date(day) => date_text(day)?.into(),
                Value::Timestamp(at) => timestamp_text(at)?.into(),
                _ => return None,
            })
        })
        .collect();
    Some(serde_json::Value::Array(elements?).to_string())
}
