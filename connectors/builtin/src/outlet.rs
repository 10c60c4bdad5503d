//! The pipe between the task that reads a source and the stream that the engine consumes.
//!
//! Owns: back-pressure, the deadline, the stop when the consumer goes away, buffering while another read of the
//! same query waits for the connection. Never: SQL, a connection, a decoder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::RecordBatch;
use caliber_connector_spi::{BatchStream, ConnectorError, ErrorClass, QueryContext, StatementLog};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::batch::sliced_bytes;

/// How many finished batches may wait for the consumer in ordinary times.
const BATCHES_WAITING_MAX: usize = 2;

/// What the reads of one query share: its deadline, its buffer budget, and word of who waits for whom.
pub struct Flow {
    source_name: String,
    deadline: Instant,
    buffer_bytes_max: usize,
    buffered_bytes: AtomicUsize,
    contention: watch::Sender<Contention>,
    log: Arc<dyn StatementLog>,
}

/// Who waits for whom among the reads of one query.
#[derive(Clone, Copy, Default)]
struct Contention {
    /// Reads that wait for a connection that another read of the query holds.
    waiting: usize,
    /// Connections that a read has beside its first one, each of which comes free once its statement ends.
    spares: usize,
}

impl Contention {
    /// Whether the holder of a connection buffers: where spare ones are there, no other need to.
    const fn buffers(self, is_spare: bool) -> bool {
        self.waiting > 0 && (is_spare || self.spares == 0)
    }
}

/// Why a read must end before its result does.
#[derive(Debug)]
pub enum Stop {
    /// Nobody consumes the stream any more.
    Dropped,
    /// The query's deadline passed.
    Deadline,
    /// The rest of the result would not fit the query's buffer while another read waits.
    Full,
}

/// The producer's end. Dropped without `finish`, the stream ends with an error, never as if complete (INV-8).
pub struct Outlet {
    flow: Arc<Flow>,
    sender: mpsc::UnboundedSender<Item>,
    slots: Arc<Semaphore>,
    rows: AtomicUsize,
    bytes: AtomicUsize,
    logged: AtomicBool,
}

enum Item {
    Batch(
        RecordBatch,
        #[expect(dead_code, reason = "held until the batch is taken")] Hold,
    ),
    Failed(ConnectorError),
    Complete,
}

/// What a batch occupies until it is consumed.
enum Hold {
    Slot(#[expect(dead_code, reason = "released when dropped")] OwnedSemaphorePermit),
    Buffer(#[expect(dead_code, reason = "released when dropped")] Buffered),
}

struct Buffered {
    flow: Arc<Flow>,
    bytes: usize,
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.flow.buffered_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// While it lives, other reads of the query buffer instead of waiting for their consumers: those on spare
/// connections, or all where there is none.
pub struct Waiting(Arc<Flow>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.contention.send_modify(|now| now.waiting -= 1);
    }
}

/// Counts one connection as spare.
pub struct Spare(Arc<Flow>);

impl Drop for Spare {
    fn drop(&mut self) {
        self.0.contention.send_modify(|now| now.spares -= 1);
    }
}

impl Flow {
    /// The flow of one reader.
    pub fn new(source_name: &str, context: &QueryContext) -> Arc<Self> {
        Arc::new(Self {
            source_name: source_name.to_owned(),
            deadline: context.deadline,
            buffer_bytes_max: context.buffer_bytes_max,
            buffered_bytes: AtomicUsize::new(0),
            contention: watch::Sender::new(Contention::default()),
            log: context.log.clone(),
        })
    }

    /// Says that a read now waits for another read's connection.
    pub fn wait_for_connection(self: &Arc<Self>) -> Waiting {
        self.contention.send_modify(|now| now.waiting += 1);
        Waiting(self.clone())
    }

    /// Says that a read has one more connection than it needs.
    pub fn spare(self: &Arc<Self>) -> Spare {
        self.contention.send_modify(|now| now.spares += 1);
        Spare(self.clone())
    }

    /// Whether a read waits for a connection that another read of the query holds.
    pub fn is_waited_for(&self) -> bool {
        self.contention.borrow().waiting > 0
    }

    /// The error of a read that the deadline ended.
    pub fn deadline_error(&self) -> ConnectorError {
        ConnectorError::new(
            &self.source_name,
            ErrorClass::Deadline,
            "the query's deadline passed while it was read",
        )
    }

    /// A pipe for one read. To be called within a Tokio runtime.
    pub fn pipe(self: &Arc<Self>) -> (Outlet, BatchStream) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let outlet = Outlet {
            flow: self.clone(),
            sender,
            slots: Arc::new(Semaphore::new(BATCHES_WAITING_MAX)),
            rows: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            logged: AtomicBool::new(false),
        };
        (outlet, batches(receiver, self.source_name.clone()))
    }
}

/// The consumer's end.
fn batches(receiver: mpsc::UnboundedReceiver<Item>, source_name: String) -> BatchStream {
    futures::stream::unfold(Some(receiver), move |receiver| {
        let source_name = source_name.clone();
        async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(Item::Batch(batch, _)) => Some((Ok(batch), Some(receiver))),
                Some(Item::Failed(error)) => Some((Err(error), None)),
                Some(Item::Complete) => None,
                None => {
                    let message = "the read ended before the source said that its result is complete";
                    Some((
                        Err(ConnectorError::new(source_name, ErrorClass::Unavailable, message)),
                        None,
                    ))
                }
            }
        }
    })
    .boxed()
}

