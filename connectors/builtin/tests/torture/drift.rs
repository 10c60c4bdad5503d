//! A table that changes after it was described: an error of its own class before the first row, or the same answer.
//!
//! Owns: the changes. Never: how a source is described anew.

use std::sync::Arc;

use arrow::datatypes::DataType;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Comparison, Connector, ConnectorError, ErrorClass, Expr, Options, RemoteQuery, Value};
use caliber_testkit::{MariaDb, Postgres};
use secrecy::SecretString;

use crate::{open, read, table};

/// Reads `column` of the rows where `compared` is `value`, of a table described before `change`.
async fn changed(
    connector: &dyn Connector,
    column: &str,
    compared: Option<(&str, Value)>,
    change: impl AsyncFnOnce(),
) -> Result<usize, ConnectorError> {
    let table = Arc::new(table(connector, "t").await);
    let at = |name: &str| {
        table
            .columns
            .iter()
            .position(|column| column.name == name)
            .expect("a column")
    };
    let predicate = compared.map(|(name, value)| Expr::Compare {
        op: Comparison::Equal,
        left: Box::new(Expr::Column(at(name))),
        right: Box::new(Expr::Value(value)),
    });
    let query = RemoteQuery::of_table(table.clone(), &[at(column)], predicate, None);
    change().await;
    read(connector, &query, 1).await.map(|rows| rows.num_rows())
}

/// A change of the table `t`, a column that is read, and whether it can still be read exactly.
struct Change {
    sql: &'static str,
    column: &'static str,
    is_harmless: bool,
}

const fn breaks(column: &'static str, sql: &'static str) -> Change {
    Change {
        sql,
        column,
        is_harmless: false,
    }
}

const fn harmless(column: &'static str, sql: &'static str) -> Change {
    Change {
        sql,
        column,
        is_harmless: true,
    }
}

async fn check(changes: &[Change], load: impl AsyncFn() -> Arc<dyn Connector>, run: impl AsyncFn(&str)) {
    for change in changes {
        let connector = load().await;
        let found = changed(&*connector, change.column, None, async || run(change.sql).await).await;
        match found {
            Ok(rows) => assert!(change.is_harmless && rows == 2, "{}: {rows} rows", change.sql),
            Err(error) => {
                assert!(!change.is_harmless, "{}: {error}", change.sql);
                assert_eq!(error.class, ErrorClass::Drift, "{}: {error}", change.sql);
            }
        }
    }
}

fn at_url(kind: &str, url: &str) -> Arc<dyn Connector> {
    open(
        kind,
        Options::default().with("url", OptionValue::Secret(SecretString::from(url))),
    )
}

#[tokio::test]
async fn a_changed_table_of_postgres() {
    let postgres = Postgres::shared().expect("a server");
    let url = postgres.create_database("drift").await.expect("a database");
    let load = async || {
        let script = "DROP TABLE IF EXISTS t, u; CREATE TABLE t (id int4 PRIMARY KEY, n int4, s text, d timestamp, a numeric(12,2));
            INSERT INTO t VALUES (1, 1, '1', '2000-01-01', 1.5), (2, 2, '2', NULL, NULL);";
        postgres.run("drift", script).await.expect("loads");
        at_url("postgres", &url)
    };
    let run = async |sql: &str| postgres.run("drift", sql).await.expect("changes");
    let changes = [
        breaks("n", "ALTER TABLE t DROP COLUMN n"),
        breaks("n", "ALTER TABLE t RENAME COLUMN n TO m"),
        breaks("n", "ALTER TABLE t RENAME TO u"),
        breaks("n", "DROP TABLE t"),
        breaks("n", "ALTER TABLE t ALTER n TYPE text"),
        breaks("n", "ALTER TABLE t ALTER n TYPE int8"),
        breaks("s", "ALTER TABLE t ALTER s TYPE int4 USING s::int4"),
        breaks("d", "ALTER TABLE t ALTER d TYPE timestamptz"),
        breaks("a", "ALTER TABLE t ALTER a TYPE float8"),
        harmless("n", "ALTER TABLE t ADD COLUMN more text"),
        harmless("s", "ALTER TABLE t ALTER s TYPE varchar(20)"),
        harmless("n", "ALTER TABLE t DROP COLUMN s"),
    ];
    check(&changes, load, run).await;
    // What is compared and not read.
    let compared = Some(("n", Value::Int(1)));
    let found = changed(&*load().await, "id", compared, async || {
        run("ALTER TABLE t ALTER n TYPE text").await
    })
    .await;
    assert_eq!(found.expect_err("a text is no number").class, ErrorClass::Drift);
    let compared = Some(("n", Value::Int(1)));
    let found = changed(&*load().await, "id", compared, async || {
        run("ALTER TABLE t DROP n").await
    })
    .await;
    assert_eq!(found.expect_err("a column is gone").class, ErrorClass::Drift);
}

