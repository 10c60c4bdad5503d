//! Refuses a plan that holds anything but governed scans and nodes known to be harmless (INV-1).
//!
//! Owns: the allow-lists of logical and physical nodes. Never: repairs a plan.

use std::sync::Arc;

use caliber_catalog::diagnostic::Code;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::MemTable;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;

use super::governed_scan::GovernedScanExec;
use super::governed_table::GovernedTable;
use crate::EngineError;
use crate::absorb::absorbed_scan::AbsorbedScanExec;
use crate::resolve::audit_table::AuditTable;

/// Checks a logical plan, subqueries included, before and after optimisation.
pub(crate) fn require_governed_plan(plan: &LogicalPlan) -> Result<(), EngineError> {
    let mut refused: Option<EngineError> = None;
    plan.apply_with_subqueries(|node| {
        if let Err(error) = allowed(node) {
            refused = Some(error);
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    refused.map_or(Ok(()), Err)
}

fn allowed(node: &LogicalPlan) -> Result<(), EngineError> {
    let refuse = |what: &str| Err(EngineError::new(Code::SQL002, format!("{what} is not allowed")));
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Unnest(_) => Ok(()),
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source)?;
            let governed = provider.downcast_ref::<GovernedTable>().is_some();
            // System tables are made for the principal from what it may see, and hold no source's rows.
            let system =
                provider.downcast_ref::<MemTable>().is_some() || provider.downcast_ref::<AuditTable>().is_some();
            if governed || system {
                Ok(())
            } else {
                Err(EngineError::internal("a table is not governed", &scan.table_name))
            }
        }
        LogicalPlan::RecursiveQuery(_) => refuse("a recursive query"),
        LogicalPlan::Statement(_) => refuse("a session statement"),
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_) => refuse("EXPLAIN here"),
        LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) => refuse("changing data"),
        LogicalPlan::Extension(_) => refuse("an unknown operator"),
    }
}

/// The last physical rule: every leaf is a governed scan or holds no source's rows.
#[derive(Debug)]
pub(crate) struct RequireGovernedScan;

impl PhysicalOptimizerRule for RequireGovernedScan {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.apply(|node| {
            if node.children().is_empty() && !harmless_leaf(node) {
                return Err(EngineError::internal("a scan is not governed", &node.name()).into());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "require_governed_scan"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn harmless_leaf(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<GovernedScanExec>().is_some()
        || node.downcast_ref::<AbsorbedScanExec>().is_some()
        || node.downcast_ref::<EmptyExec>().is_some()
        || node.downcast_ref::<PlaceholderRowExec>().is_some()
        || node
            .downcast_ref::<DataSourceExec>()
            .is_some_and(|scan| scan.data_source().downcast_ref::<MemorySourceConfig>().is_some())
}
