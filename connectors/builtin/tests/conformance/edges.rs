//! Where a relation meets what its types cannot hold: sums out of range, dates that are none, values of another type
//! than was declared; and what each source is not asked for, because it would answer otherwise.
//!
//! Owns: each edge with the right answer beside it; `refusals` lists what is refused. Never: a relation that the suite draws.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{
    Aggregate, AggregateFunction, Comparison, Connector, ConnectorError, DatePart, ErrorClass, Expr, JoinKind, Options,
    QueryContext, Relation, RemoteQuery, SortKey, StatementLog, Value,
};
use caliber_testkit::{MariaDb, Postgres};
use futures::TryStreamExt;
use secrecy::SecretString;

use crate::{factory, spec};

struct Silent;

impl StatementLog for Silent {
    fn sent(&self, _: &str, _: usize) {}
    fn received(&self, _: usize, _: usize) {}
}

/// A source of one script.
pub(crate) struct Loaded {
    pub(crate) connector: Arc<dyn Connector>,
    _folder: Option<tempfile::TempDir>,
}

pub(crate) async fn postgres(database: &str, script: &str) -> Loaded {
    let server = Postgres::shared().expect("a server");
    let url = server.create_database(database).await.expect("a database");
    server.run(database, script).await.expect("loads");
    at_url("postgres", &url)
}

pub(crate) async fn mariadb(database: &str, script: &str) -> Loaded {
    let server = MariaDb::shared().expect("a server");
    let url = server.create_database(database).await.expect("a database");
    server.run(database, script).await.expect("loads");
    at_url("mysql", &url)
}

fn at_url(kind: &str, url: &str) -> Loaded {
    let options = Options::default().with("url", OptionValue::Secret(SecretString::from(url)));
    Loaded {
        connector: factory(kind).open(&spec(options)).expect("opens"),
        _folder: None,
    }
}

pub(crate) fn sqlite(script: &str) -> Loaded {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("edges.db");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    connection.execute_batch(script).expect("loads");
    let options = Options::default().with("path", OptionValue::Path(path));
    Loaded {
        connector: factory("sqlite").open(&spec(options)).expect("opens"),
        _folder: Some(folder),
    }
}

impl Loaded {
    pub(crate) async fn scan(&self, table: &str) -> Relation {
        let schema = self.connector.introspect().await.expect("is described");
        let table = Arc::new(schema.table(table).expect("a table").clone());
        Relation::Scan { table }
    }

    /// The rows as Arrow displays them, sorted.
    pub(crate) async fn rows(&self, root: &Relation) -> Result<Vec<String>, ConnectorError> {
        let mut rows = self.ordered(root).await?;
        rows.sort();
        Ok(rows)
    }

    async fn ordered(&self, root: &Relation) -> Result<Vec<String>, ConnectorError> {
        let reader = self.connector.reader(QueryContext {
            query_id: "edges".to_owned(),
            deadline: Instant::now() + Duration::from_secs(600),
            batch_rows_max: 8_192,
            buffer_bytes_max: 64 << 20,
            log: Arc::new(Silent),
        });
        let query = RemoteQuery::new(root.clone());
        let batches: Vec<RecordBatch> = reader.read(&query).await?.try_collect().await?;
        let mut rows = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|array| array_value_to_string(array, row));
                rows.push(cells.collect::<Result<Vec<_>, _>>().expect("displays").join("|"));
            }
        }
        Ok(rows)
    }

    async fn class(&self, root: &Relation) -> ErrorClass {
        self.rows(root).await.expect_err("no error").class
    }

    /// That the source is not asked, and what it would have said.
    pub(crate) async fn refused(&self, root: &Relation) -> Result<Vec<String>, ConnectorError> {
        assert!(self.connector.capabilities().runs(root).is_err(), "declared: {root:?}");
        self.rows(root).await
    }
}

pub(crate) fn filter(input: Relation, predicate: Expr) -> Relation {
    Relation::Filter {
        input: Box::new(input),
        predicate,
    }
}

pub(crate) fn project(input: Relation, columns: Vec<Expr>) -> Relation {
    Relation::Project {
        input: Box::new(input),
        columns,
    }
}

