//! What only networked databases show: values that arrive digit for digit, values that do not fit, one state for
//! one query, and a connection that breaks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{
    Connector, ConnectorError, ErrorClass, Options, QueryContext, RemoteQuery, SourceReader, StatementLog,
};
use caliber_testkit::{MariaDb, Postgres};
use futures::{StreamExt, TryStreamExt};
use secrecy::SecretString;

use crate::{factory, spec};

struct Silent;

impl StatementLog for Silent {
    fn sent(&self, _: &str, _: usize) {}
    fn received(&self, _: usize, _: usize) {}
}

fn open(kind: &str, url: &str) -> Arc<dyn Connector> {
    let options = Options::default().with("url", OptionValue::Secret(SecretString::from(url)));
    factory(kind).open(&spec(options)).expect("opens")
}

fn reader(connector: &dyn Connector, batch_rows_max: usize) -> Arc<dyn SourceReader> {
    connector.reader(QueryContext {
        query_id: "exact".to_owned(),
        deadline: Instant::now() + Duration::from_secs(600),
        batch_rows_max,
        buffer_bytes_max: 64 << 20,
        log: Arc::new(Silent),
    })
}

async fn whole(connector: &dyn Connector, table: &str) -> RemoteQuery {
    let schema = connector.introspect().await.expect("is described");
    let table = Arc::new(schema.table(table).expect("a table").clone());
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    RemoteQuery::of_table(table, &columns, None, None)
}

async fn rows(reader: &dyn SourceReader, query: &RemoteQuery) -> Result<Vec<RecordBatch>, ConnectorError> {
    reader.read(query).await?.try_collect().await
}

/// The one row of `exact`, cell by cell, as Arrow displays it.
async fn check_exact(connector: &dyn Connector, expected: &[(&str, &str)]) {
    let query = whole(connector, "exact").await;
    let batches = rows(&*reader(connector, 8192), &query).await.expect("reads");
    let batch = batches.first().expect("a row");
    for (name, expected) in expected {
        let cell = array_value_to_string(batch.column_by_name(name).expect(name), 0).expect("displays");
        assert_eq!(&cell, expected, "{name}");
    }
    assert_eq!(expected.len(), batch.num_columns());
}

/// Each table holds one value that no Arrow value can be; reading it names the table and the column.
async fn check_refused(connector: &dyn Connector, tables: &[(&str, &str)]) {
    for (table, column) in tables {
        let query = whole(connector, table).await;
        let error = rows(&*reader(connector, 8192), &query).await.expect_err(table);
        assert_eq!(error.class, ErrorClass::Data, "{error}");
        assert!(error.to_string().contains(&format!("`{table}.{column}` ")), "{error}");
    }
}

