//! The audit log of a running server: what it holds, who may read it, and that nothing leaves without it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use caliber_engine::{AuditEnd, AuditRefusal, AuditSink, AuditStart, EngineOptions};
use caliber_tests::engine::{open, principal};
use caliber_tests::flight::Client;
use caliber_tests::program::{Server, run};
use caliber_tests::proof::crash::{REFUSED_WITHIN, full_disk, killed};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

/// The demo bank, served; the folder holds its log.
fn demo() -> Result<(TempDir, Server)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().context("a path that is not UTF-8")?;
    let server = Server::start(
        &["demo", "--customers", "100", "--dir", path, "--listen", "127.0.0.1:0"],
        [],
    )?;
    Ok((folder, server))
}

/// Ends the server while the clients' connections, which this runtime drives, may close.
async fn stop(server: Server) -> Result<()> {
    tokio::task::spawn_blocking(move || server.stop(Duration::from_secs(40)).map(drop)).await?
}

fn records(folder: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(folder.join("audit/audit.jsonl"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The records of that kind and principal.
fn of<'a>(records: &'a [Value], kind: &str, user: &str) -> Vec<&'a Value> {
    records
        .iter()
        .filter(|record| record["kind"] == kind && record["principal"] == user)
        .collect()
}

#[tokio::test]
async fn a_record_says_who_asked_what_and_no_value() -> Result<()> {
    let (folder, server) = demo()?;
    let client = Client::connect(&server.uri, "anna").await?;
    let sql =
        "SELECT customer_id, phone FROM accounting.customer WHERE branch_id = 1 AND name_en <> 'Canary Smith' LIMIT 3";
    let rows = client.rows(sql).await?;
    ensure!(rows.len() == 3);
    let petr = Client::connect(&server.uri, "petr").await?;
    petr.rows("SELECT count(*) FROM settlement.payment WHERE amount < -12345.67")
        .await?;
    petr.refused("SELECT * FROM credit.canary WHERE x = 'Canary Smith'")
        .await?;
    petr.refused("DELETE FROM credit.loan WHERE loan_id = 987654321")
        .await?;
    ensure!(Client::connect(&server.uri, "mallory\u{1b}[2J").await.is_err());
    stop(server).await?;

    let records = records(folder.path())?;
    let start = of(&records, "start", "anna").into_iter().next().context("no start")?;
    ensure!(start["roles"] == serde_json::json!(["analyst"]), "{start}");
    ensure!(start["authentication"] == "password", "{start}");
    ensure!(
        start["address"]
            .as_str()
            .is_some_and(|text| text.starts_with("127.0.0.1:")),
        "{start}"
    );
    ensure!(start["tables"] == serde_json::json!(["accounting.customer"]), "{start}");
    let columns = ["branch_id", "customer_id", "name_en", "phone"].map(|name| format!("accounting.customer.{name}"));
    ensure!(start["columns"] == serde_json::json!(columns), "{start}");
    ensure!(
        start["masked"] == serde_json::json!(["accounting.customer.name_en", "accounting.customer.phone"]),
        "{start}"
    );
    ensure!(
        start["policies"] == serde_json::json!(["head office reads everything but who people are"]),
        "{start}"
    );
    ensure!(start["sources"] == serde_json::json!(["accounting"]), "{start}");
    ensure!(
        start["snapshot"].as_str().is_some_and(|text| text.len() == 64),
        "{start}"
    );
    let statement = start["statement"].as_str().context("no statement")?;
    ensure!(
        statement.starts_with("SELECT customer_id, phone FROM accounting.customer WHERE branch_id = ‹hmac:"),
        "{statement}"
    );
    let end = records
        .iter()
        .find(|record| record["kind"] == "end" && record["query_id"] == start["query_id"]);
    let end = end.context("no end")?;
    ensure!(
        end["rows"] == 3 && end["outcome"] == "ok" && end["sources"] == serde_json::json!(["accounting"]),
        "{end}"
    );
    // Petr sees the customers of his branch: his policy reads Accounting to filter Settlement.
    let start = of(&records, "start", "petr").into_iter().next().context("no start")?;
    ensure!(
        start["sources"] == serde_json::json!(["accounting", "settlement"]),
        "{start}"
    );
    ensure!(start["attributes"] == serde_json::json!(["branch_id"]), "{start}");
    let refused: Vec<_> = of(&records, "refused", "petr")
        .iter()
        .map(|record| record["outcome"].clone())
        .collect();
    ensure!(refused == ["SQL010", "SQL002"], "{refused:?}");
    let wrong = of(&records, "login", "mallory\u{1b}[2J")
        .into_iter()
        .next()
        .context("no log-in")?;
    ensure!(wrong["outcome"] == "SRV001", "{wrong}");
    ensure!(of(&records, "login", "anna").len() == 1 && of(&records, "login", "anna")[0]["outcome"] == "ok");
    let text = fs::read_to_string(folder.path().join("audit/audit.jsonl"))?;
    for hidden in ["Canary Smith", "12345", "987654321", "\u{1b}"] {
        ensure!(!text.contains(hidden), "{hidden} is in the log");
    }
    ensure!(records.last().is_some_and(|record| record["kind"] == "server_stop"));
    Ok(())
}

#[tokio::test]
async fn only_an_administrator_has_the_audit_table() -> Result<()> {
    let (_folder, server) = demo()?;
    let anna = Client::connect(&server.uri, "anna").await?;
    anna.rows("SELECT count(*) FROM credit.loan").await?;
    let ada = Client::connect(&server.uri, "ada").await?;
    let sql = "SELECT kind, tables, rows, outcome FROM caliber.audit WHERE query_id IN \
               (SELECT query_id FROM caliber.audit WHERE principal = 'anna') ORDER BY seq";
    let rows = ada.rows(sql).await?;
    ensure!(rows.len() == 2, "{rows:?}");
    ensure!(
        rows[0][..2] == ["start", "credit.loan"] && rows[1][2..] == ["1", "ok"],
        "{rows:?}"
    );
    // Reading the log is recorded as well.
    let own = ada
        .rows("SELECT tables FROM caliber.audit WHERE principal = 'ada' AND kind = 'start'")
        .await?;
    ensure!(own == [["caliber.audit"]], "{own:?}");
    // To others it is as if it were not: the same words as for a name that never was.
    let refused = anna.refused("SELECT * FROM caliber.audit").await?;
    let absent = anna.refused("SELECT * FROM caliber.autid").await?;
    ensure!(
        refused.message.replace("audit", "autid") == absent.message,
        "{refused} {absent}"
    );
    let listed = anna
        .rows("SELECT table_name FROM information_schema.tables WHERE table_name = 'audit'")
        .await?;
    ensure!(listed.is_empty(), "{listed:?}");
    stop(server).await
}

#[tokio::test]
async fn the_commands_show_and_verify_the_log() -> Result<()> {
    let (folder, server) = demo()?;
    let client = Client::connect(&server.uri, "anna").await?;
    client.rows("SELECT count(*) FROM credit.loan").await?;
    let path = folder.path().to_str().context("a path that is not UTF-8")?;
    // A second server would break the chain.
    let second = run(&["serve", "--project", path, "--listen", "127.0.0.1:0"], [])?;
    ensure!(
        second.code == Some(1) && second.notes.contains("SRV005") && second.notes.contains("another server"),
        "{second:?}"
    );
    let tail = run(&["audit", "tail", "--project", path, "-n", "100", "--user", "anna"], [])?;
    ensure!(tail.code == Some(0), "{tail:?}");
    ensure!(
        tail.out.contains("login") && tail.out.contains("[credit.loan] SELECT count(*) FROM credit.loan"),
        "{}",
        tail.out
    );
    let json = run(&["audit", "tail", "--project", path, "-n", "2", "--json"], [])?;
    let lines: Vec<Value> = json
        .out
        .lines()
        .map(serde_json::from_str)
        .collect::<std::result::Result<_, _>>()?;
    ensure!(
        lines.len() == 2 && lines[0]["kind"] == "start" && lines[1]["kind"] == "end",
        "{}",
        json.out
    );
    stop(server).await?;
    let whole = run(&["audit", "verify", "--project", path], [])?;
    ensure!(
        whole.code == Some(0) && whole.out.contains("the chain holds") && whole.out.contains(" 0 unfinished"),
        "{whole:?}"
    );
    let file = folder.path().join("audit/audit.jsonl");
    let text = fs::read_to_string(&file)?;
    let line = text
        .lines()
        .position(|line| line.contains("\"start\""))
        .context("no start")?
        + 1;
    fs::write(&file, text.replacen("credit.loan", "credit.card", 1))?;
    let broken = run(&["audit", "verify", "--project", path], [])?;
    ensure!(broken.code == Some(1), "{broken:?}");
    ensure!(
        broken.out.contains(&format!("audit.jsonl:{line}: changed")),
        "{}",
        broken.out
    );
    Ok(())
}

/// Lets a start wait until the test says so, and notes every end.
#[derive(Default)]
struct Gate {
    open: tokio::sync::Notify,
    asked: tokio::sync::Notify,
    ends: Mutex<Vec<String>>,
}

#[async_trait]
impl AuditSink for Gate {
    async fn started(&self, _: AuditStart) -> std::result::Result<(), String> {
        self.asked.notify_one();
        self.open.notified().await;
        Ok(())
    }

    async fn refused(&self, _: AuditRefusal) -> std::result::Result<(), String> {
        Ok(())
    }

    fn ended(&self, record: AuditEnd) {
        let outcome = record.outcome.map_or_else(|code| code.as_str(), |()| "ok");
        self.ends.lock().push(format!("{outcome} {}", record.rows));
    }
}

#[tokio::test]
async fn no_row_is_delivered_before_its_start_is_durable() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = rusqlite::Connection::open(folder.path().join("shop.db"))?;
    database.execute_batch("CREATE TABLE n (id INTEGER PRIMARY KEY); INSERT INTO n VALUES (1), (2);")?;
    let project = "
version: 1
name: small
sources:
  shop: { connector: sqlite, path: shop.db }
policies:
  everything: { roles: [all], tables: ['*'] }
";
    fs::write(folder.path().join("caliber.yaml"), project)?;
    let sink = Arc::new(Gate::default());
    let options = EngineOptions {
        audit: sink.clone(),
        ..EngineOptions::default()
    };
    let (engine, _) = open(folder.path(), &[], options).await?;
    let session = engine.session(principal(&["all"], &[]));
    let running = {
        let session = session.clone();
        tokio::spawn(async move { session.execute("SELECT id FROM shop.n", None).await })
    };
    sink.asked.notified().await;
    ensure!(!running.is_finished(), "a stream was given before its record");
    sink.open.notify_one();
    let mut stream = running.await??;
    let rows = stream.next().await.context("no rows")??.num_rows();
    ensure!(rows == 2 && stream.next().await.is_none());
    // Who leaves while his record is on its way leaves an end all the same.
    let leaving = tokio::spawn(async move { session.execute("SELECT id FROM shop.n", None).await.map(drop) });
    sink.asked.notified().await;
    leaving.abort();
    ensure!(leaving.await.is_err());
    ensure!(*sink.ends.lock() == ["ok 2", "LIM006 0"], "{:?}", sink.ends.lock());
    Ok(())
}

#[tokio::test]
async fn a_killed_server_delivered_nothing_unrecorded() -> Result<()> {
    let found = killed(5, 1, &|_| {}).await?;
    ensure!(
        found.kills == 5 && found.received >= 5 && found.unfinished > 0,
        "{found:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_full_disk_refuses_everything_until_there_is_room() -> Result<()> {
    let full = full_disk(&|_| {}).await?;
    // Other tests have the processors too; the slowest is held to the same by the proof, which runs alone.
    ensure!(full.median() <= REFUSED_WITHIN, "{:?}", full.refused);
    Ok(())
}
