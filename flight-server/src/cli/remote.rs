//! A Flight SQL server as the command line sees it.
//!
//! Owns: connecting, logging in, asking. Never: prints.

use std::path::Path;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::CommandGetTables;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, FlightInfo, HandshakeRequest, IpcMessage};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use caliber_catalog::diagnostic::{Code, Diagnostic};
use futures::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use super::failure::Failure;
use super::rows::{Described, Summary};
use crate::status;

/// What ADBC accepts, so a server that suits ADBC suits us.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A session at a server.
pub struct Remote {
    client: FlightSqlServiceClient<Channel>,
}

/// The rows of a statement, from a server.
pub struct RemoteRows {
    schema: SchemaRef,
    decoder: FlightDataDecoder,
    summary: Option<Summary>,
    sql: String,
}

impl Remote {
    /// Connects to `uri` (`grpc://HOST:PORT`, `grpc+tls://HOST:PORT`) and logs in.
    pub async fn connect(
        uri: &str,
        authority: Option<&Path>,
        user: &str,
        password: SecretString,
    ) -> Result<Self, Failure> {
        let channel = endpoint(uri, authority)?.connect().await.map_err(|_| {
            let message = format!("no server answers at `{uri}`");
            Failure::connect(
                Diagnostic::error(Code::SRC001, message).help("is `caliber serve` running, and on this port?"),
            )
        })?;
        let inner = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut client = FlightSqlServiceClient::new_from_inner(inner);
        let token = log_in(&mut client, user, password)
            .await
            .map_err(|status| refused(uri, &status))?;
        client.set_token(token);
        Ok(Self { client })
    }

    /// Runs a statement.
    pub async fn run(&mut self, sql: &str) -> Result<RemoteRows, Failure> {
        let info = self
            .client
            .execute(sql.to_owned(), None)
            .await
            .map_err(|error| failed(error, sql))?;
        self.rows(info, sql).await
    }

    /// Every table the server shows this user.
    pub async fn tables(&mut self) -> Result<Vec<Described>, Failure> {
        let command = CommandGetTables {
            include_schema: true,
            ..Default::default()
        };
        let info = self
            .client
            .get_tables(command)
            .await
            .map_err(|error| failed(error, ""))?;
        let mut rows = self.rows(info, "").await?;
        let mut tables = Vec::new();
        while let Some(batch) = rows.next().await {
            tables.extend(described(&batch?).ok_or_else(unexpected)?);
        }
        Ok(tables)
    }

    /// Ends the session; a server that is gone has ended it already.
    pub async fn close(mut self) {
        let _ = self.client.do_action(Action::new("CloseSession", Vec::new())).await;
    }

    async fn rows(&mut self, info: FlightInfo, sql: &str) -> Result<RemoteRows, Failure> {
        let ticket = info
            .endpoint
            .first()
            .and_then(|endpoint| endpoint.ticket.clone())
            .ok_or_else(unexpected)?;
        let schema = info.try_decode_schema().map_err(|_| unexpected())?;
        let stream = self.client.do_get(ticket).await.map_err(|error| failed(error, sql))?;
        Ok(RemoteRows {
            schema: schema.into(),
            decoder: stream.into_inner(),
            summary: None,
            sql: sql.to_owned(),
        })
    }
}

impl RemoteRows {
    /// The result's columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What the server said of the answer, once the rows have ended.
    pub fn summary(&self) -> Option<Summary> {
        self.summary.clone()
    }

    /// The next batch with rows.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, Failure>> {
        loop {
            let message = match self.decoder.next().await? {
                Ok(message) => message,
                Err(error) => return Some(Err(failed(error, &self.sql))),
            };
            if !message.inner.app_metadata.is_empty() {
                self.summary = Summary::from_json(&message.inner.app_metadata).or(self.summary.take());
            }
            match message.payload {
                DecodedPayload::RecordBatch(batch) if batch.num_rows() > 0 => return Some(Ok(batch)),
                _ => {}
            }
        }
    }
}

