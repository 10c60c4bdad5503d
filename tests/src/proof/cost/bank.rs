//! The bank whose queries are counted, once in SQLite and once in Parquet, and the policies over it.
//!
//! Owns: rows drawn from a seed, the two projects. Never: a query.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use caliber_catalog::principal::{AttributeValue, Principal};
use caliber_engine::{Engine, EngineOptions};
use datafusion::parquet::arrow::ArrowWriter;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::engine;

/// The kinds of source, by the connector's word.
pub(super) const KINDS: [&str; 2] = ["sqlite", "files"];
/// Tables, each in a file of its own where the source is files.
pub(super) const TABLES: [&str; 4] = ["client", "account", "disp", "trans"];
/// Branches and districts; half of each is visible.
const PLACES: i64 = 100;
const KINDS_OF_TRANS: [&str; 5] = ["CARD", "SALARY", "FEE", "TRANSFER", "INTEREST"];

const POLICIES: &str = "
tables:
  bank.client: { key: id }
  bank.account: { key: id }
  bank.disp: { references: { client_id: bank.client.id, account_id: bank.account.id } }
  bank.trans: { key: id, references: { account_id: bank.account.id } }
entities:
  customer:
    table: bank.client
    key: id
    attributes:
      district: district
      age: 2026 - birth_year
    holdings:
      bank.account: { bridge: bank.disp, where: type = 'OWNER', rule: primary_holder }
policies:
  tellers see their branches:
    roles: [teller]
    tables: ['bank.*']
    rows:
      bank.trans: branch < principal.share
      bank.account: branch < principal.share
    masks:
      bank.trans.note: \"'***'\"
      bank.trans.partner: substr(partner, 1, 2) || '****'
      bank.trans.amount: CASE WHEN kind = 'SALARY' THEN NULL ELSE amount END
  districts see their customers:
    roles: [district]
    tables: ['bank.*', 'unified.*']
    rows:
      customer: district < principal.share
";

/// A bank in a folder.
pub(super) struct Bank(TempDir);

impl Bank {
    /// `trans` has so many rows, a tenth as many accounts, a twentieth as many clients.
    pub fn make(rows: u64, seed: u64) -> Result<Self> {
        let folder = TempDir::new()?;
        let tables = tables(i64::try_from(rows)?, seed)?;
        for kind in KINDS {
            let path = folder.path().join(kind);
            fs::create_dir(&path)?;
            let source = if kind == "sqlite" {
                sqlite(&path.join("bank.db"), &tables)?;
                "{ connector: sqlite, path: bank.db }".to_owned()
            } else {
                parquet(&path, &tables)?;
                let named = TABLES.map(|name| format!("{name}: {{ path: {name}.parquet, format: parquet }}"));
                format!("{{ connector: files, path: ., tables: {{ {} }} }}", named.join(", "))
            };
            let project = format!(
                "version: 1\nname: cost\nserver: {{ limits: {{ memory: 8GiB, query_memory: 4GiB }} }}\nsources:\n  bank: {source}\n{POLICIES}"
            );
            fs::write(path.join("caliber.yaml"), project)?;
        }
        Ok(Self(folder))
    }

    /// The project over one kind of source.
    pub fn folder(&self, kind: &str) -> PathBuf {
        self.0.path().join(kind)
    }
}

/// The engine over a project, one partition: both sides do their work in one thread's order.
pub(super) async fn engine(folder: &Path) -> Result<Arc<Engine>> {
    let options = EngineOptions {
        partitions: 1,
        ..EngineOptions::default()
    };
    let (engine, warnings) = engine::open(folder, &[], options).await?;
    match warnings.first() {
        Some(warning) => Err(anyhow!("{}", warning.message)),
        None => Ok(engine),
    }
}

/// A principal with the role, who sees half of the branches or districts.
pub(super) fn principal(role: &str) -> Principal {
    engine::principal(&[role], &[("share", AttributeValue::Int(PLACES / 2))])
}

