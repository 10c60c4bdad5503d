//! One session with a PostgreSQL server: opened read-only and pinned, cancelled, reset.
//!
//! Owns: the settings of a session, its prepared statements, its end. Never: what a query asks.

use std::fmt::Write;
use std::time::Duration;

use async_trait::async_trait;
use caliber_connector_spi::{ConnectorError, Parameter};
use tokio_postgres::config::SslMode;
use tokio_postgres::{CancelToken, Client, Config, NoTls, Statement};

use super::cancel::{Peer, cancel};
use super::failure::{connect_failure, failure};
use super::tls::Tls;
use super::wire;
use crate::pool::Connect;

/// Prepared statements kept by a session; the one used longest ago makes room.
const STATEMENTS_MAX: usize = 64;

/// The longest a request to cancel may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Read-only; UTC; plain string literals; text forms of values as the server's documentation shows them; no
/// operator or function but the server's own.
const PINNED: &str = "SET application_name = 'caliber'; SET default_transaction_read_only = on; \
    SET search_path = pg_catalog; SET TimeZone = 'UTC'; SET standard_conforming_strings = on; \
    SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; \
    SET bytea_output = 'hex'; SET xmloption = 'content';";

/// Opens sessions of one source.
pub struct Sessions {
    source_name: String,
    config: Config,
    tls: Tls,
    pinned: String,
}

/// An open session. Dropped, its socket is closed at once.
pub struct Session {
    /// The driver's handle.
    pub client: Client,
    token: CancelToken,
    peer: Peer,
    tls: Tls,
    task: tokio::task::AbortHandle,
    statements: Vec<(String, Statement)>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // The driver's task would first read to the end whatever the server still sends.
        self.task.abort();
    }
}

impl Sessions {
    /// For the server that `config` names.
    pub fn new(source_name: &str, mut config: Config, tls: Tls, statement_timeout: Duration) -> Self {
        config.ssl_mode(match tls {
            Tls::Off => SslMode::Disable,
            Tls::VerifyFull(_) => SslMode::Require,
        });
        config.application_name("caliber");
        let mut pinned = PINNED.to_owned();
        let _ = write!(pinned, "SET statement_timeout = {}", milliseconds(statement_timeout));
        Self {
            source_name: source_name.to_owned(),
            config,
            tls,
            pinned,
        }
    }
}

/// A positive number of milliseconds that the server takes for a timeout.
pub fn milliseconds(duration: Duration) -> u128 {
    duration.as_millis().clamp(1, 2_147_483_647)
}

#[async_trait]
impl Connect for Sessions {
    type Connection = Session;

    async fn connect(&self) -> Result<Session, ConnectorError> {
        let unreachable = |error| connect_failure(&self.source_name, &error);
        let (client, task) = match &self.tls {
            Tls::Off => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(unreachable)?;
                (client, tokio::spawn(connection).abort_handle())
            }
            Tls::VerifyFull(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await.map_err(unreachable)?;
                (client, tokio::spawn(connection).abort_handle())
            }
        };
        let token = client.cancel_token();
        let session = Session {
            client,
            token,
            peer: Peer::of(&self.config),
            tls: self.tls.clone(),
            task,
            statements: Vec::new(),
        };
        session
            .client
            .batch_execute(&self.pinned)
            .await
            .map_err(|error| failure(&self.source_name, &error))?;
        Ok(session)
    }

    fn is_closed(&self, session: &Session) -> bool {
        session.client.is_closed()
    }

    async fn check(&self, session: &mut Session) -> bool {
        session.client.batch_execute("").await.is_ok()
    }

    async fn reset(&self, session: &mut Session) -> bool {
        session.client.batch_execute("ROLLBACK").await.is_ok()
    }
}

impl Session {
    /// The prepared form of `sql`, from this session's few.
    pub async fn prepare(&mut self, sql: &str, parameters: &[Parameter]) -> Result<Statement, tokio_postgres::Error> {
        let statement = match self.statements.iter().position(|(known, _)| known == sql) {
            Some(at) => self.statements.remove(at).1,
            None => {
                let types: Vec<_> = parameters.iter().map(wire::parameter_type).collect();
                self.client.prepare_typed(sql, &types).await?
            }
        };
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.remove(0);
        }
        self.statements.push((sql.to_owned(), statement.clone()));
        Ok(statement)
    }

    /// Asks the server to cancel what this session runs; whether it is known to have signalled the session.
    pub async fn cancel(&self) -> bool {
        let request = cancel(&self.token, &self.peer, &self.tls);
        // Where the request does not arrive, the session is closed instead, which the server notices as well.
        tokio::time::timeout(CANCEL_TIMEOUT, request).await.unwrap_or(false)
    }
}
