//! Files in a folder and in an object store: every type with rows that careless comparisons confuse, and the suite.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{Field, Schema};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use arrow::json::LineDelimitedWriter;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{
    Connector, ConnectorError, ErrorClass, Options, QueryContext, RemoteQuery, RemoteTable, SourceSpec, StatementLog,
};
use caliber_testkit::conformance::{Fixture, LATE, LATE_DAY, LATE_NAME, LATE_NUMBER, NUMBERS, TEXTS, conformance};
use caliber_testkit::{Fault, Proxy, Rule, S3Server, Toward};
use datafusion::parquet::arrow::ArrowWriter;
use futures::TryStreamExt;

use crate::{factory, spec};

/// A column that runs through `values`, the last place of each round being NULL.
fn round<T: Clone, A: FromIterator<Option<T>>>(values: &[T]) -> A {
    (0..TEXTS.len() + 3)
        .map(|row| values.get(row % (values.len() + 1)).cloned())
        .collect()
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), *name != "id");
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect()).expect("a batch")
}

fn ids(rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(
        (0..rows).map(|id| i64::try_from(id).expect("fits")),
    ))
}

fn hostile() -> RecordBatch {
    let raw: Vec<&[u8]> = vec![b"", b"\0", b"a", b"a\0", b"a ", b"\xff"];
    let amounts: Decimal128Array = round(&[0, 1, -1, 999_999_999_999, -999_999_999_999]);
    let at: TimestampMicrosecondArray = round(&[0, -1, 253_402_300_799_999_999, -62_135_596_800_000_000]);
    table(vec![
        ("id", ids(TEXTS.len() + 3)),
        (
            "big",
            Arc::new(round::<_, Int64Array>(&[
                i64::MIN,
                -1,
                0,
                9_007_199_254_740_993,
                i64::MAX,
            ])),
        ),
        ("small", Arc::new(round::<_, Int16Array>(&[i16::MIN, 0, i16::MAX]))),
        ("ubig", Arc::new(round::<_, UInt64Array>(&[0, 1 << 63, u64::MAX]))),
        (
            "f",
            Arc::new(round::<_, Float64Array>(&[
                0.0,
                -0.0,
                0.1,
                f64::MAX,
                f64::INFINITY,
                f64::NEG_INFINITY,
                5e-324,
            ])),
        ),
        (
            "amount",
            Arc::new(amounts.with_precision_and_scale(12, 2).expect("fits")),
        ),
        ("truth", Arc::new(round::<_, BooleanArray>(&[true, false]))),
        ("day", Arc::new(round::<_, Date32Array>(&[0, -1, 2_932_896, -719_162]))),
        ("at", Arc::new(at.clone())),
        ("at_utc", Arc::new(at.with_timezone("UTC"))),
        ("name", Arc::new(round::<_, StringArray>(TEXTS))),
        ("other\"name", Arc::new(round::<_, StringArray>(TEXTS))),
        ("raw", Arc::new(round::<_, BinaryArray>(&raw))),
    ])
}

fn numbers() -> RecordBatch {
    let labels = StringArray::from_iter_values((0..NUMBERS).map(|id| format!("row {id}")));
    table(vec![("id", ids(NUMBERS)), ("label", Arc::new(labels))])
}

/// NULL but in the last row.
fn late() -> RecordBatch {
    fn last<T, A: FromIterator<Option<T>>>(value: &T) -> A
    where
        T: Clone,
    {
        (0..LATE).map(|row| (row == LATE - 1).then(|| value.clone())).collect()
    }
    table(vec![
        ("id", ids(LATE)),
        ("number", Arc::new(last::<_, Int64Array>(&LATE_NUMBER))),
        ("name", Arc::new(last::<_, StringArray>(&LATE_NAME))),
        ("day", Arc::new(last::<_, Date32Array>(&LATE_DAY))),
    ])
}

fn parquet(path: &Path, batch: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(File::create(path).expect("a file"), batch.schema(), None).expect("a writer");
    writer.write(batch).expect("rows");
    writer.close().expect("a footer");
}

fn csv(path: &Path, batch: &RecordBatch) {
    WriterBuilder::new()
        .build(File::create(path).expect("a file"))
        .write(batch)
        .expect("rows");
}

fn tables(hostile: &str, numbers: &str) -> OptionValue {
    let table = |path: &str| BTreeMap::from([("path".to_owned(), path.to_owned())]);
    let tables = BTreeMap::from([
        ("hostile".to_owned(), table(hostile)),
        ("numbers".to_owned(), table(numbers)),
        ("late".to_owned(), table(&hostile.replace("hostile", "late"))),
    ]);
    OptionValue::Tables(tables)
}

fn at(folder: &Path, hostile: &str, numbers: &str) -> SourceSpec {
    spec(
        Options::default()
            .with("path", OptionValue::Path(folder.to_owned()))
            .with("tables", tables(hostile, numbers)),
    )
}

