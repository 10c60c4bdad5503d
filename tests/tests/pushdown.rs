//! What leaves the sources of a real bank, counted by what arrived here and by PostgreSQL's `pg_stat_statements`, and the same answer with nothing pushed (INV-5).
//!
//! The most rows a statement may fetch are counted in a local copy of the bank, by SQL written by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow::util::pretty::pretty_format_batches;
use caliber_engine::{Engine, EngineOptions};
use caliber_testkit::Postgres;
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
    // Totals by region: one row for each of the 1,229 accounts that have transactions.
    Case {
        user: "olga",
        sql: "SELECT d.a3, sum(t.amount), count(*), avg(t.amount), min(t.date), max(t.balance) FROM settlement.trans t \
              JOIN accounting.account a ON a.account_id = t.account_id JOIN accounting.district d ON d.a1 = a.district_id \
              GROUP BY d.a3 ORDER BY d.a3",
        fetched: &[
            ("accounting", 1, "SELECT count(*) FROM account"),
            ("settlement", 1, "SELECT count(DISTINCT c1) FROM trans"),
        ],
    },
    Case {
        user: "olga",
        sql: "SELECT d.a3, count(*) FILTER (WHERE t.type = 'PRIJEM') AS credits, count(t.bank), sum(t.trans_id) FROM \
              settlement.trans t, accounting.account a, accounting.district d \
              WHERE a.account_id = t.account_id AND d.a1 = a.district_id AND a.frequency = 'POPLATEK TYDNE' \
              GROUP BY d.a3 HAVING sum(t.amount) > 10000 ORDER BY credits DESC, d.a3 LIMIT 5",
        fetched: &[
            (
                "accounting",
                1,
                "SELECT count(*) FROM account WHERE frequency = 'POPLATEK TYDNE'",
            ),
            (
                "settlement",
                1,
                "SELECT count(DISTINCT c1) FROM trans WHERE c1 IN \
                 (SELECT account_id FROM account WHERE frequency = 'POPLATEK TYDNE')",
            ),
        ],
    },
    // A key of the group that the source computes: one row for each account and month.
    Case {
        user: "olga",
        sql: "SELECT extract(month FROM t.date) AS m, count(*), max(a.frequency) FROM settlement.trans t \
              JOIN accounting.account a ON a.account_id = t.account_id GROUP BY 1 ORDER BY 1",
        fetched: &[
            ("accounting", 1, "SELECT count(*) FROM account"),
            (
                "settlement",
                1,
                "SELECT count(*) FROM (SELECT DISTINCT c1, substr(c2, 6, 2) FROM trans)",
            ),
        ],
    },
    // Clients of one district: their transactions, then one row for each account.
    Case {
        user: "olga",
        sql: "SELECT c.client_id, t.trans_id, t.amount FROM accounting.client c JOIN accounting.disp p \
              ON p.client_id = c.client_id JOIN settlement.trans t ON t.account_id = p.account_id \
              WHERE c.district_id = 18 ORDER BY c.client_id, t.trans_id",
        fetched: &[
            ("accounting", 1, OF_DISTRICT),
            (
                "settlement",
                1,
                "SELECT count(*) FROM trans WHERE c1 IN (SELECT p.account_id FROM disp p \
              JOIN client c ON c.client_id = p.client_id WHERE c.district_id = 18)",
            ),
        ],
    },
    Case {
        user: "olga",
        sql: "SELECT c.client_id, count(*), sum(t.amount) FROM accounting.client c JOIN accounting.disp p \
              ON p.client_id = c.client_id JOIN settlement.trans t ON t.account_id = p.account_id \
              WHERE c.district_id = 18 GROUP BY c.client_id ORDER BY c.client_id",
        fetched: &[
            ("accounting", 1, OF_DISTRICT),
            (
                "settlement",
                1,
                "SELECT count(DISTINCT c1) FROM trans WHERE c1 IN (SELECT p.account_id FROM disp p \
              JOIN client c ON c.client_id = p.client_id WHERE c.district_id = 18)",
            ),
        ],
    },
    Case {
        user: "olga",
        sql: "SELECT t.trans_id, t.date, t.amount FROM accounting.client c JOIN accounting.disp p \
              ON p.client_id = c.client_id JOIN settlement.trans t ON t.account_id = p.account_id \
              WHERE c.client_id = 2 ORDER BY t.trans_id",
        fetched: &[
            ("accounting", 1, "SELECT count(*) FROM disp WHERE client_id = 2"),
            (
                "settlement",
                1,
                "SELECT count(*) FROM trans WHERE c1 IN (SELECT account_id FROM disp WHERE client_id = 2)",
            ),
        ],
    },
    // An account without transactions counts as one row and sums to nothing.
    Case {
        user: "olga",
        sql: "SELECT a.district_id, count(*), count(t.trans_id), sum(t.amount), avg(t.amount), max(t.date) FROM \
              accounting.account a LEFT JOIN settlement.trans t ON t.account_id = a.account_id \
              GROUP BY a.district_id ORDER BY a.district_id",
        fetched: &[
            ("accounting", 1, "SELECT count(*) FROM account"),
            ("settlement", 1, "SELECT count(DISTINCT c1) FROM trans"),
        ],
    },
    Case {
        user: "olga",
        sql: "SELECT n, count(*) FROM (SELECT a.account_id, count(t.trans_id) AS n FROM accounting.account a \
              LEFT JOIN settlement.trans t ON t.account_id = a.account_id AND t.type = 'PRIJEM' GROUP BY a.account_id) AS c \
              GROUP BY n ORDER BY 2 DESC, 1 DESC",
        fetched: &[
            ("accounting", 1, "SELECT count(*) FROM account"),
            (
                "settlement",
                1,
                "SELECT count(DISTINCT c1) FROM trans WHERE c3 = 'PRIJEM'",
            ),
        ],
    },
    // Under a policy whose keys another source holds.
    Case {
        user: "petr",
        sql: "SELECT a.frequency, count(*), sum(t.amount) FROM settlement.trans t \
              JOIN accounting.account a ON a.account_id = t.account_id GROUP BY a.frequency ORDER BY a.frequency",
        fetched: &[
            ("settlement", 1, "SELECT count(DISTINCT c1) FROM trans"),
            ("accounting", 4, "SELECT count(*) * 4 FROM client"),
        ],
    },
    // Without groups: of no row the count is none.
    Case {
        user: "olga",
        sql: "SELECT count(*), sum(t.amount), min(t.date) FROM accounting.account a \
              JOIN settlement.trans t ON t.account_id = a.account_id WHERE a.frequency = 'never'",
        fetched: &[("accounting", 1, "SELECT 0"), ("settlement", 1, "SELECT 0")],
    },
];

