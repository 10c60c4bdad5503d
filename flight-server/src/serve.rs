//! A running server: listening, TLS, transport limits, draining.
//!
//! Owns: from a configuration to an address that answers, and its end. Never: a request.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use caliber_catalog::diagnostic::{Code, Diagnostic};
use caliber_catalog::project::{Limits, ServerSettings, TlsSettings, User};
use caliber_engine::Engine;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::server::Router;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::authenticate::Authenticator;
use crate::connections;
use crate::front::Front;
use crate::metadata::type_info;
use crate::oversized::Oversized;
use crate::running::Running;
use crate::service::FlightSql;
use crate::session_store::SessionStore;
use crate::sql_info;
use crate::state::{Bounds, ServerState};
use crate::status;
use crate::ticket::Sealer;
use crate::workers::Workers;

/// Requests larger than this are refused before they are read whole.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// JDBC and ODBC forward every property they do not know as a header.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Calls at once on one connection.
const CALLS_PER_CONNECTION_MAX: u32 = 256;
/// A peer that is gone is noticed within the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// After the grace period, what was cancelled has this long to say so to its client.
const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// The engine notices a deadline within this, unless an operator computes without pause.
const DEADLINE_GRACE: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// TLS; without it only loopback addresses are served.
    pub tls: Option<TlsSettings>,
    /// Bounds on what one user may do.
    pub limits: Limits,
    /// How long running statements may go on when the server shuts down.
    pub drain: Duration,
}

impl ServeConfig {
    /// What a project's `server` section says.
    pub fn of(settings: &ServerSettings) -> Self {
        Self {
            listen: settings.flight_listen.clone(),
            tls: settings.flight_tls.clone(),
            limits: settings.limits.clone(),
            drain: Duration::from_secs(30),
        }
    }
}

/// A server that answers. Dropping it without `shutdown` ends it at once.
pub struct RunningServer {
    address: SocketAddr,
    tls: bool,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    state: Arc<ServerState>,
    drain: Duration,
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Serves `engine` to `users`. Errors: an address that cannot be had, TLS files that cannot be used, or a
/// non-loopback address without TLS.
pub async fn serve(
    engine: Arc<Engine>,
    users: BTreeMap<String, User>,
    config: ServeConfig,
) -> Result<RunningServer, Diagnostic> {
    let listener = listen(&config).await?;
    let address = listener
        .local_addr()
        .map_err(|error| cannot_listen(&config.listen, &error.to_string()))?;
    let state = state(engine, users, &config.limits)?;
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<FlightServiceServer<Front>>().await;
    let service = FlightServiceServer::new(Front::new(FlightSql::new(Arc::clone(&state))))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let router: Router = transport(&config)?
        .add_service(health_service)
        .add_service(Oversized(service));
    let (stop, stopped) = oneshot::channel::<()>();
    let signal = async move {
        // A dropped sender ends the server as well.
        let _ = stopped.await;
        health.set_not_serving::<FlightServiceServer<Front>>().await;
    };
    let task = tokio::spawn(router.serve_with_incoming_shutdown(connections::accepted(listener), signal));
    Ok(RunningServer {
        address,
        tls: config.tls.is_some(),
        stop: Some(stop),
        task,
        state,
        drain: config.drain,
    })
}

impl RunningServer {
    /// The address it listens on, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client is given: `grpc://127.0.0.1:50051`.
    pub fn uri(&self) -> String {
        format!("{}://{}", if self.tls { "grpc+tls" } else { "grpc" }, self.address)
    }

    /// How many statements deliver rows now.
    pub fn running_statements(&self) -> usize {
        self.state.running.count()
    }

    /// Accepts nothing more, lets what runs end within the configured time, cancels the rest.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if tokio::time::timeout(self.drain, &mut self.task).await.is_ok() {
            return;
        }
        tracing::warn!(statements = self.running_statements(), "cancelling what still runs");
        self.state.running.cancel_all();
        if tokio::time::timeout(CANCEL_GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }

    /// Returns when the server ended by itself, which it does only if its listener fails.
    pub async fn ended(&mut self) {
        if let Ok(Err(error)) = (&mut self.task).await {
            tracing::error!(%error, "the server ended");
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn state(engine: Arc<Engine>, users: BTreeMap<String, User>, limits: &Limits) -> Result<Arc<ServerState>, Diagnostic> {
    let cannot_start = |_: tonic::Status| {
        Diagnostic::error(
            Code::INT001,
            "the server cannot start: the system gives no randomness or no threads",
        )
    };
    Ok(Arc::new(ServerState {
        engine,
        authenticator: Authenticator::new(users).map_err(cannot_start)?,
        sessions: SessionStore::new(limits.sessions_per_user),
        sealer: Sealer::new().map_err(cannot_start)?,
        running: Running::new(limits.concurrent_per_user),
        sql_info: sql_info::data().map_err(cannot_start)?,
        type_info: type_info::data().map_err(cannot_start)?,
        workers: Workers::start().map_err(|_| cannot_start(status::internal()))?,
        // The engine's own deadline comes first where it can: its error says more.
        bounds: Bounds {
            stall_max: limits.query_timeout,
            total_max: limits.query_timeout + DEADLINE_GRACE,
        },
    }))
}

async fn listen(config: &ServeConfig) -> Result<TcpListener, Diagnostic> {
    let addresses = tokio::net::lookup_host(&config.listen).await;
    let addresses = addresses
        .map_err(|_| cannot_listen(&config.listen, "not an address with a port"))?
        .collect::<Vec<_>>();
    if config.tls.is_none() && addresses.iter().any(|address| !address.ip().is_loopback()) {
        let message = format!(
            "`{}` can be reached from other machines and there is no TLS",
            config.listen
        );
        let help = "set `server.flight.tls` with `cert` and `key`, or listen on 127.0.0.1";
        return Err(Diagnostic::error(Code::SRV006, message).help(help));
    }
    TcpListener::bind(&addresses[..])
        .await
        .map_err(|error| cannot_listen(&config.listen, &error.to_string()))
}

fn transport(config: &ServeConfig) -> Result<Server, Diagnostic> {
    let server = Server::builder()
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    let Some(tls) = &config.tls else {
        return Ok(server);
    };
    let mut settings = ServerTlsConfig::new().timeout(TLS_HANDSHAKE_MAX);
    settings = settings.identity(Identity::from_pem(pem(&tls.cert)?, pem(&tls.key)?));
    if let Some(authority) = &tls.client_ca {
        settings = settings.client_ca_root(Certificate::from_pem(pem(authority)?));
    }
    server.tls_config(settings).map_err(|_| {
        Diagnostic::error(Code::SRV006, "the TLS certificate and key cannot be used")
            .help("`cert` is a PEM chain, its own certificate first; `key` is that certificate's private key")
    })
}

fn pem(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    std::fs::read(path).map_err(|error| {
        Diagnostic::error(
            Code::SRV006,
            format!("TLS file `{}` cannot be read: {}", path.display(), error.kind()),
        )
    })
}

fn cannot_listen(address: &str, why: &str) -> Diagnostic {
    Diagnostic::error(Code::SRV006, format!("cannot listen on `{address}`: {why}"))
        .help("choose another with `--listen 127.0.0.1:PORT`, or `--listen 127.0.0.1:0` for a free port")
}
