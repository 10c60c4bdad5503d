//! What a statement says when a source fails: the source's alias, a class, a code; never the driver's text or an address.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caliber_catalog::diagnostic::Severity;
use caliber_engine::{Engine, EngineError, EngineOptions};
use caliber_testkit::Postgres;
use caliber_tests::engine::{ask, open, principal};
use caliber_tests::flight::Client;
use caliber_tests::program::{Server, hash_of, run};
use futures::StreamExt;
use tempfile::TempDir;

/// A project of one source, that everybody reads.
fn project(folder: &Path, source: &str, policy: &str) -> Result<()> {
    let text = format!(
        "version: 1\nname: small\nsources:\n  shop: {source}\npolicies:\n  everything: {{ roles: [all], tables: ['*']{policy} }}\n"
    );
    Ok(fs::write(folder.join("caliber.yaml"), text)?)
}

fn numbers(folder: &Path) -> Result<rusqlite::Connection> {
    let database = rusqlite::Connection::open(folder.join("shop.db"))?;
    database.execute_batch(
        "CREATE TABLE n (id INTEGER PRIMARY KEY, text TEXT, spare INTEGER);
         INSERT INTO n WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100000)
             SELECT i, 'text ' || i, i FROM c;",
    )?;
    Ok(database)
}

async fn failure(engine: &std::sync::Arc<Engine>, sql: &str) -> Result<EngineError> {
    let found = ask(&engine.session(principal(&["all"], &[])), sql).await;
    found.err().with_context(|| format!("{sql}: was answered"))
}

