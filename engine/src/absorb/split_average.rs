//! Averages of a source's rows: the source sums and counts, the division is made here.
//!
//! Owns: taking `avg` apart. Never: an average over floats, whose sum depends on its order.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction as Call, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, AggregateUDF, Expr, ExprSchemable, LogicalPlan, Projection, cast};

use super::absorb_plan::Node;
use super::remote_plan::RemotePlan;
use crate::evaluate::average::average;
use crate::statement::aggregate_functions;

/// `aggregate` over `input` with sums and counts in the place of averages, and the averages made of them here; `None` where
/// there is no average or the source does not compute the rest.
pub(crate) fn split_averages(input: &RemotePlan, aggregate: &Aggregate) -> Result<Option<Node>> {
    let functions = aggregate_functions();
    let find = |name: &str| functions.iter().find(|function| function.name() == name).cloned();
    let (Some(sum), Some(count)) = (find("sum"), find("count")) else {
        return Ok(None);
    };
    let groups = aggregate.group_expr.len();
    let mut calls: Vec<Expr> = Vec::new();
    // The name of a call does not tell a cast, and the statement may have the call under another: names of our own.
    let mut place = |call: Expr, name: Option<String>| {
        let known = calls.iter().position(|known| known.clone().unalias() == call);
        known.unwrap_or_else(|| {
            calls.push(match name {
                Some(name) => call.alias(name),
                None => call,
            });
            calls.len() - 1
        })
    };
    let mut outputs = Vec::with_capacity(aggregate.aggr_expr.len());
    let mut is_split = false;
    for call in &aggregate.aggr_expr {
        outputs.push(match parts(call, aggregate.input.schema(), &sum, &count)? {
            Some((sum, count)) => {
                is_split = true;
                let (sum_name, count_name) = (format!("{sum} for an average"), format!("{count} for an average"));
                (place(sum, Some(sum_name)), Some(place(count, Some(count_name))))
            }
            None => (place(call.clone(), None), None),
        });
    }
    if !is_split {
        return Ok(None);
    }
    let below = Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr.clone(), calls)?;
    let (keys, calls, schema) = (&below.group_expr, &below.aggr_expr, Arc::clone(&below.schema));
    let Ok(grown) = input.aggregate(keys, calls, &schema, LogicalPlan::Aggregate(below.clone())) else {
        return Ok(None);
    };
    let column = |at: usize| Expr::Column(schema.qualified_field(at).into());
    let mut exprs: Vec<Expr> = (0..groups).map(column).collect();
    for (at, (first, second)) in outputs.into_iter().enumerate() {
        let (qualifier, field) = aggregate.schema.qualified_field(groups + at);
        let value = match second {
            Some(second) => average(
                column(groups + first),
                column(groups + second),
                field.data_type().clone(),
            ),
            None => column(groups + first),
        };
        exprs.push(value.alias_qualified(qualifier.cloned(), field.name().as_str()));
    }
    let sealed = Node::Remote(Box::new(grown)).sealed();
    let projection = Projection::try_new_with_schema(exprs, Arc::new(sealed), Arc::clone(&aggregate.schema))?;
    Ok(Some(Node::Local(LogicalPlan::Projection(projection))))
}

/// The sum and the count of an average over decimals or whole numbers.
pub(super) fn parts(
    call: &Expr,
    schema: &DFSchema,
    sum: &Arc<AggregateUDF>,
    count: &Arc<AggregateUDF>,
) -> Result<Option<(Expr, Expr)>> {
    let Expr::AggregateFunction(Call { func, params }) = call else {
        return Ok(None);
    };
    let [argument] = params.args.as_slice() else {
        return Ok(None);
    };
    if func.name() != "avg" || params.distinct || !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Ok(None);
    }
    let (summed, counted) = match (argument.get_type(schema)?, argument) {
        (DataType::Decimal128(..), _) => (argument.clone(), argument.clone()),
        (DataType::Float64, Expr::Cast(inner)) if inner.expr.get_type(schema)?.is_integer() => {
            let whole = inner.expr.as_ref().clone();
            (cast(whole.clone(), DataType::Decimal128(20, 0)), whole)
        }
        _ => return Ok(None),
    };
    let of = |function: &Arc<AggregateUDF>, argument: Expr| {
        Expr::AggregateFunction(Call {
            func: Arc::clone(function),
            params: AggregateFunctionParams {
                args: vec![argument],
                ..params.clone()
            },
        })
    };
    Ok(Some((of(sum, summed), of(count, counted))))
}
