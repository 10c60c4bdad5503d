//! A thread while it serves a query: one connection, one snapshot, every read of the query by turns.
//!
//! Owns: statements in flight, demand, deadlines, cancel. Never: waits for a consumer while another read could go on;
//! knows what the thread does between queries (`threads`).
//!
//! A batch is made only when its consumer has asked for it, so back-pressure reaches SQLite and reads that share the
//! connection need no buffer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Instant;

use arrow::array::RecordBatch;
use caliber_connector_spi::{ConnectorError, StatementLog};
use rusqlite::{CachedStatement, Connection, Rows};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use super::decode::Decoder;
use super::fault::{Fault, is_interrupted};
use super::introspect;
use super::prepare::Prepared;
use super::session::{Gate, Session};

/// Statements a connection holds before it wants a moment with none in flight to let go of them.
const STATEMENTS_MAX: usize = 512;
/// The size at which a batch is sent.
const BATCH_BYTES: usize = 8 << 20;
/// Batches asked for ahead of the consumer.
pub(super) const AHEAD: u32 = 2;

/// One read, as the thread is told of it.
pub(super) struct Read {
    /// Its number within the query.
    pub(super) id: u64,
    pub(super) statement: Prepared,
    pub(super) deadline: Instant,
    /// Set when nobody wants the rest.
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) out: UnboundedSender<Item>,
}

/// What the thread is told.
pub(super) enum Event {
    /// Run this.
    Read(Box<Read>),
    /// The consumer of that read took a batch.
    Demand(u64),
    /// The consumer of that read is gone.
    Closed(u64),
}

/// What a consumer is told.
pub(super) enum Item {
    Batch(RecordBatch),
    /// The source said that there are no more rows.
    Done,
    Failed(ConnectorError),
}

/// What the thread needs to know of its query.
pub(super) struct Job {
    pub(super) source: String,
    pub(super) path: PathBuf,
    pub(super) deadline: Instant,
    pub(super) batch_rows_max: usize,
    pub(super) log: Arc<dyn StatementLog>,
    /// The connection's place in the pool, given back when the thread ends.
    pub(super) permit: OwnedSemaphorePermit,
}

/// A statement in flight.
struct Active<'s> {
    read: Read,
    rows: Rows<'s>,
    decoder: Decoder,
    demand: u32,
    received: (usize, usize),
}

enum Step {
    More,
    Done,
    Gone,
}

/// Serves a query until its reader and all its streams are gone, or its deadline has passed, with `held` if that can
/// still serve. Gives the session that may serve another query.
pub(super) fn run(job: &Job, events: &Receiver<Event>, first: Box<Read>, held: Option<Session>) -> Option<Session> {
    let begun = match held.filter(Session::is_current) {
        Some(session) => Ok(session),
        None => Session::open(&job.path),
    };
    let begun = begun.and_then(|session| {
        session.gate.enter(&first.cancelled, first.deadline);
        session.begin()?;
        Ok(session)
    });
    match begun {
        Ok(session) => {
            let mut next = Some(first);
            while let Some(read) = next {
                next = serve(job, &session.gate, &session.connection, events, read);
            }
            session.end().then_some(session)
        }
        Err(fault) => {
            let error = fault.of(&job.source);
            fail(&first, error.clone());
            while let Ok(event) = events.recv_timeout(remaining(job.deadline)) {
                if let Event::Read(read) = event {
                    fail(&read, error.clone());
                }
            }
            None
        }
    }
}

/// Serves reads until no statement slot is left; returns the read that found none.
fn serve(
    job: &Job,
    gate: &Gate,
    connection: &Connection,
    events: &Receiver<Event>,
    first: Box<Read>,
) -> Option<Box<Read>> {
    let mut slots: Vec<Option<CachedStatement<'_>>> = (0..STATEMENTS_MAX).map(|_| None).collect();
    let mut free = slots.iter_mut();
    let mut active: Vec<Active<'_>> = Vec::new();
    let mut pending = Some(Event::Read(first));
    loop {
        match pending.take() {
            Some(Event::Read(read)) => match free.next() {
                Some(slot) => active.extend(start(job, gate, connection, slot, read)),
                None if active.is_empty() => return Some(read),
                None => fail(
                    &read,
                    Fault::Limit("the query reads the source too many times at once").of(&job.source),
                ),
            },
            Some(Event::Demand(id)) => {
                active
                    .iter_mut()
                    .filter(|active| active.read.id == id)
                    .for_each(|active| active.demand += 1);
            }
            Some(Event::Closed(id)) => active.retain(|active| active.read.id != id),
            None => {}
        }
        pending = match events.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) if round(job, gate, &mut active) => None,
            Err(TryRecvError::Empty) => match wait(job, events, &mut active) {
                Ok(event) => event,
                Err(()) => return None,
            },
        };
    }
}

