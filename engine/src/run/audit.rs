//! The hook where an audit record starts before the first row and ends after the last.
//!
//! Owns: what a record says, and that every start that may be durable gets its end. Never: where it goes (`AuditSink`),
//! or a row's value.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use caliber_catalog::diagnostic::Code;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;

use crate::EngineError;
use crate::absorb::absorbed_scan::AbsorbedScanExec;
use crate::govern::governed_scan::GovernedScanExec;
use crate::govern::governed_table::Output;
use crate::statement::StatementText;

/// Where audit records go.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// A statement is about to deliver rows. Durable when this gives `Ok`; an error refuses the statement (SRV005). Must
    /// not wait without bound. The future may be dropped; `ended` is called all the same.
    async fn started(&self, record: AuditStart) -> Result<(), String>;

    /// A statement was refused before it could start. Durable when this gives `Ok`; after an error the caller reads SRV005
    /// and not why he was refused.
    async fn refused(&self, record: AuditRefusal) -> Result<(), String>;

    /// It ended: complete, failed, or dropped by its client. Must not wait: the rows left under a durable start.
    fn ended(&self, record: AuditEnd);

    /// Whether `recent` gives records, so that `caliber.audit` exists for administrators.
    fn keeps_records(&self) -> bool {
        false
    }

    /// The newest records, at most `max`, oldest first.
    async fn recent(&self, max: usize) -> Result<Vec<AuditEntry>, String> {
        let _ = max;
        Ok(Vec::new())
    }
}

/// Where a session comes from, for its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's address, where there is one.
    pub address: Option<String>,
    /// How the principal proved who it is: `password`. Empty where nobody asked.
    pub authentication: String,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct AuditCaller {
    /// The principal's name.
    pub principal: String,
    /// In which roles.
    pub roles: Vec<String>,
    /// The names of its attributes; their values may be personal.
    pub attributes: Vec<String>,
    /// Where from.
    pub origin: Origin,
}

/// The first record of a statement.
#[derive(Clone, Debug)]
pub struct AuditStart {
    /// Names the run.
    pub query_id: String,
    /// Who asks.
    pub caller: AuditCaller,
    /// What is asked.
    pub statement: StatementText,
    /// The tables read, as `schema.table`, sorted; `caliber.*` and `information_schema.*` too.
    pub tables: Vec<String>,
    /// The columns read, as `schema.table.column`, sorted: those the plan fetches. Of a statement with parameters, every
    /// one that its text or a view in it names, as each row of parameters may make a different plan.
    pub columns: Vec<String>,
    /// The columns read that are masked for the principal, as `schema.table.column`, sorted.
    pub masked: Vec<String>,
    /// The policies that give rows in those tables, sorted.
    pub policies: Vec<String>,
    /// The sources of those tables and of what their policies read, sorted.
    pub sources: Vec<String>,
    /// The version of the catalog snapshot.
    pub snapshot: String,
}

/// The record of a statement that was refused.
#[derive(Clone, Debug)]
pub struct AuditRefusal {
    /// Who asked.
    pub caller: AuditCaller,
    /// What was asked.
    pub statement: StatementText,
    /// Why not.
    pub code: Code,
}

/// The last record of a statement.
#[derive(Clone, Debug)]
pub struct AuditEnd {
    /// Names the run.
    pub query_id: String,
    /// Rows delivered.
    pub rows: u64,
    /// Their bytes in memory.
    pub bytes: u64,
    /// From the start of planning.
    pub elapsed: Duration,
    /// The sources that were asked, sorted.
    pub sources: Vec<String>,
    /// Complete, or the code it failed with (LIM006 when its client left).
    pub outcome: Result<(), Code>,
}

