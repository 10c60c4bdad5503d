//! What each dialect refuses to take, and that it would answer otherwise if it were asked.
//!
//! Owns: the list of refusals, the cases that `edges` does not have. Never: a bound (`keys_max`, `parameters_max`), behind
//! which the answer is the same.
//!
//! | refused | because | case |
//! |---|---|---|
//! | **PostgreSQL** floats: group, `=` | -0 is 0 there | `edges`: `what_postgres_is_not_asked_for_would_differ` |
//! | floats: order, sort, `min`, `max`, sums | -0 is 0; an infinite sum is an error | `floats_of_postgres` |
//! | `min`, `max` of bytes | there is none before 18 | `edges`, the same |
//! | texts of a loose collation | ABC is abc | `edges`, the same |
//! | a NUL in a text, dates beyond its calendar | no values there | `constants_of_postgres` |
//! | LIKE with `\` at the end | an error there | `patterns` |
//! | **MariaDB** floats: group, `=` | -0 is 0 there | `edges`: `what_mariadb_is_not_asked_for_would_differ`, `floats_of_mariadb` |
//! | long texts: group, sort | so many bytes are looked at | `edges`, the same |
//! | dates before the year 1 | no values there | `constants_of_mariadb` |
//! | LIKE with `\` before a letter, or at the end | not offered, for PostgreSQL's sake | none: nothing would differ |
//! | decimals of more than 30 digits after the point | MySQL cuts them; MariaDB does not, so nothing differs here | none |
//! | keys of bytes, `min` of conditions | no array, no type for them | none: nothing would differ |
//! | **SQLite** LIKE, the length of a text, sums of decimals | case; a NUL ends a text; no decimals | `edges`: `what_sqlite_is_not_asked_for_would_differ` |
//! | timestamps: `=`, group | several spellings of one instant | `edges`, the same; `spellings_of_sqlite` |
//! | decimals: `=`, order, group | what is no decimal of its type would pass unseen | `spellings_of_sqlite` |
//! | decimal arithmetic | floats | `spellings_of_sqlite` |
//! | booleans: `=`, group, sort | what is no boolean would pass unseen | `spellings_of_sqlite` |
//! | floats: sums | of another order of additions | `floats_of_sqlite` |
//! | integer arithmetic | a float where it overflows | `functions_of_sqlite` |
//! | a part of a text | it ends at a NUL | `functions_of_sqlite` |
//! | a date as a timestamp | another text | `functions_of_sqlite` |
//! | timestamps in UTC as constants | no values there | `functions_of_sqlite` |
//! | order of bytes, keys of dates and bytes | not offered | none: nothing would differ |

use arrow::array::{Scalar, StringArray};
use arrow::compute::kernels::comparison::like;
use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::{AggregateFunction, Arithmetic, Comparison, Expr, Relation, SortKey, Value};

use crate::edges::{Loaded, compare, filter, group, mariadb, of, postgres, project, sqlite, sum};

const STAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The ids of the rows for which a predicate that the source is not asked for holds there.
async fn found(loaded: &Loaded, scan: &Relation, predicate: Expr) -> Option<Vec<String>> {
    let filtered = filter(scan.clone(), predicate);
    assert!(
        loaded.connector.capabilities().runs(&filtered).is_err(),
        "declared: {filtered:?}"
    );
    loaded.rows(&project(filtered, vec![Expr::Column(0)])).await.ok()
}

fn value(column: usize, op: Comparison, value: Value) -> Expr {
    compare(Expr::Column(column), op, Expr::Value(value))
}

fn ids(all: &[&str]) -> Option<Vec<String>> {
    Some(all.iter().map(|id| (*id).to_owned()).collect())
}

fn counted(relation: Relation) -> Relation {
    group(relation, vec![], vec![of(AggregateFunction::Count, 0, DataType::Int64)])
}

fn sorted(scan: &Relation, column: usize) -> Relation {
    let sorted = Relation::Sort {
        input: Box::new(scan.clone()),
        keys: vec![SortKey {
            expr: Expr::Column(column),
            descending: false,
            nulls_first: false,
        }],
        rows: Some(1),
    };
    project(sorted, vec![Expr::Column(0)])
}

