//! Metrics of the real bank, over its three live databases, pushed and with nothing pushed (INV-5).
//!
//! Figures are the bank's known answers, or counted by SQL written by hand over a local copy of its eight tables.

/// The bank with its metrics, in this process.
pub mod bank_metrics;
/// Random questions against a count in plain Rust.
mod compare;
mod oracle;
/// Many metrics at once.
mod scale;
/// The wrong numbers that others gave.
mod traps;
/// A small bank full of what goes wrong.
mod world;

use anyhow::{Context, Result, ensure};
use bank_metrics::{Metrics, check};
use caliber_tests::program::{Server, run};

/// A source, the most statements it gets, and SQL over the local copy that counts the rows which are enough.
type Most = (&'static str, u64, &'static str);

#[tokio::test]
async fn the_known_figures_of_the_bank() -> Result<()> {
    let Some(bank) = Metrics::open().await? else {
        return Ok(());
    };
    let month = |day: &str| {
        format!(
            "SELECT MEASURE(deposit_balance) FROM unified.customer_metrics \
             WHERE date_trunc('month', metric_time) = DATE '{day}' GROUP BY date_trunc('month', metric_time)"
        )
    };
    // A condition on time that is no range is no condition on a balance.
    let refused = bank.refused("olga", &month("1993-01-01")).await?;
    ensure!(refused.starts_with("MET005"), "{refused}");
    let cases: &[(&str, &str, &[&[&str]])] = &[
        (
            "olga",
            "SELECT MEASURE(loan_count), MEASURE(loan_amount), MEASURE(bad_loan_rate) FROM unified.customer_metrics",
            &[&["682", "103261740.00", "0.1508802001593"]],
        ),
        (
            "olga",
            "SELECT region, MEASURE(loan_amount), MEASURE(deposit_balance), MEASURE(standing_orders) \
             FROM unified.customer_metrics WHERE region = 'Prague' GROUP BY region",
            &[&["Prague", "12249540.00", "4735964.40", "2779277.00"]],
        ),
        (
            "petr",
            "SELECT MEASURE(loan_amount), MEASURE(deposit_balance) FROM unified.customer_metrics",
            &[&["12249540.00", "4735964.40"]],
        ),
        (
            "olga",
            "SELECT month, deposits FROM (SELECT date_trunc('month', metric_time) AS month, MEASURE(deposit_balance) AS deposits \
             FROM unified.customer_metrics GROUP BY 1) AS m \
             WHERE month IN (DATE '1993-01-01', DATE '1993-11-01', DATE '1994-02-01') ORDER BY 1",
            &[
                &["1993-01-01T00:00:00", "662557.50"],
                &["1993-11-01T00:00:00", "32044066.60"],
                &["1994-02-01T00:00:00", "36992722.40"],
            ],
        ),
        (
            "olga",
            "SELECT MEASURE(deposit_balance), MEASURE(net_flow), MEASURE(active_customers) FROM unified.customer_metrics \
             WHERE metric_time BETWEEN DATE '1993-10-01' AND DATE '1993-10-31' GROUP BY date_trunc('month', metric_time)",
            &[&["29342802.80", "3395019.90", "933"]],
        ),
        (
            "olga",
            "SELECT MEASURE(deposit_balance) FROM unified.customer_metrics WHERE metric_time <= DATE '1993-11-30'",
            &[&["32044066.60"]],
        ),
    ];
    for (user, sql, wanted) in cases {
        check(&bank, user, sql, wanted).await.context(*sql)?;
    }
    Ok(())
}

