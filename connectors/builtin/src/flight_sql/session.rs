//! A session at the server: its channel, its token, the calls that a read is made of.
//!
//! Owns: log-in, the order of calls, their messages. Never: rows, how often something is tried.
//!
//! Each connection of the pool is a channel of its own with a session of its own, closed when the connection is dropped.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, CommandPreparedStatementQuery,
    CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, Ticket};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use caliber_connector_spi::{ConnectorError, ErrorClass, SourceSpec};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::failure::{connect_failure, failure};
use super::options::{Login, Password};
use crate::password;
use crate::pool::Connect;

/// The largest message taken from a server. A Caliber's are below 2 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The longest a log-in may take.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest the end of a session is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How sessions of one source begin.
pub(super) struct Sessions {
    source_name: String,
    endpoint: Endpoint,
    login: Login,
}

/// An open session.
pub(super) struct Session {
    client: FlightServiceClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    /// Whether the session is ours to close.
    is_own: bool,
    runtime: tokio::runtime::Handle,
}

impl Sessions {
    /// Sessions at `endpoint`.
    pub(super) fn new(source: &SourceSpec, endpoint: Endpoint, login: Login) -> Self {
        Self {
            source_name: source.name.clone(),
            endpoint,
            login,
        }
    }

    fn error(&self, class: ErrorClass, message: &str) -> ConnectorError {
        ConnectorError::new(&self.source_name, class, message)
    }

