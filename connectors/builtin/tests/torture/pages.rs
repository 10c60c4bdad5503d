//! The pages of connectors say what the connectors do: options, types, refused values and pushdown are written by the code.
//!
//! Owns: what is generated, and where it stands on a page. Never: the words around it.
//!
//! With `CALIBER_WRITE_PAGES=1` the pages are written; without, they are compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Capabilities, Connector, Function, OptionKind, Options, RemoteColumn, TypeSet};
use caliber_testkit::torture::{MARIADB, POSTGRES, SQLITE, Torture};
use caliber_testkit::{MariaDb, Postgres};
use datafusion::parquet::arrow::ArrowWriter;
use secrecy::SecretString;

use crate::{open, table};

const CLASSES: &[(&str, DataType)] = &[
    ("booleans", DataType::Boolean),
    ("integers", DataType::Int64),
    ("floats", DataType::Float64),
    ("decimals", DataType::Decimal128(38, 0)),
    ("text", DataType::Utf8),
    ("bytes", DataType::Binary),
    ("dates", DataType::Date32),
    ("timestamps", DataType::Timestamp(TimeUnit::Microsecond, None)),
];

fn classes(set: TypeSet) -> String {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut names: Vec<&str> = CLASSES
        .iter()
        .filter(|(_, data_type)| set.holds(data_type))
        .map(|(name, _)| *name)
        .collect();
    if set.holds(&utc) {
        names.push("timestamps in UTC");
    }
    if names.is_empty() {
        return "no".to_owned();
    }
    names.join(", ")
}

fn function(function: Function) -> &'static str {
    match function {
        Function::Case => "CASE",
        Function::IntegerArithmetic => "`+ - *` of integers",
        Function::DecimalArithmetic => "`+ - *` of decimals",
        Function::NumberCast => "widening of numbers",
        Function::DateCast => "a date as a timestamp",
        Function::DatePart => "`date_part`",
        Function::DateTrunc => "`date_trunc`",
        Function::Substring => "`substr`",
        Function::CharLength => "`char_length`",
    }
}

fn pushdown(capabilities: &Capabilities) -> String {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let functions: Vec<&str> = capabilities.functions.iter().map(|one| function(*one)).collect();
    let functions = match functions.is_empty() {
        true => "no".to_owned(),
        false => functions.join(", "),
    };
    let keys = match capabilities.keys == TypeSet::NONE {
        true => "no".to_owned(),
        false => format!("{}; {} at most", classes(capabilities.keys), capabilities.keys_max),
    };
    let rows = [
        ("`=` `<>` IN", classes(capabilities.equality)),
        ("`<` `<=` `>` `>=` BETWEEN", classes(capabilities.order)),
        ("LIKE", yes(capabilities.like)),
        ("keys of a join with another source", keys),
        ("GROUP BY, DISTINCT", classes(capabilities.group)),
        ("ORDER BY", classes(capabilities.sort)),
        ("`min`, `max`", classes(capabilities.extremes)),
        ("`sum`", classes(capabilities.sums)),
        ("LIMIT", yes(capabilities.limit)),
        ("joins of its tables", yes(capabilities.join)),
        ("UNION ALL", yes(capabilities.union)),
        ("IN and EXISTS over its tables", yes(capabilities.subquery)),
        ("functions", functions),
    ];
    let lines: Vec<String> = rows.iter().map(|(what, of)| format!("| {what} | {of} |")).collect();
    format!("| work | done at the source |\n|---|---|\n{}\n", lines.join("\n"))
}

fn options(kind: &str) -> String {
    let factory = caliber_connectors::FACTORIES
        .iter()
        .find(|factory| factory.kind() == kind);
    let lines: Vec<String> = factory
        .expect("a kind of this build")
        .options()
        .iter()
        .map(|option| {
            let required = if option.required { "yes" } else { "no" };
            let secret = if option.kind == OptionKind::Secret {
                " Never printed."
            } else {
                ""
            };
            format!("| `{}` | {required} | {}{secret} |", option.name, option.description)
        })
        .collect();
    format!("| option | required | what |\n|---|---|---|\n{}\n", lines.join("\n"))
}

/// How a type of Arrow is read on a page.
fn arrow_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(_, None) => "Timestamp(µs)".to_owned(),
        DataType::Timestamp(_, Some(_)) => "Timestamp(µs, UTC)".to_owned(),
        DataType::Time64(_) => "Time64(µs)".to_owned(),
        other => other.to_string().replace(' ', ""),
    }
}

/// A name between backticks, as a table of Markdown takes it.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// The types of the columns as they are declared, those first that are compared at the source.
fn types<'a>(columns: impl Iterator<Item = (&'a str, &'a RemoteColumn)>, capabilities: &Capabilities) -> String {
    let mut found: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
    for (declared, column) in columns {
        let is_compared = column.comparable && capabilities.equality.holds(&column.data_type);
        let declared = match declared {
            "" => "no type".to_owned(),
            declared => code(declared),
        };
        let names = found.entry((!is_compared, arrow_name(&column.data_type))).or_default();
        if !names.contains(&declared) {
            names.push(declared);
        }
    }
    let lines: Vec<String> = found
        .into_iter()
        .map(|((stays, data_type), names)| {
            let compared = if stays { "here" } else { "at the source" };
            format!("| {} | {data_type} | {compared} |", names.join(", "))
        })
        .collect();
    format!(
        "| type there | read as | compared |\n|---|---|---|\n{}\n",
        lines.join("\n")
    )
}

fn refused(torture: &Torture) -> String {
    let lines = torture
        .refused
        .iter()
        .map(|one| format!("| `{}` | `{}` |", one.declared, one.value));
    let lines: Vec<String> = lines.collect();
    format!("| type there | value |\n|---|---|\n{}\n", lines.join("\n"))
}

