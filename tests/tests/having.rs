//! The groups that a HAVING leaves: their keys are known once they are made, and files are read by them where they are few.
//!
//! The answer is the same where they turn out to be many (INV-5); what is read shows that keys travelled.

use std::fmt::Write;
use std::fs;

use anyhow::{Result, ensure};
use caliber_engine::{EngineOptions, Session};
use caliber_tests::engine::{open, principal};
use caliber_tests::rows;
use futures::TryStreamExt;
use tempfile::TempDir;

const ORDERS: u64 = 4_000;

/// Orders, and lines of which every thousandth order has many.
fn files(folder: &TempDir) -> Result<()> {
    let mut orders = "k,label\n".to_owned();
    let mut lines = "k,amount\n".to_owned();
    for order in 0..ORDERS {
        writeln!(orders, "{order},order {order}")?;
        let count = if order % 1_000 == 7 { 9 } else { order % 4 };
        for line in 0..count {
            writeln!(lines, "{order},{}", line + 1)?;
        }
    }
    fs::write(folder.path().join("orders.csv"), orders)?;
    fs::write(folder.path().join("lines.csv"), lines)?;
    let project = "version: 1
name: having
sources:
  files:
    connector: files
    path: .
    tables: { orders: { path: orders.csv }, lines: { path: lines.csv } }
policies:
  everything: { roles: [all], tables: ['*'] }
";
    fs::write(folder.path().join("caliber.yaml"), project)?;
    Ok(())
}

/// The rows of an answer in order, and how many the files gave for it.
async fn ask(session: &Session, sql: &str) -> Result<(Vec<Vec<String>>, u64)> {
    let mut stream = session.execute(sql, None).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        batches.push(batch);
    }
    let mut found = rows::texts(&batches)?;
    found.sort();
    let given = stream.receipt().sources.iter().map(|source| source.rows).sum();
    Ok((found, given))
}

#[tokio::test]
async fn inv5_files_are_read_by_the_keys_of_groups_that_turn_out_few() -> Result<()> {
    let folder = TempDir::new()?;
    files(&folder)?;
    let mut sessions = Vec::new();
    for pushdown in [true, false] {
        let options = EngineOptions {
            pushdown,
            ..EngineOptions::default()
        };
        let engine = open(folder.path(), &[], options).await?.0;
        sessions.push(engine.session(principal(&["all"], &[])));
    }
    for (having, orders) in [("sum(amount) > 40", 4), ("count(*) > 2", 1_003), ("count(*) > 100", 0)] {
        let groups = format!("SELECT k FROM files.lines GROUP BY k HAVING {having}");
        for (sql, may_be_few) in [
            (format!("SELECT * FROM files.orders WHERE k IN ({groups})"), true),
            (
                format!(
                    "SELECT o.label, l.amount FROM files.orders o JOIN files.lines l ON l.k = o.k WHERE o.k IN ({groups})"
                ),
                true,
            ),
            (
                format!("SELECT o.label FROM files.orders o JOIN ({groups}) g ON g.k = o.k"),
                true,
            ),
            // All orders but a few: keys must not drop a row.
            (format!("SELECT * FROM files.orders WHERE k NOT IN ({groups})"), false),
            (
                format!("SELECT o.label, g.k FROM files.orders o LEFT JOIN ({groups}) g ON g.k = o.k"),
                false,
            ),
        ] {
            let (found, given) = ask(&sessions[0], &sql).await?;
            let (wanted, all) = ask(&sessions[1], &sql).await?;
            ensure!(found == wanted, "{sql}: {} rows of {}", found.len(), wanted.len());
            let read_by_keys = given < all;
            ensure!(
                read_by_keys == (may_be_few && orders <= 100),
                "{sql}: {given} rows of {all} were read"
            );
        }
    }
    Ok(())
}
