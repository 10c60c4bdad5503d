//! Groups of a large table of PostgreSQL that may come in parts: one statement for each range of it, and together just the
//! groups that one statement gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use caliber_connector_spi::{Aggregate, AggregateFunction, Comparison, Connector, Expr, Relation, RemoteQuery};

use caliber_testkit::Postgres;

use crate::transfer::{all, cuts, filtered, load, open, reader, shared, table};

/// How many rows of `input` have each `filler`.
fn counted(input: Relation, in_parts: bool) -> RemoteQuery {
    let root = Relation::Aggregate {
        input: Box::new(input),
        keys: vec![Expr::Column(2)],
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

/// The count of each filler, how many rows came, and over how many ranges of the table.
async fn answer(connector: &dyn Connector, query: &RemoteQuery) -> (BTreeMap<String, i64>, usize, usize) {
    let (reader, log) = reader(connector, 8192);
    let batches = all(reader.read(query).await.expect("reads"))
        .await
        .expect("reads to the end");
    let mut counts = BTreeMap::new();
    for batch in &batches {
        let (fillers, numbers) = (
            batch.column(0).as_string::<i32>(),
            batch.column(1).as_primitive::<Int64Type>(),
        );
        for (filler, number) in fillers.iter().zip(numbers) {
            *counts.entry(filler.expect("no NULL").to_owned()).or_default() += number.expect("no NULL");
        }
    }
    (counts, batches.iter().map(RecordBatch::num_rows).sum(), log.ranged())
}

/// A server that would read the table with workers of its own is left to.
async fn alone() -> Arc<dyn Connector> {
    let url = load("parts").await;
    let script = "ALTER DATABASE parts SET max_parallel_workers_per_gather = 0";
    Postgres::shared()
        .expect("a server")
        .run("parts", script)
        .await
        .expect("sets");
    // More than half must be for the asking, while the query before gives its own back.
    open(&url, 8)
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_in_parts_are_the_groups() {
    let connector = alone().await;
    let large = table(&*connector, "large").await;
    let whole = || Relation::Scan { table: large.clone() };
    let late = || filtered(&large, 0, Comparison::Greater, 30_000).root;
    for input in [&whole as &dyn Fn() -> Relation, &late] {
        let (counts, rows, ranged) = answer(&*connector, &counted(input(), false)).await;
        assert_eq!((rows, ranged), (counts.len(), 0), "each group once, in one statement");
        let (in_parts, rows, ranged) = answer(&*connector, &counted(input(), true)).await;
        assert_eq!(in_parts, counts);
        assert_eq!(ranged > 1, cuts());
        assert!(
            rows <= counts.len() * ranged.max(1),
            "no more than each group once for each range"
        );
        assert_eq!(rows > counts.len(), cuts());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_few_rows_are_one_statement() {
    let connector = open(shared().await, 4);
    let large = table(&*connector, "large").await;
    // One looks up, the other the server finds by its index.
    for (op, value) in [(Comparison::Equal, 77), (Comparison::Less, 50)] {
        let few = filtered(&large, 1, op, value).root;
        let (counts, rows, ranged) = answer(&*connector, &counted(few, true)).await;
        assert_eq!((rows, ranged), (counts.len(), 0));
    }
}
