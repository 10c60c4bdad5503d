//! A column of every type that PostgreSQL, MariaDB and SQLite have: `=`, `<`, GROUP BY and ORDER BY by each come out the
//! same whether the source evaluates them or the engine (INV-5).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Field, Schema};
use arrow::util::display::array_value_to_string;
use caliber_catalog::load;
use caliber_connector_spi::{Capabilities, Connector, RemoteColumn, RemoteTable, SourceSpec};
use caliber_connectors::FACTORIES;
use caliber_engine::{EngineOptions, Session, connector_kinds};
use caliber_testkit::torture::{MARIADB, POSTGRES, SQLITE, Torture};
use caliber_testkit::{MariaDb, Postgres};
use caliber_tests::engine::{Variables, open, principal};
use caliber_tests::rows;
use futures::StreamExt;
use tempfile::TempDir;

/// What came of a statement, and what was sent for it.
struct Answer {
    outcome: std::result::Result<Vec<Vec<String>>, String>,
    batch: Option<RecordBatch>,
    sent: String,
}

async fn run(session: &Session, sql: &str, parameter: Option<&ArrayRef>) -> Result<Answer> {
    let parameters = match parameter {
        Some(array) => {
            let field = Field::new("$1", array.data_type().clone(), true);
            Some(RecordBatch::try_new(
                Arc::new(Schema::new(vec![field])),
                vec![array.clone()],
            )?)
        }
        None => None,
    };
    let failed = |code: &str| Answer {
        outcome: Err(code.to_owned()),
        batch: None,
        sent: String::new(),
    };
    let mut stream = match session.execute(sql, parameters).await {
        Ok(stream) => stream,
        Err(error) => return Ok(failed(error.code.as_str())),
    };
    let schema = stream.schema();
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(error) => return Ok(failed(error.code.as_str())),
        }
    }
    let sent: Vec<String> = stream
        .statements()
        .into_iter()
        .map(|(_, statement)| statement)
        .collect();
    Ok(Answer {
        outcome: Ok(rows::texts(&batches)?),
        batch: Some(concat_batches(&schema, &batches)?),
        sent: sent.join("\n"),
    })
}

/// The same source behind two engines, one of which pushes nothing.
struct Both {
    pushed: Session,
    local: Session,
    table: RemoteTable,
    capabilities: Capabilities,
    _folder: TempDir,
}

impl Both {
    async fn open(source: &str, url: Option<String>, folder: TempDir) -> Result<Self> {
        let project = format!(
            "version: 1\nname: torture\nsources:\n  s: {source}\npolicies:\n  all: {{ roles: [all], tables: ['*'] }}\n"
        );
        std::fs::write(folder.path().join("caliber.yaml"), project)?;
        let variables: Vec<(&'static str, String)> = url.into_iter().map(|url| ("URL", url)).collect();
        let session = async |pushdown| -> Result<Session> {
            let options = EngineOptions {
                pushdown,
                require_sources: true,
                ..EngineOptions::default()
            };
            let (engine, _) = open(folder.path(), &variables, options).await?;
            Ok(engine.session(principal(&["all"], &[])))
        };
        let (pushed, local) = (session(true).await?, session(false).await?);
        let connector = connector(folder.path(), &variables)?;
        let table = connector
            .introspect()
            .await?
            .table("torture")
            .context("no table")?
            .clone();
        Ok(Self {
            pushed,
            local,
            table,
            capabilities: connector.capabilities().clone(),
            _folder: folder,
        })
    }

    /// Both answers, which are one; what was sent for the pushed one.
    async fn same(&self, sql: &str, parameter: Option<&ArrayRef>, is_ordered: bool) -> Result<Answer> {
        let pushed = run(&self.pushed, sql, parameter).await?;
        let local = run(&self.local, sql, parameter).await?;
        let spelt = |answer: &Answer| match &answer.outcome {
            Ok(found) if is_ordered => Ok(found.clone()),
            Ok(found) => Ok(rows::sorted(found.clone())),
            Err(code) => Err(code.clone()),
        };
        ensure!(
            spelt(&pushed) == spelt(&local),
            "{sql} of {parameter:?}\n pushed {:?}\n local {:?}\n sent {}",
            spelt(&pushed),
            spelt(&local),
            pushed.sent
        );
        ensure!(pushed.outcome.is_ok(), "{sql} of {parameter:?}: {:?}", pushed.outcome);
        Ok(pushed)
    }

    /// One column, by everything that compares it; how many statements there were.
    async fn check(&self, column: &RemoteColumn, values: &ArrayRef) -> Result<usize> {
        let name = format!("\"{}\"", column.name.replace('"', "\"\""));
        let mut count = 0;
        for (operator, classes) in [("=", self.capabilities.equality), ("<", self.capabilities.order)] {
            let sql = format!("SELECT id FROM s.torture WHERE {name} {operator} $1");
            for at in 0..values.len() {
                let at = UInt32Array::from(vec![u32::try_from(at)?]);
                let value = take(values, &at, None)?;
                let answer = self.same(&sql, Some(&value), false).await?;
                count += 1;
                // What a source says that it compares, it is asked to compare, but for the values that it has not.
                if column.comparable && classes.holds(&column.data_type) && value.null_count() == 0 {
                    let is_sent = answer.sent.contains(" WHERE ");
                    let is_text = array_value_to_string(&value, 0)?;
                    ensure!(
                        is_sent || is_text.contains('\0'),
                        "{sql} of {is_text:?} was not asked for: {}",
                        answer.sent
                    );
                }
            }
        }
        let is_grouped = |answer: &Answer| answer.sent.contains(" GROUP BY ");
        let groups = format!("SELECT {name}, count(*) FROM s.torture GROUP BY {name}");
        let answer = self.same(&groups, None, false).await?;
        ensure!(
            is_grouped(&answer)
                || !(column.comparable && self.capabilities.group.holds(&column.data_type))
                || is_long(column),
            "{groups} was not asked for: {}",
            answer.sent
        );
        for order in ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"] {
            let sorted = format!("SELECT id, {name} FROM s.torture ORDER BY {name}{order}, id");
            self.same(&sorted, None, true).await?;
            let first = format!("{sorted} LIMIT 7");
            self.same(&first, None, true).await?;
        }
        Ok(count + 9)
    }