#[tokio::test]
async fn each_department_is_asked_once_and_gives_a_row_for_an_account_and_period() -> Result<()> {
    let Some(bank) = Metrics::open().await? else {
        return Ok(());
    };
    let local = crate::bank::local_copy::load(&caliber_testkit::bank().await?.context("the bank")?.project.join(".."))?;
    let cases: &[(&str, &[Most])] = &[
        (
            "SELECT region, MEASURE(loan_amount), MEASURE(inflow), MEASURE(bad_loan_rate) FROM unified.customer_metrics GROUP BY region",
            &[
                ("accounting", 2, "SELECT 2 * count(*) FROM disp WHERE type = 'OWNER'"),
                ("credit", 1, "SELECT count(DISTINCT c1) FROM loan"),
                ("settlement", 1, "SELECT count(DISTINCT c1) FROM trans"),
            ],
        ),
        (
            "SELECT region, date_trunc('month', metric_time), MEASURE(loan_count), MEASURE(deposit_balance) \
             FROM unified.customer_metrics GROUP BY 1, 2",
            &[
                ("accounting", 2, "SELECT 2 * count(*) FROM disp WHERE type = 'OWNER'"),
                (
                    "credit",
                    1,
                    "SELECT count(*) FROM (SELECT DISTINCT c1, substr(c2, 1, 7) FROM loan)",
                ),
                (
                    "settlement",
                    1,
                    "SELECT count(*) FROM (SELECT DISTINCT c1, substr(c2, 1, 7) FROM trans)",
                ),
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (sql, most) in cases {
        for (source, statements, rows) in bank.received("olga", sql).await? {
            let found = most.iter().find(|(name, ..)| *name == source);
            let (_, statements_most, counted) = found.with_context(|| format!("{sql}: asks {source}"))?;
            let enough: i64 = local.query_row(counted, [], |row| row.get(0))?;
            if statements > *statements_most || rows > u64::try_from(enough)? {
                wrong.push(format!(
                    "{sql}: {source}: {statements} statements, {rows} rows; {enough} are enough"
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn inv4_a_metric_of_a_hidden_table_does_not_exist() -> Result<()> {
    let Some(bank) = Metrics::open().await? else {
        return Ok(());
    };
    let listed = bank.ask("olga", "SELECT metric FROM caliber.metrics").await?;
    ensure!(listed.len() == 12, "{listed:?}");
    ensure!(bank.ask("karl", "SELECT metric FROM caliber.metrics").await?.is_empty());
    let refused = bank
        .refused("karl", "SELECT MEASURE(loan_amount) FROM unified.customer_metrics")
        .await?;
    ensure!(refused == "SQL011: schema `unified` not found", "{refused}");
    // The customers of a branch without their birth numbers: gender is NULL, and so nobody is F.
    let sql = "SELECT gender, MEASURE(loan_count) FROM unified.customer_metrics GROUP BY gender";
    ensure!(bank.ask("petr", sql).await? == [["NULL", "79"]]);
    Ok(())
}

/// Each example of the page stands with the SQL it becomes, between which `-- is` stands.
#[tokio::test]
async fn the_page_about_metrics_says_what_is_so() -> Result<()> {
    let page = std::fs::read_to_string(caliber_tests::root().join("docs/metrics.md"))?;
    let of = |language: &str| -> Vec<&str> {
        let begun = page.split(language).skip(1);
        begun.filter_map(|rest| rest.split("```").next()).collect()
    };
    let mut defined = "metrics:\n".to_owned();
    for block in of("```yaml\n") {
        defined += block.strip_prefix("metrics:\n").with_context(|| block.to_owned())?;
    }
    let Some(bank) = Metrics::with(&defined).await? else {
        return Ok(());
    };
    let examples = of("```sql\n");
    ensure!(examples.len() >= 9, "{} examples", examples.len());
    for example in examples {
        let (asked, becomes) = example.split_once("-- is\n").with_context(|| example.to_owned())?;
        let (mut found, mut wanted) = (bank.ask("olga", asked).await?, bank.ask("olga", becomes).await?);
        found.sort();
        wanted.sort();
        ensure!(
            found == wanted && !wanted.is_empty(),
            "{example}\nfound {found:?}\nwanted {wanted:?}"
        );
    }
    Ok(())
}

/// `caliber metric` over the demo bank: what it lists, shows and computes.
#[test]
fn the_command_lists_shows_and_computes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().context("a path that is not UTF-8")?;
    let demo = ["demo", "--customers", "200", "--dir", path, "--listen", "127.0.0.1:0"];
    Server::start(&demo, [])?.stop(std::time::Duration::from_secs(10))?;
    let metrics = "metrics:\n  loan_count: { table: credit.loan, expr: count(*), owner: Credit Department }\n  \
                   large_loans: { table: credit.loan, expr: count(*), where: amount > 100000 }\n";
    std::fs::write(folder.path().join("metrics.yaml"), metrics)?;
    let caliber = |arguments: &[&str]| -> Result<String> {
        let finished = run(&[arguments, &["--project", path, "--as", "anna"]].concat(), [])?;
        ensure!(finished.code == Some(0), "{arguments:?}: {}", finished.notes);
        Ok(finished.out)
    };
    let listed = caliber(&["metric", "ls"])?;
    ensure!(
        listed.contains("loan_count") && listed.contains("Credit Department"),
        "{listed}"
    );
    let shown = caliber(&["metric", "show", "LOAN_COUNT"])?;
    ensure!(
        shown.contains("credit.loan") && shown.contains("count(*)") && shown.contains("definition"),
        "{shown}"
    );
    let computed = caliber(&["metric", "run", "loan_count", "-o", "csv"])?;
    let counted = caliber(&[
        "sql",
        "-c",
        "SELECT count(*) AS loan_count FROM credit.loan",
        "-o",
        "csv",
    ])?;
    ensure!(
        computed == counted && computed.lines().count() == 2,
        "{computed} but {counted}"
    );
    let plan = caliber(&["metric", "sql", "loan_count", "--by", "region"])?;
    ensure!(
        plan.starts_with("SELECT region, MEASURE(loan_count) AS loan_count FROM")
            && plan.contains("metrics of credit.loan (loan_count)"),
        "{plan}"
    );
    let parts = caliber(&["metric", "diff", "loan_count", "large_loans", "-o", "csv"])?;
    let counted = "SELECT count(*) AS loan_count, count(*) FILTER (WHERE amount > 100000) AS large_loans, \
                   count(*) FILTER (WHERE NOT amount > 100000) AS difference, count(*) FILTER (WHERE NOT amount > 100000) \
                   AS \"only loan_count: not amount > 100000\", 0 AS \"other values\" FROM credit.loan";
    let counted = caliber(&["sql", "-c", counted, "-o", "csv"])?;
    ensure!(parts == counted && parts.lines().count() == 2, "{parts} but {counted}");
    Ok(())
}
