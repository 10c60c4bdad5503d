//! PostgreSQL's binary values, to Arrow and from `RemoteQuery` parameters.
//!
//! Owns: every byte of a value that crosses the wire. Never: a float or a third type in between; a value that
//! does not fit is an error.

use std::error::Error;
use std::fmt;

use arrow::array::types::{
    ArrowPrimitiveType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type,
};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::DataType;
use bytes::{BufMut, BytesMut};
use caliber_connector_spi::{Parameter, Value};
use postgres_types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::batch::{CELL_BYTES_MAX, Column, Misfit, TOO_LARGE};
use crate::decimal::decimal_text;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
const DAY_MICROSECONDS: i64 = 86_400_000_000;

const SHAPE: Misfit = "came in another form than its type has";
const RANGE: Misfit = "holds a date or time beyond what its Arrow type can hold";
const INFINITY: Misfit = "holds `infinity`, which is no date";

/// The bytes of a value of any type.
pub struct Raw<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Whether the server's `wire` type is the one that [`append`] reads into `data_type`.
pub fn is_expected(data_type: &DataType, wire: &Type) -> bool {
    let expected: &[Type] = match data_type {
        DataType::Boolean => &[Type::BOOL],
        DataType::Int16 => &[Type::INT2],
        DataType::Int32 => &[Type::INT4],
        DataType::Int64 => &[Type::INT8],
        DataType::Float32 => &[Type::FLOAT4],
        DataType::Float64 => &[Type::FLOAT8],
        DataType::Decimal128(..) => &[Type::NUMERIC],
        DataType::Utf8 => &[Type::TEXT, Type::VARCHAR],
        DataType::Binary => &[Type::BYTEA],
        DataType::Date32 => &[Type::DATE],
        DataType::Timestamp(_, None) => &[Type::TIMESTAMP],
        DataType::Timestamp(_, Some(_)) => &[Type::TIMESTAMPTZ],
        DataType::Time64(_) => &[Type::TIME],
        _ => &[],
    };
    expected.contains(wire)
}

/// Appends one value; the bytes it took.
pub fn append(column: &mut Column, raw: Option<&[u8]>) -> Result<usize, Misfit> {
    let Some(raw) = raw else {
        column.null();
        return Ok(1);
    };
    if raw.len() > CELL_BYTES_MAX {
        return Ok(raw.len());
    }
    match column {
        Column::Bool(builder) => builder.append_value(fixed::<1>(raw)? != [0]),
        Column::Int16(builder) => builder.append_value(i16::from_be_bytes(fixed(raw)?)),
        Column::Int32(builder) => builder.append_value(i32::from_be_bytes(fixed(raw)?)),
        Column::Int64(builder) => builder.append_value(i64::from_be_bytes(fixed(raw)?)),
        Column::Float32(builder) => builder.append_value(f32::from_be_bytes(fixed(raw)?)),
        Column::Float64(builder) => builder.append_value(f64::from_be_bytes(fixed(raw)?)),
        Column::Decimal(builder, precision, scale) => builder.append_value(numeric(raw, *precision, *scale)?),
        Column::Text(builder) => {
            builder.append_value(std::str::from_utf8(raw).map_err(|_| "holds text that is not UTF-8")?)
        }
        Column::Binary(builder) => builder.append_value(raw),
        Column::Date(builder) => builder.append_value(date(i32::from_be_bytes(fixed(raw)?))?),
        Column::Timestamp(builder) => builder.append_value(timestamp(i64::from_be_bytes(fixed(raw)?))?),
        Column::Time(builder) => builder.append_value(time(i64::from_be_bytes(fixed(raw)?))?),
        Column::Int8(_) | Column::UInt8(_) | Column::UInt16(_) | Column::UInt32(_) | Column::UInt64(_) => {
            return Err(SHAPE);
        }
    }
    Ok(raw.len())
}

/// Appends a uuid as PostgreSQL prints it: digits of base 16 in small letters, in groups of 8, 4, 4, 4 and 12.
pub fn append_uuid(column: &mut Column, raw: Option<&[u8]>) -> Result<usize, Misfit> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Where each byte's two digits are.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let (Some(raw), Column::Text(builder)) = (raw, &mut *column) else {
        return append(column, raw);
    };
    let mut text = [b'-'; 36];
    for (place, byte) in PLACES.into_iter().zip(fixed::<16>(raw)?) {
        text[place] = DIGITS[usize::from(byte >> 4)];
        text[place + 1] = DIGITS[usize::from(byte & 15)];
    }
    builder.append_value(std::str::from_utf8(&text).map_err(|_| SHAPE)?);
    Ok(text.len())
}

fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N], Misfit> {
    raw.try_into().map_err(|_| SHAPE)
}

fn date(days: i32) -> Result<i32, Misfit> {
    if days == i32::MAX || days == i32::MIN {
        return Err(INFINITY);
    }
    days.checked_add(EPOCH_DAYS).ok_or(RANGE)
}

fn timestamp(microseconds: i64) -> Result<i64, Misfit> {
    if microseconds == i64::MAX || microseconds == i64::MIN {
        return Err(INFINITY);
    }
    microseconds.checked_add(EPOCH_MICROSECONDS).ok_or(RANGE)
}

fn time(microseconds: i64) -> Result<i64, Misfit> {
    // PostgreSQL knows 24:00:00, Arrow does not.
    if (0..DAY_MICROSECONDS).contains(&microseconds) {
        Ok(microseconds)
    } else {
        Err(RANGE)
    }
}

/// Ten to each power that fits.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

fn power(exponent: i32) -> Option<i128> {
    usize::try_from(exponent).ok().and_then(|at| POWERS.get(at)).copied()
}

/// Reads base-10000 digits: count, weight of the first, sign, display scale, digits (`numeric_send`).
fn numeric(raw: &[u8], precision: u8, scale: i8) -> Result<i128, Misfit> {
    let ([c0, c1, w0, w1, s0, s1, _, _], digits) = raw.split_first_chunk::<8>().ok_or(SHAPE)?;
    let is_negative = match u16::from_be_bytes([*s0, *s1]) {
        0 => false,
        0x4000 => true,
        0xC000 => return Err("holds NaN, which is no decimal number"),
        0xD000 | 0xF000 => return Err("holds an infinity, which is no decimal number"),
        _ => return Err(SHAPE),
    };
    let count = u16::from_be_bytes([*c0, *c1]);
    let (digits, odd) = digits.as_chunks::<2>();
    if digits.len() != usize::from(count) || !odd.is_empty() || digits.iter().any(|d| u16::from_be_bytes(*d) > 9_999) {
        return Err(SHAPE);
    }
    let weight = i32::from(i16::from_be_bytes([*w0, *w1]));
    // The power of ten of the last digit, once the value is multiplied by ten to the scale.
    let last = (weight - i32::from(count) + 1) * 4 + i32::from(scale);
    let unscaled = if digits.len() <= 4 {
        let whole = digits
            .iter()
            .fold(0, |sum, digit| sum * 10_000 + u64::from(u16::from_be_bytes(*digit)));
        shift(whole, last)
    } else {
        sum(digits, last)
    };
    let unscaled = unscaled.filter(|unscaled| power(i32::from(precision)).is_none_or(|limit| *unscaled < limit));
    let unscaled = unscaled.ok_or(TOO_LARGE)?;
    Ok(if is_negative { -unscaled } else { unscaled })
}

/// `whole` times ten to the `exponent`, if that is a whole number that fits: the way most numbers take, without
/// the division of 128 bits.
fn shift(whole: u64, exponent: i32) -> Option<i128> {
    if whole == 0 {
        return Some(0);
    }
    if exponent >= 0 {
        return i128::from(whole).checked_mul(power(exponent)?);
    }
    let divisor = u64::try_from(power(exponent.checked_neg()?)?).ok()?;
    whole.is_multiple_of(divisor).then(|| i128::from(whole / divisor))
}

/// The sum of `digits`, the last of which counts ten to the `last`, if it is a whole number that fits.
fn sum(digits: &[[u8; 2]], last: i32) -> Option<i128> {
    let mut sum: i128 = 0;
    let mut exponent = last;
    for digit in digits.iter().rev() {
        let digit = u64::from(u16::from_be_bytes(*digit));
        sum = sum.checked_add(shift(digit, exponent)?)?;
        exponent = exponent.checked_add(4)?;
    }
    Some(sum)
}

/// The type a parameter is declared with, matching the cast its placeholder carries.
pub fn parameter_type(parameter: &Parameter) -> Type {
    match parameter {
        Parameter::Value(value) => match value {
            Value::Bool(_) => Type::BOOL,
            Value::Int(_) => Type::INT8,
            Value::UInt(value) if i64::try_from(*value).is_ok() => Type::INT8,
            Value::UInt(_) | Value::Decimal { .. } | Value::Text(_) => Type::TEXT,
            Value::Float(_) => Type::FLOAT8,
            Value::Bytes(_) => Type::BYTEA,
            Value::Date(_) => Type::DATE,
            Value::Timestamp(_) => Type::TIMESTAMP,
            Value::TimestampUtc(_) => Type::TIMESTAMPTZ,
        },
        Parameter::Keys(keys) => match keys.data_type() {
            DataType::Utf8 | DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => Type::TEXT_ARRAY,
            DataType::Binary => Type::BYTEA_ARRAY,
            DataType::Date32 => Type::DATE_ARRAY,
            DataType::Timestamp(_, None) => Type::TIMESTAMP_ARRAY,
            DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ_ARRAY,
            _ => Type::INT8_ARRAY,
        },
    }
}

