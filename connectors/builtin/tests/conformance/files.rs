//! Parquet and CSV files: every type with rows that careless comparisons confuse, and the suite.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{Field, Schema};
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Options, SourceSpec};
use caliber_testkit::conformance::{Fixture, LATE, LATE_DAY, LATE_NAME, LATE_NUMBER, NUMBERS, TEXTS, conformance};
use datafusion::parquet::arrow::ArrowWriter;

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

fn at(folder: &Path, hostile: &str, numbers: &str) -> SourceSpec {
    let table = |path: &str| BTreeMap::from([("path".to_owned(), path.to_owned())]);
    let tables = BTreeMap::from([
        ("hostile".to_owned(), table(hostile)),
        ("numbers".to_owned(), table(numbers)),
        ("late".to_owned(), table(&hostile.replace("hostile", "late"))),
    ]);
    spec(
        Options::default()
            .with("path", OptionValue::Path(folder.to_owned()))
            .with("tables", OptionValue::Tables(tables)),
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
