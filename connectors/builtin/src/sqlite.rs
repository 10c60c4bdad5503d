//! `connector: sqlite`: a SQLite database file, read in place.
//!
//! Owns: the file's options, its bounded connections, one thread at a time for each query that reads it. Never: writes, attaches
//! another file, loads an extension, guesses what an odd value meant.
//!
//! All reads of a query share one connection and one read transaction, so they see one snapshot. In a file with a
//! rollback journal that transaction keeps writers from committing until the query is over, its deadline at the latest;
//! a file in WAL mode has no such wait.

mod calendar;
mod checks;
mod decode;
mod dialect;
mod fault;
mod introspect;
mod prepare;
mod session;
mod threads;
mod types;
mod worker;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use caliber_connector_spi::{
    BatchStream, Capabilities, Connector, ConnectorError, ConnectorFactory, ErrorClass, OptionKind, OptionSpec,
    QueryContext, RemoteQuery, SourceReader, SourceSchema, SourceSpec,
};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use fault::Fault;
use session::Session;
use threads::{Assignment, Threads};
use worker::{Event, Item, Job, Read};

/// The longest wait for a connection of the pool.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);

/// Opens SQLite sources.
pub struct Factory;

#[async_trait]
impl ConnectorFactory for Factory {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[OptionSpec {
            name: "path",
            kind: OptionKind::Path,
            required: true,
            description: "The database file. It is opened read-only and never created.",
        }]
    }

    fn open(&self, source: &SourceSpec) -> Result<Arc<dyn Connector>, ConnectorError> {
        let Some(path) = source.options.path("path") else {
            return Err(ConnectorError::new(
                &source.name,
                ErrorClass::Options,
                "option `path` is missing",
            ));
        };
        Ok(Arc::new(Sqlite {
            source: source.name.clone(),
            path: path.to_owned(),
            connections: Arc::new(Semaphore::new(source.connections_max.clamp(1, Semaphore::MAX_PERMITS))),
            threads: Threads::default(),
            statement_timeout: source.statement_timeout,
        }))
    }
}

/// One database file.
#[derive(Clone, Debug)]
struct Sqlite {
    source: String,
    path: PathBuf,
    connections: Arc<Semaphore>,
    threads: Threads,
    statement_timeout: Duration,
}

impl Sqlite {
    fn error(&self, class: ErrorClass, message: &str) -> ConnectorError {
        ConnectorError::new(&self.source, class, message)
    }

    /// A place among the source's connections.
    async fn connection(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, ConnectorError> {
        let now = Instant::now();
        if deadline <= now {
            return Err(Fault::Deadline.of(&self.source));
        }
        let patience = (deadline - now).min(CONNECTION_WAIT_MAX);
        match tokio::time::timeout(patience, self.connections.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(self.error(ErrorClass::Unavailable, "the source is closed")),
            Err(_) => Err(self.error(
                ErrorClass::Busy,
                "all connections are in use; try again, or raise `limits.connections`",
            )),
        }
    }
}

#[async_trait]
impl Connector for Sqlite {
    fn capabilities(&self) -> &Capabilities {
        &dialect::CAPABILITIES
    }

    async fn introspect(&self) -> Result<SourceSchema, ConnectorError> {
        let deadline = Instant::now() + self.statement_timeout;
        let permit = self.connection(deadline).await?;
        let path = self.path.clone();
        // Dropping the future must end the work too.
        let cancelled = CancelOnDrop(Arc::new(AtomicBool::new(false)));
        let flag = cancelled.0.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let session = Session::open(&path)?;
            session.gate.enter(&flag, deadline);
            session.begin()?;
            introspect::introspect(&session.connection)
        });
        match work.await {
            Ok(result) => result.map_err(|fault: Fault| fault.of(&self.source)),
            Err(_) => Err(self.error(ErrorClass::Unavailable, "the source's thread ended early")),
        }
    }

    fn reader(&self, context: QueryContext) -> Arc<dyn SourceReader> {
        Arc::new(Reader {
            source: self.clone(),
            context,
            worker: tokio::sync::Mutex::new(None),
            reads: AtomicU64::new(0),
        })
    }

    fn statement(&self, query: &RemoteQuery) -> Option<String> {
        prepare::prepare(query).ok().map(|prepared| prepared.sql)
    }
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The reads of one query. The thread starts with the first.
struct Reader {
    source: Sqlite,
    context: QueryContext,
    worker: tokio::sync::Mutex<Option<Sender<Event>>>,
    reads: AtomicU64,
}

#[async_trait]
impl SourceReader for Reader {
    async fn read(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        let source = &self.source;
        let statement = prepare::prepare(query).map_err(|what| Fault::Statement(what).of(&source.source))?;
        let deadline = self.context.deadline.min(Instant::now() + source.statement_timeout);
        let (out, items) = tokio::sync::mpsc::unbounded_channel();
        let id = self.reads.fetch_add(1, Ordering::Relaxed);
        let cancelled = Arc::new(AtomicBool::new(false));
        let read = Box::new(Read {
            id,
            statement,
            deadline,
            cancelled: cancelled.clone(),
            out,
        });
        let mut worker = self.worker.lock().await;
        let events = match worker.as_ref() {
            Some(events) => {
                events
                    .send(Event::Read(read))
                    .map_err(|_| Fault::Deadline.of(&source.source))?;
                events.clone()
            }
            None => worker.insert(self.start(read).await?).clone(),
        };
        let failed = source.error(ErrorClass::Unavailable, "the source's thread ended early");
        Ok(Batches {
            id,
            events,
            items,
            cancelled,
            failed,
            finished: false,
        }
        .boxed())
    }
}

impl Reader {
    async fn start(&self, first: Box<Read>) -> Result<Sender<Event>, ConnectorError> {
        let source = &self.source;
        let job = Job {
            source: source.source.clone(),
            path: source.path.clone(),
            deadline: self.context.deadline,
            batch_rows_max: self.context.batch_rows_max.max(1),
            log: self.context.log.clone(),
            permit: source.connection(self.context.deadline).await?,
        };
        let (events, received) = std::sync::mpsc::channel();
        let assignment = Assignment {
            job,
            events: received,
            first,
        };
        source
            .threads
            .assign(&format!("sqlite {}", source.source), assignment)
            .map_err(|_| source.error(ErrorClass::Limit, "no thread could be started"))?;
        Ok(events)
    }
}

/// The batches of one read. Dropping it ends the statement.
struct Batches {
    id: u64,
    events: Sender<Event>,
    items: UnboundedReceiver<Item>,
    cancelled: Arc<AtomicBool>,
    failed: ConnectorError,
    finished: bool,
}

impl Stream for Batches {
    type Item = Result<RecordBatch, ConnectorError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.finished {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(self.items.poll_recv(context));
        let next = match item {
            Some(Item::Batch(batch)) => {
                // A thread that is gone has said why in an item of its own.
                let _ = self.events.send(Event::Demand(self.id));
                return Poll::Ready(Some(Ok(batch)));
            }
            Some(Item::Done) => None,
            Some(Item::Failed(error)) => Some(Err(error)),
            // A thread that ends without a word has not said that the result is complete.
            None => Some(Err(self.failed.clone())),
        };
        self.finished = true;
        Poll::Ready(next)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        let _ = self.events.send(Event::Closed(self.id));
    }
}

#[cfg(test)]
mod tests;