impl Outlet {
    /// Hands `batch` on, waiting until there is room for it.
    pub async fn send(&self, batch: RecordBatch) -> Result<(), Stop> {
        self.send_from(batch, false).await
    }

    /// The same, of a batch that came over a spare connection or the read's first.
    pub async fn send_from(&self, batch: RecordBatch, is_spare: bool) -> Result<(), Stop> {
        let (rows, bytes) = (batch.num_rows(), sliced_bytes(&batch));
        let hold = tokio::select! {
            biased;
            stop = self.stopped() => return Err(stop),
            hold = self.room(bytes, is_spare) => hold?,
        };
        self.sender.send(Item::Batch(batch, hold)).map_err(|_| Stop::Dropped)?;
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Resolves when the consumer went away or the deadline passed.
    pub async fn stopped(&self) -> Stop {
        tokio::select! {
            biased;
            () = self.sender.closed() => Stop::Dropped,
            () = tokio::time::sleep_until(self.flow.deadline.into()) => Stop::Deadline,
        }
    }

    /// Ends the stream: complete, or with an error. Whoever else fills it stops at its next batch.
    pub fn finish(&self, end: Result<(), ConnectorError>) {
        self.log_received();
        self.slots.close();
        let last = end.map_or_else(Item::Failed, |()| Item::Complete);
        // A consumer that went away misses nothing.
        let _ = self.sender.send(last);
    }

    /// Ends the stream that `stop` ended.
    pub fn finish_stopped(&self, stop: &Stop) {
        let error = match stop {
            Stop::Dropped => return,
            Stop::Deadline => self.flow.deadline_error(),
            Stop::Full => ConnectorError::new(
                &self.flow.source_name,
                ErrorClass::Limit,
                format!(
                    "two reads of this query share a connection, and the first gave more than the {} bytes it may buffer",
                    self.flow.buffer_bytes_max
                ),
            ),
        };
        self.finish(Err(error));
    }

    fn log_received(&self) {
        if !self.logged.swap(true, Ordering::Relaxed) {
            let (rows, bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
            self.flow.log.received(rows, bytes);
        }
    }

    async fn room(&self, bytes: usize, is_spare: bool) -> Result<Hold, Stop> {
        let mut contention = self.flow.contention.subscribe();
        tokio::select! {
            biased;
            slot = self.slots.clone().acquire_owned() => slot.map(Hold::Slot).map_err(|_| Stop::Dropped),
            // The sender lives in `flow`, so this ends only by somebody waiting.
            _ = contention.wait_for(|now| now.buffers(is_spare)) => self.buffer(bytes),
        }
    }

    fn buffer(&self, bytes: usize) -> Result<Hold, Stop> {
        let before = self.flow.buffered_bytes.fetch_add(bytes, Ordering::Relaxed);
        let hold = Buffered {
            flow: self.flow.clone(),
            bytes,
        };
        if before.saturating_add(bytes) > self.flow.buffer_bytes_max {
            return Err(Stop::Full);
        }
        Ok(Hold::Buffer(hold))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.log_received();
    }
}
