//! The one operator that reads a source's table: scan, row filter, masks, barrier, in a single node.
//!
//! Owns: what is asked of the source, and the order fetch → row filter → masks → leakproof filters → projection.
//! Never: lets another operator between those steps, or an expression of the user's touch a raw row.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{RecordBatch, new_empty_array};
use arrow::datatypes::{Schema, SchemaRef};
use caliber_connector_spi::Expr as Remote;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue, Statistics};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::enforcement::{Enforcement, without_hidden_names};
use super::governed_rows::GovernedRows;
use super::governed_table::{Output, output_field};
use super::source_ask::{PolicyPart, SourceAsk};
use crate::EngineError;
use crate::absorb::estimate;
use crate::absorb::gathering::Binding;
use crate::absorb::key_relation::pushed_keys;
use crate::absorb::raw_read::{RawRead, all_of, any_of};
use crate::absorb::read_ahead::read_ahead;
use crate::absorb::restrict::equals_constant;
use crate::absorb::translate::table_columns;
use crate::run::plan_template::with_values;
use crate::run::query_run::QueryRun;

/// Reads one governed table.
pub(crate) struct GovernedScanExec {
    pub enforcement: Arc<Enforcement>,
    pub outputs: Arc<Vec<Output>>,
    /// Indices into `outputs`, in the order of the schema.
    pub projection: Vec<usize>,
    /// Leakproof, over the outputs' names; all must hold.
    pub filters: Vec<Expr>,
    /// Rows that are enough.
    pub limit: Option<usize>,
    /// Joins whose keys it waits for.
    pub bindings: Vec<Binding>,
    /// How many streams it gives its rows in. Several only where no row is hidden: in which stream a row is depends on all.
    parts: usize,
    /// The streams, opened by whoever asks for the first of several.
    opened: Arc<Opened>,
    /// The rows that came from the source.
    pub received: Arc<AtomicU64>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

/// Governed rows on their way.
type RowStream = BoxStream<'static, Result<RecordBatch>>;

/// What opening a scan of several parts gave, each until it is taken.
type Opened = OnceCell<std::result::Result<Mutex<Vec<RowStream>>, EngineError>>;

impl GovernedScanExec {
    /// A scan of the outputs in `projection` for rows that satisfy `filters`.
    pub fn try_new(
        enforcement: Arc<Enforcement>,
        outputs: Arc<Vec<Output>>,
        projection: Vec<usize>,
        filters: Vec<Expr>,
        limit: Option<usize>,
    ) -> Result<Self> {
        let fields: Vec<_> = projection
            .iter()
            .filter_map(|at| outputs.get(*at))
            .map(|output| output_field(&enforcement, *output))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let filters = filters.into_iter().map(unqualified).collect::<Result<Vec<_>>>()?;
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Self {
            enforcement,
            outputs,
            projection,
            filters,
            limit,
            bindings: Vec::new(),
            parts: 1,
            opened: Arc::default(),
            received: Arc::default(),
            schema,
            properties,
        })
    }

    /// The same scan in `parts` streams.
    pub fn in_parts(&self, parts: usize) -> Self {
        let properties = self.properties.as_ref().clone();
        Self {
            parts,
            properties: Arc::new(properties.with_partitioning(Partitioning::UnknownPartitioning(parts))),
            ..self.again()
        }
    }

    /// The same scan with one more join whose keys it waits for.
    pub fn bound(&self, binding: Binding) -> Self {
        let mut scan = self.again();
        scan.bindings.push(binding);
        scan
    }

    /// The same scan with the values of the statement's parameters.
    pub fn with_parameters(&self, values: &[ScalarValue]) -> Result<Self> {
        let filters = self.filters.iter().cloned();
        Ok(Self {
            filters: filters
                .map(|filter| with_values(filter, values))
                .collect::<Result<_>>()?,
            ..self.again()
        })
    }

    fn again(&self) -> Self {
        Self {
            enforcement: Arc::clone(&self.enforcement),
            outputs: Arc::clone(&self.outputs),
            projection: self.projection.clone(),
            filters: self.filters.clone(),
            limit: self.limit,
            bindings: self.bindings.clone(),
            parts: self.parts,
            opened: Arc::default(),
            received: Arc::default(),
            schema: Arc::clone(&self.schema),
            properties: Arc::clone(&self.properties),
        }
    }

    /// Whether its source is read in this process, and gives its rows in parts.
    pub fn is_read_here(&self) -> bool {
        self.enforcement.source.connector.capabilities().parts
    }

