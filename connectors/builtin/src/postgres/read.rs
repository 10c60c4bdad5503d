//! One read: its statements, each on a connection in the query's snapshot, and how they end.
//!
//! Owns: what runs on which connection, when the read is complete, the end of a statement nobody wants any more.
//! Never: how a connection is found.
//!
//! Most reads are one statement. A large scan is one for each range of blocks, which connections take from a list
//! until it is empty; the read is complete once every one of them has ended well and its rows are handed on.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use caliber_connector_spi::{ConnectorError, ErrorClass, OutputColumn, RemoteQuery, RenderedQuery};
use futures::StreamExt;
use futures::future::join;
use parking_lot::Mutex;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::decoder::{Decoder, Forms, driver_row};
use super::dialect::UUID;
use super::failure::failure;
use super::ranges::{self, Blocks};
use super::reader::{Reading, Shared};
use super::session::Sessions;
use super::tap::Rows;
use super::wire::{self, Encoded};
use crate::batch::BatchBuilder;
use crate::outlet::{Outlet, Spare, Stop};
use crate::pool::Lease;

/// The longest a cancelled statement may take to end before its connection is given up.
const CANCELLED_MAX: Duration = Duration::from_secs(2);

/// How long a request to cancel is given before another.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// What a read runs: one text, once or once for each range.
pub struct Job {
    /// The statement.
    pub sql: String,
    /// The types of its parameters.
    pub types: Vec<Type>,
    /// Those that are the same for every range.
    parameters: Vec<Encoded>,
    ranges: Option<Vec<Blocks>>,
    schema: SchemaRef,
    /// For each column, whether it was described as a uuid: as such it comes, or as text.
    may_be_uuid: Vec<bool>,
}

impl Job {
    /// The read of `query`, whole or in `ranges`.
    pub fn new(
        source_name: &str,
        query: &RemoteQuery,
        rendered: RenderedQuery,
        ranges: Option<Vec<Blocks>>,
    ) -> Result<Self, ConnectorError> {
        let parameters: Option<Vec<Encoded>> = rendered.parameters.iter().map(wire::encode).collect();
        let parameters = parameters.ok_or_else(|| {
            let message = "a value of the query has no counterpart in PostgreSQL";
            ConnectorError::new(source_name, ErrorClass::Statement, message)
        })?;
        let mut types: Vec<Type> = rendered.parameters.iter().map(wire::parameter_type).collect();
        let sql = if ranges.is_some() {
            types.extend([Type::TID, Type::TID]);
            ranges::ranged(query, &rendered)
        } else {
            rendered.sql
        };
        let columns = query.root.columns();
        let is_uuid = |column: &OutputColumn| column.described().is_some_and(|it| it.native_type == UUID);
        Ok(Self {
            sql,
            types,
            parameters,
            ranges,
            schema: query.schema(),
            may_be_uuid: columns.iter().map(is_uuid).collect(),
        })
    }

    /// Whether `statement` still gives the types that were described.
    pub fn check(&self, source_name: &str, statement: &Statement) -> Result<(), ConnectorError> {
        let expected = self.schema.fields().iter().zip(&self.may_be_uuid);
        let drifted = expected
            .zip(statement.columns())
            .find(|((field, may_be_uuid), column)| {
                let is_uuid = **may_be_uuid && *column.type_() == Type::UUID;
                !is_uuid && !wire::is_expected(field.data_type(), column.type_())
            });
        match drifted {
            // Not which: a policy may read what the one who asked does not know of.
            Some(_) => {
                let message = "a table or column is no longer what it was when it was described";
                Err(ConnectorError::new(source_name, ErrorClass::Drift, message))
            }
            None => Ok(()),
        }
    }
}

/// A connection in the snapshot, with the read's statement prepared.
pub struct Part {
    /// The connection.
    pub lease: Lease<Sessions>,
    /// What runs on it.
    pub statement: Statement,
    /// What begins its transaction, sent together with the statement; `None` where that has begun.
    pub begin: Option<String>,
    /// Last, so that the connection is free or gone before the count says so.
    pub reading: Reading,
}

/// A read that has begun.
pub struct Read {
    shared: Arc<Shared>,
    job: Job,
    outlet: Outlet,
    /// The statements not begun; `None` is the one that reads all.
    todo: Mutex<VecDeque<Option<Blocks>>>,
    /// The statements that have not ended well, or whose rows are not handed on.
    left: AtomicUsize,
}

/// How the rows ended before their end.
enum Ended {
    Stopped(Stop),
    Failed(ConnectorError),
}

