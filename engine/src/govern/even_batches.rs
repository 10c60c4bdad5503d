//! Governed batches whose boundaries depend on visible rows alone.
//!
//! Owns: gathering rows to full batches, the limit. Never: a batch cut where a hidden row stood.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::governed_rows::GovernedRows;
use crate::EngineError;
use crate::absorb::raw_read::RawStream;

/// The governed rows of `raw`, in batches of exactly as many as `rows` says, but for the last.
pub(crate) fn even_batches(rows: GovernedRows, raw: RawStream) -> BoxStream<'static, Result<RecordBatch, EngineError>> {
    let left = rows.limit.unwrap_or(usize::MAX);
    let state = Pending {
        rows,
        raw,
        batches: Vec::new(),
        count: 0,
        left,
        done: false,
    };
    Box::pin(futures::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|batch| (batch, state)))
    }))
}

/// Governed rows waiting to fill a batch.
struct Pending {
    rows: GovernedRows,
    raw: RawStream,
    batches: Vec<RecordBatch>,
    count: usize,
    left: usize,
    done: bool,
}

impl Pending {
    async fn next(&mut self) -> Result<Option<RecordBatch>, EngineError> {
        let wanted = self.rows.batch_rows;
        while !self.done && self.count < wanted.min(self.left) {
            match self.raw.try_next().await? {
                Some(raw) => {
                    let governed = self.rows.govern(&raw)?;
                    if governed.num_rows() > 0 {
                        self.count += governed.num_rows();
                        self.batches.push(governed);
                    }
                }
                None => self.done = true,
            }
        }
        let take = self.count.min(wanted).min(self.left);
        if take == 0 {
            return Ok(None);
        }
        let all = match self.batches.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&self.rows.schema, many)
                .map_err(|error| EngineError::internal("governed rows could not be gathered", &error))?,
        };
        let batch = all.slice(0, take);
        self.count -= take;
        self.left -= take;
        self.batches.clear();
        if self.count > 0 {
            self.batches.push(all.slice(take, self.count));
        }
        if self.left == 0 {
            self.done = true;
            self.count = 0;
        }
        Ok(Some(batch))
    }
}