/// The engine orders -0 before 0 and tells them apart.
async fn check_floats(loaded: &Loaded) {
    let scan = loaded.scan("floats").await;
    let below = found(loaded, &scan, value(1, Comparison::Less, Value::Float(0.0))).await;
    assert_ne!(below, ids(&["2"]), "-0 is less than 0 for the engine");
    let equal = found(loaded, &scan, value(1, Comparison::Equal, Value::Float(0.0))).await;
    assert_ne!(equal, ids(&["1"]), "-0 is not 0 for the engine");
    let first = sorted(&scan, 1);
    let Relation::Project { input, .. } = &first else {
        return;
    };
    assert!(loaded.connector.capabilities().runs(input).is_err());
    assert_ne!(
        loaded.rows(&first).await.ok(),
        ids(&["2"]),
        "-0 comes first for the engine"
    );
}

#[tokio::test]
async fn floats_of_postgres() {
    let script = "CREATE TABLE floats (id int NOT NULL, f float8); INSERT INTO floats VALUES (1, '0'), (2, '-0');
        CREATE TABLE least (id int NOT NULL, f float8); INSERT INTO least VALUES (1, '-0'), (2, '0');
        CREATE TABLE large (id int NOT NULL, f float8); INSERT INTO large VALUES (1, 1e308), (2, 1e308);";
    let loaded = postgres("refused_floats", script).await;
    check_floats(&loaded).await;
    let least = group(
        loaded.scan("least").await,
        vec![],
        vec![of(AggregateFunction::Min, 1, DataType::Float64)],
    );
    assert_ne!(
        loaded.refused(&least).await.ok(),
        ids(&["-0.0"]),
        "-0 is the least for the engine"
    );
    let total = sum(loaded.scan("large").await, 1, DataType::Float64);
    assert!(loaded.refused(&total).await.is_err(), "infinity for the engine");
}

#[tokio::test]
async fn floats_of_mariadb() {
    let script = "CREATE TABLE floats (id int NOT NULL, f double);\nINSERT INTO floats VALUES (1, 0e0), (2, -0e0);\n";
    check_floats(&mariadb("refused_floats", script).await).await;
}

#[tokio::test]
async fn floats_of_sqlite() {
    let loaded = sqlite(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, f REAL); INSERT INTO t VALUES (1, 1e100), (2, 1.0), (3, -1e100);",
    );
    let total = sum(loaded.scan("t").await, 1, DataType::Float64);
    let wanted = 1e100 + 1.0 - 1e100;
    assert_ne!(loaded.refused(&total).await.ok(), ids(&[&format!("{wanted:?}")]));
}

#[tokio::test]
async fn constants_of_postgres() {
    let script = "CREATE TABLE t (id int NOT NULL, s text, d date); INSERT INTO t VALUES (1, 'a', '2000-01-01');";
    let loaded = postgres("refused_constants", script).await;
    let scan = loaded.scan("t").await;
    let nul = value(1, Comparison::NotEqual, Value::Text("a\0".to_owned()));
    assert_ne!(
        found(&loaded, &scan, nul).await,
        ids(&["1"]),
        "a text with NUL is another"
    );
    let early = value(2, Comparison::Greater, Value::Date(i32::MIN));
    assert_ne!(found(&loaded, &scan, early).await, ids(&["1"]), "every day is later");
}

#[tokio::test]
async fn constants_of_mariadb() {
    let script = "CREATE TABLE t (id int NOT NULL, d date);\nINSERT INTO t VALUES (1, '2000-01-01');\n";
    let loaded = mariadb("refused_constants", script).await;
    let early = value(1, Comparison::Greater, Value::Date(-800_000));
    let found = found(&loaded, &loaded.scan("t").await, early).await;
    assert_ne!(found, ids(&["1"]), "every day of its calendar is later");
}

/// The engine takes a `\` that nothing follows for itself.
#[tokio::test]
async fn patterns() {
    let pattern = "a\\";
    let text = StringArray::from(vec![pattern]);
    let here = like(&text, &Scalar::new(StringArray::from(vec![pattern]))).expect("matches");
    assert_eq!(here.iter().collect::<Vec<_>>(), [Some(true)]);
    let script = "CREATE TABLE t (id int NOT NULL, s text); INSERT INTO t VALUES (1, 'a\\');";
    let loaded = postgres("patterns", script).await;
    let like = Expr::Like {
        expr: Box::new(Expr::Column(1)),
        pattern: pattern.to_owned(),
    };
    assert_ne!(found(&loaded, &loaded.scan("t").await, like.clone()).await, ids(&["1"]));
    let script =
        "CREATE TABLE t (id int NOT NULL, s varchar(9)) CHARACTER SET utf8mb4;\nINSERT INTO t VALUES (1, 'a\\\\');\n";
    let loaded = mariadb("patterns", script).await;
    assert_eq!(found(&loaded, &loaded.scan("t").await, like).await, ids(&["1"]));
}

