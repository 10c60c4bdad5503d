//! Keeps `unnest` from writing out a long row once for each element of a list, all in one batch.
//!
//! Owns: the operator below `unnest` that hands it few enough rows at a time, and the rule that inserts it.
//! Never: changes rows or their order.
//!
//! DataFusion 55 unnests a batch whole: a row of one megabyte beside a list of a million elements is a terabyte.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan};
use futures::{StreamExt, TryStreamExt};

use super::pass_through::{PassThrough, PassThroughExec};
use crate::statement::bounded_allocation::BATCH_BYTES;

/// Inserts `FewRowsExec` below every `unnest` of lists.
#[derive(Debug)]
pub(crate) struct BoundUnnest;

impl PhysicalOptimizerRule for BoundUnnest {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(unnest) = node.downcast_ref::<UnnestExec>() else {
                return Ok(Transformed::no(node));
            };
            let lists: Vec<usize> = unnest
                .list_column_indices()
                .iter()
                .map(|list| list.index_in_input_schema)
                .collect();
            let mut children: Vec<_> = node.children().into_iter().cloned().collect();
            if let Some(input) = children.first_mut() {
                *input = Arc::new(FewRowsExec::new(Arc::clone(input), FewRows(lists)));
            }
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            Ok(Transformed::yes(node.replace_children(children, options)?))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "bound_unnest"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes its input on, so many rows at a time that they unnest within the bound of a batch.
type FewRowsExec = PassThroughExec<FewRows>;

/// The places of the lists.
#[derive(Clone, Debug)]
struct FewRows(Vec<usize>);

impl PassThrough for FewRows {
    const NAME: &'static str = "FewRowsExec";
    const KEEPS_ORDER: bool = true;

    fn renewed(&self) -> Self {
        self.clone()
    }

    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = input.execute(partition, context)?;
        let (schema, lists) = (input.schema(), self.0.clone());
        let parts = input
            .map(move |batch| Ok::<_, DataFusionError>(futures::stream::iter(few_rows(&batch?, &lists)?).map(Ok)))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, parts)))
    }
}

/// The batch in slices that each unnest to at most `BATCH_BYTES`; an error where a single row does not.
fn few_rows(batch: &RecordBatch, lists: &[usize]) -> Result<Vec<RecordBatch>> {
    // Where even the longest list beside all of the batch is little, no row needs a look.
    let mut longest = vec![1_u64; batch.num_rows()];
    for list in lists.iter().filter_map(|at| batch.columns().get(*at)) {
        for (row, elements) in longest.iter_mut().zip(elements(list)) {
            *row = elements.max(*row);
        }
    }
    let most = longest.iter().copied().max().unwrap_or(0);
    let whole = batch.get_array_memory_size() as u64;
    if most.saturating_mul(whole) <= BATCH_BYTES {
        return Ok(vec![batch.clone()]);
    }
    let mut slices = Vec::new();
    let (mut start, mut bytes) = (0, 0_u64);
    for (row, elements) in longest.iter().enumerate() {
        let beside: u64 = batch
            .columns()
            .iter()
            .enumerate()
            .filter(|(at, _)| !lists.contains(at))
            .map(|(_, column)| {
                let value = column.slice(row, 1).to_data().get_slice_memory_size();
                value.map_or(u64::MAX, |size| size as u64)
            })
            .fold(8, u64::saturating_add);
        let written = beside.saturating_mul(*elements);
        if written > BATCH_BYTES {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "`unnest` would write one row out to more than {} MiB",
                BATCH_BYTES >> 20
            )));
        }
        if bytes + written > BATCH_BYTES {
            slices.push(batch.slice(start, row - start));
            (start, bytes) = (row, 0);
        }
        bytes += written;
    }
    slices.push(batch.slice(start, batch.num_rows() - start));
    Ok(slices)
}

/// For each row how many rows a list may become: its elements, those of lists within it included.
fn elements(list: &Arc<dyn Array>) -> Vec<u64> {
    let lengths = match list.data_type() {
        DataType::FixedSizeList(_, size) => {
            return vec![u64::try_from(*size).unwrap_or(0); list.len()];
        }
        _ => length(list.as_ref()).ok(),
    };
    let direct: Vec<u64> = (0..list.len())
        .map(|row| {
            let value = lengths.as_ref().filter(|_| list.is_valid(row)).map(|lengths| {
                match lengths.as_primitive_opt::<Int32Type>() {
                    Some(numbers) => i64::from(numbers.value(row)),
                    None => lengths
                        .as_primitive_opt::<Int64Type>()
                        .map_or(0, |numbers| numbers.value(row)),
                }
            });
            u64::try_from(value.unwrap_or(0)).unwrap_or(0)
        })
        .collect();
    let inner = match list.data_type() {
        DataType::List(item) | DataType::LargeList(item) => matches!(
            item.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
        ),
        _ => false,
    };
    if !inner {
        return direct;
    }
    (0..list.len())
        .map(|row| {
            let values = match list.as_list_opt::<i32>() {
                Some(lists) => lists.value(row),
                None => match list.as_list_opt::<i64>() {
                    Some(lists) => lists.value(row),
                    None => return 0,
                },
            };
            elements(&values).iter().sum::<u64>().max(values.len() as u64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, ListArray, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn batch(lengths: &[usize], text: usize) -> RecordBatch {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
            lengths.iter().map(|length| Some(vec![Some(1_i64); *length])),
        );
        let texts = StringArray::from(vec!["x".repeat(text); lengths.len()]);
        let columns: Vec<(&str, ArrayRef)> = vec![("list", Arc::new(lists)), ("text", Arc::new(texts))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn rows_stay_together_while_they_are_little() {
        let slices = few_rows(&batch(&[3, 0, 5], 10), &[0]).unwrap();
        assert_eq!(slices.len(), 1);
    }

    #[test]
    fn many_rows_come_apart_and_none_is_lost() {
        // 30 MiB each once written out.
        let whole = batch(&[1_000; 5], 30 << 10);
        let slices = few_rows(&whole, &[0]).unwrap();
        let rows: Vec<usize> = slices.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [2, 2, 1]);
    }

    #[test]
    fn a_row_that_is_too_much_alone_is_refused() {
        assert!(few_rows(&batch(&[60_000], 1_000), &[0]).is_ok());
        let error = few_rows(&batch(&[70_000], 1_000), &[0]).unwrap_err();
        assert!(matches!(error, DataFusionError::ResourcesExhausted(_)), "{error}");
    }
}
