//! A read of PostgreSQL that is expected to be the query's only one: what comes after it sees the same state all the same, and
//! a pooled connection that is gone costs nothing but another.

use caliber_connector_spi::{BatchStream, Comparison, RemoteQuery};
use caliber_testkit::Postgres;
use futures::StreamExt;

use crate::transfer::{all, filtered, load, open, reader, table};

async fn count(batches: BatchStream) -> usize {
    let batches = all(batches).await.expect("reads to the end");
    batches.iter().map(arrow::array::RecordBatch::num_rows).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn later_reads_see_the_same_state() {
    let postgres = Postgres::shared().expect("a server");
    let connector = open(&load("alone_state").await, 4);
    let large = table(&*connector, "large").await;
    // Found by the index, so never cut into ranges.
    let few: RemoteQuery = filtered(&large, 1, Comparison::Equal, 77);
    let (warm, _) = reader(&*connector, 8192);
    assert_eq!(count(warm.read_alone(&few).await.expect("reads")).await, 1);
    drop(warm);
    let (one, _) = reader(&*connector, 8192);
    assert_eq!(count(one.read_alone(&few).await.expect("reads")).await, 1);
    let more = "INSERT INTO large SELECT 77, 77, 'late' FROM generate_series(1, 10)";
    postgres.run("alone_state", more).await.expect("inserts");
    // One after the other, and at once.
    assert_eq!(count(one.read_alone(&few).await.expect("reads")).await, 1);
    let (first, second) = tokio::join!(one.read(&few), one.read(&few));
    assert_eq!(count(first.expect("reads")).await, 1);
    assert_eq!(count(second.expect("reads")).await, 1);
    let (other, _) = reader(&*connector, 8192);
    assert_eq!(count(other.read_alone(&few).await.expect("reads")).await, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_beside_it_waits_for_its_end() {
    let postgres = Postgres::shared().expect("a server");
    let connector = open(&load("alone_beside").await, 4);
    let large = table(&*connector, "large").await;
    // By the index too, over many batches.
    let many = filtered(&large, 1, Comparison::Equal, 5);
    let script = "INSERT INTO large SELECT 5, 5, repeat('x', 900) FROM generate_series(1, 20000)";
    postgres.run("alone_beside", script).await.expect("inserts");
    let (warm, _) = reader(&*connector, 64);
    assert_eq!(count(warm.read_alone(&many).await.expect("reads")).await, 20_001);
    drop(warm);
    let (one, _) = reader(&*connector, 64);
    let mut held = one.read_alone(&many).await.expect("reads");
    let first = held.next().await.expect("a batch").expect("a batch");
    postgres
        .run("alone_beside", "DELETE FROM large WHERE id = 5")
        .await
        .expect("deletes");
    // Its rows are not taken yet, so they are buffered.
    assert_eq!(count(one.read(&many).await.expect("reads")).await, 20_001);
    assert_eq!(first.num_rows() + count(held).await, 20_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_went_is_replaced() {
    let postgres = Postgres::shared().expect("a server");
    let connector = open(&load("alone_gone").await, 4);
    let large = table(&*connector, "large").await;
    let few = filtered(&large, 1, Comparison::Equal, 77);
    for _ in 0..5 {
        let (one, log) = reader(&*connector, 8192);
        assert_eq!(count(one.read_alone(&few).await.expect("reads")).await, 1);
        assert_eq!(log.ranged(), 0);
        drop(one);
        // Idle or about to be.
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        postgres.run("alone_gone", kill).await.expect("ends them");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_up_it_leaves_the_state_to_the_next() {
    let postgres = Postgres::shared().expect("a server");
    let connector = open(&load("alone_left").await, 4);
    let large = table(&*connector, "large").await;
    let script = "INSERT INTO large SELECT 5, 5, repeat('x', 900) FROM generate_series(1, 20000)";
    postgres.run("alone_left", script).await.expect("inserts");
    let many = filtered(&large, 1, Comparison::Equal, 5);
    let (warm, _) = reader(&*connector, 64);
    assert_eq!(count(warm.read_alone(&many).await.expect("reads")).await, 20_001);
    drop(warm);
    for _ in 0..5 {
        let (one, _) = reader(&*connector, 64);
        let mut held = one.read_alone(&many).await.expect("reads");
        held.next().await.expect("a batch").expect("a batch");
        drop(held);
        assert_eq!(count(one.read(&many).await.expect("reads")).await, 20_001);
    }
}