pub(crate) fn group(input: Relation, keys: Vec<Expr>, aggregates: Vec<Aggregate>) -> Relation {
    Relation::Aggregate {
        input: Box::new(input),
        keys,
        aggregates,
    }
}

pub(crate) fn of(function: AggregateFunction, column: usize, data_type: DataType) -> Aggregate {
    Aggregate {
        function,
        argument: Some(Expr::Column(column)),
        distinct: false,
        filter: None,
        data_type,
    }
}

fn count() -> Aggregate {
    Aggregate {
        argument: None,
        ..of(AggregateFunction::Count, 0, DataType::Int64)
    }
}

pub(crate) fn sum(input: Relation, column: usize, data_type: DataType) -> Relation {
    group(input, vec![], vec![of(AggregateFunction::Sum, column, data_type)])
}

pub(crate) fn compare(left: Expr, op: Comparison, right: Expr) -> Expr {
    Expr::Compare {
        op,
        left: Box::new(left),
        right: Box::new(right),
    }
}

fn part(part: DatePart, column: usize) -> Expr {
    Expr::DatePart {
        part,
        expr: Box::new(Expr::Column(column)),
    }
}

fn only(id: i64, scan: &Relation) -> Relation {
    let id = Expr::Value(Value::Int(id));
    filter(scan.clone(), compare(Expr::Column(0), Comparison::LessOrEqual, id))
}

const SUMS: &str = "
CREATE TABLE sums (id int NOT NULL, big bigint, most decimal(38,0));
INSERT INTO sums VALUES (1, 9223372036854775807, 99999999999999999999999999999999999999), (2, 1, 1), (3, -1, -1),
  (4, 1, 1);
";

/// Sums that are in range only in the end, and one that is not.
async fn check_sums(loaded: &Loaded) {
    let scan = loaded.scan("sums").await;
    let big = |id| sum(only(id, &scan), 1, DataType::Int64);
    assert_eq!(loaded.rows(&big(3)).await.expect("in range"), ["9223372036854775807"]);
    assert_eq!(loaded.class(&big(4)).await, ErrorClass::Range);
    assert_eq!(loaded.rows(&big(0)).await.expect("none"), [""]);
    let most = |id| sum(only(id, &scan), 2, DataType::Decimal128(38, 0));
    let nines = "9".repeat(38);
    assert_eq!(loaded.rows(&most(3)).await.expect("in range"), [nines.as_str()]);
    assert_eq!(loaded.class(&most(4)).await, ErrorClass::Range);
}

#[tokio::test]
async fn sums_are_exact_or_out_of_range() {
    check_sums(&postgres("sums", SUMS).await).await;
    let maria = mariadb(
        "sums",
        &format!("{SUMS}CREATE TABLE unsigned_sums (id int NOT NULL, u bigint unsigned, b bit(64));\nINSERT INTO unsigned_sums VALUES (1, 18446744073709551615, 18446744073709551615), (2, 0, 0), (3, 1, 1);\n"),
    )
    .await;
    check_sums(&maria).await;
    let scan = maria.scan("unsigned_sums").await;
    for column in [1, 2] {
        let total = |id| sum(only(id, &scan), column, DataType::UInt64);
        assert_eq!(maria.rows(&total(2)).await.expect("in range"), ["18446744073709551615"]);
        assert_eq!(maria.class(&total(3)).await, ErrorClass::Range);
    }
    let lite = sqlite(
        "CREATE TABLE sums (id INTEGER PRIMARY KEY, big BIGINT);
         INSERT INTO sums VALUES (1, 9223372036854775807), (2, 1), (3, -1), (4, 1);",
    );
    let scan = lite.scan("sums").await;
    let big = |id| sum(only(id, &scan), 1, DataType::Int64);
    assert_eq!(lite.rows(&big(3)).await.expect("in range"), ["9223372036854775807"]);
    assert_eq!(lite.class(&big(4)).await, ErrorClass::Range);
}

