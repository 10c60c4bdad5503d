//! `caliber-benches parquet PROJECT USER FOLDER ROUNDS`: statements over Parquet files, by Caliber and by plain DataFusion
//! in this same process, in turns.
//!
//! Owns: both sessions, the clock. Never: which statements; they come as lines `{"governed": SQL, "plain": SQL}`.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use caliber_engine::Session;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::project;

/// Answers each line with the milliseconds of every round, until standard input ends.
pub async fn parquet(project: &Path, user: &str, folder: &Path, rounds: usize) -> Result<()> {
    let engine = project::open(project, true).await?;
    let session = project::session(&engine, user)?;
    let plain = plain_session(folder).await?;
    for line in std::io::stdin().lock().lines() {
        let statement: Value = serde_json::from_str(&line?).context("a line is one JSON object")?;
        let text = |key: &str| {
            statement[key]
                .as_str()
                .with_context(|| format!("a line without `{key}`"))
        };
        let answer = match race(&session, text("governed")?, &plain, text("plain")?, rounds).await {
            Ok(times) => times,
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// DataFusion as it comes, each `.parquet` file of `folder` a table.
#[expect(
    clippy::disallowed_methods,
    reason = "the other side of the comparison is DataFusion without Caliber"
)]
async fn plain_session(folder: &Path) -> Result<SessionContext> {
    let context = SessionContext::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "parquet") {
            let name = path
                .file_stem()
                .and_then(|name| name.to_str())
                .context("a file's name")?;
            let place = path.to_str().context("a path that is not UTF-8")?;
            context
                .register_parquet(name, place, ParquetReadOptions::default())
                .await?;
        }
    }
    Ok(context)
}

async fn race(
    session: &Session,
    governed: &str,
    plain: &SessionContext,
    plain_text: &str,
    rounds: usize,
) -> Result<Value> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first round of each is for caches, and not counted.
    for round in 0..=rounds {
        let (mine, other) = if round % 2 == 0 {
            let mine = run_governed(session, governed).await?;
            (mine, run_plain(plain, plain_text).await?)
        } else {
            let other = run_plain(plain, plain_text).await?;
            (run_governed(session, governed).await?, other)
        };
        ensure!(mine.1 == other.1, "{} rows and {} rows", mine.1, other.1);
        if round > 0 {
            ours.push(mine.0.as_secs_f64() * 1_000.0);
            theirs.push(other.0.as_secs_f64() * 1_000.0);
        }
    }
    Ok(json!({ "governed": ours, "plain": theirs }))
}

async fn run_governed(session: &Session, sql: &str) -> Result<(Duration, usize)> {
    let begun = Instant::now();
    let mut stream = session.execute(sql, None).await?;
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await? {
        rows += batch.num_rows();
    }
    Ok((begun.elapsed(), rows))
}

async fn run_plain(context: &SessionContext, sql: &str) -> Result<(Duration, usize)> {
    let begun = Instant::now();
    let mut stream = context.sql(sql).await?.execute_stream().await?;
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await? {
        rows += batch.num_rows();
    }
    Ok((begun.elapsed(), rows))
}
