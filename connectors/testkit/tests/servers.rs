//! The private servers start unprivileged, answer, log, and hold the bank.

use caliber_testkit::{MariaDb, Postgres, bank};

#[tokio::test]
async fn postgres_starts_and_logs() {
    let postgres = Postgres::shared().expect("a server");
    postgres.create_database("starts").await.expect("a database");
    let mark = postgres.mark();
    assert_eq!(postgres.value("starts", "SELECT 6 * 7").await.expect("a value"), "42");
    // The other tests ask the same server meanwhile.
    assert!(postgres.statements_since(mark).contains(&"SELECT 6 * 7".to_owned()));
    let owner = postgres
        .value("starts", "SELECT (pg_stat_file('PG_VERSION')).size > 0")
        .await
        .expect("a value");
    assert_eq!(owner, "t");
}

#[tokio::test]
async fn mariadb_starts_and_logs() {
    let mariadb = MariaDb::shared().expect("a server");
    mariadb.create_database("starts").await.expect("a database");
    let mark = mariadb.mark();
    assert_eq!(mariadb.value("starts", "SELECT 6 * 7").await.expect("a value"), "42");
    assert!(mariadb.statements_since(mark).contains(&"SELECT 6 * 7".to_owned()));
}

#[tokio::test]
async fn a_killed_server_starts_again_with_its_data() {
    let mut postgres = Postgres::start().expect("a server");
    // A commit is durable here only once a checkpoint follows it.
    for sql in ["CREATE TABLE t AS SELECT 42 AS x", "CHECKPOINT"] {
        postgres.run("postgres", sql).await.expect("a table");
    }
    postgres.kill().expect("dies");
    assert!(postgres.client("postgres").await.is_err());
    postgres.restart().expect("starts");
    assert_eq!(
        postgres.value("postgres", "SELECT x FROM t").await.expect("a value"),
        "42"
    );
    let mut mariadb = MariaDb::start().expect("a server");
    mariadb.create_database("t").await.expect("a database");
    mariadb.kill().expect("dies");
    assert!(mariadb.connection("t").await.is_err());
    mariadb.restart().expect("starts");
    assert_eq!(mariadb.value("t", "SELECT 42").await.expect("a value"), "42");
}

#[tokio::test]
async fn the_bank_is_whole() {
    let Some(bank) = bank().await.expect("loads") else {
        return;
    };
    let postgres = Postgres::shared().expect("a server");
    assert_eq!(
        postgres
            .value("settlement", "SELECT count(*) FROM trans")
            .await
            .expect("a value"),
        "46997"
    );
    let sum = postgres
        .value("settlement", "SELECT sum(amount) FROM \"order\"")
        .await
        .expect("a value");
    assert_eq!(sum, "21228993.60");
    let mariadb = MariaDb::shared().expect("a server");
    assert_eq!(
        mariadb
            .value("credit", "SELECT count(*) FROM card")
            .await
            .expect("a value"),
        "892"
    );
    let sum = mariadb
        .value("credit", "SELECT sum(amount) FROM loan")
        .await
        .expect("a value");
    assert_eq!(sum, "103261740.00");
    let accounting = rusqlite::Connection::open(&bank.accounting_db).expect("opens");
    let clients: i64 = accounting
        .query_row("SELECT count(*) FROM client", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(clients, 5369);
}