    async fn check_all(&self, torture: &Torture) -> Result<()> {
        // Each value is there twice, one after the other, between two rows of NULL.
        let all = run(&self.local, "SELECT * FROM s.torture ORDER BY id", None).await?;
        let all = all.batch.context("the table is not read")?;
        let mut count = 0;
        for column in &self.table.columns {
            let array = all.column_by_name(&column.name).context("a column is gone")?;
            let once = (0..u32::try_from(array.len())?).filter(|row| row % 2 == 1);
            let known = once.filter(|row| usize::try_from(*row).is_ok_and(|row| !array.is_null(row)));
            // And NULL.
            let rows: UInt32Array = known.chain([0]).collect::<Vec<_>>().into();
            count += self.check(column, &take(array, &rows, None)?).await?;
        }
        ensure!(count > torture.columns.len() * 12, "only {count} statements");
        Ok(())
    }
}

/// Texts and bytes of any length, which some sources compare by their first bytes.
fn is_long(column: &RemoteColumn) -> bool {
    let native = column.native_type.as_str();
    ["text", "longtext", "longblob"]
        .iter()
        .any(|long| native.starts_with(long))
}

/// The source of the project, apart from any engine: what it says of itself.
fn connector(folder: &Path, variables: &[(&'static str, String)]) -> Result<Arc<dyn Connector>> {
    let kinds = connector_kinds(FACTORIES);
    let (project, _) = load(folder, &Variables(variables), &kinds).map_err(|findings| anyhow!("{findings:?}"))?;
    let source = project.sources.get("s").context("no source")?;
    let factory = FACTORIES.iter().find(|factory| factory.kind() == source.connector);
    let spec = SourceSpec {
        name: "s".to_owned(),
        options: source.options.clone(),
        connections_max: 1,
        statement_timeout: Duration::from_secs(60),
    };
    Ok(factory.context("no such kind")?.open(&spec)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv5_every_type_of_postgres() -> Result<()> {
    let server = Postgres::shared()?;
    let url = server.create_database("torture").await?;
    server.run("torture", &POSTGRES.script()).await?;
    let both = Both::open("{ connector: postgres, url: '${env:URL}' }", Some(url), TempDir::new()?).await?;
    both.check_all(&POSTGRES).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv5_every_type_of_mariadb() -> Result<()> {
    let server = MariaDb::shared()?;
    let url = server.create_database("torture").await?;
    server.run("torture", &MARIADB.script()).await?;
    let both = Both::open("{ connector: mysql, url: '${env:URL}' }", Some(url), TempDir::new()?).await?;
    both.check_all(&MARIADB).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv5_every_type_of_sqlite() -> Result<()> {
    let folder = TempDir::new()?;
    rusqlite::Connection::open(folder.path().join("torture.db"))?.execute_batch(&SQLITE.script())?;
    let both = Both::open("{ connector: sqlite, path: torture.db }", None, folder).await?;
    both.check_all(&SQLITE).await
}
