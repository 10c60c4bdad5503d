//! PostgreSQL: its types, its collations, and the suite.

use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::{Options, SourceSchema, SourceSpec};
use caliber_testkit::Postgres;
use caliber_testkit::conformance::faults::{Networked, broken_network, postgres_messages};
use caliber_testkit::conformance::{Fixture, NUMBERS, Slow, TEXTS, conformance};
use secrecy::SecretString;

use crate::{factory, late, literal, spec};

const TABLES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'OK', 'ok', 'Sad');
CREATE DOMAIN price AS numeric(10,2);
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE hostile (
  id int4 PRIMARY KEY, truth bool, small int2, big int8, real4 float4, real8 float8,
  amount numeric(12,2), wide numeric(38,10), cost price, bare numeric, vast numeric(60,2),
  plain text, \"Quoted \"\"Näme\" varchar(40), code char(30), english text COLLATE \"en-x-icu\",
  slack text COLLATE loose, tag name, feeling mood, key uuid, doc jsonb, raw bytea,
  day date, at timestamp, at_utc timestamptz, hour time, list int[], span interval, host inet, bits bit(3), cash money);
COMMENT ON TABLE hostile IS 'Everything at once';
COMMENT ON COLUMN hostile.amount IS '金额';
CREATE UNIQUE INDEX ON hostile (code);
CREATE TABLE numbers (id int4 PRIMARY KEY, label text NOT NULL, twin int4 UNIQUE);
CREATE TABLE child (id int8 PRIMARY KEY, number int4 NOT NULL REFERENCES numbers (id), UNIQUE (number, id));
CREATE TABLE late (id int4 PRIMARY KEY, number int8, name text, day date);
CREATE VIEW slow AS SELECT pg_sleep(60)::text AS waited;
CREATE SEQUENCE counter;
CREATE VIEW writes AS SELECT nextval('counter') AS n;
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.hidden (id int);
";

fn quoted(values: &[&str]) -> Vec<String> {
    values
        .iter()
        .map(|value| format!("'{}'", value.replace('\'', "''")))
        .collect()
}

fn rows() -> String {
    let raw = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let names: Vec<&str> = TEXTS.iter().copied().filter(|text| text.len() < 40).collect();
    let columns: Vec<Vec<String>> = vec![
        raw(&["true", "false"]),
        raw(&["-32768", "-1", "0", "1", "32767"]),
        raw(&[
            "-9223372036854775808",
            "-1",
            "0",
            "9007199254740993",
            "9223372036854775807",
        ]),
        quoted(&["0", "-0", "1.5", "NaN", "Infinity", "-1e-38"]),
        quoted(&["0", "-0", "0.1", "NaN", "-Infinity", "1e308"]),
        raw(&[
            "0",
            "0.01",
            "-0.01",
            "9999999999.99",
            "-9999999999.99",
            "10",
            "10000",
            "1000000.5",
        ]),
        raw(&[
            "0",
            "9999999999999999999999999999.9999999999",
            "-0.0000000001",
            "10000000000000000000000000000 - 1",
        ]),
        raw(&["1.10", "-99999999.99"]),
        quoted(&["1.10", "1.1", "NaN", "123456789012345678901234567890.123456789"]),
        raw(&["1.10", "1e50"]),
        quoted(TEXTS),
        quoted(&names),
        quoted(&names),
        quoted(TEXTS),
        quoted(TEXTS),
        quoted(&names),
        quoted(&["sad", "OK", "ok", "Sad"]),
        quoted(&[
            "00000000-0000-0000-0000-000000000000",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ]),
        quoted(&["{\"b\": 1, \"a\": [1.0, null]}", "\"x\""]),
        quoted(&["", "\\x00", "\\x00ff27", "\\x61", "\\x6100"]),
        quoted(&[
            "0001-01-01",
            "1969-12-31",
            "1970-01-01",
            "2000-02-29",
            "9999-12-31",
            "4713-01-01 BC",
        ]),
        quoted(&[
            "0001-01-01",
            "1969-12-31 23:59:59.999999",
            "1970-01-01",
            "9999-12-31 23:59:59.999999",
        ]),
        quoted(&[
            "0001-01-01 00:00:00+00",
            "1969-12-31 23:59:59.999999+00",
            "2024-06-01 12:00+02",
            "9999-12-31+00",
        ]),
        quoted(&["00:00", "23:59:59.999999"]),
        quoted(&["{1,NULL,3}", "{}"]),
        quoted(&["1 year 2 days", "-3 hours"]),
        quoted(&["10.0.0.1", "::1/64"]),
        quoted(&["101", "000"]),
        quoted(&["12.30"]),
    ];
    // The char(30) column has a unique key that NULLs do not break, but padding would: the row's number stands first.
    let code = 12;
    let row = |id: usize| {
        let cells = columns.iter().enumerate().map(|(at, values)| match at {
            _ if at == code => match literal(values, id) {
                "NULL" => "NULL".to_owned(),
                text => format!("'{id}' || {text}"),
            },
            _ => literal(values, id).to_owned(),
        });
        format!("({id}, {})", cells.collect::<Vec<_>>().join(", "))
    };
    let rows: Vec<String> = (0..TEXTS.len() + 3).map(row).collect();
    format!("INSERT INTO hostile VALUES {};", rows.join(",\n"))
}

