//! The behaviour that every connector shows, whatever its source.
//!
//! Owns: the checks and what a fixture must hold. Never: one source's dialect; a fixture makes its own tables.
//!
//! A check fails by panicking, since it runs in tests only.

#![expect(clippy::panic, clippy::expect_used, reason = "a failed check is a failed test")]

mod bounds;
mod each;
mod evaluate;
pub mod faults;
mod functions;
mod generate;
mod late;
mod local;
mod predicates;
mod relations;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::DataType;
use caliber_connector_spi::{
    Connector, ConnectorError, ConnectorFactory, ErrorClass, Expr, QueryContext, Relation, RemoteQuery, RemoteTable,
    SourceReader, SourceSchema, SourceSpec, StatementLog,
};
use futures::TryStreamExt;
use futures::future::BoxFuture;

/// How many rows the table `numbers` of a fixture has, its column `id` counting from 0.
pub const NUMBERS: usize = 50_000;

/// How many rows the table `late` of a fixture has.
pub const LATE: usize = 10_000;
/// The only value of its column `number`.
pub const LATE_NUMBER: i64 = 9_007_199_254_740_993;
/// The only value of its column `name`.
pub const LATE_NAME: &str = "late";
/// The only value of its column `day`: 9999-12-31.
pub const LATE_DAY: i32 = 2_932_896;

/// Texts that careless comparisons confuse: case, accents, composition, blanks, quotes, patterns, other scripts.
pub const TEXTS: &[&str] = &[
    "abc",
    "ABC",
    "Abc",
    "abc ",
    " abc",
    "äbc",
    "a\u{308}bc",
    "ÄBC",
    "abcd",
    "ab",
    "",
    " ",
    "  ",
    "O'Brien",
    "A\"B",
    "a\\c",
    "a\\\\c",
    "a%c",
    "a_c",
    "100%",
    "_",
    "%",
    "ß",
    "ss",
    "SS",
    "é",
    "e\u{301}",
    "I",
    "i",
    "ı",
    "İ",
    "中文",
    "中",
    "😀",
    "😀b",
    "line\nbreak",
    "tab\there",
    "ſ",
    "s",
    "a;DROP TABLE hostile;--",
    "$1",
    "?",
    ":x",
    "Z",
    "z",
    "\u{fffd}",
    "\u{10ffff}",
];

/// One source, loaded for the suite.
///
/// It holds a table `hostile` with an integer column `id` that is never NULL and unique, and any other columns; and
/// a table `numbers` with an integer column `id` from 0 to [`NUMBERS`] - 1 and a text column `label`; and a table `late`
/// with an integer column `id` from 0 to [`LATE`] - 1 and columns `number`, `name` and `day`, which are NULL in every row
/// but the last.
pub struct Fixture {
    /// The connector under test.
    pub factory: &'static dyn ConnectorFactory,
    /// The source, with at least two connections.
    pub spec: SourceSpec,
    /// A view that takes a minute to read, where the source can have one.
    pub slow: Option<Slow>,
    /// A view that writes when it is read, where the source can have one: it must be refused.
    pub writes: Option<&'static str>,
    /// The same source with a wrong password, a closed port, and so on; each must be refused.
    pub broken: Vec<SourceSpec>,
    /// Words that may never print.
    pub secrets: Vec<String>,
}

/// A statement that takes long, and how to see it run.
pub struct Slow {
    /// The view to read.
    pub view: &'static str,
    /// How many statements run at the source now.
    pub running: Box<dyn Fn() -> BoxFuture<'static, usize> + Send + Sync>,
}

/// Runs every check over `fixture`.
pub async fn conformance(fixture: &Fixture) {
    let source = Source::open(fixture).await;
    source.schema_is_described();
    source.a_column_that_begins_with_null_keeps_its_type().await;
    source.predicates_pushed_equal_predicates_here().await;
    source.keys_of_any_number().await;
    source.relations_pushed_equal_relations_here().await;
    source.limits_and_no_columns().await;
    source.batches_are_bounded().await;
    source.an_unconsumed_read_blocks_no_other().await;
    source.a_dropped_stream_leaves_the_query_its_snapshot().await;
    source.writes_are_refused().await;
    source.a_read_ends_with_its_stream_and_its_deadline().await;
    refusals_name_the_source_and_nothing_else(fixture).await;
}