/// Functions of what is no date: predicates over it neither fail nor hold for a year, and its value is refused.
async fn check_no_dates(loaded: &Loaded, table: &str, rows: usize) {
    let scan = loaded.scan(table).await;
    let all = loaded.rows(&group(scan.clone(), vec![], vec![count()])).await;
    assert_eq!(all.expect("counts"), [rows.to_string()]);
    for which in [DatePart::Year, DatePart::Quarter, DatePart::Month, DatePart::Day] {
        for number in [0, 1, 12, 2000] {
            let equal = compare(part(which, 1), Comparison::Equal, Expr::Value(Value::Int(number)));
            let found = loaded
                .rows(&project(filter(scan.clone(), equal), vec![Expr::Column(0)]))
                .await;
            assert_eq!(found.expect("is total"), [""; 0], "{which:?} {number}");
        }
        let refused = [ErrorClass::Data, ErrorClass::Range];
        let read = loaded.class(&project(scan.clone(), vec![part(which, 1)])).await;
        assert!(refused.contains(&read), "{which:?}: {read:?}");
        let trunc = Expr::DateTrunc {
            part: which,
            expr: Box::new(Expr::Column(1)),
        };
        let null = filter(scan.clone(), Expr::IsNull(Box::new(trunc.clone())));
        let none = loaded.rows(&project(null, vec![Expr::Column(0)])).await;
        assert_eq!(none.expect("is total"), [""; 0]);
        let read = loaded.class(&project(scan.clone(), vec![trunc])).await;
        assert!(refused.contains(&read), "{which:?}: {read:?}");
    }
}

#[tokio::test]
async fn what_is_no_date_is_refused_when_it_is_read_and_nowhere_else() {
    let script = "CREATE TABLE endless (id int NOT NULL, d date, t timestamp);
        INSERT INTO endless VALUES (1, 'infinity', 'infinity'), (2, '-infinity', '-infinity');
        CREATE TABLE eras (id int NOT NULL, d date);
        INSERT INTO eras VALUES (1, '0001-12-31 BC'), (2, '0045-03-15 BC'), (3, '0001-01-01'), (4, NULL),
          (5, '4714-11-24 BC'), (6, '5874897-12-31');";
    let loaded = postgres("no_dates", script).await;
    check_no_dates(&loaded, "endless", 2).await;
    let scan = loaded.scan("eras").await;
    let parts = vec![
        Expr::Column(0),
        part(DatePart::Year, 1),
        part(DatePart::Quarter, 1),
        part(DatePart::Month, 1),
        part(DatePart::Day, 1),
    ];
    let expected = [
        "1|0|4|12|31",
        "2|-44|1|3|15",
        "3|1|1|1|1",
        "4||||",
        "5|-4713|4|11|24",
        "6|5874897|4|12|31",
    ];
    assert_eq!(
        loaded.rows(&project(scan.clone(), parts)).await.expect("reads"),
        expected
    );
    let trunc = Expr::DateTrunc {
        part: DatePart::Year,
        expr: Box::new(Expr::Column(1)),
    };
    let timestamp = |column| Expr::Cast {
        expr: Box::new(Expr::Column(column)),
        data_type: DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
    };
    // No timestamp is as late as the last day; the comparison of them does not fail for that.
    let later = compare(timestamp(1), Comparison::Greater, Expr::Value(Value::Timestamp(0)));
    let found = loaded
        .rows(&project(filter(scan.clone(), later), vec![Expr::Column(0)]))
        .await;
    assert_eq!(found.expect("is total"), ["6"]);
    let beyond = loaded
        .rows(&project(
            filter(scan.clone(), Expr::IsNull(Box::new(trunc))),
            vec![Expr::Column(0)],
        ))
        .await;
    assert_eq!(beyond.expect("is total"), ["4"]);

    let script = "SET sql_mode = 'ALLOW_INVALID_DATES';
CREATE TABLE zeros (id int NOT NULL, d date, t datetime);
INSERT INTO zeros VALUES (3, '0000-00-00', '0000-00-00');
CREATE TABLE partial (id int NOT NULL, d date, t datetime);
INSERT INTO partial VALUES (1, '2000-00-01', '2000-00-01'), (2, '2000-12-00', '2000-12-00');
CREATE TABLE thirty (id int NOT NULL, d date, t datetime);
INSERT INTO thirty VALUES (1, '2000-02-30', '2000-02-30');
";
    let loaded = mariadb("no_dates", script).await;
    for (table, rows) in [("zeros", 1), ("partial", 2), ("thirty", 1)] {
        check_no_dates(&loaded, table, rows).await;
    }
}

