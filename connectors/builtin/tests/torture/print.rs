//! Values of Arrow as databases print them.
//!
//! Owns: a calendar and digits of its own, apart from those that the connectors read by. Never: rounds.

use arrow::array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;

pub const DAY: i64 = 86_400_000_000;

/// The decimal digits of a whole number.
pub fn integer(array: &ArrayRef, row: usize) -> i128 {
    match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        other => panic!("{other} is no whole number"),
    }
}

/// An exact decimal, with all places of its scale.
pub fn decimal(array: &ArrayRef, row: usize, scale: i8) -> String {
    let unscaled = array.as_primitive::<Decimal128Type>().value(row);
    let places = usize::try_from(scale).expect("not negative");
    let mut digits = unscaled.unsigned_abs().to_string();
    while digits.len() <= places {
        digits.insert(0, '0');
    }
    if places > 0 {
        digits.insert(digits.len() - places, '.');
    }
    if unscaled < 0 { format!("-{digits}") } else { digits }
}

/// A float's value, and the shortest digits and the power of ten of the first of them.
pub fn float(array: &ArrayRef, row: usize) -> (f64, String, i32) {
    // `{:e}` gives the shortest digits that are no other float of the same width.
    let (value, text) = match array.data_type() {
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            (f64::from(value), format!("{:e}", value.abs()))
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            (value, format!("{:e}", value.abs()))
        }
        other => panic!("{other} is no float"),
    };
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (value, digits.replace('.', ""), exponent.parse().expect("a power"))
}

/// `{sign}{digits}` of a finite float, with an exponent below `least` or from `most` on.
pub fn float_text(array: &ArrayRef, row: usize, least: i32, most: i32, exponent_text: fn(i32) -> String) -> String {
    let (value, digits, exponent) = float(array, row);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if exponent < least || exponent >= most {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}e{}", exponent_text(exponent));
    }
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).expect("small"));
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = usize::try_from(exponent).expect("small") + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}", "0".repeat(whole - digits.len()));
    }
    let (whole, rest) = digits.split_at(whole);
    format!("{sign}{whole}.{rest}")
}

/// Year (0 is 1 BC), month and day of days since 1970-01-01, counted in eras of 400 years.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Days of a `Date32`.
pub fn days(array: &ArrayRef, row: usize) -> i64 {
    array.as_primitive::<Date32Type>().value(row).into()
}

/// Microseconds of a timestamp.
pub fn micros(array: &ArrayRef, row: usize) -> i64 {
    array.as_primitive::<TimestampMicrosecondType>().value(row)
}

/// Microseconds of a time of day.
pub fn of_day(array: &ArrayRef, row: usize) -> i64 {
    array.as_primitive::<Time64MicrosecondType>().value(row)
}

/// `hh:mm:ss` and the microseconds.
pub fn clock(micros: i64) -> (String, i64) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    (format!("{hour:02}:{minute:02}:{second:02}"), fraction)
}

/// Two digits for a byte.
pub fn hexadecimal(bytes: &[u8], upper: bool) -> String {
    let digits = bytes.iter().map(|byte| {
        if upper {
            format!("{byte:02X}")
        } else {
            format!("{byte:02x}")
        }
    });
    digits.collect()
}

/// The first number in parentheses: the 12 of `numeric(12,2)`.
pub fn argument(native: &str) -> Option<usize> {
    let (_, rest) = native.split_once('(')?;
    let end = rest.find(|character: char| !character.is_ascii_digit())?;
    rest.get(..end)?.parse().ok()
}

#[test]
fn a_calendar_of_its_own() {
    assert_eq!(civil(0), (1970, 1, 1));
    assert_eq!(civil(-1), (1969, 12, 31));
    assert_eq!(civil(11_016), (2000, 2, 29));
    assert_eq!(civil(-719_162), (1, 1, 1));
    assert_eq!(civil(-719_163), (0, 12, 31));
    assert_eq!(argument("character(10)"), Some(10));
    assert_eq!(argument("text"), None);
}
