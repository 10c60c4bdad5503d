//! Where two metrics differ: parts that add up, over what both count.
//!
//! Owns: the sum of the parts, figures counted by hand, who may compare what. Never: a metric's value (`oracle`).

use anyhow::{Result, ensure};
use caliber_engine::{ComparedBy, EngineError, Session};
use caliber_tests::engine::{ask, principal};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::world::{Data, METRICS, World, all_of_it, by_chance};

const MORE: &str = "
  good_amount: { table: lend.loan, expr: sum(amount), where: status = 'A' AND amount > 15, time: day }
  halves: { table: lend.loan, expr: sum(amount / 2), where: amount > 25, time: day }
  late_amount: { table: lend.loan, expr: sum(amount), time: seen }
  both_sums: { expr: loan_amount - carried }
";

fn by(groups: &[&str]) -> ComparedBy {
    let column = |name: &&str| match *name {
        "month" => (
            "CAST(date_trunc('month', metric_time) AS DATE)".to_owned(),
            "month".to_owned(),
        ),
        name => (name.to_owned(), name.to_owned()),
    };
    ComparedBy {
        entity: "customer".to_owned(),
        groups: groups.iter().map(column).collect(),
        condition: None,
    }
}

/// The rows of a comparison; how many columns are its groups'.
async fn rows(session: &Session, one: &str, other: &str, by: &ComparedBy) -> Result<Vec<Vec<String>>, EngineError> {
    let comparison = session.compare_metrics(one, other, by)?;
    ask(&comparison.session, &comparison.sql).await
}

fn session(world: &World, role: &str) -> Session {
    let region = caliber_catalog::principal::AttributeValue::Text("north".to_owned());
    world.pushed.session(principal(&[role], &[("region", region)]))
}

async fn world(data: &Data, rule: &str) -> Result<World> {
    World::open(data, rule, &format!("{METRICS}{MORE}")).await
}

#[tokio::test]
async fn rows_that_one_counts_are_told_by_the_condition_that_leaves_them_out() -> Result<()> {
    let data = Data {
        customers: vec![(1, Some("north"), "F")],
        holders: vec![(10, 1, true)],
        loans: vec![
            (Some(10), Some("2023-01-01"), 100, "A"),
            (Some(10), Some("2023-01-02"), 10, "A"),
            (Some(10), Some("2023-01-03"), 7, "B"),
            (Some(11), Some("2023-02-03"), 40, "B"),
        ],
        ..Data::default()
    };
    let world = world(&data, "primary_holder").await?;
    let session = session(&world, "auditor");
    let comparison = session.compare_metrics("loan_amount", "GOOD_amount", &by(&["region"]))?;
    let columns: Vec<&str> = comparison.parts.iter().map(|(column, _)| column.as_str()).collect();
    ensure!(
        columns
            == [
                "only loan_amount: not status = 'A'",
                "only loan_amount: not amount > 15",
                "other values"
            ],
        "{columns:?}"
    );
    let found = ask(&comparison.session, &comparison.sql).await?;
    // Of the north 117 of which 100 are good: 7 by the status, 10 by the amount. Nobody holds the other 40.
    let mut wanted = vec![
        vec!["NULL", "40", "0", "40", "40", "0", "0"],
        vec!["north", "117", "100", "17", "7", "10", "0"],
    ];
    wanted.sort();
    let mut sorted = found.clone();
    sorted.sort();
    ensure!(sorted == wanted, "{found:?}");
    // The same from the other side.
    let found = rows(&session, "good_amount", "loan_amount", &by(&[])).await?;
    ensure!(found == [["100", "157", "-57", "-47", "-10", "0"]], "{found:?}");
    // Twice the value of the same row.
    let found = rows(&session, "loan_amount", "halves", &by(&["month"])).await?;
    ensure!(
        found
            == [
                ["2023-01-01", "117", "50", "67", "17", "50"],
                ["2023-02-01", "40", "20", "20", "0", "20"]
            ],
        "{found:?}"
    );
    Ok(())
}

#[tokio::test]
async fn metrics_of_two_departments_differ_by_customers() -> Result<()> {
    let world = world(&all_of_it(), "primary_holder").await?;
    let found = rows(&session(&world, "auditor"), "carried", "loan_amount", &by(&["region"])).await?;
    // The owners: 1 of the north has 985 and 170, 2 has 250 and 70; 3 of the south 500 and 101, 5 has 60 and 30; 4 has 17 and
    // 13; account 15, whose balance is 9 and whose loan 7, is nobody's, nor is the loan of 3.
    ensure!(
        found
            == [
                ["north", "1235", "240", "995", "0", "0", "995", "0"],
                ["south", "560", "131", "429", "0", "0", "429", "0"],
                ["NULL", "26", "23", "3", "0", "0", "4", "-1"]
            ],
        "{found:?}"
    );
    Ok(())
}

#[tokio::test]
async fn parts_add_up_to_the_difference() -> Result<()> {
    let pairs = [
        ("loan_amount", "bad_amount"),
        ("good_amount", "bad_amount"),
        ("halves", "good_amount"),
        ("loan_count", "bad_amount"),
        ("late_amount", "good_amount"),
        ("carried", "loan_amount"),
        ("closing", "carried"),
        ("both_sums", "strict"),
        ("so_far", "loan_amount"),
    ];
    let mut random = StdRng::seed_from_u64(8);
    for at in 0..6 {
        let rule = ["primary_holder", "equal_share"][at % 2];
        let world = world(&by_chance(&mut random), rule).await?;
        for (one, other) in pairs {
            for groups in [&[][..], &["region"], &["sex", "month"]] {
                for role in ["auditor", "branch"] {
                    let found = rows(&session(&world, role), one, other, &by(groups)).await?;
                    for row in &found {
                        let numbers: Vec<f64> = row[groups.len()..]
                            .iter()
                            .map(|text| text.parse().unwrap_or(0.0))
                            .collect();
                        let sum: f64 = numbers[3..].iter().sum();
                        ensure!(
                            (numbers[0] - numbers[1] - numbers[2]).abs() < 1e-9 && (sum - numbers[2]).abs() < 1e-9,
                            "{one} and {other} by {groups:?} under {rule} as {role}: {row:?}"
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_add_up_or_does_not_exist_is_refused() -> Result<()> {
    let world = world(&all_of_it(), "full_to_each").await?;
    let refused = |role: &'static str, one: &'static str, other: &'static str| {
        let session = session(&world, role);
        async move {
            match rows(&session, one, other, &by(&[])).await {
                Ok(rows) => anyhow::bail!("{one} and {other} gave {rows:?}"),
                Err(error) => Ok(error.code.as_str()),
            }
        }
    };
    ensure!(refused("auditor", "bad_rate", "loan_amount").await? == "MET007");
    ensure!(refused("auditor", "borrowers", "loan_count").await? == "MET007");
    ensure!(refused("auditor", "carried", "loan_amount").await? == "MET007");
    ensure!(refused("auditor", "loan_amount", "LOAN_amount").await? == "MET007");
    ensure!(refused("auditor", "loan_amount", "nothing").await? == "SQL012");
    ensure!(refused("nobody", "loan_amount", "bad_amount").await? == "SQL011");
    Ok(())
}
