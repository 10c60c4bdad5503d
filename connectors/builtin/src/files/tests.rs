//! Files: types, predicates, the wall around the folder, drift.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::array::{
    ArrayRef, AsArray, Date32Array, Decimal128Array, Int32Array, Int64Array, LargeStringArray, StringArray,
};
use arrow::array::{TimestampMicrosecondArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Comparison, Expr, Options, Relation, StatementLog, Value};
use datafusion::parquet::arrow::ArrowWriter;
use futures::TryStreamExt;

use super::*;

struct Silent;

impl StatementLog for Silent {
    fn sent(&self, _: &str, _: usize) {}
    fn received(&self, _: usize, _: usize) {}
}

/// A folder that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("caliber-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("inside")).unwrap();
        Self(path)
    }

    fn text(&self, name: &str, text: &str) {
        fs::write(self.0.join("inside").join(name), text).unwrap();
    }

    fn parquet(&self, name: &str, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = fs::File::create(self.0.join("inside").join(name)).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn open(&self, tables: &[(&str, &[(&str, &str)])]) -> Result<Arc<dyn Connector>, ConnectorError> {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let tables = tables
            .iter()
            .map(|(name, settings)| ((*name).to_owned(), settings.iter().map(text).collect()))
            .collect();
        Factory.open(&SourceSpec {
            name: "books".to_owned(),
            options: Options::default()
                .with("path", OptionValue::Path(self.0.join("inside")))
                .with("tables", OptionValue::Tables(tables)),
            connections_max: 1,
            statement_timeout: Duration::from_secs(30),
        })
    }

    fn table(&self, path: &str) -> Arc<dyn Connector> {
        self.open(&[("t", &[("path", path)])]).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn context() -> QueryContext {
    QueryContext {
        query_id: "q".to_owned(),
        deadline: Instant::now() + Duration::from_secs(30),
        batch_rows_max: 2,
        buffer_bytes_max: 1 << 20,
        log: Arc::new(Silent),
    }
}

async fn all(source: &Arc<dyn Connector>) -> RemoteQuery {
    let table = Arc::new(source.introspect().await.unwrap().table("t").unwrap().clone());
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    RemoteQuery::of_table(table, &columns, None, None)
}

/// A read of one table with one more predicate, over the table's columns.
fn filtered(query: &RemoteQuery, predicate: Expr) -> RemoteQuery {
    let read = query.table_read().unwrap();
    let mut predicates: Vec<Expr> = read.predicates.into_iter().cloned().collect();
    predicates.push(predicate);
    let all = if predicates.len() == 1 {
        predicates.remove(0)
    } else {
        Expr::And(predicates)
    };
    RemoteQuery::of_table(read.table.clone(), &read.columns, Some(all), read.rows)
}

/// The same rows, at most so many, in these columns.
fn cut(query: &RemoteQuery, columns: &[usize], rows: Option<u64>) -> RemoteQuery {
    RemoteQuery::of_table(query.table_read().unwrap().table.clone(), columns, None, rows)
}

fn compare(column: usize, op: Comparison, value: Value) -> Expr {
    Expr::Compare {
        op,
        left: Box::new(Expr::Column(column)),
        right: Box::new(Expr::Value(value)),
    }
}

async fn rows(source: &Arc<dyn Connector>, query: &RemoteQuery) -> Result<Vec<RecordBatch>, ConnectorError> {
    let batches: Vec<RecordBatch> = source.reader(context()).read(query).await?.try_collect().await?;
    for batch in &batches {
        assert_eq!(batch.schema(), query.schema());
        assert!((1..=2).contains(&batch.num_rows()));
    }
    Ok(batches)
}

async fn count(source: &Arc<dyn Connector>, query: &RemoteQuery) -> usize {
    rows(source, query)
        .await
        .unwrap()
        .iter()
        .map(RecordBatch::num_rows)
        .sum()
}

fn wide(folder: &Folder, name: &str) {
    let decimal = Decimal128Array::from(vec![Some(1_234_567), Some(-1), None])
        .with_precision_and_scale(14, 2)
        .unwrap();
    folder.parquet(
        name,
        vec![
            ("i", Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef),
            ("d", Arc::new(decimal)),
            (
                "day",
                Arc::new(Date32Array::from(vec![Some(-719_162), Some(2_932_896), None])),
            ),
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from(vec![-1, 253_402_300_799_999_999, 0])),
            ),
            (
                "ns",
                Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("Asia/Shanghai")),
            ),
            ("s", Arc::new(LargeStringArray::from(vec![Some("a"), Some("A"), None]))),
        ],
    );
}

