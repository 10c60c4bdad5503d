//! The traits of a source: factory, connector, and the reader of one query.
//!
//! Owns: who opens what, when, and what ends it. Never: any driver.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Capabilities, ConnectorError, OptionSpec, Options, RemoteQuery, SourceSchema};

/// A stream of batches of one schema. It ends with `None` only when the source said that the result is complete (INV-8).
pub type BatchStream = BoxStream<'static, Result<RecordBatch, ConnectorError>>;

/// What a project says of one source.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The source's name in the project; the only name of it that errors may carry.
    pub name: String,
    /// The options its connector declared, checked and resolved. Secrets inside do not print.
    pub options: Options,
    /// The most connections Caliber may hold open to the source at once; at least 1.
    pub connections_max: usize,
    /// The longest any single statement may run at the source.
    pub statement_timeout: std::time::Duration,
}

/// Opens sources of one kind. Stateless: one value serves every source.
#[async_trait]
pub trait ConnectorFactory: Send + Sync {
    /// The word a project uses: `connector: postgres`.
    fn kind(&self) -> &'static str;

    /// Every option this kind accepts; any other key is an error at load.
    fn options(&self) -> &'static [OptionSpec];

    /// Makes the connector. Checks the options' values; connects to nothing (a source that is down must not
    /// keep a project from loading).
    fn open(&self, source: &SourceSpec) -> Result<Arc<dyn Connector>, ConnectorError>;
}

/// One source. Owns its bounded pool. Applies no policy (INV-2), keeps no rows (INV-9).
#[async_trait]
pub trait Connector: Debug + Send + Sync {
    /// What the source evaluates exactly as the engine would. The engine pushes nothing else.
    fn capabilities(&self) -> &Capabilities;

    /// The tables, columns and keys the source's account may read. Connects.
    async fn introspect(&self) -> Result<SourceSchema, ConnectorError>;

    /// A reader for one query. Cheap: no connection is borrowed before the first `read`.
    fn reader(&self, context: QueryContext) -> Arc<dyn SourceReader>;

    /// The text that `read` would send for `query`, with placeholders for its parameters; `None` where the
    /// source is read without a statement (files). For `explain`, never parsed again.
    fn statement(&self, query: &RemoteQuery) -> Option<String>;
}

/// Reads one source on behalf of one query: every `read` sees the same snapshot of the source.
///
/// Sessions are read-only and pinned (UTC, fixed SQL modes). Where a snapshot cannot be shared between
/// connections, reads share one connection; a read that waits for it must not wait for another read of the same
/// query to be consumed (the one in flight is then buffered within `QueryContext::buffer_bytes_max`).
#[async_trait]
pub trait SourceReader: Send + Sync {
    /// Runs `query`. The stream's batches have exactly the schema `RemoteQuery::schema` gives, at most
    /// `QueryContext::batch_rows_max` rows and about 8 MiB each, and are never empty. Back-pressure reaches the
    /// source. Dropping the stream, or the deadline, cancels the statement at the source (INV-10).
    async fn read(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError>;

    /// The same rows, where no other read of the query is expected: what a snapshot needs to be shared may be left out, so
    /// that a read that comes after all waits for this one's end.
    async fn read_alone(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        self.read(query).await
    }

    /// The same rows in at most `parts` streams, at least one, which may be read in any order and at once. Each ends well only
    /// if all of its rows arrived.
    async fn read_parts(&self, query: &RemoteQuery, parts: usize) -> Result<Vec<BatchStream>, ConnectorError> {
        let _ = parts;
        Ok(vec![self.read(query).await?])
    }
}

/// The bounds of one query, for one source.
#[derive(Clone)]
pub struct QueryContext {
    /// Names the query in the source's own logs.
    pub query_id: String,
    /// When everything at the source must have ended.
    pub deadline: Instant,
    /// The most rows of one batch; at least 1.
    pub batch_rows_max: usize,
    /// The most bytes buffered where reads share a connection.
    pub buffer_bytes_max: usize,
    /// Told of every statement sent. For receipts, `explain analyze` and tests.
    pub log: Arc<dyn StatementLog>,
}

/// Told what is sent to sources and what came back.
pub trait StatementLog: Send + Sync {
    /// `statement` (placeholders, no values) was sent with `parameters` bind parameters.
    fn sent(&self, statement: &str, parameters: usize);
    /// `rows` rows in `bytes` bytes of Arrow came back for a read.
    fn received(&self, rows: usize, bytes: usize);
}

impl Debug for QueryContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryContext")
            .field("query_id", &self.query_id)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
