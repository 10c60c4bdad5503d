//! MariaDB: its types, its collations, and the suite.

use arrow::datatypes::{DataType, TimeUnit};
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Options, SourceSpec};
use caliber_testkit::MariaDb;
use caliber_testkit::conformance::faults::{Networked, broken_network, mysql_messages};
use caliber_testkit::conformance::{Fixture, NUMBERS, Slow, TEXTS, conformance};
use secrecy::SecretString;

use crate::{factory, late, literal, spec};

const TABLES: &str = "
CREATE TABLE hostile (
  id int NOT NULL PRIMARY KEY, tiny tinyint, truth tinyint(1), utiny tinyint unsigned, small smallint,
  usmall smallint unsigned, med mediumint, uint int unsigned, big bigint, ubig bigint unsigned,
  amount decimal(12,2), wide decimal(38,10), vast decimal(60,2), f float, d double,
  general varchar(60) COLLATE utf8mb4_general_ci, bin varchar(60) COLLATE utf8mb4_bin,
  nopad varchar(60) COLLATE utf8mb4_unicode_nopad_ci, code char(30) COLLATE utf8mb4_general_ci,
  latin varchar(60) CHARACTER SET latin1, three varchar(60) CHARACTER SET utf8mb3, `back``tick` text COLLATE utf8mb4_unicode_ci,
  pick enum('a', 'A2', 'b'), some set('x', 'y'), raw varbinary(20), fixed binary(4),
  day date, at datetime(6), second datetime, at_utc timestamp(6) NULL, hour time(3), y year, bits bit(10),
  ref uuid, host inet6, doc json, place point) COMMENT 'Everything at once' CHARACTER SET utf8mb4;
CREATE TABLE numbers (id int NOT NULL PRIMARY KEY, label varchar(40) NOT NULL) CHARACTER SET utf8mb4;
CREATE TABLE child (id bigint NOT NULL PRIMARY KEY, number int NOT NULL, UNIQUE (number, id),
  FOREIGN KEY (number) REFERENCES numbers (id));
CREATE TABLE parent_by_name (name varchar(20) PRIMARY KEY) CHARACTER SET utf8mb4;
CREATE TABLE child_by_name (name varchar(20) NOT NULL, FOREIGN KEY (name) REFERENCES parent_by_name (name)) CHARACTER SET utf8mb4;
CREATE TABLE late (id int NOT NULL PRIMARY KEY, number bigint, name varchar(9), day date) CHARACTER SET utf8mb4;
CREATE VIEW slow AS SELECT SLEEP(60) AS waited;
CREATE TABLE written (n int);
CREATE FUNCTION bump() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO written VALUES (1); RETURN 1; END;
CREATE VIEW writes AS SELECT bump() AS n;
CREATE TABLE zeros (id int NOT NULL PRIMARY KEY, day date NOT NULL, at datetime NOT NULL);
";

