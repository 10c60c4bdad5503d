//! The fuzzer's rows in four live sources, and engines over them.
//!
//! Owns: loading, the project, one engine for each way of running. Never: a comparison.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use caliber_engine::{Engine, EngineOptions};
use caliber_testkit::{MariaDb, Postgres};
use datafusion::parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::data::{self, Data, SOURCES, TABLES};
use super::policy;
use crate::engine;

/// How an engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    pub pushdown: bool,
    pub batch_rows: usize,
    pub partitions: usize,
}

/// Four sources of the same tables.
pub struct Sources {
    folder: TempDir,
    urls: [(&'static str, String); 2],
    engines: Mutex<BTreeMap<Running, Arc<Engine>>>,
}

impl Sources {
    /// Loads the rows into databases of that name.
    pub async fn load(data: &Data, name: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        rusqlite::Connection::open(folder.path().join("lite.db"))?
            .execute_batch(&data::script(data, "lite"))
            .context("SQLite")?;
        parquet(data, &folder.path().join("files"))?;
        let (postgres, mariadb) = (Postgres::shared()?, MariaDb::shared()?);
        let urls = [
            ("PG_URL", postgres.create_database(name).await?),
            ("MY_URL", mariadb.create_database(name).await?),
        ];
        postgres
            .run(name, &data::script(data, "pg"))
            .await
            .context("PostgreSQL")?;
        mariadb.run(name, &data::script(data, "my")).await.context("MariaDB")?;
        fs::write(folder.path().join("caliber.yaml"), project())?;
        Ok(Self {
            folder,
            urls,
            engines: Mutex::default(),
        })
    }

    /// The engine that runs so, opened at its first use.
    pub async fn engine(&self, running: Running) -> Result<Arc<Engine>> {
        let mut engines = self.engines.lock().await;
        if let Some(engine) = engines.get(&running) {
            return Ok(Arc::clone(engine));
        }
        let options = EngineOptions {
            pushdown: running.pushdown,
            batch_rows: running.batch_rows,
            partitions: running.partitions,
            require_sources: true,
            ..EngineOptions::default()
        };
        let (engine, _) = engine::open(self.folder.path(), &self.urls, options).await?;
        engines.insert(running, Arc::clone(&engine));
        Ok(engine)
    }
}

fn project() -> String {
    let files: String = TABLES
        .iter()
        .map(|(name, _)| format!("      {name}: {{ path: {name}.parquet, format: parquet }}\n"))
        .collect();
    format!(
        "version: 1
name: fuzz
sources:
  pg: {{ connector: postgres, url: \"${{env:PG_URL}}\", limits: {{ connections: 3 }} }}
  my: {{ connector: mysql, url: \"${{env:MY_URL}}\", limits: {{ connections: 3 }} }}
  lite: {{ connector: sqlite, path: lite.db }}
  parquet:
    connector: files
    path: files
    tables:
{files}{}",
        policy::yaml()
    )
}

fn parquet(data: &Data, folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    let source = SOURCES[3];
    for (table, _) in TABLES {
        let columns = data::arrow_columns(source, table);
        let batch = data::batch(&columns, &|name| name == "id", data.rows(source, table))?;
        let file = folder.join(format!("{table}.parquet"));
        let file = File::create(&file).with_context(|| format!("cannot create {}", file.display()))?;
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
    }
    Ok(())
}