#[tokio::test]
async fn a_source_that_is_down_is_a_warning_and_its_tables_are_absent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    project(folder.path(), "{ connector: postgres, url: '${env:URL}' }", "")?;
    let variables = [("URL", "postgres://clerk:canary@127.0.0.1:1/shop".to_owned())];
    let (engine, warnings) = open(folder.path(), &variables, EngineOptions::default()).await?;
    let warning = warnings
        .iter()
        .find(|warning| warning.code.as_str() == "PRJ014")
        .context("no PRJ014")?;
    ensure!(
        warning.severity == Severity::Warning && !format!("{warning:?}").contains("canary"),
        "{warning:?}"
    );
    let error = failure(&engine, "SELECT * FROM shop.n").await?;
    ensure!(
        ["SQL010", "SQL011", "SRC001"].contains(&error.code.as_str()),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_account_says_so_and_nothing_more() -> Result<()> {
    let postgres = Postgres::shared()?;
    let url = postgres
        .create_database("refused")
        .await?
        .replace(postgres.password(), "canary");
    let folder = tempfile::tempdir()?;
    project(folder.path(), "{ connector: postgres, url: '${env:URL}' }", "")?;
    let (_, warnings) = open(folder.path(), &[("URL", url)], EngineOptions::default()).await?;
    let said = format!("{warnings:?}");
    ensure!(
        said.contains("SRC002") || said.contains("refused the account"),
        "{said}"
    );
    ensure!(!said.contains("canary"), "{said}");
    Ok(())
}

/// What the source says of its own is for the log, not for the one who asked.
#[tokio::test]
async fn a_statement_that_the_source_refuses_shows_no_text_of_the_source() -> Result<()> {
    let postgres = Postgres::shared()?;
    let url = postgres.create_database("boom").await?;
    let script = "CREATE FUNCTION boom() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'canary'; END $$;
                  CREATE VIEW v AS SELECT boom() AS x;";
    postgres.run("boom", script).await?;
    let folder = tempfile::tempdir()?;
    project(folder.path(), "{ connector: postgres, url: '${env:URL}' }", "")?;
    let (engine, _) = open(folder.path(), &[("URL", url)], EngineOptions::default()).await?;
    let error = failure(&engine, "SELECT x FROM shop.v").await?;
    ensure!(
        error.code.as_str() == "SRC006" && !format!("{error:?}").contains("canary"),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_column_that_is_gone_is_a_change_of_the_source() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = numbers(folder.path())?;
    project(folder.path(), "{ connector: sqlite, path: shop.db }", "")?;
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    database.execute_batch("ALTER TABLE n DROP COLUMN spare")?;
    let error = failure(&engine, "SELECT max(spare) FROM shop.n").await?;
    ensure!(error.code.as_str() == "SRC004", "{error:?}");
    Ok(())
}

/// One connection, held by a result that nobody reads to its end: the next is refused in bounded time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_without_a_free_connection_is_busy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    numbers(folder.path())?;
    project(
        folder.path(),
        "{ connector: sqlite, path: shop.db, limits: { connections: 1 } }",
        "",
    )?;
    let (engine, _) = open(
        folder.path(),
        &[],
        EngineOptions {
            batch_rows: 10,
            ..EngineOptions::default()
        },
    )
    .await?;
    let session = engine.session(principal(&["all"], &[]));
    let mut held = session.execute("SELECT id, text FROM shop.n", None).await?;
    ensure!(held.next().await.is_some_and(|batch| batch.is_ok()));
    let error =
        tokio::time::timeout(Duration::from_secs(40), failure(&engine, "SELECT count(*) FROM shop.n")).await??;
    ensure!(error.code.as_str() == "SRC005", "{error:?}");
    Ok(())
}

/// A filter that fails on a row refuses the statement under its own code; whose row it is, nobody learns.
#[tokio::test]
async fn a_policy_that_fails_refuses() -> Result<()> {
    let folder = tempfile::tempdir()?;
    numbers(folder.path())?;
    project(
        folder.path(),
        "{ connector: sqlite, path: shop.db }",
        ", rows: { shop.n: CAST(text AS INT) > 0 }",
    )?;
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    let error = failure(&engine, "SELECT count(*) FROM shop.n").await?;
    ensure!(
        error.code.as_str() == "POL001" && !error.message.contains("text 1"),
        "{error:?}"
    );
    Ok(())
}

#[test]
fn without_tls_only_loopback_is_listened_on() -> Result<()> {
    let folder = TempDir::new()?;
    numbers(folder.path())?;
    project(folder.path(), "{ connector: sqlite, path: shop.db }", "")?;
    let path = folder.path().to_str().context("a folder that is not UTF-8")?;
    let refused = run(&["serve", "--project", path, "--listen", "0.0.0.0:0"], [])?;
    ensure!(
        refused.code == Some(1) && refused.notes.contains("SRV006"),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn one_user_s_statements_are_bounded() -> Result<()> {
    let folder = TempDir::new()?;
    numbers(folder.path())?;
    let made = hash_of("ada")?;
    ensure!(made.starts_with("$argon2id$"), "{made}");
    let text = format!(
        "version: 1\nname: small\nserver: {{ limits: {{ concurrent_per_user: 1 }} }}\nsources:\n  shop: {{ connector: sqlite, path: shop.db }}\n\
         policies:\n  everything: {{ roles: [all], tables: ['*'] }}\nusers:\n  ada: {{ password: '{made}', roles: [all] }}\n"
    );
    fs::write(folder.path().join("caliber.yaml"), text)?;
    let path = folder.path().to_str().context("a folder that is not UTF-8")?;
    let server = Server::start(&["serve", "--project", path, "--listen", "127.0.0.1:0"], [])?;
    let mut client = Client::connect(&server.uri, "ada").await?;
    let info = client
        .inner
        .execute("SELECT a.id, b.text FROM shop.n a, shop.n b".to_owned(), None)
        .await?;
    let ticket = info
        .endpoint
        .into_iter()
        .next()
        .and_then(|endpoint| endpoint.ticket)
        .context("no ticket")?;
    let mut held = client.inner.do_get(ticket).await?;
    ensure!(held.next().await.is_some_and(|batch| batch.is_ok()));
    let refusal = Client::connect(&server.uri, "ada")
        .await?
        .refused("SELECT count(*) FROM shop.n")
        .await?;
    ensure!(
        refusal.code() == "LIM005" && refusal.grpc == tonic::Code::ResourceExhausted,
        "{refusal:?}"
    );
    Ok(())
}

/// A policy may need a source that the principal knows nothing of: neither receipt nor error names it.
#[tokio::test]
async fn inv4_a_source_that_only_a_policy_reads_is_never_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let people = folder.path().join("people.db");
    rusqlite::Connection::open(&people)?.execute_batch(
        "CREATE TABLE person (id INTEGER PRIMARY KEY, team INTEGER); INSERT INTO person VALUES (1, 7), (2, 8);",
    )?;
    rusqlite::Connection::open(folder.path().join("shop.db"))?.execute_batch(
        "CREATE TABLE n (id INTEGER PRIMARY KEY, person INTEGER); INSERT INTO n VALUES (1, 1), (2, 2), (3, 1);",
    )?;
    let text = "version: 1\nname: small\nsources:\n  hidden: { connector: sqlite, path: people.db }\n  shop: { connector: sqlite, path: shop.db }\n\
        tables:\n  shop.n: { references: { person: hidden.person.id } }\n\
        entities:\n  person: { table: hidden.person, key: id }\n\
        policies:\n  team: { roles: [all], tables: [shop.n], rows: { person: team = 7 } }\n";
    fs::write(folder.path().join("caliber.yaml"), text)?;
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    let mut rows = engine
        .session(principal(&["all"], &[]))
        .execute("SELECT id FROM shop.n", None)
        .await?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        count += batch?.num_rows();
    }
    let named: Vec<String> = rows.receipt().sources.into_iter().map(|source| source.source).collect();
    ensure!(count == 2 && named == ["shop"], "{count} rows, {named:?}");
    fs::remove_file(&people)?;
    let error = failure(&engine, "SELECT id FROM shop.n").await?;
    ensure!(error.code.as_str() == "SRC001", "{error:?}");
    ensure!(!format!("{error:?}").contains("hidden"), "{error:?}");
    Ok(())
}