/// One record, as `caliber.audit` shows it. What a kind of record does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the columns of `caliber.audit`, which docs/audit.md describes"
)]
pub struct AuditEntry {
    pub seq: u64,
    pub time: String,
    pub kind: String,
    pub query_id: Option<String>,
    pub principal: Option<String>,
    pub roles: Option<String>,
    pub address: Option<String>,
    pub statement: Option<String>,
    pub tables: Option<String>,
    pub columns: Option<String>,
    pub masked: Option<String>,
    pub policies: Option<String>,
    pub sources: Option<String>,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub duration_ms: Option<u64>,
    pub outcome: Option<String>,
}

/// Keeps nothing. For tests and embedding programs that audit elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAudit;

#[async_trait]
impl AuditSink for NoAudit {
    async fn started(&self, _: AuditStart) -> Result<(), String> {
        Ok(())
    }

    async fn refused(&self, _: AuditRefusal) -> Result<(), String> {
        Ok(())
    }

    fn ended(&self, _: AuditEnd) {}
}

/// What a caller reads when the sink takes no record.
pub(crate) fn unavailable(error: &str) -> EngineError {
    tracing::error!(%error, "the audit sink refused a record");
    EngineError::new(Code::SRV005, "the audit log cannot be written, so nothing is answered")
        .help("ask the operator; statements run again once the audit log can be written")
}

/// A start whose end is not written yet. Dropped, it writes that the statement was cancelled: a caller may leave while
/// the start is on its way to the disk.
pub(crate) struct OpenRecord {
    sink: Option<Arc<dyn AuditSink>>,
    query_id: String,
    since: Instant,
}

impl OpenRecord {
    /// Writes `record`, and gives its open half once it is durable.
    pub async fn start(sink: Arc<dyn AuditSink>, record: AuditStart, since: Instant) -> Result<Self, EngineError> {
        let open = Self {
            sink: Some(Arc::clone(&sink)),
            query_id: record.query_id.clone(),
            since,
        };
        match sink.started(record).await {
            Ok(()) => Ok(open),
            Err(error) => {
                // A write that took too long may still reach the disk.
                open.end(0, 0, Vec::new(), Err(Code::SRV005));
                Err(unavailable(&error))
            }
        }
    }

    /// Writes the end.
    pub fn end(mut self, rows: u64, bytes: u64, sources: Vec<String>, outcome: Result<(), Code>) {
        self.write(rows, bytes, sources, outcome);
    }

    fn write(&mut self, rows: u64, bytes: u64, sources: Vec<String>, outcome: Result<(), Code>) {
        if let Some(sink) = self.sink.take() {
            sink.ended(AuditEnd {
                query_id: std::mem::take(&mut self.query_id),
                rows,
                bytes,
                elapsed: self.since.elapsed(),
                sources,
                outcome,
            });
        }
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        self.write(0, 0, Vec::new(), Err(Code::LIM006));
    }
}

/// The governed columns that `plan` fetches, as `schema.table.column`.
pub(crate) fn columns_read(plan: &Arc<dyn ExecutionPlan>) -> Result<BTreeSet<String>, EngineError> {
    let mut columns = BTreeSet::new();
    plan.apply(|node| {
        if let Some(scan) = node.downcast_ref::<GovernedScanExec>() {
            let table = &scan.enforcement;
            for output in scan.needed_outputs(&scan.filters) {
                let at = match output {
                    Output::Shown(at) | Output::ClearOrNull(at) | Output::IsClear(at) => at,
                    // Says nothing of a value.
                    Output::Admits(_) | Output::Contributor(_) => continue,
                };
                if let Some(column) = table.columns.get(at) {
                    columns.insert(format!("{}.{}", table.name, table.field(column).name()));
                }
            }
        }
        if let Some(scan) = node.downcast_ref::<AbsorbedScanExec>() {
            for read in &scan.remote.reads {
                let table = &read.enforcement;
                let names = read.columns.iter().filter_map(|at| table.columns.get(*at));
                columns.extend(names.map(|column| format!("{}.{}", table.name, table.field(column).name())));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}