#[tokio::test]
async fn parquet_arrives_in_its_types_and_every_predicate_is_exact() {
    let folder = Folder::new("types");
    wide(&folder, "t.parquet");
    let source = folder.table("t.parquet");
    let query = all(&source).await;
    let types: Vec<DataType> = query
        .table_read()
        .unwrap()
        .table
        .columns
        .iter()
        .map(|column| column.data_type.clone())
        .collect();
    assert_eq!(types[4], DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())));
    assert_eq!((types[0].clone(), types[5].clone()), (DataType::Int32, DataType::Utf8));
    assert_eq!(query.table_read().unwrap().table.rows_estimate, Some(3));
    let text = pretty_format_batches(&rows(&source, &query).await.unwrap())
        .unwrap()
        .to_string();
    for part in [
        "12345.67",
        "-0.01",
        "0001-01-01",
        "9999-12-31T23:59:59.999999",
        "1969-12-31T23:59:59.999999",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let decimal = Value::Decimal {
        unscaled: -1,
        precision: 14,
        scale: 2,
    };
    let keys: ArrayRef = Arc::new(Int32Array::from(vec![1, 3, 9]));
    for (predicate, expected) in [
        (compare(0, Comparison::GreaterOrEqual, Value::Int(2)), 2),
        (compare(1, Comparison::Equal, decimal), 1),
        (compare(2, Comparison::Less, Value::Date(0)), 1),
        (compare(3, Comparison::LessOrEqual, Value::Timestamp(-1)), 1),
        (compare(5, Comparison::Equal, Value::Text("a".to_owned())), 1),
        (
            Expr::Not(Box::new(compare(5, Comparison::Equal, Value::Text("a".to_owned())))),
            1,
        ),
        (Expr::IsNull(Box::new(Expr::Column(5))), 1),
        (Expr::InKeys { column: 0, keys }, 2),
        (
            Expr::InKeys {
                column: 0,
                keys: Arc::new(Int32Array::from(Vec::<i32>::new())),
            },
            0,
        ),
        (
            Expr::InList {
                expr: Box::new(Expr::Column(0)),
                list: vec![Value::Int(3), Value::Int(4)],
            },
            1,
        ),
        (
            Expr::Like {
                expr: Box::new(Expr::Column(5)),
                pattern: "A%".to_owned(),
            },
            1,
        ),
    ] {
        assert_eq!(
            count(&source, &filtered(&query, predicate.clone())).await,
            expected,
            "{predicate:?}"
        );
    }
    let limited = cut(&query, &[0], Some(2));
    assert_eq!(count(&source, &limited).await, 2);
    let above = RemoteQuery::new(Relation::Filter {
        input: Box::new(limited.root),
        predicate: Expr::IsNull(Box::new(Expr::Column(0))),
    });
    let refused = rows(&source, &above).await.unwrap_err();
    assert_eq!(refused.class, ErrorClass::Statement, "more than a read of one table");
    assert_eq!(count(&source, &cut(&query, &[], None)).await, 3);
    let swapped = cut(&query, &[5, 0], None);
    assert_eq!(
        rows(&source, &swapped).await.unwrap()[0]
            .column(1)
            .as_primitive::<arrow::datatypes::Int32Type>()
            .value(0),
        1
    );
}

