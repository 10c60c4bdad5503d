//! A source whose tables are Arrow batches in this process, and which evaluates what it says it can.
//!
//! Owns: the rows of the recording proof, predicates over whole numbers and text. Never: a policy.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Int64Type, Schema};
use async_trait::async_trait;
use caliber_connector_spi::{
    BatchStream, Capabilities, Comparison, Connector, ConnectorError, ConnectorFactory, Expr, OptionSpec, QueryContext,
    RemoteColumn, RemoteQuery, RemoteTable, SourceReader, SourceSchema, SourceSpec, TypeClass, TypeSet, Value,
};
use futures::StreamExt;

/// Rows of `t`, persons, and visits of each person.
pub const ROWS: i64 = 200;

/// What a row of `t` is compared with by its policy: NULL on every twentieth, else 0 to 99.
pub fn bucket(row: i64) -> Option<i64> {
    (row % 20 != 0).then_some(row * 7 % 100)
}

/// The tables, every value of which but `kind` and `bucket` stands in one row only and names it.
pub fn tables() -> Vec<(&'static str, RecordBatch)> {
    let numbers =
        |value: &dyn Fn(i64) -> Option<i64>| Arc::new((1..=ROWS).map(value).collect::<Int64Array>()) as ArrayRef;
    let texts = |prefix: &str| {
        let text = (1..=ROWS).map(|row| Some(format!("{prefix}{row}")));
        Arc::new(text.collect::<StringArray>()) as ArrayRef
    };
    let batch = |columns: Vec<(&str, ArrayRef)>| {
        let columns = columns.into_iter().map(|(name, values)| (name, values, true));
        RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
    };
    vec![
        (
            "t",
            batch(vec![
                ("id", numbers(&|row| Some(row))),
                ("bucket", numbers(&bucket)),
                ("kind", numbers(&|row| Some(-1 - row % 3))),
                ("word", texts("w")),
                ("n", numbers(&|row| Some(10_000 + row))),
                ("phone", texts("raw")),
                ("pin", numbers(&|row| Some(50_000 + row))),
            ]),
        ),
        (
            "person",
            batch(vec![
                ("id", numbers(&|row| Some(row))),
                ("bucket", numbers(&bucket)),
                ("name", texts("p")),
                ("phone", texts("raw")),
            ]),
        ),
        (
            "visit",
            batch(vec![
                ("id", numbers(&|row| Some(100_000 + row))),
                ("person_id", numbers(&|row| Some(row))),
                ("note", texts("v")),
            ]),
        ),
    ]
}

/// The kind `memory`.
pub struct MemoryFactory;

#[async_trait]
impl ConnectorFactory for MemoryFactory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn open(&self, _: &SourceSpec) -> Result<Arc<dyn Connector>, ConnectorError> {
        Ok(Arc::new(Memory))
    }
}

#[derive(Debug)]
struct Memory;

const EXACT: TypeSet = TypeSet::of(&[TypeClass::Integer, TypeClass::Text]);

const CAPABILITIES: Capabilities = Capabilities {
    equality: EXACT,
    order: EXACT,
    keys: EXACT,
    keys_max: 1_000,
    limit: true,
    parameters_max: 1_000,
    ..Capabilities::NONE
};

fn described(name: &str, batch: &RecordBatch) -> RemoteTable {
    let columns = batch.schema_ref().fields().iter().map(|field| RemoteColumn {
        name: field.name().clone(),
        data_type: field.data_type().clone(),
        nullable: true,
        native_type: field.data_type().to_string(),
        comment: None,
        comparable: true,
        distinct_estimate: None,
    });
    RemoteTable {
        name: name.to_owned(),
        namespace: None,
        is_view: false,
        columns: columns.collect(),
        primary_key: vec!["id".to_owned()],
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        comment: None,
        rows_estimate: None,
    }
}

#[async_trait]
impl Connector for Memory {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    async fn introspect(&self) -> Result<SourceSchema, ConnectorError> {
        Ok(SourceSchema {
            tables: tables().iter().map(|(name, batch)| described(name, batch)).collect(),
            notices: Vec::new(),
        })
    }