/// Waits for an event; ends what has passed its deadline meanwhile. `Err` once the query is over.
fn wait(job: &Job, events: &Receiver<Event>, active: &mut Vec<Active<'_>>) -> Result<Option<Event>, ()> {
    let until = active
        .iter()
        .map(|active| active.read.deadline)
        .min()
        .unwrap_or(job.deadline);
    match events.recv_timeout(remaining(until)) {
        Ok(event) => Ok(Some(event)),
        Err(RecvTimeoutError::Disconnected) => Err(()),
        Err(RecvTimeoutError::Timeout) => {
            let now = Instant::now();
            active.retain(|active| {
                let late = active.read.deadline <= now;
                if late {
                    fail(&active.read, Fault::Deadline.of(&job.source));
                }
                !late
            });
            if now >= job.deadline { Err(()) } else { Ok(None) }
        }
    }
}

/// Prepares a read in its slot; a failure is told to its consumer.
fn start<'s, 'c: 's>(
    job: &Job,
    gate: &Gate,
    connection: &'c Connection,
    slot: &'s mut Option<CachedStatement<'c>>,
    read: Box<Read>,
) -> Option<Active<'s>> {
    // What else the connection was doing may have been cancelled.
    gate.enter(&read.cancelled, read.deadline);
    match prepare(job, connection, slot, &read) {
        Ok((rows, decoder)) => Some(Active {
            read: *read,
            rows,
            decoder,
            demand: AHEAD,
            received: (0, 0),
        }),
        Err(fault) => {
            fail(&read, fault.of(&job.source));
            None
        }
    }
}

fn prepare<'s, 'c: 's>(
    job: &Job,
    connection: &'c Connection,
    slot: &'s mut Option<CachedStatement<'c>>,
    read: &Read,
) -> Result<(Rows<'s>, Decoder), Fault> {
    for table in &read.statement.described {
        introspect::check(connection, table)?;
    }
    let decoder = Decoder::new(&read.statement);
    let statement = slot.insert(connection.prepare_cached(&read.statement.sql)?);
    if !statement.readonly() {
        return Err(Fault::Statement("a statement that writes"));
    }
    for (at, parameter) in read.statement.parameters.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, parameter)?;
    }
    job.log.sent(&read.statement.sql, read.statement.parameters.len());
    Ok((statement.raw_query(), decoder))
}

/// Makes one batch for each consumer that waits for one. False if none does.
fn round(job: &Job, gate: &Gate, active: &mut Vec<Active<'_>>) -> bool {
    let mut worked = false;
    active.retain_mut(|active| {
        if active.demand == 0 {
            return true;
        }
        worked = true;
        let step = step(job, gate, active);
        let (rows, bytes) = active.received;
        match step {
            Ok(Step::More) => return true,
            Ok(Step::Done) => drop(active.read.out.send(Item::Done)),
            Ok(Step::Gone) => {}
            Err(fault) => fail(&active.read, fault.of(&job.source)),
        }
        job.log.received(rows, bytes);
        false
    });
    worked
}

fn step(job: &Job, gate: &Gate, active: &mut Active<'_>) -> Result<Step, Fault> {
    gate.enter(&active.read.cancelled, active.read.deadline);
    let mut done = false;
    while !done && active.decoder.rows() < job.batch_rows_max && active.decoder.bytes() < BATCH_BYTES {
        match active.rows.next() {
            Ok(Some(row)) => active.decoder.push(row)?,
            Ok(None) => done = true,
            Err(_) if active.read.cancelled.load(Ordering::Relaxed) => return Ok(Step::Gone),
            Err(error) if is_interrupted(&error) => return Err(Fault::Deadline),
            Err(error) => return Err(Fault::while_reading(error, &active.read.statement.checked)),
        }
    }
    if active.decoder.rows() > 0 {
        let batch = active.decoder.finish()?;
        active.received.0 += batch.num_rows();
        active.received.1 += batch.get_array_memory_size();
        active.demand -= 1;
        if active.read.out.send(Item::Batch(batch)).is_err() {
            return Ok(Step::Gone);
        }
    }
    Ok(if done { Step::Done } else { Step::More })
}

fn fail(read: &Read, error: ConnectorError) {
    // A consumer that is gone needs no error.
    let _ = read.out.send(Item::Failed(error));
}

fn remaining(until: Instant) -> std::time::Duration {
    until.saturating_duration_since(Instant::now())
}
