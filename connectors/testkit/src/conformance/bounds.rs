//! What a read may cost and how it ends: batches, connections, time, no writing.
//!
//! Owns: checks of the bounds a connector keeps. Never: what the rows hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use caliber_connector_spi::{BatchStream, ErrorClass, RemoteTable};
use futures::{StreamExt, TryStreamExt};

use super::{NUMBERS, Source, context, local, read, scan, whole};

/// How soon a statement must have ended at the source once nobody wants it.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);

impl Source<'_> {
    pub(super) async fn batches_are_bounded(&self) {
        let numbers = self.table("numbers");
        let query = whole(&numbers);
        let mut answers: Vec<Vec<i128>> = Vec::new();
        for batch_rows_max in [1, 7, 8192] {
            let reader = self.connector.reader(context(batch_rows_max));
            let mut batches = reader.read(&query).await.expect("reads");
            let mut ids = Vec::new();
            while let Some(batch) = batches.next().await {
                let batch = batch.expect("a batch");
                assert!(
                    (1..=batch_rows_max).contains(&batch.num_rows()),
                    "{} rows",
                    batch.num_rows()
                );
                assert_eq!(batch.schema(), query.schema());
                ids.extend(local::integers(batch.column_by_name("id").expect("a column `id`")));
            }
            ids.sort_unstable();
            assert_eq!(ids.len(), NUMBERS);
            answers.push(ids);
        }
        assert!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "the rows do not depend on the size of batches"
        );
    }

    pub(super) async fn an_unconsumed_read_blocks_no_other(&self) {
        let numbers = self.table("numbers");
        let query = whole(&numbers);
        let reader = self.connector.reader(context(128));
        // Three at once, so that there are more reads than connections.
        let mut held: Vec<BatchStream> = Vec::new();
        for _ in 0..3 {
            let mut batches = reader.read(&query).await.expect("reads");
            batches.next().await.expect("a batch").expect("a batch");
            held.push(batches);
        }
        for batches in held.into_iter().rev() {
            let rest: Vec<RecordBatch> = batches.try_collect().await.expect("the rest");
            let rows: usize = rest.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(rows, NUMBERS - 128);
        }
    }

    pub(super) async fn a_dropped_stream_leaves_the_query_its_snapshot(&self) {
        let numbers = self.table("numbers");
        let query = whole(&numbers);
        let reader = self.connector.reader(context(16));
        for _ in 0..5 {
            let mut batches = reader.read(&query).await.expect("reads");
            batches.next().await.expect("a batch").expect("a batch");
        }
        assert_eq!(
            read(&*reader, &query).await.expect("reads to the end").num_rows(),
            NUMBERS
        );
    }

    pub(super) async fn writes_are_refused(&self) {
        let Some(view) = self.fixture.writes else { return };
        let table = self
            .schema
            .table(view)
            .cloned()
            .unwrap_or_else(|| self.undescribed(view));
        let error = read(&*self.reader(), &scan(&Arc::new(table), &[0])).await;
        let error = error.err().unwrap_or_else(|| panic!("`{view}` wrote"));
        self.is_safe(&error);
    }

    /// A view with an integer column `n`, for a source that does not even describe it in a read-only session.
    fn undescribed(&self, view: &str) -> RemoteTable {
        let mut table = self.schema.table("numbers").expect("a table").clone();
        view.clone_into(&mut table.name);
        table.columns.truncate(1);
        "n".clone_into(&mut table.columns[0].name);
        table.columns[0].data_type = DataType::Int32;
        table
    }

    pub(super) async fn a_read_ends_with_its_stream_and_its_deadline(&self) {
        let Some(slow) = &self.fixture.slow else { return };
        let table = self.table(slow.view);
        let query = scan(&table, &[0]);
        // Dropped.
        let batches = self.reader().read(&query).await.expect("begins");
        wait_until(|| async { (slow.running)().await > 0 }, "the statement runs").await;
        drop(batches);
        let dropped = Instant::now();
        wait_until(
            || async { (slow.running)().await == 0 },
            "the dropped statement has ended",
        )
        .await;
        assert!(dropped.elapsed() < CANCEL_WITHIN * 2, "it took {:?}", dropped.elapsed());
        // Expired, though nobody polls the stream.
        let mut brief = context(8192);
        brief.deadline = Instant::now() + Duration::from_millis(700);
        let deadline = brief.deadline;
        let mut batches = self.connector.reader(brief).read(&query).await.expect("begins");
        wait_until(|| async { (slow.running)().await > 0 }, "the statement runs").await;
        wait_until(
            || async { (slow.running)().await == 0 },
            "the expired statement has ended",
        )
        .await;
        assert!(Instant::now() < deadline + CANCEL_WITHIN * 2);
        let error = batches
            .next()
            .await
            .expect("an error, not the end")
            .expect_err("an error, not a batch");
        assert_eq!(error.class, ErrorClass::Deadline, "{error}");
        self.is_safe(&error);
        // Whoever borrows the connection next is not cancelled.
        let numbers = self.table("numbers");
        let query = scan(&numbers, &[0]);
        assert_eq!(read(&*self.reader(), &query).await.expect("reads").num_rows(), NUMBERS);
    }
}

/// Polls a condition that something else brings about, for at most five seconds.
async fn wait_until<F: Future<Output = bool>>(condition: impl Fn() -> F, what: &str) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "never came: {what}");
        tokio::task::yield_now().await;
    }
}
