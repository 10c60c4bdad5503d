//! What every call of the service needs.
//!
//! Owns: the parts of a running server, and who a call comes from. Never: a protocol message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use caliber_engine::{Engine, Origin, Session};
use secrecy::ExposeSecret;
use tonic::{Request, Status};

use crate::audit::{AuditLog, Call};
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
    /// Who asked what; `None` where an embedding program audits elsewhere.
    pub audit: Option<Arc<AuditLog>>,
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
    /// Where the call comes from, where that is known.
    pub address: Option<String>,
}

impl ServerState {
    /// The caller of a call with a valid bearer token, else `SRV001`.
    pub fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let token = match authenticate::credentials(request.metadata())? {
            Some(Credentials::Token(token)) => token,
            _ => return Err(authenticate::not_logged_in()),
        };
        let client = self.sessions.find(token.expose_secret(), Instant::now());
        let client = client.ok_or_else(authenticate::not_logged_in)?;
        let address = address_of(request);
        let schema = client.default_schema.lock().clone();
        let session = self.session_of(&client, address.clone(), schema.as_deref())?;
        Ok(Caller {
            client,
            session,
            address,
        })
    }

    /// An engine session for `client`, who calls from `address`, with this default schema.
    pub fn session_of(
        &self,
        client: &ClientSession,
        address: Option<String>,
        default_schema: Option<&str>,
    ) -> Result<Session, Status> {
        let session = self.engine.session(client.principal.clone()).with_origin(Origin {
            address,
            authentication: "password".to_owned(),
        });
        match default_schema {
            Some(schema) => session
                .with_schema(schema)
                .map_err(|error| status::of_engine(&error, None)),
            None => Ok(session),
        }
    }

    /// Records a call of `caller` that is no statement. `SRV005` where it cannot be recorded.
    pub async fn record(&self, caller: &Caller, kind: Call, what: &str) -> Result<(), Status> {
        match &self.audit {
            Some(audit) => audit
                .call(kind, what, caller.name(), caller.address.as_deref())
                .await
                .map_err(|reason| status::not_audited(&reason)),
            None => Ok(()),
        }
    }

    /// `SRV005` at once where nothing could be recorded now.
    pub fn recordable(&self) -> Result<(), Status> {
        let usable = self.audit.as_ref().map_or(Ok(()), |audit| audit.usable());
        usable.map_err(|reason| status::not_audited(&reason))
    }
}

/// The client's end of the connection of a call.
pub fn address_of<T>(request: &Request<T>) -> Option<String> {
    request.remote_addr().map(|address| address.to_string())
}

impl Caller {
    /// The principal's name.
    pub fn name(&self) -> &str {
        &self.client.principal.name
    }
}