/// Compares what stands between the marks of `page` with `wanted`, or writes it there.
#[expect(clippy::disallowed_methods, reason = "of a test, not of a product's configuration")]
fn check(kind: &str, wanted: &[(&str, String)]) {
    let path = caliber_testkit::checkout().join(format!("docs/connectors/{kind}.md"));
    let page = std::fs::read_to_string(&path).expect("a page for each connector");
    let mut fresh = page.clone();
    for (name, text) in wanted {
        let (open, close) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
        let (before, rest) = fresh.split_once(&open).unwrap_or_else(|| panic!("{kind}: no `{name}`"));
        let (_, after) = rest
            .split_once(close)
            .unwrap_or_else(|| panic!("{kind}: `{name}` has no end"));
        fresh = format!("{before}{open}\n{text}\n{close}{after}");
    }
    if std::env::var("CALIBER_WRITE_PAGES").is_ok() {
        std::fs::write(&path, &fresh).expect("written");
        return;
    }
    assert!(
        fresh == page,
        "docs/connectors/{kind}.md is stale: CALIBER_WRITE_PAGES=1 cargo test --workspace --test torture pages"
    );
}

async fn check_database(kind: &str, connector: &dyn Connector, torture: &Torture) {
    let table = table(connector, "torture").await;
    let stored = torture.columns.iter().filter(|column| !column.is_generated());
    let declared = stored.map(|column| {
        let declared = column.declared.strip_suffix(" NULL").unwrap_or(column.declared);
        (declared, table.column(column.name).expect("a column"))
    });
    check(
        kind,
        &[
            ("options", options(kind)),
            ("types", types(declared, connector.capabilities())),
            ("refused", refused(torture)),
            ("pushdown", pushdown(connector.capabilities())),
        ],
    );
}

fn at_url(kind: &str, url: String) -> Arc<dyn Connector> {
    open(
        kind,
        Options::default().with("url", OptionValue::Secret(SecretString::from(url))),
    )
}

#[tokio::test]
async fn the_pages_of_databases_say_what_the_code_does() {
    let (postgres, mariadb) = (
        Postgres::shared().expect("a server"),
        MariaDb::shared().expect("a server"),
    );
    let url = postgres.create_database("pages").await.expect("a database");
    postgres.run("pages", &POSTGRES.script()).await.expect("loads");
    check_database("postgres", &*at_url("postgres", url), &POSTGRES).await;
    let url = mariadb.create_database("pages").await.expect("a database");
    mariadb.run("pages", &MARIADB.script()).await.expect("loads");
    check_database("mysql", &*at_url("mysql", url), &MARIADB).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pages.db");
    let database = rusqlite::Connection::open(&path).expect("a database");
    database.execute_batch(&SQLITE.script()).expect("loads");
    let lite = open("sqlite", Options::default().with("path", OptionValue::Path(path)));
    check_database("sqlite", &*lite, &SQLITE).await;
}

#[tokio::test]
async fn the_page_of_flight_sql_says_what_the_code_does() {
    let options_of_source = Options::default()
        .with("url", OptionValue::Secret(SecretString::from("grpc://127.0.0.1:1")))
        .with("schema", OptionValue::Text("ledger".to_owned()));
    let connector = open("flight_sql", options_of_source);
    check(
        "flight_sql",
        &[
            ("options", options("flight_sql")),
            ("pushdown", pushdown(connector.capabilities())),
        ],
    );
}

/// Every type that Parquet files are written with.
fn parquet_types() -> Vec<DataType> {
    use DataType::*;
    let stamps = [TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut types = vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Decimal128(12, 2),
        Decimal256(60, 2),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        FixedSizeBinary(4),
        Date32,
        Date64,
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
    ];
    types.extend(stamps.iter().map(|unit| Timestamp(*unit, None)));
    types.extend(stamps.iter().map(|unit| Timestamp(*unit, Some("+02:00".into()))));
    types.push(Dictionary(Box::new(Int32), Box::new(Utf8)));
    types.push(List(Arc::new(Field::new("item", Int32, true))));
    types.push(Struct(vec![Field::new("a", Int32, true)].into()));
    types
}

#[tokio::test]
async fn the_page_of_files_says_what_the_code_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let named = parquet_types().into_iter().enumerate();
    let fields: Vec<Field> = named
        .map(|(at, data_type)| Field::new(format!("c{at}"), data_type, true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let file = std::fs::File::create(folder.path().join("all.parquet")).expect("a file");
    let mut writer = ArrowWriter::try_new(file, schema.clone(), None).expect("a writer");
    writer.write(&RecordBatch::new_empty(schema.clone())).expect("nothing");
    writer.close().expect("a footer");
    let tables = BTreeMap::from([(
        "torture".to_owned(),
        BTreeMap::from([("path".to_owned(), "all.parquet".to_owned())]),
    )]);
    let options_of_source = Options::default()
        .with("path", OptionValue::Path(folder.path().to_owned()))
        .with("tables", OptionValue::Tables(tables));
    let connector = open("files", options_of_source);
    let table = table(&*connector, "torture").await;
    let declared = table.columns.iter().map(|column| (column.native_type.as_str(), column));
    let absent: Vec<String> = schema
        .fields()
        .iter()
        .filter(|field| table.column(field.name()).is_none())
        .map(|field| code(&field.data_type().to_string()))
        .collect();
    check(
        "files",
        &[
            ("options", options("files")),
            ("types", types(declared, connector.capabilities())),
            ("absent", format!("{}\n", absent.join(", "))),
            ("pushdown", pushdown(connector.capabilities())),
        ],
    );
}
