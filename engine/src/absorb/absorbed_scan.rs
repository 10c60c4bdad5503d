//! The operator that has a source run a sub-plan.
//!
//! Owns: the keys of policies and joins that the statement waits for, and its result's schema. Never: sends a statement whose
//! policy is not whole: where a policy has more keys than travel, the plan that reads table by table runs instead.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use caliber_connector_spi::{ConnectorError, ErrorClass, Relation, RemoteQuery};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PhysicalExpr, PlanProperties,
    execute_stream,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::gathering::Binding;
use super::key_relation::Keys;
use super::remote_plan::RemotePlan;
use super::restrict::{restrict, with_keys};
use crate::EngineError;
use crate::run::query_run::QueryRun;

/// Runs a sub-plan at its source.
pub(crate) struct AbsorbedScanExec {
    /// What runs.
    pub remote: Arc<RemotePlan>,
    /// Joins whose keys it waits for.
    pub bindings: Vec<Binding>,
    /// The same without the source's help, for policies with too many keys.
    pub otherwise: Option<Arc<dyn ExecutionPlan>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl AbsorbedScanExec {
    /// A scan that waits for nothing but policy.
    pub fn new(remote: Arc<RemotePlan>, schema: SchemaRef, otherwise: Option<Arc<dyn ExecutionPlan>>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self {
            remote,
            bindings: Vec::new(),
            otherwise,
            schema,
            properties,
        }
    }

    /// The same scan with one more join whose keys it waits for.
    pub fn bound(&self, binding: Binding) -> Self {
        let mut bindings = self.bindings.clone();
        bindings.push(binding);
        Self {
            remote: Arc::clone(&self.remote),
            bindings,
            otherwise: self.otherwise.clone(),
            schema: Arc::clone(&self.schema),
            properties: Arc::clone(&self.properties),
        }
    }

    /// Whether keys of its output column `at` can be part of what is sent.
    pub fn takes_keys(&self, at: usize) -> bool {
        let Some(field) = self.schema.fields().get(at) else {
            return false;
        };
        let capabilities = self.remote.source.connector.capabilities();
        let none = Keys::at_most(0, field.data_type(), &[]);
        matches!(none, Ok(Some(none)) if restrict(&self.remote.relation, at, &none, capabilities).is_some())
    }

    /// What is sent, once all keys are known; `None` where a policy has too many.
    async fn relation(
        remote: &RemotePlan,
        bindings: &[Binding],
        run: &QueryRun,
        context: &Arc<TaskContext>,
    ) -> Result<Option<Sent>, EngineError> {
        let capabilities = remote.source.connector.capabilities();
        let mut relation = remote.relation.clone();
        for late in &remote.late {
            let keys = late.relation.resolve(run).await?;
            if keys.array.len() > capabilities.keys_max {
                return Ok(None);
            }
            relation = with_keys(&relation, &late.token, &keys.as_type(late.token.data_type())?);
        }
        for binding in bindings {
            let Some(keys) = binding.keys(context).await? else {
                continue;
            };
            if keys.array.is_empty() {
                return Ok(Some(Sent::Nothing));
            }
            if keys.array.len() <= capabilities.keys_max
                && let Some(restricted) = restrict(&relation, binding.column, &keys, capabilities)
            {
                relation = restricted;
            }
        }
        Ok(Some(Sent::Query(relation)))
    }
}

/// What a source is asked.
enum Sent {
    /// Nothing: there is no key that a row could hold.
    Nothing,
    /// This.
    Query(Relation),
}

/// Reads `relation` from its source, as batches of `schema`.
async fn read(
    remote: &RemotePlan,
    relation: Relation,
    run: &QueryRun,
    schema: SchemaRef,
) -> Result<BoxStream<'static, Result<RecordBatch, EngineError>>, EngineError> {
    let query = RemoteQuery { root: relation };
    let expected = query.schema();
    let source = remote.source.name.clone();
    let stream = run
        .reader(&remote.source)
        .read(&query)
        .await
        .map_err(|error| EngineError::from_source(&error))?;
    Ok(stream
        .map(move |batch| {
            let batch = batch.map_err(|error| EngineError::from_source(&error))?;
            let drift = || {
                let error = ConnectorError::new(&source, ErrorClass::Drift, "the columns are not those asked for");
                EngineError::from_source(&error)
            };
            if batch.schema() != expected {
                return Err(drift());
            }
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&schema), batch.columns().to_vec(), &options)
                .map_err(|_| drift())
        })
        .boxed())
}

impl std::fmt::Debug for AbsorbedScanExec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AbsorbedScanExec({})", self.remote.source.name)
    }
}

impl DisplayAs for AbsorbedScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AbsorbedScanExec: {}", self.remote.source.name)
    }
}

impl ExecutionPlan for AbsorbedScanExec {
    fn name(&self) -> &'static str {
        "AbsorbedScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            Ok(self)
        } else {
            Err(EngineError::internal("an absorbed scan was given children", &children.len()).into())
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(EngineError::internal("an absorbed scan has one partition", &partition).into());
        }
        let run = QueryRun::of(&context)?;
        let schema = Arc::clone(&self.schema);
        let remote = Arc::clone(&self.remote);
        let bindings = self.bindings.clone();
        let otherwise = self.otherwise.clone();
        let batches = Arc::clone(&schema);
        let opened = async move {
            match Self::relation(&remote, &bindings, &run, &context).await? {
                Some(Sent::Query(relation)) => read(&remote, relation, &run, batches).await,
                Some(Sent::Nothing) => Ok(futures::stream::empty().boxed()),
                None => {
                    let plan = otherwise
                        .ok_or_else(|| EngineError::internal("a policy has too many keys", &remote.source.name))?;
                    let stream = execute_stream(plan, context)?;
                    Ok(stream.map_err(EngineError::from).boxed())
                }
            }
        };
        let stream = futures::stream::once(opened)
            .try_flatten()
            .map(|batch| batch.map_err(Into::into));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Whether a plan has one partition: what is gathered whole must.
pub(crate) fn is_single(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.output_partitioning().partition_count() == 1
}
