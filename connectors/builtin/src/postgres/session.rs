//! One session with a PostgreSQL server: opened read-only and pinned, cancelled, reset.
//!
//! Owns: the settings of a session, its prepared statements, its end. Never: what a query asks.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use caliber_connector_spi::{ConnectorError, SourceSpec};
use secrecy::ExposeSecret;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::types::Type;
use tokio_postgres::{CancelToken, Client, Config, NoTls, Statement};

use super::cancel::{Peer, cancel};
use super::failure::{connect_failure, failure};
use super::tap::{Plain, Rows, Secured};
use super::tls::Tls;
use crate::password;
use crate::pool::Connect;

/// Prepared statements kept by a session; the one used longest ago makes room.
const STATEMENTS_MAX: usize = 64;

/// The longest a request to cancel may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection may be silent before the server's machine is asked whether it is still there, how often it is
/// asked, and how many questions it may leave unanswered. A statement that runs long does not answer late: its machine
/// does.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);

/// How long the server's machine may leave unacknowledged what was sent to it.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// Read-only; UTC; plain string literals; text forms of values as the server's documentation shows them; no
/// operator or function but the server's own.
const PINNED: &str = "SET application_name = 'caliber'; SET default_transaction_read_only = on; \
    SET search_path = pg_catalog; SET TimeZone = 'UTC'; SET standard_conforming_strings = on; \
    SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; \
    SET bytea_output = 'hex'; SET xmloption = 'content';";

/// Makes the server look, while a statement runs, whether we are still there: where this process dies, nobody is left to
/// cancel what it asked for.
const NOTICES_ABSENCE: &str = "SET client_connection_check_interval = 1000";

/// Opens sessions of one source.
pub struct Sessions {
    source_name: String,
    config: Config,
    password_file: Option<PathBuf>,
    tls: Tls,
    /// Whether the driver lets the stream be wrapped: not that of a socket in the file system.
    is_tapped: bool,
    pinned: String,
}

/// An open session. Dropped, its socket is closed at once.
pub struct Session {
    /// The driver's handle.
    pub client: Client,
    /// Where rows go; `None` where they come through the driver.
    pub rows: Option<Rows>,
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
    pub fn new(source: &SourceSpec, mut config: Config, tls: Tls) -> Self {
        let is_tapped = match tls {
            Tls::Off => tap_unencrypted(&mut config),
            Tls::On(_) => {
                config.ssl_mode(SslMode::Require);
                true
            }
        };
        let (after, every, unanswered_max) = KEEPALIVE;
        config
            .application_name("caliber")
            .keepalives(true)
            .keepalives_idle(after)
            .keepalives_interval(every)
            .keepalives_retries(unanswered_max)
            .tcp_user_timeout(UNACKNOWLEDGED_MAX);
        let mut pinned = PINNED.to_owned();
        let _ = write!(
            pinned,
            "SET statement_timeout = {}",
            milliseconds(source.statement_timeout)
        );
        Self {
            source_name: source.name.clone(),
            config,
            password_file: source.options.path("password_file").map(Path::to_owned),
            tls,
            is_tapped,
            pinned,
        }
    }
}

/// Lets [`Plain`] wrap the streams of `config`; `false` where the driver wraps none.
fn tap_unencrypted(config: &mut Config) -> bool {
    if !config.get_hosts().iter().all(|host| matches!(host, Host::Tcp(_))) {
        config.ssl_mode(SslMode::Disable);
        return false;
    }
    if config.get_hosts().is_empty() {
        // The driver wraps the stream of a named host only; an address is a name for itself.
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    config
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    true
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
        let rows = Rows::default();
        let mut config = self.config.clone();
        if let Some(path) = &self.password_file {
            config.password(password::read(&self.source_name, path).await?.expose_secret());
        }
        let (client, task) = match &self.tls {
            Tls::Off if self.is_tapped => {
                let tap = Plain(rows.clone());
                let (client, connection) = config.connect(tap).await.map_err(unreachable)?;
                (client, tokio::spawn(connection).abort_handle())
            }
            Tls::Off => {
                let (client, connection) = config.connect(NoTls).await.map_err(unreachable)?;
                (client, tokio::spawn(connection).abort_handle())
            }
            Tls::On(tls) => {
                let tap = Secured(tls.clone(), rows.clone());
                let (client, connection) = config.connect(tap).await.map_err(unreachable)?;
                (client, tokio::spawn(connection).abort_handle())
            }
        };
        let token = client.cancel_token();
        let session = Session {
            client,
            rows: self.is_tapped.then_some(rows),
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
        // A server that is too old for it, or whose machine cannot, goes without.
        let _ = session.client.batch_execute(NOTICES_ABSENCE).await;
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
    /// The prepared form of `sql`, if this session has it.
    pub fn prepared(&mut self, sql: &str) -> Option<Statement> {
        let at = self.statements.iter().position(|(known, _)| known == sql)?;
        let known = self.statements.remove(at);
        let statement = known.1.clone();
        self.statements.push(known);
        Some(statement)
    }

    /// The prepared form of `sql`, from this session's few.
    pub async fn prepare(&mut self, sql: &str, types: &[Type]) -> Result<Statement, tokio_postgres::Error> {
        let statement = match self.statements.iter().position(|(known, _)| known == sql) {
            Some(at) => self.statements.remove(at).1,
            None => self.client.prepare_typed(sql, types).await?,
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