#[tokio::test]
async fn a_changed_table_of_mariadb() {
    let mariadb = MariaDb::shared().expect("a server");
    let url = mariadb.create_database("drift").await.expect("a database");
    let load = async || {
        let script = "DROP TABLE IF EXISTS t, u;
CREATE TABLE t (id int PRIMARY KEY, n int, s varchar(20), at timestamp NULL, a decimal(12,2), x varbinary(9), y year);
INSERT INTO t VALUES (1, 1, '1', '2000-01-01', 1.5, 'a', 2000), (2, 2, '2', NULL, NULL, NULL, NULL);\n";
        mariadb.run("drift", script).await.expect("loads");
        at_url("mysql", &url)
    };
    let run = async |sql: &str| mariadb.run("drift", sql).await.expect("changes");
    let changes = [
        breaks("n", "ALTER TABLE t DROP COLUMN n"),
        breaks("n", "ALTER TABLE t RENAME COLUMN n TO m"),
        breaks("n", "ALTER TABLE t RENAME TO u"),
        breaks("n", "DROP TABLE t"),
        breaks("n", "ALTER TABLE t MODIFY n varchar(20)"),
        breaks("n", "ALTER TABLE t MODIFY n int unsigned"),
        breaks("n", "ALTER TABLE t MODIFY n decimal(12,2)"),
        breaks("s", "ALTER TABLE t MODIFY s int"),
        breaks("s", "ALTER TABLE t MODIFY s varbinary(20)"),
        breaks("at", "ALTER TABLE t MODIFY at datetime"),
        breaks("a", "ALTER TABLE t MODIFY a double"),
        breaks("a", "ALTER TABLE t MODIFY a decimal(14,4)"),
        breaks("x", "ALTER TABLE t MODIFY x varchar(9)"),
        breaks("y", "ALTER TABLE t MODIFY y varchar(4)"),
        harmless("n", "ALTER TABLE t ADD COLUMN more text"),
        harmless("n", "ALTER TABLE t MODIFY n bigint"),
        harmless("s", "ALTER TABLE t MODIFY s text CHARACTER SET latin1"),
        harmless("y", "ALTER TABLE t DROP COLUMN s"),
        harmless("y", "ALTER TABLE t MODIFY y int"),
    ];
    check(&changes, load, run).await;
    let compared = Some(("n", Value::Int(1)));
    let found = changed(&*load().await, "id", compared, async || {
        run("ALTER TABLE t DROP n").await
    })
    .await;
    assert_eq!(found.expect_err("a column is gone").class, ErrorClass::Drift);
}

#[tokio::test]
async fn a_changed_table_of_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("drift.db");
    let database = rusqlite::Connection::open(&path).expect("a database");
    let load = async || {
        let script = "DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS u;
            CREATE TABLE t (id INTEGER PRIMARY KEY, n INT NOT NULL, s TEXT, e TEXT) STRICT;
            INSERT INTO t VALUES (1, 1, '1', 'a'), (2, 2, '2', NULL);";
        database.execute_batch(script).expect("loads");
        open(
            "sqlite",
            Options::default().with("path", OptionValue::Path(path.clone())),
        )
    };
    let run = async |sql: &str| database.execute_batch(sql).expect("changes");
    // SQLite changes a type by another table of the name.
    let changes = [
        breaks("n", "ALTER TABLE t DROP COLUMN n"),
        breaks("n", "ALTER TABLE t RENAME COLUMN n TO m"),
        breaks("n", "ALTER TABLE t RENAME TO u"),
        breaks("n", "DROP TABLE t"),
        breaks(
            "n",
            "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT NOT NULL, s TEXT, e TEXT) STRICT",
        ),
        breaks(
            "n",
            "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, s TEXT, e TEXT) STRICT",
        ),
        breaks(
            "n",
            "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, n INT NOT NULL, s TEXT, e TEXT)",
        ),
        breaks(
            "n",
            "DROP TABLE t; CREATE TABLE t (id INTEGER, n INT NOT NULL, s TEXT, e TEXT) STRICT",
        ),
        harmless("n", "ALTER TABLE t DROP COLUMN e"),
        harmless("n", "ALTER TABLE t ADD COLUMN more TEXT"),
        harmless("n", "CREATE INDEX by_n ON t (n)"),
    ];
    check(&changes, load, run).await;
    let compared = Some(("n", Value::Int(1)));
    let sql = "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT NOT NULL, s TEXT, e TEXT) STRICT";
    let found = changed(&*load().await, "id", compared, async || run(sql).await).await;
    assert_eq!(found.expect_err("a text is no number").class, ErrorClass::Drift);
}

/// What is added is not there for who was told before, and has its own type for who asks again.
#[tokio::test]
async fn a_new_column_is_seen_once_the_source_is_described_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new.db");
    let database = rusqlite::Connection::open(&path).expect("a database");
    database
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        .expect("loads");
    let connector = open("sqlite", Options::default().with("path", OptionValue::Path(path)));
    let before = table(&*connector, "t").await;
    database
        .execute_batch("ALTER TABLE t ADD COLUMN n INT")
        .expect("changes");
    let after = table(&*connector, "t").await;
    assert_eq!((before.columns.len(), after.columns.len()), (1, 2));
    assert_eq!(after.columns[1].data_type, DataType::Int64);
}