#[tokio::test]
async fn a_broken_value_is_an_error_of_whatever_compares_it() {
    let script = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, s TEXT, d DATE, u);
         CREATE TABLE good (id INTEGER PRIMARY KEY, n INT, s TEXT, d DATE);
         CREATE TABLE strict (id INTEGER PRIMARY KEY, n INT, s TEXT) STRICT;
         INSERT INTO good VALUES (1, 1, 'a', '2000-01-01'), (2, 1, 'b', '2001-05-01');
         INSERT INTO strict VALUES (1, 1, 'a');
         INSERT INTO t VALUES (1, 1, 'a', '2000-01-01', 1.5), ";
    for (broken, column) in [
        ("(2, 'x', 'a', '2000-01-01', 1)", 1),
        ("(2, 1.5, 'a', '2000-01-01', 1)", 1),
        ("(2, 1, x'61', '2000-01-01', 1)", 2),
        ("(2, 1, CAST(x'ff' AS TEXT), '2000-01-01', 1)", 2),
        ("(2, 1, 'a', '2000-1-1', 1)", 3),
        ("(2, 1, 'a', 20000101, 1)", 3),
    ] {
        let loaded = sqlite(&format!("{script}{broken};"));
        let (t, good) = (loaded.scan("t").await, loaded.scan("good").await);
        let kind = t.columns()[column].data_type.clone();
        let least = of(AggregateFunction::Min, column, kind);
        let join = |kind, op| Relation::Join {
            left: Box::new(good.clone()),
            right: Box::new(t.clone()),
            kind,
            on: compare(Expr::Column(column), op, Expr::Column(4 + column)),
        };
        let distinct = Aggregate {
            distinct: true,
            ..of(AggregateFunction::Count, column, DataType::Int64)
        };
        let mut compared = vec![
            group(t.clone(), vec![Expr::Column(column)], vec![count()]),
            group(t.clone(), vec![], vec![least]),
            group(t.clone(), vec![], vec![distinct]),
            // Every pair that the odd value lets through.
            group(join(JoinKind::Inner, Comparison::NotEqual), vec![], vec![count()]),
            project(
                Relation::Sort {
                    input: Box::new(t.clone()),
                    keys: vec![SortKey {
                        expr: Expr::Column(column),
                        descending: false,
                        nulls_first: true,
                    }],
                    rows: None,
                },
                vec![Expr::Column(0)],
            ),
            Relation::Union {
                inputs: vec![
                    project(t.clone(), vec![Expr::Column(column)]),
                    project(good.clone(), vec![Expr::Column(column)]),
                ],
            },
        ];
        if column == 1 {
            compared.push(sum(t.clone(), 1, DataType::Int64));
        }
        for relation in &compared {
            let error = loaded.rows(relation).await.expect_err("a broken value");
            assert_eq!(error.class, ErrorClass::Data, "{broken}: {error}");
            let name = ["id", "n", "s", "d"][column];
            assert!(error.message.contains(&format!("`t.{name}`")), "{error}");
        }
        // What does not look at it is no worse for it.
        let counted = loaded
            .rows(&group(t.clone(), vec![Expr::Column(0)], vec![count()]))
            .await;
        assert_eq!(counted.expect("counts"), ["1|1", "2|1"]);
    }
    // What SQLite itself keeps out is not checked again, and a row's number is looked up as it is.
    let loaded = sqlite(&format!("{script}(2, 1, 'a', '2000-01-01', 1);"));
    let (good, strict) = (loaded.scan("good").await, loaded.scan("strict").await);
    let on = |left, right| compare(Expr::Column(left), Comparison::Equal, Expr::Column(right));
    let joined = Relation::Join {
        left: Box::new(good),
        right: Box::new(strict),
        kind: JoinKind::Inner,
        on: Expr::And(vec![on(0, 4), on(1, 5), on(2, 6)]),
    };
    let counted = group(joined, vec![], vec![count()]);
    let statement = loaded.connector.statement(&RemoteQuery::new(counted.clone()));
    let statement = statement.expect("a statement");
    assert_eq!(
        (
            statement.matches("caliber_integer").count(),
            statement.matches("caliber_text").count()
        ),
        (1, 1),
        "{statement}"
    );
    assert_eq!(loaded.rows(&counted).await.expect("joins"), ["1"]);
}

