//! A statement's plan, kept: made once, run again and again, each time with its own parameters.
//!
//! Owns: which plans can be kept, and a fresh plan out of a kept one. Never: runs the kept plan itself; keeps a row, a key or
//! a value of a parameter.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan};

use crate::absorb::absorbed_scan::AbsorbedScanExec;
use crate::absorb::bind_join::bound_rows;
use crate::evaluate::forget_constants::ForgetConstantsExec;
use crate::govern::governed_scan::GovernedScanExec;
use crate::rules::ready;

/// A plan of more operators is made anew each time.
const OPERATORS_MAX: usize = 256;

/// A plan that is never run itself.
pub(crate) struct PlanTemplate {
    plan: Arc<dyn ExecutionPlan>,
}

impl std::fmt::Debug for PlanTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlanTemplate")
    }
}

impl PlanTemplate {
    /// Keeps `plan`, in which no join is bound yet; `None` where it holds an operator that may carry something from one run
    /// to the next.
    pub fn of(plan: Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let mut operators = 0;
        let mut is_known = true;
        plan.apply(|node| {
            operators += 1;
            is_known &= starts_afresh(node);
            Ok(if is_known {
                TreeNodeRecursion::Continue
            } else {
                TreeNodeRecursion::Stop
            })
        })?;
        Ok((is_known && operators <= OPERATORS_MAX).then_some(Self { plan }))
    }

    /// A plan of its own with `values` for the parameters; `None` where one of them would make another plan.
    pub fn bound(&self, values: &[ScalarValue]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        // NULL folds what it meets.
        if values.iter().any(ScalarValue::is_null) {
            return Ok(None);
        }
        fresh(&self.plan, values)
    }
}

/// Whether `replace_children` and `reset_state` give an operator that shares nothing with the old one but what never
/// changes.
fn starts_afresh(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<AbsorbedScanExec>().is_some()
        || node.downcast_ref::<GovernedScanExec>().is_some()
        || node.downcast_ref::<HashJoinExec>().is_some()
        || node.downcast_ref::<FilterExec>().is_some()
        || node.downcast_ref::<ProjectionExec>().is_some()
        || node.downcast_ref::<AggregateExec>().is_some()
        || node.downcast_ref::<SortExec>().is_some()
        || node.downcast_ref::<SortPreservingMergeExec>().is_some()
        || node.downcast_ref::<CoalescePartitionsExec>().is_some()
        || node.downcast_ref::<ForgetConstantsExec>().is_some()
        || node.downcast_ref::<CooperativeExec>().is_some()
        || node.downcast_ref::<RepartitionExec>().is_some()
        || node.downcast_ref::<UnionExec>().is_some()
        || node.downcast_ref::<GlobalLimitExec>().is_some()
        || node.downcast_ref::<LocalLimitExec>().is_some()
        || node.downcast_ref::<WindowAggExec>().is_some()
        || node.downcast_ref::<BoundedWindowAggExec>().is_some()
        || node.downcast_ref::<EmptyExec>().is_some()
        || node.downcast_ref::<PlaceholderRowExec>().is_some()
}

/// The same plan, operator by operator, as if nobody had run it.
pub(crate) fn fresh(plan: &Arc<dyn ExecutionPlan>, values: &[ScalarValue]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<AbsorbedScanExec>() {
        return Ok(scan.with_parameters(values)?.map(|scan| Arc::new(scan) as _));
    }
    if let Some(scan) = plan.downcast_ref::<GovernedScanExec>() {
        return Ok(Some(Arc::new(scan.with_parameters(values)?)));
    }
    let mut children = Vec::new();
    for child in plan.children() {
        let Some(child) = fresh(child, values)? else {
            return Ok(None);
        };
        children.push(child);
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    Arc::clone(plan)
        .replace_children(children, options)?
        .reset_state()
        .map(Some)
}

/// Plans of fewer rows are not spread over processors: that would cost more than it saves.
const ROWS_IN_ONE_PIECE_MAX: f64 = 5_000.0;

/// Whether few rows are guessed to reach a plan, with the keys of its joins.
pub(crate) fn is_small(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let bound = ready(Arc::clone(plan), &ConfigOptions::default(), true)?;
    let mut rows = 0.0;
    bound.apply(|node| {
        if node.children().is_empty() {
            rows += bound_rows(node);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(rows <= ROWS_IN_ONE_PIECE_MAX)
}

/// Whether every run of the statement may have the same plan: none of its functions depends on more than its arguments.
pub(crate) fn is_repeatable(plan: &LogicalPlan) -> Result<bool> {
    let mut repeatable = true;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part {
                    repeatable &= call.func.signature().volatility == Volatility::Immutable;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(repeatable)
}

/// `expr` with the values of its parameters.
pub(crate) fn with_values(expr: Expr, values: &[ScalarValue]) -> Result<Expr> {
    let bound = expr.transform(|part| {
        let value = match &part {
            Expr::Placeholder(Placeholder { id, .. }) => number_of(id).and_then(|at| values.get(at)),
            _ => None,
        };
        Ok(match value {
            Some(value) => Transformed::yes(Expr::Literal(value.clone(), None)),
            None => Transformed::no(part),
        })
    })?;
    Ok(bound.data)
}

/// The place of `$1`, counted from 0.
pub(crate) fn number_of(id: &str) -> Option<usize> {
    let number: usize = id.strip_prefix('$')?.parse().ok()?;
    number.checked_sub(1)
}
