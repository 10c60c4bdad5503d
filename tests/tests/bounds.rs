//! Every bound is an error with a code when it is reached, never a cut (INV-6), and a result is whole or an error (INV-8).

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use caliber_engine::{AuditEnd, AuditRefusal, AuditSink, AuditStart, EngineOptions, Session};
use caliber_tests::engine::{ask, open, principal};
use tempfile::TempDir;

const PROJECT: &str = "
version: 1
name: small
server:
  limits: { query_timeout: TIMEOUT, result_rows: 100, result_bytes: 32132B, query_memory: MEMORY }
sources:
  shop: { connector: sqlite, path: shop.db }
policies:
  everything: { roles: [all], tables: ['*'] }
";

async fn session(options: EngineOptions) -> Result<(TempDir, Session)> {
    bounded(options, "60s", "64MiB").await
}

/// A session over a thousand rows, in a project with these limits.
async fn bounded(options: EngineOptions, timeout: &str, memory: &str) -> Result<(TempDir, Session)> {
    let folder = tempfile::tempdir()?;
    let database = rusqlite::Connection::open(folder.path().join("shop.db"))?;
    database.execute_batch(
        "CREATE TABLE n (id INTEGER PRIMARY KEY, text TEXT NOT NULL, day DATE);
         INSERT INTO n WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000)
             SELECT i, 'text ' || i, '2024-01-01' FROM c;
         UPDATE n SET day = 'soon' WHERE id = 900;",
    )?;
    let project = PROJECT.replace("TIMEOUT", timeout).replace("MEMORY", memory);
    fs::write(folder.path().join("caliber.yaml"), project)?;
    let (engine, _) = open(folder.path(), &[], options).await?;
    Ok((folder, engine.session(principal(&["all"], &[]))))
}

async fn code(sql: &str) -> Result<String> {
    let (_folder, session) = session(EngineOptions::default()).await?;
    failure(&session, sql).await
}

async fn failure(session: &Session, sql: &str) -> Result<String> {
    match ask(session, sql).await {
        Ok(rows) => {
            let sql: String = sql.chars().take(80).collect();
            anyhow::bail!("answered with {} rows: {sql}", rows.len())
        }
        Err(error) => Ok(error.code.as_str().to_owned()),
    }
}

#[tokio::test]
async fn inv6_a_result_with_too_many_rows_is_an_error() -> Result<()> {
    ensure!(code("SELECT id FROM shop.n").await? == "LIM003");
    let (_folder, session) = session(EngineOptions::default()).await?;
    ensure!(
        ask(&session, "SELECT id FROM shop.n ORDER BY id LIMIT 100")
            .await?
            .len()
            == 100
    );
    ensure!(failure(&session, "SELECT id FROM shop.n ORDER BY id LIMIT 101").await? == "LIM003");
    ensure!(ask(&session, "SELECT count(*) FROM shop.n").await? == [["1000"]]);
    Ok(())
}

/// 32 texts of 1,000 bytes and 33 offsets of four are exactly the bound.
#[tokio::test]
async fn inv6_a_result_of_too_many_bytes_is_an_error() -> Result<()> {
    let (_folder, session) = session(EngineOptions::default()).await?;
    let bytes = |rows: usize| format!("SELECT repeat('x', 1000) AS a FROM shop.n ORDER BY id LIMIT {rows}");
    ensure!(ask(&session, &bytes(32)).await?.len() == 32);
    ensure!(failure(&session, &bytes(33)).await? == "LIM003");
    Ok(())
}

#[tokio::test]
async fn inv6_a_statement_out_of_time_is_an_error() -> Result<()> {
    let (_folder, session) = bounded(EngineOptions::default(), "1s", "1GiB").await?;
    let sql = "SELECT count(*) FROM shop.n a, shop.n b, shop.n c WHERE a.id * b.id + c.id < 0";
    ensure!(failure(&session, sql).await? == "LIM004");
    Ok(())
}

