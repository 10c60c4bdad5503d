//! A read of one table as a plan of DataFusion's own file sources.
//!
//! Owns: the translation of predicates, the bounds of the scan. Never: a session of the engine, a file outside the folder.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use caliber_connector_spi::{Comparison, Expr, RemoteTable, TableRead, Value};
use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::provider_as_source;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr as Logical, Like, LogicalPlanBuilder, Operator};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::SessionConfig;
use object_store::ObjectMeta;

use super::chosen::Chosen;
use super::options::{Format, TableSpec};
use super::pinned::Pinned;
use super::places::State;

/// The one place that the scan can reach.
const STORE: &str = "caliber-files://source/";
const TABLE: &str = "t";

/// How a scan gives its rows.
pub(super) struct Bounds {
    /// Rows of a batch, at most.
    pub batch_rows_max: usize,
    /// Streams, at most.
    pub parts: usize,
}

/// Starts the scan, in one stream or several. Their columns are those asked for, in order.
pub(super) async fn scan(
    store: Arc<Pinned>,
    spec: &TableSpec,
    files: &State,
    read: &TableRead<'_>,
    bounds: Bounds,
) -> Result<Vec<SendableRecordBatchStream>> {
    let mut config = SessionConfig::new()
        .with_batch_size(bounds.batch_rows_max.max(1))
        .with_target_partitions(bounds.parts.max(1));
    let options = config.options_mut();
    options.execution.collect_statistics = false;
    options.execution.parquet.schema_force_view_types = false;
    // A file that is read in one piece stays so: its rows are spread where they are used.
    options.optimizer.enable_round_robin_repartition = false;
    // A new environment for each scan: its caches of footers would outlive the files they describe.
    let environment = RuntimeEnvBuilder::new().build_arc()?;
    let address = ObjectStoreUrl::parse(STORE)?;
    environment.register_object_store(address.as_ref(), store);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(environment)
        .build();

    let format: Arc<dyn FileFormat> = match spec.format {
        Format::Parquet => Arc::new(ParquetFormat::default().with_options(state.default_table_options().parquet)),
        Format::Csv { delimiter, header } => Arc::new(
            CsvFormat::default()
                .with_has_header(header)
                .with_delimiter(delimiter)
                .with_newlines_in_values(true),
        ),
        Format::Json => Arc::new(JsonFormat::default()),
        Format::Arrow => Arc::new(ArrowFormat),
    };
    let schema = schema(read.table, spec);
    let files = files
        .iter()
        .map(|(path, about)| file(path, about, spec, &schema))
        .collect::<Result<Vec<_>>>()?;
    let source = provider_as_source(Arc::new(Chosen {
        store: address,
        format,
        schema,
        files,
    }));

    let scanned = LogicalPlanBuilder::scan(TABLE, source, None)?;
    let wanted = read
        .columns
        .iter()
        .map(|index| column(read.table, *index))
        .collect::<Result<Vec<_>>>()?;
    let plan = rows(scanned, read)?.project(wanted)?.build()?;
    let plan = state.create_physical_plan(&plan).await?;
    let partitions = 0..plan.output_partitioning().partition_count();
    partitions
        .map(|partition| plan.execute(partition, state.task_ctx()))
        .collect()
}

/// A file, and what its folders say.
fn file(path: &str, about: &ObjectMeta, spec: &TableSpec, schema: &TableSchema) -> Result<PartitionedFile> {
    let columns = schema.table_partition_cols().iter();
    let values = columns.zip(spec.path.values(path)).map(|(field, value)| match value {
        Some(text) => ScalarValue::Utf8(Some(text)).cast_to(field.data_type()),
        None => ScalarValue::try_from(field.data_type()),
    });
    let mut file = PartitionedFile::new_from_meta(about.clone());
    file.partition_values = values.collect::<Result<_>>()?;
    Ok(file)
}