#[tokio::test]
async fn what_postgres_is_not_asked_for_would_differ() {
    let script = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE t (id int NOT NULL, f float8, s text COLLATE loose, x bytea);
        INSERT INTO t VALUES (1, '-0', 'abc', '\\x00'), (2, '0', 'ABC', '\\x01');";
    let loaded = postgres("refused", script).await;
    let scan = loaded.scan("t").await;
    let groups = |column| group(scan.clone(), vec![Expr::Column(column)], vec![]);
    assert_eq!(
        loaded.refused(&groups(1)).await.expect("groups").len(),
        1,
        "-0 and 0 are two for the engine"
    );
    assert_eq!(
        loaded.refused(&groups(2)).await.expect("groups").len(),
        1,
        "abc and ABC are two for the engine"
    );
    let zero = compare(Expr::Column(1), Comparison::Equal, Expr::Value(Value::Float(0.0)));
    let zeros = filter(scan.clone(), zero);
    assert!(loaded.connector.capabilities().runs(&zeros).is_err());
    let found = loaded.rows(&project(zeros, vec![Expr::Column(0)])).await;
    assert_eq!(found.expect("compares"), ["1", "2"], "-0 is not 0 for the engine");
    let least = group(
        scan.clone(),
        vec![],
        vec![of(AggregateFunction::Min, 3, DataType::Binary)],
    );
    assert!(
        loaded.refused(&least).await.is_err(),
        "there is no min(bytea) before 18"
    );
}

#[tokio::test]
async fn what_mariadb_is_not_asked_for_would_differ() {
    let long = "x".repeat(5_000);
    let script = format!(
        "CREATE TABLE t (id int NOT NULL, f double, s text CHARACTER SET utf8mb4);
INSERT INTO t VALUES (1, -0e0, '{long}a'), (2, 0e0, '{long}b'), (3, 0e0, '{long}0');
CREATE TABLE short (id int NOT NULL, s varchar(256)) CHARACTER SET utf8mb4;
INSERT INTO short VALUES (1, CONCAT(REPEAT('😀', 255), 'a')), (2, CONCAT(REPEAT('😀', 255), 'b')), (3, CONCAT(REPEAT('😀', 255), '0'));
"
    );
    let loaded = mariadb("refused", &script).await;
    let scan = loaded.scan("t").await;
    let floats = loaded
        .refused(&group(scan.clone(), vec![Expr::Column(1)], vec![]))
        .await;
    assert_eq!(floats.expect("groups").len(), 1, "-0 and 0 are two for the engine");
    let sorted = Relation::Sort {
        input: Box::new(project(scan.clone(), vec![Expr::Column(2), Expr::Column(0)])),
        keys: vec![SortKey {
            expr: Expr::Column(0),
            descending: false,
            nulls_first: false,
        }],
        rows: None,
    };
    assert!(loaded.connector.capabilities().runs(&sorted).is_err());
    let ids = project(sorted, vec![Expr::Column(1)]);
    // What is asked for is short, and told apart by its last byte.
    let short = loaded.scan("short").await;
    let keys = group(short.clone(), vec![Expr::Column(1)], vec![count()]);
    assert!(loaded.connector.capabilities().runs(&keys).is_ok());
    let counts = project(keys, vec![Expr::Column(1)]);
    assert_eq!(loaded.rows(&counts).await.expect("groups"), ["1", "1", "1"]);
    let sorted_short = Relation::Sort {
        input: Box::new(short),
        keys: vec![SortKey {
            expr: Expr::Column(1),
            descending: true,
            nulls_first: false,
        }],
        rows: None,
    };
    let short_ids = project(sorted_short, vec![Expr::Column(0)]);
    assert_eq!(loaded.ordered(&short_ids).await.expect("sorts"), ["2", "1", "3"]);
    assert_ne!(
        loaded.ordered(&ids).await.expect("sorts"),
        ["3", "1", "2"],
        "only so many bytes are sorted by"
    );
}

