//! The wrong numbers that others gave without an error, each a test.
//!
//! Owns: one small case each, with the figures counted by hand beside it. Never: a random query (`oracle`).

use std::sync::Arc;

use anyhow::{Result, ensure};
use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use caliber_tests::engine::principal;
use futures::TryStreamExt;

use super::world::{Data, METRICS, World, all_of_it};

/// One customer with one account.
fn one_account() -> Data {
    Data {
        customers: vec![(1, Some("north"), "F")],
        holders: vec![(10, 1, true)],
        ..Data::default()
    }
}

async fn world(data: &Data) -> Result<World> {
    World::open(data, "primary_holder", METRICS).await
}

#[tokio::test]
async fn a_fan_out_gives_10_and_not_40() -> Result<()> {
    let mut data = one_account();
    data.loans = vec![(Some(10), Some("2023-01-01"), 10, "A")];
    data.balances = ["01", "02", "03", "04"].map(|_| (10, "2023-01-05", 7, None)).to_vec();
    let sql = "SELECT region, MEASURE(loan_amount), MEASURE(carried) FROM unified.customer_metrics GROUP BY region";
    ensure!(world(&data).await?.rows("auditor", sql).await? == [["north", "10", "7"]]);
    Ok(())
}

#[tokio::test]
async fn the_filter_of_one_metric_does_not_leak_into_another() -> Result<()> {
    let mut data = one_account();
    data.loans = vec![
        (Some(10), Some("2023-01-01"), 10, "A"),
        (Some(10), Some("2023-01-31"), 5, "B"),
    ];
    data.balances = vec![(10, "2023-01-01", 1, None), (10, "2023-01-31", 2, None)];
    let world = world(&data).await?;
    // A pick at the end of the month leaves the loans of its first day where they are.
    let sql = "SELECT MEASURE(loan_amount), MEASURE(bad_amount), MEASURE(strict), MEASURE(loan_amount) FILTER (WHERE sex = 'M') \
               FROM unified.customer_metrics GROUP BY date_trunc('month', metric_time)";
    ensure!(world.rows("auditor", sql).await? == [["15", "5", "2", "0"]]);
    Ok(())
}

#[tokio::test]
async fn an_average_is_not_one_of_averages() -> Result<()> {
    let mut data = one_account();
    data.loans = vec![
        (Some(10), Some("2023-01-01"), 1, "B"),
        (Some(10), Some("2023-02-01"), 4, "A"),
        (Some(10), Some("2023-02-02"), 4, "A"),
        (None, Some("2023-02-03"), 7, "A"),
    ];
    // 16 / 4, and not the mean of 3 and 7, nor of 1 and 5; 1 / 16 alike.
    let sql = "SELECT MEASURE(mean), MEASURE(bad_rate) FROM unified.customer_metrics";
    ensure!(world(&data).await?.rows("auditor", sql).await? == [["4.0", "0.0625"]]);
    Ok(())
}

#[tokio::test]
async fn a_left_join_stays_one_under_a_policy() -> Result<()> {
    let mut data = one_account();
    data.loans = vec![
        (Some(10), Some("2023-01-01"), 10, "A"),
        (Some(15), Some("2023-01-01"), 3, "A"),
    ];
    let world = world(&data).await?;
    // The loan of an account that nobody holds is in the total, and in the group of no region.
    let total = "SELECT MEASURE(loan_amount) FROM unified.customer_metrics";
    ensure!(world.rows("auditor", total).await? == [["13"]]);
    ensure!(world.rows("branch", total).await? == [["10"]]);
    let grouped = "SELECT region, MEASURE(loan_amount) FROM unified.customer_metrics GROUP BY region";
    ensure!(world.rows("auditor", grouped).await? == [["NULL", "3"], ["north", "10"]]);
    Ok(())
}