fn tables(rows: i64, seed: u64) -> Result<Vec<(&'static str, RecordBatch)>> {
    let mut dice = StdRng::seed_from_u64(seed);
    let (accounts, clients) = (rows / 10, rows / 20);
    let ints = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let texts = |values: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let mut draw = |count: i64, below: i64| -> Vec<i64> { (0..count).map(|_| dice.random_range(0..below)).collect() };
    let client = [
        ("id", ints((0..clients).collect())),
        ("name", texts((0..clients).map(|id| format!("Client {id}")).collect())),
        ("district", ints(draw(clients, PLACES))),
        (
            "birth_year",
            ints(draw(clients, 80).into_iter().map(|year| 1930 + year).collect()),
        ),
    ];
    let account = [
        ("id", ints((0..accounts).collect())),
        ("branch", ints(draw(accounts, PLACES))),
        ("opened", ints(draw(accounts, 10_000))),
    ];
    let owners = draw(accounts * 3 / 2, clients.max(1));
    let disp = [
        ("id", ints((0..accounts * 3 / 2).collect())),
        (
            "account_id",
            ints((0..accounts * 3 / 2).map(|at| at % accounts.max(1)).collect()),
        ),
        ("client_id", ints(owners)),
        (
            "type",
            texts(
                (0..accounts * 3 / 2)
                    .map(|at| if at < accounts { "OWNER" } else { "USER" }.to_owned())
                    .collect(),
            ),
        ),
    ];
    let kinds = draw(rows, 5);
    let trans = [
        ("id", ints((0..rows).collect())),
        ("account_id", ints(draw(rows, accounts.max(1)))),
        ("branch", ints(draw(rows, PLACES))),
        ("day", ints(draw(rows, 3_000))),
        ("amount", ints(draw(rows, 1_000_000))),
        (
            "kind",
            texts(
                kinds
                    .iter()
                    .filter_map(|at| KINDS_OF_TRANS.get(usize::try_from(*at).ok()?))
                    .map(|kind| (*kind).to_owned())
                    .collect(),
            ),
        ),
        (
            "partner",
            texts(
                draw(rows, 100_000_000)
                    .into_iter()
                    .map(|at| format!("CZ{at:018}"))
                    .collect(),
            ),
        ),
        (
            "note",
            texts(
                draw(rows, 1_000)
                    .into_iter()
                    .map(|at| format!("note number {at}"))
                    .collect(),
            ),
        ),
    ];
    Ok(vec![
        ("client", RecordBatch::try_from_iter(client)?),
        ("account", RecordBatch::try_from_iter(account)?),
        ("disp", RecordBatch::try_from_iter(disp)?),
        ("trans", RecordBatch::try_from_iter(trans)?),
    ])
}

fn parquet(folder: &Path, tables: &[(&str, RecordBatch)]) -> Result<()> {
    for (name, batch) in tables {
        let file = File::create(folder.join(format!("{name}.parquet")))?;
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
        writer.write(batch)?;
        writer.close()?;
    }
    Ok(())
}

fn sqlite(path: &Path, tables: &[(&str, RecordBatch)]) -> Result<()> {
    let mut database = rusqlite::Connection::open(path)?;
    let all = database.transaction()?;
    for (name, batch) in tables {
        let columns: Vec<String> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| match (field.name().as_str(), field.data_type().is_integer()) {
                ("id", _) => "id INTEGER PRIMARY KEY".to_owned(),
                (name, true) => format!("{name} BIGINT NOT NULL"),
                (name, false) => format!("{name} TEXT NOT NULL"),
            })
            .collect();
        all.execute_batch(&format!("CREATE TABLE {name} ({})", columns.join(", ")))?;
        let places = vec!["?"; batch.num_columns()].join(", ");
        let mut insert = all.prepare(&format!("INSERT INTO {name} VALUES ({places})"))?;
        for row in 0..batch.num_rows() {
            let values: Vec<rusqlite::types::Value> = batch.columns().iter().map(|column| value(column, row)).collect();
            insert.execute(rusqlite::params_from_iter(values))?;
        }
    }
    all.commit()?;
    Ok(())
}

fn value(column: &ArrayRef, row: usize) -> rusqlite::types::Value {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    match column.as_primitive_opt::<Int64Type>() {
        Some(numbers) => numbers.value(row).into(),
        None => column.as_string::<i32>().value(row).to_owned().into(),
    }
}
