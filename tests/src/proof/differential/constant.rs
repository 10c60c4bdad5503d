//! Values as constants: in a statement, as a parameter, in a script that loads them.
//!
//! Owns: one spelling for each of the three. Never: which value is drawn.

use std::fmt::Write;

use datafusion::common::ScalarValue;

use super::data::Kind;
use crate::proof::fuzz::data::day_text;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Null,
    Int(i64),
    Text(String),
    /// Unscaled, digits, digits after the point.
    Decimal(i128, u8, i8),
    Float(f64),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970.
    Stamp(i64),
    Utc(i64),
    Bytes(Vec<u8>),
    Bool(bool),
}

const DAY_MICROS: i64 = 86_400_000_000;

impl Constant {
    /// As a literal of ours.
    pub fn sql(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Int(i64::MIN) => format!("CAST('{}' AS BIGINT)", i64::MIN),
            Self::Int(value) if *value < 0 => format!("({value})"),
            Self::Int(value) => value.to_string(),
            Self::Text(text) => quoted(text),
            Self::Decimal(unscaled, precision, scale) => {
                format!("CAST('{}' AS DECIMAL({precision},{scale}))", digits(*unscaled, *scale))
            }
            Self::Float(value) => format!("CAST('{value}' AS DOUBLE)"),
            Self::Date(day) => format!("DATE '{}'", day_text(*day)),
            Self::Stamp(at) => format!("CAST('{}' AS TIMESTAMP(6))", stamp_text(*at)),
            Self::Utc(at) => format!("arrow_cast('{}Z', 'Timestamp(µs, \"UTC\")')", stamp_text(*at)),
            Self::Bytes(bytes) => format!("X'{}'", hex(bytes)),
            Self::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
        }
    }

    /// As a parameter of its kind.
    pub fn scalar(&self, kind: Kind) -> ScalarValue {
        match (self, kind) {
            (Self::Int(value), _) => ScalarValue::Int64(Some(*value)),
            (Self::Text(text), _) => ScalarValue::Utf8(Some(text.clone())),
            (Self::Decimal(unscaled, precision, scale), _) => {
                ScalarValue::Decimal128(Some(*unscaled), *precision, *scale)
            }
            (Self::Float(value), _) => ScalarValue::Float64(Some(*value)),
            (Self::Date(day), _) => ScalarValue::Date32(Some(*day)),
            (Self::Stamp(at), _) => ScalarValue::TimestampMicrosecond(Some(*at), None),
            (Self::Utc(at), _) => ScalarValue::TimestampMicrosecond(Some(*at), Some("UTC".into())),
            (Self::Bytes(bytes), _) => ScalarValue::Binary(Some(bytes.clone())),
            (Self::Bool(value), _) => ScalarValue::Boolean(Some(*value)),
            (Self::Null, Kind::Int) => ScalarValue::Int64(None),
            (Self::Null, Kind::Text) => ScalarValue::Utf8(None),
            (Self::Null, Kind::Decimal(precision, scale)) => ScalarValue::Decimal128(None, precision, scale),
            (Self::Null, Kind::Float) => ScalarValue::Float64(None),
            (Self::Null, Kind::Date) => ScalarValue::Date32(None),
            (Self::Null, Kind::Stamp) => ScalarValue::TimestampMicrosecond(None, None),
            (Self::Null, Kind::Utc) => ScalarValue::TimestampMicrosecond(None, Some("UTC".into())),
            (Self::Null, Kind::Bytes) => ScalarValue::Binary(None),
            (Self::Null, Kind::Bool) => ScalarValue::Boolean(None),
        }
    }

    /// As a literal of a source, to be stored.
    pub fn stored(&self, source: &str) -> String {
        match (self, source) {
            (Self::Int(value), _) => value.to_string(),
            (Self::Text(text), "my") => quoted(&text.replace('\\', "\\\\")),
            (Self::Text(text), _) => quoted(text),
            // SQLite keeps the digits of a text, and makes a number of it where none is lost.
            (Self::Decimal(unscaled, _, scale), "lite") => format!("'{}'", digits(*unscaled, *scale)),
            (Self::Decimal(unscaled, _, scale), _) => digits(*unscaled, *scale),
            (Self::Float(value), "pg") => format!("'{value}'"),
            (Self::Float(value), _) if value.is_infinite() => if *value > 0.0 { "9e999" } else { "-9e999" }.to_owned(),
            (Self::Float(value), _) => format!("{value:e}"),
            (Self::Date(day), _) => format!("'{}'", day_text(*day)),
            (Self::Stamp(at), _) | (Self::Utc(at), "lite" | "my") => format!("'{}'", stamp_text(*at)),
            (Self::Utc(at), _) => format!("'{}Z'", stamp_text(*at)),
            (Self::Bytes(bytes), "pg") => format!("'\\x{}'", hex(bytes)),
            (Self::Bool(value), "lite") => u8::from(*value).to_string(),
            _ => self.sql(),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut all, byte| {
        // Writing to a text cannot fail.
        let _ = write!(all, "{byte:02x}");
        all
    })
}

/// A decimal as it is written.
fn digits(unscaled: i128, scale: i8) -> String {
    let places = usize::try_from(scale).unwrap_or_default();
    let sign = if unscaled < 0 { "-" } else { "" };
    let all = format!("{:0>width$}", unscaled.unsigned_abs(), width = places + 1);
    let (whole, rest) = all.split_at(all.len() - places);
    format!("{sign}{whole}.{rest}")
}

/// A timestamp as `YYYY-MM-DD hh:mm:ss.ffffff`.
fn stamp_text(micros: i64) -> String {
    let day = i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or_default();
    let left = micros.rem_euclid(DAY_MICROS);
    let (seconds, fraction) = (left / 1_000_000, left % 1_000_000);
    format!(
        "{} {:02}:{:02}:{:02}.{fraction:06}",
        day_text(day),
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_written_digit_for_digit() {
        assert_eq!(Constant::Decimal(-5, 12, 2).stored("pg"), "-0.05");
        assert_eq!(
            Constant::Decimal(999_999_999_999, 12, 2).stored("lite"),
            "'9999999999.99'"
        );
        assert_eq!(stamp_text(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(stamp_text(253_402_300_799_999_999), "9999-12-31 23:59:59.999999");
        assert_eq!(Constant::Bytes(b"\0\xff'".to_vec()).sql(), "X'00ff27'");
    }
}