#[tokio::test]
async fn a_lower_bound_chooses_what_is_shown_and_not_what_is_carried() -> Result<()> {
    let mut data = one_account();
    data.balances = vec![(10, "2023-01-20", 100, None), (11, "2023-02-10", 200, None)];
    let sql = "SELECT CAST(date_trunc('month', metric_time) AS DATE) AS m, MEASURE(carried), MEASURE(strict) \
               FROM unified.customer_metrics WHERE metric_time >= DATE '2023-02-01' GROUP BY 1";
    ensure!(world(&data).await?.rows("auditor", sql).await? == [["2023-02-01", "300", "200"]]);
    Ok(())
}

#[tokio::test]
async fn two_owners_of_one_account_are_an_error_and_not_twice_its_loans() -> Result<()> {
    let mut data = one_account();
    data.customers.push((2, Some("south"), "M"));
    data.holders = vec![(10, 1, true), (10, 2, true), (11, 2, true)];
    data.loans = vec![
        (Some(10), Some("2023-01-01"), 10, "A"),
        (Some(11), Some("2023-01-01"), 5, "A"),
    ];
    let world = world(&data).await?;
    let by_region = "SELECT region, MEASURE(loan_amount) FROM unified.customer_metrics GROUP BY region";
    let refused = world.refused("auditor", by_region).await?;
    ensure!(
        refused == "MET006: several rows of `crm.holder` have one `account_id`",
        "{refused}"
    );
    for condition in ["sex = 'F'", "id = 1"] {
        let filtered =
            format!("SELECT MEASURE(loan_amount), MEASURE(borrowers) FROM unified.customer_metrics WHERE {condition}");
        let refused = world.refused("auditor", &filtered).await?;
        ensure!(refused.starts_with("MET006"), "{condition}: {refused}");
    }
    // What needs no customer is no less right than before, and a branch sees one owner alone.
    let total = "SELECT MEASURE(loan_amount) FROM unified.customer_metrics";
    ensure!(world.rows("auditor", total).await? == [["15"]]);
    ensure!(world.rows("branch", by_region).await? == [["north", "10"]]);
    let findings = world.pushed.verify_online().await;
    let told: Vec<String> = findings.iter().map(|finding| finding.message.clone()).collect();
    ensure!(
        told == ["`crm.holder` names several primary holders of one `account_id`"],
        "{told:?}"
    );
    // Under a rule that says what becomes of several, nothing is wrong.
    let shared = World::open(&data, "equal_share", METRICS).await?;
    ensure!(shared.rows("auditor", by_region).await? == [["north", "5.0"], ["south", "10.0"]]);
    ensure!(shared.pushed.verify_online().await.is_empty());
    Ok(())
}

#[tokio::test]
async fn groups_that_are_null_meet() -> Result<()> {
    let mut data = one_account();
    data.customers = vec![(1, None, "F")];
    data.loans = vec![(Some(10), Some("2023-01-01"), 10, "A")];
    data.balances = vec![(10, "2023-01-05", 7, None)];
    let sql = "SELECT region, MEASURE(loan_amount), MEASURE(carried) FROM unified.customer_metrics GROUP BY region";
    ensure!(world(&data).await?.rows("auditor", sql).await? == [["NULL", "10", "7"]]);
    Ok(())
}