/// The columns of the files in the types they are read in, and those of the folders.
fn schema(table: &RemoteTable, spec: &TableSpec) -> TableSchema {
    let of_path = spec.path.columns();
    let fields = table
        .columns
        .iter()
        .map(|column| Arc::new(Field::new(&column.name, column.data_type.clone(), column.nullable)));
    let (folders, inside): (Vec<FieldRef>, Vec<FieldRef>) =
        fields.partition(|field| of_path.contains(&field.name().as_str()));
    TableSchema::builder(Arc::new(Schema::new(inside)))
        .with_table_partition_cols(folders)
        .build()
}

/// The rows of `scan` that are read, before the columns.
fn rows(scan: LogicalPlanBuilder, read: &TableRead<'_>) -> Result<LogicalPlanBuilder> {
    let mut plan = scan;
    for predicate in &read.predicates {
        plan = plan.filter(translate(predicate, read.table)?)?;
    }
    match read.rows {
        // More rows than memory could address are all rows.
        Some(rows) => plan.limit(0, Some(usize::try_from(rows).unwrap_or(usize::MAX))),
        None => Ok(plan),
    }
}

fn column(table: &RemoteTable, index: usize) -> Result<Logical> {
    let column = table
        .columns
        .get(index)
        .ok_or_else(|| unfit("a column that does not exist"))?;
    Ok(Logical::Column(Column::new(
        Some(TableReference::bare(TABLE)),
        &column.name,
    )))
}

fn unfit(what: &str) -> DataFusionError {
    DataFusionError::Plan(what.to_owned())
}

fn translate(expr: &Expr, table: &RemoteTable) -> Result<Logical> {
    Ok(match expr {
        Expr::Column(index) => column(table, *index)?,
        Expr::Value(value) => Logical::Literal(scalar(value), None),
        Expr::Compare { op, left, right } => {
            let (left, right) = match (&**left, &**right) {
                (Expr::Value(value), other) => {
                    let (column, value) = alike_one(other, value, table)?;
                    (value, column)
                }
                (other, Expr::Value(value)) => alike_one(other, value, table)?,
                (left, right) => (translate(left, table)?, translate(right, table)?),
            };
            Logical::BinaryExpr(BinaryExpr::new(Box::new(left), operator(*op), Box::new(right)))
        }
        Expr::And(parts) => joined(parts, Operator::And, table)?,
        Expr::Or(parts) => joined(parts, Operator::Or, table)?,
        Expr::Not(part) => Logical::Not(Box::new(translate(part, table)?)),
        Expr::IsNull(part) => Logical::IsNull(Box::new(translate(part, table)?)),
        Expr::InList { expr, list } => {
            let (expr, list) = alike(expr, list, table)?;
            Logical::InList(InList::new(Box::new(expr), list, false))
        }
        Expr::InKeys { column: index, keys } => {
            let keys = (0..keys.len()).map(|at| Ok(Logical::Literal(ScalarValue::try_from_array(keys, at)?, None)));
            Logical::InList(InList::new(
                Box::new(column(table, *index)?),
                keys.collect::<Result<Vec<_>>>()?,
                false,
            ))
        }
        Expr::Like { expr, pattern } => {
            let pattern = Logical::Literal(ScalarValue::Utf8(Some(pattern.clone())), None);
            Logical::Like(Like::new(
                false,
                Box::new(translate(expr, table)?),
                Box::new(pattern),
                Some('\\'),
                false,
            ))
        }
        Expr::Null(data_type) => Logical::Literal(ScalarValue::try_from(data_type)?, None),
        Expr::Parameter { .. }
        | Expr::InQuery { .. }
        | Expr::Case { .. }
        | Expr::Arithmetic { .. }
        | Expr::Cast { .. }
        | Expr::DatePart { .. }
        | Expr::DateTrunc { .. }
        | Expr::Substring { .. }
        | Expr::CharLength(_) => return Err(unfit("an expression that files are not asked for")),
    })
}

