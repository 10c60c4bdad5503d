//! What leaves the sources of a real bank, counted by what arrived here, and the same answer with nothing pushed (INV-5).
//!
//! The most rows a statement may fetch are counted in a local copy of the bank, by SQL written by hand.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::util::pretty::pretty_format_batches;
use caliber_engine::{Engine, EngineOptions};
use caliber_tests::engine::open;
use futures::StreamExt;

use crate::bank::local_copy;

/// One statement: who asks, what, and for each source the most statements and, counted by SQL over the copy, rows.
struct Case {
    user: &'static str,
    sql: &'static str,
    fetched: &'static [(&'static str, u64, &'static str)],
}

const CASES: &[Case] = &[
    Case {
        user: "olga",
        sql: "SELECT type, count(*), sum(amount), min(date), max(amount) FROM settlement.trans GROUP BY type ORDER BY type",
        fetched: &[("settlement", 1, "SELECT count(DISTINCT c3) FROM trans")],
    },
    Case {
        user: "olga",
        sql: "SELECT o.k_symbol, count(*), sum(t.amount) FROM settlement.trans t JOIN settlement.\"order\" o \
              ON t.account_id = o.account_id GROUP BY o.k_symbol ORDER BY o.k_symbol",
        fetched: &[(
            "settlement",
            1,
            "SELECT count(DISTINCT o.c5) FROM trans t JOIN \"order\" o ON t.c1 = o.c1",
        )],
    },
    Case {
        user: "olga",
        sql: "SELECT trans_id, amount FROM settlement.trans ORDER BY amount DESC, trans_id LIMIT 10",
        fetched: &[("settlement", 1, "SELECT 10")],
    },
    Case {
        user: "olga",
        sql: "SELECT count(*) FROM (SELECT trans_id FROM settlement.trans LIMIT 7) AS t",
        fetched: &[("settlement", 1, "SELECT 7")],
    },
    Case {
        user: "olga",
        sql: "SELECT count(*) FROM settlement.trans",
        fetched: &[("settlement", 1, "SELECT 1")],
    },
    Case {
        user: "olga",
        sql: "SELECT count(*) FROM settlement.trans t WHERE EXISTS \
              (SELECT 1 FROM settlement.\"order\" o WHERE o.account_id = t.account_id)",
        fetched: &[("settlement", 1, "SELECT 1")],
    },
    Case {
        user: "olga",
        sql: "SELECT l.loan_id, t.trans_id, t.amount FROM credit.loan l JOIN settlement.trans t \
              ON t.account_id = l.account_id WHERE l.status = 'B' ORDER BY l.loan_id, t.trans_id",
        fetched: &[
            ("credit", 1, "SELECT count(*) FROM loan WHERE c6 = 'B'"),
            (
                "settlement",
                1,
                "SELECT count(*) FROM trans WHERE c1 IN (SELECT c1 FROM loan WHERE c6 = 'B')",
            ),
        ],
    },
    Case {
        user: "olga",
        sql: "SELECT t.trans_id FROM settlement.trans t LEFT JOIN credit.loan l ON l.loan_id = t.trans_id \
              WHERE t.amount > 50000 ORDER BY t.trans_id",
        fetched: &[(
            "settlement",
            1,
            "SELECT count(*) FROM trans WHERE CAST(c5 AS REAL) > 50000",
        )],
    },
    Case {
        user: "petr",
        sql: "SELECT type, count(*), sum(amount) FROM settlement.trans GROUP BY type ORDER BY type",
        fetched: &[
            ("settlement", 1, "SELECT count(DISTINCT c3) FROM trans"),
            ("accounting", 2, "SELECT count(*) * 3 FROM client"),
        ],
    },
];

async fn engine(bank: &caliber_testkit::Bank, pushdown: bool) -> Result<Arc<Engine>> {
    let accounting = bank.accounting_db.to_str().context("a path that is not UTF-8")?;
    let variables = [
        ("SETTLEMENT_URL", bank.settlement_url.clone()),
        ("CREDIT_URL", bank.credit_url.clone()),
        ("ACCOUNTING_DB", accounting.to_owned()),
    ];
    let options = EngineOptions {
        pushdown,
        ..EngineOptions::default()
    };
    Ok(open(&bank.project, &variables, options).await?.0)
}

/// The answer as text, and for each source its statements and rows.
async fn ask(engine: &Arc<Engine>, user: &str, sql: &str) -> Result<(String, Vec<(String, u64, u64)>)> {
    let snapshot = engine.snapshot();
    let principal = snapshot
        .project
        .users
        .get(user)
        .context("a user of the bank")?
        .principal();
    let mut stream = engine.session(principal).execute(sql, None).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        batches.push(batch?);
    }
    let sources = stream.receipt().sources.into_iter();
    let counts = sources
        .map(|source| (source.source, source.statements, source.rows))
        .collect();
    Ok((pretty_format_batches(&batches)?.to_string(), counts))
}

#[tokio::test]
async fn inv5_only_what_the_answer_needs_leaves_a_source() -> Result<()> {
    let Some(bank) = caliber_testkit::bank().await? else {
        return Ok(());
    };
    let local_bank = local_copy::load(&bank.project.join(".."))?;
    let (pushed, local) = (engine(bank, true).await?, engine(bank, false).await?);
    for case in CASES {
        let (answer, counts) = ask(&pushed, case.user, case.sql).await.with_context(|| case.sql)?;
        let (wanted, _) = ask(&local, case.user, case.sql).await.with_context(|| case.sql)?;
        ensure!(answer == wanted, "{}\npushed\n{answer}\nlocal\n{wanted}", case.sql);
        for (source, statements, rows) in &counts {
            let expected = case.fetched.iter().find(|(name, ..)| name == source);
            let (_, most, sql) = expected.with_context(|| format!("{}: asks {source}", case.sql))?;
            let enough: i64 = local_bank.query_row(sql, [], |row| row.get(0)).context(*sql)?;
            let enough = u64::try_from(enough)?;
            ensure!(
                statements <= most && *rows <= enough,
                "{}: {source}: {statements} statements, {rows} rows; {most} and {enough} are enough",
                case.sql
            );
        }
    }
    Ok(())
}
