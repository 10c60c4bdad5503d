//! The reads of one query over one PostgreSQL source, all of them in one snapshot.
//!
//! Owns: the query's connections and its exported snapshot. Never: more than the pool gives.
//!
//! The first connection begins the transaction and exports its snapshot in the same round trip: later it may be
//! busy sending rows that nobody takes yet. Reads that follow reuse a connection of the query that is free, or
//! take another and import the snapshot; where the pool has none to give, the reads in flight buffer.
//! Each transaction stands on a savepoint, so that a cancelled statement does not cost the query its snapshot.

use std::fmt::Write;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use caliber_connector_spi::{
    BatchStream, ConnectorError, ErrorClass, QueryContext, RemoteQuery, RenderedQuery, SourceReader, render,
};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::error::SqlState;
use tokio_postgres::{SimpleQueryMessage, Statement};

use super::dialect::Postgres;
use super::failure::failure;
use super::session::{Sessions, milliseconds};
use super::wire;
use crate::batch::BatchBuilder;
use crate::outlet::{Flow, Outlet, Stop};
use crate::pool::{Lease, Pool};

/// The longest a cancelled statement may take to end before its connection is given up.
const CANCELLED_MAX: Duration = Duration::from_secs(2);

/// Reads for one query.
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    source_name: String,
    pool: Pool<Sessions>,
    statement_timeout: Duration,
    context: QueryContext,
    flow: Arc<Flow>,
    /// Held while a connection is looked for, so that one read alone begins the snapshot.
    opening: tokio::sync::Mutex<()>,
    bench: Mutex<Bench>,
    /// Told when a connection of the query is free or gone.
    changed: Notify,
}

/// The query's connections.
#[derive(Default)]
struct Bench {
    free: Vec<Lease<Sessions>>,
    reading: usize,
    snapshot: Option<String>,
}

/// Counts one connection as reading.
struct Reading(Arc<Shared>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.bench.lock().reading -= 1;
        self.0.changed.notify_waiters();
    }
}

