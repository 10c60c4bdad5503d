//! A sub-plan of one source as a table of the plan that runs here.
//!
//! Owns: making its scan, and a plan for the case that a policy has more keys than travel. Never: a name anyone can resolve.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::absorbed_scan::AbsorbedScanExec;
use super::remote_plan::RemotePlan;
use crate::EngineError;

/// The table.
pub(crate) struct AbsorbedTable {
    remote: Arc<RemotePlan>,
    schema: SchemaRef,
}

impl AbsorbedTable {
    /// What `remote` gives.
    pub fn new(remote: RemotePlan) -> Self {
        let schema = Arc::new(remote.schema.as_arrow().clone());
        Self {
            remote: Arc::new(remote),
            schema,
        }
    }

    /// The sub-plan.
    pub fn remote(&self) -> &RemotePlan {
        &self.remote
    }
}

impl std::fmt::Debug for AbsorbedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AbsorbedTable({})", self.remote.source.name)
    }
}

#[async_trait]
impl TableProvider for AbsorbedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // No rule runs on a plan after it was absorbed, so none can have asked for less.
        if projection.is_some() || !filters.is_empty() || limit.is_some() {
            return Err(EngineError::internal("an absorbed plan was optimized again", &self.remote.source.name).into());
        }
        let otherwise = if self.remote.late.is_empty() {
            None
        } else {
            Some(state.create_physical_plan(&self.remote.original).await?)
        };
        Ok(Arc::new(AbsorbedScanExec::new(
            Arc::clone(&self.remote),
            Arc::clone(&self.schema),
            otherwise,
        )))
    }
}
