//! A source that ends the session of a statement while it sends its rows.
//!
//! Owns: who ends it, what the client sees then. Never: a restart of the server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;

use super::TOLD_WITHIN;
use super::sources::{Kind, World, end_sessions, ensure_safe};
use crate::engine::ask;

/// Ends `count` sessions, each while its rows are read; the longest that a client waited for the error. After each, the
/// next query is answered.
pub async fn killed(kind: Kind, count: usize) -> Result<Duration> {
    let world = World::over(kind, 2).await?;
    let session = world.session();
    let mut slowest = Duration::ZERO;
    for round in 0..count {
        let mut rows = session.execute("SELECT id, label FROM ledger.stream", None).await?;
        rows.next().await.context("no rows")??;
        let ended = async {
            while end_sessions(kind).await? == 0 {}
            anyhow::Ok(Instant::now())
        };
        let read = async {
            loop {
                match rows.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return anyhow::Ok((error, Instant::now())),
                    None => bail!("round {round}: a killed statement was complete"),
                }
            }
        };
        let (ended, (error, told)) = tokio::try_join!(ended, read)?;
        ensure_safe(&error)?;
        slowest = slowest.max(told.saturating_duration_since(ended));
        let answer = ask(&session, "SELECT count(*) FROM ledger.numbers").await;
        let answer = answer.with_context(|| format!("round {round}: the next query"))?;
        ensure!(answer == [["50000"]], "round {round}: {answer:?}");
    }
    ensure!(slowest <= TOLD_WITHIN, "a client waited {slowest:?}");
    Ok(slowest)
}
