//! The fixed part of `cargo xtask differential`: 5,000 queries, one half from a fixed seed, the other from a fresh one.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use caliber_tests::proof::differential::{Options, differential};
use caliber_tests::variable;

/// Queries of each half.
const QUERIES: u64 = 2_500;

/// One after the other, so that both cores serve one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv5_random_queries_answer_pushed_as_local() -> Result<()> {
    for (seed, name) in [(1, "fixed"), (fresh()?, "fresh")] {
        let options = Options {
            queries: QUERIES,
            seed,
            ..Options::default()
        };
        differential(&options, name)
            .await?
            .holds()
            .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// What the second half is drawn from: another each time, or what `CALIBER_SEED` says.
fn fresh() -> Result<u64> {
    match variable("CALIBER_SEED") {
        Some(text) => text.parse().context("CALIBER_SEED is no number"),
        None => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
    }
}
