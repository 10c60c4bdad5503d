//! `caliber.audit`: the newest audit records, for administrators.
//!
//! Owns: its columns, and reading the records when a plan is made that scans them. Never: exists for anybody else
//! (`governed_catalog` decides), changes a record.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::EngineError;
use crate::run::audit::{AuditEntry, AuditSink};

/// Its name in the schema `caliber`.
pub(crate) const AUDIT: &str = "audit";

/// The most records it holds.
const RECORDS_MAX: usize = 10_000;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let count = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("time"),
        count("seq"),
        text("kind"),
        text("query_id"),
        text("principal"),
        text("roles"),
        text("address"),
        text("statement"),
        text("tables"),
        text("columns"),
        text("masked"),
        text("policies"),
        text("sources"),
        count("rows"),
        count("bytes"),
        count("duration_ms"),
        text("outcome"),
    ]))
});

/// The table over a sink's records.
pub(crate) struct AuditTable(pub Arc<dyn AuditSink>);

impl std::fmt::Debug for AuditTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditTable")
    }
}

#[async_trait]
impl TableProvider for AuditTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let entries = self.0.recent(RECORDS_MAX).await;
        let entries = entries.map_err(|error| EngineError::internal("the audit records cannot be read", &error))?;
        let batch = records(&entries)?;
        let table = MemTable::try_new(self.schema(), vec![vec![batch]])?;
        table.scan(state, projection, filters, limit).await
    }
}

fn records(entries: &[AuditEntry]) -> Result<RecordBatch> {
    let text = |get: fn(&AuditEntry) -> Option<&str>| -> ArrayRef {
        Arc::new(entries.iter().map(get).collect::<StringArray>())
    };
    let count = |get: fn(&AuditEntry) -> Option<u64>| -> ArrayRef {
        let number = |entry: &AuditEntry| get(entry).and_then(|count| i64::try_from(count).ok());
        Arc::new(entries.iter().map(number).collect::<Int64Array>())
    };
    let columns = vec![
        text(|entry| Some(&entry.time)),
        count(|entry| Some(entry.seq)),
        text(|entry| Some(&entry.kind)),
        text(|entry| entry.query_id.as_deref()),
        text(|entry| entry.principal.as_deref()),
        text(|entry| entry.roles.as_deref()),
        text(|entry| entry.address.as_deref()),
        text(|entry| entry.statement.as_deref()),
        text(|entry| entry.tables.as_deref()),
        text(|entry| entry.columns.as_deref()),
        text(|entry| entry.masked.as_deref()),
        text(|entry| entry.policies.as_deref()),
        text(|entry| entry.sources.as_deref()),
        count(|entry| entry.rows),
        count(|entry| entry.bytes),
        count(|entry| entry.duration_ms),
        text(|entry| entry.outcome.as_deref()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}
