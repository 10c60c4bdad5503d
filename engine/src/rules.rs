//! The rules a statement passes, in their order, on one screen.
//!
//! Owns: the three lists and why they are in this order. Never: a rule's work.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;

use crate::absorb::bind_join::{BindJoins, BuildOnFewer};
use crate::evaluate::bound_calls::BoundCalls;
use crate::evaluate::bound_unnest::BoundUnnest;
use crate::evaluate::check_overflow::CheckOverflow;
use crate::evaluate::distinct_groups::DistinctGroups;
use crate::evaluate::execute_once::ExecuteLeftOnce;
use crate::evaluate::forget_constants::ForgetConstants;
use crate::evaluate::yield_often::yield_often;
use crate::govern::require_governed::RequireGovernedScan;

/// DataFusion's own, then checked arithmetic and bounded calls, which need the types that coercion found. Nothing of policy is needed
/// here: it is already below every name when a plan is made (`resolve`), and views are expanded with their names (`expand`).
pub(crate) fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    rules.push(Arc::new(CheckOverflow));
    rules.push(Arc::new(BoundCalls));
    rules
}

/// DataFusion's own, but one. They see a governed table as an opaque scan that takes leakproof predicates and nothing else,
/// so their order cannot move an expression of the user's below policy.
///
/// Left out: `eliminate_duplicated_expr` drops a key of ORDER BY that an earlier one determines, and believes so of a key of
/// a table whose rows a join has multiplied, or a left join has made NULL (DataFusion 55). Twins of a key cost little.
pub(crate) fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    rules.retain(|rule| rule.name() != "eliminate_duplicated_expr");
    DistinctGroups::among(rules)
}

/// DataFusion's own, but one; then ours, which mend a join and an unnest of DataFusion's; and last the check: whatever the
/// others made, a plan with an ungoverned scan is none (INV-1).
///
/// Left out: `LimitAggregation` panics where what is grouped or ordered by holds a NaN (DataFusion 55).
pub(crate) fn physical_rules(pushdown: bool) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| rule.name() != "LimitAggregation");
    rules.insert(0, Arc::new(ForgetConstants));
    // Before partitions are chosen.
    let early = rules
        .iter()
        .position(|rule| rule.name() == "join_selection")
        .map_or(0, |at| at + 1);
    if pushdown {
        rules.insert(early, Arc::new(BuildOnFewer));
    }
    rules.push(Arc::new(ExecuteLeftOnce));
    rules.push(Arc::new(BoundUnnest));
    rules.push(Arc::new(RequireGovernedScan));
    rules
}

/// What is done to a plan each time before it runs, a kept one too: joins pause now and then and are bound to what is
/// gathered in this run alone, and the check is made again.
pub(crate) fn ready(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
    pushdown: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let pausing = yield_often(plan)?;
    let bound = if pushdown {
        BindJoins.optimize(pausing, options)?
    } else {
        pausing
    };
    RequireGovernedScan.optimize(bound, options)
}