#[tokio::test]
async fn csv_text_becomes_another_type_only_where_nothing_is_lost() {
    let folder = Folder::new("csv");
    folder.text("t.csv", "id,code,amount,day,on,free,big\n1,007,1.5,2024-02-29,true,\"a\nb\",12345678901234567890\n-2,7,-10.25,1999-01-01,false,,1\n");
    let source = folder.table("t.csv");
    let query = all(&source).await;
    let types: Vec<String> = query
        .table_read()
        .unwrap()
        .table
        .columns
        .iter()
        .map(|column| column.data_type.to_string())
        .collect();
    assert_eq!(
        types,
        [
            "Int64",
            "Utf8",
            "Decimal128(18, 2)",
            "Date32",
            "Boolean",
            "Utf8",
            "Decimal128(38, 0)"
        ]
    );
    let batch = &rows(&source, &query).await.unwrap()[0];
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "007");
    assert_eq!(batch.column(5).as_string::<i32>().value(0), "a\nb");
    assert_eq!(
        batch
            .column(6)
            .as_primitive::<arrow::datatypes::Decimal128Type>()
            .value(0),
        12_345_678_901_234_567_890
    );
    let amount = Value::Decimal {
        unscaled: 150,
        precision: 18,
        scale: 2,
    };
    assert_eq!(
        count(&source, &filtered(&query, compare(2, Comparison::Equal, amount))).await,
        1
    );
    folder.text("u.csv", "1;x\n2;y\n");
    let source = folder
        .open(&[("t", &[("path", "u.csv"), ("delimiter", ";"), ("header", "false")])])
        .unwrap();
    assert_eq!(count(&source, &all(&source).await).await, 2);
}

#[tokio::test]
async fn files_of_one_table_must_agree() {
    let folder = Folder::new("agree");
    let numbers = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let words = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    folder.parquet("a1.parquet", vec![("id", numbers()), ("s", words())]);
    folder.parquet("a 2%.parquet", vec![("s", words()), ("id", numbers())]);
    assert_eq!(
        count(&folder.table("a*.parquet"), &all(&folder.table("a*.parquet")).await).await,
        2
    );
    folder.parquet("b1.parquet", vec![("id", numbers())]);
    folder.parquet("b2.parquet", vec![("id", words())]);
    let error = folder.table("b*.parquet").introspect().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Data);
    assert!(error.message.contains("`id`"), "{error}");
    folder.text("c.parquet", "not parquet");
    assert_eq!(
        folder.table("c.parquet").introspect().await.unwrap_err().class,
        ErrorClass::Data
    );
}

#[tokio::test]
async fn columns_of_parquet_come_and_widen_by_name() {
    let folder = Folder::new("evolves");
    let narrow = || Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef;
    let wide = || Arc::new(Int64Array::from(vec![i64::MAX])) as ArrayRef;
    let words = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    folder.parquet("a1.parquet", vec![("id", narrow())]);
    folder.parquet("a2.parquet", vec![("s", words()), ("id", wide())]);
    let source = folder.table("a*.parquet");
    let query = all(&source).await;
    let table = query.table_read().unwrap().table.clone();
    let types: Vec<_> = table
        .columns
        .iter()
        .map(|column| (&*column.name, column.data_type.clone()))
        .collect();
    assert_eq!(types, [("id", DataType::Int64), ("s", DataType::Utf8)]);
    assert!(table.columns[1].nullable, "the first file has none");
    assert_eq!(count(&source, &query).await, 3);
    for (predicate, expected) in [
        (Expr::IsNull(Box::new(Expr::Column(1))), 2),
        (compare(1, Comparison::Equal, Value::Text("x".to_owned())), 1),
        (compare(0, Comparison::Equal, Value::Int(i64::MAX)), 1),
        (compare(0, Comparison::Less, Value::Int(3)), 2),
    ] {
        assert_eq!(
            count(&source, &filtered(&query, predicate.clone())).await,
            expected,
            "{predicate:?}"
        );
    }
}

