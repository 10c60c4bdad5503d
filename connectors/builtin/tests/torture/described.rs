//! What a source says of its tables: nullability, keys, comments, estimates, collations, under names that trip a careless
//! reader.
//!
//! Owns: the tables. Never: a row that is read through a connector.

use arrow::datatypes::DataType;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Options, RemoteTable, SourceSchema};
use caliber_testkit::torture::{MARIADB, POSTGRES, SQLITE, Torture};
use caliber_testkit::{MariaDb, Postgres};
use secrecy::SecretString;

use crate::open;

async fn schema(kind: &str, options: Options) -> SourceSchema {
    open(kind, options).introspect().await.expect("is described")
}

fn url(url: &str) -> Options {
    Options::default().with("url", OptionValue::Secret(SecretString::from(url)))
}

fn table<'a>(schema: &'a SourceSchema, name: &str) -> &'a RemoteTable {
    schema.table(name).unwrap_or_else(|| panic!("no table {name}"))
}

/// Which columns may be NULL.
fn nullable(table: &RemoteTable) -> Vec<&str> {
    let columns = table.columns.iter().filter(|column| column.nullable);
    columns.map(|column| column.name.as_str()).collect()
}

/// A table without rows has the columns of one that has some.
fn check_empty(schema: &SourceSchema, torture: &Torture) {
    let types = |name: &str| -> Vec<(String, DataType, bool)> {
        let columns = table(schema, name).columns.iter();
        columns
            .map(|column| (column.name.clone(), column.data_type.clone(), column.comparable))
            .collect()
    };
    assert_eq!(types("torture"), types("torture_empty"));
    assert_eq!(types("torture").len(), torture.columns.len() + 1);
}

