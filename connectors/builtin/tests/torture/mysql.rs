//! MariaDB beside `mariadb`.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Options, RemoteColumn};
use caliber_testkit::MariaDb;
use caliber_testkit::torture::{Column, MARIADB};
use secrecy::SecretString;

use crate::{check_printed, check_refused, open, print};

/// As `mariadb` prints it.
fn printed(column: &RemoteColumn, rows: &RecordBatch, index: usize, row: usize, _: &str) -> String {
    let array = rows.column(index);
    let native = column.native_type.as_str();
    match array.data_type() {
        DataType::Float32 => float(&cast(array, &DataType::Float64).expect("widens"), row),
        DataType::Float64 => float(array, row),
        DataType::Decimal128(_, scale) => print::decimal(array, row, *scale),
        // The client prints a NUL as a blank.
        DataType::Utf8 => array.as_string::<i32>().value(row).replace('\0', " "),
        DataType::Binary => match array.as_binary::<i32>().value(row) {
            // Nothing in hexadecimal.
            [] => "0x".to_owned(),
            bytes => format!("0x{}", print::hexadecimal(bytes, true)),
        },
        DataType::Date32 => date(print::days(array, row)),
        DataType::Timestamp(..) => {
            let micros = print::micros(array, row);
            let (clock, fraction) = print::clock(micros.rem_euclid(print::DAY));
            let day = date(micros.div_euclid(print::DAY));
            match print::argument(native) {
                Some(6) => format!("{day} {clock}.{fraction:06}"),
                _ => {
                    assert_eq!(fraction, 0);
                    format!("{day} {clock}")
                }
            }
        }
        DataType::Int16 if native.starts_with("year") => format!("{:04}", print::integer(array, row)),
        DataType::UInt64 if native.starts_with("bit") => {
            let bytes = u64::try_from(print::integer(array, row)).expect("fits").to_be_bytes();
            let width = print::argument(native).expect("a width").div_ceil(8);
            format!("0x{}", print::hexadecimal(&bytes[8 - width..], true))
        }
        _ if native.contains("zerofill") => {
            let width = print::argument(native).expect("a width");
            format!("{:0width$}", print::integer(array, row))
        }
        _ => print::integer(array, row).to_string(),
    }
}

fn float(array: &arrow::array::ArrayRef, row: usize) -> String {
    print::float_text(array, row, -15, 15, |exponent| exponent.to_string())
}

fn date(days: i64) -> String {
    let (year, month, day) = print::civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

#[tokio::test]
async fn every_mariadb_type_is_read_as_its_client_prints_it() {
    let mariadb = MariaDb::shared().expect("a server");
    let url = mariadb.create_database("torture").await.expect("a database");
    mariadb.run("torture", &MARIADB.script()).await.expect("loads");
    assert!(MARIADB.columns.len() >= 30);
    let connector = open(
        "mysql",
        Options::default().with("url", OptionValue::Secret(SecretString::from(url))),
    );
    // Of a FLOAT the client shows six digits; of the same number as a DOUBLE, all.
    let shown = |column: &Column| {
        let name = MARIADB.quoted(column.name);
        if column.declared == "float" {
            format!("{name} * 1e0")
        } else {
            name
        }
    };
    let columns: Vec<String> = MARIADB.columns.iter().map(shown).collect();
    let sql = format!("SELECT id, {} FROM torture ORDER BY id", columns.join(", "));
    let rows = mariadb.printed("torture", &sql).expect("mariadb prints");
    check_printed(&*connector, &MARIADB, &rows, printed).await;
    check_refused(&*connector, &MARIADB).await;
}
