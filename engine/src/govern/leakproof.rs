//! Which of the user's predicates may be evaluated inside a governed scan.
//!
//! Owns: the list, as one match. Never: pushes anything; the scan does, and only on governed values.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

/// Whether `expr` cannot fail and cannot tell anything but its own truth: comparisons of a column of `schema` with a
/// literal of the same type, `IN` over such literals, `BETWEEN`, `IS [NOT] NULL`, `LIKE` with a constant pattern, and
/// their boolean combinations. Another predicate without a column is not: it would be evaluated where no row is visible.
pub(crate) fn is_leakproof(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And | Operator::Or => is_leakproof(&binary.left, schema) && is_leakproof(&binary.right, schema),
            Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                column_and_literal(&binary.left, &binary.right, schema)
                    || column_and_literal(&binary.right, &binary.left, schema)
            }
            _ => false,
        },
        Expr::Not(inner)
        | Expr::IsTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsNotFalse(inner) => is_leakproof(inner, schema),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => is_column(inner),
        // What the optimizer made of a predicate that was accepted (`id <= NULL`): it can neither fail nor tell.
        Expr::Literal(ScalarValue::Boolean(_), _) => true,
        Expr::Column(_) => expr
            .get_type(schema)
            .is_ok_and(|found| found == arrow::datatypes::DataType::Boolean),
        Expr::Between(between) => {
            column_and_literal(&between.expr, &between.low, schema)
                && column_and_literal(&between.expr, &between.high, schema)
        }
        Expr::InList(list) => {
            !list.list.is_empty() && list.list.iter().all(|one| column_and_literal(&list.expr, one, schema))
        }
        Expr::Like(like) => {
            !like.case_insensitive
                && like.escape_char.is_none()
                && column_and_literal(&like.expr, &like.pattern, schema)
                && matches!(&*like.pattern, Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) if !pattern.ends_with('\\'))
        }
        _ => false,
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_))
}

fn column_and_literal(column: &Expr, literal: &Expr, schema: &DFSchema) -> bool {
    let Expr::Literal(scalar, _) = literal else {
        return false;
    };
    is_column(column) && column.get_type(schema).is_ok_and(|found| found == scalar.data_type())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::{cast, col, lit, not};

    use super::*;

    fn check(expr: &Expr, expected: bool) {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("open", DataType::Boolean, true),
        ]);
        let schema = DFSchema::try_from(schema).expect("a schema");
        assert_eq!(is_leakproof(expr, &schema), expected, "{expr}");
    }

    #[test]
    fn comparisons_with_literals_of_the_same_type_pass() {
        check(&col("id").eq(lit(1_i64)), true);
        check(&lit(1_i64).lt(col("id")), true);
        check(&col("id").between(lit(1_i64), lit(2_i64)), true);
        check(&col("id").in_list(vec![lit(1_i64), lit(2_i64)], true), true);
        check(&col("name").is_null().or(not(col("open"))), true);
        check(&col("name").like(lit("a%")), true);
        check(&lit(false), true);
        check(&lit(ScalarValue::Boolean(None)), true);
    }

    #[test]
    fn what_can_fail_or_tell_stays_above() {
        check(&(lit(1_i64) / col("id")).gt(lit(0_i64)), false);
        check(&cast(col("name"), DataType::Int64).eq(lit(1_i64)), false);
        check(&col("id").eq(lit(1_i32)), false);
        check(&col("id").eq(col("id")), false);
        check(&lit(1_i64).eq(lit(1_i64)), false);
        check(&col("name").like(lit("a\\")), false);
        check(
            &col("id").eq(lit(1_i64)).and((lit(1_i64) / col("id")).gt(lit(0_i64))),
            false,
        );
        check(&col("absent").eq(lit(1_i64)), false);
    }
}