/// A parameter in the form in which it travels. Its `Debug` shows no value.
pub struct Encoded(Vec<u8>);

impl Encoded {
    /// What travels.
    #[cfg(test)]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Encoded {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    to_sql_checked!();
}

/// Encodes a parameter as [`parameter_type`] declares it. A key no value of the source can equal is left out;
/// `None` where a single value cannot be written, which `Capabilities` keeps from happening.
pub fn encode(parameter: &Parameter) -> Option<Encoded> {
    match parameter {
        Parameter::Value(value) => encode_value(value),
        Parameter::Keys(keys) => encode_keys(keys),
    }
    .map(Encoded)
}

fn encode_value(value: &Value) -> Option<Vec<u8>> {
    Some(match value {
        Value::Bool(value) => vec![u8::from(*value)],
        Value::Int(value) => value.to_be_bytes().to_vec(),
        Value::UInt(value) => match i64::try_from(*value) {
            Ok(value) => value.to_be_bytes().to_vec(),
            Err(_) => value.to_string().into_bytes(),
        },
        Value::Float(value) => value.to_be_bytes().to_vec(),
        Value::Decimal { unscaled, scale, .. } => decimal_text(*unscaled, *scale).into_bytes(),
        Value::Text(value) if value.contains('\0') => return None,
        Value::Text(value) => value.as_bytes().to_vec(),
        Value::Bytes(value) => value.clone(),
        Value::Date(value) => value.checked_sub(EPOCH_DAYS)?.to_be_bytes().to_vec(),
        Value::Timestamp(value) | Value::TimestampUtc(value) => {
            value.checked_sub(EPOCH_MICROSECONDS)?.to_be_bytes().to_vec()
        }
    })
}

/// One dimension of elements, none NULL (`array_recv`).
fn encode_keys(keys: &ArrayRef) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(keys.len() * 12);
    let mut count: i32 = 0;
    let mut element = |bytes: &[u8]| -> Option<()> {
        body.put_i32(i32::try_from(bytes.len()).ok()?);
        body.put_slice(bytes);
        count = count.checked_add(1)?;
        Some(())
    };
    let element_type = match keys.data_type() {
        DataType::Utf8 => {
            for text in keys
                .as_string::<i32>()
                .iter()
                .flatten()
                .filter(|text| !text.contains('\0'))
            {
                element(text.as_bytes())?;
            }
            Type::TEXT
        }
        DataType::UInt64 => {
            for number in keys.as_primitive::<arrow::datatypes::UInt64Type>().iter().flatten() {
                element(number.to_string().as_bytes())?;
            }
            Type::TEXT
        }
        DataType::Decimal128(_, scale) => {
            for unscaled in keys.as_primitive::<arrow::datatypes::Decimal128Type>().iter().flatten() {
                element(decimal_text(unscaled, *scale).as_bytes())?;
            }
            Type::TEXT
        }
        DataType::Binary => {
            for bytes in keys.as_binary::<i32>().iter().flatten() {
                element(bytes)?;
            }
            Type::BYTEA
        }
        DataType::Date32 => {
            for day in keys.as_primitive::<Date32Type>().iter().flatten() {
                if let Some(day) = day.checked_sub(EPOCH_DAYS) {
                    element(&day.to_be_bytes())?;
                }
            }
            Type::DATE
        }
        DataType::Timestamp(_, zone) => {
            for at in keys.as_primitive::<TimestampMicrosecondType>().iter().flatten() {
                if let Some(at) = at.checked_sub(EPOCH_MICROSECONDS) {
                    element(&at.to_be_bytes())?;
                }
            }
            if zone.is_some() {
                Type::TIMESTAMPTZ
            } else {
                Type::TIMESTAMP
            }
        }
        _ => {
            for number in integers(keys)? {
                element(&number.to_be_bytes())?;
            }
            Type::INT8
        }
    };
    let mut array = Vec::with_capacity(body.len() + 20);
    array.put_i32(i32::from(count > 0));
    array.put_i32(0);
    array.put_u32(element_type.oid());
    if count > 0 {
        array.put_i32(count);
        array.put_i32(1);
        array.put_slice(&body);
    }
    Some(array)
}

