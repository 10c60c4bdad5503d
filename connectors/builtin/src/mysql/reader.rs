//! The reads of one query over one MariaDB or MySQL source: one connection, one snapshot, one after the other.
//!
//! Owns: the query's connection and the end of its statements. Never: two statements at once.
//!
//! A statement in flight is never simply dropped, since the driver would then read the result to its end: it is
//! killed over a second connection and read until the server says that it is over.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use caliber_connector_spi::{
    BatchStream, ConnectorError, ErrorClass, OutputColumn, QueryContext, RemoteQuery, RenderedQuery, SourceReader,
    render,
};
use mysql_async::Params;
use mysql_async::prelude::Queryable;

use super::dialect::Mysql;
use super::failure::failure;
use super::session::{Kill, Killer, Session, Sessions};
use super::value;
use crate::batch::BatchBuilder;
use crate::outlet::{Flow, Outlet, Stop};
use crate::pool::{Lease, Pool};
use crate::serial::{Serial, Turn};

/// The longest a killed statement may take to end before its connection is given up.
const KILLED_MAX: Duration = Duration::from_secs(2);

/// How long a kill is given before another.
const KILL_AGAIN: Duration = Duration::from_millis(100);

/// Reads for one query.
pub struct Reader {
    source_name: String,
    pool: Pool<Sessions>,
    statement_timeout: Duration,
    context: QueryContext,
    flow: std::sync::Arc<Flow>,
    serial: Serial<Lease<Sessions>>,
}

impl Reader {
    /// A reader that has no connection yet.
    pub fn new(source_name: &str, pool: Pool<Sessions>, statement_timeout: Duration, context: QueryContext) -> Self {
        let flow = Flow::new(source_name, &context);
        let serial = Serial::new(source_name, flow.clone());
        Self {
            source_name: source_name.to_owned(),
            pool,
            statement_timeout,
            context,
            flow,
            serial,
        }
    }

    /// The query's connection, in its snapshot.
    async fn connection(&self) -> Result<(Turn<Lease<Sessions>>, Lease<Sessions>), ConnectorError> {
        let (mut turn, lease) = self.serial.turn().await?;
        let lease = match lease {
            Some(mut lease) => {
                lease.in_use();
                lease
            }
            None => {
                let lease = self.open().await?;
                turn.begun();
                lease
            }
        };
        Ok((turn, lease))
    }

    /// Opens the snapshot; a connection that served before and has gone since is replaced, once.
    async fn open(&self) -> Result<Lease<Sessions>, ConnectorError> {
        let mut lease = self.pool.get().await?;
        match self.begin(&mut lease).await {
            Err(error) if error.class == ErrorClass::Unavailable && lease.is_reused() => {
                self.pool.forget_idle();
                drop(lease);
                lease = self.pool.get().await?;
                self.begin(&mut lease).await?;
            }
            begun => begun?,
        }
        Ok(lease)
    }

    async fn begin(&self, lease: &mut Lease<Sessions>) -> Result<(), ConnectorError> {
        let left = self
            .context
            .deadline
            .saturating_duration_since(Instant::now())
            .min(self.statement_timeout);
        session(lease, &self.source_name)?.begin(left).await
    }
}

fn session<'a>(lease: &'a mut Lease<Sessions>, source_name: &str) -> Result<&'a mut Session, ConnectorError> {
    let lost = || ConnectorError::new(source_name, ErrorClass::Unavailable, "the connection to it was lost");
    lease.connection().ok_or_else(lost)
}

#[async_trait]
impl SourceReader for Reader {
    async fn read(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        let builder = BatchBuilder::new(&self.source_name, query, self.context.batch_rows_max)?;
        let opened = tokio::time::timeout_at(self.context.deadline.into(), self.connection()).await;
        let (turn, mut lease) = opened.map_err(|_| self.flow.deadline_error())??;
        let server = session(&mut lease, &self.source_name)?.server;
        let rendered = render(query, &Mysql::of(server));
        let (outlet, batches) = self.flow.pipe();
        self.context.log.sent(&rendered.sql, rendered.parameters.len());
        let source_name = self.source_name.clone();
        tokio::spawn(
            Read {
                source_name,
                pool: self.pool.clone(),
                turn,
                lease,
                rendered,
                columns: query.root.columns(),
                builder,
                kills_are_over: true,
            }
            .run(outlet),
        );
        Ok(batches)
    }
}

/// One read: the turn, the connection, and what to run on it.
struct Read {
    source_name: String,
    pool: Pool<Sessions>,
    lease: Lease<Sessions>,
    turn: Turn<Lease<Sessions>>,
    rendered: RenderedQuery,
    /// What was described of its columns.
    columns: Vec<OutputColumn>,
    builder: BatchBuilder,
    /// The server answered every request to kill the statement.
    kills_are_over: bool,
}

/// How the rows ended before their end.
enum Ended {
    Stopped(Stop),
    Failed(ConnectorError),
}

impl Read {
    async fn run(mut self, outlet: Outlet) {
        match self.rows(&outlet).await {
            Ok(()) => {
                self.keep();
                outlet.finish(Ok(()));
            }
            Err(Ended::Failed(error)) => {
                if error.class == ErrorClass::Unavailable {
                    self.pool.lost();
                }
                outlet.finish(Err(error));
            }
            Err(Ended::Stopped(stop)) => {
                outlet.finish_stopped(&stop);
                // A kill whose answer never came may yet meet whatever the connection runs next.
                let resumable = matches!(stop, Stop::Dropped) && self.kills_are_over;
                // A kill that came too late to meet the statement meets this one.
                if resumable && self.settle().await {
                    self.keep();
                }
            }
        }
    }

