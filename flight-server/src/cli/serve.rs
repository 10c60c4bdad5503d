//! `caliber serve`: a project over Arrow Flight SQL until a signal ends it.
//!
//! Owns: the first line on standard output, the signals. Never: how to serve.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use caliber_engine::Engine;
use clap::Args;

use super::failure::{Failure, note};
use super::project;
use crate::audit::AuditLog;
use crate::{RunningServer, ServeConfig, serve};

/// Serve a project over Arrow Flight SQL
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber serve --project bank
  caliber serve --project bank --listen 127.0.0.1:0")]
pub struct Serve {
    /// The project's folder; by default the nearest upward that holds caliber.yaml
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// Address and port, instead of the project's; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The audit log's newest file, instead of the project's
    #[arg(long, value_name = "FILE")]
    audit_file: Option<PathBuf>,
}

impl Serve {
    /// Serves until a signal, then drains.
    pub async fn run(self) -> Result<(), Failure> {
        let (engine, audit) = project::open_audited(self.project.as_deref(), self.audit_file).await?;
        let server = start(engine, audit.clone(), self.listen).await?;
        let signals = Signals::hear()?;
        announce(&server)?;
        until_signal(server, signals).await;
        audit.close();
        Ok(())
    }
}

/// Starts serving `engine`, which records in `audit`, as its project says, but for `listen`.
pub async fn start(
    engine: Arc<Engine>,
    audit: Arc<AuditLog>,
    listen: Option<String>,
) -> Result<RunningServer, Failure> {
    let snapshot = engine.snapshot();
    let mut config = ServeConfig::of(&snapshot.project.server);
    config.listen = listen.unwrap_or(config.listen);
    config.audit = Some(audit);
    serve(engine, snapshot.project.users.clone(), config)
        .await
        .map_err(Failure::of)
}

/// The first line of standard output, which scripts wait for.
pub fn announce(server: &RunningServer) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "flight-sql listening on {}", server.uri())?;
    out.flush()?;
    Ok(())
}

/// Returns once the server ended: by itself, or drained after SIGINT or SIGTERM.
pub async fn until_signal(mut server: RunningServer, mut signals: Signals) {
    tokio::select! {
        () = signals.next() => {}
        () = server.ended() => return,
    }
    let running = server.running_statements();
    if running > 0 {
        note!(
            "ending; {running} running statement{} may finish first",
            if running == 1 { "" } else { "s" }
        );
    }
    // A second signal does not wait.
    tokio::select! {
        () = server.shutdown() => {}
        () = signals.next() => {}
    }
}

/// SIGINT and SIGTERM, heard from when this is made: before anybody is told that the server runs.
#[cfg(unix)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Hears them from now on.
    pub fn hear() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Hears it from now on.
    pub fn hear() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