/// The accounts of the clients of a district.
const OF_DISTRICT: &str =
    "SELECT count(*) FROM disp p JOIN client c ON c.client_id = p.client_id WHERE c.district_id = 18";

async fn engine(bank: &caliber_testkit::Bank, pushdown: bool, settlement_url: &str) -> Result<Arc<Engine>> {
    let accounting = bank.accounting_db.to_str().context("a path that is not UTF-8")?;
    let variables = [
        ("SETTLEMENT_URL", settlement_url.to_owned()),
        ("CREDIT_URL", bank.credit_url.clone()),
        ("ACCOUNTING_DB", accounting.to_owned()),
    ];
    let options = EngineOptions {
        pushdown,
        ..EngineOptions::default()
    };
    Ok(open(&bank.project, &variables, options).await?.0)
}

/// What PostgreSQL itself says that it sent, to an account that nobody else has.
struct Counter {
    url: String,
    is_known: bool,
}

impl Counter {
    async fn new(bank: &caliber_testkit::Bank) -> Result<Self> {
        let postgres = Postgres::shared()?;
        let script = "CREATE ROLE counted LOGIN PASSWORD 'counted'; GRANT pg_read_all_data TO counted;";
        postgres.run("settlement", script).await?;
        let is_known = postgres.counts_statements();
        if is_known {
            let script = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements";
            postgres.run("settlement", script).await?;
        } else {
            skipped();
        }
        let (_, address) = bank.settlement_url.split_once('@').context("an account")?;
        let url = format!("postgres://counted:counted@{address}");
        Ok(Self { url, is_known })
    }

    /// The rows of all statements over tables so far; `None` where this server does not count them.
    async fn rows(&self) -> Result<Option<u64>> {
        const ROWS: &str = "SELECT coalesce(sum(rows), 0)::bigint FROM pg_stat_statements \
            WHERE userid = 'counted'::regrole AND query LIKE '%\"public\".%' AND query NOT LIKE 'EXPLAIN%'";
        if !self.is_known {
            return Ok(None);
        }
        let rows = Postgres::shared()?.value("settlement", ROWS).await?;
        Ok(Some(rows.parse()?))
    }

    /// The rows since then, once they are as `expected` or a while has passed: a statement counts when its transaction ends.
    async fn rows_since(&self, before: u64, expected: u64) -> Result<u64> {
        let begun = Instant::now();
        loop {
            let rows = self.rows().await?.unwrap_or(before) - before;
            if rows >= expected && expected > 0
                || begun.elapsed() > Duration::from_secs(if expected > 0 { 5 } else { 1 })
            {
                return Ok(rows);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn skipped() {
    eprintln!("skipped: what PostgreSQL counts itself, as it has no pg_stat_statements");
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
    let counter = Counter::new(bank).await?;
    let pushed = engine(bank, true, &counter.url).await?;
    let local = engine(bank, false, &bank.settlement_url).await?;
    let mut wrong: Vec<String> = Vec::new();
    for case in CASES {
        let before = counter.rows().await?;
        let (answer, counts) = ask(&pushed, case.user, case.sql).await.with_context(|| case.sql)?;
        if let Some(before) = before {
            let told = counts.iter().find(|(source, ..)| source == "settlement");
            let told = told.map_or(0, |(.., rows)| *rows);
            let counted = counter.rows_since(before, told).await?;
            ensure!(
                counted == told,
                "{}: PostgreSQL counts {counted} rows, the receipt {told}",
                case.sql
            );
        }
        let (wanted, _) = ask(&local, case.user, case.sql).await.with_context(|| case.sql)?;
        ensure!(answer == wanted, "{}\npushed\n{answer}\nlocal\n{wanted}", case.sql);
        for (source, statements, rows) in &counts {
            let expected = case.fetched.iter().find(|(name, ..)| name == source);
            let (_, most, sql) = expected.with_context(|| format!("{}: asks {source}", case.sql))?;
            let enough: i64 = local_bank.query_row(sql, [], |row| row.get(0)).context(*sql)?;
            let enough = u64::try_from(enough)?;
            if statements > most || *rows > enough {
                wrong.push(format!(
                    "{}: {source}: {statements} statements, {rows} rows; {most} and {enough} are enough",
                    case.sql
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