#[tokio::test]
async fn spellings_of_sqlite() {
    let loaded = sqlite(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, d DECIMAL(30,2), at TIMESTAMP, b BOOLEAN);
         INSERT INTO t VALUES (1, '0.10', '2000-01-01', 1), (2, '7.00', '2000-01-01 00:00', 'true'), (3, '0.70', NULL, 0);
         CREATE TABLE odd (id INTEGER PRIMARY KEY, d DECIMAL(30,2)); INSERT INTO odd VALUES (1, 1.005), (2, 2);",
    );
    let scan = loaded.scan("t").await;
    let decimal = |unscaled| Value::Decimal {
        unscaled,
        precision: 30,
        scale: 2,
    };
    // Whoever reads a value of another type is told so; a comparison at the source would not say it.
    let odd = loaded.scan("odd").await;
    assert!(loaded.rows(&project(odd.clone(), vec![Expr::Column(1)])).await.is_err());
    let less = filter(odd, value(1, Comparison::Less, decimal(500)));
    assert!(loaded.connector.capabilities().runs(&less).is_err());
    assert_eq!(loaded.rows(&counted(less)).await.ok(), ids(&["2"]));
    let twice = project(
        scan.clone(),
        vec![Expr::Arithmetic {
            op: Arithmetic::Add,
            left: Box::new(Expr::Column(1)),
            right: Box::new(Expr::Value(decimal(20))),
            data_type: DataType::Decimal128(31, 2),
        }],
    );
    let wanted = ["0.30", "0.90", "7.20"];
    assert_ne!(loaded.refused(&twice).await.ok(), ids(&wanted));
    let instants = group(scan.clone(), vec![Expr::Column(2)], vec![]);
    let groups = loaded.refused(&instants).await.map_or(0, |groups| groups.len());
    assert_ne!(groups, 2, "one instant and NULL");
    assert!(
        loaded
            .rows(&project(scan.clone(), vec![Expr::Column(3)]))
            .await
            .is_err()
    );
    let no = filter(scan, value(3, Comparison::Equal, Value::Bool(false)));
    assert!(loaded.connector.capabilities().runs(&no).is_err());
    assert_eq!(loaded.rows(&counted(no)).await.ok(), ids(&["1"]));
}

#[tokio::test]
async fn functions_of_sqlite() {
    let loaded = sqlite(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n BIGINT, s TEXT, d DATE);
         INSERT INTO t VALUES (1, 9223372036854775807, 'a' || char(0) || 'b', '2000-01-01');",
    );
    let scan = loaded.scan("t").await;
    let more = Expr::Arithmetic {
        op: Arithmetic::Add,
        left: Box::new(Expr::Column(1)),
        right: Box::new(Expr::Value(Value::Int(1))),
        data_type: DataType::Int64,
    };
    let above = compare(more, Comparison::Greater, Expr::Value(Value::Int(0)));
    assert!(
        found(&loaded, &scan, above).await.is_some(),
        "an overflow is an error of the engine"
    );
    let substring = project(
        scan.clone(),
        vec![Expr::Substring {
            expr: Box::new(Expr::Column(2)),
            start: 2,
            length: Some(2),
        }],
    );
    assert_ne!(
        loaded.refused(&substring).await.ok(),
        ids(&["\0b"]),
        "a NUL is a character"
    );
    let midnight = Expr::Cast {
        expr: Box::new(Expr::Column(3)),
        data_type: STAMP,
    };
    let equal = compare(
        midnight,
        Comparison::Equal,
        Expr::Value(Value::Timestamp(946_684_800_000_000)),
    );
    assert_ne!(
        found(&loaded, &scan, equal).await,
        ids(&["1"]),
        "a day begins at midnight"
    );
    let constant = project(scan, vec![Expr::Value(Value::TimestampUtc(0))]);
    assert!(loaded.refused(&constant).await.is_err(), "the engine has such values");
}
