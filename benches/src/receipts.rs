//! `caliber-benches receipts PROJECT USER`: statements in, one JSON text a line; their receipts out, one a line.
//!
//! Owns: what of a receipt a server tells nobody: statements, rows and bytes from each source. Never: the rows themselves.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result};
use caliber_engine::{Receipt, Session};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::project;

/// Answers until standard input ends. The first line it writes is `"ready"`.
pub async fn receipts(folder: &Path, user: &str) -> Result<()> {
    let engine = project::open(folder, true).await?;
    let session = project::session(&engine, user)?;
    say(&json!("ready"))?;
    for line in std::io::stdin().lock().lines() {
        let sql: String = serde_json::from_str(&line?).context("a line is one JSON text")?;
        match receipt_of(&session, &sql).await {
            Ok(receipt) => say(&described(&receipt))?,
            Err(error) => say(&json!({ "error": format!("{error:#}") }))?,
        }
    }
    Ok(())
}

async fn receipt_of(session: &Session, sql: &str) -> Result<Receipt> {
    let mut stream = session.execute(sql, None).await?;
    while stream.try_next().await?.is_some() {}
    Ok(stream.receipt())
}

fn described(receipt: &Receipt) -> Value {
    let sources = receipt.sources.iter().map(|source| {
        let counts = json!({ "statements": source.statements, "rows": source.rows, "bytes": source.bytes });
        (source.source.clone(), counts)
    });
    json!({ "rows": receipt.rows, "sources": Value::Object(sources.collect()) })
}

fn say(line: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
