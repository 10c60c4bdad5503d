//! Which of the user's predicates may be evaluated inside a governed scan.
//!
//! Owns: the list, as one match. Never: pushes anything; the scan does, and only on governed values.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

/// Whether `expr` cannot fail and cannot tell anything but its own truth: comparisons of a column of `schema` with a
/// literal of the same type, `IN` over such literals, `BETWEEN`, `IS [NOT] NULL`, `LIKE` with a constant pattern, and
/// their boolean combinations. A predicate without a column is not: it would be evaluated where no row is visible.
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
        Expr::Column(_) => expr.get_type(schema).is_ok_and(|found| found == arrow::datatypes::DataType::Boolean),
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
    let Expr::Literal(scalar, _) = literal else { return false };
    is_column(column) && column.get_type(schema).is_ok_and(|found| found == scalar.data_type())
}