/// The text of one column of all rows, sorted.
async fn texts(source: &Arc<dyn Connector>, query: &RemoteQuery) -> Vec<String> {
    let batches = rows(source, query).await.unwrap();
    let mut lines: Vec<String> = batches
        .iter()
        .flat_map(|batch| {
            let options = arrow::util::display::FormatOptions::default().with_null("-");
            let cells: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            (0..batch.num_rows())
                .map(|row| {
                    cells
                        .iter()
                        .map(|cell| cell.value(row).to_string())
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .collect::<Vec<_>>()
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn folders_are_columns_and_choose_files() {
    let folder = Folder::new("folders");
    for (place, text) in [
        ("year=2023/day=2023-12-31", "id\n1\n"),
        ("year=2024/day=2024-02-29", "id\n2\n3\n"),
        ("year=2024/day=__HIVE_DEFAULT_PARTITION__", "id\n4\n"),
    ] {
        fs::create_dir_all(folder.0.join("inside").join(place)).unwrap();
        folder.text(&format!("{place}/a.csv"), text);
    }
    let source = folder.table("year=*/day=*/*.csv");
    let query = all(&source).await;
    let table = query.table_read().unwrap().table.clone();
    let types: Vec<_> = table
        .columns
        .iter()
        .map(|column| (&*column.name, column.data_type.clone()))
        .collect();
    assert_eq!(
        types,
        [
            ("id", DataType::Int64),
            ("year", DataType::Int64),
            ("day", DataType::Date32)
        ]
    );
    assert_eq!(
        texts(&source, &query).await,
        [
            "1 2023 2023-12-31",
            "2 2024 2024-02-29",
            "3 2024 2024-02-29",
            "4 2024 -"
        ]
    );
    let of_2024 = compare(1, Comparison::Equal, Value::Int(2024));
    assert_eq!(count(&source, &filtered(&query, of_2024.clone())).await, 3);
    assert_eq!(
        count(&source, &filtered(&query, Expr::IsNull(Box::new(Expr::Column(2))))).await,
        1
    );
    let not_2024 = Expr::Not(Box::new(compare(2, Comparison::Equal, Value::Date(19_782))));
    assert_eq!(
        count(&source, &filtered(&query, not_2024)).await,
        1,
        "NULL is not another day"
    );
    let either = Expr::Or(vec![of_2024, compare(0, Comparison::Equal, Value::Int(1))]);
    assert_eq!(count(&source, &filtered(&query, either)).await, 4);
    assert_eq!(texts(&source, &cut(&query, &[2], Some(9))).await.len(), 4);
    // A file that no filter needs is not opened: this one could not be read.
    folder.text("year=2023/day=2023-12-31/a.csv", "id\n5\n");
    let fresh = all(&source).await;
    fs::write(folder.0.join("inside/year=2023/day=2023-12-31/a.csv"), "id\nx").unwrap();
    let error = rows(&source, &fresh).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Drift, "{error}");
}

#[tokio::test]
async fn declared_columns_hold_what_they_say() {
    let folder = Folder::new("declared");
    let declared = |path: &str, columns: &str| folder.open(&[("t", &[("path", path), ("columns", columns)])]).unwrap();
    folder.text("t.csv", "code,amount,at\n7,1.5,2024-02-29 12:00:00.5\n,,\n");
    let source = declared("t.csv", "code text, amount decimal(10, 4), at timestamp");
    let query = all(&source).await;
    assert_eq!(
        texts(&source, &query).await,
        ["- - -", "7 1.5000 2024-02-29T12:00:00.500"]
    );
    let instant = Value::Timestamp(1_709_208_000_500_000);
    assert_eq!(
        count(&source, &filtered(&query, compare(2, Comparison::Equal, instant))).await,
        1
    );
    for (columns, part) in [
        (
            "code text, amount decimal(10, 0)",
            "`amount` holds a value that does not fit",
        ),
        ("missing text", "no file has the declared column `missing`"),
    ] {
        let error = declared("t.csv", columns).introspect().await.unwrap_err();
        assert!(
            error.class == ErrorClass::Data && error.message.contains(part),
            "{error}"
        );
    }
    folder.parquet(
        "n.parquet",
        vec![("id", Arc::new(Int32Array::from(vec![1])) as ArrayRef)],
    );
    assert_eq!(
        texts(
            &declared("n.parquet", "id bigint"),
            &all(&declared("n.parquet", "id bigint")).await
        )
        .await,
        ["1"]
    );
    let error = declared("n.parquet", "id smallint").introspect().await.unwrap_err();
    assert!(error.message.contains("declared as Int16 and is Int32"), "{error}");
}

#[tokio::test]
async fn json_is_read_by_key_and_numbers_stay_exact() {
    let folder = Folder::new("json");
    folder.text(
        "a.json",
        "{\"id\":1,\"amount\":0.1,\"code\":\"007\",\"ok\":true,\"nested\":{\"a\":1},\"big\":12345678901234567890}\n\
         {\"id\":2,\"amount\":1234567.25,\"code\":\"é\",\"big\":null}\n",
    );
    folder.text("b.json", "{\"id\":3,\"more\":1e3}\n");
    let source = folder.table("*.json");
    let schema = source.introspect().await.unwrap();
    assert!(
        schema.notices.iter().any(|notice| notice.contains("`t.nested`")),
        "{:?}",
        schema.notices
    );
    let query = all(&source).await;
    let columns = query.table_read().unwrap().table.clone();
    let named: Vec<_> = columns
        .columns
        .iter()
        .map(|column| (&*column.name, column.data_type.to_string()))
        .collect();
    let expected = [
        ("id", "Int64"),
        ("amount", "Decimal128(18, 2)"),
        ("code", "Utf8"),
        ("ok", "Boolean"),
        ("big", "Decimal128(38, 0)"),
        ("more", "Float64"),
    ];
    let mut named: Vec<(&str, &str)> = named
        .iter()
        .map(|(name, data_type)| (*name, data_type.as_str()))
        .collect();
    named.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(named, expected);
    let of = |name: &str| columns.columns.iter().position(|column| column.name == name).unwrap();
    let chosen = cut(&query, &["id", "amount", "code", "ok", "big", "more"].map(of), None);
    assert_eq!(
        texts(&source, &chosen).await,
        [
            "1 0.10 007 true 12345678901234567890 -",
            "2 1234567.25 é - - -",
            "3 - - - - 1000.0"
        ]
    );
    folder.text("c.json", "{\"id\":1}\n{\"id\":\"x\"}\n");
    let error = folder.table("c.json").introspect().await.unwrap_err();
    assert!(
        error.class == ErrorClass::Data && error.message.contains("strings in one line"),
        "{error}"
    );
}

#[tokio::test]
async fn no_path_leaves_the_folder() {
    let folder = Folder::new("wall");
    fs::write(folder.0.join("secret.csv"), "a\n1\n").unwrap();
    for path in ["../secret.csv", "/etc/passwd.csv", "x/../../secret.csv", ""] {
        let error = folder.open(&[("t", &[("path", path)])]).err().unwrap();
        assert_eq!(error.class, ErrorClass::Options, "{path}");
    }
    std::os::unix::fs::symlink(folder.0.join("secret.csv"), folder.0.join("inside/link.csv")).unwrap();
    std::os::unix::fs::symlink(Path::new(".."), folder.0.join("inside/up")).unwrap();
    for path in ["link.csv", "up/secret.csv", "l*.csv", "*/secret.csv", "u*/*.csv"] {
        let error = folder.table(path).introspect().await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied, "{path}");
    }
    let error = folder.table("absent.csv").introspect().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable);
    assert!(!error.to_string().contains("caliber-files"), "{error}");
}

#[tokio::test]
async fn a_changed_file_is_drift_and_never_a_mixture() {
    let folder = Folder::new("drift");
    folder.text("t.csv", "id,v\n1,1\n2,2\n3,3\n4,4\n5,5\n");
    let source = folder.table("t.csv");
    let query = all(&source).await;
    let reader = source.reader(context());
    let mut first = reader.read(&query).await.unwrap();
    first.try_next().await.unwrap();
    folder.text("t.csv", "id,v\n1,1\n2,2\n3,3\n4,4\n5,5\n6,6\n");
    // The same columns, so a new query reads it; the old one saw another file.
    assert_eq!(reader.read(&query).await.err().unwrap().class, ErrorClass::Drift);
    assert_eq!(
        first.try_collect::<Vec<_>>().await.unwrap_err().class,
        ErrorClass::Drift
    );
    drop(reader);
    assert_eq!(count(&source, &query).await, 6);
    folder.text("t.csv", "id,v\n1,x\n");
    assert_eq!(rows(&source, &query).await.unwrap_err().class, ErrorClass::Drift);
}

#[tokio::test]
async fn reads_of_a_query_share_one_place_and_another_query_waits_its_turn() {
    let folder = Folder::new("places");
    folder.text("t.csv", "id\n1\n2\n3\n");
    let source = folder.table("t.csv");
    let query = all(&source).await;
    let reader = source.reader(context());
    let first = reader.read(&query).await.unwrap();
    assert_eq!(
        reader
            .read(&query)
            .await
            .unwrap()
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .len(),
        2
    );
    let hurried = source.reader(QueryContext {
        deadline: Instant::now() + Duration::from_millis(50),
        ..context()
    });
    assert_eq!(hurried.read(&query).await.err().unwrap().class, ErrorClass::Busy);
    drop((first, reader));
    assert_eq!(count(&source, &query).await, 3);
}