impl Reader {
    /// A reader that has no connection yet.
    pub fn new(source_name: &str, pool: Pool<Sessions>, statement_timeout: Duration, context: QueryContext) -> Self {
        let shared = Shared {
            source_name: source_name.to_owned(),
            pool,
            statement_timeout,
            flow: Flow::new(source_name, &context),
            context,
            opening: tokio::sync::Mutex::new(()),
            bench: Mutex::new(Bench::default()),
            changed: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

#[async_trait]
impl SourceReader for Reader {
    async fn read(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        let shared = &self.shared;
        let builder = BatchBuilder::new(&shared.source_name, query, shared.context.batch_rows_max)?;
        let rendered = render(query, &Postgres);
        let prepared = tokio::time::timeout_at(shared.context.deadline.into(), shared.prepare(query, &rendered)).await;
        let (lease, reading, statement) = prepared.map_err(|_| shared.flow.deadline_error())??;
        let (outlet, batches) = shared.flow.pipe();
        shared.context.log.sent(&rendered.sql, rendered.parameters.len());
        tokio::spawn(
            Read {
                reading,
                lease,
                statement,
                rendered,
                builder,
            }
            .run(outlet),
        );
        Ok(batches)
    }
}

impl Shared {
    async fn prepare(
        self: &Arc<Self>,
        query: &RemoteQuery,
        rendered: &RenderedQuery,
    ) -> Result<(Lease<Sessions>, Reading, Statement), ConnectorError> {
        let (mut lease, reading) = self.connection().await?;
        let session = lease.connection().ok_or_else(|| self.broken())?;
        let statement = session
            .prepare(&rendered.sql, &rendered.parameters)
            .await
            .map_err(|error| failure(&self.source_name, &error))?;
        let schema = query.schema();
        let columns = statement.columns();
        let drifted = schema
            .fields()
            .iter()
            .zip(columns)
            .find(|(field, column)| !wire::is_expected(field.data_type(), column.type_()));
        if let Some((field, _)) = drifted {
            let message = format!("column `{}` no longer has its type", field.name());
            return Err(ConnectorError::new(&self.source_name, ErrorClass::Drift, message));
        }
        Ok((lease, reading, statement))
    }

    /// A connection in the query's snapshot, its statement not yet begun.
    async fn connection(self: &Arc<Self>) -> Result<(Lease<Sessions>, Reading), ConnectorError> {
        let _opening = self.opening.lock().await;
        loop {
            let changed = self.changed.notified();
            let mut changed = pin!(changed);
            // Before looking, so that no change in between is missed.
            changed.as_mut().enable();
            if let Some(taken) = self.take_free() {
                return Ok(taken);
            }
            if self.bench.lock().reading == 0 {
                let lease = self.pool.get().await?;
                return self.begin(lease).await;
            }
            if let Some(lease) = self.pool.get_now().await? {
                return self.begin(lease).await;
            }
            let _waiting = self.flow.wait_for_connection();
            tokio::select! {
                () = changed => {}
                lease = self.pool.get() => if let Ok(lease) = lease { return self.begin(lease).await },
            }
        }
    }

    fn take_free(self: &Arc<Self>) -> Option<(Lease<Sessions>, Reading)> {
        let mut bench = self.bench.lock();
        let mut lease = bench.free.pop()?;
        lease.in_use();
        bench.reading += 1;
        Some((lease, Reading(self.clone())))
    }

    /// Begins the transaction; a connection that served before and has gone since is replaced, once.
    async fn begin(self: &Arc<Self>, mut lease: Lease<Sessions>) -> Result<(Lease<Sessions>, Reading), ConnectorError> {
        let snapshot = self.bench.lock().snapshot.clone();
        let begun = match self.begin_on(&mut lease, snapshot.as_deref()).await {
            Err(error) if error.class == ErrorClass::Unavailable && lease.is_reused() => {
                self.pool.forget_idle();
                drop(lease);
                lease = self.pool.get().await?;
                self.begin_on(&mut lease, snapshot.as_deref()).await?
            }
            other => other?,
        };
        let mut bench = self.bench.lock();
        bench.snapshot = bench.snapshot.take().or(begun);
        bench.reading += 1;
        Ok((lease, Reading(self.clone())))
    }

    /// One round trip: the transaction, its bounds, its snapshot (exported, or the one given), the savepoint.
    async fn begin_on(
        &self,
        lease: &mut Lease<Sessions>,
        snapshot: Option<&str>,
    ) -> Result<Option<String>, ConnectorError> {
        let session = lease.connection().ok_or_else(|| self.broken())?;
        let left = self
            .context
            .deadline
            .saturating_duration_since(Instant::now())
            .min(self.statement_timeout);
        let mut sql = String::from("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ");
        if let Some(snapshot) = snapshot {
            // A name the server gave us, of hexadecimal digits and dashes.
            let _ = write!(sql, "SET TRANSACTION SNAPSHOT '{}'; ", plain(snapshot));
        }
        let _ = write!(sql, "SET LOCAL statement_timeout = {}; ", milliseconds(left));
        let _ = write!(
            sql,
            "SET LOCAL application_name = 'caliber {}'; ",
            plain(&self.context.query_id)
        );
        if snapshot.is_none() {
            sql.push_str("SELECT pg_export_snapshot(); ");
        }
        sql.push_str("SAVEPOINT caliber");
        let answers = session
            .client
            .simple_query(&sql)
            .await
            .map_err(|error| match error.code() {
                Some(&(SqlState::INVALID_PARAMETER_VALUE | SqlState::UNDEFINED_OBJECT)) if snapshot.is_some() => {
                    let message = "an earlier read of this query lost its connection, and with it the snapshot";
                    ConnectorError::new(&self.source_name, ErrorClass::Unavailable, message)
                }
                _ => failure(&self.source_name, &error),
            })?;
        Ok(answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    fn give_back(&self, mut lease: Lease<Sessions>) {
        lease.settled();
        self.bench.lock().free.push(lease);
    }

    fn broken(&self) -> ConnectorError {
        ConnectorError::new(
            &self.source_name,
            ErrorClass::Unavailable,
            "the connection to it was lost",
        )
    }
}

/// Letters, digits, `-` and `_` of `text`, at most 48: what may stand between quotes without being escaped.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_')
        .take(48)
        .collect()
}

/// One read: a connection in the snapshot, and what to run on it.
struct Read {
    lease: Lease<Sessions>,
    statement: Statement,
    rendered: RenderedQuery,
    builder: BatchBuilder,
    /// Last, so that the connection is free or gone before the count says so.
    reading: Reading,
}

/// How the rows ended before their end.
enum Ended {
    Stopped(Stop),
    Failed(ConnectorError),
}

impl Read {
    async fn run(mut self, outlet: Outlet) {
        let shared = self.reading.0.clone();
        match self.rows(&outlet, &shared.source_name).await {
            Ok(()) => {
                shared.give_back(self.lease);
                drop(self.reading);
                outlet.finish(Ok(()));
            }
            Err(Ended::Failed(error)) => {
                outlet.finish(Err(error));
                // Where it was a value that did not fit, the server still works on the rest.
                if let Some(session) = self.lease.connection().filter(|session| !session.client.is_closed()) {
                    session.cancel().await;
                }
            }
            Err(Ended::Stopped(stop)) => {
                let resumable = matches!(stop, Stop::Dropped);
                outlet.finish_stopped(&stop);
                if self.cancel().await && resumable {
                    shared.give_back(self.lease);
                }
            }
        }
    }

    async fn rows(&mut self, outlet: &Outlet, source_name: &str) -> Result<(), Ended> {
        let failed = |error: &tokio_postgres::Error| Ended::Failed(failure(source_name, error));
        let lost = || {
            let message = "the connection to it was lost";
            Ended::Failed(ConnectorError::new(source_name, ErrorClass::Unavailable, message))
        };
        let session = self.lease.connection().ok_or_else(lost)?;
        let parameters: Option<Vec<_>> = self.rendered.parameters.iter().map(wire::encode).collect();
        let parameters = parameters.ok_or_else(|| {
            let message = "a value of the query has no counterpart in PostgreSQL";
            Ended::Failed(ConnectorError::new(source_name, ErrorClass::Statement, message))
        })?;
        let mut stopped = pin!(outlet.stopped());
        // The server answers this only once it has something to send, so it too may have to be stopped.
        let rows = tokio::select! {
            rows = session.client.query_raw(&self.statement, parameters) => rows.map_err(|error| failed(&error))?,
            stop = &mut stopped => return Err(Ended::Stopped(stop)),
        };
        let mut rows = pin!(rows);
        loop {
            let row = tokio::select! {
                biased;
                row = rows.next() => row,
                stop = &mut stopped => return Err(Ended::Stopped(stop)),
            };
            let Some(row) = row else { break };
            let row = row.map_err(|error| failed(&error))?;
            self.builder
                .row(|index, column| {
                    let raw: Option<wire::Raw<'_>> = row.try_get(index).map_err(|_| "is missing from the answer")?;
                    wire::append(column, raw.map(|raw| raw.0))
                })
                .map_err(Ended::Failed)?;
            if self.builder.is_full() {
                send(&mut self.builder, outlet).await?;
            }
        }
        send(&mut self.builder, outlet).await
    }

    /// Cancels the statement, waits for its end and goes back to the savepoint; whether the session is clean.
    async fn cancel(&mut self) -> bool {
        let Some(session) = self.lease.connection() else {
            return false;
        };
        let signalled = session.cancel().await;
        let settled = async {
            // Meets the signal, if the statement was over before it came.
            match session.client.simple_query("SELECT 1").await {
                Ok(_) => signalled,
                Err(error) => matches!(
                    error.code(),
                    Some(&SqlState::QUERY_CANCELED | &SqlState::IN_FAILED_SQL_TRANSACTION)
                ),
            }
        };
        let clean = async {
            let rollback = session.client.batch_execute("ROLLBACK TO SAVEPOINT caliber");
            settled.await && rollback.await.is_ok()
        };
        tokio::time::timeout(CANCELLED_MAX, clean).await.unwrap_or(false)
    }
}

async fn send(builder: &mut BatchBuilder, outlet: &Outlet) -> Result<(), Ended> {
    match builder.take().map_err(Ended::Failed)? {
        Some(batch) => outlet.send(batch).await.map_err(Ended::Stopped),
        None => Ok(()),
    }
}