impl Read {
    /// Begins to read over `first`, and over whatever connections there are to spare where there is work for them.
    pub fn begin(shared: Arc<Shared>, mut job: Job, outlet: Outlet, builder: BatchBuilder, first: Part) {
        let todo: VecDeque<Option<Blocks>> = match job.ranges.take() {
            Some(ranges) => ranges.into_iter().map(Some).collect(),
            None => VecDeque::from([None]),
        };
        let read = Arc::new(Self {
            left: AtomicUsize::new(todo.len()),
            shared,
            job,
            outlet,
            todo: Mutex::new(todo),
        });
        let range = read.next();
        let others = (!read.todo.lock().is_empty()).then(|| builder.another());
        tokio::spawn(first.run(read.clone(), builder, range, None));
        if let Some(builder) = others {
            tokio::spawn(read.widen(builder));
        }
    }

    /// Adds connections while there are ranges for them.
    async fn widen(self: Arc<Self>, builder: BatchBuilder) {
        for _ in 1..ranges::parts_max() {
            let part = tokio::select! {
                biased;
                _ = self.outlet.stopped() => return,
                part = self.shared.spare(&self.job) => part,
            };
            let Some((part, spare)) = part else { return };
            // Taken only now, so that no range waits for a connection that does not come.
            let Some(range) = self.next() else {
                return self.shared.give_back(part.lease);
            };
            tokio::spawn(part.run(self.clone(), builder.another(), Some(range), Some(spare)));
        }
    }

    /// The next statement, which is as good as sent.
    fn next(&self) -> Option<Option<Blocks>> {
        let next = self.todo.lock().pop_front()?;
        self.shared.context.log.sent(&self.job.sql, self.job.types.len());
        Some(next)
    }

    /// `count` more statements ended well and their rows are handed on. The last of them completes the read.
    fn completed(&self, count: usize) {
        if self.left.fetch_sub(count, Ordering::AcqRel) == count {
            self.outlet.finish(Ok(()));
        }
    }
}

impl Part {
    async fn run(
        mut self,
        read: Arc<Read>,
        builder: BatchBuilder,
        first: Option<Option<Blocks>>,
        spare: Option<Spare>,
    ) {
        let shared = read.shared.clone();
        match self.statements(&read, builder, first, spare.is_some()).await {
            Ok(count) => {
                shared.give_back(self.lease);
                drop(self.reading);
                read.completed(count);
            }
            Err(Ended::Failed(error)) => {
                let is_lost = error.class == ErrorClass::Unavailable;
                read.outlet.finish(Err(error));
                if is_lost {
                    return shared.lost();
                }
                // Where it was a value that did not fit, the server still works on the rest.
                if let Some(session) = self.lease.connection().filter(|session| !session.client.is_closed()) {
                    session.cancel().await;
                }
            }
            Err(Ended::Stopped(stop)) => {
                let resumable = matches!(stop, Stop::Dropped);
                read.outlet.finish_stopped(&stop);
                if self.cancel().await && resumable {
                    shared.give_back(self.lease);
                }
            }
        }
    }

    /// Runs `next` and then what is left to run; how many statements that were. A spare connection ends early where
    /// somebody needs it more: the first one does what it leaves.
    async fn statements(
        &mut self,
        read: &Read,
        mut builder: BatchBuilder,
        mut next: Option<Option<Blocks>>,
        is_spare: bool,
    ) -> Result<usize, Ended> {
        let mut stopped = pin!(read.outlet.stopped());
        let mut count = 0;
        while let Some(blocks) = next.take() {
            let again = self.begin.is_some().then(|| builder.another());
            let ran = self.statement(read, blocks, builder, is_spare, stopped.as_mut()).await;
            builder = match (ran, again) {
                // Its peer had gone before the statement could begin.
                (Err(Ended::Failed(error)), Some(builder))
                    if error.class == ErrorClass::Unavailable && self.begin.is_some() && self.lease.is_reused() =>
                {
                    let replaced = read.shared.replaced(&read.job).await;
                    *self = replaced.map_err(Ended::Failed)?;
                    self.statement(read, blocks, builder, is_spare, stopped.as_mut())
                        .await?
                }
                (ran, _) => ran?,
            };
            count += 1;
            if !(is_spare && read.shared.wants_connections()) {
                next = read.next();
            }
        }
        send(builder.take(), &read.outlet, is_spare).await?;
        Ok(count)
    }