/// The values of an integer array that fit `i64`.
fn integers(keys: &ArrayRef) -> Option<Vec<i64>> {
    fn widen<T: ArrowPrimitiveType>(keys: &PrimitiveArray<T>) -> Vec<i64>
    where
        T::Native: Into<i64>,
    {
        keys.iter().flatten().map(Into::into).collect()
    }
    Some(match keys.data_type() {
        DataType::Int8 => widen(keys.as_primitive::<Int8Type>()),
        DataType::Int16 => widen(keys.as_primitive::<Int16Type>()),
        DataType::Int32 => widen(keys.as_primitive::<Int32Type>()),
        DataType::Int64 => widen(keys.as_primitive::<Int64Type>()),
        DataType::UInt8 => widen(keys.as_primitive::<UInt8Type>()),
        DataType::UInt16 => widen(keys.as_primitive::<UInt16Type>()),
        DataType::UInt32 => widen(keys.as_primitive::<UInt32Type>()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    //! The corners of `numeric`.

    use super::*;

    fn wire(weight: i16, sign: u16, digits: &[i16]) -> Vec<u8> {
        let mut raw = Vec::new();
        raw.put_i16(i16::try_from(digits.len()).expect("few digits"));
        raw.put_i16(weight);
        raw.put_u16(sign);
        raw.put_u16(0);
        for digit in digits {
            raw.put_i16(*digit);
        }
        raw
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(numeric(&wire(0, 0, &[]), 12, 2), Ok(0));
        assert_eq!(numeric(&wire(0, 0, &[1, 5000]), 12, 2), Ok(150));
        assert_eq!(numeric(&wire(0, 0x4000, &[1, 5000]), 12, 2), Ok(-150));
        assert_eq!(numeric(&wire(-1, 0, &[100]), 12, 2), Ok(1));
        assert_eq!(numeric(&wire(2, 0, &[3]), 12, 2), Ok(30_000_000_000));
        // 10000.0001: a gap of zeros within.
        assert_eq!(numeric(&wire(1, 0, &[1, 0, 1]), 12, 4), Ok(100_000_001));
        // Five groups, the way of longer numbers: 1,0000,0000,0000.0001.
        assert_eq!(
            numeric(&wire(3, 0x4000, &[1, 0, 0, 0, 1]), 38, 4),
            Ok(-10_000_000_000_000_001)
        );
        // 0.00000001 and the smallest of 38 places.
        assert_eq!(numeric(&wire(-2, 0, &[1]), 38, 8), Ok(1));
        assert_eq!(numeric(&wire(-10, 0, &[100]), 38, 38), Ok(1));
        assert_eq!(numeric(&wire(8, 0, &[0]), 12, 2), Ok(0), "a zero with a weight");
        let nines = 10_i128.pow(38) - 1;
        assert_eq!(
            numeric(
                &wire(9, 0, &[99, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999]),
                38,
                0
            ),
            Ok(nines)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(
            numeric(&wire(0, 0, &[1, 5050]), 12, 2).is_err(),
            "a third decimal place"
        );
        assert!(numeric(&wire(2, 0, &[100]), 10, 2).is_err(), "eleven digits and two");
        assert!(numeric(&wire(40, 0, &[1]), 38, 0).is_err());
        assert!(numeric(&wire(9, 0, &[100]), 38, 0).is_err(), "39 digits");
        assert!(
            numeric(
                &wire(9, 0, &[99, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999]),
                37,
                0
            )
            .is_err()
        );
        assert!(
            numeric(&wire(0, 0, &[1, 0, 0, 0, 1]), 38, 2).is_err(),
            "a sixteenth decimal place"
        );
        assert!(numeric(&wire(i16::MAX, 0, &[1]), 38, 0).is_err());
        assert!(numeric(&wire(i16::MIN, 0, &[1]), 38, 38).is_err());
        assert!(numeric(&wire(0, 0xF000, &[]), 12, 2).is_err(), "minus infinity");
        assert!(numeric(&wire(0, 0x1000, &[1]), 12, 2).is_err(), "a sign that is none");
        assert!(numeric(&wire(0, 0, &[10_000]), 12, 2).is_err(), "a digit beyond 9999");
        assert!(numeric(&wire(0, 0, &[-1]), 12, 2).is_err());
        let mut short = wire(0, 0, &[1, 2]);
        short.pop();
        assert!(numeric(&short, 12, 2).is_err());
        assert!(numeric(&wire(0, 0xC000, &[]), 12, 2).is_err(), "NaN");
        assert!(numeric(&wire(0, 0xD000, &[]), 12, 2).is_err(), "infinity");
        assert!(numeric(&[0, 1], 12, 2).is_err());
    }
}
