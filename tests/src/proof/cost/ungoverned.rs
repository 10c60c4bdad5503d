//! DataFusion without governance: the yardstick.
//!
//! Owns: its session, and a table over a connector's reader that takes the predicates the connector evaluates.
//! Never: a policy; filter and masks are in the SQL it is given.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use caliber_catalog::load;
use caliber_connector_spi::{
    Comparison, Connector, Expr as Remote, QueryContext, Relation, RemoteQuery, RemoteTable, SourceSpec, StatementLog,
    Value,
};
use caliber_connectors::FACTORIES;
use caliber_engine::connector_kinds;
use datafusion::catalog::{MemorySchemaProvider, Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};

use super::bank::TABLES;
use crate::engine::Variables;

const BATCH_ROWS: usize = 8_192;
const TIME_MAX: Duration = Duration::from_secs(3_600);

/// A plain session over the bank.
pub(super) struct Ungoverned(SessionContext);

impl Ungoverned {
    /// Over the connector that the project names.
    pub async fn over_connector(folder: &Path) -> Result<Self> {
        let (project, _) = load(folder, &Variables(&[]), &connector_kinds(FACTORIES))
            .map_err(|findings| anyhow::anyhow!("{} findings", findings.len()))?;
        let source = project.sources.get("bank").context("no bank")?;
        let factory = FACTORIES
            .iter()
            .find(|factory| factory.kind() == source.connector)
            .context("no connector")?;
        let connector = factory.open(&SourceSpec {
            name: source.name.clone(),
            options: source.options.clone(),
            connections_max: 8,
            statement_timeout: TIME_MAX,
        })?;
        let (context, schema) = session()?;
        for table in connector.introspect().await?.tables {
            let name = table.name.clone();
            let table = RawTable::new(Arc::clone(&connector), table);
            datafusion::catalog::SchemaProvider::register_table(schema.as_ref(), name, Arc::new(table))?;
        }
        Ok(Self(context))
    }

    /// Over DataFusion's own reader of the project's Parquet files.
    pub async fn over_files(folder: &Path) -> Result<Self> {
        let (context, _) = session()?;
        for table in TABLES {
            let path = folder.join(format!("{table}.parquet"));
            let path = path.to_str().context("a folder that is not UTF-8")?;
            context
                .register_parquet(format!("bank.{table}"), path, ParquetReadOptions::default())
                .await?;
        }
        Ok(Self(context))
    }

    /// All rows of a query.
    pub async fn run(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let stream = self.0.sql(sql).await?.execute_stream().await?;
        Ok(stream.try_collect().await?)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the ungoverned engine is what governance is compared with"
)]
fn session() -> Result<(SessionContext, Arc<MemorySchemaProvider>)> {
    let mut config = SessionConfig::new()
        .with_batch_size(BATCH_ROWS)
        .with_target_partitions(1);
    // As the governed engine reads: texts as they come, filters inside the Parquet reader as its connector has them.
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    config.options_mut().execution.parquet.schema_force_view_types = false;
    config.options_mut().execution.parquet.pushdown_filters = true;
    let context = SessionContext::new_with_config(config);
    let schema = Arc::new(MemorySchemaProvider::new());
    let catalog = context.catalog("datafusion").context("no catalog")?;
    catalog.register_schema("bank", Arc::clone(&schema) as _)?;
    Ok((context, schema))
}

/// Told of statements, and keeps nothing.
struct NoLog;

impl StatementLog for NoLog {
    fn sent(&self, _: &str, _: usize) {}

    fn received(&self, _: usize, _: usize) {}
}

/// A connector's table as it is.
#[derive(Debug)]
struct RawTable {
    connector: Arc<dyn Connector>,
    table: Arc<RemoteTable>,
    schema: SchemaRef,
}

impl RawTable {
    fn new(connector: Arc<dyn Connector>, table: RemoteTable) -> Self {
        let fields: Vec<Field> = table
            .columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable))
            .collect();
        Self {
            connector,
            table: Arc::new(table),
            schema: Arc::new(Schema::new(fields)),
        }
    }

    /// The predicate as the connector evaluates it.
    fn pushed(&self, filter: &Expr) -> Option<Remote> {
        let remote = remote(filter, &self.table)?;
        let capabilities = self.connector.capabilities();
        let below = Relation::Scan {
            table: Arc::clone(&self.table),
        }
        .columns();
        capabilities.evaluates(&remote, &below).then_some(remote)
    }
}

