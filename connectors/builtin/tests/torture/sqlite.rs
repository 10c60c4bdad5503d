//! SQLite beside what the library itself hands over, by storage class: its shell rounds numbers and cuts texts at a NUL.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::DataType;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Options, RemoteColumn};
use caliber_testkit::torture::SQLITE;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::{check_printed, check_refused, open, print};

/// A storage class and what is stored: the digits of a whole number, the bits of another, the bytes of a text.
fn spelt(value: ValueRef<'_>) -> Option<String> {
    Some(match value {
        ValueRef::Null => return None,
        ValueRef::Integer(number) => format!("integer:{number}"),
        ValueRef::Real(number) => format!("real:{}", bits(number)),
        ValueRef::Text(bytes) => format!("text:{}", print::hexadecimal(bytes, true)),
        ValueRef::Blob(bytes) => format!("blob:{}", print::hexadecimal(bytes, true)),
    })
}

fn bits(number: f64) -> String {
    format!("{:016x}", number.to_bits())
}

/// Our value, spelt as the class in which SQLite stores it.
fn printed(_: &RemoteColumn, rows: &RecordBatch, index: usize, row: usize, stored: &str) -> String {
    let array = rows.column(index);
    let ours = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Binary => return format!("blob:{}", print::hexadecimal(array.as_binary::<i32>().value(row), true)),
        DataType::Boolean => u8::from(array.as_boolean().value(row)).to_string(),
        DataType::Decimal128(_, scale) => print::decimal(array, row, *scale),
        DataType::Float64 => {
            let (value, ..) = print::float(array, row);
            format!("{value}")
        }
        DataType::Date32 => date(print::days(array, row)),
        DataType::Timestamp(..) => {
            let micros = print::micros(array, row);
            let (clock, fraction) = print::clock(micros.rem_euclid(print::DAY));
            format!("{} {clock}.{fraction:06}", date(micros.div_euclid(print::DAY)))
        }
        _ => print::integer(array, row).to_string(),
    };
    let (class, spelling) = stored.split_once(':').expect("a class");
    // A number of another class than its column's is the same number.
    let number = || ours.parse::<f64>().expect("a number");
    let spelling = match class {
        "integer" if array.data_type() == &DataType::Int64 => ours,
        "integer" => {
            assert!(number().fract() == 0.0, "{ours}");
            format!("{:.0}", number())
        }
        "real" => bits(number()),
        _ => match array.data_type() {
            // Of the seconds and their fraction, as much as is written.
            DataType::Timestamp(..) => {
                let written = spelling.len() / 2;
                let (head, rest) = ours.split_at(written);
                assert!(rest.bytes().all(|byte| b" :.0".contains(&byte)), "{rest}");
                let head = if spelling.get(20..22) == Some("54") {
                    head.replacen(' ', "T", 1)
                } else {
                    head.to_owned()
                };
                print::hexadecimal(head.as_bytes(), true)
            }
            _ => print::hexadecimal(ours.as_bytes(), true),
        },
    };
    format!("{class}:{spelling}")
}

fn date(days: i64) -> String {
    let (year, month, day) = print::civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

#[tokio::test]
async fn every_declared_type_of_sqlite_is_read_as_it_is_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("torture.db");
    let database = Connection::open(&path).expect("a database");
    database.execute_batch(&SQLITE.script()).expect("loads");
    assert!(SQLITE.columns.len() >= 15);
    let names = std::iter::once("id").chain(SQLITE.columns.iter().map(|column| column.name));
    let names: Vec<String> = names.map(|name| SQLITE.quoted(name)).collect();
    let sql = format!("SELECT {} FROM torture ORDER BY id", names.join(", "));
    let mut statement = database.prepare(&sql).expect("is SQL");
    let rows = statement.query_map([], |row| {
        (0..names.len()).map(|at| Ok(spelt(row.get_ref(at)?))).collect()
    });
    let rows: Vec<Vec<Option<String>>> = rows.expect("runs").collect::<Result<_, _>>().expect("reads");
    let connector = open("sqlite", Options::default().with("path", OptionValue::Path(path)));
    check_printed(&*connector, &SQLITE, &rows, printed).await;
    check_refused(&*connector, &SQLITE).await;
}