#[tokio::test]
async fn postgres_values_arrive_as_they_are() {
    let postgres = Postgres::shared().expect("a server");
    let url = postgres.create_database("exact").await.expect("a database");
    let script = "
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE exact AS SELECT true AS truth, (-32768)::int2 AS i2, (-2147483648)::int4 AS i4,
          9223372036854775807::int8 AS i8, 0.1::float4 AS f4, 0.1::float8 AS f8,
          9999999999999999999999999999.9999999999::numeric(38,10) AS wide, (-0.05)::numeric(12,2) AS amount,
          100000000::numeric(12,2) AS round, 1.10::numeric AS bare, 'ab'::char(5) AS padded, 'A''\"\\中😀'::text AS plain,
          'ok'::mood AS feeling, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid AS key, '{\"b\":1,\"a\":[1.0]}'::jsonb AS doc,
          '{\"b\":1,  \"a\":2}'::json AS raw_doc, '\\x00ff27'::bytea AS raw, '0001-01-01'::date AS first,
          '9999-12-31'::date AS last, '1969-12-31 23:59:59.999999'::timestamp AS at,
          '9999-12-31 23:00+00'::timestamptz AS at_utc, '2024-06-01 12:00+02'::timestamptz AS summer,
          '23:59:59.999999'::time AS hour, '{1,NULL,3}'::int[] AS list, '1 year 2 days'::interval AS span,
          '10.0.0.1'::inet AS host, '101'::bit(3) AS bits, NULL::int4 AS nothing;
        CREATE TABLE nan AS SELECT 'NaN'::numeric(12,2) AS n;
        CREATE TABLE endless AS SELECT 'infinity'::date AS d;
        CREATE TABLE forever AS SELECT '-infinity'::timestamptz AS t;
        CREATE TABLE midnight AS SELECT '24:00'::time AS h;";
    postgres.run("exact", script).await.expect("loads");
    let connector = open("postgres", &url);
    let expected = [
        ("truth", "true"),
        ("i2", "-32768"),
        ("i4", "-2147483648"),
        ("i8", "9223372036854775807"),
        ("f4", "0.1"),
        ("f8", "0.1"),
        ("wide", "9999999999999999999999999999.9999999999"),
        ("amount", "-0.05"),
        ("round", "100000000.00"),
        ("bare", "1.10"),
        ("padded", "ab"),
        ("plain", "A'\"\\中😀"),
        ("feeling", "ok"),
        ("key", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("doc", "{\"a\": [1.0], \"b\": 1}"),
        ("raw_doc", "{\"b\":1,  \"a\":2}"),
        ("raw", "00ff27"),
        ("first", "0001-01-01"),
        ("last", "9999-12-31"),
        ("at", "1969-12-31T23:59:59.999999"),
        ("at_utc", "9999-12-31T23:00:00Z"),
        ("summer", "2024-06-01T10:00:00Z"),
        ("hour", "23:59:59.999999"),
        ("list", "{1,NULL,3}"),
        ("span", "1 year 2 days"),
        ("host", "10.0.0.1"),
        ("bits", "101"),
        ("nothing", ""),
    ];
    check_exact(&*connector, &expected).await;
    check_refused(
        &*connector,
        &[("nan", "n"), ("endless", "d"), ("forever", "t"), ("midnight", "h")],
    )
    .await;
}

#[tokio::test]
async fn mariadb_values_arrive_as_they_are() {
    let mariadb = MariaDb::shared().expect("a server");
    let url = mariadb.create_database("exact").await.expect("a database");
    let script = "SET sql_mode = '', time_zone = '+00:00';
CREATE TABLE exact (truth tinyint(1), ubig bigint unsigned, big bigint, wide decimal(38,10), amount decimal(12,2),
  vast decimal(60,2), f float, d double, code char(5), name varchar(20) CHARACTER SET latin1, plain text, pick enum('a', 'B'),
  raw varbinary(9), fixed binary(4), first date, last date, at datetime(6), at_utc timestamp(6) NULL, hour time(3),
  y year, bits bit(10), ref uuid, doc json, nothing int) CHARACTER SET utf8mb4;
INSERT INTO exact VALUES (2, 18446744073709551615, -9223372036854775808, 9999999999999999999999999999.9999999999, -0.05,
  1e50, 0.1, 0.1, 'ab', 'é', 'A''\"中😀', 'B', 0x00ff27, 0x61, '0001-01-01', '9999-12-31', '1969-12-31 23:59:59.999999',
  '2038-01-19 03:14:07.999999', '-838:59:59.5', 2155, b'1000000001', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{\"b\": 1}', NULL);
CREATE TABLE zero (d date NOT NULL);
INSERT INTO zero VALUES ('0000-00-00');
CREATE TABLE partial (d datetime NOT NULL);
INSERT INTO partial VALUES ('2000-00-01');
CREATE TABLE epoch (t timestamp NOT NULL DEFAULT '0000-00-00 00:00:00');
INSERT INTO epoch VALUES (0);
";
    mariadb.run("exact", script).await.expect("loads");
    let connector = open("mysql", &url);
    let vast = format!("1{}.00", "0".repeat(50));
    let expected = [
        ("truth", "2"),
        ("ubig", "18446744073709551615"),
        ("big", "-9223372036854775808"),
        ("wide", "9999999999999999999999999999.9999999999"),
        ("amount", "-0.05"),
        ("vast", vast.as_str()),
        ("f", "0.1"),
        ("d", "0.1"),
        ("code", "ab"),
        ("name", "é"),
        ("plain", "A'\"中😀"),
        ("pick", "B"),
        ("raw", "00ff27"),
        ("fixed", "61000000"),
        ("first", "0001-01-01"),
        ("last", "9999-12-31"),
        ("at", "1969-12-31T23:59:59.999999"),
        ("at_utc", "2038-01-19T03:14:07.999999Z"),
        ("hour", "-838:59:59.500"),
        ("y", "2155"),
        ("bits", "513"),
        ("ref", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("doc", "{\"b\": 1}"),
        ("nothing", ""),
    ];
    check_exact(&*connector, &expected).await;
    check_refused(&*connector, &[("zero", "d"), ("partial", "d"), ("epoch", "t")]).await;
}

/// Rows of `t` that each of four reads of one query sees, while another session inserts between them.
async fn check_one_state(connector: &dyn Connector, insert: impl AsyncFn()) {
    let query = whole(connector, "t").await;
    let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let one = reader(connector, 100);
    // Unconsumed, so that the next read takes another connection where there can be one.
    let mut first = one.read(&query).await.expect("reads");
    let begun = first.next().await.expect("a batch").expect("a batch").num_rows();
    insert().await;
    let second = rows(&*one, &query).await.expect("reads");
    insert().await;
    let rest: Vec<RecordBatch> = first.try_collect().await.expect("the rest");
    let last = rows(&*one, &query).await.expect("reads");
    assert_eq!(
        (begun + count(&rest), count(&second), count(&last)),
        (10_000, 10_000, 10_000)
    );
    // A query holds its connections for as long as it lives.
    drop(one);
    let other = rows(&*reader(connector, 100), &query).await.expect("reads");
    assert_eq!(count(&other), 10_002, "the next query sees what was inserted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_postgres_sees_one_state() {
    let postgres = Postgres::shared().expect("a server");
    let url = postgres.create_database("state").await.expect("a database");
    let script = "CREATE TABLE t AS SELECT n, repeat('x', 500) AS filler FROM generate_series(1, 10000) n";
    postgres.run("state", script).await.expect("loads");
    let insert = async || {
        postgres
            .run("state", "INSERT INTO t VALUES (0, '')")
            .await
            .expect("inserts")
    };
    check_one_state(&*open("postgres", &url), insert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_mariadb_sees_one_state() {
    let mariadb = MariaDb::shared().expect("a server");
    let url = mariadb.create_database("state").await.expect("a database");
    let script = "CREATE TABLE t AS SELECT seq AS n, REPEAT('x', 500) AS filler FROM seq_1_to_10000;\n";
    mariadb.run("state", script).await.expect("loads");
    let insert = async || {
        mariadb
            .run("state", "INSERT INTO t VALUES (0, '');\n")
            .await
            .expect("inserts")
    };
    check_one_state(&*open("mysql", &url), insert).await;
}

/// A stream whose connection `break_off` ends is an error, and the next query works.
async fn check_broken(connector: &dyn Connector, break_off: impl AsyncFn()) {
    let query = whole(connector, "t").await;
    let mut batches = reader(connector, 1).read(&query).await.expect("reads");
    batches.next().await.expect("a batch").expect("a batch");
    break_off().await;
    let rest: Result<Vec<RecordBatch>, ConnectorError> = batches.try_collect().await;
    let error = rest.expect_err("a truncated result is an error (INV-8)");
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
    let again = rows(&*reader(connector, 8192), &query).await.expect("reads again");
    assert_eq!(again.iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_postgres_connection_is_no_end() {
    let postgres = Postgres::shared().expect("a server");
    let url = postgres.create_database("broken").await.expect("a database");
    let script = "CREATE TABLE t AS SELECT n, repeat('x', 5000) AS filler FROM generate_series(1, 20000) n;
                  ALTER TABLE t ALTER filler SET STORAGE EXTERNAL";
    postgres.run("broken", script).await.expect("loads");
    let terminate = async || {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'broken'";
        assert_ne!(postgres.value("postgres", sql).await.expect("a count"), "0");
    };
    check_broken(&*open("postgres", &url), terminate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_mariadb_connection_is_no_end() {
    let mariadb = MariaDb::shared().expect("a server");
    let url = mariadb.create_database("broken").await.expect("a database");
    let script = "CREATE TABLE t AS SELECT seq AS n, REPEAT('x', 5000) AS filler FROM seq_1_to_20000;\n";
    mariadb.run("broken", script).await.expect("loads");
    let kill = async || {
        let sql =
            "SELECT GROUP_CONCAT('KILL ', id SEPARATOR ';\\n') FROM information_schema.processlist WHERE db = 'broken'";
        let script = mariadb.value("mysql", sql).await.expect("sessions");
        mariadb.run("mysql", &script).await.expect("kills");
    };
    check_broken(&*open("mysql", &url), kill).await;
}
