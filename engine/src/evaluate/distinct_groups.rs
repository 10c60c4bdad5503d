//! DISTINCT aggregates as groups, where that keeps every type.
//!
//! Owns: when DataFusion's rule may apply. Never: the rewrite itself.
//!
//! `count(DISTINCT a), sum(b)` becomes a sum of sums, and the sum of a decimal is a wider one each time: what HAVING compares
//! it with is of the type before (DataFusion 55).

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// DataFusion's rule of that name.
const NAME: &str = "single_distinct_aggregation_to_group_by";

/// The rule, for aggregates without decimals.
#[derive(Debug)]
pub(crate) struct DistinctGroups {
    inner: Arc<dyn OptimizerRule + Send + Sync>,
}

impl DistinctGroups {
    /// The same rules, that one kept from decimals.
    pub fn among(rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
        let kept = |inner: Arc<dyn OptimizerRule + Send + Sync>| match inner.name() {
            NAME => Arc::new(Self { inner }) as Arc<dyn OptimizerRule + Send + Sync>,
            _ => inner,
        };
        rules.into_iter().map(kept).collect()
    }
}

impl OptimizerRule for DistinctGroups {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Aggregate(aggregate) = &plan {
            let outputs = aggregate.schema.fields().iter().skip(aggregate.group_expr.len());
            let is_decimal =
                |data_type: &DataType| matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..));
            if outputs.map(|field| field.data_type()).any(is_decimal) {
                return Ok(Transformed::no(plan));
            }
        }
        self.inner.rewrite(plan, config)
    }
}