    /// Whether keys of its output column `at` can be part of what is asked.
    pub fn takes_keys(&self, at: usize) -> bool {
        let Some(column) = self.raw_column(at).filter(|_| self.limit.is_none()) else {
            return false;
        };
        let table = &self.enforcement.table;
        let Some(described) = table.columns.get(column) else {
            return false;
        };
        let keys = Remote::InKeys {
            column,
            keys: new_empty_array(&described.data_type),
        };
        let capabilities = self.enforcement.source.connector.capabilities();
        let fixes = |filter: &Expr| {
            self.raw_translation(filter)
                .is_some_and(|remote| equals_constant(&remote, column))
        };
        if self.filters.iter().any(fixes) {
            return false;
        }
        !self.enforcement.policies.is_empty() && capabilities.evaluates(&keys, &table_columns(table))
    }

    /// The raw column whose values, on every row, are those of the output column `at`.
    fn raw_column(&self, at: usize) -> Option<usize> {
        let output = self.projection.get(at).and_then(|at| self.outputs.get(*at))?;
        let (Output::Shown(at) | Output::ClearOrNull(at)) = output else {
            return None;
        };
        let column = self.enforcement.columns.get(*at)?;
        column.is_clear().then_some(column.index)
    }

    /// The rows it may give, of a table of `all`.
    pub fn estimated_rows(&self, all: f64) -> f64 {
        let mut estimate = estimate::of_table(&self.enforcement.table);
        estimate.rows = all;
        let mut rows = all;
        for filter in &self.filters {
            let found = self.raw_translation(filter).map(|remote| estimate.filtered(&remote));
            rows *= found.map_or(0.33, |found| found / all.max(1.0));
        }
        rows.max(1.0)
    }

    /// The keys of joins, as conditions on raw rows; `None` where there is none, so that no row is wanted.
    async fn bound_keys(&self, context: &Arc<TaskContext>) -> std::result::Result<Option<Vec<Remote>>, EngineError> {
        let capabilities = self.enforcement.source.connector.capabilities();
        let below = table_columns(&self.enforcement.table);
        let mut conditions = Vec::new();
        for binding in &self.bindings {
            let Some(keys) = binding.keys(context).await? else {
                continue;
            };
            if keys.array.is_empty() {
                return Ok(None);
            }
            let Some(column) = self.raw_column(binding.column) else {
                continue;
            };
            let condition = pushed_keys(&keys, column, &self.enforcement.table)?;
            conditions.extend(condition.filter(|remote| capabilities.evaluates(remote, &below)));
        }
        Ok(Some(conditions))
    }

    /// Asks the source, once all keys are known. Gives as many streams as there are parts.
    async fn open(
        scan: Arc<Self>,
        ask: Arc<SourceAsk>,
        run: Arc<QueryRun>,
        context: Arc<TaskContext>,
    ) -> std::result::Result<Vec<RowStream>, EngineError> {
        let mut rows = GovernedRows::try_new(&scan, &ask, run.batch_rows, Arc::clone(&scan.schema))?;
        let mut streams: Vec<RowStream> = Vec::new();
        if let Some(keys) = scan.bound_keys(&context).await? {
            let mut read = scan.read(&run, &ask, &mut rows).await?;
            read.predicate = all_of(read.predicate.into_iter().chain(keys).collect());
            let enforcement = Arc::clone(&scan.enforcement);
            let told = move |error| without_hidden_names(error, [&enforcement.table], &[&enforcement]);
            let raw = read.open_parts(&run, scan.parts).await.map_err(&told)?;
            for raw in raw {
                let received = Arc::clone(&scan.received);
                let counted = raw.map_err(told.clone()).inspect_ok(move |batch| {
                    received.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                });
                let governed = rows.clone().stream(counted.boxed());
                streams.push(governed.map(|batch| batch.map_err(Into::into)).boxed());
            }
        }
        streams.resize_with(streams.len().max(scan.parts), || futures::stream::empty().boxed());
        Ok(streams)
    }

    /// The stream of one part of several.
    async fn part(
        scan: Arc<Self>,
        ask: Arc<SourceAsk>,
        run: Arc<QueryRun>,
        context: Arc<TaskContext>,
        part: usize,
    ) -> Result<RowStream> {
        let opened = Arc::clone(&scan.opened);
        let open = || async { Self::open(scan, ask, run, context).await.map(Mutex::new) };
        let streams = opened.get_or_init(open).await.as_ref().map_err(Clone::clone)?;
        let mut streams = streams.lock();
        let stream = streams
            .get_mut(part)
            .map(|stream| std::mem::replace(stream, futures::stream::empty().boxed()));
        stream.ok_or_else(|| EngineError::internal("a scan has fewer parts", &part).into())
    }

