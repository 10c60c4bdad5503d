//! How large an expression becomes once every query in FROM is written out in its place.
//!
//! Owns: the measure over a plan, and its bound. Never: looks into what a statement means.
//!
//! `SELECT x + x AS x FROM (SELECT x + x AS x FROM …)` says 2 to the power of its depth: an optimizer that moves a
//! predicate through such queries would write that out, on a thread that nothing can stop.

use caliber_catalog::diagnostic::Code;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::EngineError;

/// Names in one expression written out, at most. Constants are as many as the statement has of them.
const WEIGHT_MAX: u64 = 10_000;

/// Refuses a plan one of whose expressions would be too large written out (LIM001).
pub(crate) fn bound_expansion(plan: &LogicalPlan) -> Result<(), EngineError> {
    weights(plan).map(|_| ())
}

/// For each output column, of how many names it consists; at least one.
fn weights(plan: &LogicalPlan) -> Result<Vec<u64>, EngineError> {
    let mut inputs = Vec::new();
    for input in plan.inputs() {
        inputs.push((input.schema().as_ref(), weights(input)?));
    }
    let mut failed = None;
    plan.apply_subqueries(|subquery| {
        if let Err(error) = weights(subquery) {
            failed = Some(error);
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let own: Vec<u64> = plan
        .expressions()
        .iter()
        .map(|expr| weight(expr, &inputs))
        .collect::<Result<_, _>>()?;
    let columns = plan.schema().fields().len();
    Ok(match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => own,
        LogicalPlan::Union(_) => (0..columns)
            .map(|at| {
                inputs
                    .iter()
                    .filter_map(|(_, of)| of.get(at))
                    .copied()
                    .max()
                    .unwrap_or(1)
            })
            .collect(),
        LogicalPlan::Window(_) => {
            let mut all: Vec<u64> = inputs.into_iter().flat_map(|(_, of)| of).collect();
            all.extend(own);
            all
        }
        _ => {
            let all: Vec<u64> = inputs.into_iter().flat_map(|(_, of)| of).collect();
            if all.len() == columns { all } else { vec![1; columns] }
        }
    })
}

fn weight(expr: &Expr, inputs: &[(&DFSchema, Vec<u64>)]) -> Result<u64, EngineError> {
    let mut sum = 0_u64;
    expr.apply(|part| {
        sum = sum.saturating_add(match part {
            Expr::Column(column) => inputs
                .iter()
                .find_map(|(schema, of)| of.get(schema.maybe_index_of_column(column)?).copied())
                .unwrap_or(1),
            Expr::OuterReferenceColumn(_, _) => 1,
            _ => 0,
        });
        Ok(TreeNodeRecursion::Continue)
    })?;
    if sum > WEIGHT_MAX {
        let message = "an expression is too large once each query in FROM is written out where it is used";
        return Err(EngineError::new(Code::LIM001, message).help("name fewer things twice, or split the statement"));
    }
    Ok(sum.clamp(1, WEIGHT_MAX))
}