#[tokio::test]
async fn inv6_memory_is_bounded() -> Result<()> {
    let (_folder, session) = bounded(EngineOptions::default(), "60s", "8MiB").await?;
    let sql = "SELECT count(DISTINCT repeat(a.text, 200) || b.text) FROM shop.n a, shop.n b WHERE b.id < 100";
    ensure!(failure(&session, sql).await? == "LIM002");
    ensure!(failure(&session, "SELECT length(repeat('x', 2000000000))").await? == "LIM002");
    // A nested-loop join whose left side does not fit: DataFusion's own way out executes that side twice and panics.
    let side = "SELECT a.id + b.id + c.id AS s FROM shop.n a, shop.n b, shop.n c";
    let sql = format!("SELECT count(*) FROM ({side}) AS x, ({side}) AS y WHERE x.s > y.s");
    ensure!(failure(&session, &sql).await? == "LIM002");
    // The next statement is not harmed.
    ensure!(ask(&session, "SELECT count(*) FROM shop.n").await? == [["1000"]]);
    Ok(())
}

/// A join that computes for days is stopped like any other.
#[tokio::test]
async fn inv10_a_join_that_only_computes_meets_its_deadline() -> Result<()> {
    let (_folder, session) = bounded(EngineOptions::default(), "2s", "64MiB").await?;
    let begun = std::time::Instant::now();
    for sql in [
        "SELECT count(*) FROM shop.n a, shop.n b, shop.n c, shop.n d WHERE a.id + b.id + c.id > d.id",
        "SELECT count(*) FROM shop.n a, shop.n b, shop.n c, shop.n d, shop.n e",
    ] {
        let code = failure(&session, sql).await?;
        ensure!(code == "LIM004", "{code}: {sql}");
    }
    ensure!(
        begun.elapsed() < std::time::Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn inv6_length_depth_and_chains_are_bounded() -> Result<()> {
    ensure!(code(&format!("SELECT '{}'", "x".repeat(300 * 1024))).await? == "LIM001");
    ensure!(code(&format!("SELECT {}1{}", "(".repeat(2_000), ")".repeat(2_000))).await? == "LIM001");
    ensure!(
        code(&format!(
            "SELECT id FROM shop.n WHERE {}",
            vec!["id = 1"; 3_000].join(" OR ")
        ))
        .await?
            == "LIM001"
    );
    ensure!(code(&format!("SELECT {}1", "- ".repeat(5_000))).await? == "LIM001");
    let deep = (0..200).fold("SELECT 1 AS x".to_owned(), |inner, _| {
        format!("SELECT x FROM ({inner}) AS t")
    });
    ensure!(code(&deep).await? == "LIM001");
    Ok(())
}

/// What doubles with each level, what a planner writes of itself, and what is written out for every row.
#[tokio::test]
async fn inv6_values_that_grow_are_bounded_wherever_they_come_from() -> Result<()> {
    let (_folder, session) = session(EngineOptions::default()).await?;
    let doubled = |grown: &str, first: &str| {
        (0..40).fold(format!("SELECT {first} AS x FROM shop.n WHERE id = 1"), |inner, _| {
            format!("SELECT {grown} AS x FROM ({inner}) AS t")
        })
    };
    for sql in [
        doubled("x || x", "text"),
        doubled("concat(x, x)", "text"),
        doubled("[x, x]", "[text]"),
        doubled("array_concat(x, x)", "[text]"),
        doubled("struct(x, x)", "text"),
        doubled("{a: x, b: x}", "text"),
        doubled("x + x", "id"),
        "SELECT max(u) FROM (SELECT unnest(range(1000000)) AS u FROM shop.n) AS t".to_owned(),
        "SELECT max(length(text || t)) FROM (SELECT text, repeat('x', 10000000) AS t FROM shop.n) AS c".to_owned(),
        "SELECT length(string_agg(a.text || b.text, ',')) FROM shop.n a, shop.n b, shop.n c WHERE c.id < 10".to_owned(),
        "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))".to_owned(),
    ] {
        let code = failure(&session, &sql).await?;
        ensure!(["LIM001", "LIM002"].contains(&code.as_str()), "{code}: {sql}");
    }
    // At the cap.
    ensure!(ask(&session, "SELECT length(repeat('x', 8388608) || repeat('x', 8388608))").await? == [["16777216"]]);
    ensure!(failure(&session, "SELECT length(repeat('x', 8388608) || repeat('x', 8388609))").await? == "LIM002");
    Ok(())
}

/// A value that does not fit its column, far behind the first batch, fails the result as a whole.
#[tokio::test]
async fn inv8_a_bad_value_is_an_error_never_another_value() -> Result<()> {
    ensure!(code("SELECT day, count(*) FROM shop.n GROUP BY day").await? == "SRC003");
    let (_folder, session) = session(EngineOptions {
        batch_rows: 10,
        ..EngineOptions::default()
    })
    .await?;
    let error = ask(&session, "SELECT id, day FROM shop.n WHERE id > 850").await;
    ensure!(error.is_err_and(|error| error.code.as_str() == "SRC003" && !error.message.contains("soon")));
    Ok(())
}

/// An audit that cannot be written refuses the statement.
struct Broken(AtomicUsize);

#[async_trait]
impl AuditSink for Broken {
    async fn started(&self, _: AuditStart) -> std::result::Result<(), String> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err("the disk is full".to_owned())
    }

    async fn refused(&self, _: AuditRefusal) -> std::result::Result<(), String> {
        Err("the disk is full".to_owned())
    }

    fn ended(&self, _: AuditEnd) {}
}

#[tokio::test]
async fn nothing_leaves_without_an_audit_record() -> Result<()> {
    let sink = Arc::new(Broken(AtomicUsize::new(0)));
    let (_folder, session) = session(EngineOptions {
        audit: sink.clone(),
        ..EngineOptions::default()
    })
    .await?;
    let error = ask(&session, "SELECT id FROM shop.n LIMIT 1").await;
    ensure!(error.is_err_and(|error| error.code.as_str() == "SRV005"));
    ensure!(sink.0.load(Ordering::SeqCst) == 1);
    // Nor is one told why he is refused.
    let error = ask(&session, "SELECT id FROM shop.nothing").await;
    ensure!(error.is_err_and(|error| error.code.as_str() == "SRV005"));
    Ok(())
}

#[tokio::test]
async fn statements_fail_with_the_code_of_their_mistake() -> Result<()> {
    for (sql, wanted) in [
        ("SELEC 1", "SQL001"),
        ("DROP TABLE shop.n", "SQL002"),
        ("SELECT 1; SELECT 2", "SQL003"),
        ("SELECT * FROM shop.m", "SQL010"),
        ("SELECT * FROM shap.n", "SQL011"),
        ("SELECT texd FROM shop.n", "SQL012"),
        ("SELECT uper(text) FROM shop.n", "SQL013"),
        ("SELECT id FROM shop.n a JOIN shop.n b ON a.id = b.id", "SQL014"),
        ("SELECT id, count(*) FROM shop.n", "SQL015"),
        ("SELECT id FROM shop.n WHERE id = $1", "SQL016"),
        ("SELECT CAST(text AS INT) FROM shop.n LIMIT 1", "SQL020"),
        ("SELECT regexp_like(text, '(') FROM shop.n LIMIT 1", "SQL023"),
        ("SELECT 1 / (id - 1) FROM shop.n WHERE id = 1", "SQL021"),
        (
            "SELECT CAST(id AS DECIMAL(38, 0)) * 99999999999999999999999999999999999999 FROM shop.n WHERE id = 9",
            "SQL022",
        ),
        // Whole numbers do not wrap around, wherever in a statement they are computed.
        ("SELECT id * 9223372036854775807 FROM shop.n WHERE id = 9", "SQL022"),
        (
            "SELECT count(*) FROM shop.n WHERE id - 9223372036854775807 - 9 < 0",
            "SQL022",
        ),
        ("SELECT id FROM shop.n ORDER BY id + 9223372036854775800", "SQL022"),
        ("SELECT 9223372036854775807 + 1", "SQL022"),
        ("SELECT -(-9223372036854775807 - id) FROM shop.n WHERE id = 1", "SQL022"),
        (
            "SELECT sum(id + 9223372036854775000) FROM shop.n WHERE id < 10",
            "SQL022",
        ),
        (
            "SELECT id % 2, sum(id + 9223372036854775000) FROM shop.n WHERE id < 10 GROUP BY 1",
            "SQL022",
        ),
        (
            "SELECT sum(DISTINCT id + 9223372036854775000) FROM shop.n WHERE id < 10",
            "SQL022",
        ),
        (
            "SELECT sum(id + 9223372036854775000) OVER () FROM shop.n WHERE id < 10",
            "SQL022",
        ),
        (
            "SELECT regexp_like(text, '(a{1,1000}){1,1000}') FROM shop.n LIMIT 1",
            "SQL023",
        ),
    ] {
        let found = code(sql).await?;
        ensure!(found == wanted, "{sql}: {found}, wanted {wanted}");
    }
    Ok(())
}
