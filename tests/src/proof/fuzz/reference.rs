//! The reference: plain DataFusion over tables that hold only what a principal may see.
//!
//! Owns: those tables, the contexts, one run. Never: a part of the engine under test.
//!
//! SQL leaves open in which order the parts of an AND are evaluated, so a statement that fails on some visible row may
//! have more than one right outcome. A `Member` fixes what is open: how many rows are evaluated together, which
//! predicates go first, in the scan, where the emptiness of a join's other side spares no row, and whether the optimizer may look into the arithmetic (it moves cheap
//! predicates before dear ones, and filters below joins whose sides they reject).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Constraint, Constraints, DFSchema, ParamValues, ScalarValue};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, ScalarUDF, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use parking_lot::Mutex;

use super::ast::{Query, Reader};
use super::data::{self, Data, Value};
use super::exact::{Concatenation, EXACT};
use super::outcome::Outcome;
use super::policy::{Shape, Visible, visible};

/// One way of evaluating what SQL leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    pub batch_rows: usize,
    pub partitions: usize,
    pub first: First,
    /// How sums, differences and products of whole numbers are written.
    pub reader: Reader,
}

/// The predicates that are evaluated in the scan, before all others and whatever becomes of a join above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum First {
    Nothing,
    Simple,
    All,
}

/// How much each source's role sees, and the sources of the principal's roles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sight {
    pub shape: Shape,
    pub share: i64,
    pub roles: Vec<&'static str>,
}

/// Contexts that are kept; beyond, all are made anew.
const CONTEXTS_MAX: usize = 256;

/// What is visible to a principal, and the contexts over it.
pub struct Reference {
    data: Arc<Data>,
    seen: Mutex<HashMap<Sight, Arc<Vec<Visible>>>>,
    contexts: Mutex<HashMap<(Sight, Member), SessionContext>>,
}

impl Reference {
    /// Over the rows of `data`.
    pub fn new(data: Arc<Data>) -> Self {
        Self {
            data,
            seen: Mutex::default(),
            contexts: Mutex::default(),
        }
    }

    /// What a principal sees.
    pub fn visible(&self, sight: &Sight) -> Arc<Vec<Visible>> {
        let mut seen = self.seen.lock();
        let tables = seen.entry(sight.clone()).or_insert_with(|| {
            let (shape, share, roles) = (sight.shape, sight.share, &sight.roles);
            let all = roles
                .iter()
                .flat_map(|source| visible(&self.data, shape, share, source, roles));
            Arc::new(all.collect())
        });
        Arc::clone(tables)
    }

    /// Runs `query` with parameters.
    pub async fn run(&self, sight: &Sight, member: Member, query: &Query, values: &[Value]) -> Result<Outcome> {
        let context = self.context(sight, member).await?;
        let sql = query.text(member.reader);
        let ran = async {
            let mut frame = context.sql(&sql).await?;
            if !values.is_empty() {
                let values: Vec<ScalarValue> = values.iter().map(scalar).collect();
                frame = frame.with_param_values(ParamValues::from(values))?;
            }
            // The statement's types are those after coercion; an optimizer's rule may change a sum's precision again.
            let (state, plan) = frame.clone().into_parts();
            let analyzed = state
                .analyzer()
                .execute_and_check(plan, &state.config_options().clone(), |_, _| {})?;
            let schema = Arc::new(analyzed.schema().as_arrow().clone());
            Ok::<_, DataFusionError>((schema, frame.collect().await?))
        };
        match ran.await {
            Ok((schema, batches)) => Outcome::rows(&schema, &batches),
            Err(error) => Ok(Outcome::plain(&error)),
        }
    }

    async fn context(&self, sight: &Sight, member: Member) -> Result<SessionContext> {
        if let Some(known) = self.contexts.lock().get(&(sight.clone(), member)) {
            return Ok(known.clone());
        }
        let catalog = Arc::new(MemoryCatalogProvider::new());
        let context = plain_context(member);
        context.register_catalog("fuzz", Arc::clone(&catalog) as Arc<dyn CatalogProvider>);
        let mut views = Vec::new();
        for table in self.visible(sight).iter() {
            let base = match &table.view {
                Some(view) => {
                    views.push((table.schema.clone(), table.table.clone(), view.sql.clone()));
                    &view.base
                }
                None => table,
            };
            for schema in [&base.schema, &table.schema] {
                if catalog.schema(schema).is_none() {
                    catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()))?;
                }
            }
            let schema = catalog.schema(&base.schema).context("a schema is lost")?;
            schema.register_table(base.table.clone(), Arc::new(Copy::new(base, member.first)?))?;
        }
        for (schema, name, sql) in views {
            let nulls = vec![
                ScalarValue::Utf8(None),
                ScalarValue::Int64(None),
                ScalarValue::Date32(None),
            ];
            let plan = context.sql(&sql).await?.into_unoptimized_plan();
            let plan = plan.with_param_values(ParamValues::from(nulls))?;
            let schema = catalog.schema(&schema).context("a schema is lost")?;
            schema.register_table(name, Arc::new(ViewTable::new(plan, None)))?;
        }
        let mut kept = self.contexts.lock();
        if kept.len() >= CONTEXTS_MAX {
            kept.clear();
        }
        kept.insert((sight.clone(), member), context.clone());
        Ok(context)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the reference is DataFusion as it is, without anything of ours"
)]
fn plain_context(member: Member) -> SessionContext {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema("fuzz", "unified")
        .with_batch_size(member.batch_rows)
        .with_target_partitions(member.partitions)
        // DataFusion's plan of an ORDER BY over a union fails its own check otherwise.
        .with_repartition_sorts(false);
    let settings = config.options_mut();
    settings.sql_parser.parse_float_as_decimal = true;
    settings.sql_parser.map_string_types_to_utf8view = false;
    // `DISTINCT flag IS TRUE` fails otherwise.
    settings.execution.skip_physical_aggregate_schema_check = true;
    let context = SessionContext::new_with_config(config);
    for operation in EXACT {
        context.register_udf(ScalarUDF::from(operation));
    }
    context.register_udf(ScalarUDF::from(Concatenation));
    context
}