    fn reader(&self, context: QueryContext) -> Arc<dyn SourceReader> {
        Arc::new(Reader(context.batch_rows_max))
    }

    fn statement(&self, _: &RemoteQuery) -> Option<String> {
        None
    }
}

struct Reader(usize);

#[async_trait]
impl SourceReader for Reader {
    async fn read(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        let wanted = query.table_read().expect("a read of one table");
        let all = tables().into_iter().find(|(name, _)| *name == wanted.table.name);
        let (_, all) = all.expect("a table of this source");
        let limit = wanted
            .rows
            .map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
        let kept: BooleanArray = (0..all.num_rows())
            .map(|row| {
                Some(
                    wanted
                        .predicates
                        .iter()
                        .all(|predicate| holds(predicate, &all, row) == Some(true)),
                )
            })
            .collect();
        let kept = arrow::compute::filter_record_batch(&all, &kept).expect("as many as rows");
        let kept = kept.slice(0, kept.num_rows().min(limit));
        let columns = wanted.columns.iter().map(|at| kept.column(*at).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        let schema: Arc<Schema> = query.schema();
        let batch = RecordBatch::try_new_with_options(schema, columns, &options).expect("the columns asked for");
        let size = self.0.max(1);
        let starts: Vec<usize> = (0..batch.num_rows()).step_by(size).collect();
        let batches = starts
            .into_iter()
            .map(move |at| Ok(batch.slice(at, size.min(batch.num_rows() - at))));
        Ok(futures::stream::iter(batches.collect::<Vec<_>>()).boxed())
    }
}

/// The predicate on a row, with SQL's three values.
fn holds(predicate: &Expr, all: &RecordBatch, row: usize) -> Option<bool> {
    match predicate {
        Expr::Compare { op, left, right } => {
            let order = compare(&operand(left, all, row)?, &operand(right, all, row)?);
            Some(match op {
                Comparison::Equal => order == Ordering::Equal,
                Comparison::NotEqual => order != Ordering::Equal,
                Comparison::Less => order == Ordering::Less,
                Comparison::LessOrEqual => order != Ordering::Greater,
                Comparison::Greater => order == Ordering::Greater,
                Comparison::GreaterOrEqual => order != Ordering::Less,
            })
        }
        Expr::And(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| holds(part, all, row)).collect();
            if parts.contains(&Some(false)) {
                Some(false)
            } else {
                parts.iter().all(Option::is_some).then_some(true)
            }
        }
        Expr::Or(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| holds(part, all, row)).collect();
            if parts.contains(&Some(true)) {
                Some(true)
            } else {
                parts.iter().all(Option::is_some).then_some(false)
            }
        }
        Expr::Not(part) => holds(part, all, row).map(|it| !it),
        Expr::IsNull(part) => Some(operand(part, all, row).is_none()),
        Expr::InList { expr, list } => {
            let value = operand(expr, all, row)?;
            Some(list.iter().any(|one| compare(&value, one) == Ordering::Equal))
        }
        Expr::InKeys { column, keys } => {
            let value = operand(&Expr::Column(*column), all, row)?;
            Some((0..keys.len()).any(|at| cell(keys, at).is_some_and(|key| compare(&value, &key) == Ordering::Equal)))
        }
        other => panic!("this source said that it does not evaluate {other:?}"),
    }
}

fn operand(expr: &Expr, all: &RecordBatch, row: usize) -> Option<Value> {
    match expr {
        Expr::Column(index) => cell(all.column(*index), row),
        Expr::Value(value) => Some(value.clone()),
        other => panic!("no operand: {other:?}"),
    }
}

fn cell(array: &ArrayRef, row: usize) -> Option<Value> {
    match array.data_type() {
        _ if array.is_null(row) => None,
        DataType::Int64 => Some(Value::Int(array.as_primitive::<Int64Type>().value(row))),
        DataType::Utf8 => Some(Value::Text(array.as_string::<i32>().value(row).to_owned())),
        other => panic!("no column of {other} is here"),
    }
}

fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        (left, right) => panic!("{left:?} and {right:?} are of two types"),
    }
}
