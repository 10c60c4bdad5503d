//! The bank's eight tables in one SQLite database: what the figures are counted from a second time.
//!
//! Owns: reading the three dumps. Never: talks to Caliber.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use rusqlite::types::Value;

/// Tables of the dumps that are not SQLite's own, with their number of columns.
const FOREIGN: [(&str, usize); 4] = [("trans", 10), ("order", 6), ("loan", 7), ("card", 4)];

/// A database with `client`, `account`, `disp`, `district`, `trans`, `order`, `loan`, `card`.
pub fn load(folder: &Path) -> Result<Connection> {
    let mut database = Connection::open_in_memory()?;
    database.execute_batch(&text(&folder.join("accounting.sql.gz"))?)?;
    for (table, columns) in FOREIGN {
        let columns: Vec<String> = (0..columns).map(|at| format!("c{at}")).collect();
        database.execute_batch(&format!("CREATE TABLE \"{table}\" ({})", columns.join(", ")))?;
    }
    copied(&mut database, &text(&folder.join("settlement.sql.gz"))?)?;
    inserted(&mut database, &text(&folder.join("credit.sql.gz"))?)?;
    Ok(database)
}

/// How many rows of a table belong to customers of a district, by ownership of the account.
pub fn of_district(database: &Connection, table: &str, district: i64) -> Result<i64> {
    let owned = "SELECT p.account_id FROM disp p JOIN client c ON c.client_id = p.client_id
                 WHERE p.type = 'OWNER' AND c.district_id = ?1";
    let sql = match table {
        "accounting.client" | "unified.customer_360" => "SELECT count(*) FROM client WHERE district_id = ?1".to_owned(),
        "accounting.account" => format!("SELECT count(*) FROM account WHERE account_id IN ({owned})"),
        "credit.card" => "SELECT count(*) FROM card WHERE c1 IN (SELECT p.disp_id FROM disp p
                          JOIN client c ON c.client_id = p.client_id WHERE c.district_id = ?1)"
            .to_owned(),
        other => format!(
            "SELECT count(*) FROM {} WHERE c1 IN ({owned})",
            other.split('.').next_back().unwrap_or_default()
        ),
    };
    Ok(database.query_row(&sql, [district], |row| row.get(0))?)
}

fn text(file: &Path) -> Result<String> {
    let output = Command::new("gzip")
        .arg("-dc")
        .arg(file)
        .output()
        .context("cannot run gzip")?;
    ensure!(output.status.success(), "cannot unpack {}", file.display());
    Ok(String::from_utf8(output.stdout)?)
}

/// The COPY blocks of a PostgreSQL dump.
fn copied(database: &mut Connection, dump: &str) -> Result<()> {
    let mut table = None;
    let transaction = database.transaction()?;
    for line in dump.lines() {
        if let Some(rest) = line.strip_prefix("COPY ") {
            table = rest.split(' ').next().map(|name| name.trim_matches('"').to_owned());
        } else if line == "\\." {
            table = None;
        } else if let Some(table) = &table {
            insert(
                &transaction,
                table,
                line.split('\t').map(|value| (value != "\\N").then(|| value.to_owned())),
            )?;
        }
    }
    Ok(transaction.commit()?)
}

/// The INSERT lines of a MariaDB dump, whose texts hold no comma and no quote.
fn inserted(database: &mut Connection, dump: &str) -> Result<()> {
    let mut table = None;
    let transaction = database.transaction()?;
    for line in dump.lines() {
        if let Some(rest) = line.strip_prefix("INSERT INTO `") {
            table = rest.split('`').next().map(str::to_owned);
        } else if let (Some(table), Some(row)) = (&table, line.strip_prefix('(')) {
            let row = row.trim_end_matches([',', ';']).trim_end_matches(')');
            insert(
                &transaction,
                table,
                row.split(',').map(|value| Some(value.trim_matches('\'').to_owned())),
            )?;
        }
    }
    Ok(transaction.commit()?)
}

/// Whole numbers as numbers, so that keys join; everything else as its text.
fn insert(database: &Connection, table: &str, values: impl Iterator<Item = Option<String>>) -> Result<()> {
    let values: Vec<Value> = values
        .map(|value| match value {
            None => Value::Null,
            Some(text) => text.parse().map(Value::Integer).unwrap_or(Value::Text(text)),
        })
        .collect();
    let marks = vec!["?"; values.len()].join(", ");
    let mut statement = database.prepare_cached(&format!("INSERT INTO \"{table}\" VALUES ({marks})"))?;
    statement.execute(rusqlite::params_from_iter(values))?;
    Ok(())
}
