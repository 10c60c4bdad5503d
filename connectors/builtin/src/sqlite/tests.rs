//! SQLite over hostile rows: types, pushed predicates, snapshots, cancel, refusals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Comparison, Expr, Options, StatementLog, Value};
use futures::TryStreamExt;
use parking_lot::Mutex;

use super::*;

#[derive(Default)]
struct Log(Mutex<Vec<(String, usize)>>);

impl StatementLog for Log {
    fn sent(&self, statement: &str, parameters: usize) {
        self.0.lock().push((statement.to_owned(), parameters));
    }
    fn received(&self, _: usize, _: usize) {}
}

/// A database file that is gone afterwards.
struct File(PathBuf);

impl File {
    fn new(name: &str, sql: &str) -> Self {
        let path = std::env::temp_dir().join(format!("caliber-sqlite-{}-{name}.db", std::process::id()));
        let _ = std::fs::remove_file(&path);
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        Self(path)
    }

    fn source(&self, connections_max: usize) -> Arc<dyn Connector> {
        open(&self.0, connections_max)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(path: &std::path::Path, connections_max: usize) -> Arc<dyn Connector> {
    let spec = SourceSpec {
        name: "books".to_owned(),
        options: Options::default().with("path", OptionValue::Path(path.to_owned())),
        connections_max,
        statement_timeout: Duration::from_secs(60),
    };
    Factory.open(&spec).unwrap()
}

fn context(seconds: u64, batch_rows_max: usize) -> QueryContext {
    QueryContext {
        query_id: "q".to_owned(),
        deadline: Instant::now() + Duration::from_secs(seconds),
        batch_rows_max,
        buffer_bytes_max: 1 << 20,
        log: Arc::new(Log::default()),
    }
}

async fn scan(source: &Arc<dyn Connector>, table: &str, columns: &[&str]) -> RemoteQuery {
    let schema = source.introspect().await.unwrap();
    let table = Arc::new(schema.table(table).unwrap().clone());
    let columns: Vec<usize> = columns.iter().map(|name| index(&table, name)).collect();
    RemoteQuery::of_table(table, &columns, None, None)
}

fn index(table: &caliber_connector_spi::RemoteTable, name: &str) -> usize {
    table.columns.iter().position(|column| column.name == name).unwrap()
}

/// A read of one table with one more predicate, over the table's columns.
fn filtered(query: &RemoteQuery, predicate: Expr) -> RemoteQuery {
    let read = query.table_read().unwrap();
    let mut predicates: Vec<Expr> = read.predicates.into_iter().cloned().collect();
    predicates.push(predicate);
    let all = if predicates.len() == 1 {
        predicates.remove(0)
    } else {
        Expr::And(predicates)
    };
    RemoteQuery::of_table(read.table.clone(), &read.columns, Some(all), read.rows)
}

/// The same rows, at most so many, in these columns.
fn cut(query: &RemoteQuery, columns: &[usize], rows: Option<u64>) -> RemoteQuery {
    RemoteQuery::of_table(query.table_read().unwrap().table.clone(), columns, None, rows)
}

fn compare(query: &RemoteQuery, column: &str, op: Comparison, value: Value) -> Expr {
    let column = index(query.table_read().unwrap().table, column);
    Expr::Compare {
        op,
        left: Box::new(Expr::Column(column)),
        right: Box::new(Expr::Value(value)),
    }
}

async fn rows(source: &Arc<dyn Connector>, query: &RemoteQuery) -> Result<Vec<RecordBatch>, ConnectorError> {
    let batches: Vec<RecordBatch> = source.reader(context(30, 3)).read(query).await?.try_collect().await?;
    for batch in &batches {
        assert_eq!(batch.schema(), query.schema());
        assert!((1..=3).contains(&batch.num_rows()));
    }
    Ok(batches)
}

async fn count(source: &Arc<dyn Connector>, query: &RemoteQuery) -> usize {
    rows(source, query)
        .await
        .unwrap()
        .iter()
        .map(RecordBatch::num_rows)
        .sum()
}

#[tokio::test]
async fn every_declared_type_arrives_exactly() {
    let file = File::new(
        "types",
        "CREATE TABLE t (i INTEGER, f REAL, n NUMERIC, d DECIMAL(14,2), b BOOLEAN, day DATE, at TIMESTAMP, s VARCHAR(9), x BLOB, u);
         INSERT INTO t VALUES (9223372036854775807, 0.1, 3, 12345.67, 1, '1899-12-31', '9999-12-31 23:59:59.999999', '中 ''\"', x'00ff', 1.5),
                              (-9223372036854775808, 1, 0.5, '7.10', 0, '9999-12-31', '1969-12-31T23:59:59', '', x'', 'a'),
                              (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);",
    );
    let source = file.source(2);
    let query = scan(&source, "t", &["i", "f", "n", "d", "b", "day", "at", "s", "x", "u"]).await;
    let text = pretty_format_batches(&rows(&source, &query).await.unwrap())
        .unwrap()
        .to_string();
    let cells: Vec<Vec<&str>> = text
        .lines()
        .skip(3)
        .take(3)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(
        cells[0],
        [
            "9223372036854775807",
            "0.1",
            "3.0",
            "12345.67",
            "true",
            "1899-12-31",
            "9999-12-31T23:59:59.999999",
            "中 '\"",
            "00ff",
            "1.5"
        ]
    );
    assert_eq!(
        cells[1],
        [
            "-9223372036854775808",
            "1.0",
            "0.5",
            "7.10",
            "false",
            "9999-12-31",
            "1969-12-31T23:59:59",
            "",
            "",
            "a"
        ]
    );
    assert_eq!(cells[2], [""; 10]);
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_an_error_that_names_its_column() {
    for (declared, stored) in [
        ("INTEGER", "'x'"),
        ("INTEGER", "1.5"),
        ("REAL", "'x'"),
        ("DECIMAL(14,2)", "1.005"),
        ("DECIMAL(4,2)", "100"),
        ("BOOLEAN", "2"),
        ("BOOLEAN", "'true'"),
        ("DATE", "'1993-1-5'"),
        ("DATE", "20200101"),
        ("DATE", "'1993-02-30'"),
        ("TIMESTAMP", "1700000000"),
        ("TEXT", "x'41'"),
        ("TEXT", "CAST(x'ff' AS TEXT)"),
        ("BLOB", "'text'"),
        ("TIME", "x'00'"),
    ] {
        let file = File::new(
            "odd",
            &format!("CREATE TABLE t (id INTEGER PRIMARY KEY, c {declared}); INSERT INTO t VALUES (1, {stored});"),
        );
        let source = file.source(1);
        let query = scan(&source, "t", &["c"]).await;
        let error = rows(&source, &query).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Data, "{declared} {stored}: {error}");
        assert!(error.message.contains("`t.c`"), "{error}");
        // Another column of the same row is no worse for it.
        assert_eq!(count(&source, &scan(&source, "t", &["id"]).await).await, 1);
    }
}

#[tokio::test]
async fn text_compares_by_bytes_whatever_the_collation() {
    let file = File::new(
        "text",
        "CREATE TABLE t (s TEXT COLLATE NOCASE);
         INSERT INTO t VALUES ('a'), ('A'), ('a '), ('á'), ('ａ'), (''), ('b' || char(0) || 'c'), ('b'), ('''; --'), (NULL);",
    );
    let source = file.source(1);
    let all = scan(&source, "t", &["s"]).await;
    for value in ["a", "A", "a ", "á", "ａ", "", "b\0c", "b", "'; --"] {
        let equal = compare(&all, "s", Comparison::Equal, Value::Text(value.to_owned()));
        let found = rows(&source, &filtered(&all, equal.clone())).await.unwrap();
        assert_eq!(found.len(), 1, "{value:?}");
        assert_eq!(found[0].column(0).as_string::<i32>().value(0), value);
        assert_eq!(
            count(&source, &filtered(&all, Expr::Not(Box::new(equal)))).await,
            8,
            "{value:?}"
        );
        let keys: ArrayRef = Arc::new(StringArray::from(vec![value]));
        assert_eq!(
            count(&source, &filtered(&all, Expr::InKeys { column: 0, keys })).await,
            1,
            "{value:?}"
        );
    }
    // SQLite makes IN of a chain of OR.
    let list = Expr::InList {
        expr: Box::new(Expr::Column(0)),
        list: vec![Value::Text("a".into()), Value::Text("b".into())],
    };
    assert_eq!(count(&source, &filtered(&all, list)).await, 2);
    let less = compare(&all, "s", Comparison::Less, Value::Text("b".to_owned()));
    assert_eq!(count(&source, &filtered(&all, less)).await, 5);
}

#[tokio::test]
async fn integers_travel_as_keys_and_limits_hold() {
    let file = File::new(
        "keys",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT);
         INSERT INTO t VALUES (1, 10), (2, 20), (3, NULL), (-9223372036854775808, 40), (9223372036854775807, 50);",
    );
    let source = file.source(1);
    let all = scan(&source, "t", &["id"]).await;
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, 2, 3, i64::MAX, 77]));
    assert_eq!(
        count(&source, &filtered(&all, Expr::InKeys { column: 0, keys })).await,
        4
    );
    let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
    assert_eq!(
        count(&source, &filtered(&all, Expr::InKeys { column: 0, keys: none })).await,
        0
    );
    let list = Expr::InList {
        expr: Box::new(Expr::Column(1)),
        list: vec![Value::Int(10), Value::Int(50)],
    };
    assert_eq!(count(&source, &filtered(&all, list.clone())).await, 2);
    assert_eq!(count(&source, &filtered(&all, Expr::Not(Box::new(list)))).await, 2);
    assert_eq!(
        count(&source, &filtered(&all, Expr::IsNull(Box::new(Expr::Column(1))))).await,
        1
    );
    assert_eq!(count(&source, &cut(&all, &[0], Some(2))).await, 2);
    assert_eq!(count(&source, &cut(&all, &[], None)).await, 5);
}

#[tokio::test]
async fn an_odd_date_is_an_error_and_never_a_row_lost() {
    let setup = "CREATE TABLE t (id INTEGER PRIMARY KEY, d DATE);
                 INSERT INTO t VALUES (1, '1993-01-05'), (2, '1993-02-01'), (3, NULL);";
    let file = File::new("dates", setup);
    let source = file.source(1);
    let all = scan(&source, "t", &["id"]).await;
    let before = |days| compare(&all, "d", Comparison::Less, Value::Date(days));
    assert_eq!(count(&source, &filtered(&all, before(8432))).await, 1);
    assert_eq!(count(&source, &filtered(&all, before(i32::MAX))).await, 2);
    assert_eq!(count(&source, &filtered(&all, before(i32::MIN))).await, 0);
    assert_eq!(
        count(&source, &filtered(&all, Expr::Not(Box::new(before(8432))))).await,
        1
    );
    for odd in [
        "'1993-1-5'",
        "'1993-02-30'",
        "'-0001-01-01'",
        "2451545",
        "'now'",
        "'1993-01-05 '",
        "x'31'",
    ] {
        let file = File::new("odd-dates", &format!("{setup} INSERT INTO t VALUES (4, {odd});"));
        let source = file.source(1);
        for predicate in [before(8432), Expr::Not(Box::new(before(8432))), before(i32::MIN)] {
            let error = rows(&source, &filtered(&all, predicate)).await.unwrap_err();
            assert_eq!(error.class, ErrorClass::Data, "{odd}");
        }
    }
}

#[tokio::test]
async fn keys_and_references_are_described() {
    let file = File::new(
        "keys-described",
        "CREATE TABLE branch (id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, name TEXT UNIQUE, note TEXT);
         CREATE TABLE \"a \"\"b\" (k TEXT PRIMARY KEY, branch INT REFERENCES branch, at TIMESTAMP NOT NULL UNIQUE);
         CREATE TABLE pair (x INT NOT NULL, y TEXT NOT NULL, v INT AS (x + 1), PRIMARY KEY (y, x)) WITHOUT ROWID;
         CREATE VIEW v AS SELECT id, id + 1 AS next FROM branch;
         CREATE VIEW broken AS SELECT * FROM nowhere;
         INSERT INTO branch VALUES (7, 'x', 'y', 'z');",
    );
    let schema = file.source(1).introspect().await.unwrap();
    let names: Vec<&str> = schema.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["a \"b", "branch", "pair", "v"]);
    assert!(schema.notices.iter().any(|notice| notice.contains("broken")));
    let branch = schema.table("branch").unwrap();
    assert_eq!(
        (branch.primary_key.clone(), branch.unique_keys.clone()),
        (vec!["id".to_owned()], vec![vec!["code".to_owned()]])
    );
    assert_eq!(
        (branch.column("id").unwrap().nullable, branch.rows_estimate),
        (false, Some(7))
    );
    let quoted = schema.table("a \"b").unwrap();
    // A TEXT key may hold NULL in SQLite, and two spellings may be one timestamp: neither is a key for us.
    assert!(quoted.primary_key.is_empty() && quoted.unique_keys.is_empty());
    assert_eq!(quoted.foreign_keys[0].target_columns, ["id"]);
    assert_eq!(schema.table("pair").unwrap().primary_key, ["y", "x"]);
    assert_eq!(schema.table("pair").unwrap().columns.len(), 3);
    let view = schema.table("v").unwrap();
    assert_eq!(
        (
            view.is_view,
            view.columns[1].data_type.clone(),
            view.columns[0].comparable
        ),
        (true, DataType::Utf8, false)
    );
}

fn numbers(rows: usize) -> String {
    format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, d DECIMAL(14,2), day DATE);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO t SELECT i, i / 100.0, '2024-01-01' FROM n;"
    )
}

#[tokio::test]
async fn two_reads_of_a_query_share_a_snapshot_and_neither_waits_for_the_other() {
    let file = File::new("snapshot", &format!("PRAGMA journal_mode = WAL; {}", numbers(1000)));
    let source = file.source(1);
    let query = scan(&source, "t", &["id", "d", "day"]).await;
    let reader = source.reader(context(30, 10));
    let mut first = reader.read(&query).await.unwrap();
    let head = first.try_next().await.unwrap().unwrap();
    assert_eq!(head.column(0).as_primitive::<Int64Type>().value(9), 10);
    assert_eq!(head.column(1).as_primitive::<Decimal128Type>().value(6), 7);
    assert_eq!(head.column(2).as_primitive::<Date32Type>().value(0), 19_723);
    rusqlite::Connection::open(&file.0)
        .unwrap()
        .execute("DELETE FROM t WHERE id > 500", [])
        .unwrap();
    // The first is not consumed, and the source has one connection.
    let second: Vec<RecordBatch> = reader.read(&query).await.unwrap().try_collect().await.unwrap();
    assert_eq!(second.iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
    let rest: Vec<RecordBatch> = first.try_collect().await.unwrap();
    assert_eq!(rest.iter().map(RecordBatch::num_rows).sum::<usize>(), 990);
    drop(reader);
    assert_eq!(count(&source, &query).await, 500);
}

#[tokio::test]
async fn a_full_pool_is_busy_and_a_dropped_stream_gives_its_connection_back() {
    let file = File::new("pool", &numbers(1000));
    let source = file.source(1);
    let query = scan(&source, "t", &["id"]).await;
    let reader = source.reader(context(30, 10));
    let mut held = reader.read(&query).await.unwrap();
    held.try_next().await.unwrap();
    let waiting = source.reader(QueryContext {
        deadline: Instant::now() + Duration::from_millis(50),
        ..context(30, 10)
    });
    assert_eq!(waiting.read(&query).await.err().unwrap().class, ErrorClass::Busy);
    drop((held, reader));
    assert_eq!(count(&source, &query).await, 1000);
}

#[tokio::test]
async fn a_long_statement_ends_with_its_stream_or_its_deadline() {
    // No row of the join is ever found, so only the progress handler can end it.
    let file = File::new(
        "long",
        &format!(
            "{} CREATE VIEW endless AS SELECT a.id FROM t a, t b, t c WHERE a.id + b.id + c.id < 0;",
            numbers(3000)
        ),
    );
    let source = file.source(1);
    let query = scan(&source, "endless", &["id"]).await;
    let late = source.reader(context(1, 10)).read(&query).await.unwrap();
    let started = Instant::now();
    let error = late.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Deadline);
    assert!(started.elapsed() < Duration::from_secs(3));
    let dropped = source.reader(context(60, 10)).read(&query).await.unwrap();
    drop(dropped);
    let started = Instant::now();
    assert_eq!(count(&source, &scan(&source, "t", &["id"]).await).await, 3000);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn refusals_name_the_source_and_nothing_else() {
    let path = std::env::temp_dir().join(format!("caliber-nowhere-{}/secret-name.db", std::process::id()));
    let error = open(&path, 1).introspect().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable);
    assert!(
        error.to_string().contains("books") && !error.to_string().contains("secret-name"),
        "{error}"
    );
    let file = File::new(
        "drift",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, gone TEXT); INSERT INTO t VALUES (1, 'x');",
    );
    let source = file.source(1);
    let query = scan(&source, "t", &["gone"]).await;
    rusqlite::Connection::open(&file.0)
        .unwrap()
        .execute_batch("ALTER TABLE t DROP COLUMN gone")
        .unwrap();
    // SQLite would otherwise read "gone" as a string.
    assert_eq!(rows(&source, &query).await.unwrap_err().class, ErrorClass::Drift);
    let session = Session::open(&file.0).unwrap();
    session.begin().unwrap();
    for sql in [
        "ATTACH ':memory:' AS other",
        "CREATE TABLE x (a)",
        "DELETE FROM t",
        "SELECT load_extension('x')",
    ] {
        assert!(session.connection.execute_batch(sql).is_err(), "{sql}");
    }
}

#[tokio::test]
async fn values_are_bound_and_the_statement_is_told() {
    let file = File::new("log", "CREATE TABLE t (s TEXT); INSERT INTO t VALUES ('x');");
    let source = file.source(1);
    let all = scan(&source, "t", &["s"]).await;
    let query = filtered(
        &all,
        compare(&all, "s", Comparison::Equal, Value::Text("') OR 1=1 --".to_owned())),
    );
    let log = Arc::new(Log::default());
    let reader = source.reader(QueryContext {
        log: log.clone(),
        ..context(30, 10)
    });
    let found: Vec<RecordBatch> = reader.read(&query).await.unwrap().try_collect().await.unwrap();
    assert!(found.is_empty());
    let expected = "SELECT t0.\"s\" FROM \"t\" AS t0 WHERE (t0.\"s\" COLLATE BINARY = ?1)";
    assert_eq!(*log.0.lock(), [(expected.to_owned(), 1)]);
    assert_eq!(source.statement(&query).as_deref(), Some(expected));
}

#[tokio::test]
async fn a_connection_that_is_kept_reads_what_is_there_now() {
    let file = File::new(
        "kept",
        "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);",
    );
    let source = file.source(1);
    let query = scan(&source, "t", &["id"]).await;
    assert_eq!(count(&source, &query).await, 1);
    let writer = rusqlite::Connection::open(&file.0).unwrap();
    writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(count(&source, &query).await, 2);
    // Between queries nothing keeps a writer waiting.
    writer
        .execute_batch("BEGIN EXCLUSIVE; INSERT INTO t VALUES (3); COMMIT")
        .unwrap();
    assert_eq!(count(&source, &query).await, 3);
    // Another file of the same name.
    let other = File::new(
        "kept-other",
        "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3), (4), (5);",
    );
    std::fs::rename(&other.0, &file.0).unwrap();
    assert_eq!(count(&source, &query).await, 5);
    drop(writer);
    std::fs::remove_file(&file.0).unwrap();
    assert_eq!(rows(&source, &query).await.unwrap_err().class, ErrorClass::Unavailable);
}

#[tokio::test]
async fn a_dropped_read_cancels_no_read_after_it() {
    let file = File::new(
        "dropped",
        "CREATE TABLE t (id INTEGER PRIMARY KEY);
         INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) SELECT i FROM n;",
    );
    let source = file.source(1);
    let query = scan(&source, "t", &["id"]).await;
    let reader = source.reader(context(60, 3));
    // SQLite looks every few thousand instructions whether to go on.
    for _ in 0..400 {
        let mut dropped = reader.read(&query).await.unwrap();
        dropped.next().await.unwrap().unwrap();
        drop(dropped);
        let batches: Vec<RecordBatch> = reader.read(&query).await.unwrap().try_collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 50);
    }
}