/// A value as DataFusion's; of the type that columns of it have.
pub fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Null => ScalarValue::Null,
        Value::Int(value) => ScalarValue::Int64(Some(*value)),
        Value::Text(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Cents(cents) => ScalarValue::Decimal128(Some(i128::from(*cents)), 12, 2),
        Value::Day(day) => ScalarValue::Date32(Some(*day)),
        Value::Bool(value) => ScalarValue::Boolean(Some(*value)),
    }
}

/// A table of visible rows. It tells nothing of their number, so that plans are those over a table of unknown size.
#[derive(Debug)]
struct Copy {
    rows: RecordBatch,
    constraints: Constraints,
    first: First,
}

impl Copy {
    fn new(table: &Visible, first: First) -> Result<Self> {
        let rows = data::batch(
            &table.columns,
            &|name| name == "id" || name.ends_with("_clear"),
            &table.rows,
        )?;
        let key = table.enforced.then_some(Constraint::PrimaryKey(vec![0]));
        Ok(Self {
            rows,
            constraints: Constraints::new_unverified(key.into_iter().collect()),
            first,
        })
    }
}

#[async_trait]
impl TableProvider for Copy {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let schema = DFSchema::try_from(self.rows.schema().as_ref().clone())?;
        Ok(filters
            .iter()
            .map(|filter| {
                let is_first = match (self.first, bare((*filter).clone())) {
                    (First::All, Ok(_)) => true,
                    (First::Simple, Ok(plain)) => is_simple(&plain, &schema),
                    _ => false,
                };
                if is_first {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = DFSchema::try_from(self.rows.schema().as_ref().clone())?;
        let mut rows = self.rows.clone();
        for filter in filters {
            let filter = state.create_physical_expr(bare(filter.clone())?, &schema)?;
            let mask = filter.evaluate(&rows)?.into_array(rows.num_rows())?;
            // A row for which it is NULL is not kept.
            rows = filter_record_batch(&rows, mask.as_boolean())?;
        }
        if let Some(projection) = projection {
            rows = rows.project(projection)?;
        }
        if let Some(limit) = limit {
            rows = rows.slice(0, limit.min(rows.num_rows()));
        }
        Ok(Arc::new(CopyExec::new(rows)))
    }
}

/// Hands out rows in batches of the session's size, as one partition.
#[derive(Debug)]
struct CopyExec {
    rows: RecordBatch,
    properties: Arc<PlanProperties>,
}

impl CopyExec {
    fn new(rows: RecordBatch) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(rows.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { rows, properties }
    }
}

impl DisplayAs for CopyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyExec")
    }
}

impl ExecutionPlan for CopyExec {
    fn name(&self) -> &'static str {
        "CopyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let size = context.session_config().batch_size().max(1);
        let rows = self.rows.clone();
        let total = rows.num_rows();
        let batches = (0..total)
            .step_by(size)
            .map(move |from| Ok(rows.slice(from, size.min(total - from))));
        let stream = futures::stream::iter(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.rows.schema(), stream)))
    }
}

/// Whether a predicate can neither fail nor tell more than its own truth: the class that a source is let evaluate first
/// (a column against a constant or a column of its type). Written anew here, so that a mistake in the engine's list shows.
fn is_simple(expr: &Expr, schema: &DFSchema) -> bool {
    let constant = |expr: &Expr, value: &Expr| match (expr, value) {
        (Expr::Column(_), Expr::Literal(value, _)) => expr.get_type(schema).is_ok_and(|kind| kind == value.data_type()),
        (Expr::Column(_), Expr::Column(_)) => {
            let other = value.get_type(schema);
            expr.get_type(schema)
                .is_ok_and(|kind| other.is_ok_and(|other| kind == other))
        }
        _ => false,
    };
    match expr {
        Expr::Column(_) => expr.get_type(schema).is_ok_and(|kind| kind == DataType::Boolean),
        Expr::Literal(ScalarValue::Boolean(_), _) => true,
        Expr::Not(inner)
        | Expr::IsTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsNotFalse(inner) => is_simple(inner, schema),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => matches!(**inner, Expr::Column(_)),
        Expr::Between(between) => constant(&between.expr, &between.low) && constant(&between.expr, &between.high),
        Expr::InList(list) => !list.list.is_empty() && list.list.iter().all(|value| constant(&list.expr, value)),
        Expr::Like(like) => !like.case_insensitive && like.escape_char.is_none() && constant(&like.expr, &like.pattern),
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And | Operator::Or => is_simple(&binary.left, schema) && is_simple(&binary.right, schema),
            Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                constant(&binary.left, &binary.right) || constant(&binary.right, &binary.left)
            }
            _ => false,
        },
        _ => false,
    }
}

fn bare(expr: Expr) -> DataFusionResult<Expr> {
    let named = expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::new_unqualified(column.name))),
            other => Transformed::no(other),
        })
    })?;
    Ok(named.data)
}
