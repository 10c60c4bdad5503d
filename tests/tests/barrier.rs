//! Statements that can fail on a hidden row: the governed engine over the whole table against the same engine over
//! a table that physically holds only the visible rows. Rows, or the code of the error, are equal.

mod corpus;
mod data;
mod sources;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use caliber_catalog::principal::{AttributeValue, Principal};
use caliber_engine::{Engine, EngineOptions, Session};
use caliber_tests::{engine, rows};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use corpus::{Statement, corpus};
use data::{Row, SHARES};
use sources::Sources;

/// What a statement came to: its rows, or the code it failed with.
type Outcome = std::result::Result<Vec<Vec<String>>, String>;

/// The principal who sees the rows whose bucket lies under `share`; a row without a bucket is nobody's.
fn part(share: i64) -> Principal {
    engine::principal(&["part"], &[("share", AttributeValue::Int(share))])
}

fn whole() -> Principal {
    engine::principal(&["whole"], &[])
}

async fn outcome(session: &Session, statement: &Statement, sql: &str) -> Outcome {
    let rows = engine::ask(session, sql)
        .await
        .map_err(|error| error.code.as_str().to_owned())?;
    Ok(if statement.ordered { rows } else { rows::sorted(rows) })
}

/// Runs the corpus in one setting, over every source and share. Gives how many statements failed as they should.
async fn compare(engine: &Arc<Engine>, sources: &Sources, setting: &str) -> Result<usize> {
    let mut failures = 0;
    let reference = engine.session(whole());
    for source in sources.names() {
        for share in SHARES {
            let governed = engine.session(part(share));
            let mut answered = 0;
            for statement in corpus() {
                let found = outcome(&governed, statement, &statement.over(source, "t")).await;
                let wanted = outcome(&reference, statement, &statement.over(source, &format!("v{share}"))).await;
                let sql = statement.sql;
                ensure!(
                    found == wanted,
                    "{setting}, {source}, {share} %: {sql}\nfound {found:?}\nwanted {wanted:?}"
                );
                match wanted {
                    Ok(_) => answered += 1,
                    Err(code) => {
                        ensure!(
                            code.starts_with("SQL02"),
                            "{source}: {sql}: {code} is no error of evaluation"
                        );
                        failures += 1;
                    }
                }
            }
            // Most of the corpus must have an answer, or nothing was compared.
            ensure!(
                answered * 2 > corpus().len(),
                "{setting}, {source}, {share} %: only {answered} statements had an answer"
            );
        }
    }
    Ok(failures)
}

async fn all(pushdown: bool, batch_rows: usize) -> Result<()> {
    let sources = Sources::get().await?;
    let options = EngineOptions {
        pushdown,
        batch_rows,
        ..EngineOptions::default()
    };
    let engine = sources.engine(options).await?;
    let failures = compare(
        &engine,
        sources,
        &format!("pushdown {pushdown}, batches of {batch_rows}"),
    )
    .await?;
    ensure!(
        failures > 0,
        "no statement failed on a visible row: the corpus cannot tell a barrier from none"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_no_expression_sees_a_hidden_row_pushed() -> Result<()> {
    all(true, 8192).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_no_expression_sees_a_hidden_row_pushed_in_batches_of_7() -> Result<()> {
    all(true, 7).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_no_expression_sees_a_hidden_row_pushed_in_batches_of_1() -> Result<()> {
    all(true, 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_no_expression_sees_a_hidden_row_local() -> Result<()> {
    all(false, 8192).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_no_expression_sees_a_hidden_row_local_in_batches_of_7() -> Result<()> {
    all(false, 7).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_no_expression_sees_a_hidden_row_local_in_batches_of_1() -> Result<()> {
    all(false, 1).await
}

/// Pushed and local give the same, for everybody (INV-5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv5_pushed_equals_local() -> Result<()> {
    let sources = Sources::get().await?;
    let pushed = sources
        .engine(EngineOptions {
            pushdown: true,
            ..EngineOptions::default()
        })
        .await?;
    let local = sources
        .engine(EngineOptions {
            pushdown: false,
            ..EngineOptions::default()
        })
        .await?;
    for principal in SHARES.map(part).into_iter().chain([whole()]) {
        for source in sources.names() {
            for statement in corpus() {
                let sql = statement.over(source, "t");
                let (left, right) = (pushed.session(principal.clone()), local.session(principal.clone()));
                let (left, right) = (
                    outcome(&left, statement, &sql).await,
                    outcome(&right, statement, &sql).await,
                );
                ensure!(
                    left == right,
                    "{}: {sql}\npushed {left:?}\nlocal {right:?}",
                    principal.name
                );
            }
        }
    }
    Ok(())
}

/// The corpus is not blind: a plain DataFusion view with the policy's filter shows the hidden rows in its errors.
#[tokio::test]
async fn a_view_with_a_filter_fails_the_same_comparison() -> Result<()> {
    let mut betrayed = 0;
    for share in SHARES {
        let whole = plain(&data::rows())?;
        whole
            .sql(&format!("CREATE VIEW seen AS SELECT * FROM t WHERE bucket < {share}"))
            .await?;
        let visible = plain(&data::visible(share))?;
        for statement in corpus() {
            let found = plain_outcome(&whole, statement, &statement.over("public", "seen")).await;
            let wanted = plain_outcome(&visible, statement, &statement.over("public", "t")).await;
            betrayed += usize::from(found.is_err() && wanted.is_ok());
        }
    }
    ensure!(
        betrayed > 0,
        "a plain view passed: the corpus cannot tell a barrier from none"
    );
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the ungoverned engine is what this test shows to fail"
)]
fn plain(rows: &[Row]) -> Result<SessionContext> {
    let context = SessionContext::new();
    for (name, batch) in [("t", data::batch(rows)?), ("d", data::kinds()?)] {
        context.register_table(name, Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))?;
    }
    Ok(context)
}

async fn plain_outcome(context: &SessionContext, statement: &Statement, sql: &str) -> Outcome {
    let failed = |_| "failed".to_owned();
    let batches = context
        .sql(sql)
        .await
        .map_err(failed)?
        .collect()
        .await
        .map_err(failed)?;
    let rows = rows::texts(&batches)
        .context("rows")
        .map_err(|error| error.to_string())?;
    Ok(if statement.ordered { rows } else { rows::sorted(rows) })
}
