//! Reads raw rows of one source table on behalf of governance itself.
//!
//! Owns: assembling the remote query and keeping its result honest (schema as asked). Never: applies policy; what
//! it returns may hold hidden rows and must not reach an expression of the user's.

use std::sync::Arc;

use arrow::array::RecordBatch;
use caliber_connector_spi::{BatchStream, ConnectorError, ErrorClass, Expr as Remote, RemoteQuery, RemoteTable};
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::EngineError;
use crate::engine::OpenSource;
use crate::run::query_run::QueryRun;

/// Batches of raw rows.
pub(crate) type RawStream = BoxStream<'static, Result<RecordBatch, EngineError>>;

/// What to read.
#[derive(Clone)]
pub(crate) struct RawRead {
    /// Where.
    pub source: Arc<OpenSource>,
    /// Of which table.
    pub table: Arc<RemoteTable>,
    /// Which of its columns, by index.
    pub columns: Vec<usize>,
    /// What the source filters by; exact for it, but possibly only a superset of what is wanted.
    pub predicate: Option<Remote>,
    /// How many rows are enough.
    pub limit: Option<u64>,
}

impl RawRead {
    /// The remote query it becomes.
    pub fn query(&self) -> RemoteQuery {
        RemoteQuery::of_table(
            Arc::clone(&self.table),
            &self.columns,
            self.predicate.clone(),
            self.limit,
        )
    }

    /// Opens the stream.
    pub async fn open(&self, run: &QueryRun) -> Result<RawStream, EngineError> {
        let parts = self.open_parts(run, 1).await?;
        Ok(futures::stream::iter(parts).flatten().boxed())
    }

    /// Opens at most `parts` streams, which have the rows together.
    pub async fn open_parts(&self, run: &QueryRun, parts: usize) -> Result<Vec<RawStream>, EngineError> {
        let query = self.query();
        let streams = run.read(&self.source, &query, parts).await?;
        Ok(streams.into_iter().map(|stream| self.honest(&query, stream)).collect())
    }

    fn honest(&self, query: &RemoteQuery, stream: BatchStream) -> RawStream {
        let schema = query.schema();
        let source = self.source.name.clone();
        stream
            .map(move |batch| {
                let batch = batch.map_err(|error| EngineError::from_source(&error))?;
                if batch.schema() != schema {
                    let error = ConnectorError::new(&source, ErrorClass::Drift, "the columns are not those asked for");
                    return Err(EngineError::from_source(&error));
                }
                Ok(batch)
            })
            .boxed()
    }
}

/// Joins predicates by AND; `None` for none.
pub(crate) fn all_of(mut parts: Vec<Remote>) -> Option<Remote> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(Remote::And(parts)),
    }
}

/// Joins predicates by OR; `None` for none.
pub(crate) fn any_of(mut parts: Vec<Remote>) -> Option<Remote> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(Remote::Or(parts)),
    }
}