#[tokio::test]
async fn what_sqlite_is_not_asked_for_would_differ() {
    let loaded = sqlite(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT, d DECIMAL(30,2), at TIMESTAMP);
         INSERT INTO t VALUES (1, 'abc', '1.10', '2000-01-01'), (2, 'ABC', 1.1, '2000-01-01 00:00'),
                              (3, 'a' || char(0) || 'b', '9007199254740993.00', NULL), (4, 'x', '9007199254740992.00', NULL);",
    );
    let scan = loaded.scan("t").await;
    let like = Expr::Like {
        expr: Box::new(Expr::Column(1)),
        pattern: "abc".to_owned(),
    };
    let liked = filter(scan.clone(), like);
    assert!(loaded.connector.capabilities().runs(&liked).is_err());
    let found = loaded
        .rows(&project(liked, vec![Expr::Column(0)]))
        .await
        .expect("likes");
    assert_eq!(found, ["1", "2"], "ABC is not LIKE abc for the engine");
    let length = project(
        scan.clone(),
        vec![Expr::Column(0), Expr::CharLength(Box::new(Expr::Column(1)))],
    );
    let found = loaded.refused(&length).await.expect("measures");
    assert_eq!(
        found,
        ["1|3", "2|3", "3|1", "4|1"],
        "a NUL is a character for the engine: 3|3"
    );
    let total = sum(scan.clone(), 2, DataType::Decimal128(38, 2));
    assert!(
        loaded.refused(&total).await.is_err()
            || loaded.rows(&total).await.ok() != Some(vec!["18014398509481987.20".to_owned()])
    );
    let same = compare(
        Expr::Column(3),
        Comparison::Equal,
        Expr::Value(Value::Timestamp(946_684_800_000_000)),
    );
    let same = filter(scan, same);
    assert!(loaded.connector.capabilities().runs(&same).is_err());
    let found = loaded
        .rows(&project(same, vec![Expr::Column(0)]))
        .await
        .expect("compares");
    assert_ne!(found, ["1", "2"], "two spellings of one instant");
}

#[tokio::test]
async fn what_mariadb_gets_wrong_is_asked_in_another_way() {
    let script =
        "CREATE TABLE l (id int NOT NULL, n int, s varchar(20) COLLATE utf8mb4_general_ci) CHARACTER SET utf8mb4;
INSERT INTO l VALUES (1, 1, 'abc'), (2, 1, 'ABC'), (3, 2, 'x');
CREATE TABLE r (id int NOT NULL, s varchar(20) CHARACTER SET utf8mb3);
INSERT INTO r VALUES (1, 'abc');
";
    let loaded = mariadb("wrong", script).await;
    let (left, right) = (loaded.scan("l").await, loaded.scan("r").await);
    let equal = |one, other| compare(Expr::Column(one), Comparison::Equal, Expr::Column(other));
    // A constant beside a row that a left join did not find is NULL.
    let constant = project(right.clone(), vec![Expr::Column(0), Expr::Value(Value::Int(7))]);
    let joined = Relation::Join {
        left: Box::new(filter(left.clone(), Expr::Not(Box::new(equal(0, 1))))),
        right: Box::new(constant),
        kind: JoinKind::Left,
        on: equal(0, 3),
    };
    let least = group(
        joined,
        vec![],
        vec![of(AggregateFunction::Min, 4, DataType::Int64), count()],
    );
    assert_eq!(loaded.rows(&least).await.expect("joins"), ["|2"]);
    // An aggregate that is looked up in a subquery.
    let most = of(AggregateFunction::Max, 0, DataType::Int32);
    let looked_up = filter(
        group(left.clone(), vec![Expr::Column(1)], vec![most]),
        Expr::InQuery {
            expr: Box::new(Expr::Column(1)),
            query: Box::new(project(left.clone(), vec![Expr::Column(0)])),
        },
    );
    assert_eq!(loaded.rows(&looked_up).await.expect("looks up"), ["1|2", "2|3"]);
    // What a subquery gave for one text says nothing of another that its collation holds equal.
    let semi = Relation::Join {
        left: Box::new(left),
        right: Box::new(right),
        kind: JoinKind::Semi,
        on: Expr::And(vec![
            equal(2, 4),
            compare(Expr::Column(3), Comparison::Less, Expr::Value(Value::Int(9))),
        ]),
    };
    assert_eq!(
        loaded.rows(&project(semi, vec![Expr::Column(0)])).await.expect("finds"),
        ["1"]
    );
}
