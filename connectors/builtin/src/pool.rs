//! A small bounded pool of connections, the same for every networked source.
//!
//! Owns: how many connections are open, how long they live, who may have one. Never: what is sent over them.
//!
//! A lease is held for the life of a stream. It goes back only when it was marked `settled` and the source then
//! agreed to reset it; otherwise its connection is dropped, which closes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use caliber_connector_spi::{ConnectorError, ErrorClass};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::breaker::{Breaker, Open};

/// The longest a borrower waits for a connection.
const BORROW_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest a reset or a health check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection older than this is not lent again.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 60);
/// A connection unused for longer than this is checked by a round trip before it is lent.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

/// How connections of one source are opened, checked and reset.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// An open session.
    type Connection: Send + 'static;

    /// Opens a session, read-only and pinned.
    async fn connect(&self) -> Result<Self::Connection, ConnectorError>;

    /// Whether the peer is known to have gone; costs nothing.
    fn is_closed(&self, connection: &Self::Connection) -> bool;

    /// Whether the session answers.
    async fn check(&self, connection: &mut Self::Connection) -> bool;

    /// Ends what a query left (its transaction); `false` if the session must not be used again.
    async fn reset(&self, connection: &mut Self::Connection) -> bool;
}

/// A bounded pool of `C`'s connections.
pub struct Pool<C: Connect> {
    inner: Arc<Inner<C>>,
}

struct Inner<C: Connect> {
    source_name: String,
    connect: C,
    /// Invariant: open connections = permits out + idle ones, and a connection is opened only when none is idle;
    /// so there are never more than there are permits.
    permits: Arc<Semaphore>,
    connections_max: usize,
    /// How many borrowers wait for a connection.
    waiting: AtomicUsize,
    idle: Mutex<Vec<Idle<C::Connection>>>,
    breaker: Breaker,
    /// When a connection was last found broken: those that were idle then are not trusted.
    broke: Mutex<Option<Instant>>,
}

struct Idle<T> {
    connection: T,
    opened: Instant,
    since: Instant,
}

