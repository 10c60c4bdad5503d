//! The three departments of the real bank, where its data lies beside the checkout.
//!
//! Owns: loading it into this process's servers, once. Never: a copy of it in the repository.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures::SinkExt;
use tokio::sync::OnceCell;

use crate::{MariaDb, Postgres};

/// Where each department's data is, and the project that describes them.
#[derive(Clone)]
pub struct Bank {
    /// Settlement: a PostgreSQL address.
    pub settlement_url: String,
    /// Credit: a MariaDB address.
    pub credit_url: String,
    /// Financial Planning and Accounting: an SQLite file.
    pub accounting_db: PathBuf,
    /// The project folder. It reads SETTLEMENT_URL, CREDIT_URL and ACCOUNTING_DB from its environment.
    pub project: PathBuf,
}

/// The bank, loaded once for the process; `None`, with a note, where its data is absent.
pub async fn bank() -> Result<Option<&'static Bank>> {
    static BANK: OnceCell<Bank> = OnceCell::const_new();
    let folder = crate::checkout().join("../shared/bank");
    if !folder.join("settlement.sql.gz").exists() {
        note_absence(&folder);
        return Ok(None);
    }
    BANK.get_or_try_init(|| load(&folder)).await.map(Some)
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn note_absence(folder: &Path) {
    eprintln!("skipped: the bank's data is not in {}", folder.display());
}

async fn load(folder: &Path) -> Result<Bank> {
    let postgres = Postgres::shared()?;
    let settlement_url = postgres.create_database("settlement").await?;
    load_settlement(postgres, &script(folder, "settlement.sql.gz")?)
        .await
        .context("settlement.sql.gz")?;
    let mariadb = MariaDb::shared()?;
    let credit_url = mariadb.create_database("credit").await?;
    mariadb
        .run("credit", &script(folder, "credit.sql.gz")?)
        .await
        .context("credit.sql.gz")?;
    // Else what the server says of its tables is of some moment of the load.
    mariadb.run("credit", "ANALYZE TABLE loan, card").await?;
    let accounting_db = postgres.scratch().join("accounting.db");
    let accounting = rusqlite::Connection::open(&accounting_db)?;
    accounting
        .execute_batch(&script(folder, "accounting.sql.gz")?)
        .context("accounting.sql.gz")?;
    let project = folder.join("project").canonicalize()?;
    Ok(Bank {
        settlement_url,
        credit_url,
        accounting_db,
        project,
    })
}

fn script(folder: &Path, name: &str) -> Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(folder.join(name)).with_context(|| name.to_owned())?;
    GzDecoder::new(file).read_to_string(&mut text)?;
    Ok(text)
}

/// Runs a script in which `COPY … FROM stdin;` is followed by rows up to `\.`, as psql does.
async fn load_settlement(postgres: &Postgres, script: &str) -> Result<()> {
    let client = postgres.client("settlement").await?;
    let mut rest = script;
    while let Some((before, copied)) = rest.split_once(" FROM stdin;\n") {
        let (sql, copy) = before.rsplit_once('\n').unwrap_or(("", before));
        client.batch_execute(sql).await?;
        let (rows, after) = copied.split_once("\n\\.\n").context("rows without an end")?;
        let sink = client.copy_in(&format!("{copy} FROM STDIN")).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(format!("{rows}\n"))).await?;
        sink.finish().await?;
        rest = after;
    }
    Ok(client.batch_execute(rest).await?)
}
