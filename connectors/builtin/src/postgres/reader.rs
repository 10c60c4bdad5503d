//! The reads of one query over one PostgreSQL source, all of them in one snapshot.
//!
//! Owns: the query's connections and its exported snapshot. Never: more than the pool gives; a row.
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
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::dialect::Postgres;
use super::failure::failure;
use super::ranges;
use super::read::{Job, Part, Read};
use super::session::{Sessions, milliseconds};
use crate::batch::BatchBuilder;
use crate::outlet::{Flow, Spare};
use crate::pool::{Lease, Pool};

/// Reads for one query.
pub struct Reader {
    shared: Arc<Shared>,
}

/// What the reads of a query share.
pub struct Shared {
    /// The source's name in the project.
    pub source_name: String,
    pool: Pool<Sessions>,
    statement_timeout: Duration,
    /// The query's bounds.
    pub context: QueryContext,
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
    /// A transaction was begun whose snapshot no other connection can have.
    is_alone: bool,
}

/// Counts one connection as reading.
pub struct Reading(Arc<Shared>);

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
        let rendered = render(query, &Postgres::default());
        let prepared = tokio::time::timeout_at(shared.context.deadline.into(), shared.prepare(query, rendered)).await;
        let (first, job) = prepared.map_err(|_| shared.flow.deadline_error())??;
        let (outlet, batches) = shared.flow.pipe();
        Read::begin(shared.clone(), job, outlet, builder, first);
        Ok(batches)
    }

    async fn read_alone(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        let shared = &self.shared;
        if ranges::may_split(query) {
            return self.read(query).await;
        }
        let builder = BatchBuilder::new(&shared.source_name, query, shared.context.batch_rows_max)?;
        let job = Job::new(&shared.source_name, query, render(query, &Postgres::default()), None)?;
        let opened = tokio::time::timeout_at(shared.context.deadline.into(), shared.part_alone(&job)).await;
        let Some(part) = opened.map_err(|_| shared.flow.deadline_error())?? else {
            return self.read(query).await;
        };
        let (outlet, batches) = shared.flow.pipe();
        Read::begin(shared.clone(), job, outlet, builder, part);
        Ok(batches)
    }
}

impl Shared {
    /// The read's first connection, and what the read is to run.
    async fn prepare(
        self: &Arc<Self>,
        query: &RemoteQuery,
        rendered: RenderedQuery,
    ) -> Result<(Part, Job), ConnectorError> {
        let (mut lease, reading) = self.connection().await?;
        let session = lease.connection().ok_or_else(|| self.broken())?;
        let ranges = if self.has_spare() {
            let split = ranges::split(query, &rendered, session).await;
            split.map_err(|error| failure(&self.source_name, &error))?
        } else {
            None
        };
        let job = Job::new(&self.source_name, query, rendered, ranges)?;
        let part = self.part(lease, reading, &job).await?;
        Ok((part, job))
    }

    /// A connection whose transaction begins with the statement, in one round trip; `None` where another read came first.
    async fn part_alone(self: &Arc<Self>, job: &Job) -> Result<Option<Part>, ConnectorError> {
        let _opening = self.opening.lock().await;
        {
            let bench = self.bench.lock();
            if bench.reading > 0 || !bench.free.is_empty() || bench.snapshot.is_some() || bench.is_alone {
                return Ok(None);
            }
        }
        let mut lease = self.pool.get().await?;
        let session = lease.connection().ok_or_else(|| self.broken())?;
        let Some(statement) = session.prepared(&job.sql) else {
            let (lease, reading) = self.begin(lease).await?;
            return self.part(lease, reading, job).await.map(Some);
        };
        job.check(&self.source_name, &statement)?;
        let mut bench = self.bench.lock();
        bench.is_alone = true;
        bench.reading += 1;
        Ok(Some(Part {
            lease,
            statement,
            begin: Some(self.begin_text(None, false)),
            reading: Reading(self.clone()),
        }))
    }

    /// Another connection for `job`, with a transaction of its own, in place of a pooled one that was gone when its
    /// transaction was to begin.
    pub async fn replaced(self: &Arc<Self>, job: &Job) -> Result<Part, ConnectorError> {
        self.pool.forget_idle();
        let lease = self.pool.get().await?;
        let (lease, reading) = self.begin(lease).await?;
        self.bench.lock().is_alone = false;
        self.part(lease, reading, job).await
    }

    /// Whether a second connection is to be had now; if not, ranges would only be more statements.
    fn has_spare(&self) -> bool {
        !self.bench.lock().free.is_empty() || self.pool.has_spare()
    }

    /// Another connection for `job`, if neither this query nor another one wants it.
    pub async fn spare(self: &Arc<Self>, job: &Job) -> Option<(Part, Spare)> {
        let (lease, reading, spare) = {
            // Held elsewhere, a read of the query looks for a connection itself.
            let _opening = self.opening.try_lock().ok()?;
            let (lease, reading) = match self.take_free() {
                Some(taken) => taken,
                None => {
                    let lease = self.pool.get_spare().await.ok()??;
                    self.begin(lease).await.ok()?
                }
            };
            // Before another read can look, and find that it has to wait.
            (lease, reading, self.flow.spare())
        };
        let part = self.part(lease, reading, job).await.ok()?;
        Some((part, spare))
    }

    async fn part(
        self: &Arc<Self>,
        mut lease: Lease<Sessions>,
        reading: Reading,
        job: &Job,
    ) -> Result<Part, ConnectorError> {
        let session = lease.connection().ok_or_else(|| self.broken())?;
        let prepared = session.prepare(&job.sql, &job.types).await;
        let statement = prepared.map_err(|error| failure(&self.source_name, &error))?;
        job.check(&self.source_name, &statement)?;
        Ok(Part {
            lease,
            statement,
            begin: None,
            reading,
        })
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
            let (is_unused, is_lost) = {
                let bench = self.bench.lock();
                (bench.reading == 0, bench.reading == 0 && bench.is_alone)
            };
            if is_lost {
                let message = "an earlier read of this query lost its connection, and with it the snapshot";
                return Err(ConnectorError::new(&self.source_name, ErrorClass::Unavailable, message));
            }
            if is_unused {
                let lease = self.pool.get().await?;
                return self.begin(lease).await;
            }
            let is_alone = self.bench.lock().is_alone;
            if !is_alone && let Some(lease) = self.pool.get_now().await? {
                return self.begin(lease).await;
            }
            let _waiting = self.flow.wait_for_connection();
            if is_alone {
                changed.await;
                continue;
            }
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
        let sql = self.begin_text(snapshot, snapshot.is_none());
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

    /// What begins a transaction in `snapshot`, or in one of its own that it `exports` or not.
    fn begin_text(&self, snapshot: Option<&str>, exports: bool) -> String {
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
        if exports {
            sql.push_str("SELECT pg_export_snapshot(); ");
        }
        sql.push_str("SAVEPOINT caliber");
        sql
    }

    /// Whether a connection that reads what another could read as well should be given back.
    pub fn wants_connections(&self) -> bool {
        self.flow.is_waited_for() || self.pool.is_wanted()
    }

    /// Leaves a connection, with its snapshot, to the query's next read.
    pub fn give_back(&self, mut lease: Lease<Sessions>) {
        lease.settled();
        self.bench.lock().free.push(lease);
    }

    /// A connection broke while it was read.
    pub fn lost(&self) {
        self.pool.lost();
    }

    /// The error of a connection that is gone.
    pub fn broken(&self) -> ConnectorError {
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
