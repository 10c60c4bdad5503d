//! Everything that a client can observe of a call but its time, as bytes.
//!
//! Owns: the calls at the lowest level, and what is random or a time and therefore left out. Never: judges.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::utils::flight_data_to_batches;
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo, Ticket};
use bytes::Bytes;
use caliber_engine::{EngineError, Session};
use futures::TryStreamExt;
use prost::Message;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::rows;

/// The part that holds an error's details.
const DETAILS: &str = "error's details";

/// What was observed, part by part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    parts: Vec<(&'static str, Vec<u8>)>,
    /// Whether the call failed.
    pub failed: bool,
    /// Rows that came.
    pub rows: usize,
}

impl Observation {
    fn add(&mut self, part: &'static str, bytes: impl Into<Vec<u8>>) {
        self.parts.push((part, bytes.into()));
    }

    /// Every part.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.parts.iter().map(|(name, bytes)| (*name, bytes.as_slice()))
    }

    /// The same, with `name` and `never`, which are as long, both as so many dashes: what differs then is not the name.
    pub fn with_name(&self, name: &str, never: &str) -> Self {
        let mut same = self.clone();
        for (_, bytes) in &mut same.parts {
            for name in [name, never] {
                let mut at = 0;
                while at + name.len() <= bytes.len() {
                    let end = at + name.len();
                    if bytes.get(at..end) == Some(name.as_bytes()) {
                        bytes.splice(at..end, vec![b'-'; name.len()]);
                    }
                    at += 1;
                }
            }
        }
        same
    }

    /// The same, with the details' bytes in order: their fields come in a random one.
    fn canonical(&self) -> Self {
        let mut same = self.clone();
        let details = same.parts.iter_mut().filter(|(name, _)| *name == DETAILS);
        details.for_each(|(_, bytes)| bytes.sort_unstable());
        same
    }

    /// The first part in which two observations differ, and both texts of it.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (one, other) = (self.canonical(), other.canonical());
        if one == other {
            return None;
        }
        let at = (0..one.parts.len().max(other.parts.len())).find(|at| one.parts.get(*at) != other.parts.get(*at));
        let shown = |observed: &Self| {
            let part = at.and_then(|at| observed.parts.get(at));
            part.map_or("nothing".to_owned(), |(name, bytes)| {
                let text: String = String::from_utf8_lossy(bytes).chars().take(2_000).collect();
                format!("{name}: {text}")
            })
        };
        Some(format!("  one   {}\n  other {}", shown(&one), shown(&other)))
    }
}

/// A statement's parameters, or that it has none.
pub type Parameters = Option<RecordBatch>;

/// One user's connection, without a client library's interpretation.
#[derive(Clone, Debug)]
pub struct Observer {
    inner: FlightServiceClient<Channel>,
    sql: FlightSqlServiceClient<Channel>,
    token: String,
}

impl Observer {
    /// Logs in.
    pub async fn connect(uri: &str, user: &str, password: &str) -> Result<Self> {
        let address = uri.replace("grpc://", "http://");
        let channel = Channel::from_shared(address)?
            .connect()
            .await
            .context("cannot connect")?;
        let mut sql = FlightSqlServiceClient::new(channel.clone());
        sql.handshake(user, password)
            .await
            .with_context(|| format!("{user} cannot log in"))?;
        let token = sql.token().cloned().context("the handshake gave no token")?;
        Ok(Self {
            inner: FlightServiceClient::new(channel).max_decoding_message_size(64 << 20),
            sql,
            token,
        })
    }

    fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {}", self.token).parse()?);
        Ok(request)
    }

    /// A statement: FlightInfo, then every message of its stream.
    pub async fn statement(&self, sql: &str, ordered: bool) -> Result<Observation> {
        let command = CommandStatementQuery {
            query: sql.to_owned(),
            transaction_id: None,
        };
        self.command(command.as_any().encode_to_vec().into(), ordered).await
    }

    /// A command: FlightInfo, then every message of its stream.
    pub async fn command(&self, command: Bytes, ordered: bool) -> Result<Observation> {
        let mut seen = Observation::default();
        let request = self.request(FlightDescriptor::new_cmd(command.clone()))?;
        match self.inner.clone().get_flight_info(request).await {
            Ok(answer) => {
                seen.add("headers", headers(answer.metadata()));
                self.redeem(answer.into_inner(), ordered, &mut seen).await?;
            }
            Err(status) => failed(&mut seen, &status),
        }
        // GetSchema says the same of the same command.
        let request = self.request(FlightDescriptor::new_cmd(command))?;
        match self.inner.clone().get_schema(request).await {
            Ok(answer) => seen.add("schema", answer.into_inner().schema.to_vec()),
            Err(status) => failed(&mut seen, &status),
        }
        Ok(seen)
    }

    /// A prepared statement: both schemas, then FlightInfo with `parameters` bound, then its stream.
    pub async fn prepared(&self, sql: &str, parameters: Parameters, ordered: bool) -> Result<Observation> {
        let mut seen = Observation::default();
        let mut prepared = match self.sql.clone().prepare(sql.to_owned(), None).await {
            Ok(prepared) => prepared,
            Err(error) => {
                failed(&mut seen, &of_flight(error)?);
                return Ok(seen);
            }
        };
        seen.add("dataset schema", format!("{:?}", prepared.dataset_schema()?));
        seen.add("parameter schema", format!("{:?}", prepared.parameter_schema()?));
        if let Some(parameters) = parameters {
            prepared.set_parameters(parameters)?;
        }
        match prepared.execute().await {
            Ok(mut info) => {
                // It repeats the handle, which is sealed with a random number.
                let descriptor = info
                    .flight_descriptor
                    .take()
                    .context("FlightInfo without a descriptor")?;
                seen.add("handle's length", descriptor.cmd.len().to_string());
                self.redeem(info, ordered, &mut seen).await?;
            }
            Err(error) => failed(&mut seen, &of_flight(error)?),
        }
        Ok(seen)
    }

    async fn redeem(&self, mut info: FlightInfo, ordered: bool, seen: &mut Observation) -> Result<()> {
        let mut tickets = Vec::new();
        for endpoint in &mut info.endpoint {
            let ticket = endpoint.ticket.take().context("an endpoint without a ticket")?;
            seen.add("ticket's length", ticket.ticket.len().to_string());
            tickets.push(ticket);
        }
        seen.add("FlightInfo", info.encode_to_vec());
        for ticket in tickets {
            self.stream(ticket, ordered, seen).await?;
        }
        Ok(())
    }

    async fn stream(&self, ticket: Ticket, ordered: bool, seen: &mut Observation) -> Result<()> {
        let answer = match self.inner.clone().do_get(self.request(ticket)?).await {
            Ok(answer) => answer,
            Err(status) => {
                failed(seen, &status);
                return Ok(());
            }
        };
        seen.add("headers of the stream", headers(answer.metadata()));
        let mut stream = answer.into_inner();
        let mut messages = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(status) => {
                    // Rows before an error are a part of what a client sees, but how many is a matter of time.
                    failed(seen, &status);
                    return Ok(());
                }
            }
        }
        if let Ok(Some(trailers)) = stream.trailers().await {
            seen.add("trailers", headers(&trailers));
        }
        self::messages(&messages, ordered, seen)
    }
}

/// The messages of a stream: byte for byte where the order is total, else the rows as a multiset.
fn messages(messages: &[FlightData], ordered: bool, seen: &mut Observation) -> Result<()> {
    for message in messages {
        if !message.app_metadata.is_empty() {
            seen.add("app_metadata", receipt(&message.app_metadata)?);
        }
        if ordered {
            seen.add("message header", message.data_header.to_vec());
            seen.add("message body", message.data_body.to_vec());
        }
    }
    let batches = flight_data_to_batches(messages)?;
    let mut texts = rows::texts(&batches)?;
    if !ordered {
        texts.sort();
    }
    seen.rows += texts.len();
    seen.add("rows", format!("{texts:?}"));
    Ok(())
}

/// A receipt without the query's random name and its time.
fn receipt(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut json: serde_json::Value = serde_json::from_slice(bytes).context("app_metadata is no JSON")?;
    let fields = json.as_object_mut().context("app_metadata is no object")?;
    for random in ["query_id", "elapsed_ms"] {
        fields
            .shift_remove(random)
            .context("the receipt has no query_id or elapsed_ms")?;
    }
    Ok(json.to_string().into_bytes())
}

