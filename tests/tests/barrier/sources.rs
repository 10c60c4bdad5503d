//! The rows of `data` in four sources, and engines over them.
//!
//! Owns: loading, the project. Never: a comparison.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use arrow::array::RecordBatch;
use caliber_engine::{Engine, EngineOptions};
use caliber_testkit::{MariaDb, Postgres};
use caliber_tests::engine;
use datafusion::parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::data::{self, SHARES};

/// Four sources of the same tables: `t` under policy, `v0` to `v99` with only its visible rows, `d`.
pub struct Sources {
    folder: TempDir,
    urls: [(&'static str, String); 2],
}

impl Sources {
    /// The one set of sources of this test program.
    pub async fn get() -> Result<&'static Self> {
        static SOURCES: OnceCell<Sources> = OnceCell::const_new();
        SOURCES.get_or_try_init(Self::make).await
    }

    async fn make() -> Result<Self> {
        let folder = TempDir::new()?;
        let script = data::script();
        rusqlite::Connection::open(folder.path().join("lite.db"))?.execute_batch(&script)?;
        parquet(&folder.path().join("files"))?;
        let (postgres, mariadb) = (Postgres::shared()?, MariaDb::shared()?);
        let urls = [
            ("PG_URL", postgres.create_database("barrier").await?),
            ("MY_URL", mariadb.create_database("barrier").await?),
        ];
        postgres.run("barrier", &script).await.context("PostgreSQL")?;
        mariadb.run("barrier", &script).await.context("MariaDB")?;
        let sources = Self { folder, urls };
        fs::write(sources.folder.path().join("caliber.yaml"), sources.project())?;
        Ok(sources)
    }

    /// The sources' names.
    pub fn names(&self) -> [&'static str; 4] {
        ["lite", "parquet", "pg", "my"]
    }

    /// A fresh engine over all of them.
    pub async fn engine(&self, options: EngineOptions) -> Result<Arc<Engine>> {
        let (engine, warnings) = engine::open(self.folder.path(), &self.urls, options).await?;
        match warnings.first() {
            Some(warning) => Err(anyhow!("{}", warning.message)),
            None => Ok(engine),
        }
    }

    fn project(&self) -> String {
        let files: String = tables()
            .iter()
            .map(|name| format!("        {name}: {{ path: {name}.parquet, format: parquet }}\n"))
            .collect();
        let filters: String = self
            .names()
            .iter()
            .map(|name| format!("      {name}.t: bucket < principal.share\n"))
            .collect();
        format!(
            "version: 1
name: barrier
sources:
  lite: {{ connector: sqlite, path: lite.db }}
  pg: {{ connector: postgres, url: \"${{env:PG_URL}}\" }}
  my: {{ connector: mysql, url: \"${{env:MY_URL}}\" }}
  parquet:
    connector: files
    path: files
    tables:
{files}policies:
  everything:
    roles: [whole]
    tables: [\"*\"]
  a share:
    roles: [part]
    tables: [\"*.t\", \"*.d\"]
    rows:
{filters}"
        )
    }
}

fn tables() -> Vec<String> {
    ["t".to_owned(), "d".to_owned()]
        .into_iter()
        .chain(SHARES.map(|share| format!("v{share}")))
        .collect()
}

fn parquet(folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    for table in tables() {
        let batch = match table.strip_prefix('v') {
            Some(share) => data::batch(&data::visible(share.parse()?))?,
            None if table == "t" => data::batch(&data::rows())?,
            None => data::kinds()?,
        };
        write(&folder.join(format!("{table}.parquet")), &batch)?;
    }
    Ok(())
}

fn write(file: &Path, batch: &RecordBatch) -> Result<()> {
    let file = File::create(file).with_context(|| format!("cannot create {}", file.display()))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
    writer.write(batch)?;
    writer.close()?;
    Ok(())
}
