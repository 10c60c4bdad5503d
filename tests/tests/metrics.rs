//! Metrics of the real bank, over its three live databases, pushed and with nothing pushed (INV-5).
//!
//! Figures are the bank's known answers, or counted by SQL written by hand over a local copy of its eight tables.

/// The bank with its metrics, in this process.
pub mod bank_metrics;

use anyhow::{Context, Result, ensure};
use bank_metrics::{Metrics, check};

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
