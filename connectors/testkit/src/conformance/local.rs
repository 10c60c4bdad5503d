//! Predicates evaluated here, in plain Rust, over Arrow arrays.
//!
//! Owns: what the right answer is: bytes of text, exact numbers, three-valued logic. Never: an engine's kernel or a
//! source's.

use std::cmp::Ordering;

use arrow::array::types::{Date32Type, Decimal128Type, Float32Type, Float64Type, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type as Widened};
use caliber_connector_spi::{Comparison, Expr, Value};

/// The cell of `array` at `row`, as a value of its type.
pub fn cell(array: &ArrayRef, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::UInt64 => Value::UInt(array.as_primitive::<arrow::datatypes::UInt64Type>().value(row)),
        other if other.is_integer() => {
            let wide = cast(&array.slice(row, 1), &DataType::Int64).expect("an integer");
            Value::Int(wide.as_primitive::<arrow::datatypes::Int64Type>().value(0))
        }
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(precision, scale) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(row);
            Value::Decimal {
                unscaled,
                precision: *precision,
                scale: *scale,
            }
        }
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).to_owned()),
        DataType::Date32 => Value::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(_, zone) => {
            let at = array.as_primitive::<TimestampMicrosecondType>().value(row);
            if zone.is_some() {
                Value::TimestampUtc(at)
            } else {
                Value::Timestamp(at)
            }
        }
        other => panic!("no values of {other}"),
    })
}

/// The values of an integer array without NULL.
pub fn integers(array: &ArrayRef) -> Vec<i128> {
    assert_eq!(array.null_count(), 0);
    let wide = cast(array, &DataType::Decimal128(38, 0)).expect("an integer");
    wide.as_primitive::<Widened>().values().to_vec()
}

/// `predicate` over row `row` of `all`, which holds every column of the table; `None` is NULL.
pub fn evaluate(predicate: &Expr, all: &RecordBatch, row: usize) -> Option<bool> {
    let value = |expr: &Expr| match expr {
        Expr::Column(index) => cell(all.column(*index), row),
        Expr::Value(value) => Some(value.clone()),
        other => panic!("not an operand: {other:?}"),
    };
    match predicate {
        Expr::Compare { op, left, right } => Some(holds(*op, order(&value(left)?, &value(right)?))),
        Expr::And(parts) => all_of(parts.iter().map(|part| evaluate(part, all, row))),
        Expr::Or(parts) => all_of(parts.iter().map(|part| evaluate(part, all, row).map(|it| !it))).map(|it| !it),
        Expr::Not(part) => evaluate(part, all, row).map(|it| !it),
        Expr::IsNull(part) => match &**part {
            Expr::Column(index) => Some(all.column(*index).is_null(row)),
            other => panic!("IS NULL over {other:?}"),
        },
        Expr::InList { expr, list } => {
            let wanted = value(expr)?;
            Some(list.iter().any(|one| order(&wanted, one) == Ordering::Equal))
        }
        Expr::InKeys { column, keys } => {
            let wanted = cell(all.column(*column), row)?;
            Some(
                (0..keys.len())
                    .filter_map(|at| cell(keys, at))
                    .any(|key| order(&wanted, &key) == Ordering::Equal),
            )
        }
        Expr::Like { expr, pattern } => match value(expr)? {
            Value::Text(text) => Some(like(
                &text.chars().collect::<Vec<_>>(),
                &pattern.chars().collect::<Vec<_>>(),
            )),
            other => panic!("LIKE over {other:?}"),
        },
        Expr::Column(index) => match cell(all.column(*index), row)? {
            Value::Bool(it) => Some(it),
            other => panic!("not a truth value: {other:?}"),
        },
        other => panic!("not a predicate of this list: {other:?}"),
    }
}

/// Three-valued AND.
fn all_of(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            None => result = None,
            Some(true) => {}
        }
    }
    result
}

fn holds(op: Comparison, order: Ordering) -> bool {
    match op {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::UInt(left), Value::UInt(right)) => left.cmp(right),
        (Value::Float(left), Value::Float(right)) => left.total_cmp(right),
        (
            Value::Decimal {
                unscaled: left,
                scale: a,
                ..
            },
            Value::Decimal {
                unscaled: right,
                scale: b,
                ..
            },
        ) => {
            assert_eq!(a, b, "both sides of a comparison have one type");
            left.cmp(right)
        }
        (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        (Value::Date(left), Value::Date(right)) => left.cmp(right),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
        (Value::TimestampUtc(left), Value::TimestampUtc(right)) => left.cmp(right),
        _ => panic!("two types: {left:?}, {right:?}"),
    }
}

/// LIKE by characters, with `\` before a character that stands for itself.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| like(&text[skipped..], rest)),
        ['_', rest @ ..] => !text.is_empty() && like(&text[1..], rest),
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => text.first() == Some(literal) && like(&text[1..], rest),
    }
}
