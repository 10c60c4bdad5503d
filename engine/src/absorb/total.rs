//! Operators that no row can make fail: only below those may rows be left out, or a failure would come and go with the way
//! a statement is run (INV-5).
//!
//! Owns: the list of physical expressions. Never: guesses; what is not on it may fail.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr,
    Literal, NotExpr,
};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use crate::evaluate::average;

/// A sum of fewer digits may be shifted by as many as an average gains.
const SUM_DIGITS_MAX: u8 = 34;

/// Whether none of the operator's own expressions can fail on a row of what is below it.
pub(super) fn is_total(plan: &Arc<dyn ExecutionPlan>) -> bool {
    // A join's filter is over columns of both sides.
    let children = plan.children();
    let fields = children.iter().flat_map(|child| child.schema().fields().to_vec());
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let mut total = true;
    let visited = plan.apply_expressions(&mut |expr| {
        total &= cannot_fail(expr, &schema);
        Ok(TreeNodeRecursion::Continue)
    });
    let has_room = match plan.downcast_ref::<AggregateExec>() {
        Some(aggregate) => aggregate
            .aggr_expr()
            .iter()
            .all(|call| never_overflows(call, &aggregate.input_schema())),
        None => true,
    };
    total && has_room && visited.is_ok()
}

/// Whether the aggregate of no group leaves its type, whatever the rows: a source has fewer than ten billion.
fn never_overflows(call: &AggregateFunctionExpr, schema: &Schema) -> bool {
    let argument = call.expressions().first().and_then(|expr| expr.data_type(schema).ok());
    match (call.fun().name(), argument) {
        ("count" | "min" | "max", _) => true,
        ("sum" | "avg", Some(DataType::Decimal128(precision, _))) => precision + 10 <= SUM_DIGITS_MAX,
        ("sum" | "avg", Some(data_type)) => {
            data_type.is_floating() || data_type.is_integer() && data_type.primitive_width() < Some(8)
        }
        _ => false,
    }
}

fn cannot_fail(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let below = || expr.children().into_iter().all(|child| cannot_fail(child, schema));
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return can_never_overflow(binary, schema) && below();
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(schema);
        return from.is_ok_and(|from| widens(&from, cast.cast_type())) && below();
    }
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        let sum = call.args().first().map(|sum| sum.data_type(schema));
        let has_room = matches!(sum, Some(Ok(DataType::Decimal128(precision, _))) if precision <= SUM_DIGITS_MAX);
        return call.fun().name() == average::NAME && has_room && below();
    }
    if expr.downcast_ref::<Literal>().is_some() || expr.downcast_ref::<Column>().is_some() {
        return true;
    }
    let is_listed = expr.downcast_ref::<IsNullExpr>().is_some()
        || expr.downcast_ref::<IsNotNullExpr>().is_some()
        || expr.downcast_ref::<NotExpr>().is_some()
        || expr.downcast_ref::<InListExpr>().is_some()
        // A sort's own: what it holds by then is of the order's keys.
        || expr.downcast_ref::<DynamicFilterPhysicalExpr>().is_some()
        || expr.downcast_ref::<CaseExpr>().is_some()
        || expr
            .downcast_ref::<LikeExpr>()
            .is_some_and(|like| like.pattern().downcast_ref::<Literal>().is_some());
    is_listed && below()
}

fn can_never_overflow(binary: &BinaryExpr, schema: &Schema) -> bool {
    match binary.op() {
        Operator::And
        | Operator::Or
        | Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => true,
        // Where the type was not cut at the most digits there are, it has room for every result.
        Operator::Plus | Operator::Minus | Operator::Multiply => matches!(
            binary.data_type(schema),
            Ok(DataType::Decimal128(precision, _)) if precision < DECIMAL128_MAX_PRECISION
        ),
        _ => false,
    }
}

/// Whether every value of the one type is one of the other.
fn widens(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (from, to) if from == to => true,
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
            s2 >= s1 && i16::from(*p2) - i16::from(*s2) >= i16::from(*p1) - i16::from(*s1)
        }
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => {
            from.primitive_width() < to.primitive_width()
        }
        (from, to) if from.is_unsigned_integer() && to.is_integer() => from.primitive_width() < to.primitive_width(),
        (from, to) => from.is_integer() && to.is_floating(),
    }
}