/// An opened fixture.
struct Source<'a> {
    fixture: &'a Fixture,
    connector: Arc<dyn Connector>,
    schema: SourceSchema,
}

/// Counts what is sent.
#[derive(Default)]
struct Silent;

impl StatementLog for Silent {
    fn sent(&self, _: &str, _: usize) {}
    fn received(&self, _: usize, _: usize) {}
}

/// A context with time for the whole suite on a loaded machine, and `batch_rows_max` rows to a batch.
fn context(batch_rows_max: usize) -> QueryContext {
    QueryContext {
        query_id: "conformance".to_owned(),
        deadline: Instant::now() + Duration::from_secs(600),
        batch_rows_max,
        buffer_bytes_max: 64 << 20,
        log: Arc::new(Silent),
    }
}

/// Those columns of every row.
fn scan(table: &Arc<RemoteTable>, columns: &[usize]) -> RemoteQuery {
    RemoteQuery::of_table(table.clone(), columns, None, None)
}

/// Those columns of the rows that pass.
fn filtered(table: &Arc<RemoteTable>, columns: &[usize], predicate: Expr) -> RemoteQuery {
    RemoteQuery::of_table(table.clone(), columns, Some(predicate), None)
}

/// Every column of every row.
fn whole(table: &Arc<RemoteTable>) -> RemoteQuery {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    scan(table, &columns)
}

async fn read(reader: &dyn SourceReader, query: &RemoteQuery) -> Result<RecordBatch, ConnectorError> {
    let batches: Vec<RecordBatch> = reader.read(query).await?.try_collect().await?;
    let schema = query.schema();
    for batch in &batches {
        assert_eq!(batch.schema(), schema, "a batch has exactly the schema of its query");
        assert!(batch.num_rows() > 0, "a batch is never empty");
    }
    if schema.fields().is_empty() {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        return Ok(RecordBatch::try_new_with_options(schema, vec![], &options).expect("no columns"));
    }
    Ok(concat_batches(&schema, &batches).expect("batches of one schema"))
}

impl<'a> Source<'a> {
    async fn open(fixture: &'a Fixture) -> Self {
        let connector = fixture.factory.open(&fixture.spec).expect("opens");
        let schema = connector.introspect().await.expect("is described");
        Self {
            fixture,
            connector,
            schema,
        }
    }

    fn table(&self, name: &str) -> Arc<RemoteTable> {
        Arc::new(
            self.schema
                .table(name)
                .unwrap_or_else(|| panic!("no table `{name}`"))
                .clone(),
        )
    }

    fn reader(&self) -> Arc<dyn SourceReader> {
        self.connector.reader(context(8192))
    }

    fn schema_is_described(&self) {
        let hostile = self.table("hostile");
        let id = hostile.column("id").expect("a column `id`");
        assert!(id.data_type.is_integer());
        // A source that declares nothing (CSV) does not say that a column is never NULL: its rows may not tell.
        assert!(!id.nullable || hostile.primary_key.is_empty());
        assert!(
            self.schema.tables.is_sorted_by(|a, b| a.name < b.name),
            "tables are sorted by name"
        );
        for (index, column) in hostile.columns.iter().enumerate() {
            assert!(
                !hostile.columns[..index].iter().any(|other| other.name == column.name),
                "names are unique"
            );
        }
    }

    async fn predicates_pushed_equal_predicates_here(&self) {
        let hostile = self.table("hostile");
        let below = Relation::Scan { table: hostile.clone() }.columns();
        let reader = self.reader();
        let all = read(&*reader, &whole(&hostile)).await.expect("reads everything");
        let id = hostile
            .columns
            .iter()
            .position(|column| column.name == "id")
            .expect("a column `id`");
        let ids = local::integers(all.column(id));
        let rows = local::rows(&all);
        let mut pushed = 0;
        for predicate in predicates::predicates(&hostile, &all) {
            if !self.connector.capabilities().evaluates(&predicate, &below) {
                continue;
            }
            pushed += 1;
            let query = filtered(&hostile, &[id], predicate.clone());
            let found = read(&*reader, &query).await;
            let found =
                found.unwrap_or_else(|error| panic!("{error}\n{predicate:?}\n{:?}", self.connector.statement(&query)));
            let mut found = local::integers(found.column(0));
            let holds = |row: &local::Row| local::holds(&predicate, row, &|_| Vec::new()) == Some(true);
            let passing = rows.iter().zip(&ids).filter(|(row, _)| holds(row));
            let mut expected: Vec<i128> = passing.map(|(_, id)| *id).collect();
            found.sort_unstable();
            expected.sort_unstable();
            let statement = self.connector.statement(&query);
            assert_eq!(
                found, expected,
                "pushed (left) and local (right) differ: {predicate:?}\n{statement:?}"
            );
        }
        let declares_any = hostile
            .columns
            .iter()
            .any(|column| column.comparable && self.connector.capabilities().equality.holds(&column.data_type));
        assert!(!declares_any || pushed > 100, "only {pushed} predicates were pushed");
    }

