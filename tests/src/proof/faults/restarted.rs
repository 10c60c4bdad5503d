//! A PostgreSQL server that is killed under load and started again.
//!
//! Owns: the load, the outage, what each client saw when. Never: the shared servers, which others use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use caliber_engine::EngineOptions;
use caliber_testkit::{Postgres, Proxy};
use futures::future::join_all;
use parking_lot::Mutex;

use super::sources::ensure_safe;
use super::{DOWN_WITHIN, HEALTHY_WITHIN};
use crate::engine::{ask, open, principal};

/// How long the load runs before the server is killed, and how long the server is away.
const PHASE: Duration = Duration::from_secs(3);
/// How long a client waits between its queries.
const THINKING: Duration = Duration::from_millis(20);
/// The most attempts to connect within a second while the source is down.
const ATTEMPTS_MAX: usize = 2;

const SCRIPT: &str = "CREATE TABLE t AS SELECT n AS id, 'row ' || n AS label FROM generate_series(1, 1000) n;";

/// What the outage looked like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restarted {
    /// Queries that failed.
    pub failed: usize,
    /// The longest that one of them took.
    pub slowest_failure: Duration,
    /// Attempts to connect while the source was down, and for how long it was.
    pub attempts: (usize, Duration),
    /// How long after the server accepted connections again the last query failed.
    pub healthy_after: Duration,
    /// The other source's median time while this one was down, over that before.
    pub others_slower: f64,
}

/// One query: when it was asked, how long it took, whether it failed.
type Asked = (Instant, Duration, bool);

/// Kills the server under `clients` clients, a quarter of which read another source, and starts it again.
pub async fn restarted(clients: usize) -> Result<Restarted> {
    let server = Postgres::start()?;
    for sql in [SCRIPT, "CHECKPOINT"] {
        server.run("postgres", sql).await?;
    }
    let proxy = Proxy::before(server.port()).await?;
    let folder = tempfile::tempdir()?;
    rusqlite::Connection::open(folder.path().join("other.db"))?.execute_batch(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, label TEXT);
         INSERT INTO t WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000) SELECT i, 'row ' || i FROM c;",
    )?;
    let text = "version: 1\nname: restart\nsources:\n  ledger: { connector: postgres, url: '${env:URL}' }\n  \
                other: { connector: sqlite, path: other.db }\npolicies:\n  everything: { roles: [all], tables: ['*'] }\n";
    std::fs::write(folder.path().join("caliber.yaml"), text)?;
    let url = server.url("postgres");
    let url = url.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let (engine, _) = open(folder.path(), &[("URL", url)], EngineOptions::default()).await?;
    let over = Arc::new(AtomicBool::new(false));
    let asked: Arc<Mutex<[Vec<Asked>; 2]>> = Arc::default();
    let load = (0..clients).map(|client| {
        let (engine, over, asked) = (engine.clone(), over.clone(), asked.clone());
        tokio::spawn(async move {
            let session = engine.session(principal(&["all"], &[]));
            let other = usize::from(client % 4 == 3);
            let sql = [
                "SELECT count(*), max(label) FROM ledger.t",
                "SELECT count(*), max(label) FROM other.t",
            ][other];
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = ask(&session, sql).await;
                asked.lock()[other].push((begun, begun.elapsed(), answer.is_err()));
                match answer {
                    Ok(rows) => ensure!(rows == [["1000", "row 999"]], "{rows:?}"),
                    Err(error) => ensure_safe(&error)?,
                }
                tokio::time::sleep(THINKING).await;
            }
            Ok(())
        })
    });
    let load: Vec<_> = load.collect();
    tokio::time::sleep(PHASE).await;
    let killed = Instant::now();
    let server = tokio::task::spawn_blocking(move || server.kill().map(|()| server)).await??;
    let down = Instant::now();
    tokio::time::sleep(PHASE).await;
    let mut server = server;
    let up = Instant::now();
    let server = tokio::task::spawn_blocking(move || server.restart().map(|()| server)).await??;
    while server.client("postgres").await.is_err() {}
    let accepts = Instant::now();
    tokio::time::sleep(HEALTHY_WITHIN + Duration::from_secs(1)).await;
    over.store(true, Ordering::Relaxed);
    for client in join_all(load).await {
        client??;
    }
    let [affected, others] = std::mem::take(&mut *asked.lock());
    let attempts: Vec<Instant> = proxy
        .accepted()
        .into_iter()
        .filter(|at| (down..accepts).contains(at))
        .collect();
    let crowded = attempts.windows(ATTEMPTS_MAX + 1).find(|few| {
        few.last()
            .zip(few.first())
            .is_some_and(|(last, first)| *last - *first < Duration::from_millis(950))
    });
    ensure!(
        crowded.is_none(),
        "more than {ATTEMPTS_MAX} attempts within a second: {attempts:?}"
    );
    judged(&affected, &others, (killed, down, up), accepts, attempts.len())
}

fn judged(
    affected: &[Asked],
    others: &[Asked],
    (killed, down, up): (Instant, Instant, Instant),
    accepts: Instant,
    attempts: usize,
) -> Result<Restarted> {
    ensure!(
        others.iter().all(|(_, _, failed)| !failed),
        "a query of another source failed"
    );
    ensure!(
        affected
            .iter()
            .all(|(begun, _, failed)| !failed || *begun + DOWN_WITHIN > killed),
        "failed before"
    );
    let failures: Vec<&Asked> = affected.iter().filter(|(_, _, failed)| *failed).collect();
    let slowest_failure = failures
        .iter()
        .map(|(_, time, _)| *time)
        .max()
        .context("no query failed")?;
    let last = failures.iter().map(|(begun, ..)| *begun).max().unwrap_or(accepts);
    let found = Restarted {
        failed: failures.len(),
        slowest_failure,
        attempts: (attempts, accepts - down),
        healthy_after: last.saturating_duration_since(accepts),
        others_slower: median(others, down, up)? / median(others, killed - PHASE, killed)?,
    };
    ensure!(found.slowest_failure <= DOWN_WITHIN, "{found:?}");
    ensure!(found.healthy_after <= HEALTHY_WITHIN, "{found:?}");
    let well = affected
        .iter()
        .filter(|(begun, _, failed)| *begun > last && !failed)
        .count();
    ensure!(well > 0, "nothing was answered again: {found:?}");
    Ok(found)
}

/// The median time of the queries asked between two moments, in seconds.
fn median(asked: &[Asked], from: Instant, to: Instant) -> Result<f64> {
    let within = asked.iter().filter(|(begun, ..)| (from..to).contains(begun));
    let mut times: Vec<Duration> = within.map(|(_, time, _)| *time).collect();
    times.sort_unstable();
    Ok(times
        .get(times.len() / 2)
        .context("no query of the other source")?
        .as_secs_f64())
}
