//! Translates a predicate into the language of remote queries, where that can be done without changing its meaning.
//!
//! Owns: which DataFusion expressions have an exact counterpart. Never: whether a source evaluates it (`Capabilities`).

use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::{Comparison, Expr as Remote, RemoteTable, Value};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// The counterpart of `expr` over `table`; `None` where there is none. Columns are found by name.
pub(crate) fn translate(expr: &Expr, table: &RemoteTable) -> Option<Remote> {
    match expr {
        Expr::Alias(alias) => translate(&alias.expr, table),
        Expr::Column(_) => {
            let column = column(expr, table)?;
            (table.columns.get(column)?.data_type == DataType::Boolean).then_some(Remote::Column(column))
        }
        Expr::BinaryExpr(binary) => translate_binary(binary, table),
        Expr::Not(inner) => Some(Remote::Not(Box::new(translate(inner, table)?))),
        Expr::IsNull(inner) => Some(Remote::IsNull(Box::new(Remote::Column(column(inner, table)?)))),
        Expr::IsNotNull(inner) => Some(Remote::Not(Box::new(Remote::IsNull(Box::new(Remote::Column(column(
            inner, table,
        )?)))))),
        Expr::Between(between) => {
            let low = compare(Comparison::GreaterOrEqual, &between.expr, &between.low, table)?;
            let high = compare(Comparison::LessOrEqual, &between.expr, &between.high, table)?;
            let inside = Remote::And(vec![low, high]);
            Some(if between.negated {
                Remote::Not(Box::new(inside))
            } else {
                inside
            })
        }
        Expr::InList(list) => {
            let index = column(&list.expr, table)?;
            let data_type = &table.columns.get(index)?.data_type;
            let found = if list.list.len() > LIST_AS_VALUES_MAX {
                Remote::InKeys {
                    column: index,
                    keys: key_array(&list.list, data_type)?,
                }
            } else {
                let values: Option<Vec<Value>> = list.list.iter().map(|one| literal(one, data_type)).collect();
                Remote::InList {
                    expr: Box::new(Remote::Column(index)),
                    list: values.filter(|all| !all.is_empty())?,
                }
            };
            Some(if list.negated {
                Remote::Not(Box::new(found))
            } else {
                found
            })
        }
        Expr::Like(like) if !like.case_insensitive && like.escape_char.is_none_or(|escape| escape == '\\') => {
            let index = column(&like.expr, table)?;
            let Value::Text(pattern) = literal(&like.pattern, &table.columns.get(index)?.data_type)? else {
                return None;
            };
            let found = Remote::Like {
                expr: Box::new(Remote::Column(index)),
                pattern,
            };
            Some(if like.negated {
                Remote::Not(Box::new(found))
            } else {
                found
            })
        }
        _ => None,
    }
}

/// A longer list travels as one array of keys, so that neither the statement nor its parameters grow with it.
const LIST_AS_VALUES_MAX: usize = 16;

/// A predicate of more comparisons than this is not sent: sources bound the depth of an expression.
const COMPARISONS_MAX: usize = 200;

/// Whether a source should be asked to parse a predicate of this size.
pub(crate) fn is_small(predicate: &Remote) -> bool {
    comparisons(predicate) <= COMPARISONS_MAX
}

fn comparisons(predicate: &Remote) -> usize {
    match predicate {
        Remote::And(parts) | Remote::Or(parts) => parts.iter().map(comparisons).sum(),
        Remote::Not(part) | Remote::IsNull(part) => comparisons(part),
        Remote::InList { list, .. } => list.len(),
        Remote::Column(_) | Remote::Value(_) | Remote::Compare { .. } | Remote::InKeys { .. } | Remote::Like { .. } => {
            1
        }
    }
}

/// The literals of a list as one array without NULL, of exactly `wanted`.
fn key_array(list: &[Expr], wanted: &DataType) -> Option<arrow::array::ArrayRef> {
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

fn translate_binary(binary: &BinaryExpr, table: &RemoteTable) -> Option<Remote> {
    let op = match binary.op {
        Operator::And => {
            return Some(Remote::And(vec![
                translate(&binary.left, table)?,
                translate(&binary.right, table)?,
            ]));
        }
        Operator::Or => {
            return Some(Remote::Or(vec![
                translate(&binary.left, table)?,
                translate(&binary.right, table)?,
            ]));
        }
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    };
    compare(op, &binary.left, &binary.right, table).or_else(|| compare(flipped(op), &binary.right, &binary.left, table))
}

/// `left op right` with a column on the left and a literal of its very type on the right.
fn compare(op: Comparison, left: &Expr, right: &Expr, table: &RemoteTable) -> Option<Remote> {
    let index = column(left, table)?;
    let value = literal(right, &table.columns.get(index)?.data_type)?;
    Some(Remote::Compare {
        op,
        left: Box::new(Remote::Column(index)),
        right: Box::new(Remote::Value(value)),
    })
}

fn flipped(op: Comparison) -> Comparison {
    match op {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

fn column(expr: &Expr, table: &RemoteTable) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column(&alias.expr, table),
        Expr::Column(column) => table.columns.iter().position(|known| known.name == column.name),
        _ => None,
    }
}

/// A non-null literal of exactly `wanted`.
fn literal(expr: &Expr, wanted: &DataType) -> Option<Value> {
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

#[cfg(test)]
mod tests {
    use caliber_connector_spi::RemoteColumn;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn table() -> RemoteTable {
        let column = |name: &str, data_type: DataType| RemoteColumn {
            name: name.to_owned(),
            data_type,
            nullable: true,
            native_type: String::new(),
            comment: None,
            comparable: true,
        };
        RemoteTable {
            name: "t".to_owned(),
            namespace: None,
            is_view: false,
            columns: vec![column("id", DataType::Int64), column("rate", DataType::Float64)],
            primary_key: Vec::new(),
            unique_keys: Vec::new(),
            foreign_keys: Vec::new(),
            comment: None,
            rows_estimate: None,
        }
    }

    fn check(expr: &Expr, expected: &str) {
        let found = translate(expr, &table()).map_or_else(|| "local".to_owned(), |remote| format!("{remote:?}"));
        assert!(found.starts_with(expected), "{expr}: {found}");
    }

    #[test]
    fn a_literal_of_another_type_stays_local() {
        check(&col("id").eq(lit(1_i64)), "Compare");
        check(&col("id").eq(lit(1_i32)), "local");
        check(&col("id").eq(col("id")), "local");
    }

    #[test]
    fn floats_travel_only_where_every_order_agrees() {
        check(&col("rate").gt(lit(0.5)), "Compare");
        check(&col("rate").gt(lit(0.0)), "local");
        check(&col("rate").eq(lit(-0.0)), "local");
        check(&col("rate").lt(lit(f64::NAN)), "local");
    }

    #[test]
    fn a_long_list_is_one_array_of_keys() {
        let list = |count: i64| (0..count).map(lit).collect::<Vec<_>>();
        check(&col("id").in_list(list(16), false), "InList");
        check(&col("id").in_list(list(17), false), "InKeys");
        check(&col("id").in_list(list(17), true), "Not(InKeys");
    }

    #[test]
    fn a_large_predicate_is_not_small() {
        let or = |count: i64| (1..count).fold(col("id").eq(lit(0_i64)), |all, at| all.or(col("id").eq(lit(at))));
        let size = |count: i64| translate(&or(count), &table()).map(|remote| is_small(&remote));
        assert_eq!(size(200), Some(true));
        assert_eq!(size(201), Some(false));
    }
}
