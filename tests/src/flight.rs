//! A Flight SQL client in Rust, one log-in each.
//!
//! Owns: the calls of a client that checks what it is told (schema of FlightInfo against the stream's). Never: retries.

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::Channel;

use crate::rows;

/// One principal's connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// For calls that have no method here.
    pub inner: FlightSqlServiceClient<Channel>,
}

/// What the server said no with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub grpc: tonic::Code,
    /// `CODE: first line`, then notes and help.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Caliber's code: `SQL012`.
    pub fn code(&self) -> &str {
        self.message.split(':').next().unwrap_or_default()
    }
}

impl From<FlightError> for Refusal {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => Self {
                grpc: status.code(),
                message: status.message().to_owned(),
            },
            other => Self {
                grpc: tonic::Code::Unknown,
                message: other.to_string(),
            },
        }
    }
}

impl Client {
    /// A connection that has not logged in.
    pub async fn anonymous(uri: &str) -> Result<Self> {
        let address = uri.replace("grpc://", "http://");
        let channel = Channel::from_shared(address)?
            .connect()
            .await
            .context("cannot connect")?;
        Ok(Self {
            inner: FlightSqlServiceClient::new(channel),
        })
    }

    /// A connection as `user`, whose password is the user's name.
    pub async fn connect(uri: &str, user: &str) -> Result<Self> {
        let mut client = Self::anonymous(uri).await?;
        client
            .inner
            .handshake(user, user)
            .await
            .with_context(|| format!("{user} cannot log in"))?;
        Ok(client)
    }

    /// Runs a statement; gives the schema and rows, or what the server refused with.
    pub async fn query(&self, sql: &str) -> Result<std::result::Result<Answer, Refusal>> {
        let mut client = self.inner.clone();
        match client.execute(sql.to_owned(), None).await {
            Ok(info) => self.fetch(info).await,
            Err(error) => Ok(Err(error.into())),
        }
    }

    /// The rows of a statement that must succeed.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let answer = self.query(sql).await?.with_context(|| sql.to_owned())?;
        rows::texts(&answer.batches)
    }

    /// The refusal of a statement that must fail.
    pub async fn refused(&self, sql: &str) -> Result<Refusal> {
        match self.query(sql).await? {
            Err(refusal) => Ok(refusal),
            Ok(answer) => anyhow::bail!("{sql}: was answered with {:?}", rows::texts(&answer.batches)?),
        }
    }

    /// Redeems every ticket of `info`.
    pub async fn fetch(&self, info: FlightInfo) -> Result<std::result::Result<Answer, Refusal>> {
        let told = info.clone().try_decode_schema().context("FlightInfo has no schema")?;
        let mut client = self.inner.clone();
        let mut batches = Vec::new();
        for endpoint in info.endpoint {
            ensure!(endpoint.location.is_empty(), "an endpoint names a location");
            let ticket = endpoint.ticket.context("an endpoint without a ticket")?;
            let stream = match client.do_get(ticket).await {
                Ok(stream) => stream,
                Err(error) => return Ok(Err(error.into())),
            };
            match stream.try_collect::<Vec<_>>().await {
                Ok(found) => batches.extend(found),
                Err(error) => return Ok(Err(error.into())),
            }
        }
        for batch in &batches {
            ensure!(
                same_columns(&batch.schema(), &told),
                "FlightInfo told {told:?}, the stream has {:?}",
                batch.schema()
            );
        }
        Ok(Ok(Answer {
            schema: told.into(),
            batches,
        }))
    }
}

/// A complete result.
#[derive(Debug)]
pub struct Answer {
    /// As FlightInfo told it, and every batch has it.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// Name, type and nullability; metadata is free.
fn same_columns(left: &Schema, right: &Schema) -> bool {
    let column =
        |field: &arrow::datatypes::FieldRef| (field.name().clone(), field.data_type().clone(), field.is_nullable());
    left.fields().iter().map(column).eq(right.fields().iter().map(column))
}
