//! The operator that has a source run a sub-plan.
//!
//! Owns: the keys of policies and joins that the statement waits for, and its result's schema. Never: sends a statement whose
//! policy is not whole: where a policy has more keys than travel, the plan that reads table by table runs instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use caliber_connector_spi::{ConnectorError, ErrorClass, Relation, RemoteQuery, RemoteTable};
use datafusion::common::ScalarValue;
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
use super::read_ahead::read_ahead;
use super::remote_plan::RemotePlan;
use super::restrict::{is_fixed, restrict, with_keys};
use super::translate::{CONSTANT_BYTES_MAX, value};
use crate::EngineError;
use crate::govern::enforcement::{Enforcement, without_hidden_names};
use crate::rules::ready;
use crate::run::plan_template::fresh;
use crate::run::query_run::QueryRun;

/// Runs a sub-plan at its source.
pub(crate) struct AbsorbedScanExec {
    /// What runs.
    pub remote: Arc<RemotePlan>,
    /// Its relation, with the values of the statement's parameters once they are known.
    relation: Arc<Relation>,
    /// Joins whose keys it waits for.
    pub bindings: Vec<Binding>,
    /// The same without the source's help, for policies with too many keys.
    pub otherwise: Option<Arc<dyn ExecutionPlan>>,
    /// The rows that came from the source.
    pub received: Arc<AtomicU64>,
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
        let relation = Arc::new(remote.relation.clone());
        Self {
            remote,
            relation,
            bindings: Vec::new(),
            otherwise,
            received: Arc::default(),
            schema,
            properties,
        }
    }

    /// The same scan with one more join whose keys it waits for.
    pub fn bound(&self, binding: Binding) -> Self {
        let mut scan = self.again();
        scan.bindings.push(binding);
        scan
    }

    fn again(&self) -> Self {
        Self {
            remote: Arc::clone(&self.remote),
            relation: Arc::clone(&self.relation),
            bindings: self.bindings.clone(),
            otherwise: self.otherwise.clone(),
            received: Arc::default(),
            schema: Arc::clone(&self.schema),
            properties: Arc::clone(&self.properties),
        }
    }

    /// The same scan as if it had never run, with the values of the statement's parameters; `None` where the source does not
    /// do with them just what it does with any.
    pub fn with_parameters(&self, values: &[ScalarValue]) -> Result<Option<Self>> {
        if values.is_empty() && self.otherwise.is_none() {
            return Ok(Some(self.again()));
        }
        let long = |value: &ScalarValue| value.size() > CONSTANT_BYTES_MAX;
        let known = |at: usize, _: &DataType| values.get(at).filter(|value| !long(value)).and_then(value);
        let Some(relation) = self.relation.with_parameters(&known) else {
            return Ok(None);
        };
        let types = |relation: &Relation| relation.columns().into_iter().map(|column| column.data_type);
        let is_same = types(&relation).eq(types(&self.relation));
        if !is_same
            || self
                .remote
                .source
                .connector
                .capabilities()
                .runs_whole(&relation)
                .is_err()
        {
            return Ok(None);
        }
        let otherwise = match &self.otherwise {
            Some(plan) => match fresh(plan, values)? {
                Some(plan) => Some(plan),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Self {
            relation: Arc::new(relation),
            otherwise,
            ..self.again()
        }))
    }

    /// Whether keys of its output column `at` can be part of what is sent.
    pub fn takes_keys(&self, at: usize) -> bool {
        let Some(field) = self.schema.fields().get(at) else {
            return false;
        };
        if is_fixed(&self.relation, at) {
            return false;
        }
        let capabilities = self.remote.source.connector.capabilities();
        let none = Keys::at_most(0, field.data_type(), &[]);
        matches!(none, Ok(Some(none)) if restrict(&self.relation, at, &none, capabilities).is_some())
    }

    /// Asks the source, once all keys are known.
    async fn open(
        scan: Arc<Self>,
        run: Arc<QueryRun>,
        context: Arc<TaskContext>,
    ) -> std::result::Result<BoxStream<'static, Result<RecordBatch>>, EngineError> {
        let remote = &scan.remote;
        match Self::relation(remote, &scan.relation, &scan.bindings, &run, &context).await? {
            Some(Sent::Query(relation)) => {
                let received = Arc::clone(&scan.received);
                let rows = read(remote, relation, &run, Arc::clone(&scan.schema)).await?;
                let counted = rows.inspect_ok(move |batch| {
                    received.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                });
                Ok(counted.boxed())
            }
            Some(Sent::Nothing) => Ok(futures::stream::empty().boxed()),
            None => {
                let plan = scan.otherwise.clone();
                let plan =
                    plan.ok_or_else(|| EngineError::internal("a policy has too many keys", &remote.source.name))?;
                let plan = ready(plan, context.session_config().options(), true)?;
                Ok(execute_stream(plan, context)?)
            }
        }
    }

    /// What is sent, once all keys are known; `None` where a policy has too many.
    async fn relation(
        remote: &RemotePlan,
        relation: &Relation,
        bindings: &[Binding],
        run: &QueryRun,
        context: &Arc<TaskContext>,
    ) -> Result<Option<Sent>, EngineError> {
        let capabilities = remote.source.connector.capabilities();
        let mut relation = relation.clone();
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
) -> std::result::Result<BoxStream<'static, Result<RecordBatch>>, EngineError> {
    let query = RemoteQuery {
        root: relation,
        in_parts: remote.in_parts,
    };
    let expected = query.schema();
    let source = remote.source.name.clone();
    let enforcements: Vec<Arc<Enforcement>> = remote.reads.iter().map(|read| Arc::clone(&read.enforcement)).collect();
    let tables: Vec<Arc<RemoteTable>> = query.root.tables().into_iter().map(Arc::clone).collect();
    let told = move |error| {
        let reads: Vec<&Enforcement> = enforcements.iter().map(AsRef::as_ref).collect();
        without_hidden_names(error, &tables, &reads)
    };
    let streams = run.read(&remote.source, &query, 1).await.map_err(&told)?;
    let stream = futures::stream::iter(streams).flatten();
    Ok(stream
        .map(move |batch| {
            let batch = batch.map_err(|error| told(EngineError::from_source(&error)))?;
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
        .map(|batch| batch.map_err(Into::into))
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
        let rows = if self.bindings.is_empty() {
            self.remote.estimate.rows
        } else {
            f64::INFINITY
        };
        let received = Arc::clone(&self.received);
        let scan = Arc::new(Self {
            received,
            ..self.again()
        });
        let opening = Arc::clone(&context);
        let open = move || Self::open(Arc::clone(&scan), Arc::clone(&run), Arc::clone(&opening));
        let stream = read_ahead(rows, &context, open);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream,
        )))
    }
}

/// Whether a plan has one partition: what is gathered whole must.
pub(crate) fn is_single(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.output_partitioning().partition_count() == 1
}
