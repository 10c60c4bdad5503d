//! A change of the real bank's policies, over its live databases.

use std::fs;

use anyhow::{Context, Result, ensure};
use caliber_tests::program::run;

use super::number;
use crate::bank::local_copy;

/// Wider for branch staff, no mask for head office, a table more for the credit desk.
#[tokio::test]
async fn a_change_of_the_banks_policies_is_counted_exactly() -> Result<()> {
    let Some(bank) = caliber_testkit::bank().await? else {
        return Ok(());
    };
    let access = fs::read_to_string(bank.project.join("policies/access.yaml"))?;
    let changed = access
        .replace(
            "customer: district_id = principal.district_id",
            "customer: district_id IN (principal.district_id, 70)",
        )
        .replace(
            "    masks:\n      accounting.client.birth_number: \"concat(substr(birth_number, 1, 2), '****')\"\n",
            "",
        )
        .replace(
            "tables: [\"credit.loan\"]",
            "tables: [\"credit.loan\", \"credit.card\"]",
        );
    ensure!(
        changed.matches("birth_number").count() == 1 && changed.contains(", 70)") && changed.contains("credit.card")
    );
    let folder = tempfile::tempdir()?;
    let change = folder.path().join("access.yaml");
    fs::write(&change, changed)?;
    let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
    let (project, change, accounting) = (text(&bank.project)?, text(&change)?, text(&bank.accounting_db)?);
    let variables = [
        ("SETTLEMENT_URL", bank.settlement_url.as_str()),
        ("CREDIT_URL", bank.credit_url.as_str()),
        ("ACCOUNTING_DB", accounting.as_str()),
    ];
    let simulate = [
        "policy",
        "simulate",
        "--project",
        &project,
        "--change",
        &change,
        "--json",
    ];
    let simulation: Vec<String> = simulate.iter().map(|part| (*part).to_owned()).collect();
    let owned_variables: Vec<(String, String)> = variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let finished = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = simulation.iter().map(String::as_str).collect();
        let variables = owned_variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        run(&arguments, variables)
    })
    .await??;
    ensure!(finished.code == Some(1), "{finished:?}");
    let simulated: serde_json::Value = serde_json::from_str(&finished.out)?;

    let local = local_copy::load(&bank.project.join(".."))?;
    let count = |sql: &str| -> Result<u64> {
        let count: i64 = local.query_row(sql, [], |row| row.get(0)).context(sql.to_owned())?;
        Ok(u64::try_from(count)?)
    };
    for (user, district) in [("petr", 1), ("jana", 18)] {
        let of = |district: u32| {
            format!(
                "SELECT d.account_id FROM disp d JOIN client c USING (client_id)
                 WHERE d.type = 'OWNER' AND c.district_id = {district}"
            )
        };
        let fresh = |column: &str| format!("{column} IN ({}) AND {column} NOT IN ({})", of(70), of(district));
        let rows = |table: &str| number(&simulated, user, table, "/counts/opened");
        ensure!(rows("accounting.client")? == count("SELECT count(*) FROM client WHERE district_id = 70")?);
        for (table, local) in [
            ("settlement.trans", "trans"),
            ("settlement.order", "\"order\""),
            ("credit.loan", "loan"),
        ] {
            let wanted = count(&format!(
                "SELECT count(*) FROM {local} WHERE {}",
                fresh("CAST(c1 AS INT)")
            ))?;
            ensure!(
                wanted > 0 && rows(table)? == wanted,
                "{user}: {table}: {} not {wanted}",
                rows(table)?
            );
            let owners = count(&format!(
                "SELECT count(DISTINCT client_id) FROM disp WHERE type = 'OWNER'
                 AND account_id IN (SELECT CAST(c1 AS INT) FROM {local} WHERE {})",
                fresh("CAST(c1 AS INT)")
            ))?;
            let found = number(&simulated, user, table, "/counts/entities/0/opened")?;
            ensure!(found == owners, "{user}: {table}: {found} customers, wanted {owners}");
        }
    }
    let cells = number(&simulated, "anna", "accounting.client", "/counts/cells/0/opened")?;
    ensure!(cells == count("SELECT count(*) FROM client")?, "{cells}");
    ensure!(number(&simulated, "karl", "credit.card", "/counts/opened")? == count("SELECT count(*) FROM card")?);
    ensure!(super::change_of(&simulated, "olga", "credit.card").is_none());
    Ok(())
}
