//! The keys of a group, each once.
//!
//! Owns: `GROUP BY x, x` as `GROUP BY x`. Never: changes what an aggregate gives.
//!
//! DataFusion keeps the keys as they were written, while the aggregate's schema has each of them once: whoever counts columns by
//! the number of keys would take one aggregate for another.

use std::collections::HashSet;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

/// `plan` with every key of every group once.
pub(crate) fn distinct_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else {
            return Ok(Transformed::no(node));
        };
        let mut known: HashSet<&Expr> = HashSet::new();
        let keys: Vec<Expr> = aggregate
            .group_expr
            .iter()
            .filter(|key| known.insert(key))
            .cloned()
            .collect();
        if keys.len() == aggregate.group_expr.len() {
            return Ok(Transformed::no(node));
        }
        let once = Aggregate::try_new(aggregate.input.clone(), keys, aggregate.aggr_expr.clone())?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(once)))
    })?;
    Ok(rewritten.data)
}
