//! Runs `queries/slt/**/*.slt` against a small demo bank. `connection USER` is the principal that asks from there on.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use async_trait::async_trait;
use caliber_tests::flight::{Client, Refusal};
use caliber_tests::program::Server;
use caliber_tests::{root, rows};
use sqllogictest::{AsyncDB, Connection, DBOutput, DefaultColumnType, Record, Runner};

/// A principal's connection, as the runner wants it.
struct Principal(Client);

#[async_trait]
impl AsyncDB for Principal {
    type Error = Refusal;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> std::result::Result<DBOutput<DefaultColumnType>, Refusal> {
        let failed = |error: anyhow::Error| Refusal {
            grpc: tonic::Code::Unknown,
            message: format!("{error:#}"),
        };
        let answer = self.0.query(sql).await.map_err(failed)??;
        let types = vec![DefaultColumnType::Any; answer.schema.fields().len()];
        // An empty text would look like no column at all.
        let spelled = |text: String| if text.is_empty() { "(empty)".to_owned() } else { text };
        let rows = rows::texts(&answer.batches).map_err(failed)?;
        let rows = rows
            .into_iter()
            .map(|row| row.into_iter().map(spelled).collect())
            .collect();
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "caliber"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_behave_as_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bank = folder.path().join("bank");
    let bank = bank.to_str().context("a folder that is not UTF-8")?;
    let server = Server::start(
        &["demo", "--customers", "200", "--dir", bank, "--listen", "127.0.0.1:0"],
        [],
    )?;
    let mut files = Vec::new();
    collect(&root().join("queries/slt"), &mut files)?;
    ensure!(!files.is_empty(), "no .slt file found");
    for file in files {
        run(&server.uri, &file).await?;
    }
    Ok(())
}

async fn run(uri: &str, file: &Path) -> Result<()> {
    let records = sqllogictest::parse_file::<DefaultColumnType>(file).map_err(|error| anyhow!("{error}"))?;
    let mut principals = HashMap::new();
    let mut asking = None;
    for record in records {
        if let Record::Connection(Connection::Named(user)) = &record {
            asking = Some(user.clone());
            continue;
        }
        if !matches!(record, Record::Statement { .. } | Record::Query { .. }) {
            continue;
        }
        let user = asking
            .clone()
            .with_context(|| format!("{}: no `connection` before the first record", file.display()))?;
        if !principals.contains_key(&user) {
            let client = Client::connect(uri, &user).await?;
            let connect = move || {
                let client = client.clone();
                async move { Ok(Principal(client)) }
            };
            principals.insert(user.clone(), Runner::new(connect));
        }
        let runner = principals.get_mut(&user).context("just inserted")?;
        runner
            .run_async(record)
            .await
            .map_err(|error| anyhow!("{user}: {error}"))?;
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "slt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