/// `expr` and the values it is compared with, all of one type. Values arrive in the widest type of their family; where one
/// is out of the column's range the column is widened, which loses nothing.
fn alike(expr: &Expr, values: &[Value], table: &RemoteTable) -> Result<(Logical, Vec<Logical>)> {
    let logical = translate(expr, table)?;
    let scalars: Vec<ScalarValue> = values.iter().map(scalar).collect();
    let data_type = match expr {
        Expr::Column(index) => table.columns.get(*index).map(|column| column.data_type.clone()),
        Expr::Value(value) => Some(value.data_type()),
        _ => Some(DataType::Boolean),
    };
    let data_type = data_type.ok_or_else(|| unfit("a column that does not exist"))?;
    let fits = |scalar: &ScalarValue| {
        let found = scalar.data_type();
        let same_family = found.is_integer() && data_type.is_integer();
        if found == data_type {
            Some(scalar.clone())
        } else {
            scalar.cast_to(&data_type).ok().filter(|_| same_family)
        }
    };
    if let Some(fitting) = scalars.iter().map(fits).collect::<Option<Vec<_>>>() {
        return Ok((
            logical,
            fitting
                .into_iter()
                .map(|scalar| Logical::Literal(scalar, None))
                .collect(),
        ));
    }
    let widest = scalars.first().map_or(DataType::Null, ScalarValue::data_type);
    let widens = match widest {
        DataType::Int64 => data_type.is_signed_integer(),
        DataType::UInt64 => data_type.is_unsigned_integer(),
        _ => false,
    };
    if !widens {
        return Err(unfit("a value of another type than its column"));
    }
    Ok((
        datafusion::logical_expr::cast(logical, widest),
        scalars
            .into_iter()
            .map(|scalar| Logical::Literal(scalar, None))
            .collect(),
    ))
}

fn alike_one(expr: &Expr, value: &Value, table: &RemoteTable) -> Result<(Logical, Logical)> {
    let (expr, mut values) = alike(expr, std::slice::from_ref(value), table)?;
    values
        .pop()
        .map(|value| (expr, value))
        .ok_or_else(|| unfit("a comparison with nothing"))
}

fn joined(parts: &[Expr], operator: Operator, table: &RemoteTable) -> Result<Logical> {
    let mut parts = parts
        .iter()
        .map(|part| translate(part, table))
        .collect::<Result<Vec<_>>>()?;
    // Halves, so that a thousand parts are ten deep and not a thousand.
    while parts.len() > 1 {
        let mut pairs = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => Logical::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right))),
                None => left,
            });
        }
        parts = pairs;
    }
    parts.pop().ok_or_else(|| unfit("an empty AND or OR"))
}

fn operator(op: Comparison) -> Operator {
    match op {
        Comparison::Equal => Operator::Eq,
        Comparison::NotEqual => Operator::NotEq,
        Comparison::Less => Operator::Lt,
        Comparison::LessOrEqual => Operator::LtEq,
        Comparison::Greater => Operator::Gt,
        Comparison::GreaterOrEqual => Operator::GtEq,
    }
}

fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Bool(value) => ScalarValue::Boolean(Some(*value)),
        Value::Int(value) => ScalarValue::Int64(Some(*value)),
        Value::UInt(value) => ScalarValue::UInt64(Some(*value)),
        Value::Float(value) => ScalarValue::Float64(Some(*value)),
        Value::Decimal {
            unscaled,
            precision,
            scale,
        } => ScalarValue::Decimal128(Some(*unscaled), *precision, *scale),
        Value::Text(value) => ScalarValue::Utf8(Some(value.clone())),
        Value::Bytes(value) => ScalarValue::Binary(Some(value.clone())),
        Value::Date(days) => ScalarValue::Date32(Some(*days)),
        Value::Timestamp(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), None),
        Value::TimestampUtc(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), Some("UTC".into())),
    }
}