#[tokio::test]
async fn leap_days_and_ends_of_months_are_in_their_period() -> Result<()> {
    let mut data = one_account();
    let days = ["2024-02-29", "2024-03-31", "2024-04-30"];
    data.loans = days.map(|day| (Some(10), Some(day), 1, "A")).to_vec();
    let sql = "SELECT CAST(date_trunc('month', metric_time) AS DATE) AS m, MEASURE(loan_count) FROM unified.customer_metrics GROUP BY 1";
    let rows = world(&data).await?.rows("auditor", sql).await?;
    ensure!(
        rows == [["2024-02-01", "1"], ["2024-03-01", "1"], ["2024-04-01", "1"]],
        "{rows:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_31st_of_march_is_not_lost_a_month_later() -> Result<()> {
    let mut data = one_account();
    let days = ["2023-03-30", "2023-03-31", "2023-04-30"];
    data.loans = days.map(|day| (Some(10), Some(day), 1, "A")).to_vec();
    let world = world(&data).await?;
    let ask = |period: &str| {
        format!(
            "SELECT CAST({period} AS DATE) AS p, MEASURE(loan_count), MEASURE(last_month) FROM unified.customer_metrics GROUP BY 1"
        )
    };
    let months = world.rows("auditor", &ask("date_trunc('month', metric_time)")).await?;
    ensure!(
        months
            == [
                ["2023-03-01", "2", "0"],
                ["2023-04-01", "1", "2"],
                ["2023-05-01", "0", "1"]
            ],
        "{months:?}"
    );
    // Day by day too: what happened at the end of a month happens at the end of the next.
    let day_by_day = world.rows("auditor", &ask("metric_time")).await?;
    let wanted = [
        ["2023-03-30", "1", "0"],
        ["2023-03-31", "1", "0"],
        ["2023-04-30", "1", "2"],
        ["2023-05-31", "0", "1"],
    ];
    ensure!(day_by_day == wanted, "{day_by_day:?}");
    let april = "SELECT MEASURE(last_month) FROM unified.customer_metrics WHERE metric_time BETWEEN DATE '2023-04-01' AND DATE '2023-04-30'";
    ensure!(world.rows("auditor", april).await? == [["2"]]);
    Ok(())
}

#[tokio::test]
async fn a_window_reads_before_the_days_that_are_shown() -> Result<()> {
    let mut data = one_account();
    data.loans = vec![
        (Some(10), Some("2022-12-31"), 100, "A"),
        (Some(10), Some("2023-01-15"), 10, "A"),
        (Some(10), Some("2023-02-15"), 1, "A"),
    ];
    let world = world(&data).await?;
    let sql = "SELECT CAST(date_trunc('month', metric_time) AS DATE) AS m, MEASURE(loan_amount), MEASURE(so_far), \
               MEASURE(year_borrowers), MEASURE(last_month) \
               FROM unified.customer_metrics WHERE metric_time >= DATE '2023-02-01' GROUP BY 1";
    let rows = world.rows("auditor", sql).await?;
    let wanted = [
        ["2023-02-01", "1", "111", "1", "1"],
        ["2023-03-01", "0", "111", "1", "1"],
    ];
    ensure!(rows == wanted, "{rows:?}");
    // The last day asked for ends the window, within a period too.
    let sql = "SELECT MEASURE(so_far), MEASURE(quarter_mean) FROM unified.customer_metrics WHERE metric_time <= DATE '2023-01-31'";
    ensure!(world.rows("auditor", sql).await? == [["110", "55.0"]]);
    Ok(())
}

/// A shift of a week and one of seven days were two things elsewhere, and so were windows.
#[tokio::test]
async fn a_week_is_seven_days() -> Result<()> {
    let more = "
  week_ago: { table: lend.loan, expr: sum(amount), time: day, shift: 1 week }
  seven_days_ago: { table: lend.loan, expr: sum(amount), time: day, shift: 7 days }
  of_a_week: { table: lend.loan, expr: count(*), time: day, window: { trailing: 1 week } }
  of_seven_days: { table: lend.loan, expr: count(*), time: day, window: { trailing: 7 days } }
";
    let world = World::open(&all_of_it(), "equal_share", &format!("{METRICS}{more}")).await?;
    for grain in ["day", "week", "month", "year"] {
        let of = |shift: &str, window: &str| {
            format!(
                "SELECT region, date_trunc('{grain}', metric_time), MEASURE({shift}), MEASURE({window}) \
                 FROM unified.customer_metrics GROUP BY 1, 2"
            )
        };
        let weeks = world.rows("auditor", &of("week_ago", "of_a_week")).await?;
        let days = world.rows("auditor", &of("seven_days_ago", "of_seven_days")).await?;
        ensure!(weeks == days && weeks.len() > 3, "{grain}: {weeks:?}\n{days:?}");
    }
    Ok(())
}

/// A shift moved one of two expressions of the time and left the other.
#[tokio::test]
async fn every_time_of_a_query_is_shifted() -> Result<()> {
    let mut data = one_account();
    data.loans = vec![(Some(10), Some("2023-12-15"), 10, "A")];
    let sql = "SELECT CAST(date_trunc('year', metric_time) AS DATE), CAST(date_trunc('month', metric_time) AS DATE), \
               extract(year FROM metric_time), MEASURE(last_month) FROM unified.customer_metrics \
               WHERE metric_time >= DATE '2024-01-01' GROUP BY 1, 2, 3";
    let rows = world(&data).await?.rows("auditor", sql).await?;
    ensure!(rows == [["2024-01-01", "2024-01-01", "2024", "1"]], "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn a_balance_by_month_is_the_sum_of_each_accounts_last() -> Result<()> {
    let mut data = one_account();
    data.holders = vec![(10, 1, true), (11, 1, true)];
    data.balances = vec![
        (10, "2023-01-10", 500, None),
        (10, "2023-01-20", 100, None),
        (11, "2023-01-31", 200, None),
        (11, "2023-02-28", 250, None),
    ];
    let sql = "SELECT CAST(date_trunc('month', metric_time) AS DATE) AS m, MEASURE(carried), MEASURE(strict) \
               FROM unified.customer_metrics GROUP BY 1";
    let rows = world(&data).await?.rows("auditor", sql).await?;
    // Neither 800, the sum of all, nor 200, the rows of the last day; and the silent account keeps its 100.
    ensure!(
        rows == [["2023-01-01", "300", "300"], ["2023-02-01", "350", "250"]],
        "{rows:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_mean_over_time_weighs_by_days_and_not_by_rows() -> Result<()> {
    let mut data = one_account();
    data.balances = vec![
        (10, "2023-01-30", 310, None),
        (10, "2023-03-01", 0, None),
        (10, "2023-03-31", 62, None),
    ];
    let sql = "SELECT CAST(date_trunc('month', metric_time) AS DATE) AS m, MEASURE(weighted), MEASURE(weighted_recent) \
               FROM unified.customer_metrics GROUP BY 1";
    let rows = world(&data).await?.rows("auditor", sql).await?;
    // January: from its first row on; March: 30 days of nothing and one of 62, and the mean of its rows would be 31.
    ensure!(
        rows == [["2023-01-01", "310.0", "310.0"], ["2023-03-01", "2.0", "2.0"]],
        "{rows:?}"
    );
    Ok(())
}

/// A customer of several accounts was one for each of them.
#[tokio::test]
async fn a_customer_of_several_accounts_is_counted_once() -> Result<()> {
    let mut data = one_account();
    data.holders = vec![(10, 1, true), (11, 1, true)];
    data.loans = vec![
        (Some(10), Some("2023-01-01"), 10, "A"),
        (Some(11), Some("2023-01-02"), 20, "A"),
        (Some(10), Some("2023-02-01"), 30, "B"),
    ];
    let world = world(&data).await?;
    let total = "SELECT MEASURE(borrowers), MEASURE(loan_count) FROM unified.customer_metrics";
    ensure!(world.rows("auditor", total).await? == [["1", "3"]]);
    let by_month =
        "SELECT date_part('month', metric_time), MEASURE(borrowers) FROM unified.customer_metrics GROUP BY 1";
    ensure!(world.rows("auditor", by_month).await? == [["1", "1"], ["2", "1"]]);
    Ok(())
}

/// Two roles that each see something saw only what both do.
#[tokio::test]
async fn two_roles_add_up_and_do_not_intersect() -> Result<()> {
    let world = world(&all_of_it()).await?;
    let sql = "SELECT region, MEASURE(loan_amount), MEASURE(carried) FROM unified.customer_metrics GROUP BY region";
    let region = [(
        "region",
        caliber_catalog::principal::AttributeValue::Text("north".to_owned()),
    )];
    let session = world.pushed.session(principal(&["branch", "auditor"], &region));
    let mut both = caliber_tests::engine::ask(&session, sql).await?;
    both.sort();
    ensure!(both == world.rows("auditor", sql).await?, "{both:?}");
    Ok(())
}

/// What is not there was taken for nothing, and nothing for what is not there.
#[tokio::test]
async fn no_balance_is_not_zero_and_no_flow_is() -> Result<()> {
    let more = "
  five_more: { expr: loan_count + 5 }
  owed_and_held: { expr: carried + loan_amount }
";
    let world = World::open(&one_account(), "primary_holder", &format!("{METRICS}{more}")).await?;
    let sql = "SELECT MEASURE(five_more), MEASURE(owed_and_held), MEASURE(carried), MEASURE(bad_rate) FROM unified.customer_metrics";
    ensure!(world.rows("auditor", sql).await? == [["5", "NULL", "NULL", "NULL"]]);
    Ok(())
}

#[tokio::test]
async fn a_count_of_a_measure_is_refused_and_not_the_measure() -> Result<()> {
    let world = world(&all_of_it()).await?;
    for sql in [
        "SELECT count(loan_amount) FROM unified.customer_metrics",
        "SELECT region, max(loan_count) FROM unified.customer_metrics GROUP BY region",
    ] {
        let refused = world.refused("auditor", sql).await?;
        ensure!(refused.starts_with("MET002"), "{sql}: {refused}");
    }
    Ok(())
}

#[tokio::test]
async fn parameters_stand_in_every_clause() -> Result<()> {
    let world = world(&all_of_it()).await?;
    let sql = "SELECT region, MEASURE(loan_amount) AS a, MEASURE(carried) AS b FROM unified.customer_metrics \
               WHERE region <> $1 AND metric_time <= $2 GROUP BY region HAVING MEASURE(loan_amount) > $3";
    let written = sql
        .replace("$1", "'west'")
        .replace("$2", "DATE '2023-12-31'")
        .replace("$3", "-1");
    for engine in [&world.pushed, &world.local] {
        let session = engine.session(principal(&["auditor"], &[]));
        let values: Vec<(&str, ArrayRef)> = vec![
            ("$1", Arc::new(StringArray::from(vec!["west"]))),
            ("$2", Arc::new(Date32Array::from(vec![19_722]))),
            ("$3", Arc::new(Int64Array::from(vec![-1]))),
        ];
        let batches: Vec<RecordBatch> = session
            .execute(sql, Some(RecordBatch::try_from_iter(values)?))
            .await?
            .try_collect()
            .await?;
        let mut found = caliber_tests::rows::texts(&batches)?;
        found.sort();
        let wanted = world.rows("auditor", &written).await?;
        ensure!(found == wanted && wanted.len() == 2, "{found:?}, wanted {wanted:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_means_nothing_is_refused_with_a_code() -> Result<()> {
    let world = world(&all_of_it()).await?;
    let cases = [
        ("MET001", "SELECT MEASURE(amount) FROM lend.loan"),
        ("MET001", "SELECT MEASURE(region) FROM unified.customer_metrics"),
        ("MET001", "SELECT count(*) FROM unified.customer_metrics"),
        (
            "MET001",
            "SELECT MEASURE(loan_amount) OVER () FROM unified.customer_metrics",
        ),
        (
            "MET001",
            "SELECT MEASURE(m.loan_amount) FROM unified.customer_metrics m JOIN crm.customer c ON c.id = m.id",
        ),
        (
            "MET001",
            "SELECT MEASURE(loan_amount) FROM (SELECT * FROM unified.customer_metrics LIMIT 1) AS m",
        ),
        (
            "MET001",
            "SELECT region, MEASURE(loan_amount) FROM unified.customer_metrics GROUP BY ROLLUP (region)",
        ),
        ("MET002", "SELECT count(loan_amount) FROM unified.customer_metrics"),
        ("MET002", "SELECT sum(bad_rate) FROM unified.customer_metrics"),
        ("MET002", "SELECT sum(carried) FROM unified.customer_metrics"),
        ("MET002", "SELECT avg(loan_amount) FROM unified.customer_metrics"),
        (
            "MET003",
            "SELECT status, MEASURE(loan_amount), MEASURE(carried) FROM unified.customer_metrics GROUP BY status",
        ),
        (
            "MET003",
            "SELECT MEASURE(mean) FROM unified.customer_metrics WHERE status = 'A'",
        ),
        ("MET004", "SELECT loan_amount FROM unified.customer_metrics"),
        (
            "MET004",
            "SELECT MEASURE(loan_count) FROM unified.customer_metrics WHERE loan_amount > 5",
        ),
        ("MET004", "SELECT metric_time FROM unified.customer_metrics"),
        (
            "MET005",
            "SELECT MEASURE(carried) FROM unified.customer_metrics WHERE extract(year FROM metric_time) = 2023",
        ),
        (
            "MET005",
            "SELECT MEASURE(carried) FROM unified.customer_metrics GROUP BY extract(month FROM metric_time)",
        ),
        ("MET005", "SELECT MEASURE(recent) FROM unified.customer_metrics"),
        ("MET005", "SELECT MEASURE(quarter_mean) FROM unified.customer_metrics"),
        (
            "MET005",
            "SELECT MEASURE(so_far) FROM unified.customer_metrics WHERE extract(year FROM metric_time) = 2023",
        ),
        (
            "MET005",
            "SELECT MEASURE(last_year) FROM unified.customer_metrics GROUP BY extract(month FROM metric_time)",
        ),
        (
            "MET005",
            "SELECT MEASURE(carried_before) FROM unified.customer_metrics GROUP BY metric_time",
        ),
        ("MET002", "SELECT sum(so_far) FROM unified.customer_metrics"),
    ];
    for (code, sql) in cases {
        let refused = world.refused("auditor", sql).await?;
        ensure!(refused.starts_with(code), "{sql}: {refused}, wanted {code}");
    }
    Ok(())
}

#[tokio::test]
async fn the_receipt_names_the_definitions_that_were_asked_for() -> Result<()> {
    let world = world(&all_of_it()).await?;
    let listed = world
        .rows(
            "auditor",
            "SELECT metric, definition FROM caliber.metrics WHERE metric IN ('bad_rate', 'loan_count')",
        )
        .await?;
    let session = world.pushed.session(principal(&["auditor"], &[]));
    let sql = "WITH m AS (SELECT region, MEASURE(loan_count) AS n FROM unified.customer_metrics GROUP BY region) \
               SELECT n, (SELECT MEASURE(bad_rate) FROM unified.customer_metrics) FROM m";
    // The first run plans, the second takes the plan that was kept.
    for _ in 0..2 {
        let mut stream = session.execute(sql, None).await?;
        while stream.try_next().await?.is_some() {}
        let told: Vec<Vec<String>> = stream
            .receipt()
            .metrics
            .into_iter()
            .map(|used| vec![used.metric, used.definition])
            .collect();
        ensure!(told == listed && told.len() == 2, "{told:?}, listed {listed:?}");
    }
    let mut plain = session.execute("SELECT count(*) FROM lend.loan", None).await?;
    while plain.try_next().await?.is_some() {}
    ensure!(plain.receipt().metrics.is_empty());
    // What a metric is computed from is part of what it means; what people call it is not.
    let other = METRICS
        .replace("where: status = 'B'", "where: status = 'C'")
        .replace("loan_count: {", "loan_count: { label: Loans,");
    let other = World::open(&all_of_it(), "primary_holder", &other).await?;
    let changed = other
        .rows(
            "auditor",
            "SELECT metric, definition FROM caliber.metrics WHERE metric IN ('bad_rate', 'loan_count')",
        )
        .await?;
    ensure!(
        changed[0] != listed[0] && changed[1] == listed[1],
        "{changed:?}, before {listed:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_aggregate_that_agrees_is_the_metric() -> Result<()> {
    let world = world(&all_of_it()).await?;
    for (plain, metric) in [
        ("sum(loan_amount)", "loan_amount"),
        ("SUM(loan_count)", "loan_count"),
        ("max(biggest)", "biggest"),
        ("AGG(bad_rate)", "bad_rate"),
        ("AGGREGATE(carried)", "carried"),
    ] {
        let ask = |call: &str| format!("SELECT region, {call} FROM unified.customer_metrics GROUP BY region");
        let (found, wanted) = (ask(plain), ask(&format!("MEASURE({metric})")));
        let wanted = world.rows("auditor", &wanted).await?;
        ensure!(
            world.rows("auditor", &found).await? == wanted && wanted.len() == 3,
            "{plain}: {wanted:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_metric_stands_wherever_an_aggregate_does() -> Result<()> {
    let world = world(&all_of_it()).await?;
    // By hand: north 100 + 50 + 70 + 20, south 30 + 90 + 11, none 7 + 3 + 13.
    let all = [["NULL", "23"], ["north", "240"], ["south", "131"]];
    let view = "unified.customer_metrics";
    let statements = [
        format!("SELECT region, MEASURE(loan_amount) FROM {view} GROUP BY region HAVING MEASURE(loan_count) > 0"),
        format!(
            "WITH m AS (SELECT * FROM {view}) SELECT r, MEASURE(loan_amount) FROM (SELECT region AS r, loan_amount FROM m) AS x GROUP BY r"
        ),
        format!(
            "SELECT region, sum(a) FROM (SELECT region, sex, MEASURE(loan_amount) AS a FROM {view} GROUP BY 1, 2) AS x GROUP BY region"
        ),
        format!(
            "SELECT region, MEASURE(loan_amount) FROM {view} WHERE region = 'north' GROUP BY region UNION ALL \
             SELECT region, MEASURE(loan_amount) FROM {view} WHERE region IS NULL OR region = 'south' GROUP BY region"
        ),
        format!(
            "SELECT region, m FROM (SELECT region, MEASURE(loan_amount) AS m FROM {view} GROUP BY region) AS x ORDER BY m"
        ),
    ];
    for sql in statements {
        let rows = world.rows("auditor", &sql).await?;
        ensure!(rows == all, "{sql}: {rows:?}");
    }
    let ranked = format!("SELECT region, rank() OVER (ORDER BY MEASURE(loan_amount) DESC) FROM {view} GROUP BY region");
    ensure!(world.rows("auditor", &ranked).await? == [["NULL", "3"], ["north", "1"], ["south", "2"]]);
    let share = format!(
        "SELECT id FROM unified.customer_360 WHERE id = (SELECT MEASURE(borrowers) FROM {view} WHERE region = 'north')"
    );
    ensure!(world.rows("auditor", &share).await? == [["2"]]);
    let preview = format!("SELECT * FROM {view} WHERE region = 'north' ORDER BY id LIMIT 1");
    let row = world.rows("auditor", &preview).await?;
    ensure!(
        row.len() == 1 && row[0][0] == "1" && row[0].iter().filter(|value| *value == "NULL").count() == 40,
        "{row:?}"
    );
    ensure!(
        world
            .rows("auditor", &format!("SELECT DISTINCT region FROM {view}"))
            .await?
            .len()
            == 3
    );
    Ok(())
}

#[tokio::test]
async fn a_definition_that_cannot_be_computed_is_refused_on_load() -> Result<()> {
    let balance = |more: &str| {
        format!(
            "metrics: {{ m: {{ table: fin.balance, expr: sum(balance), time: day, semi_additive: {{ per: account_id, {more} }} }} }}\n"
        )
    };
    let loans = |more: &str| format!("metrics: {{ m: {{ table: lend.loan, expr: sum(amount), {more} }} }}\n");
    let over = |inner: &str, outer: &str| {
        format!(
            "metrics: {{ m: {{ table: lend.loan, expr: sum(amount), time: day, {inner} }}, n: {{ expr: m + 1, {outer} }} }}\n"
        )
    };
    let cases = [
        (
            "PRJ021",
            "metrics: { m: { table: lend.loan, expr: sum(amount) + 1 } }\n".to_owned(),
        ),
        (
            "PRJ021",
            "metrics: { m: { table: lend.loan, expr: sum(amuont) } }\n".to_owned(),
        ),
        (
            "PRJ021",
            "metrics: { m: { table: lend.laon, expr: sum(amount) } }\n".to_owned(),
        ),
        (
            "PRJ021",
            "metrics: { m: { table: lend.loan, expr: sum(amount), where: amount + 1 } }\n".to_owned(),
        ),
        (
            "PRJ021",
            "metrics: { m: { table: lend.loan, expr: sum(amount), time: status } }\n".to_owned(),
        ),
        (
            "PRJ021",
            "metrics: { a: { expr: b + 1 }, b: { expr: a + 1 } }\n".to_owned(),
        ),
        ("PRJ021", "metrics: { a: { expr: nothing + 1 } }\n".to_owned()),
        ("PRJ021", balance("pick: last, order: [day]")),
        (
            "PRJ021",
            "metrics: { a: { table: lend.loan, expr: count(*) }, b: { expr: a + 1, time: day } }\n".to_owned(),
        ),
        (
            "PRJ021",
            "metrics: { m: { table: fin.balance, expr: sum(balance), semi_additive: { per: account_id, pick: max } } }\n".to_owned(),
        ),
        ("PRJ004", balance("pick: last, missing: carry(0 days)")),
        (
            "PRJ006",
            "metrics: { region: { table: lend.loan, expr: sum(amount) } }\n".to_owned(),
        ),
        ("PRJ021", balance("pick: time_weighted_average")),
        ("PRJ021", balance("pick: min, missing: carry, order: [day]")),
        ("PRJ021", balance("pick: max, order: [day, id]")),
        ("PRJ004", balance("pick: most")),
        ("PRJ021", loans("shift: 1 year")),
        ("PRJ021", loans("window: cumulative")),
        ("PRJ004", loans("time: day, window: all")),
        ("PRJ004", loans("time: day, window: { trailing: 0 days }")),
        ("PRJ004", loans("time: day, window: { to_date: decade }")),
        ("PRJ004", loans("time: day, window: { trailing: 1 day, to_date: year }")),
        ("PRJ004", loans("time: day, shift: next year")),
        ("PRJ003", loans("time: day, window: { since: 2020 }")),
        (
            "PRJ021",
            balance("pick: last, order: [day, id] }, window: { trailing: 3 months"),
        ),
        ("PRJ021", over("window: cumulative", "window: cumulative")),
        ("PRJ021", over("shift: 1 year", "window: cumulative")),
        ("PRJ021", over("shift: 1 year", "shift: 1 month")),
    ];
    for (code, metrics) in cases {
        match World::open(&Data::default(), "primary_holder", &metrics).await {
            Ok(_) => anyhow::bail!("{metrics} was opened"),
            Err(error) => ensure!(error.to_string().contains(code), "{metrics}: {error}, wanted {code}"),
        }
    }
    Ok(())
}
