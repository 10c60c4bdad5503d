//! PostgreSQL beside `psql`.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::DataType;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{ErrorClass, Options, RemoteColumn};
use caliber_testkit::Postgres;
use caliber_testkit::torture::POSTGRES;
use secrecy::SecretString;

use crate::{check_printed, check_refused, open, print, table, whole};

/// As `psql` prints it.
fn printed(column: &RemoteColumn, rows: &RecordBatch, index: usize, row: usize, _: &str) -> String {
    let array = rows.column(index);
    match array.data_type() {
        DataType::Boolean if array.as_boolean().value(row) => "t".to_owned(),
        DataType::Boolean => "f".to_owned(),
        DataType::Float32 => float(array, row, 6),
        DataType::Float64 => float(array, row, 15),
        DataType::Decimal128(_, scale) => print::decimal(array, row, *scale),
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            match column.native_type.strip_prefix("character(") {
                // Blanks at the end of a `char(n)` are no part of it; the client shows them.
                Some(_) => {
                    let width = print::argument(&column.native_type).expect("a length");
                    format!("{text:<width$}")
                }
                None => text.to_owned(),
            }
        }
        DataType::Binary => format!("\\x{}", print::hexadecimal(array.as_binary::<i32>().value(row), false)),
        DataType::Date32 => {
            let (day, era) = date(print::days(array, row));
            format!("{day}{era}")
        }
        DataType::Timestamp(_, zone) => {
            let micros = print::micros(array, row);
            let (day, era) = date(micros.div_euclid(print::DAY));
            let zone = if zone.is_some() { "+00" } else { "" };
            format!("{day} {}{zone}{era}", clock(micros.rem_euclid(print::DAY)))
        }
        DataType::Time64(_) => clock(print::of_day(array, row)),
        _ => print::integer(array, row).to_string(),
    }
}

fn float(array: &arrow::array::ArrayRef, row: usize, digits: i32) -> String {
    let (value, ..) = print::float(array, row);
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => print::float_text(array, row, -4, digits, |exponent| {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{:02}", exponent.abs())
        }),
    }
}

fn date(days: i64) -> (String, &'static str) {
    let (year, month, day) = print::civil(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

fn clock(micros: i64) -> String {
    let (clock, fraction) = print::clock(micros);
    match fraction {
        0 => clock,
        fraction => format!("{clock}.{}", format!("{fraction:06}").trim_end_matches('0')),
    }
}

#[tokio::test]
async fn every_postgres_type_is_read_as_psql_prints_it() {
    let postgres = Postgres::shared().expect("a server");
    let url = postgres.create_database("torture").await.expect("a database");
    postgres.run("torture", &POSTGRES.script()).await.expect("loads");
    assert!(POSTGRES.columns.len() >= 40);
    let connector = open(
        "postgres",
        Options::default().with("url", OptionValue::Secret(SecretString::from(url))),
    );
    let rows = postgres
        .printed("torture", "SELECT * FROM public.torture ORDER BY id")
        .expect("psql prints");
    check_printed(&*connector, &POSTGRES, &rows, printed).await;
    check_refused(&*connector, &POSTGRES).await;
}

/// A database of another encoding is read in UTF-8; one of no encoding may hold what is none.
#[tokio::test]
async fn text_of_any_encoding_is_read_or_refused() {
    let postgres = Postgres::shared().expect("a server");
    for (name, encoding) in [("latin", "LATIN1"), ("no_encoding", "SQL_ASCII")] {
        let create =
            format!("CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        postgres.run("postgres", &create).await.expect("a database");
        let script = "CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t VALUES (1, 'Žd\u{e9}'::text);";
        let script = match encoding {
            "LATIN1" => script.replace('Ž', ""),
            _ => script.to_owned(),
        };
        postgres.run(name, &script).await.expect("loads");
        let url = OptionValue::Secret(SecretString::from(postgres.url(name)));
        let connector = open("postgres", Options::default().with("url", url));
        let described = table(&*connector, "t").await;
        assert!(!described.column("s").expect("a column").comparable, "{encoding}");
        let rows = whole(&*connector, &described, 10).await.expect("reads");
        let expected = postgres.printed(name, "SELECT s FROM public.t").expect("psql prints");
        assert_eq!(
            Some(rows.column(1).as_string::<i32>().value(0)),
            expected[0][0].as_deref()
        );
    }
    let broken = "INSERT INTO t VALUES (2, E'a\\xff')";
    postgres
        .run("no_encoding", broken)
        .await
        .expect("SQL_ASCII takes any byte");
    let url = OptionValue::Secret(SecretString::from(postgres.url("no_encoding")));
    let connector = open("postgres", Options::default().with("url", url));
    let described = table(&*connector, "t").await;
    let error = whole(&*connector, &described, 10).await.expect_err("no UTF-8");
    assert_eq!(error.class, ErrorClass::Data);
    // The server finds it before it sends the row, and does not say where.
    assert!(error.message.ends_with("(SQLSTATE 22021)"), "{error}");
}
