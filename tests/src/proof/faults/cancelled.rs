//! Clients that leave, and the statements they leave behind.
//!
//! Owns: when they leave, what runs afterwards. Never: how a statement is cancelled.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::ENDED_ALWAYS;
use super::sources::{Kind, World, running};
use crate::engine::ask;

/// What came of clients that left.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cancelled {
    /// Whose statements ended within a second.
    pub in_time: usize,
    /// The longest that one took.
    pub slowest: Duration,
}

/// `count` clients leave; how soon nothing of theirs runs any more. The source has one connection, so that the query
/// that follows can be answered only once the statement before it is over.
pub async fn cancelled(kind: Kind, count: usize, seed: u64) -> Result<Cancelled> {
    let world = World::over(kind, 1).await?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut found = Cancelled::default();
    for round in 0..count {
        let left = leave(&world, &mut random, round).await;
        left.with_context(|| format!("{kind:?}, round {round}"))?;
        let left = Instant::now();
        // Answered over the one connection, and so after whatever the client left.
        next_is_answered(&world, round)
            .await
            .with_context(|| format!("{kind:?}"))?;
        while running(kind).await? > 0 {
            ensure!(left.elapsed() < ENDED_ALWAYS, "{kind:?}, round {round}: it still runs");
        }
        let time = left.elapsed();
        found.slowest = found.slowest.max(time);
        found.in_time += usize::from(time <= super::ENDED_WITHIN);
    }
    ensure!(found.slowest <= ENDED_ALWAYS, "{found:?}");
    Ok(found)
}

/// `count` clients leave, and another uses the one connection at once: its own statement is never the one that ends.
pub async fn reused(kind: Kind, count: usize, seed: u64) -> Result<()> {
    let world = World::over(kind, 1).await?;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..count {
        let left = leave(&world, &mut random, round).await;
        left.with_context(|| format!("{kind:?}, round {round}"))?;
        next_is_answered(&world, round)
            .await
            .with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

async fn next_is_answered(world: &World, round: usize) -> Result<()> {
    let answer = ask(&world.session(), "SELECT count(*), sum(id) FROM ledger.numbers").await;
    let answer = answer.with_context(|| format!("round {round}: the next query"))?;
    ensure!(answer == [["50000", "1249975000"]], "round {round}: {answer:?}");
    Ok(())
}

/// Begins a statement that takes long, and drops it: before its rows, between them, or just when it is sent.
async fn leave(world: &World, random: &mut StdRng, round: usize) -> Result<()> {
    let session = world.session();
    let patience = Duration::from_micros(random.random_range(0..30_000));
    if round.is_multiple_of(3) {
        let mut rows = session.execute("SELECT id, label FROM ledger.stream", None).await?;
        for _ in 0..random.random_range(1..4) {
            rows.next().await.context("no rows")??;
        }
        return Ok(());
    }
    let table = if round % 3 == 1 { "slow" } else { "stream" };
    let sql = format!("SELECT id FROM ledger.{table}");
    let asked = async {
        let mut rows = session.execute(&sql, None).await?;
        while rows.next().await.transpose()?.is_some() {}
        anyhow::Ok(())
    };
    match tokio::time::timeout(patience, asked).await {
        Err(_) => Ok(()),
        Ok(answered) => answered.and_then(|()| anyhow::bail!("round {round}: `{table}` has no end")),
    }
}