/// Headers and trailers but the day's time.
fn headers(metadata: &MetadataMap) -> String {
    let mut all = BTreeMap::new();
    for entry in metadata.iter() {
        match entry {
            KeyAndValueRef::Ascii(key, value) => all.insert(key.as_str().to_owned(), format!("{value:?}")),
            KeyAndValueRef::Binary(key, value) => all.insert(key.as_str().to_owned(), format!("{value:?}")),
        };
    }
    all.remove("date");
    format!("{all:?}")
}

fn failed(seen: &mut Observation, status: &Status) {
    seen.failed = true;
    seen.add("error", format!("{:?}: {}", status.code(), status.message()));
    let said = caliber_server::status::diagnostic(status, &" ".repeat(4096));
    seen.add(
        "error as a client shows it",
        format!(
            "{} {} {:?} {:?} {:?}",
            said.code.as_str(),
            said.message,
            said.label,
            said.help,
            said.place.map(|place| place.range)
        ),
    );
    seen.add(DETAILS, without_query_id(status.details()));
    let mut rest = status.metadata().clone();
    rest.remove_bin("grpc-status-details-bin");
    rest.remove("grpc-message");
    seen.add("error's headers", headers(&rest));
}

/// The details, with each run of 32 hexadecimal digits (a query's name) replaced.
fn without_query_id(details: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(details.len());
    let mut at = 0;
    while let Some(byte) = details.get(at) {
        let is_id = details
            .get(at..at + 32)
            .is_some_and(|part| part.iter().all(u8::is_ascii_hexdigit));
        if is_id {
            shown.extend_from_slice(b"<query id>");
            at += 32;
        } else {
            shown.push(*byte);
            at += 1;
        }
    }
    shown
}

fn of_flight(error: arrow_flight::error::FlightError) -> Result<Status> {
    match error {
        arrow_flight::error::FlightError::Tonic(status) => Ok(*status),
        arrow_flight::error::FlightError::Arrow(arrow::error::ArrowError::IpcError(text)) => {
            // The client library keeps a status as text only.
            Ok(Status::unknown(text))
        }
        other => bail!("the client failed: {other}"),
    }
}

/// A statement through a session in this process: schemas, rows, receipt, explanation or error.
pub async fn session(session: &Session, sql: &str, parameters: Parameters, ordered: bool) -> Result<Observation> {
    let mut seen = Observation::default();
    match session.prepare(sql).await {
        Ok(prepared) => seen.add("prepared", format!("{prepared:?}")),
        Err(error) => engine_failed(&mut seen, &error),
    }
    match session.explain(sql, false).await {
        Ok(text) => seen.add("explained", text),
        Err(error) => engine_failed(&mut seen, &error),
    }
    seen.failed = false;
    let mut stream = match session.execute(sql, parameters).await {
        Ok(stream) => stream,
        Err(error) => {
            engine_failed(&mut seen, &error);
            return Ok(seen);
        }
    };
    let mut batches = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(Some(batch)) => batches.push(batch),
            Ok(None) => break,
            Err(error) => {
                engine_failed(&mut seen, &error);
                return Ok(seen);
            }
        }
    }
    let receipt = stream.receipt();
    let sources: Vec<&String> = receipt.sources.iter().map(|source| &source.source).collect();
    seen.add(
        "receipt",
        format!("{} rows, {} masked, {sources:?}", receipt.rows, receipt.masked_columns),
    );
    if ordered {
        let mut writer = StreamWriter::try_new(Vec::new(), &stream.schema())?;
        for batch in &batches {
            writer.write(batch)?;
        }
        seen.add("batches", writer.into_inner()?);
    }
    let mut texts = rows::texts(&batches)?;
    if !ordered {
        texts.sort();
    }
    seen.rows = texts.len();
    seen.add("rows", format!("{texts:?}"));
    Ok(seen)
}

fn engine_failed(seen: &mut Observation, error: &EngineError) {
    seen.failed = true;
    seen.add(
        "error",
        format!(
            "{}: {} at {:?}, {:?}, {:?}",
            error.code.as_str(),
            error.message,
            error.place.as_ref().map(|place| place.range.clone()),
            error.label,
            error.help
        ),
    );
}
