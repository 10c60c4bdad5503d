//! The mandatory key relation: which keys a principal's entity policy lets through, resolved before the sources
//! that need it are asked.
//!
//! Owns: walking the path from the entity to the governed table, key set by key set. Never: a time limit of its own,
//! a partial set, or keys kept beyond the query.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};
use caliber_connector_spi::{Expr as Remote, RemoteTable};
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};

use super::raw_read::{RawRead, all_of};
use super::translate::{is_small, key_type, table_columns, translate_over_table};
use crate::EngineError;
use crate::engine::OpenSource;
use crate::run::query_run::QueryRun;

/// The path from a governed table to its entity, compiled for one principal.
pub(crate) struct KeyRelation {
    /// From the governed table's side to the entity's.
    pub steps: Vec<RelationStep>,
    /// Functions and settings to evaluate predicates with.
    pub state: Arc<SessionState>,
}

/// One table on the path.
pub(crate) struct RelationStep {
    /// Where the table is.
    pub source: Arc<OpenSource>,
    /// The table.
    pub table: Arc<RemoteTable>,
    /// The column whose values this step yields.
    pub key: usize,
    /// The column whose values the next step must hold; `None` on the last.
    pub link: Option<usize>,
    /// What a row must satisfy: the holdings' condition, on the last step the entity's predicate.
    pub predicate: Option<Expr>,
    /// Names the relation from this step on, equal for equal relations of one principal.
    pub id: String,
}

/// Distinct, non-null keys.
pub(crate) struct Keys {
    /// Them all.
    pub array: ArrayRef,
    set: HashSet<OwnedRow>,
    converter: RowConverter,
}

impl Keys {
    /// The distinct non-null values of `arrays`, which are all of `data_type`.
    pub fn new(data_type: &DataType, arrays: &[ArrayRef]) -> Result<Self, EngineError> {
        let internal = |error: arrow::error::ArrowError| EngineError::internal("keys could not be gathered", &error);
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())]).map_err(internal)?;
        let mut set = HashSet::new();
        let mut kept = Vec::with_capacity(arrays.len());
        for array in arrays {
            let rows = converter
                .convert_columns(std::slice::from_ref(array))
                .map_err(internal)?;
            let fresh: BooleanArray = (0..array.len())
                .map(|at| Some(array.is_valid(at) && set.insert(rows.row(at).owned())))
                .collect();
            kept.push(arrow::compute::filter(array, &fresh).map_err(internal)?);
        }
        let array = if kept.is_empty() {
            arrow::array::new_empty_array(data_type)
        } else {
            let parts: Vec<&dyn Array> = kept.iter().map(AsRef::as_ref).collect();
            concat(&parts).map_err(internal)?
        };
        Ok(Self { array, set, converter })
    }

    /// The same, or `None` where they are more than `most`.
    pub fn at_most(most: usize, data_type: &DataType, arrays: &[ArrayRef]) -> Result<Option<Self>, EngineError> {
        // So many rows are not looked through for a few keys.
        let rows: usize = arrays.iter().map(|array| array.len()).sum();
        if rows > most.saturating_mul(50) {
            return Ok(None);
        }
        let keys = Self::new(data_type, arrays)?;
        Ok((keys.array.len() <= most).then_some(keys))
    }

    /// For each value whether it is one of the keys; NULL is not.
    pub fn contain(&self, values: &ArrayRef) -> Result<BooleanArray, EngineError> {
        let values = converted(values, self.array.data_type())?;
        let rows = self
            .converter
            .convert_columns(std::slice::from_ref(&values))
            .map_err(|error| EngineError::internal("keys could not be compared", &error))?;
        Ok((0..values.len())
            .map(|at| Some(values.is_valid(at) && self.set.contains(&rows.row(at).owned())))
            .collect())
    }

    /// The keys as an array of `wanted`, for a column of that type; keys it cannot hold match nothing there.
    pub fn as_type(&self, wanted: &DataType) -> Result<ArrayRef, EngineError> {
        let cast = converted(&self.array, wanted)?;
        let valid = arrow::compute::is_not_null(&cast)
            .and_then(|valid| arrow::compute::filter(&cast, &valid))
            .map_err(|error| EngineError::internal("keys could not be converted", &error))?;
        Ok(valid)
    }
}

