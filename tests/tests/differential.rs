//! The fixed part of `cargo xtask differential`: 5,000 queries, one half from a fixed seed, the other from a fresh one.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use caliber_engine::EngineOptions;
use caliber_tests::engine::{ask, open, principal};
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

/// What the differential found in DataFusion's own planning, with right answers by hand.
#[tokio::test]
async fn an_order_over_a_join_keeps_all_its_keys() -> Result<()> {
    let folder = tempfile::tempdir()?;
    rusqlite::Connection::open(folder.path().join("shop.db"))?.execute_batch(
        "CREATE TABLE client (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         CREATE TABLE visit (id INTEGER PRIMARY KEY, client_id INTEGER, day INTEGER);
         INSERT INTO client VALUES (1, 'Ada'), (2, 'Bo');
         INSERT INTO visit VALUES (1, 1, 5), (2, 1, 9), (3, 1, 7), (4, 1, 8), (5, 2, 4), (6, NULL, 3), (7, NULL, 6), (8, NULL, 1);",
    )?;
    std::fs::write(
        folder.path().join("caliber.yaml"),
        "version: 1
name: order
sources: { shop: { connector: sqlite, path: shop.db } }
policies: { everything: { roles: [all], tables: ['*'] } }
",
    )?;
    for pushdown in [true, false] {
        let options = EngineOptions {
            pushdown,
            ..EngineOptions::default()
        };
        let (engine, _) = open(folder.path(), &[], options).await?;
        let session = engine.session(principal(&["all"], &[]));
        let joined = "SELECT DISTINCT c.id, v.day FROM shop.client c JOIN shop.visit v ON v.client_id = c.id \
                      ORDER BY c.id, v.day DESC LIMIT 2";
        assert_eq!(
            ask(&session, joined).await?,
            [["1", "9"], ["1", "8"]],
            "pushdown {pushdown}"
        );
        let missing = "SELECT DISTINCT c.id, v.day FROM shop.visit v LEFT JOIN shop.client c ON v.client_id = c.id \
                       ORDER BY c.id DESC, v.day DESC LIMIT 3";
        let expected = [["NULL", "6"], ["NULL", "3"], ["NULL", "1"]];
        assert_eq!(ask(&session, missing).await?, expected, "pushdown {pushdown}");
    }
    Ok(())
}
