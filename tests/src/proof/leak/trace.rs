//! The program's log at `trace`, of a server that was asked what the worlds were asked.
//!
//! Owns: the server and its log. Never: a filter of its own.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Options;
use super::canaries::Search;
use super::observe::Observer;
use super::statements::{self, Form};
use super::worlds::{BROKEN, PASSWORD, SOURCES, Worlds};
use crate::program::Server;

/// As much as anybody can ask for, of the libraries that see rows, statements and passwords by name.
const LEVELS: &str =
    "trace,h2=trace,hyper=trace,tonic=trace,tokio_postgres=trace,mysql_async=trace,rustls=trace,datafusion=trace";

/// Serves the first world with the log at `trace`, asks, and searches what it printed. Gives the log's length.
pub async fn search_log(worlds: &Worlds, search: &Search, options: &Options) -> Result<usize> {
    let world = worlds.all.first().context("there is no world")?;
    let folder = world.folder.to_str().context("a folder that is not UTF-8")?;
    let variables = world
        .urls
        .iter()
        .map(|(name, url)| (*name, url.as_str()))
        .chain([("RUST_LOG", LEVELS)]);
    let arguments = ["serve", "--project", folder, "--listen", "127.0.0.1:0"];
    let server = Server::start(&arguments, variables)?;
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut clients = std::collections::BTreeMap::new();
    for user in Worlds::users().into_iter().chain([BROKEN]) {
        clients.insert(user, Observer::connect(&server.uri, user, PASSWORD).await?);
    }
    for _ in 0..options.traced {
        let statement = statements::random(&mut random);
        let client = clients.get(statement.user).context("no such user")?;
        match statement.form {
            Form::Text => client.statement(&statement.sql, false).await?,
            Form::Prepared(parameters) => client.prepared(&statement.sql, parameters, false).await?,
            Form::Command(command) => client.command(command, false).await?,
        };
    }
    let mut refused = 0;
    let broken = clients.get(BROKEN).context("no such user")?;
    for source in SOURCES {
        let seen = broken.statement(&format!("SELECT id FROM {source}.t"), false).await?;
        refused += usize::from(seen.failed);
    }
    ensure!(
        refused > 0,
        "no policy failed on a hidden row, so the log had nothing to tell"
    );
    // A wrong password is logged as little as a right one.
    ensure!(
        Observer::connect(&server.uri, "half", "wrong-cnrysecret")
            .await
            .is_err()
    );
    let log = server.printed(|text| text.contains("POL001") || text.contains("policy"))?;
    // What was logged last is written by now or within this.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let log = if log.is_empty() { log } else { server.printed(|_| true)? };
    if let Some(found) = search.find(log.as_bytes()) {
        bail!("the log at trace shows `{found}`");
    }
    ensure!(
        log.contains("TRACE") || log.contains("DEBUG") || log.contains("ERROR"),
        "nothing was logged:\n{log}"
    );
    Ok(log.len())
}