async fn load(database: &str) -> String {
    let postgres = Postgres::shared().expect("a server");
    let url = postgres.create_database(database).await.expect("a database");
    let numbers = format!(
        "INSERT INTO numbers SELECT n, 'row ' || n FROM generate_series(0, {}) n;",
        NUMBERS - 1
    );
    let late = late("INSERT INTO late (id) SELECT n FROM generate_series(0, {}) n");
    for script in [TABLES, &rows(), &numbers, &late, "ANALYZE"] {
        postgres.run(database, script).await.expect("loads");
    }
    url
}

fn at(url: &str) -> SourceSpec {
    spec(Options::default().with("url", secret(url)))
}

fn secret(url: &str) -> caliber_catalog::source::OptionValue {
    caliber_catalog::source::OptionValue::Secret(SecretString::from(url))
}

async fn described(url: &str) -> SourceSchema {
    factory("postgres")
        .open(&at(url))
        .expect("opens")
        .introspect()
        .await
        .expect("is described")
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_passes_the_suite() {
    let url = load("suite").await;
    let postgres = Postgres::shared().expect("a server");
    let wrong = url.replace(postgres.password(), "Other-Secret-1");
    let closed = url.replace(&format!(":{}/", postgres.port()), ":1/");
    let fixture = Fixture {
        factory: factory("postgres"),
        spec: at(&url),
        slow: Some(Slow {
            view: "slow",
            running: Box::new(|| {
                Box::pin(async {
                    Postgres::shared()
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
            at("postgres://user:Other-Secret-1@:bad:url"),
            at(&format!("{url}_absent")),
        ],
        secrets: vec![postgres.password().to_owned(), "Other-Secret-1".to_owned()],
    };
    conformance(&fixture).await;
    let networked = Networked {
        factory: factory("postgres"),
        port: postgres.port(),
        at: Box::new(move |port| at(&url.replace(&format!(":{}/", postgres.port()), &format!(":{port}/")))),
        messages: postgres_messages,
        secrets: fixture.secrets,
    };
    broken_network(&networked, 40).await;
}

#[tokio::test]
async fn a_schema_is_described_as_it_is() {
    let schema = described(&load("described").await).await;
    let names: Vec<&str> = schema.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["child", "hostile", "late", "numbers", "slow", "writes"]);
    let hostile = schema.table("hostile").expect("a table");
    assert_eq!(hostile.comment.as_deref(), Some("Everything at once"));
    assert_eq!(hostile.primary_key, ["id"]);
    assert!(hostile.unique_keys.is_empty(), "`code` may be NULL");
    assert_eq!(hostile.rows_estimate, Some(TEXTS.len() as u64 + 3));
    let check = |name: &str, data_type: DataType, comparable: bool| {
        let column = hostile.column(name).unwrap_or_else(|| panic!("no column {name}"));
        assert_eq!(
            (&column.data_type, column.comparable),
            (&data_type, comparable),
            "{name}"
        );
    };
    check("truth", DataType::Boolean, true);
    check("small", DataType::Int16, true);
    check("amount", DataType::Decimal128(12, 2), true);
    check("wide", DataType::Decimal128(38, 10), true);
    check("cost", DataType::Decimal128(10, 2), true);
    check("bare", DataType::Utf8, false);
    check("vast", DataType::Utf8, false);
    check("Quoted \"Näme", DataType::Utf8, true);
    check("slack", DataType::Utf8, false);
    check("doc", DataType::Utf8, false);
    check("raw", DataType::Binary, true);
    check("at", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    check(
        "at_utc",
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        true,
    );
    check("list", DataType::Utf8, false);
    assert_eq!(
        hostile.column("amount").and_then(|column| column.comment.as_deref()),
        Some("金额")
    );
    let notices = schema.notices.join("\n");
    assert!(
        notices.contains("`hostile.bare`") && notices.contains("`hostile.vast`"),
        "{notices}"
    );
    let child = schema.table("child").expect("a table");
    assert_eq!(child.unique_keys, [["number", "id"]]);
    assert_eq!(child.foreign_keys.len(), 1);
    assert_eq!(child.foreign_keys[0].target, "numbers");
    assert!(schema.table("slow").expect("a view").is_view);
}
