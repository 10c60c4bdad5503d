//! Rows that policy opens in groups only: what is shown equals SQL written by hand that withholds small groups, and
//! nothing else is shown.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use anyhow::{Result, ensure};
use caliber_engine::{Engine, EngineOptions, Session};
use caliber_tests::engine::{ask, open, principal};
use caliber_tests::rows;
use futures::TryStreamExt;
use tempfile::TempDir;

const PROJECT: &str = "
version: 1
name: small
sources:
  bank: { connector: sqlite, path: bank.db }
  notes: { connector: sqlite, path: notes.db }
tables:
  notes.visit: { references: { client_id: bank.client.id } }
entities:
  customer:
    table: bank.client
    key: id
    attributes:
      district: bank.district.name
      initial: substr(name, 1, 1)
policies:
  statistics:
    roles: [statistician]
    tables: ['*']
    min_group: { customer: 10 }
    masks: { bank.client.name: \"'someone'\" }
  coarse statistics:
    roles: [coarse]
    tables: ['*']
    min_group: { customer: 25 }
  east in the clear:
    roles: [east]
    tables: ['bank.*']
    rows: { customer: district_id = 1 }
  closed for want of an attribute:
    roles: [statistician]
    tables: [bank.client, bank.loan]
    rows: { customer: district_id = principal.district }
  everything:
    roles: [all]
    tables: ['*']
";

/// Districts of 30, 12, 10, 9 and 1 clients, and one client of none.
fn bank() -> String {
    let mut script = "
        CREATE TABLE district (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
        INSERT INTO district VALUES (1, 'east'), (2, 'west'), (3, 'north'), (4, 'south'), (5, 'isle');
        CREATE TABLE client (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER, income DECIMAL(12,2),
                             joined DATE, district_id INTEGER REFERENCES district (id));
        CREATE TABLE loan (id INTEGER PRIMARY KEY, client_id INTEGER REFERENCES client (id), amount INTEGER, status TEXT);
        CREATE TABLE transfer (id INTEGER PRIMARY KEY, loan_id INTEGER REFERENCES loan (id), amount INTEGER);
        CREATE TABLE rate (id INTEGER PRIMARY KEY, percent INTEGER);
        INSERT INTO rate VALUES (1, 3);
        "
    .to_owned();
    let sizes = [
        (Some(1), 30),
        (Some(2), 12),
        (Some(3), 10),
        (Some(4), 9),
        (Some(5), 1),
        (None, 1),
    ];
    let districts = sizes
        .iter()
        .flat_map(|(district, size)| std::iter::repeat_n(*district, *size));
    for (at, district) in districts.enumerate() {
        let id = at + 1;
        let district = district.map_or("NULL".to_owned(), |district: i32| district.to_string());
        // Two in three tell their income.
        let income = if id % 3 == 0 {
            "NULL".to_owned()
        } else {
            format!("{}.50", id * 100)
        };
        let (age, year, initial) = (20 + id % 40, 1990 + id % 5, ["A", "B", "C"][id % 3]);
        script.push_str(&format!(
            "INSERT INTO client VALUES ({id}, '{initial}. {id}', {age}, {income}, '{year}-03-01', {district});\n"
        ));
        for loan in 0..id % 3 {
            let status = if (id + loan) % 4 == 0 { "arrears" } else { "running" };
            script.push_str(&format!(
                "INSERT INTO loan VALUES ({}, {id}, {}, '{status}');\n",
                id * 10 + loan,
                id * 7 + loan
            ));
        }
    }
    script.push_str("INSERT INTO transfer VALUES (1, 10, 5);");
    script
}

struct Bank {
    _folder: TempDir,
    engine: Arc<Engine>,
}

impl Bank {
    async fn open(pushdown: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        rusqlite::Connection::open(folder.path().join("bank.db"))?.execute_batch(&bank())?;
        rusqlite::Connection::open(folder.path().join("notes.db"))?.execute_batch(
            "CREATE TABLE visit (id INTEGER PRIMARY KEY, client_id INTEGER, note TEXT);
             INSERT INTO visit SELECT value, value % 40, 'n' FROM
                (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 80) SELECT value FROM n);",
        )?;
        fs::write(folder.path().join("caliber.yaml"), PROJECT)?;
        let options = EngineOptions {
            pushdown,
            ..EngineOptions::default()
        };
        let (engine, _) = open(folder.path(), &[], options).await?;
        Ok(Self {
            _folder: folder,
            engine,
        })
    }

    fn session(&self, roles: &[&str]) -> Session {
        self.engine.session(principal(roles, &[]))
    }
}

/// The statement of a statistician, and what it must equal for one who sees everything.
const PAIRS: &[(&str, &str)] = &[
    (
        "SELECT district_id, count(*) FROM bank.client GROUP BY district_id",
        "SELECT district_id, count(*) FROM bank.client GROUP BY district_id HAVING count(*) >= 10",
    ),
    (
        "SELECT district_id, count(income), sum(income), avg(age) FROM bank.client GROUP BY district_id",
        "SELECT district_id, CASE WHEN count(income) >= 10 THEN count(income) END,
                CASE WHEN count(income) >= 10 THEN sum(income) END, avg(age)
         FROM bank.client GROUP BY district_id HAVING count(*) >= 10",
    ),
    (
        "SELECT district_id, count(*) FILTER (WHERE age > 40) AS older FROM bank.client GROUP BY district_id",
        "SELECT district_id, CASE WHEN count(*) FILTER (WHERE age > 40) >= 10 THEN count(*) FILTER (WHERE age > 40) END
         FROM bank.client GROUP BY district_id HAVING count(*) >= 10",
    ),
    // A key that is written twice is one column of the groups, and no aggregate's place moves.
    (
        "SELECT district_id, count(*) FILTER (WHERE age > 40) AS older FROM bank.client GROUP BY district_id, district_id",
        "SELECT district_id, CASE WHEN count(*) FILTER (WHERE age > 40) >= 10 THEN count(*) FILTER (WHERE age > 40) END
         FROM bank.client GROUP BY district_id HAVING count(*) >= 10",
    ),
    ("SELECT count(*) FROM bank.client", "SELECT count(*) FROM bank.client"),
    (
        "SELECT count(*) FROM bank.client WHERE district_id = 4",
        "SELECT CAST(NULL AS BIGINT)",
    ),
    ("SELECT count(*) FROM bank.client WHERE id = 5", "SELECT CAST(NULL AS BIGINT)"),
    ("SELECT count(*) FROM bank.client WHERE id < 0", "SELECT CAST(NULL AS BIGINT)"),
    (
        "SELECT c.district_id, count(*), sum(l.amount) FROM bank.client c JOIN bank.loan l ON l.client_id = c.id GROUP BY c.district_id",
        "SELECT c.district_id, count(*), sum(l.amount) FROM bank.client c JOIN bank.loan l ON l.client_id = c.id
         GROUP BY c.district_id HAVING count(DISTINCT c.id) >= 10",
    ),
    (
        "SELECT status, count(*), sum(amount), count(DISTINCT amount) FROM bank.loan GROUP BY status",
        "SELECT status, count(*), sum(amount), count(DISTINCT amount) FROM bank.loan GROUP BY status HAVING count(DISTINCT client_id) >= 10",
    ),
    (
        "SELECT d.name, count(*) FROM bank.client c JOIN bank.district d ON d.id = c.district_id GROUP BY d.name",
        "SELECT d.name, count(*) FROM bank.client c JOIN bank.district d ON d.id = c.district_id GROUP BY d.name HAVING count(*) >= 10",
    ),
    (
        "SELECT note, count(*) FROM notes.visit v JOIN bank.client c ON c.id = v.client_id WHERE c.district_id = 1 GROUP BY note",
        "SELECT note, count(*) FROM notes.visit v JOIN bank.client c ON c.id = v.client_id WHERE c.district_id = 1
         GROUP BY note HAVING count(DISTINCT c.id) >= 10",
    ),
    (
        "SELECT district, count(*) FROM unified.customer_360 GROUP BY district",
        "SELECT district, count(*) FROM unified.customer_360 GROUP BY district HAVING count(*) >= 10",
    ),
    (
        "SELECT extract(year FROM joined) AS y, count(*) FROM bank.client GROUP BY extract(year FROM joined)",
        "SELECT extract(year FROM joined) AS y, count(*) FROM bank.client GROUP BY extract(year FROM joined) HAVING count(*) >= 10",
    ),
    (
        "SELECT CASE WHEN age < 30 THEN 'young' ELSE 'old' END AS kind, count(*) FROM bank.client
         WHERE district_id IN (1, 2) GROUP BY CASE WHEN age < 30 THEN 'young' ELSE 'old' END",
        "SELECT CASE WHEN age < 30 THEN 'young' ELSE 'old' END AS kind, count(*) FROM bank.client
         WHERE district_id IN (1, 2) GROUP BY CASE WHEN age < 30 THEN 'young' ELSE 'old' END HAVING count(*) >= 10",
    ),
    (
        "WITH by_district AS (SELECT district_id AS d, count(*) AS n FROM bank.client GROUP BY district_id)
         SELECT count(*), sum(n), max(n) FROM by_district",
        "SELECT 3, 52, 30",
    ),
    (
        "SELECT name, (SELECT count(*) FROM bank.client) FROM bank.district WHERE id = 1",
        "SELECT 'east', 63",
    ),
    (
        "SELECT d.name, g.n FROM bank.district d JOIN (SELECT district_id, count(*) AS n FROM bank.client GROUP BY district_id) g
         ON g.district_id = d.id",
        "SELECT d.name, count(*) FROM bank.client c JOIN bank.district d ON d.id = c.district_id GROUP BY d.name HAVING count(*) >= 10",
    ),
    (
        "SELECT district_id, count(*) FROM bank.client GROUP BY district_id HAVING 1 / (district_id - 5) <> 7 AND 1 / (district_id - 4) <> 7",
        "SELECT district_id, count(*) FROM bank.client GROUP BY district_id HAVING count(*) >= 10",
    ),
    (
        "SELECT district_id, count(*) FROM bank.client GROUP BY 1 HAVING district_id >= 4 OR district_id IS NULL",
        "SELECT district_id, count(*) FROM bank.client WHERE FALSE GROUP BY 1",
    ),
    (
        "SELECT count(*), sum(g.n) FROM bank.client c JOIN (SELECT district_id AS d, count(*) AS n FROM bank.client GROUP BY 1) g
         ON g.d = c.district_id",
        "SELECT 52, 30 * 30 + 12 * 12 + 10 * 10",
    ),
    ("SELECT name FROM bank.district WHERE id = 5", "SELECT 'isle'"),
];

/// Without `HAVING`, small groups are missing; what too few stand behind is NULL; everything else is what it is.
#[tokio::test]
async fn what_groups_show_equals_sql_that_withholds_small_ones() -> Result<()> {
    for pushdown in [true, false] {
        let bank = Bank::open(pushdown).await?;
        for (guarded, by_hand) in PAIRS {
            let found = rows::sorted(
                ask(&bank.session(&["statistician"]), guarded)
                    .await
                    .map_err(|error| anyhow::anyhow!("{guarded}: {}: {}", error.code.as_str(), error.message))?,
            );
            let wanted = rows::sorted(ask(&bank.session(&["all"]), by_hand).await?);
            ensure!(found == wanted, "{guarded}\nfound {found:?}\nwanted {wanted:?}");
        }
    }
    Ok(())
}

/// What is not a group of enough customers is refused, with one code.
#[tokio::test]
async fn rows_keys_and_extremes_are_refused() -> Result<()> {
    let bank = Bank::open(true).await?;
    for sql in [
        "SELECT * FROM bank.client",
        "SELECT age FROM bank.client LIMIT 1",
        "SELECT DISTINCT district_id FROM bank.client",
        "SELECT min(age) FROM bank.client",
        "SELECT max(income) FROM bank.client",
        "SELECT array_agg(age) FROM bank.client",
        "SELECT string_agg(name, ',') FROM bank.client",
        "SELECT first_value(age) FROM bank.client",
        "SELECT median(age) FROM bank.client",
        "SELECT sum(DISTINCT age) FROM bank.client",
        "SELECT count(*) OVER () FROM bank.client",
        "SELECT count(*) FROM bank.client WHERE 1 / (age - 33) > 0",
        "SELECT count(*) FROM bank.client WHERE CAST(name AS INT) > 0",
        "SELECT sum(1 / (age - 33)) FROM bank.client",
        "SELECT 1 / (age - 33), count(*) FROM bank.client GROUP BY 1",
        "SELECT count(*) FROM (SELECT 1 / (age - 33) AS x FROM bank.client) t",
        "SELECT count(*) FROM (SELECT age FROM bank.client ORDER BY age LIMIT 20) t",
        "SELECT count(*) FROM (SELECT age FROM bank.client UNION ALL SELECT amount FROM bank.loan) t",
        "SELECT count(*) FROM bank.client c JOIN bank.loan l ON 1 / (c.age - 33) = l.amount",
        "SELECT count(*) FROM bank.district d WHERE EXISTS (SELECT 1 FROM bank.client c WHERE c.district_id = d.id)",
        "SELECT name FROM bank.district d WHERE d.id IN (SELECT district_id FROM bank.client)",
        "SELECT name, (SELECT count(*) FROM bank.client c WHERE c.district_id = d.id) FROM bank.district d",
        "SELECT district FROM unified.customer_360",
        "SELECT c.age FROM bank.client c JOIN (SELECT district_id, count(*) AS n FROM bank.client GROUP BY 1) g ON g.district_id = c.district_id",
        "SELECT sum(CASE WHEN c.age > (SELECT count(*) FROM bank.client) THEN 1 ELSE 0 END) FROM bank.client c",
    ] {
        match ask(&bank.session(&["statistician"]), sql).await {
            Ok(rows) => anyhow::bail!("{sql} gave {rows:?}"),
            Err(error) => ensure!(
                error.code.as_str() == "POL002",
                "{sql}: {}: {}",
                error.code.as_str(),
                error.message
            ),
        }
    }
    Ok(())
}

/// What reaches the customer only through other tables, or not at all, does not exist; what customers lead to is open.
#[tokio::test]
async fn a_table_that_names_no_customer_does_not_exist() -> Result<()> {
    let bank = Bank::open(true).await?;
    let codes: BTreeMap<&str, Option<String>> = {
        let mut codes = BTreeMap::new();
        for table in ["bank.transfer", "bank.rate", "bank.never"] {
            let answer = ask(
                &bank.session(&["statistician"]),
                &format!("SELECT count(*) FROM {table}"),
            )
            .await;
            codes.insert(table, answer.err().map(|error| error.code.as_str().to_owned()));
        }
        codes
    };
    ensure!(
        codes.values().all(|code| code.as_deref() == Some("SQL010")),
        "{codes:?}"
    );
    let open = ask(&bank.session(&["statistician"]), "SELECT count(*) FROM bank.district").await?;
    ensure!(open == [["5"]], "{open:?}");
    Ok(())
}

/// A policy that shows rows is not narrowed by one that shows groups; of two that show groups the larger number counts.
#[tokio::test]
async fn a_policy_that_shows_rows_wins_and_the_larger_group_counts() -> Result<()> {
    let bank = Bank::open(true).await?;
    let clear = ask(
        &bank.session(&["statistician", "east"]),
        "SELECT count(id) FROM bank.client",
    )
    .await?;
    ensure!(clear == [["30"]], "{clear:?}");
    let both = bank.session(&["statistician", "coarse"]);
    let rows = ask(
        &both,
        "SELECT district_id, count(*) FROM bank.client GROUP BY district_id",
    )
    .await?;
    ensure!(rows == [["1", "30"]], "{rows:?}");
    Ok(())
}

/// The receipt says that something was withheld, and only then.
#[tokio::test]
async fn the_receipt_says_that_groups_were_withheld() -> Result<()> {
    let bank = Bank::open(true).await?;
    for (sql, wanted) in [
        (
            "SELECT district_id, count(*) FROM bank.client GROUP BY district_id",
            true,
        ),
        ("SELECT count(*) FROM bank.client WHERE id = 3", true),
        ("SELECT count(*) FROM bank.client", false),
        ("SELECT count(*) FROM bank.district", false),
    ] {
        let mut stream = bank.session(&["statistician"]).execute(sql, None).await?;
        while stream.try_next().await?.is_some() {}
        ensure!(stream.receipt().withheld == wanted, "{sql}");
    }
    Ok(())
}