    /// The read with every key known.
    async fn read(&self, run: &QueryRun, ask: &SourceAsk, rows: &mut GovernedRows) -> Result<RawRead, EngineError> {
        let enforcement = &self.enforcement;
        let capabilities = enforcement.source.connector.capabilities();
        let below = table_columns(&enforcement.table);
        let mut complete = ask.complete;
        let mut alternatives = Vec::new();
        let mut widened = enforcement.policies.is_empty();
        // Keys are mandatory whether or not the source may see them: the local check needs them too.
        rows.resolve_keys(run).await?;
        for parts in &ask.policies {
            let mut conditions = Vec::new();
            for part in parts {
                match part {
                    PolicyPart::Predicate(remote) => conditions.push(remote.clone()),
                    PolicyPart::Keys(policy, admission) => {
                        let keys = rows.keys(*policy, *admission)?;
                        let column = rows.key_column(*policy, *admission)?;
                        match pushed_keys(keys, column, &enforcement.table)? {
                            Some(remote) if capabilities.evaluates(&remote, &below) => {
                                conditions.push(remote);
                            }
                            _ => complete = false,
                        }
                    }
                }
            }
            match all_of(conditions) {
                Some(condition) => alternatives.push(condition),
                None => widened = true,
            }
        }
        let mut all = ask.filters.clone();
        if !widened {
            all.splice(0..0, any_of(alternatives));
        }
        Ok(RawRead {
            source: Arc::clone(&enforcement.source),
            table: Arc::clone(&enforcement.table),
            columns: ask.columns.clone(),
            predicate: all_of(all),
            limit: self
                .limit
                .filter(|_| complete && capabilities.limit)
                .map(|rows| rows as u64),
        })
    }
}

/// The same expression with columns named without a qualifier, as the scan's schema names them.
pub(crate) fn unqualified(expr: Expr) -> Result<Expr> {
    Ok(expr
        .transform(|expr| {
            Ok(match expr {
                Expr::Column(column) if column.relation.is_some() => {
                    Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
                }
                other => Transformed::no(other),
            })
        })?
        .data)
}

impl std::fmt::Debug for GovernedScanExec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GovernedScanExec({})", self.enforcement.name)
    }
}

impl DisplayAs for GovernedScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GovernedScanExec: {}", self.enforcement.name)
    }
}

impl ExecutionPlan for GovernedScanExec {
    fn name(&self) -> &'static str {
        "GovernedScanExec"
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
            Err(EngineError::internal("a governed scan was given children", &children.len()).into())
        }
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        // What the source says of all rows says nothing of hidden ones only where there are none.
        if self.enforcement.shows_all_rows()
            && let Some(all) = self.enforcement.table.rows_estimate
        {
            let rows = self.estimated_rows(all as f64) / partition.map_or(1.0, |_| self.parts as f64);
            statistics.num_rows = Precision::Inexact(rows as usize);
        }
        Ok(Arc::new(statistics))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition >= self.parts {
            return Err(EngineError::internal("a governed scan has fewer partitions", &partition).into());
        }
        let run = QueryRun::of(&context)?;
        let ask = Arc::new(self.ask(run.pushdown));
        let schema = Arc::clone(&self.schema);
        if self.enforcement.policies.is_empty() || self.limit == Some(0) {
            let none = futures::stream::empty();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, none)));
        }
        let scan = Arc::new(Self {
            opened: Arc::clone(&self.opened),
            received: Arc::clone(&self.received),
            ..self.again()
        });
        if self.parts > 1 {
            let stream = futures::stream::once(Self::part(scan, ask, run, context, partition)).try_flatten();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)));
        }
        let guessed = if self.bindings.is_empty() {
            self.estimated_rows(estimate::of_table(&self.enforcement.table).rows)
        } else {
            f64::INFINITY
        };
        let opening = Arc::clone(&context);
        let open = move || {
            let opened = Self::open(
                Arc::clone(&scan),
                Arc::clone(&ask),
                Arc::clone(&run),
                Arc::clone(&opening),
            );
            async move { Ok(futures::stream::iter(opened.await?).flatten().boxed()) }
        };
        let stream = read_ahead(guessed, &context, open);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