/// Whether keys of one type can be compared with those of the other without meaning something else.
pub(crate) fn comparable(left: &DataType, right: &DataType) -> bool {
    key_type(left) && key_type(right) && (left == right || (left.is_integer() && right.is_integer()))
}

fn converted(values: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, EngineError> {
    if values.data_type() == wanted {
        return Ok(Arc::clone(values));
    }
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    cast_with_options(values, wanted, &options)
        .map_err(|error| EngineError::internal("keys of two sources could not be compared", &error))
}

impl KeyRelation {
    /// The type of the keys.
    pub fn key_type(&self) -> Option<&DataType> {
        let first = self.steps.first()?;
        first.table.columns.get(first.key).map(|column| &column.data_type)
    }

    /// The keys the governed table's rows must hold. Resolved once for a run, however many scans need them.
    pub async fn resolve(&self, run: &QueryRun) -> Result<Arc<Keys>, EngineError> {
        self.after_step(run, 0).await
    }

    fn after_step<'a>(&'a self, run: &'a QueryRun, at: usize) -> BoxFuture<'a, Result<Arc<Keys>, EngineError>> {
        async move {
            let Some(step) = self.steps.get(at) else {
                return Err(EngineError::internal("an entity path has no table", &at));
            };
            let cell = run.key_cell(&step.id);
            let read = || async {
                let keys = self.read_step(run, at, step).await;
                keys.map_err(|error| run.of_policy(error, &step.source.name))
            };
            let keys = cell.get_or_try_init(read).await?;
            Ok(Arc::clone(keys))
        }
        .boxed()
    }

    async fn read_step(&self, run: &QueryRun, at: usize, step: &RelationStep) -> Result<Arc<Keys>, EngineError> {
        let linked = match step.link {
            Some(column) => Some((column, self.after_step(run, at + 1).await?)),
            None => None,
        };
        let mut columns = vec![step.key];
        columns.extend(step.link);
        if let Some(predicate) = &step.predicate {
            columns.extend(columns_of(predicate, &step.table));
        }
        columns.sort_unstable();
        columns.dedup();
        let capabilities = step.source.connector.capabilities();
        let mut pushed = Vec::new();
        if run.pushdown {
            pushed.extend(
                step.predicate
                    .as_ref()
                    .and_then(|predicate| translate_over_table(predicate, &step.table)),
            );
            if let Some((column, keys)) = &linked {
                pushed.extend(pushed_keys(keys, *column, &step.table)?);
            }
            let below = table_columns(&step.table);
            pushed.retain(|part| is_small(part) && capabilities.evaluates(part, &below));
        }
        let read = RawRead {
            source: Arc::clone(&step.source),
            table: Arc::clone(&step.table),
            columns,
            predicate: all_of(pushed),
            limit: None,
        };
        let schema = read.query().schema();
        let df_schema = DFSchema::try_from(schema.as_ref().clone())?;
        let predicate = match &step.predicate {
            Some(predicate) => Some(self.state.create_physical_expr(predicate.clone(), &df_schema)?),
            None => None,
        };
        let name = |index: usize| {
            step.table
                .columns
                .get(index)
                .map(|column| column.name.as_str())
                .unwrap_or_default()
        };
        let data_type = step
            .table
            .columns
            .get(step.key)
            .map(|column| column.data_type.clone())
            .ok_or_else(|| EngineError::internal("an entity path names no column", &step.id))?;
        let mut stream = read.open(run).await?;
        let mut arrays = Vec::new();
        while let Some(batch) = stream.try_next().await? {
            let mut kept = batch;
            if let Some(predicate) = &predicate {
                let mask = evaluate_mask(predicate.as_ref(), &kept)?;
                kept = filtered(&kept, &mask)?;
            }
            if let Some((column, keys)) = &linked {
                let mask = keys.contain(&column_of(&kept, name(*column))?)?;
                kept = filtered(&kept, &mask)?;
            }
            arrays.push(column_of(&kept, name(step.key))?);
        }
        Ok(Arc::new(Keys::new(&data_type, &arrays)?))
    }
}

/// The predicate that sends `keys` to `column`; `None` where the source may not see them or they do not fit.
pub(crate) fn pushed_keys(keys: &Keys, column: usize, table: &RemoteTable) -> Result<Option<Remote>, EngineError> {
    let Some(described) = table.columns.get(column) else {
        return Ok(None);
    };
    if !comparable(keys.array.data_type(), &described.data_type) {
        return Ok(None);
    }
    Ok(Some(Remote::InKeys {
        column,
        keys: keys.as_type(&described.data_type)?,
    }))
}

/// The indices in `table` of the columns `expr` uses.
pub(crate) fn columns_of(expr: &Expr, table: &RemoteTable) -> Vec<usize> {
    expr.column_refs()
        .iter()
        .filter_map(|used| table.columns.iter().position(|column| column.name == used.name))
        .collect()
}

/// The column of that name.
pub(crate) fn column_of(batch: &RecordBatch, name: &str) -> Result<ArrayRef, EngineError> {
    batch
        .column_by_name(name)
        .cloned()
        .ok_or_else(|| EngineError::internal("a source's column is missing", &name))
}

/// For each row whether the predicate is TRUE.
pub(crate) fn evaluate_mask(
    predicate: &dyn datafusion::physical_plan::PhysicalExpr,
    batch: &RecordBatch,
) -> Result<BooleanArray, EngineError> {
    let policy = |kind: &str| {
        tracing::error!(kind, "a policy's expression failed on a row");
        EngineError::new(
            caliber_catalog::diagnostic::Code::POL001,
            "a policy of a table in this statement cannot be evaluated",
        )
        .help("ask the data steward; the server's log has the details under the query's id")
    };
    let values = predicate
        .evaluate(batch)
        .and_then(|value| value.into_array(batch.num_rows()))
        .map_err(|error| policy(EngineError::kind(&error)))?;
    if values.data_type() == &DataType::Null {
        return Ok(BooleanArray::from(vec![false; batch.num_rows()]));
    }
    let booleans = values
        .as_any()
        .downcast_ref::<BooleanArray>()
        .ok_or_else(|| policy("the condition is not true or false"))?;
    Ok(if booleans.null_count() > 0 {
        arrow::compute::prep_null_mask_filter(booleans)
    } else {
        booleans.clone()
    })
}

/// The rows for which `mask` is true; keeps the count of a batch without columns.
pub(crate) fn filtered(batch: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch, EngineError> {
    arrow::compute::filter_record_batch(batch, mask)
        .map_err(|error| EngineError::internal("rows could not be filtered", &error))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array};

    use super::*;

    #[test]
    fn keys_are_distinct_and_never_null() {
        let one: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(1)]));
        let two: ArrayRef = Arc::new(Int64Array::from(vec![Some(2), Some(3)]));
        let keys = Keys::new(&DataType::Int64, &[one, two]).expect("keys");
        assert_eq!(keys.array.len(), 3);
        assert_eq!(keys.array.null_count(), 0);
    }

    #[test]
    fn keys_of_a_wider_type_match_exactly_or_not_at_all() {
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![7, i64::from(i32::MAX) + 1]));
        let keys = Keys::new(&DataType::Int64, &[wide]).expect("keys");
        let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), Some(i32::MIN), None]));
        let found = keys.contain(&values).expect("compared");
        assert_eq!(found, BooleanArray::from(vec![true, false, false]));
        assert_eq!(keys.as_type(&DataType::Int32).expect("cast").len(), 1);
    }

    #[test]
    fn no_keys_match_nothing() {
        let keys = Keys::new(&DataType::Utf8, &[]).expect("keys");
        let values: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a"]));
        assert_eq!(
            keys.contain(&values).expect("compared"),
            BooleanArray::from(vec![false])
        );
    }
}