#[async_trait]
impl TableProvider for RawTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| match self.pushed(filter) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushed).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let columns = projection
            .cloned()
            .unwrap_or_else(|| (0..self.table.columns.len()).collect());
        let mut all: Vec<Remote> = filters.iter().filter_map(|filter| self.pushed(filter)).collect();
        let predicate = if all.len() > 1 {
            Some(Remote::And(all))
        } else {
            all.pop()
        };
        let rows = limit.map(|rows| rows as u64);
        let query = RemoteQuery::of_table(Arc::clone(&self.table), &columns, predicate, rows);
        let schema = query.schema();
        let read = Read {
            connector: Arc::clone(&self.connector),
            query,
            schema: Arc::clone(&schema),
        };
        let partitions: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(read)];
        let scan = StreamingTableExec::try_new(schema, partitions, None, Vec::new(), false, limit)?;
        Ok(Arc::new(scan))
    }
}

/// One read of a table.
#[derive(Debug)]
struct Read {
    connector: Arc<dyn Connector>,
    query: RemoteQuery,
    schema: SchemaRef,
}

impl PartitionStream for Read {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reader = self.connector.reader(QueryContext {
            query_id: "ungoverned".to_owned(),
            deadline: Instant::now() + TIME_MAX,
            batch_rows_max: BATCH_ROWS,
            buffer_bytes_max: 1 << 30,
            log: Arc::new(NoLog),
        });
        let query = self.query.clone();
        let failed = |error| DataFusionError::External(Box::new(error));
        let rows = async move {
            let rows = reader.read(&query).await.map_err(failed)?;
            Ok::<_, DataFusionError>(rows.map_err(failed))
        };
        let stream = futures::stream::once(rows).try_flatten().boxed();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

/// Comparisons of a column with a literal of its type, lists of literals, AND and OR: what the queries use.
fn remote(expr: &Expr, table: &RemoteTable) -> Option<Remote> {
    match expr {
        Expr::BinaryExpr(binary) => {
            let op = match binary.op {
                Operator::And => {
                    return Some(Remote::And(vec![
                        remote(&binary.left, table)?,
                        remote(&binary.right, table)?,
                    ]));
                }
                Operator::Or => {
                    return Some(Remote::Or(vec![
                        remote(&binary.left, table)?,
                        remote(&binary.right, table)?,
                    ]));
                }
                Operator::Eq => Comparison::Equal,
                Operator::NotEq => Comparison::NotEqual,
                Operator::Lt => Comparison::Less,
                Operator::LtEq => Comparison::LessOrEqual,
                Operator::Gt => Comparison::Greater,
                Operator::GtEq => Comparison::GreaterOrEqual,
                _ => return None,
            };
            let column = column(&binary.left, table)?;
            Some(Remote::Compare {
                op,
                left: Box::new(Remote::Column(column)),
                right: Box::new(Remote::Value(value(&binary.right, column, table)?)),
            })
        }
        Expr::Between(between) if !between.negated => {
            let column = column(&between.expr, table)?;
            let part = |op, bound| {
                Some(Remote::Compare {
                    op,
                    left: Box::new(Remote::Column(column)),
                    right: Box::new(Remote::Value(value(bound, column, table)?)),
                })
            };
            Some(Remote::And(vec![
                part(Comparison::GreaterOrEqual, &between.low)?,
                part(Comparison::LessOrEqual, &between.high)?,
            ]))
        }
        Expr::InList(list) if !list.negated => {
            let column = column(&list.expr, table)?;
            let values: Option<Vec<Value>> = list.list.iter().map(|one| value(one, column, table)).collect();
            Some(Remote::InList {
                expr: Box::new(Remote::Column(column)),
                list: values?,
            })
        }
        _ => None,
    }
}

fn column(expr: &Expr, table: &RemoteTable) -> Option<usize> {
    let Expr::Column(column) = expr else { return None };
    table.columns.iter().position(|known| known.name == column.name)
}

fn value(expr: &Expr, column: usize, table: &RemoteTable) -> Option<Value> {
    let Expr::Literal(scalar, _) = expr else { return None };
    if scalar.data_type() != table.columns.get(column)?.data_type {
        return None;
    }
    match scalar {
        ScalarValue::Int64(Some(number)) => Some(Value::Int(*number)),
        ScalarValue::Int32(Some(number)) => Some(Value::Int(i64::from(*number))),
        ScalarValue::Utf8(Some(text)) => Some(Value::Text(text.clone())),
        _ => None,
    }
}