    fn header(&self, kind: &str, secret: &str) -> Result<MetadataValue<Ascii>, ConnectorError> {
        let value = MetadataValue::try_from(format!("{kind} {secret}"));
        let mut value = value.map_err(|_| self.error(ErrorClass::Options, "the token is no text of a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Basic log-in: the token of the answer is the session's.
    async fn log_in(
        &self,
        client: &mut FlightServiceClient<Channel>,
        user: &str,
        password: &SecretString,
    ) -> Result<MetadataValue<Ascii>, ConnectorError> {
        let both = SecretString::from(format!("{user}:{}", password.expose_secret()));
        let basic = self.header("Basic", &BASE64_STANDARD.encode(both.expose_secret()))?;
        let mut request = Request::new(futures::stream::iter([HandshakeRequest {
            protocol_version: 0,
            payload: Bytes::new(),
        }]));
        request.metadata_mut().insert("authorization", basic);
        let answer = client.handshake(request).await;
        let answer = answer.map_err(|status| failure(&self.source_name, &status))?;
        let mut token = answer
            .metadata()
            .get("authorization")
            .cloned()
            .ok_or_else(|| self.error(ErrorClass::Data, "it let the account in and gave no token"))?;
        token.set_sensitive(true);
        Ok(token)
    }
}

#[async_trait]
impl Connect for Sessions {
    type Connection = Session;

    async fn connect(&self) -> Result<Session, ConnectorError> {
        let channel = self.endpoint.connect().await;
        let channel = channel.map_err(|error| connect_failure(&self.source_name, &error))?;
        let mut client = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let authorization = match &self.login {
            Login::Nobody => None,
            Login::Token(token) => Some(self.header("Bearer", token.expose_secret())?),
            Login::User(user, password) => {
                let password = match password {
                    Password::Given(password) => password.clone(),
                    Password::InFile(path) => password::read(&self.source_name, path).await?,
                };
                let token = tokio::time::timeout(LOGIN_TIMEOUT, self.log_in(&mut client, user, &password)).await;
                let late = || self.error(ErrorClass::Unavailable, "it did not answer a log-in within 3 seconds");
                Some(token.unwrap_or_else(|_| Err(late()))?)
            }
        };
        Ok(Session {
            client,
            authorization,
            is_own: matches!(self.login, Login::User(..)),
            runtime: tokio::runtime::Handle::current(),
        })
    }

    fn is_closed(&self, _: &Session) -> bool {
        // The channel does not say; the next call finds out.
        false
    }

    async fn check(&self, session: &mut Session) -> bool {
        let action = Action::new("GetSessionOptions", Bytes::new());
        let answer = session
            .call(session.client.clone().do_action(session.request(action)))
            .await;
        answer.is_ok()
    }

    async fn reset(&self, _: &mut Session) -> bool {
        // A session holds nothing that a query could leave.
        true
    }
}

impl Session {
    /// `message` with the session's token.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    async fn call<T>(&self, call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
        call.await.map(tonic::Response::into_inner)
    }

    /// Plans `sql`, bound to `row`; what it will give.
    pub(super) async fn plan(&self, sql: &str, row: Option<RecordBatch>) -> Result<FlightInfo, Status> {
        let descriptor = match row {
            None => FlightDescriptor::new_cmd(
                CommandStatementQuery {
                    query: sql.to_owned(),
                    transaction_id: None,
                }
                .as_any()
                .encode_to_vec(),
            ),
            Some(row) => {
                let handle = self.prepare(sql).await?;
                let handle = self.bind(handle, row).await?;
                command(handle)
            }
        };
        self.info(descriptor).await
    }

    /// What a command will give.
    pub(super) async fn info(&self, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
        let mut client = self.client.clone();
        self.call(client.get_flight_info(self.request(descriptor))).await
    }

    /// The messages of the one endpoint of `info`.
    pub(super) async fn messages(&self, info: &FlightInfo) -> Result<Streaming<FlightData>, Status> {
        let broken = || Status::internal("a result of one endpoint was expected");
        let [endpoint] = info.endpoint.as_slice() else {
            return Err(broken());
        };
        let ticket: Ticket = endpoint.ticket.clone().ok_or_else(broken)?;
        let mut client = self.client.clone();
        self.call(client.do_get(self.request(ticket))).await
    }

    async fn prepare(&self, sql: &str) -> Result<Bytes, Status> {
        let request = ActionCreatePreparedStatementRequest {
            query: sql.to_owned(),
            transaction_id: None,
        };
        let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
        let mut client = self.client.clone();
        let mut answers = self.call(client.do_action(self.request(action))).await?;
        let answer = answers
            .message()
            .await?
            .ok_or_else(|| Status::internal("no handle was given"))?;
        let undecodable = |_| Status::internal("the handle cannot be decoded");
        let any = Any::decode(&*answer.body).map_err(undecodable)?;
        let result: Option<ActionCreatePreparedStatementResult> = any.unpack().ok().flatten();
        let result = result.ok_or_else(|| Status::internal("no handle was given"))?;
        Ok(result.prepared_statement_handle)
    }

    /// The handle that carries `row`: the server's answer, or the one it had where it keeps parameters itself.
    async fn bind(&self, handle: Bytes, row: RecordBatch) -> Result<Bytes, Status> {
        let mut first = Some(command(handle.clone()));
        let data = FlightDataEncoderBuilder::new()
            .with_schema(row.schema())
            .build(futures::stream::iter([Ok::<_, FlightError>(row)]));
        let messages: Vec<FlightData> = data
            .map_ok(|mut message| {
                message.flight_descriptor = first.take();
                message
            })
            .try_collect()
            .await
            .map_err(|_| Status::internal("the parameters cannot be encoded"))?;
        let mut client = self.client.clone();
        let mut answers = self
            .call(client.do_put(self.request(futures::stream::iter(messages))))
            .await?;
        let mut bound = None;
        while let Some(answer) = answers.message().await? {
            let result = DoPutPreparedStatementResult::decode(&*answer.app_metadata);
            bound = bound.or(result.ok().and_then(|result| result.prepared_statement_handle));
        }
        Ok(bound.unwrap_or(handle))
    }
}

fn command(handle: Bytes) -> FlightDescriptor {
    let query = CommandPreparedStatementQuery {
        prepared_statement_handle: handle,
    };
    FlightDescriptor::new_cmd(query.as_any().encode_to_vec())
}

/// The schema that `info` promises.
pub(super) fn promised(info: FlightInfo) -> Result<Schema, Status> {
    info.try_decode_schema()
        .map_err(|_| Status::internal("the schema cannot be decoded"))
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_own {
            return;
        }
        let action = self.request(Action::new("CloseSession", Bytes::new()));
        let mut client = self.client.clone();
        self.runtime.spawn(async move {
            let closing = async {
                if let Ok(answers) = client.do_action(action).await {
                    answers.into_inner().for_each(|_| async {}).await;
                }
            };
            // One that is not reached ends by itself.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
        });
    }
}
