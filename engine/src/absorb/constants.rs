//! Constants as sources take them.
//!
//! Owns: which scalars mean the same there and here. Never: text; each is a bind parameter.

use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::Value;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

/// The literals of a list as one array without NULL, of exactly `wanted`.
pub(super) fn key_array(list: &[Expr], wanted: &DataType) -> Option<arrow::array::ArrayRef> {
    if !key_type(wanted) {
        return None;
    }
    let scalars: Option<Vec<ScalarValue>> = list
        .iter()
        .map(|one| match one {
            Expr::Literal(scalar, _) if scalar.data_type() == *wanted && !scalar.is_null() => Some(scalar.clone()),
            _ => None,
        })
        .collect();
    ScalarValue::iter_to_array(scalars?).ok()
}

/// A non-null literal of exactly `wanted`.
pub(super) fn literal(expr: &Expr, wanted: &DataType) -> Option<Value> {
    match expr {
        Expr::Literal(scalar, _) if scalar.data_type() == *wanted => value(scalar),
        _ => None,
    }
}

/// The value of a scalar, where both sides mean the same by it.
pub(crate) fn value(scalar: &ScalarValue) -> Option<Value> {
    Some(match scalar {
        ScalarValue::Boolean(Some(value)) => Value::Bool(*value),
        ScalarValue::Int8(Some(value)) => Value::Int(i64::from(*value)),
        ScalarValue::Int16(Some(value)) => Value::Int(i64::from(*value)),
        ScalarValue::Int32(Some(value)) => Value::Int(i64::from(*value)),
        ScalarValue::Int64(Some(value)) => Value::Int(*value),
        ScalarValue::UInt8(Some(value)) => Value::UInt(u64::from(*value)),
        ScalarValue::UInt16(Some(value)) => Value::UInt(u64::from(*value)),
        ScalarValue::UInt32(Some(value)) => Value::UInt(u64::from(*value)),
        ScalarValue::UInt64(Some(value)) => Value::UInt(*value),
        // Arrow orders floats totally (-0 < +0, NaN = NaN); sources do so only away from zero and NaN.
        ScalarValue::Float32(Some(value)) if *value != 0.0 && value.is_finite() => Value::Float(f64::from(*value)),
        ScalarValue::Float64(Some(value)) if *value != 0.0 && value.is_finite() => Value::Float(*value),
        ScalarValue::Decimal128(Some(unscaled), precision, scale) => Value::Decimal {
            unscaled: *unscaled,
            precision: *precision,
            scale: *scale,
        },
        ScalarValue::Utf8(Some(value)) => Value::Text(value.clone()),
        ScalarValue::Binary(Some(value)) => Value::Bytes(value.clone()),
        ScalarValue::Date32(Some(value)) => Value::Date(*value),
        ScalarValue::TimestampMicrosecond(Some(value), None) => Value::Timestamp(*value),
        ScalarValue::TimestampMicrosecond(Some(value), Some(_)) => Value::TimestampUtc(*value),
        _ => return None,
    })
}

/// Whether keys of this type can be told apart by value alone.
pub(crate) fn key_type(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Utf8
                | DataType::Binary
                | DataType::Date32
                | DataType::Decimal128(..)
                | DataType::Timestamp(TimeUnit::Microsecond, _)
        )
}
