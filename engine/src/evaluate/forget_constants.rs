//! Keeps DataFusion from taking a column for constant that is not.
//!
//! DataFusion 55.2: what is constant on one side of an outer join counts as constant above it, where rows without a partner
//! hold NULL (`EquivalenceGroup::join`), and what is a constant of its own in each branch of a union may count as one. A
//! key of ORDER BY that is thought constant is dropped, and rows come in another order, first rows included.
//!
//! Owns: one pass-through operator that promises nothing about values, and the rule that inserts it. Never: changes rows.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PlanProperties};

use super::pass_through::{PassThrough, PassThroughExec};

/// Inserts `ForgetConstantsExec`. Runs before every rule that asks what is constant.
#[derive(Debug)]
pub(crate) struct ForgetConstants;

impl PhysicalOptimizerRule for ForgetConstants {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(if may_be_wrong(&node) {
                Transformed::yes(Arc::new(ForgetConstantsExec::new(node, Forget)) as _)
            } else {
                Transformed::no(node)
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "forget_constants"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether the operator gives rows in which what is constant below may be something else.
fn may_be_wrong(node: &Arc<dyn ExecutionPlan>) -> bool {
    let is_union = node.downcast_ref::<UnionExec>().is_some() || node.downcast_ref::<InterleaveExec>().is_some();
    let join_type = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        Some(*join.join_type())
    } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        Some(*join.join_type())
    } else {
        node.downcast_ref::<SortMergeJoinExec>().map(|join| join.join_type())
    };
    let is_outer = matches!(join_type, Some(JoinType::Left | JoinType::Right | JoinType::Full));
    (is_union || is_outer) && node.children().iter().any(|child| has_constants(child))
}

fn has_constants(plan: &Arc<dyn ExecutionPlan>) -> bool {
    !plan.equivalence_properties().constants().is_empty()
}

/// Passes its input on, with no promise about values.
pub(crate) type ForgetConstantsExec = PassThroughExec<Forget>;

/// What it does beside.
#[derive(Debug)]
pub(crate) struct Forget;

impl PassThrough for Forget {
    const NAME: &'static str = "ForgetConstantsExec";
    const KEEPS_ORDER: bool = false;

    fn renewed(&self) -> Self {
        Self
    }

    fn properties(input: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
        Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    /// The last column of what an ordered outer join gives, with the rule or without.
    #[expect(clippy::disallowed_methods, reason = "what is tested is DataFusion's own planning")]
    async fn ordered(mended: bool) -> Vec<Option<i64>> {
        use arrow::array::AsArray;
        use arrow::datatypes::Int64Type;
        let sql = "SELECT a.x, b.c FROM (SELECT DISTINCT 7 AS c FROM (VALUES (1), (2)) AS v(y)) AS b \
                   FULL JOIN (VALUES (1, 7), (1, 8), (1, 7), (2, 8)) AS a(x, d) ON b.c = a.d \
                   ORDER BY a.x, b.c NULLS FIRST";
        let builder = SessionStateBuilder::new()
            .with_config(SessionConfig::new().with_target_partitions(1))
            .with_default_features();
        let mut rules = datafusion::physical_optimizer::optimizer::PhysicalOptimizer::new().rules;
        if mended {
            rules.insert(0, Arc::new(ForgetConstants));
        }
        let context = SessionContext::new_with_state(builder.with_physical_optimizer_rules(rules).build());
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        let columns = batches
            .iter()
            .map(|batch| batch.column(1).as_primitive::<Int64Type>().clone());
        columns.flat_map(|column| column.iter().collect::<Vec<_>>()).collect()
    }

    #[tokio::test]
    async fn what_is_constant_below_an_outer_join_is_ordered_above_it() {
        assert_eq!(ordered(true).await, [None, Some(7), Some(7), None]);
        // Once DataFusion orders them itself, this file can go.
        assert_ne!(ordered(false).await, [None, Some(7), Some(7), None]);
    }
}