fn quoted(values: &[&str]) -> Vec<String> {
    values
        .iter()
        .map(|value| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''")))
        .collect()
}

fn rows() -> String {
    let raw = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let names: Vec<&str> = TEXTS.iter().copied().filter(|text| text.len() < 26).collect();
    let basic: Vec<&str> = TEXTS
        .iter()
        .copied()
        .filter(|text| text.chars().all(|c| u32::from(c) < 0x1_0000))
        .collect();
    let latin: Vec<&str> = TEXTS
        .iter()
        .copied()
        .filter(|text| text.chars().all(|c| u32::from(c) < 0x100))
        .collect();
    let columns: Vec<Vec<String>> = vec![
        raw(&["-128", "-1", "0", "127"]),
        raw(&["0", "1", "2"]),
        raw(&["0", "255"]),
        raw(&["-32768", "32767"]),
        raw(&["0", "65535"]),
        raw(&["-8388608", "8388607"]),
        raw(&["0", "4294967295"]),
        raw(&[
            "-9223372036854775808",
            "-1",
            "0",
            "9007199254740993",
            "9223372036854775807",
        ]),
        raw(&["0", "9007199254740993", "9223372036854775808", "18446744073709551615"]),
        raw(&["0", "0.01", "-0.01", "9999999999.99", "-9999999999.99", "10000"]),
        raw(&["0", "9999999999999999999999999999.9999999999", "-0.0000000001"]),
        raw(&["1.10", "1e50"]),
        raw(&["0", "1.5", "-3.4e38"]),
        raw(&["0", "0.1", "-1e308"]),
        [quoted(TEXTS), raw(&["'a\\0b'"])].concat(),
        quoted(TEXTS),
        quoted(TEXTS),
        quoted(&names),
        quoted(&latin),
        quoted(&basic),
        quoted(TEXTS),
        quoted(&["a", "A2", "b"]),
        quoted(&["", "x", "x,y"]),
        raw(&["''", "0x00", "0x00ff27", "0x61", "0x6100", "0x6120"]),
        raw(&["0x61", "0x6120", "0xffffffff"]),
        quoted(&["0001-01-01", "1969-12-31", "1970-01-01", "2000-02-29", "9999-12-31"]),
        quoted(&[
            "0001-01-01",
            "1969-12-31 23:59:59.999999",
            "1970-01-01",
            "9999-12-31 23:59:59.999999",
        ]),
        quoted(&[
            "0001-01-01",
            "1969-12-31 23:59:59",
            "2024-06-01 12:00",
            "9999-12-31 23:59:59",
        ]),
        quoted(&[
            "1970-01-01 00:00:01",
            "2024-06-01 12:00:00.000001",
            "2038-01-19 03:14:07.999999",
        ]),
        quoted(&["-838:59:59", "00:00:00.001", "838:59:59"]),
        raw(&["1901", "2155"]),
        raw(&["0", "b'1111111111'"]),
        quoted(&["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        quoted(&["::1", "::ffff:10.0.0.1"]),
        quoted(&["{\"a\": [1, null]}"]),
        raw(&["POINT(1, 2)"]),
    ];
    let row = |id: usize| {
        let cells: Vec<&str> = columns.iter().map(|values| literal(values, id)).collect();
        format!("({id}, {})", cells.join(", "))
    };
    let rows: Vec<String> = (0..TEXTS.len() + 3).map(row).collect();
    // The test's own session is in UTC for what it writes into a TIMESTAMP.
    format!(
        "SET time_zone = '+00:00';\nINSERT INTO hostile VALUES {};\n",
        rows.join(",\n")
    )
}

async fn load(database: &str) -> String {
    let mariadb = MariaDb::shared().expect("a server");
    let url = mariadb.create_database(database).await.expect("a database");
    let numbers = format!(
        "INSERT INTO numbers SELECT seq, CONCAT('row ', seq) FROM seq_0_to_{};\n",
        NUMBERS - 1
    );
    let zeros = "SET sql_mode = '';\nINSERT INTO zeros VALUES (1, '0000-00-00', '2000-01-01'), (2, '2000-00-00', '2000-01-01');\n";
    let late = late("INSERT INTO late (id) SELECT seq FROM seq_0_to_{}");
    for script in [TABLES, &rows(), &numbers, &late, zeros] {
        mariadb.run(database, script).await.expect("loads");
    }
    url
}

fn at(url: &str) -> SourceSpec {
    spec(Options::default().with("url", OptionValue::Secret(SecretString::from(url))))
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_passes_the_suite() {
    let url = load("suite").await;
    let mariadb = MariaDb::shared().expect("a server");
    let wrong = url.replace(mariadb.password(), "Other-Secret-1");
    let closed = url.replace(&format!(":{}/", mariadb.port()), ":1/");
    let fixture = Fixture {
        factory: factory("mysql"),
        spec: at(&url),
        slow: Some(Slow {
            view: "slow",
            running: Box::new(|| {
                Box::pin(async {
                    MariaDb::shared()
                        .expect("a server")
                        .running("suite")
                        .await
                        .expect("a count")
                })
            }),
        }),
        writes: Some("writes"),
        broken: vec![
            at(&wrong),
            at(&closed),
            at("mysql://user:Other-Secret-1@:bad:url"),
            at(&format!("{url}_absent")),
        ],
        secrets: vec![mariadb.password().to_owned(), "Other-Secret-1".to_owned()],
    };
    conformance(&fixture).await;
    let networked = Networked {
        factory: factory("mysql"),
        port: mariadb.port(),
        at: Box::new(move |port| at(&url.replace(&format!(":{}/", mariadb.port()), &format!(":{port}/")))),
        messages: mysql_messages,
        secrets: fixture.secrets,
    };
    broken_network(&networked, 40).await;
    assert_eq!(
        mariadb
            .value("suite", "SELECT COUNT(*) FROM written")
            .await
            .expect("a count"),
        "0"
    );
}

#[tokio::test]
async fn a_database_is_described_as_it_is() {
    let url = load("described").await;
    let connector = factory("mysql").open(&at(&url)).expect("opens");
    let schema = connector.introspect().await.expect("is described");
    let hostile = schema.table("hostile").expect("a table");
    assert_eq!(hostile.comment.as_deref(), Some("Everything at once"));
    assert_eq!(hostile.primary_key, ["id"]);
    let check = |name: &str, data_type: DataType, comparable: bool| {
        let column = hostile.column(name).unwrap_or_else(|| panic!("no column {name}"));
        assert_eq!(
            (&column.data_type, column.comparable),
            (&data_type, comparable),
            "{name}"
        );
    };
    check("truth", DataType::Int8, true);
    check("utiny", DataType::UInt8, true);
    check("uint", DataType::UInt32, true);
    check("ubig", DataType::UInt64, true);
    check("wide", DataType::Decimal128(38, 10), true);
    check("vast", DataType::Utf8, false);
    check("back`tick", DataType::Utf8, true);
    check("at", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    check(
        "at_utc",
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        true,
    );
    check("hour", DataType::Utf8, false);
    check("y", DataType::Int16, true);
    check("bits", DataType::UInt64, true);
    check("fixed", DataType::Binary, true);
    assert!(hostile.column("place").is_none());
    let notices = schema.notices.join("\n");
    assert!(
        notices.contains("`hostile.place` (point)") && notices.contains("`hostile.vast`"),
        "{notices}"
    );
    let child = schema.table("child").expect("a table");
    assert_eq!(child.unique_keys, [["number", "id"]]);
    assert_eq!(child.foreign_keys.len(), 1);
    let by_name = schema.table("child_by_name").expect("a table");
    assert!(
        by_name.foreign_keys.is_empty(),
        "its collation holds more equal than its bytes"
    );
}
