//! Numbers, calendars and widenings, computed here digit by digit and day by day.
//!
//! Owns: what the right result of a function is. Never: a library's calendar or decimals.

use arrow::datatypes::DataType;
use caliber_connector_spi::{Arithmetic, DatePart, Value};

const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// `left op right` in the type of the result.
pub fn arithmetic(op: Arithmetic, left: &Value, right: &Value, data_type: &DataType) -> Value {
    let apply = |left: i128, right: i128| match op {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
    };
    match data_type {
        DataType::Int64 => Value::Int(i64::try_from(apply(whole(left), whole(right))).expect("fits")),
        DataType::Decimal128(precision, scale) => {
            let ((left, a), (right, b)) = (digits(left), digits(right));
            let unscaled = if op == Arithmetic::Multiply {
                assert_eq!(a + b, *scale, "the scale of a product");
                left * right
            } else {
                apply(left * power(*scale - a), right * power(*scale - b))
            };
            Value::Decimal {
                unscaled,
                precision: *precision,
                scale: *scale,
            }
        }
        other => panic!("no arithmetic in {other}"),
    }
}

fn power(exponent: i8) -> i128 {
    10_i128.pow(u32::try_from(exponent).expect("not negative"))
}

fn whole(value: &Value) -> i128 {
    match value {
        Value::Int(number) => i128::from(*number),
        Value::UInt(number) => i128::from(*number),
        other => panic!("not a whole number: {other:?}"),
    }
}

/// Unscaled value and scale.
fn digits(value: &Value) -> (i128, i8) {
    match value {
        Value::Decimal { unscaled, scale, .. } => (*unscaled, *scale),
        other => (whole(other), 0),
    }
}

/// `value` in a wider type.
pub fn cast(value: &Value, data_type: &DataType) -> Value {
    match (value, data_type) {
        (Value::Date(day), DataType::Timestamp(..)) => Value::Timestamp(i64::from(*day) * DAY_MICROSECONDS),
        (value, DataType::UInt64) => Value::UInt(u64::try_from(whole(value)).expect("fits")),
        (value, DataType::Decimal128(precision, scale)) => {
            let (unscaled, from) = digits(value);
            Value::Decimal {
                unscaled: unscaled * power(scale - from),
                precision: *precision,
                scale: *scale,
            }
        }
        (value, other) if other.is_integer() => Value::Int(i64::try_from(whole(value)).expect("fits")),
        (value, other) => panic!("{value:?} as {other}"),
    }
}

/// The part of a date's or timestamp's day.
pub fn date_part(part: DatePart, value: &Value) -> Value {
    let (day, _) = day_and_rest(value);
    let (year, month, day) = civil(day);
    Value::Int(match part {
        DatePart::Year => year,
        DatePart::Quarter => (month - 1) / 3 + 1,
        DatePart::Month => month,
        DatePart::Day => day,
    })
}

/// The first instant of the part.
pub fn date_trunc(part: DatePart, value: &Value) -> Value {
    let (day, _) = day_and_rest(value);
    let (year, month, of_month) = civil(day);
    let months_back = match part {
        DatePart::Year => month - 1,
        DatePart::Quarter => (month - 1) % 3,
        DatePart::Month | DatePart::Day => 0,
    };
    let mut first = if part == DatePart::Day {
        day
    } else {
        day - (of_month - 1)
    };
    for back in 0..months_back {
        first -= month_days(year, month - 1 - back);
    }
    match value {
        Value::Date(_) => Value::Date(i32::try_from(first).expect("fits")),
        _ => Value::Timestamp(first * DAY_MICROSECONDS),
    }
}

fn day_and_rest(value: &Value) -> (i64, i64) {
    match value {
        Value::Date(day) => (i64::from(*day), 0),
        Value::Timestamp(at) => (at.div_euclid(DAY_MICROSECONDS), at.rem_euclid(DAY_MICROSECONDS)),
        other => panic!("no day in {other:?}"),
    }
}

fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a day counted from 1970-01-01: whole cycles of 400 years, then year by year.
fn civil(day: i64) -> (i64, i64, i64) {
    const CYCLE_DAYS: i64 = 146_097;
    let mut year = 1970 + day.div_euclid(CYCLE_DAYS) * 400;
    let mut left = day.rem_euclid(CYCLE_DAYS);
    loop {
        let days = if is_leap(year) { 366 } else { 365 };
        if left < days {
            break;
        }
        left -= days;
        year += 1;
    }
    let mut month = 1;
    while left >= month_days(year, month) {
        left -= month_days(year, month);
        month += 1;
    }
    (year, month, left + 1)
}
