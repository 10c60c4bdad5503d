//! What every call of the service needs.
//!
//! Owns: the parts of a running server, and who a call comes from. Never: a protocol message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use caliber_engine::{Engine, Session};
use secrecy::ExposeSecret;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::authenticate::{self, Authenticator, Credentials};
use crate::running::Running;
use crate::session_store::{ClientSession, SessionStore};
use crate::status;
use crate::ticket::Sealer;
use crate::workers::Workers;

/// The parts of a running server.
pub struct ServerState {
    /// Runs statements.
    pub engine: Arc<Engine>,
    /// Checks passwords.
    pub authenticator: Authenticator,
    /// Who is logged in.
    pub sessions: SessionStore,
    /// Seals tickets and handles.
    pub sealer: Sealer,
    /// What runs now.
    pub running: Arc<Running>,
    /// The answer to `GetSqlInfo`.
    pub sql_info: SqlInfoData,
    /// The answer to `GetXdbcTypeInfo`.
    pub type_info: XdbcTypeInfoData,
    /// Plans and runs statements.
    pub workers: Workers,
    /// How long a statement may take.
    pub bounds: Bounds,
}

/// How long a statement may take to be delivered. The engine holds its own deadline; these hold where it cannot.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A client that does not read for this long loses its statement.
    pub stall_max: Duration,
    /// A statement that gives nothing more after this long has failed.
    pub total_max: Duration,
}

/// Who a call comes from.
pub struct Caller {
    /// The client's session; held while a stream runs, so it counts as used.
    pub client: Arc<ClientSession>,
    /// The engine's session for the same principal.
    pub session: Session,
}

impl ServerState {
    /// The caller of a call with a valid bearer token, else `SRV001`.
    pub fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        let token = match authenticate::credentials(metadata)? {
            Some(Credentials::Token(token)) => token,
            _ => return Err(authenticate::not_logged_in()),
        };
        let client = self.sessions.find(token.expose_secret(), Instant::now());
        let client = client.ok_or_else(authenticate::not_logged_in)?;
        let session = self.session_of(&client, client.default_schema.lock().as_deref())?;
        Ok(Caller { client, session })
    }

    /// An engine session for `client` with this default schema.
    pub fn session_of(&self, client: &ClientSession, default_schema: Option<&str>) -> Result<Session, Status> {
        let session = self.engine.session(client.principal.clone());
        match default_schema {
            Some(schema) => session
                .with_schema(schema)
                .map_err(|error| status::of_engine(&error, None)),
            None => Ok(session),
        }
    }
}

impl Caller {
    /// The principal's name.
    pub fn name(&self) -> &str {
        &self.client.principal.name
    }
}
