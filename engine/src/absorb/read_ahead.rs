//! Reads a scan of few rows as soon as the plan starts, so that sources that do not wait for each other are asked at once.
//!
//! Owns: what is read before anyone asks for it, and how much. Never: waits for its reader with a connection in its hands:
//! what turns out larger is given up, and read when it is wanted.

use std::future::Future;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::EngineError;

/// Scans guessed to give more rows are read when they are wanted.
const ROWS_GUESSED_MAX: f64 = 2_000.0;
/// Bytes read ahead by one scan, at most.
const BYTES_MAX: usize = 1 << 20;

/// The rows that `open` leads to; opened now where they are guessed to be few.
pub(crate) fn read_ahead<O, F>(
    rows: f64,
    context: &Arc<TaskContext>,
    open: O,
) -> BoxStream<'static, Result<RecordBatch>>
where
    O: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = std::result::Result<BoxStream<'static, Result<RecordBatch>>, EngineError>> + Send + 'static,
{
    if rows > ROWS_GUESSED_MAX {
        return lazily(open());
    }
    let reservation = MemoryConsumer::new("rows read ahead").register(context.memory_pool());
    let ahead = SpawnedTask::spawn(few(open(), reservation));
    let read = async move {
        let few = ahead
            .join()
            .await
            .map_err(|error| DataFusionError::External(error.into()))?;
        Ok::<_, DataFusionError>(match few? {
            Some((batches, reservation)) => futures::stream::iter(batches)
                .map(move |batch| {
                    let batch: RecordBatch = batch;
                    reservation.shrink(batch.get_array_memory_size().min(reservation.size()));
                    Ok(batch)
                })
                .boxed(),
            None => lazily(open()),
        })
    };
    futures::stream::once(read).try_flatten().boxed()
}

fn lazily<F>(opened: F) -> BoxStream<'static, Result<RecordBatch>>
where
    F: Future<Output = std::result::Result<BoxStream<'static, Result<RecordBatch>>, EngineError>> + Send + 'static,
{
    let opened = async move { opened.await.map_err(DataFusionError::from) };
    futures::stream::once(opened).try_flatten().boxed()
}

/// All rows, with the memory they take; `None` where they are too many.
async fn few<F>(opened: F, reservation: MemoryReservation) -> Result<Option<(Vec<RecordBatch>, MemoryReservation)>>
where
    F: Future<Output = std::result::Result<BoxStream<'static, Result<RecordBatch>>, EngineError>>,
{
    let mut stream = opened.await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        let bytes = batch.get_array_memory_size();
        if reservation.size() + bytes > BYTES_MAX || reservation.try_grow(bytes).is_err() {
            return Ok(None);
        }
        batches.push(batch);
    }
    Ok(Some((batches, reservation)))
}
