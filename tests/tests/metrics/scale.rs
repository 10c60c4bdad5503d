//! Many metrics: loading them and planning a query over some stays quick.
//!
//! Owns: two bounds, wide enough for a build without optimisation on a busy machine; the times are printed. Never: an answer.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use caliber_engine::EngineOptions;
use caliber_tests::engine::{open, principal};
use rusqlite::Connection;
use tempfile::TempDir;

const TABLES: usize = 200;
const METRICS: usize = 500;

/// Release builds on two cores stay far below: a second for loading, 50 ms for planning.
const LOAD_MAX: Duration = Duration::from_secs(20);
const PLAN_MAX: Duration = Duration::from_secs(2);

#[tokio::test]
async fn five_hundred_metrics_over_two_hundred_tables() -> Result<()> {
    let folder = TempDir::new()?;
    let database = Connection::open(folder.path().join("s.db"))?;
    database.execute_batch("CREATE TABLE customer (id INTEGER PRIMARY KEY, region TEXT)")?;
    let mut project = String::from(
        "version: 1\nname: many\nsources: { s: { connector: sqlite, path: s.db } }\npolicies: { p: { roles: [r], tables: [\"*\"] } }\n\
         entities: { customer: { table: s.customer, key: id, attributes: { region: region } } }\ntables:\n",
    );
    for table in 0..TABLES {
        database.execute_batch(&format!(
            "CREATE TABLE t{table} (id INTEGER PRIMARY KEY, customer_id INTEGER, day DATE, amount INTEGER)"
        ))?;
        writeln!(
            project,
            "  s.t{table}: {{ references: {{ customer_id: s.customer.id }} }}"
        )?;
    }
    project.push_str("metrics:\n");
    for metric in 0..METRICS {
        let table = metric % TABLES;
        if metric >= 2 * TABLES {
            writeln!(project, "  m{metric}: {{ expr: m{table} / (m{} + 1) }}", table + 1)?;
        } else {
            writeln!(
                project,
                "  m{metric}: {{ table: s.t{table}, expr: sum(amount), where: amount > {metric}, time: day }}"
            )?;
        }
    }
    fs::write(folder.path().join("caliber.yaml"), project)?;
    let started = Instant::now();
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    let loaded = started.elapsed();
    let session = engine.session(principal(&["r"], &[]));
    let mut times = Vec::new();
    for at in 0..7 {
        let measures: Vec<String> = (0..5).map(|metric| format!("MEASURE(m{})", at * 5 + metric)).collect();
        let sql = format!(
            "SELECT region, date_trunc('month', metric_time), {} FROM unified.customer_metrics GROUP BY 1, 2",
            measures.join(", ")
        );
        let started = Instant::now();
        let plan = session.explain(&sql, true).await?;
        times.push(started.elapsed());
        ensure!(plan.contains("t0") || at > 0, "{plan}");
    }
    times.sort();
    let median = times[times.len() / 2];
    eprintln!("{METRICS} metrics over {TABLES} tables: loaded in {loaded:?}; five planned in {median:?}");
    ensure!(
        loaded < LOAD_MAX && median < PLAN_MAX,
        "loaded in {loaded:?}, planned in {median:?}"
    );
    Ok(())
}
