//! The program's log, on standard error.
//!
//! Owns: what is logged. Never: a statement, a value, a credential.

use std::io::{self, IsTerminal};

use caliber_catalog::{Environment, ProcessEnvironment};
use tracing::Level;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Starts the log: warnings, or what `RUST_LOG` asks for. Of libraries warnings at most, since what they say in
/// detail are headers and statements.
pub fn start() {
    let asked = ProcessEnvironment.variable("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(asked)
        .ok()
        .filter(|filter| !filter.to_string().is_empty());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("warn"));
    let ours = filter_fn(|event| event.target().starts_with("caliber") || *event.level() <= Level::WARN);
    let lines = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_target(true)
        .with_filter(ours);
    // Set already only where a test runs several commands in one process.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    std::panic::set_hook(Box::new(|panic| {
        // What a panic says may hold a value; where it was is enough to find it.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
}