fn endpoint(uri: &str, authority: Option<&Path>) -> Result<Endpoint, Failure> {
    let unknown = || Failure::Usage(format!("`{uri}` is not an address like grpc://127.0.0.1:50051"));
    let (scheme, place) = uri.split_once("://").ok_or_else(unknown)?;
    let tls = match scheme {
        "grpc" | "grpc+tcp" => false,
        "grpc+tls" | "grpcs" => true,
        _ => return Err(unknown()),
    };
    let address = format!("{}://{place}", if tls { "https" } else { "http" });
    let endpoint = Endpoint::from_shared(address)
        .map_err(|_| unknown())?
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true);
    if !tls {
        return Ok(endpoint);
    }
    let authority = authority.ok_or_else(|| {
        Failure::Usage("`grpc+tls://` needs `--ca FILE`, the authority that signed the server's certificate".to_owned())
    })?;
    let certificate = Certificate::from_pem(std::fs::read(authority)?);
    let unusable = |_| {
        Failure::Usage(format!(
            "`{}` holds no certificate that can be used",
            authority.display()
        ))
    };
    endpoint
        .tls_config(ClientTlsConfig::new().ca_certificate(certificate))
        .map_err(unusable)
}

/// Why a log-in failed; what does not speak Flight is no server of ours.
fn refused(uri: &str, status: &Status) -> Failure {
    if matches!(
        status.code(),
        tonic::Code::Internal | tonic::Code::Unknown | tonic::Code::Unavailable
    ) && status.details().is_empty()
    {
        let message = format!("what answers at `{uri}` does not speak Flight SQL, or speaks it over TLS");
        return Failure::connect(
            Diagnostic::error(Code::SRC001, message).help("a server with TLS has a `grpc+tls://` address"),
        );
    }
    Failure::connect(status::diagnostic(status, ""))
}

async fn log_in(
    client: &mut FlightSqlServiceClient<Channel>,
    user: &str,
    password: SecretString,
) -> Result<String, Status> {
    let credentials = BASE64_STANDARD.encode(format!("{user}:{}", password.expose_secret()));
    let mut request = Request::new(futures::stream::iter([HandshakeRequest::default()]));
    let header = format!("Basic {credentials}").parse().map_err(|_| status::internal())?;
    request.metadata_mut().insert("authorization", header);
    let response = client.inner_mut().handshake(request).await?;
    let header = response
        .metadata()
        .get("authorization")
        .and_then(|header| header.to_str().ok());
    let token = header
        .and_then(|header| header.strip_prefix("Bearer "))
        .map(str::to_owned);
    token.ok_or_else(|| Status::unauthenticated("the server gave no token"))
}

fn described(batch: &RecordBatch) -> Option<Vec<Described>> {
    use arrow::array::AsArray;
    let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>();
    let (schema, table, kind) = (text("db_schema_name")?, text("table_name")?, text("table_type")?);
    let columns = batch.column_by_name("table_schema")?.as_binary_opt::<i32>()?;
    let rows = (0..batch.num_rows()).map(|row| {
        let columns = Schema::try_from(IpcMessage(columns.value(row).to_vec().into())).ok()?;
        Some(Described {
            schema: schema.value(row).to_owned(),
            table: table.value(row).to_owned(),
            kind: kind.value(row).to_owned(),
            comment: None,
            columns: columns.into(),
        })
    });
    rows.collect()
}

fn failed(error: FlightError, sql: &str) -> Failure {
    match error {
        FlightError::Tonic(status) => Failure::of(status::diagnostic(&status, sql)),
        _ => unexpected(),
    }
}

fn unexpected() -> Failure {
    Failure::of(Diagnostic::error(
        Code::INT001,
        "the server's answer cannot be understood",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flight_addresses_are_taken() {
        assert_eq!(
            endpoint("grpc://127.0.0.1:50051", None).unwrap().uri().to_string(),
            "http://127.0.0.1:50051/"
        );
        for wrong in ["127.0.0.1:50051", "http://127.0.0.1:1", "grpc://", "grpc+tls://host:1"] {
            assert!(matches!(endpoint(wrong, None), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