    async fn keys_of_any_number(&self) {
        let numbers = self.table("numbers");
        let id = numbers
            .columns
            .iter()
            .position(|column| column.name == "id")
            .expect("a column `id`");
        let data_type = &numbers.columns[id].data_type;
        let below = Relation::Scan { table: numbers.clone() }.columns();
        let reader = self.reader();
        for count in [0, 1, 1_000, 20_000] {
            // Every other key is in the table.
            let keys = Int64Array::from_iter_values(
                (0..count).map(|key| key * 2 + i64::try_from(NUMBERS).expect("fits") - count),
            );
            let keys: ArrayRef = cast(&keys, data_type).expect("an integer type");
            let predicate = Expr::InKeys {
                column: id,
                keys: keys.clone(),
            };
            if !self.connector.capabilities().evaluates(&predicate, &below) {
                continue;
            }
            let query = filtered(&numbers, &[id], predicate);
            let found = read(&*reader, &query)
                .await
                .unwrap_or_else(|error| panic!("{count} keys: {error}"));
            let mut found = local::integers(found.column(0));
            found.sort_unstable();
            let rows = i128::try_from(NUMBERS).expect("fits");
            let expected: Vec<i128> = local::integers(&keys)
                .into_iter()
                .filter(|key| (0..rows).contains(key))
                .collect();
            assert_eq!(found, expected, "{count} keys");
        }
    }

    async fn limits_and_no_columns(&self) {
        let numbers = self.table("numbers");
        let reader = self.reader();
        let none = scan(&numbers, &[]);
        assert_eq!(
            read(&*reader, &none).await.expect("counts").num_rows(),
            NUMBERS,
            "a scan without columns has rows"
        );
        if !self.connector.capabilities().limit {
            return;
        }
        for rows in [0, 1, 7, 20_000] {
            let limited = RemoteQuery::of_table(numbers.clone(), &[0], None, Some(rows));
            let found = read(&*reader, &limited).await.expect("limits");
            assert_eq!(found.num_rows() as u64, rows);
        }
    }

    fn is_safe(&self, error: &ConnectorError) {
        is_safe(self.fixture, &self.fixture.spec, error);
    }
}

fn is_safe(fixture: &Fixture, spec: &SourceSpec, error: &ConnectorError) {
    let shown = format!("{error} {error:?}");
    assert!(
        error.to_string().starts_with(&format!("source `{}`: ", spec.name)),
        "{shown}"
    );
    for secret in &fixture.secrets {
        assert!(!shown.contains(secret.as_str()), "a secret in {shown}");
    }
}

async fn refusals_name_the_source_and_nothing_else(fixture: &Fixture) {
    let connector = fixture.factory.open(&fixture.spec).expect("opens");
    let shown = format!("{:?} {:?} {:?}", connector, fixture.spec, context(1));
    for secret in &fixture.secrets {
        assert!(!shown.contains(secret.as_str()), "a secret in {shown}");
    }
    for spec in &fixture.broken {
        let begun = Instant::now();
        let error = match fixture.factory.open(spec) {
            Ok(connector) => connector.introspect().await.expect_err("a broken source is an error"),
            Err(error) => error,
        };
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "it took {:?}",
            begun.elapsed()
        );
        is_safe(fixture, spec, &error);
        let expected = [ErrorClass::Denied, ErrorClass::Unavailable, ErrorClass::Options];
        assert!(expected.contains(&error.class), "{error:?}");
    }
}

/// The scalar types that the suite knows values of.
fn is_known(data_type: &DataType) -> bool {
    caliber_connector_spi::TypeClass::of(data_type).is_some()
}
