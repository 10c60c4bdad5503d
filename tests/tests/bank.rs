//! The figures of a real bank through every layer: live databases, the program, Flight SQL, Python and Rust clients.

pub mod local_copy;

use anyhow::{Result, ensure};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow_flight::sql::CommandGetTables;
use caliber_tests::bank::bank;
use caliber_tests::flight::Client;
use caliber_tests::{python, rows};
use std::sync::Arc;

#[tokio::test]
async fn figures_and_joins_equal_duckdb_through_adbc() -> Result<()> {
    let Some(bank) = bank().await? else {
        return Ok(());
    };
    python::script("bank_figures.py", &[&bank.uri, &bank.folder.to_string_lossy()])
}

#[tokio::test]
async fn inv4_each_principal_sees_its_part_through_adbc() -> Result<()> {
    let Some(bank) = bank().await? else {
        return Ok(());
    };
    python::script("bank_principals.py", &[&bank.uri, &bank.folder.to_string_lossy()])
}

#[tokio::test]
async fn parameters_and_threads_through_adbc() -> Result<()> {
    let Some(bank) = bank().await? else {
        return Ok(());
    };
    python::script("bank_parameters.py", &[&bank.uri])
}

/// A branch clerk's figures, each beside the SQL that counts the same in a local copy of all eight tables.
#[tokio::test]
async fn a_branch_sees_its_customers_in_every_department() -> Result<()> {
    let Some(bank) = bank().await? else {
        return Ok(());
    };
    let local = local_copy::load(&bank.folder)?;
    let prague = [
        ("accounting.client", 663),
        ("accounting.account", 547),
        ("credit.loan", 79),
        ("settlement.trans", 5640),
        ("settlement.\"order\"", 811),
        ("credit.card", 130),
        ("unified.customer_360", 663),
    ];
    for (user, district) in [("petr", 1), ("jana", 18)] {
        let client = Client::connect(&bank.uri, user).await?;
        for (table, known) in prague {
            let found = client.rows(&format!("SELECT count(*) FROM {table}")).await?;
            let wanted = local_copy::of_district(&local, table, district)?;
            ensure!(
                found == [[wanted.to_string()]],
                "{user}: {table}: {found:?}, wanted {wanted}"
            );
            ensure!(
                user != "petr" || wanted == known,
                "{table}: the local copy says {wanted}, the bank {known}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn attributes_of_a_masked_column_are_null() -> Result<()> {
    let Some(bank) = bank().await? else {
        return Ok(());
    };
    let gender = "SELECT gender, count(*) FROM unified.customer_360 GROUP BY gender ORDER BY gender";
    let petr = Client::connect(&bank.uri, "petr").await?;
    ensure!(petr.rows(gender).await? == [["NULL", "663"]]);
    let olga = Client::connect(&bank.uri, "olga").await?;
    ensure!(olga.rows(gender).await? == [["F", "2645"], ["M", "2724"]]);
    Ok(())
}

/// What karl may not see answers exactly as what never was (INV-4).
#[tokio::test]
async fn inv4_hidden_is_absent() -> Result<()> {
    let Some(bank) = bank().await? else {
        return Ok(());
    };
    let karl = Client::connect(&bank.uri, "karl").await?;
    let pairs = [
        ("SELECT * FROM accounting.{}", "client", "xlient"),
        ("SELECT * FROM credit.{}", "card", "xard"),
        ("SELECT * FROM {}.trans", "settlement", "xettlement"),
        ("SELECT {} FROM credit.loan", "duration", "xuration"),
        ("SELECT loan_id FROM credit.loan ORDER BY {}", "payments", "xayments"),
        ("SELECT * FROM unified.{}", "customer_360", "xustomer_360"),
    ];
    for (sql, hidden, absent) in pairs {
        let left = karl.refused(&sql.replace("{}", hidden)).await?;
        let right = karl.refused(&sql.replace("{}", absent)).await?;
        ensure!(left.grpc == right.grpc, "{hidden}: {left:?} but {absent}: {right:?}");
        let (left, right) = (
            left.message.replace(hidden, "NAME"),
            right.message.replace(absent, "NAME"),
        );
        ensure!(left == right, "{hidden}: `{left}` but {absent}: `{right}`");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_unauthenticated() -> Result<()> {
    let Some(bank) = bank().await? else { return Ok(()) };
    let mut client = Client::anonymous(&bank.uri).await?;
    let Err(error) = client.inner.handshake("petr", "not petr").await else {
        anyhow::bail!("logged in")
    };
    ensure!(error.to_string().contains("SRV001"), "{error}");
    let without = Client::anonymous(&bank.uri).await?.refused("SELECT 1").await?;
    ensure!(
        without.grpc == tonic::Code::Unauthenticated && without.code() == "SRV001",
        "{without:?}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_not_a_query_is_refused_with_a_code() -> Result<()> {
    let Some(bank) = bank().await? else { return Ok(()) };
    let anna = Client::connect(&bank.uri, "anna").await?;
    let refused = [
        ("CREATE TABLE t (a INT)", "SQL002"),
        ("DROP TABLE credit.loan", "SQL002"),
        ("INSERT INTO credit.loan (loan_id) VALUES (1)", "SQL002"),
        ("UPDATE credit.loan SET amount = 0", "SQL002"),
        ("DELETE FROM credit.loan", "SQL002"),
        ("COPY credit.loan TO '/tmp/loan.csv'", "SQL002"),
        ("SET datafusion.execution.batch_size = 1", "SQL002"),
        ("SELECT 1; SELECT 2", "SQL003"),
        ("SELECT FROM WHERE", "SQL001"),
        ("SELECT no_such_function(1)", "SQL013"),
        ("SELECT amont FROM credit.loan", "SQL012"),
        ("SELECT * FROM credit.lone", "SQL010"),
        ("SELECT * FROM '/etc/passwd'", "SQL002"),
    ];
    for (sql, code) in refused {
        let refusal = anna.refused(sql).await?;
        ensure!(refusal.code() == code, "{sql}: {refusal:?}, wanted {code}");
    }
    ensure!(anna.rows("SELECT count(*), sum(amount) FROM credit.loan").await? == [["682", "103261740.00"]]);
    Ok(())
}

#[tokio::test]
async fn a_prepared_statement_runs_with_each_row_of_parameters() -> Result<()> {
    let Some(bank) = bank().await? else {
        return Ok(());
    };
    let mut client = Client::connect(&bank.uri, "olga").await?;
    let sql = "SELECT status, count(*) AS loans FROM credit.loan WHERE status = $1 GROUP BY status";
    let mut prepared = client.inner.prepare(sql.to_owned(), None).await?;
    ensure!(prepared.parameter_schema()?.fields().len() == 1);
    let told = prepared.dataset_schema()?.clone();
    let values: ArrayRef = Arc::new(StringArray::from(vec![Some("A"), Some("B"), None]));
    prepared.set_parameters(RecordBatch::try_from_iter([("$1", values)])?)?;
    let info = prepared.execute().await?;
    let answer = client.fetch(info).await??;
    ensure!(
        told.fields() == answer.schema.fields(),
        "prepared {told:?}, executed {:?}",
        answer.schema
    );
    ensure!(rows::texts(&answer.batches)? == [["A", "203"], ["B", "31"]]);
    prepared.close().await?;
    Ok(())
}

/// Every metadata call tells a principal of what it may see and nothing else.
#[tokio::test]
async fn inv4_metadata_lists_only_what_exists_for_the_principal() -> Result<()> {
    let Some(bank) = bank().await? else { return Ok(()) };
    for (user, tables) in [("olga", 9), ("petr", 9), ("karl", 1), ("nobody", 0)] {
        let mut client = Client::connect(&bank.uri, user).await?;
        let info = client
            .inner
            .get_tables(CommandGetTables {
                include_schema: false,
                ..Default::default()
            })
            .await?;
        let answer = client.fetch(info).await??;
        let listed: Vec<String> = rows::texts(&answer.batches)?
            .into_iter()
            .map(|row| row[1..3].join("."))
            .collect();
        let of_sources = listed
            .iter()
            .filter(|name| !name.starts_with("caliber.") && !name.starts_with("information_schema."));
        ensure!(of_sources.count() == tables, "{user}: {listed:?}");
    }
    Ok(())
}
