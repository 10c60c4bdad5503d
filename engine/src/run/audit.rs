//! The hook where an audit record starts before the first row and ends after the last.
//!
//! Owns: what a record says. Never: where it goes (`AuditSink`), or a row's value.

use caliber_catalog::diagnostic::Code;

/// Where audit records go.
pub trait AuditSink: Send + Sync {
    /// A statement is about to deliver rows. Durable when this returns; an error refuses the statement (SRV005).
    fn started(&self, record: &AuditStart) -> Result<(), String>;

    /// It ended: complete, failed, or dropped by its client.
    fn ended(&self, record: &AuditEnd);
}

/// The first record of a statement.
#[derive(Clone, Debug)]
pub struct AuditStart {
    /// Names the run.
    pub query_id: String,
    /// Who asks.
    pub principal: String,
    /// In which roles.
    pub roles: Vec<String>,
    /// SHA-256 of the statement's text, hexadecimal: literals are not kept.
    pub statement_hash: String,
    /// The tables read, as `schema.table`, sorted.
    pub tables: Vec<String>,
    /// The columns that are masked for the principal in those tables, as `schema.table.column`, sorted.
    pub masked: Vec<String>,
    /// The policies that give rows in those tables, sorted.
    pub policies: Vec<String>,
    /// The version of the catalog snapshot.
    pub snapshot: String,
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
    /// Complete, or the code it failed with (LIM006 when its client left).
    pub outcome: Result<(), Code>,
}

/// Keeps nothing. For tests and embedding programs that audit elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    fn started(&self, _: &AuditStart) -> Result<(), String> {
        Ok(())
    }

    fn ended(&self, _: &AuditEnd) {}
}
