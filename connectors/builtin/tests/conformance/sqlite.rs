//! SQLite: every declared type with rows that careless comparisons confuse, and the suite.

use std::path::Path;

use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Options, SourceSpec};
use caliber_testkit::conformance::{Fixture, NUMBERS, TEXTS, conformance};
use rusqlite::Connection;

use crate::{factory, late, literal, spec};

const TABLES: &str = "
CREATE TABLE hostile (
  id INTEGER PRIMARY KEY, big BIGINT, small TINYINT, f REAL, bare NUMERIC, amount DECIMAL(12,2), truth BOOLEAN,
  day DATE, at TIMESTAMP, name VARCHAR(60), nocase TEXT COLLATE NOCASE, trimmed TEXT COLLATE RTRIM, \"quo\"\"te\" CLOB,
  raw BLOB, untyped, clock TIME);
CREATE INDEX hostile_nocase ON hostile (nocase);
CREATE INDEX hostile_big ON hostile (big);
CREATE TABLE numbers (id INTEGER PRIMARY KEY, label TEXT NOT NULL);
CREATE TABLE late (id INTEGER PRIMARY KEY, number BIGINT, name VARCHAR(9), day DATE);
CREATE VIEW over AS SELECT id, name, nocase || 'x' AS longer FROM hostile;
";

fn rows() -> String {
    let raw = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let quoted = |values: &[&str]| -> Vec<String> {
        values
            .iter()
            .map(|value| format!("'{}'", value.replace('\'', "''")))
            .collect()
    };
    let columns: Vec<Vec<String>> = vec![
        raw(&[
            "-9223372036854775808",
            "-1",
            "0",
            "9007199254740993",
            "9223372036854775807",
        ]),
        raw(&["-128", "0", "127"]),
        raw(&["0.0", "-0.0", "0.1", "-1e308", "5e-324", "9e999", "-9e999"]),
        raw(&["0", "0.5", "9007199254740992", "-1e300"]),
        raw(&["0", "0.01", "-0.01", "9999999999.99", "'-9999999999.99'", "10000"]),
        raw(&["0", "1"]),
        quoted(&["0000-01-01", "1969-12-31", "1970-01-01", "2000-02-29", "9999-12-31"]),
        quoted(&[
            "0001-01-01",
            "1969-12-31 23:59:59.999999",
            "1970-01-01T00:00",
            "9999-12-31 23:59:59.999999",
        ]),
        [quoted(TEXTS), raw(&["'a' || char(0) || 'b'"])].concat(),
        quoted(TEXTS),
        quoted(TEXTS),
        quoted(TEXTS),
        raw(&["x''", "x'00'", "x'00ff27'", "x'61'", "x'6100'", "x'6120'"]),
        raw(&["1", "'1'", "1.5", "'a'", "''"]),
        quoted(&["00:00:00", "23:59:59.999"]),
    ];
    let row = |id: usize| {
        let cells: Vec<&str> = columns.iter().map(|values| literal(values, id)).collect();
        format!("({id}, {})", cells.join(", "))
    };
    let rows: Vec<String> = (0..TEXTS.len() + 3).map(row).collect();
    format!("INSERT INTO hostile VALUES {};", rows.join(",\n"))
}

pub(crate) fn load(path: &Path) {
    let connection = Connection::open(path).expect("a database");
    connection.execute_batch(TABLES).expect("tables");
    connection.execute_batch(&rows()).expect("rows");
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
                   INSERT INTO numbers SELECT i, 'row ' || i FROM n";
    connection
        .execute(numbers, [i64::try_from(NUMBERS).expect("fits")])
        .expect("numbers");
    let late = late("INSERT INTO late (id) SELECT id FROM numbers WHERE id <= {}");
    connection.execute_batch(&late).expect("late");
}

pub(crate) fn at(path: &Path) -> SourceSpec {
    spec(Options::default().with("path", OptionValue::Path(path.to_owned())))
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger-file.db");
    load(&path);
    let text = folder.path().join("not-a-database.db");
    std::fs::write(
        &text,
        "this is no database, and is long enough to be read as the header of one: it is text",
    )
    .expect("a file");
    conformance(&Fixture {
        factory: factory("sqlite"),
        spec: at(&path),
        // The connector's own tests hold the cancel of a long statement: SQLite has no list of running ones to look at.
        slow: None,
        writes: None,
        broken: vec![at(&folder.path().join("absent-file.db")), at(folder.path()), at(&text)],
        secrets: vec!["absent-file".to_owned(), "not-a-database".to_owned()],
    })
    .await;
}
