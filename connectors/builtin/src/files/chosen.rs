//! The files of one read as a table of DataFusion.
//!
//! Owns: which of the files a read needs, by the columns that their folders are. Never: lists, keeps what it learnt.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::concat;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, ScalarValue, project_schema};
use datafusion::datasource::TableProvider;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

/// Files that were found, in one format.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) store: ObjectStoreUrl,
    pub(super) format: Arc<dyn FileFormat>,
    /// The columns of the files, then those of their folders.
    pub(super) schema: TableSchema,
    pub(super) files: Vec<PartitionedFile>,
}

impl Chosen {
    /// The files that may hold a row for which every filter is true.
    fn needed(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let columns: Vec<FieldRef> = self.schema.table_partition_cols().iter().cloned().collect();
        let decides = |filter: &&Expr| {
            let named = filter.column_refs();
            !named.is_empty()
                && named
                    .iter()
                    .all(|column| columns.iter().any(|field| *field.name() == column.name))
        };
        let filters: Vec<&Expr> = filters.iter().filter(decides).collect();
        if filters.is_empty() || self.files.is_empty() {
            return Ok(self.files.clone());
        }
        let values = (0..columns.len()).map(|at| {
            let cells = self.files.iter().map(|file| match file.partition_values.get(at) {
                Some(value) => value.to_array(),
                None => ScalarValue::Null.to_array(),
            });
            let cells = cells.collect::<Result<Vec<ArrayRef>>>()?;
            let cells: Vec<&dyn arrow::array::Array> = cells.iter().map(AsRef::as_ref).collect();
            Ok(concat(&cells)?)
        });
        let schema = Arc::new(Schema::new(columns.clone()));
        let options = RecordBatchOptions::new().with_row_count(Some(self.files.len()));
        let folders = RecordBatch::try_new_with_options(Arc::clone(&schema), values.collect::<Result<_>>()?, &options)?;
        let schema = DFSchema::try_from(schema)?;
        let mut needed = vec![true; self.files.len()];
        for filter in filters {
            let filter = datafusion::logical_expr::utils::conjunction([(*filter).clone()].map(unqualified));
            let Some(filter) = filter else { continue };
            let truth = state.create_physical_expr(filter, &schema)?.evaluate(&folders)?;
            let truth = truth.into_array(self.files.len())?;
            for (needed, truth) in needed.iter_mut().zip(truth.as_boolean()) {
                *needed &= truth == Some(true);
            }
        }
        let kept = self.files.iter().zip(needed).filter(|(_, needed)| *needed);
        Ok(kept.map(|(file, _)| file.clone()).collect())
    }
}

/// The filter over columns without the table's name.
fn unqualified(filter: Expr) -> Expr {
    datafusion::logical_expr::expr_rewriter::unnormalize_col(filter)
}

#[async_trait]
impl TableProvider for Chosen {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters choose files and row groups; rows are still looked at one by one.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.needed(state, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema(), projection)?)));
        }
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let source = self.format.file_source(self.schema.clone());
        let scan = FileScanConfigBuilder::new(self.store.clone(), source)
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        self.format.create_physical_plan(state, scan).await
    }
}
