//! The rows of a statement, within its bounds, to the end or to an error.
//!
//! Owns: deadline, result bounds, the closing audit record, the receipt. Never: ends early without an error (INV-8).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use caliber_catalog::diagnostic::Code;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};

use super::audit::OpenRecord;
use super::query_run::QueryRun;
use super::receipt::{MetricUsed, Receipt, SourceReceipt};
use super::wire_types::to_wire;
use crate::EngineError;
use crate::govern::reaches_group::Withheld;

/// The rows of a statement. Dropping it cancels the statement at its sources.
pub struct QueryStream {
    inner: BoxStream<'static, Result<RecordBatch, EngineError>>,
    schema: SchemaRef,
    run: Arc<QueryRun>,
    record: Option<OpenRecord>,
    deadline: Pin<Box<tokio::time::Sleep>>,
    started: Instant,
    rows_max: u64,
    bytes_max: u64,
    rows: u64,
    bytes: u64,
    told: Told,
    ended: Option<Duration>,
}

/// The bounds of one result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResultBounds {
    pub rows_max: u64,
    pub bytes_max: u64,
}

/// What the receipt says of the statement.
pub(crate) struct Told {
    pub masked_columns: usize,
    pub metrics: Vec<MetricUsed>,
    pub withheld: Withheld,
}

impl QueryStream {
    pub(crate) fn new(
        inner: BoxStream<'static, Result<RecordBatch, EngineError>>,
        schema: SchemaRef,
        run: Arc<QueryRun>,
        record: OpenRecord,
        started: Instant,
        bounds: ResultBounds,
        told: Told,
    ) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until(run.deadline.into()));
        Self {
            inner,
            schema,
            run,
            record: Some(record),
            deadline,
            started,
            rows_max: bounds.rows_max,
            bytes_max: bounds.bytes_max,
            rows: 0,
            bytes: 0,
            told,
            ended: None,
        }
    }

    /// The schema of every batch, equal to what `Session::prepare` said.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Names the run in logs, receipts and at sources.
    pub fn query_id(&self) -> &str {
        &self.run.query_id
    }

    /// What the answer rests on; complete once the stream has ended.
    pub fn receipt(&self) -> Receipt {
        use std::sync::atomic::Ordering::Relaxed;
        let sources = self
            .run
            .counts()
            .into_iter()
            .filter(|(source, _)| self.run.visible_sources.contains(source))
            .map(|(source, counts)| SourceReceipt {
                source,
                statements: counts.statements.load(Relaxed),
                rows: counts.rows.load(Relaxed),
                bytes: counts.bytes.load(Relaxed),
            })
            .collect();
        Receipt {
            query_id: self.run.query_id.clone(),
            rows: self.rows,
            elapsed: self.ended.unwrap_or_else(|| self.started.elapsed()),
            sources,
            masked_columns: self.told.masked_columns,
            metrics: self.told.metrics.clone(),
            withheld: self.told.withheld.load(Relaxed),
        }
    }

    /// The statements sent to sources so far, by source. For operators and tests: they show what policy added.
    pub fn statements(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (source, counts) in self.run.counts() {
            all.extend(counts.texts.lock().iter().map(|text| (source.clone(), text.clone())));
        }
        all
    }

    fn end(&mut self, outcome: Result<(), Code>) {
        if self.ended.is_none() {
            self.ended = Some(self.started.elapsed());
            self.inner = futures::stream::empty().boxed();
            if let Some(record) = self.record.take() {
                let sources = self.run.counts().into_keys().collect();
                record.end(self.rows, self.bytes, sources, outcome);
            }
        }
    }

    fn fail(&mut self, error: EngineError) -> Poll<Option<Result<RecordBatch, EngineError>>> {
        self.end(Err(error.code));
        Poll::Ready(Some(Err(error)))
    }

    fn admit(&mut self, batch: &RecordBatch) -> Result<RecordBatch, EngineError> {
        let batch = to_wire(batch, &self.schema)?;
        self.rows += batch.num_rows() as u64;
        self.bytes += bytes_of(&batch);
        let too_large = |what: &str, bound: u64| {
            EngineError::new(Code::LIM003, format!("the result has more than {bound} {what}"))
                .help("add a LIMIT or a filter, or ask for an aggregate; the bound is `server.limits`")
        };
        if self.rows > self.rows_max {
            return Err(too_large("rows", self.rows_max));
        }
        if self.bytes > self.bytes_max {
            return Err(too_large("bytes", self.bytes_max));
        }
        Ok(batch)
    }
}

/// The bytes of a batch's values. Not of its buffers: their spare room comes from how the rows were filtered, so it
/// would tell of rows that policy hides, and the bound must fall alike with and without them.
fn bytes_of(batch: &RecordBatch) -> u64 {
    let column = |column: &ArrayRef| {
        let data = column.to_data();
        let bitmap = if data.nulls().is_some() && data.null_count() == 0 {
            data.len().div_ceil(8)
        } else {
            0
        };
        // Errors are of types that no wire type is.
        let bytes = data.get_slice_memory_size().unwrap_or_default();
        bytes.saturating_sub(bitmap) as u64
    };
    batch.columns().iter().map(column).sum()
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        if self.deadline.poll_unpin(context).is_ready() {
            let error = EngineError::new(Code::LIM004, "the statement did not finish before its deadline")
                .help("ask for less, or raise `server.limits.query_timeout`");
            return self.fail(error);
        }
        match self.inner.poll_next_unpin(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.end(Ok(()));
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => self.fail(error),
            Poll::Ready(Some(Ok(batch))) => match self.admit(&batch) {
                Ok(batch) => Poll::Ready(Some(Ok(batch))),
                Err(error) => self.fail(error),
            },
        }
    }
}

impl Drop for QueryStream {
    fn drop(&mut self) {
        self.end(Err(Code::LIM006));
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, StringArray};
    use arrow::compute::filter_record_batch;

    use super::*;

    /// The same rows count alike, whatever stood between them.
    #[test]
    fn inv3_hidden_rows_do_not_count() {
        let batch = |rows: Vec<Option<String>>| {
            let column: ArrayRef = Arc::new(StringArray::from(rows));
            RecordBatch::try_from_iter_with_nullable([("v", column, true)]).expect("a batch")
        };
        let visible = |row: usize| Some(format!("value {row}"));
        let alone = batch((0..100).map(visible).collect());
        let among = (0..1_000).map(|row| if row % 10 == 0 { visible(row / 10) } else { None });
        let among = batch(among.collect());
        let keep: BooleanArray = (0..1_000).map(|row| Some(row % 10 == 0)).collect();
        let filtered = filter_record_batch(&among, &keep).expect("filtered");
        assert_eq!(filtered, alone);
        assert_eq!(bytes_of(&filtered), bytes_of(&alone));
        assert_eq!(bytes_of(&alone.slice(10, 5)), bytes_of(&filtered.slice(10, 5)));
        assert!(bytes_of(&alone) >= 100 * 8);
    }
}