/// One connection, lent.
pub struct Lease<C: Connect> {
    pool: Arc<Inner<C>>,
    /// `None` only while being dropped.
    connection: Option<C::Connection>,
    permit: Option<OwnedSemaphorePermit>,
    opened: Instant,
    reused: bool,
    settled: bool,
    runtime: tokio::runtime::Handle,
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<C: Connect> Pool<C> {
    /// An empty pool of at most `connections_max` connections.
    pub fn new(source_name: &str, connect: C, connections_max: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                source_name: source_name.to_owned(),
                connect,
                permits: Arc::new(Semaphore::new(connections_max.max(1))),
                connections_max,
                waiting: AtomicUsize::new(0),
                idle: Mutex::new(Vec::new()),
                breaker: Breaker::default(),
                broke: Mutex::new(None),
            }),
        }
    }

    /// How this pool connects.
    pub fn connect(&self) -> &C {
        &self.inner.connect
    }

    /// A connection, within the bounds above.
    pub async fn get(&self) -> Result<Lease<C>, ConnectorError> {
        let permits = self.inner.permits.clone();
        let waiting = Waiting::begin(&self.inner.waiting);
        let permit = tokio::time::timeout(BORROW_TIMEOUT, permits.acquire_owned()).await;
        match permit {
            Ok(Ok(permit)) => {
                drop(waiting);
                self.lend(permit).await
            }
            _ => Err(self.error(ErrorClass::Busy, "all of its connections are in use")),
        }
    }

    /// A connection if the pool has one to give without waiting for another borrower.
    pub async fn get_now(&self) -> Result<Option<Lease<C>>, ConnectorError> {
        match self.inner.permits.clone().try_acquire_owned() {
            Ok(permit) => self.lend(permit).await.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// A connection to do sooner what another does alone: only while more than half of them are for the asking, since
    /// a consumer that is slow may hold it for long.
    pub async fn get_spare(&self) -> Result<Option<Lease<C>>, ConnectorError> {
        if self.has_spare() {
            self.get_now().await
        } else {
            Ok(None)
        }
    }

    /// Whether `get_spare` would find one now.
    pub fn has_spare(&self) -> bool {
        self.inner.permits.available_permits() * 2 > self.inner.connections_max
    }

    /// Whether somebody waits for a connection: who has one to spare should give it back.
    pub fn is_wanted(&self) -> bool {
        self.inner.waiting.load(Ordering::Relaxed) > 0
    }

    /// A connection broke: the source may be down, and those that are idle may be broken as well.
    pub fn lost(&self) {
        self.inner.breaker.lost();
        *self.inner.broke.lock() = Some(Instant::now());
    }

    /// Forgets idle connections: the source restarted.
    pub fn forget_idle(&self) {
        self.lost();
        self.inner.idle.lock().clear();
    }

    async fn lend(&self, permit: OwnedSemaphorePermit) -> Result<Lease<C>, ConnectorError> {
        let runtime = tokio::runtime::Handle::current();
        let lease = |connection, opened, reused| Lease {
            pool: self.inner.clone(),
            connection: Some(connection),
            permit: Some(permit),
            opened,
            reused,
            settled: false,
            runtime,
        };
        while let Some(mut idle) = self.take_idle() {
            let broke = *self.inner.broke.lock();
            let trusted = idle.since.elapsed() < TRUSTED_IDLE && broke.is_none_or(|broke| broke < idle.since);
            if trusted || within(self.inner.connect.check(&mut idle.connection)).await {
                return Ok(lease(idle.connection, idle.opened, true));
            }
            // One that fails is not followed by a wait for each of the others.
            self.forget_idle();
        }
        Ok(lease(self.open().await?, Instant::now(), false))
    }

    /// A new connection, if the source is to be tried now.
    async fn open(&self) -> Result<C::Connection, ConnectorError> {
        let attempt = self.inner.breaker.attempt().await.map_err(|Open| {
            let message = "it could not be reached a moment ago, and is tried at most twice a second";
            self.error(ErrorClass::Unavailable, message)
        })?;
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.inner.connect.connect()).await;
        let opened =
            opened.unwrap_or_else(|_| Err(self.error(ErrorClass::Unavailable, "it did not answer within 3 seconds")));
        match &opened {
            Err(error) if error.class == ErrorClass::Unavailable => attempt.failed(),
            // One that refuses is there.
            _ => attempt.succeeded(),
        }
        opened
    }

    fn take_idle(&self) -> Option<Idle<C::Connection>> {
        let mut all = self.inner.idle.lock();
        while let Some(idle) = all.pop() {
            if self.inner.connect.is_closed(&idle.connection) {
                // Perhaps with the server: one borrower finds out, not all at once.
                self.inner.breaker.lost();
            } else if idle.opened.elapsed() < LIFETIME_MAX {
                return Some(idle);
            }
        }
        None
    }

    fn error(&self, class: ErrorClass, message: &str) -> ConnectorError {
        ConnectorError::new(&self.inner.source_name, class, message)
    }
}

/// Counts one borrower as waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn within(check: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(CHECK_TIMEOUT, check).await.unwrap_or(false)
}

impl<C: Connect> Lease<C> {
    /// The connection.
    pub fn connection(&mut self) -> Option<&mut C::Connection> {
        self.connection.as_mut()
    }

    /// Whether it has served another query before: its peer may have gone since.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// No statement is in flight and nothing is wrong: once dropped, the connection may serve another query.
    pub fn settled(&mut self) {
        self.settled = true;
    }

    /// A statement is in flight: dropped now, the connection is closed.
    pub fn in_use(&mut self) {
        self.settled = false;
    }
}

impl<C: Connect> Drop for Lease<C> {
    fn drop(&mut self) {
        let (Some(mut connection), Some(permit)) = (self.connection.take(), self.permit.take()) else {
            return;
        };
        if !self.settled || self.opened.elapsed() >= LIFETIME_MAX {
            return;
        }
        let (pool, opened) = (self.pool.clone(), self.opened);
        self.runtime.spawn(async move {
            if within(pool.connect.reset(&mut connection)).await {
                pool.idle.lock().push(Idle {
                    connection,
                    opened,
                    since: Instant::now(),
                });
            } else if pool.connect.is_closed(&connection) {
                pool.breaker.lost();
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests;
