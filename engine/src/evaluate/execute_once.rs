//! Keeps a nested-loop join from executing its left side a second time.
//!
//! DataFusion 55.2: when a nested-loop join's left side does not fit its memory, the join executes that side again in order to
//! spill it; a repartition below is executed twice then, which panics (`RepartitionExec::execute`, "partition not used
//! yet"). The statement ends with the memory error instead, which is what it met.
//!
//! Owns: one pass-through operator and the rule that inserts it. Never: changes rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan};

use super::pass_through::{PassThrough, PassThroughExec};

/// Inserts `ExecuteOnceExec` below the left side of every nested-loop join. Runs after the rules that look at joins' children.
#[derive(Debug)]
pub(crate) struct ExecuteLeftOnce;

impl PhysicalOptimizerRule for ExecuteLeftOnce {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if node.downcast_ref::<NestedLoopJoinExec>().is_none() {
                return Ok(Transformed::no(node));
            }
            let mut children: Vec<_> = node.children().into_iter().cloned().collect();
            if let Some(left) = children.first_mut() {
                *left = Arc::new(ExecuteOnceExec::new(Arc::clone(left), Once::default()));
            }
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            Ok(Transformed::yes(node.replace_children(children, options)?))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "execute_left_once"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes its input on; a second execution is a memory error.
type ExecuteOnceExec = PassThroughExec<Once>;

/// Whether it was executed.
#[derive(Debug, Default)]
struct Once(AtomicBool);

impl PassThrough for Once {
    const NAME: &'static str = "ExecuteOnceExec";
    const KEEPS_ORDER: bool = true;

    fn renewed(&self) -> Self {
        Self::default()
    }

    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if self.0.swap(true, Ordering::Relaxed) {
            return Err(DataFusionError::ResourcesExhausted(
                "the memory of this statement is used up".to_owned(),
            ));
        }
        input.execute(partition, context)
    }
}
