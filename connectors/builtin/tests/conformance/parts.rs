//! Groups of a large table of PostgreSQL that may come in parts: one statement for each range of it, and together just the
//! groups that one statement gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::display::array_value_to_string;
use caliber_connector_spi::{
    Aggregate, AggregateFunction, Comparison, Connector, Expr, Relation, RemoteQuery, RemoteTable,
};
use caliber_testkit::Postgres;

use crate::transfer::{all, cuts, filtered, open, reader, table};

/// As many rows as `large` has, of 30,000 keys, each in every third of the table.
const TABLE: &str = "
CREATE TABLE many AS SELECT n % 30000 AS id, n AS indexed, repeat(chr(65 + n % 26), 500) AS filler
  FROM generate_series(1, 90000) n;
CREATE INDEX ON many (indexed);
ANALYZE many;
ALTER DATABASE parts SET max_parallel_workers_per_gather = 0;";

/// How many rows of `input` have each value of its column `key`.
fn counted(input: Relation, key: usize, in_parts: bool) -> RemoteQuery {
    let root = Relation::Aggregate {
        input: Box::new(input),
        keys: vec![Expr::Column(key)],
        aggregates: vec![Aggregate {
            function: AggregateFunction::Count,
            argument: None,
            distinct: false,
            filter: None,
            data_type: DataType::Int64,
        }],
    };
    RemoteQuery { root, in_parts }
}

/// The count of each key, how many rows came, and over how many ranges of the table.
async fn answer(connector: &dyn Connector, query: &RemoteQuery) -> (BTreeMap<String, i64>, usize, usize) {
    let (reader, log) = reader(connector, 8192);
    let batches = all(reader.read(query).await.expect("reads"))
        .await
        .expect("reads to the end");
    let mut counts = BTreeMap::new();
    for batch in &batches {
        let numbers = batch.column(1).as_primitive::<Int64Type>();
        for (row, number) in numbers.iter().enumerate() {
            let key = array_value_to_string(batch.column(0), row).expect("prints");
            *counts.entry(key).or_default() += number.expect("no NULL");
        }
    }
    (counts, batches.iter().map(RecordBatch::num_rows).sum(), log.ranged())
}

/// The table, and connections to spare while the query before gives its own back. The server, whose own workers would read
/// the table otherwise, is kept from it.
async fn many() -> (Arc<dyn Connector>, Arc<RemoteTable>) {
    static URL: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    let url = URL.get_or_init(|| async {
        let postgres = Postgres::shared().expect("a server");
        let url = postgres.create_database("parts").await.expect("a database");
        postgres.run("parts", TABLE).await.expect("loads");
        url
    });
    let connector = open(url.await, 8);
    let table = table(&*connector, "many").await;
    (connector, table)
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_in_parts_are_the_groups() {
    let (connector, many) = many().await;
    let whole = || Relation::Scan { table: many.clone() };
    let late = || filtered(&many, 0, Comparison::Greater, 1_000).root;
    for input in [&whole as &dyn Fn() -> Relation, &late] {
        let (counts, rows, ranged) = answer(&*connector, &counted(input(), 0, false)).await;
        assert_eq!((rows, ranged), (counts.len(), 0), "each group once, in one statement");
        assert!(counts.len() > 28_000);
        let (in_parts, rows, ranged) = answer(&*connector, &counted(input(), 0, true)).await;
        assert_eq!(in_parts, counts);
        assert_eq!(ranged > 1, cuts());
        assert!(rows <= counts.len() * ranged.max(1), "each group once for each range");
        assert_eq!(rows > counts.len(), cuts());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_groups_are_one_statement() {
    let (connector, many) = many().await;
    // One looks up, another the server finds by its index, the last has few groups.
    let looked_up = filtered(&many, 1, Comparison::Equal, 77).root;
    let found = filtered(&many, 1, Comparison::Less, 50).root;
    for (input, key) in [(looked_up, 0), (found, 0), (Relation::Scan { table: many.clone() }, 2)] {
        let (counts, rows, ranged) = answer(&*connector, &counted(input, key, true)).await;
        assert_eq!((rows, ranged), (counts.len(), 0));
    }
}
