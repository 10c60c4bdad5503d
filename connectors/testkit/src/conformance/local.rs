//! Expressions evaluated here, in plain Rust, over Arrow arrays.
//!
//! Owns: what the right answer is: bytes of text, exact numbers, three-valued logic. Never: an engine's kernel or a
//! source's.

use std::cmp::Ordering;

use arrow::array::types::{Date32Type, Decimal128Type, Float32Type, Float64Type, TimestampMicrosecondType};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type as Widened};
use caliber_connector_spi::{Comparison, Expr, Relation, Value};

use super::{functions, is_known};

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

/// The cells of every row. Of a type without values of ours, a cell tells only whether it is NULL.
pub fn rows(batch: &RecordBatch) -> Vec<Row> {
    let value = |array: &ArrayRef, row: usize| {
        if is_known(array.data_type()) {
            cell(array, row)
        } else {
            (!array.is_null(row)).then(|| Value::Bytes(Vec::new()))
        }
    };
    (0..batch.num_rows())
        .map(|row| batch.columns().iter().map(|array| value(array, row)).collect())
        .collect()
}

/// A row, by position.
pub type Row = Vec<Option<Value>>;

/// What an `InQuery` looks values up in.
pub type Lookup<'a> = &'a dyn Fn(&Relation) -> Vec<Value>;

/// `predicate` over a row; `None` is NULL.
pub fn holds(predicate: &Expr, row: &Row, lookup: Lookup<'_>) -> Option<bool> {
    match evaluate(predicate, row, lookup)? {
        Value::Bool(truth) => Some(truth),
        other => panic!("not a truth value: {other:?}"),
    }
}

/// `expr` over a row; `None` is NULL.
pub fn evaluate(expr: &Expr, row: &Row, lookup: Lookup<'_>) -> Option<Value> {
    let value = |expr: &Expr| evaluate(expr, row, lookup);
    let truth = |expr: &Expr| holds(expr, row, lookup);
    let same = |wanted: &Value, one: &Value| order(wanted, one) == Ordering::Equal;
    let answer = match expr {
        Expr::Column(index) => return row[*index].clone(),
        Expr::Value(value) => return Some(value.clone()),
        Expr::Null(_) => return None,
        Expr::Parameter { .. } => panic!("a parameter without its value"),
        Expr::Case {
            branches, otherwise, ..
        } => {
            let met = branches.iter().find(|(when, _)| truth(when) == Some(true));
            return match (met, otherwise) {
                (Some((_, then)), _) => value(then),
                (None, Some(otherwise)) => value(otherwise),
                (None, None) => None,
            };
        }
        Expr::Arithmetic {
            op,
            left,
            right,
            data_type,
        } => return Some(functions::arithmetic(*op, &value(left)?, &value(right)?, data_type)),
        Expr::Cast { expr, data_type } => return Some(functions::cast(&value(expr)?, data_type)),
        Expr::DatePart { part, expr } => return Some(functions::date_part(*part, &value(expr)?)),
        Expr::DateTrunc { part, expr } => return Some(functions::date_trunc(*part, &value(expr)?)),
        Expr::Substring { expr, start, length } => {
            let start = usize::try_from(*start).expect("fits") - 1;
            let length = length.map_or(usize::MAX, |length| usize::try_from(length).expect("fits"));
            return Some(Value::Text(
                text(&value(expr)?).chars().skip(start).take(length).collect(),
            ));
        }
        Expr::CharLength(expr) => {
            let count = text(&value(expr)?).chars().count();
            return Some(Value::Int(i64::try_from(count).expect("fits")));
        }
        Expr::Compare { op, left, right } => Some(is(*op, order(&value(left)?, &value(right)?))),
        Expr::And(parts) => all_of(parts.iter().map(truth)),
        Expr::Or(parts) => all_of(parts.iter().map(|part| truth(part).map(|it| !it))).map(|it| !it),
        Expr::Not(part) => truth(part).map(|it| !it),
        Expr::IsNull(part) => Some(value(part).is_none()),
        Expr::InList { expr, list } => {
            let wanted = value(expr)?;
            Some(list.iter().any(|one| same(&wanted, one)))
        }
        Expr::InKeys { column, keys } => {
            let wanted = row[*column].clone()?;
            let mut keys = (0..keys.len()).filter_map(|at| cell(keys, at));
            Some(keys.any(|key| same(&wanted, &key)))
        }
        Expr::InQuery { expr, query } => {
            let wanted = value(expr)?;
            Some(lookup(query).iter().any(|one| same(&wanted, one)))
        }
        Expr::Like { expr, pattern } => {
            let characters: Vec<char> = text(&value(expr)?).chars().collect();
            Some(like(&characters, &pattern.chars().collect::<Vec<_>>()))
        }
    };
    answer.map(Value::Bool)
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        other => panic!("not a text: {other:?}"),
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

fn is(op: Comparison, order: Ordering) -> bool {
    match op {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

/// How two values of one type stand to each other.
pub fn order(left: &Value, right: &Value) -> Ordering {
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