    fn keep(mut self) {
        self.lease.settled();
        self.turn.keep(self.lease);
    }

    async fn settle(&mut self) -> bool {
        let Ok(session) = session(&mut self.lease, &self.source_name) else {
            return false;
        };
        let conn = &mut session.conn;
        let settled = async { conn.query_drop("DO 0").await.is_ok() || conn.query_drop("DO 0").await.is_ok() };
        tokio::time::timeout(KILLED_MAX, settled).await.unwrap_or(false)
    }

    async fn rows(&mut self, outlet: &Outlet) -> Result<(), Ended> {
        let source_name = self.source_name.as_str();
        let failed = |error: &mysql_async::Error| Ended::Failed(failure(source_name, error));
        let session = session(&mut self.lease, source_name).map_err(Ended::Failed)?;
        let parameters: Option<Vec<_>> = self.rendered.parameters.iter().map(value::encode).collect();
        let parameters = parameters.ok_or_else(|| {
            let message = "a value of the query has no counterpart in MySQL";
            Ended::Failed(ConnectorError::new(source_name, ErrorClass::Statement, message))
        })?;
        let parameters = if parameters.is_empty() {
            Params::Empty
        } else {
            Params::Positional(parameters)
        };
        let mut watch = Watch {
            killer: session.killer(),
            outlet,
            stopped: pin!(outlet.stopped()),
            stop: None,
            kills_are_over: &mut self.kills_are_over,
            killed: Instant::now(),
            asked: Instant::now(),
        };
        let answer = watch
            .attend(session.conn.exec_iter(self.rendered.sql.as_str(), parameters))
            .await?;
        let mut rows = answer.map_err(|error| watch.end().unwrap_or_else(|| failed(&error)))?;
        let drifted = rows.columns_ref().iter().zip(&self.columns);
        if drifted
            .into_iter()
            .any(|(wire, column)| !value::is_expected(column, wire))
        {
            let message = "a table or column is no longer what it was when it was described";
            let error = ConnectorError::new(source_name, ErrorClass::Drift, message);
            watch.abandon(Ended::Failed(error)).await;
        }
        loop {
            let row = watch.attend(rows.next()).await?;
            let row = row.map_err(|error| watch.end().unwrap_or_else(|| failed(&error)))?;
            let Some(row) = row else { break };
            if watch.stop.is_some() {
                continue;
            }
            let appended = self
                .builder
                .row(|index, column| value::append(column, row.as_ref(index)));
            let handed_on = match appended {
                Ok(()) if self.builder.is_full() => send(&mut self.builder, outlet).await,
                other => other.map_err(Ended::Failed),
            };
            if let Err(ended) = handed_on {
                // The rest is not wanted; the statement must end before the connection is left.
                watch.abandon(ended).await;
            }
        }
        match watch.end() {
            Some(ended) => Err(ended),
            None => send(&mut self.builder, outlet).await,
        }
    }
}

async fn send(builder: &mut BatchBuilder, outlet: &Outlet) -> Result<(), Ended> {
    match builder.take().map_err(Ended::Failed)? {
        Some(batch) => outlet.send(batch).await.map_err(Ended::Stopped),
        None => Ok(()),
    }
}

/// Kills the statement once it is no longer wanted, while somebody goes on reading what it still sends.
struct Watch<'a, S: Future<Output = Stop>> {
    killer: Killer,
    outlet: &'a Outlet,
    stopped: Pin<&'a mut S>,
    /// Why the statement was killed.
    stop: Option<Ended>,
    kills_are_over: &'a mut bool,
    /// When it was first killed.
    killed: Instant,
    /// When the last request to kill it was answered.
    asked: Instant,
}

impl<S: Future<Output = Stop>> Watch<'_, S> {
    /// Drives `exchange` to its end, which the driver needs; kills the statement if it must stop meanwhile.
    async fn attend<T>(&mut self, exchange: impl Future<Output = T>) -> Result<T, Ended> {
        let mut exchange = pin!(exchange);
        if self.stop.is_none() {
            tokio::select! {
                biased;
                done = &mut exchange => return Ok(done),
                stop = &mut self.stopped => self.abandon(Ended::Stopped(stop)).await,
            }
        }
        loop {
            // A kill between preparing a statement and running it kills nothing: then its rows go on and on.
            if self.killed.elapsed() > KILLED_MAX {
                self.kill(Kill::Session).await;
                return Err(self.end().unwrap_or(Ended::Stopped(Stop::Deadline)));
            }
            if self.asked.elapsed() > KILL_AGAIN {
                self.kill(Kill::Statement).await;
            }
            if let Ok(done) = tokio::time::timeout(KILL_AGAIN, &mut exchange).await {
                return Ok(done);
            }
        }
    }

    /// Says why the read ends, and kills the statement: a server that does not answer keeps nobody waiting.
    async fn abandon(&mut self, why: Ended) {
        match &why {
            Ended::Stopped(stop) => self.outlet.finish_stopped(stop),
            Ended::Failed(error) => self.outlet.finish(Err(error.clone())),
        }
        self.stop = Some(why);
        self.killed = Instant::now();
        self.kill(Kill::Statement).await;
    }

    async fn kill(&mut self, what: Kill) {
        *self.kills_are_over &= self.killer.kill(what).await;
        self.asked = Instant::now();
    }

    /// Why the statement was killed, if it was.
    fn end(&mut self) -> Option<Ended> {
        self.stop.take()
    }
}