    /// Runs the statement once; the builder comes back with the rows that filled no batch.
    async fn statement(
        &mut self,
        read: &Read,
        blocks: Option<Blocks>,
        builder: BatchBuilder,
        is_spare: bool,
        mut stopped: Pin<&mut impl Future<Output = Stop>>,
    ) -> Result<BatchBuilder, Ended> {
        let failed = |error: &tokio_postgres::Error| Ended::Failed(failure(&read.shared.source_name, error));
        let lost = || Ended::Failed(read.shared.broken());
        let session = self.lease.connection().ok_or_else(lost)?;
        let bounds = blocks.map(Blocks::parameters);
        let parameters: Vec<&Encoded> = read.job.parameters.iter().chain(bounds.iter().flatten()).collect();
        let (client, begin) = (&session.client, self.begin.clone());
        let begun = async move {
            match begin {
                Some(text) => client.batch_execute(&text).await,
                None => Ok(()),
            }
        };
        // Polled in this order, so sent in this order.
        let asked = join(begun, client.query_raw(&self.statement, parameters));
        let rows = session.rows.clone();
        let (decoding, builder) = match &rows {
            Some(rows) => {
                let (decoder, batches) = Decoder::new(builder, Forms::of(&self.statement));
                rows.divert(decoder);
                (Some((rows, batches)), None)
            }
            None => (None, Some(builder)),
        };
        // The server answers only once it has something to send, so this too may have to be stopped.
        let (begun, answer) = tokio::select! {
            asked = asked => asked,
            stop = &mut stopped => return Err(Ended::Stopped(stop)),
        };
        begun.map_err(|error| failed(&error))?;
        self.begin = None;
        let mut answer = pin!(answer.map_err(|error| failed(&error))?);
        if let Some(mut builder) = builder {
            let forms = Forms::of(&self.statement);
            loop {
                let row = tokio::select! {
                    biased;
                    row = answer.next() => row,
                    stop = &mut stopped => return Err(Ended::Stopped(stop)),
                };
                let Some(row) = row else { return Ok(builder) };
                driver_row(&mut builder, &forms, &row.map_err(|error| failed(&error))?).map_err(Ended::Failed)?;
                if builder.is_full() {
                    send(builder.take(), &read.outlet, is_spare).await?;
                }
            }
        }
        let (rows, mut batches) = decoding.ok_or_else(lost)?;
        loop {
            tokio::select! {
                biased;
                Some(batch) = batches.next() => send(batch.map(Some), &read.outlet, is_spare).await?,
                row = answer.next() => match row {
                    None => break,
                    Some(Ok(_)) => return Err(lost()),
                    Some(Err(error)) => return Err(failed(&error)),
                },
                stop = &mut stopped => return Err(Ended::Stopped(stop)),
            }
        }
        let builder = rows.restore().map(Decoder::into_builder).ok_or_else(lost)?;
        // The sender is gone, so this ends: with the batch that was still on its way.
        while let Some(batch) = batches.next().await {
            send(batch.map(Some), &read.outlet, is_spare).await?;
        }
        Ok(builder)
    }

    /// Cancels the statement, waits for its end and goes back to the savepoint; whether the session is clean.
    async fn cancel(&mut self) -> bool {
        let Some(session) = self.lease.connection() else {
            return false;
        };
        let mut are_over = session.cancel().await;
        let clean = async {
            let mut repeated = false;
            let first = {
                // Meets the signal, if the statement was over before it came.
                let mut answer = pin!(session.client.simple_query("SELECT 1"));
                loop {
                    tokio::select! {
                        biased;
                        answer = &mut answer => break answer,
                        () = tokio::time::sleep(CANCEL_AGAIN) => {}
                    }
                    // A request that comes before the statement has begun cancels nothing.
                    repeated = true;
                    are_over &= session.cancel().await;
                }
            };
            let is_settled = match (first, repeated) {
                // One request, and what it met.
                (Err(error), false) => matches!(
                    error.code(),
                    Some(&SqlState::QUERY_CANCELED | &SqlState::IN_FAILED_SQL_TRANSACTION)
                ),
                (Ok(_), false) => are_over,
                // The last request may have come after the statement's end.
                (_, true) => {
                    let _ = session.client.simple_query("SELECT 1").await;
                    are_over
                }
            };
            // What the statement still sent has met its decoder by now.
            session.rows.as_ref().map(Rows::restore);
            let rollback = session.client.batch_execute("ROLLBACK TO SAVEPOINT caliber");
            is_settled && rollback.await.is_ok()
        };
        tokio::time::timeout(CANCELLED_MAX, clean).await.unwrap_or(false)
    }
}

async fn send(
    batch: Result<Option<RecordBatch>, ConnectorError>,
    outlet: &Outlet,
    is_spare: bool,
) -> Result<(), Ended> {
    match batch.map_err(Ended::Failed)? {
        Some(batch) => outlet.send_from(batch, is_spare).await.map_err(Ended::Stopped),
        None => Ok(()),
    }
}
