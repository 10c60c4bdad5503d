//! Statements: planned for GetFlightInfo, run for DoGet.
//!
//! Owns: what a ticket promises and that the stream keeps it; the end of a stream. Never: knows how a statement is
//! planned or governed.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::datatypes::SchemaRef;
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use caliber_catalog::diagnostic::Code;
use caliber_engine::{EngineError, Prepared, QueryStream, Receipt};
use futures::stream::{BoxStream, StreamExt};
use prost::Message;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

use crate::encode::BatchEncoder;
use crate::running::{self, Place, Stop, Work};
use crate::state::{Caller, ServerState};
use crate::ticket::{Claims, Kind};
use crate::{prepared, status};

/// The messages of one DoGet.
pub type MessageStream = BoxStream<'static, Result<FlightData, Status>>;

/// Messages encoded ahead of the client, at most.
const MESSAGES_AHEAD: usize = 2;

/// Plans a statement and promises its result: schema, one endpoint without location, a sealed ticket.
pub async fn flight_info(
    state: &ServerState,
    caller: &Caller,
    sql: String,
    parameters: Option<Bytes>,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let planned = plan(state, caller, &sql).await?;
    prepared::check_parameters(&planned, parameters.as_ref())?;
    let claims = Claims {
        parameters,
        schema_digest: digest_of(&planned.schema),
        ..claims(state, caller, sql)?
    };
    let ticket = TicketStatementQuery {
        statement_handle: state.sealer.seal(Kind::Ticket, claims, SystemTime::now())?,
    };
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec()));
    let info = FlightInfo::new().with_descriptor(descriptor).with_endpoint(endpoint);
    info.try_with_schema(&planned.schema).map_err(|_| status::internal())
}

/// Plans a statement within the caller's bounds.
pub async fn plan(state: &ServerState, caller: &Caller, sql: &str) -> Result<Prepared, Status> {
    state.recordable()?;
    if let Some(prepared) = caller.session.prepared(sql) {
        return Ok(prepared);
    }
    let place = state.running.start(caller.name(), Work::Plan, "");
    let mut place = match place {
        Ok(place) => place,
        Err(status) => return Err(too_many(caller, sql, status).await),
    };
    let (session, sql) = (caller.session.clone(), sql.to_owned());
    unless_cancelled(
        &mut place,
        state.workers.run(async move { session.prepare(&sql).await }),
    )
    .await
}

/// Records that a statement found no place (LIM005), and gives what its caller is told.
async fn too_many(caller: &Caller, sql: &str, refused: Status) -> Status {
    let error = EngineError::new(Code::LIM005, Code::LIM005.title());
    match caller.session.refused(sql, error).await {
        error if error.code == Code::LIM005 => refused,
        error => status::of_engine(&error, None),
    }
}

/// What every ticket and handle of `caller` says. Fails only where the system gives no randomness.
pub fn claims(state: &ServerState, caller: &Caller, sql: String) -> Result<Claims, Status> {
    Ok(Claims {
        sql,
        parameters: None,
        principal: caller.name().to_owned(),
        default_schema: caller.client.default_schema.lock().clone(),
        snapshot: state.engine.snapshot().version.clone(),
        schema_digest: Bytes::new(),
        statement_id: statement_id()?,
        expires: 0,
    })
}

/// Runs what a ticket or handle says. Planned again, on the newest snapshot, which then holds to the end (INV-7);
/// if the result no longer has the promised schema, `SRV004`.
pub async fn run(state: &ServerState, caller: &Caller, claims: Claims) -> Result<MessageStream, Status> {
    let place = state.running.start(caller.name(), Work::Run, &claims.statement_id);
    let mut place = match place {
        Ok(place) => place,
        Err(status) => return Err(too_many(caller, &claims.sql, status).await),
    };
    let session = state.session_of(&caller.client, caller.address.clone(), claims.default_schema.as_deref())?;
    let parameters = claims.parameters.as_ref().map(prepared::read_parameters).transpose()?;
    let sql = claims.sql;
    let (started, has_started) = oneshot::channel();
    let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
    let bounds = state.bounds;
    let response = Delivered {
        receiver,
        stop: place.stop(),
        last: Instant::now() + bounds.total_max,
    };
    let mut stop = place.stop();
    let client = Arc::clone(&caller.client);
    // One task plans, runs and delivers, so that a client that stops reading still meets a deadline, and one that goes away
    // ends the statement at once (INV-10).
    state.workers.spawn(async move {
        let begun = tokio::select! {
            biased;
            () = sender.closed() => return,
            () = place.cancelled() => Err(running::cancelled()),
            begun = session.execute(&sql, parameters) => begun.map_err(|error| status::of_engine(&error, None)),
        };
        let begun = begun.and_then(|stream| promised(stream, &claims.schema_digest));
        let stream = match begun {
            Ok(stream) => stream,
            Err(status) => {
                // Whoever waited may be gone.
                let _ = started.send(Err(status));
                return;
            }
        };
        let _ = started.send(Ok(()));
        let outcome = tokio::select! {
            biased;
            () = sender.closed() => return,
            () = place.cancelled() => Err(running::cancelled()),
            outcome = send_all(stream, &sender, bounds.stall_max) => outcome,
        };
        drop((place, client));
        let last = outcome.map_or_else(Delivery::Failed, |()| Delivery::End);
        // A client that does not read even this is gone; its stream ends with an error all the same.
        let _ = tokio::time::timeout(bounds.stall_max, sender.send(last)).await;
    });
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(running::cancelled()),
        // Nothing said is a panic.
        begun = has_started => begun.unwrap_or_else(|_| Err(status::internal())),
    }?;
    Ok(messages(response))
}

