//! One side of a join, read once for two: the join that builds on it and the scans that wait for its keys.
//!
//! Owns: the gathered rows and their keys, who drives the reading. Never: a second reading of the same side.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use super::key_relation::Keys;
use super::translate::key_type;
use crate::EngineError;

/// More keys than this are not gathered: the other side is scanned.
pub(super) const KEYS_MAX: usize = 65_536;

/// One key of a join, for one scan.
#[derive(Clone)]
pub(crate) struct Binding {
    /// Where the keys come from.
    pub gathering: Arc<Gathering>,
    /// Which of its keys.
    pub key: usize,
    /// The scan's output column that holds it.
    pub column: usize,
    /// The rows it is guessed to have without.
    pub rows: f64,
    /// The most keys it is sent.
    pub most: usize,
}

impl Binding {
    /// The keys; `None` where there are too many to be worth sending.
    pub async fn keys(&self, context: &Arc<TaskContext>) -> std::result::Result<Option<Arc<Keys>>, EngineError> {
        let gathered = self.gathering.gathered(context).await?;
        let keys = gathered.keys.get(self.key).cloned().flatten();
        Ok(keys.filter(|keys| {
            let count = keys.array.len();
            count <= self.most && (count as f64) < self.rows.max(1_000.0)
        }))
    }
}

type GatheredFuture = Shared<BoxFuture<'static, std::result::Result<Arc<Gathered>, EngineError>>>;

/// The left side of a join, gathered once.
pub(crate) struct Gathering {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    future: Mutex<Option<GatheredFuture>>,
}

/// What was gathered.
struct Gathered {
    /// Taken by the join.
    batches: Mutex<Option<(Vec<RecordBatch>, MemoryReservation)>>,
    /// For each key its distinct values, unless they are too many.
    keys: Vec<Option<Arc<Keys>>>,
}

impl Gathering {
    /// Gathers nothing yet.
    pub fn new(input: Arc<dyn ExecutionPlan>, keys: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        Self {
            input,
            keys,
            future: Mutex::new(None),
        }
    }

    /// The rows it is guessed to hold.
    pub fn rows(&self) -> f64 {
        super::bind_join::rows(&self.input)
    }

    /// Begins to gather, unless that has begun: at once and to the end, whoever waits. Nothing it reads is held back.
    fn begin(&self, context: &Arc<TaskContext>) -> Result<GatheredFuture> {
        let mut future = self.future.lock();
        if let Some(begun) = &*future {
            return Ok(begun.clone());
        }
        let rows = self.input.execute(0, Arc::clone(context))?;
        let schema = self.input.schema();
        let task = SpawnedTask::spawn(gather(rows, schema, self.keys.clone(), Arc::clone(context)));
        let gathered = async move {
            let ended = task.join().await;
            ended.unwrap_or_else(|error| Err(EngineError::internal("keys were not gathered", &error)))
        };
        let begun = gathered.boxed().shared();
        *future = Some(begun.clone());
        Ok(begun)
    }

    async fn gathered(&self, context: &Arc<TaskContext>) -> std::result::Result<Arc<Gathered>, EngineError> {
        self.begin(context)?.await
    }
}

async fn gather(
    mut stream: SendableRecordBatchStream,
    schema: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    context: Arc<TaskContext>,
) -> std::result::Result<Arc<Gathered>, EngineError> {
    let reservation = MemoryConsumer::new("keys of a join").register(context.memory_pool());
    let mut batches = Vec::new();
    let mut arrays: Vec<Vec<ArrayRef>> = keys.iter().map(|_| Vec::new()).collect();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        reservation.try_grow(batch.get_array_memory_size())?;
        for (key, arrays) in keys.iter().zip(&mut arrays) {
            arrays.push(key.evaluate(&batch)?.into_array(batch.num_rows())?);
        }
        batches.push(batch);
    }
    let keys = keys
        .iter()
        .zip(arrays)
        .map(|(key, arrays)| {
            let data_type = key.data_type(&schema)?;
            if !key_type(&data_type) {
                return Ok(None);
            }
            Ok(Keys::at_most(KEYS_MAX, &data_type, &arrays)?.map(Arc::new))
        })
        .collect::<std::result::Result<Vec<_>, EngineError>>()?;
    Ok(Arc::new(Gathered {
        batches: Mutex::new(Some((batches, reservation))),
        keys,
    }))
}

/// Gives the join what was gathered.
pub(crate) struct GatheredExec {
    pub gathering: Arc<Gathering>,
}

impl std::fmt::Debug for GatheredExec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GatheredExec")
    }
}

impl DisplayAs for GatheredExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GatheredExec")
    }
}

impl ExecutionPlan for GatheredExec {
    fn name(&self) -> &'static str {
        "GatheredExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.gathering.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.gathering.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        // Scans elsewhere wait for this very gathering: another input would leave them waiting for the old one.
        match children.pop() {
            Some(child) if children.is_empty() && Arc::ptr_eq(&child, &self.gathering.input) => Ok(self),
            _ => Err(EngineError::internal("a gathered side was changed", &children.len()).into()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(EngineError::internal("a gathered side has one partition", &partition).into());
        }
        let schema: SchemaRef = self.gathering.input.schema();
        let begun = self.gathering.begin(&context)?;
        let opened = async move {
            let gathered = begun.await?;
            let taken = gathered.batches.lock().take();
            taken.ok_or_else(|| EngineError::internal("a gathered side was read twice", &"no rows left"))
        };
        let stream = futures::stream::once(opened).flat_map(|taken| match taken {
            Ok((batches, reservation)) => futures::stream::unfold(
                (batches.into_iter(), reservation),
                |(mut batches, reservation)| async move {
                    let batch = batches.next()?;
                    reservation.shrink(batch.get_array_memory_size().min(reservation.size()));
                    Some((Ok(batch), (batches, reservation)))
                },
            )
            .boxed(),
            Err(error) => futures::stream::iter([Err(error.into())]).boxed(),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
