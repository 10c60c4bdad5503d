//! An operator that hands its input on, for those that do one thing beside.
//!
//! Owns: what all of them answer DataFusion alike. Never: the one thing.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties};

/// What one such operator does.
pub(crate) trait PassThrough: Debug + Send + Sync + Sized + 'static {
    /// Its name in plans.
    const NAME: &'static str;
    /// Whether its rows are known to be in the order of its input.
    const KEEPS_ORDER: bool;

    /// The same for another input, as if it had never run.
    fn renewed(&self) -> Self;

    /// What is known of its rows.
    fn properties(input: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
        Arc::clone(input.properties())
    }

    /// Its rows.
    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        input.execute(partition, context)
    }
}

/// The operator.
#[derive(Debug)]
pub(crate) struct PassThroughExec<P: PassThrough> {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    does: P,
}

impl<P: PassThrough> PassThroughExec<P> {
    /// `does` above `input`.
    pub fn new(input: Arc<dyn ExecutionPlan>, does: P) -> Self {
        let properties = P::properties(&input);
        Self {
            input,
            properties,
            does,
        }
    }
}

impl<P: PassThrough> DisplayAs for PassThroughExec<P> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(P::NAME)
    }
}

impl<P: PassThrough> ExecutionPlan for PassThroughExec<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![P::KEEPS_ORDER]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.does.renewed()))),
            _ => Err(crate::EngineError::internal("an operator was given the wrong children", &self.name()).into()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.does.execute(&self.input, partition, context)
    }
}
