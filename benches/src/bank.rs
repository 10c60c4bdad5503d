//! What governance and pushdown cost on the demo bank: each of its queries as a branch clerk and as an auditor, with
//! sources doing what they can and with everything done here, interleaved in one run.
//!
//!     cargo run --release -p caliber-benches -- bank [CUSTOMERS] [ROUNDS]
//!
//! Owns: the interleaving, the table on standard output. Never: a claim over anything it did not measure in this run.

#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use caliber_engine::Session;
use caliber_server::demo::{Progress, QUERIES, generate};
use futures::TryStreamExt;

use crate::project::{open, session};

const CUSTOMERS: u32 = 10_000;
const ROUNDS: usize = 15;
const USERS: [&str; 2] = ["petr", "olga"];

struct Silent;

impl Progress for Silent {
    fn step(&self, _: &'static str, _: u64, _: u64) {}
}

/// Measures, and prints the table.
pub async fn bank(arguments: &[&str]) -> Result<()> {
    let mut arguments = arguments.iter();
    let customers = arguments
        .next()
        .map_or(Ok(CUSTOMERS), |text| text.parse())
        .context("CUSTOMERS is a number")?;
    let rounds = arguments
        .next()
        .map_or(Ok(ROUNDS), |text| text.parse())
        .context("ROUNDS is a number")?;
    ensure!(rounds > 0, "ROUNDS is at least 1");
    let folder = tempfile::tempdir()?;
    generate(folder.path(), customers, 1, &Silent).map_err(|error| anyhow!("no demo bank: {error:?}"))?;
    let pushed = open(folder.path(), true).await?;
    let local = open(folder.path(), false).await?;
    println!("{customers} customers, median of {rounds} interleaved rounds\n");
    println!("| query | as | rows | pushed ms | local ms | local / pushed | rows from sources, pushed | local |");
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    for query in QUERIES {
        for user in USERS {
            let (here, there) = (session(&pushed, user)?, session(&local, user)?);
            let (mut fast, mut slow) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                fast.push(run(&here, query.sql).await?);
                slow.push(run(&there, query.sql).await?);
            }
            let (fast, slow) = (median(fast), median(slow));
            ensure!(fast.rows == slow.rows, "{}: pushed and local differ", query.name);
            println!(
                "| {} | {user} | {} | {:.1} | {:.1} | {:.2} | {} | {} |",
                query.name,
                fast.rows,
                milliseconds(fast.time),
                milliseconds(slow.time),
                slow.time.as_secs_f64() / fast.time.as_secs_f64(),
                fast.received,
                slow.received
            );
        }
    }
    Ok(())
}

/// One run of a query.
#[derive(Clone, Copy)]
struct Measured {
    time: Duration,
    rows: u64,
    received: u64,
}

async fn run(session: &Session, sql: &str) -> Result<Measured> {
    let started = Instant::now();
    let mut stream = session.execute(sql, None).await?;
    while stream.try_next().await?.is_some() {}
    let receipt = stream.receipt();
    let received = receipt.sources.iter().map(|source| source.rows).sum();
    Ok(Measured {
        time: started.elapsed(),
        rows: receipt.rows,
        received,
    })
}

fn median(mut all: Vec<Measured>) -> Measured {
    all.sort_by_key(|one| one.time);
    let none = Measured {
        time: Duration::ZERO,
        rows: 0,
        received: 0,
    };
    all.get(all.len() / 2).copied().unwrap_or(none)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