/// The stream, if its result has the columns that were promised.
fn promised(stream: QueryStream, schema_digest: &Bytes) -> Result<QueryStream, Status> {
    if schema_digest.is_empty() || *schema_digest == digest_of(&stream.schema()) {
        return Ok(stream);
    }
    let message = "the result's columns changed since the statement was planned";
    Err(status::of_code(Code::SRV004, message, Some("run the statement again")))
}

/// The statement a ticket stands for, if it is the caller's.
pub fn open_ticket(state: &ServerState, caller: &Caller, ticket: &[u8]) -> Result<Claims, Status> {
    state
        .sealer
        .open(Kind::Ticket, ticket, caller.name(), SystemTime::now())
}

/// Ends the statement that `info` promised. Gives whether it ran.
pub fn cancel(state: &ServerState, caller: &Caller, info: &FlightInfo) -> Result<bool, Status> {
    let mut stopped = false;
    for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
        let any = arrow_flight::sql::Any::decode(&*ticket.ticket)
            .map_err(|_| status::malformed("the ticket cannot be decoded"))?;
        let query = any.unpack::<TicketStatementQuery>().ok().flatten();
        let query = query.ok_or_else(|| status::malformed("the ticket is not one of a statement"))?;
        let claims = open_ticket(state, caller, &query.statement_handle)?;
        stopped |= state.running.cancel(caller.name(), &claims.statement_id);
    }
    Ok(stopped)
}

/// The result of work at the workers; `None` of theirs is a panic.
async fn unless_cancelled<T>(
    place: &mut Place,
    work: impl Future<Output = Option<Result<T, EngineError>>>,
) -> Result<T, Status> {
    tokio::select! {
        biased;
        () = place.cancelled() => Err(running::cancelled()),
        outcome = work => outcome.ok_or_else(status::internal)?.map_err(|error| status::of_engine(&error, None)),
    }
}

/// What the delivering task hands to the response. Only `End` ends it well (INV-8).
enum Delivery {
    Message(Box<FlightData>),
    Failed(Status),
    End,
}

/// What the client reads.
fn messages(response: Delivered) -> MessageStream {
    futures::stream::unfold(Some(response), |response| async move {
        let mut response = response?;
        match response.next().await {
            Delivery::Message(message) => Some((Ok(*message), Some(response))),
            Delivery::Failed(status) => Some((Err(status), None)),
            Delivery::End => None,
        }
    })
    .boxed()
}

/// The client's end of a statement. An operator may compute for long before its task can be told to stop; the client
/// hears of a cancel and of the deadline at once.
struct Delivered {
    receiver: mpsc::Receiver<Delivery>,
    stop: Stop,
    last: Instant,
}

impl Delivered {
    async fn next(&mut self) -> Delivery {
        tokio::select! {
            biased;
            delivery = self.receiver.recv() => delivery.unwrap_or_else(|| Delivery::Failed(status::internal())),
            () = self.stop.cancelled() => Delivery::Failed(running::cancelled()),
            () = tokio::time::sleep_until(self.last) => {
                Delivery::Failed(status::of_code(Code::LIM004, "the statement took too long", None))
            }
        }
    }
}

async fn send_all(mut stream: QueryStream, sender: &mpsc::Sender<Delivery>, stall_max: Duration) -> Result<(), Status> {
    let mut encoder = BatchEncoder::new(stream.schema());
    send(sender, encoder.schema_message(), stall_max).await?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| status::of_engine(&error, Some(stream.query_id())))?;
        for message in encoder.encode(&batch)? {
            send(sender, message, stall_max).await?;
        }
    }
    let receipt = receipt_json(&stream.receipt());
    send(sender, encoder.last_message(receipt)?, stall_max).await
}

async fn send(sender: &mpsc::Sender<Delivery>, message: FlightData, stall_max: Duration) -> Result<(), Status> {
    match tokio::time::timeout(stall_max, sender.send(Delivery::Message(Box::new(message)))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(running::cancelled()),
        Err(_) => {
            let message = format!("the client read nothing for {} s", stall_max.as_secs());
            Err(status::of_code(
                Code::LIM004,
                &message,
                Some("read results as they come"),
            ))
        }
    }
}

/// What of a receipt may leave: rows and bytes read at a source would count rows that policy hides.
fn receipt_json(receipt: &Receipt) -> Bytes {
    let sources = receipt
        .sources
        .iter()
        .map(|source| source.source.as_str())
        .collect::<Vec<_>>();
    let metrics = receipt.metrics.iter().map(|used| {
        serde_json::json!({
            "entity": used.entity,
            "metric": used.metric,
            "version": used.version,
            "definition": used.definition,
        })
    });
    let json = serde_json::json!({
        "query_id": receipt.query_id,
        "rows": receipt.rows,
        "elapsed_ms": u64::try_from(receipt.elapsed.as_millis()).unwrap_or(u64::MAX),
        "sources": sources,
        "masked_columns": receipt.masked_columns,
        "metrics": metrics.collect::<Vec<_>>(),
        "withheld": receipt.withheld,
    });
    json.to_string().into()
}

fn digest_of(schema: &SchemaRef) -> Bytes {
    let encoded = prepared::schema_bytes(schema);
    Bytes::copy_from_slice(digest(&SHA256, &encoded).as_ref())
}

fn statement_id() -> Result<String, Status> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| status::internal())?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random))
}