#[tokio::test]
async fn postgres_says_what_its_tables_are() {
    let postgres = Postgres::shared().expect("a server");
    let address = postgres.create_database("described_too").await.expect("a database");
    let script = "
        CREATE DOMAIN price AS numeric(10,2) NOT NULL;
        CREATE DOMAIN low_price AS price;
        CREATE TABLE parent (a int, \"b\nc\" int, b int, c int, PRIMARY KEY (a, \"b\nc\"), UNIQUE (b));
        CREATE TABLE child (id int PRIMARY KEY, x int NOT NULL, y int, cost low_price, name varchar(9) COLLATE \"C\" NOT NULL,
          code text UNIQUE, part int NOT NULL, lower_only text NOT NULL,
          FOREIGN KEY (x, y) REFERENCES parent (a, \"b\nc\"),
          UNIQUE (x, part), UNIQUE (name) DEFERRABLE INITIALLY DEFERRED);
        ALTER TABLE child ADD FOREIGN KEY (y) REFERENCES parent (b) NOT VALID;
        CREATE UNIQUE INDEX ON child (part) WHERE part > 0;
        CREATE UNIQUE INDEX ON child (lower(lower_only));
        COMMENT ON TABLE child IS 'It''s \"1\"'; COMMENT ON COLUMN child.y IS E'two\nlines';
        CREATE VIEW seen AS SELECT id, name FROM child;
        CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one;
        CREATE TABLE whole (id int PRIMARY KEY, at date NOT NULL) PARTITION BY RANGE (id);
        CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (0) TO (10);
        INSERT INTO child SELECT n, n, NULL, n, n::text, NULL, n, n::text FROM generate_series(1, 50) n WHERE false;
        INSERT INTO parent SELECT n, n, NULL, NULL FROM generate_series(1, 50) n;
        CREATE TABLE never (id int); ANALYZE parent;";
    postgres.run("described_too", script).await.expect("loads");
    let found = schema("postgres", url(&address)).await;
    let names: Vec<&str> = found.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["child", "kept", "never", "parent", "seen", "whole"]);
    let (parent, child) = (table(&found, "parent"), table(&found, "child"));
    assert_eq!(parent.primary_key, ["a", "b\nc"]);
    assert!(
        parent.unique_keys.is_empty(),
        "`b` may be NULL: {:?}",
        parent.unique_keys
    );
    assert_eq!(
        (parent.rows_estimate, table(&found, "never").rows_estimate),
        (Some(50), None)
    );
    assert_eq!(nullable(child), ["y", "cost", "code"]);
    assert_eq!(child.primary_key, ["id"]);
    assert_eq!(
        child.unique_keys,
        [vec!["x", "part"], vec!["name"]],
        "no part of rows, no expression"
    );
    assert_eq!(child.foreign_keys.len(), 1, "one that was not validated need not hold");
    assert_eq!(child.foreign_keys[0].target_columns, ["a", "b\nc"]);
    assert_eq!(
        child.column("cost").expect("a column").data_type,
        DataType::Decimal128(10, 2)
    );
    assert_eq!(
        child.column("name").expect("a column").native_type,
        "character varying(9) collate C"
    );
    assert_eq!(child.comment.as_deref(), Some("It's \"1\""));
    assert_eq!(
        child.column("y").and_then(|column| column.comment.as_deref()),
        Some("two\nlines")
    );
    assert!(table(&found, "seen").is_view && table(&found, "kept").is_view);
    assert_eq!(
        nullable(table(&found, "seen")),
        ["id", "name"],
        "a view keeps nothing out"
    );
    assert_eq!(table(&found, "whole").primary_key, ["id"]);
}

#[tokio::test]
async fn mariadb_says_what_its_tables_are() {
    let mariadb = MariaDb::shared().expect("a server");
    let address = mariadb.create_database("described_too").await.expect("a database");
    let script = "CREATE TABLE parent (a int, `b\nc` int, b int NOT NULL, c int NOT NULL, PRIMARY KEY (a, `b\nc`), UNIQUE (b)) COMMENT 'It''s \"1\"';
CREATE TABLE newline (a int NOT NULL, b int NOT NULL, `a\nb` int NOT NULL, UNIQUE (`a\nb`));
CREATE TABLE child (id bigint PRIMARY KEY, x int NOT NULL, y int NULL COMMENT 'two\nlines', name varchar(9) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL,
  code varchar(9) UNIQUE, part int NOT NULL, UNIQUE (name(3)), UNIQUE (x, part), FOREIGN KEY (x, y) REFERENCES parent (a, `b\nc`),
  FOREIGN KEY (part) REFERENCES parent (b));
CREATE VIEW seen AS SELECT id, name FROM child;
CREATE TABLE places (id int PRIMARY KEY, place point, shape polygon);
INSERT INTO parent SELECT seq, seq, seq, seq FROM seq_1_to_50;
ANALYZE TABLE parent;
";
    mariadb.run("described_too", script).await.expect("loads");
    let found = schema("mysql", url(&address)).await;
    let (parent, child) = (table(&found, "parent"), table(&found, "child"));
    assert_eq!(parent.primary_key, ["a", "b\nc"]);
    assert_eq!(parent.unique_keys, [["b"]]);
    assert_eq!(parent.comment.as_deref(), Some("It's \"1\""));
    assert_eq!(parent.rows_estimate, Some(50));
    // A name with a line's end is one name, and no key of two columns.
    assert_eq!(table(&found, "newline").unique_keys, [["a\nb"]]);
    assert_eq!(nullable(child), ["y", "code"]);
    assert_eq!(
        child.unique_keys,
        [["x", "part"]],
        "no prefix, nothing that may be NULL"
    );
    let targets: Vec<&[String]> = child
        .foreign_keys
        .iter()
        .map(|key| key.target_columns.as_slice())
        .collect();
    assert_eq!(targets, [["a", "b\nc"].as_slice(), ["b"].as_slice()]);
    let name = child.column("name").expect("a column");
    assert_eq!(name.native_type, "varchar(9) character set latin1 collate latin1_bin");
    assert_eq!(
        child.column("y").and_then(|column| column.comment.as_deref()),
        Some("two\nlines")
    );
    assert!(table(&found, "seen").is_view);
    // A type without a counterpart costs its own column alone, and is told.
    let places = table(&found, "places");
    assert_eq!((places.columns.len(), places.primary_key.len()), (1, 1));
    assert!(
        ["`places.place` (point)", "`places.shape` (polygon)"]
            .iter()
            .all(|column| {
                let told = |notice: &String| notice.starts_with(column) && notice.contains("left out");
                found.notices.iter().any(told)
            })
    );
}

#[tokio::test]
async fn sqlite_says_what_its_tables_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("described.db");
    let script = "
        CREATE TABLE parent (a INT, b INT, c INT NOT NULL, PRIMARY KEY (a, b), UNIQUE (c)) WITHOUT ROWID;
        CREATE TABLE child (id INTEGER PRIMARY KEY, x INT NOT NULL, y INT, name TEXT NOT NULL UNIQUE, f REAL NOT NULL UNIQUE,
          double_y AS (y * 2), FOREIGN KEY (x, y) REFERENCES parent, FOREIGN KEY (y) REFERENCES parent (c));
        CREATE UNIQUE INDEX some ON child (x) WHERE x > 0;
        CREATE UNIQUE INDEX lower_name ON child (lower(name));
        CREATE TABLE loose (id INT PRIMARY KEY, n INT);
        CREATE TABLE backwards (id INTEGER PRIMARY KEY DESC, n INT);
        CREATE VIEW seen AS SELECT id, name FROM child;
        CREATE VIEW broken AS SELECT missing FROM nowhere;
        CREATE VIRTUAL TABLE words USING fts5(body);
        INSERT INTO child (x, name, f) VALUES (1, 'a', 1), (2, 'b', 2);";
    let database = rusqlite::Connection::open(&path).expect("a database");
    database.execute_batch(script).expect("loads");
    let found = schema("sqlite", Options::default().with("path", OptionValue::Path(path))).await;
    let (parent, child) = (table(&found, "parent"), table(&found, "child"));
    assert_eq!(parent.primary_key, ["a", "b"]);
    assert!(nullable(parent).is_empty(), "a key without row numbers is never NULL");
    assert_eq!(parent.unique_keys, [["c"]]);
    assert_eq!(child.primary_key, ["id"]);
    assert_eq!(nullable(child), ["y", "double_y"]);
    // What is not compared exactly there is no key here.
    assert_eq!(child.unique_keys, [["name"]]);
    assert_eq!(child.rows_estimate, Some(2));
    let targets: Vec<&[String]> = child
        .foreign_keys
        .iter()
        .map(|key| key.target_columns.as_slice())
        .collect();
    assert_eq!(targets, [["c"].as_slice(), ["a", "b"].as_slice()]);
    // SQLite lets NULL into a key that is not the row's number.
    for name in ["loose", "backwards"] {
        assert!(table(&found, name).primary_key.is_empty(), "{name}");
    }
    assert!(table(&found, "seen").is_view);
    let told = |word: &str| found.notices.iter().any(|notice| notice.contains(word));
    assert!(told("`broken`") && told("`words`"), "{:?}", found.notices);
}

#[tokio::test]
async fn a_table_without_rows_has_the_same_columns() {
    let (postgres, mariadb) = (
        Postgres::shared().expect("a server"),
        MariaDb::shared().expect("a server"),
    );
    let address = postgres.create_database("nothing").await.expect("a database");
    postgres.run("nothing", &POSTGRES.script()).await.expect("loads");
    check_empty(&schema("postgres", url(&address)).await, &POSTGRES);
    let address = mariadb.create_database("nothing").await.expect("a database");
    mariadb.run("nothing", &MARIADB.script()).await.expect("loads");
    check_empty(&schema("mysql", url(&address)).await, &MARIADB);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nothing.db");
    let database = rusqlite::Connection::open(&path).expect("a database");
    database.execute_batch(&SQLITE.script()).expect("loads");
    check_empty(
        &schema("sqlite", Options::default().with("path", OptionValue::Path(path))).await,
        &SQLITE,
    );
}