async fn passes(folder: &Path, source: SourceSpec) {
    conformance(&Fixture {
        factory: factory("files"),
        spec: source,
        slow: None,
        writes: None,
        broken: vec![
            at(&folder.join("absent-folder"), "a.parquet", "b.parquet"),
            at(folder, "absent-file.parquet", "b.parquet"),
            at(folder, "../outside-file.parquet", "a.parquet"),
        ],
        secrets: ["absent-folder", "absent-file", "outside-file"]
            .map(str::to_owned)
            .to_vec(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_passes_the_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    parquet(&folder.path().join("hostile.parquet"), &hostile());
    parquet(&folder.path().join("late.parquet"), &late());
    // Two files are one table.
    let numbers = numbers();
    parquet(&folder.path().join("numbers-1.parquet"), &numbers.slice(0, 20_000));
    parquet(
        &folder.path().join("numbers-2.parquet"),
        &numbers.slice(20_000, NUMBERS - 20_000),
    );
    passes(folder.path(), at(folder.path(), "hostile.parquet", "numbers-*.parquet")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_passes_the_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let hostile = hostile();
    let kept: Vec<usize> = ["id", "big", "small", "truth", "day", "name", "other\"name"]
        .iter()
        .map(|name| hostile.schema().index_of(name).expect("a column"))
        .collect();
    csv(
        &folder.path().join("hostile.csv"),
        &hostile.project(&kept).expect("columns"),
    );
    csv(&folder.path().join("numbers.csv"), &numbers());
    csv(&folder.path().join("late.csv"), &late());
    passes(folder.path(), at(folder.path(), "hostile.csv", "numbers.csv")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_passes_the_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let hostile = hostile();
    let kept: Vec<usize> = ["id", "big", "small", "truth", "name", "other\"name"]
        .iter()
        .map(|name| hostile.schema().index_of(name).expect("a column"))
        .collect();
    let hostile = hostile.project(&kept).expect("columns");
    for (name, batch) in [
        ("hostile.json", &hostile),
        ("numbers.json", &numbers()),
        ("late.json", &late()),
    ] {
        let file = File::create(folder.path().join(name)).expect("a file");
        let mut writer = LineDelimitedWriter::new(file);
        writer.write(batch).expect("rows");
        writer.finish().expect("an end");
    }
    let days = [("columns", "id bigint, number bigint, name text, day date")];
    let mut source = at(folder.path(), "hostile.json", "numbers.json");
    let Some((OptionValue::Tables(tables), _)) = source.options.values.get_mut("tables") else {
        panic!("tables");
    };
    let late = tables.get_mut("late").expect("a table");
    late.extend(days.map(|(name, text)| (name.to_owned(), text.to_owned())));
    passes(folder.path(), source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arrow_passes_the_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = [("hostile.arrow", hostile()), ("late.arrow", late())];
    for (name, batch) in &whole {
        let file = File::create(folder.path().join(name)).expect("a file");
        let mut writer = FileWriter::try_new(file, &batch.schema()).expect("a writer");
        writer.write(batch).expect("rows");
        writer.finish().expect("a footer");
    }
    let numbers = numbers();
    let file = File::create(folder.path().join("numbers.arrow")).expect("a file");
    let mut writer = StreamWriter::try_new(file, &numbers.schema()).expect("a writer");
    for from in (0..NUMBERS).step_by(10_000) {
        writer
            .write(&numbers.slice(from, 10_000.min(NUMBERS - from)))
            .expect("rows");
    }
    writer.finish().expect("an end");
    passes(folder.path(), at(folder.path(), "hostile.arrow", "numbers.arrow")).await;
}

const BUCKET: &str = "books";
const KEY_ID: &str = "AKIDSUITE";
const SECRET: &str = "s3cret-of-the-suite";

fn in_store(port: u16, secret: &str, hostile: &str, numbers: &str) -> SourceSpec {
    spec(
        Options::default()
            .with("url", OptionValue::Text(format!("s3://{BUCKET}/a b/year")))
            .with("endpoint", OptionValue::Text(format!("http://127.0.0.1:{port}")))
            .with("tls", OptionValue::Text("disable".to_owned()))
            .with("access_key_id", OptionValue::Secret(KEY_ID.to_owned().into()))
            .with("secret_access_key", OptionValue::Secret(secret.to_owned().into()))
            .with("tables", tables(hostile, numbers)),
    )
}

/// A store that holds what `parquet_passes_the_suite` reads from a folder.
async fn store() -> S3Server {
    let server = S3Server::start(BUCKET, KEY_ID, SECRET).await.expect("a server");
    let folder = tempfile::tempdir().expect("a folder");
    let numbers = numbers();
    for (name, batch) in [
        ("hostile.parquet", hostile()),
        ("late.parquet", late()),
        ("numbers-1.parquet", numbers.slice(0, 20_000)),
        ("numbers-2.parquet", numbers.slice(20_000, 1)),
        ("numbers-3 é%.parquet", numbers.slice(20_001, NUMBERS - 20_001)),
    ] {
        let path = folder.path().join("x");
        parquet(&path, &batch);
        server.put(&format!("a b/year/{name}"), std::fs::read(&path).expect("a file"));
    }
    server.put("a b/years/numbers-4.parquet", "beside the prefix");
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_passes_the_suite() {
    let server = store().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = listener.local_addr().expect("an address").port();
    drop(listener);
    conformance(&Fixture {
        factory: factory("files"),
        spec: in_store(server.port(), SECRET, "hostile.parquet", "numbers-*.parquet"),
        slow: None,
        writes: None,
        broken: vec![
            in_store(server.port(), "wr0ng-key", "hostile.parquet", "numbers-*.parquet"),
            in_store(server.port(), SECRET, "absent-file.parquet", "numbers-*.parquet"),
            in_store(closed, SECRET, "hostile.parquet", "numbers-*.parquet"),
        ],
        secrets: [KEY_ID, SECRET, "wr0ng-key", "absent-file"].map(str::to_owned).to_vec(),
    })
    .await;
}

/// The rows of a table, or the error.
async fn read(connector: &dyn Connector, table: &str) -> Result<usize, ConnectorError> {
    let table = connector.introspect().await?.table(table).expect("a table").clone();
    again(connector, &Arc::new(table)).await
}

/// The rows of a table that was described before.
async fn again(connector: &dyn Connector, table: &Arc<RemoteTable>) -> Result<usize, ConnectorError> {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    let query = RemoteQuery::of_table(Arc::clone(table), &columns, None, None);
    let batches: Vec<RecordBatch> = connector.reader(context()).read(&query).await?.try_collect().await?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

struct Silent;

impl StatementLog for Silent {
    fn sent(&self, _: &str, _: usize) {}
    fn received(&self, _: usize, _: usize) {}
}

fn context() -> QueryContext {
    QueryContext {
        query_id: "q".to_owned(),
        deadline: Instant::now() + Duration::from_secs(60),
        batch_rows_max: 8192,
        buffer_bytes_max: 1 << 24,
        log: Arc::new(Silent),
    }
}

/// Wherever in the conversation a connection breaks off, the answer is whole or an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_breaks_off_gives_all_or_an_error() {
    let server = store().await;
    let mut outcomes = (0, 0);
    for at in [0, 1, 100, 300, 500, 1_000, 4_000, 20_000, 60_000, 90_000, 1 << 20] {
        for fault in [Fault::Cut, Fault::Reset] {
            let proxy = Proxy::before(server.port()).await.expect("a proxy");
            let source = in_store(proxy.port(), SECRET, "hostile.parquet", "numbers-*.parquet");
            let connector = factory("files").open(&source).expect("a source");
            let toward = Toward::Client;
            proxy.rule(Some(Rule { toward, at, fault }));
            match read(&*connector, "numbers").await {
                Ok(rows) => {
                    assert_eq!(rows, NUMBERS, "{fault:?} at {at}");
                    outcomes.0 += 1;
                }
                Err(error) => {
                    assert_eq!(error.class, ErrorClass::Unavailable, "{fault:?} at {at}: {error}");
                    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
                    outcomes.1 += 1;
                }
            }
        }
    }
    assert!(outcomes.0 > 0 && outcomes.1 > 0, "both happen: {outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_read_as_it_was_found_or_not_at_all() {
    let server = store().await;
    let source = in_store(server.port(), SECRET, "hostile.parquet", "numbers-*.parquet");
    let connector = factory("files").open(&source).expect("a source");
    let table = Arc::new(
        connector
            .introspect()
            .await
            .expect("tables")
            .table("numbers")
            .expect("one")
            .clone(),
    );
    // The whole of the table is listed once, and nothing beside the prefix.
    server.requests();
    assert_eq!(again(&*connector, &table).await.expect("rows"), NUMBERS);
    let asked = server.requests();
    assert!(asked.iter().all(|request| !request.contains("years")), "{asked:?}");

    // Another object in its place, of the same size: its tag differs, and a reader that began does not take it for the first.
    let reader = connector.reader(context());
    let query = RemoteQuery::of_table(Arc::clone(&table), &[0, 1], None, None);
    let mut stream = reader.read(&query).await.expect("a stream");
    stream.try_next().await.expect("rows");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x");
    for name in ["numbers-1.parquet", "numbers-2.parquet", "numbers-3 é%.parquet"] {
        parquet(&path, &numbers().slice(0, 3));
        server.put(&format!("a b/year/{name}"), std::fs::read(&path).expect("a file"));
    }
    let error = stream.try_collect::<Vec<_>>().await.expect_err("it changed");
    assert_eq!(error.class, ErrorClass::Drift, "{error}");
    assert_eq!(again(&*connector, &table).await.expect("the new rows"), 9);

    // A store that is down is an error within its bound, at once for those who come after, and well again after it.
    server.answer_only(Some(503));
    let error = again(&*connector, &table).await.expect_err("it is down");
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
    server.answer_only(None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(again(&*connector, &table).await.expect("rows"), 9);
    server.answer_only(Some(403));
    let error = again(&*connector, &table).await.expect_err("it refuses");
    assert_eq!(error.class, ErrorClass::Denied, "{error}");
}
