//! A scan under way: its batches in the promised schema and size, its deadline, its honest end.
//!
//! Owns: the stream of one read, and what of DataFusion's errors may be said. Never: ends well over files that changed.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use caliber_connector_spi::{ConnectorError, ErrorClass, StatementLog};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use super::Files;
use super::options::TableSpec;
use super::pinned::Pinned;
use super::places::State;
use crate::batch::sliced_bytes;

/// The size beyond which a batch is cut in two.
const BATCH_BYTES_MAX: usize = 8 << 20;

pub(super) fn changed(files: &Files, spec: &TableSpec) -> ConnectorError {
    files.error(
        ErrorClass::Drift,
        format!("the files of table `{}` changed while the query read them", spec.name),
    )
}

/// An error of DataFusion's readers, without its text: it may hold paths and values.
pub(super) fn refused(files: &Files, spec: &TableSpec, store: &Pinned, error: &DataFusionError) -> ConnectorError {
    if let Some(failure) = store.failure() {
        return files.failed(spec, failure);
    }
    match error.find_root() {
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::NotImplemented(_) => files
            .error(
                ErrorClass::Statement,
                format!("the query over table `{}` cannot be planned", spec.name),
            ),
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => files.error(
            ErrorClass::Unavailable,
            format!("a file of table `{}` cannot be read", spec.name),
        ),
        DataFusionError::ResourcesExhausted(_) => files.error(
            ErrorClass::Limit,
            format!("reading table `{}` takes too much memory", spec.name),
        ),
        _ => files.error(
            ErrorClass::Data,
            format!(
                "a file of table `{}` is damaged, or holds a value of another type",
                spec.name
            ),
        ),
    }
}

/// One scan under way. Dropping it ends it.
pub(super) struct Scan {
    pub(super) files: Files,
    pub(super) spec: TableSpec,
    pub(super) state: State,
    pub(super) store: Arc<Pinned>,
    pub(super) stream: SendableRecordBatchStream,
    pub(super) schema: SchemaRef,
    pub(super) deadline: Instant,
    /// Parts of a batch that was too large, last first.
    pub(super) pending: Vec<RecordBatch>,
    pub(super) received: (usize, usize),
    pub(super) log: Arc<dyn StatementLog>,
    /// Held until the scan is gone.
    #[expect(dead_code, reason = "held, not read")]
    pub(super) place: Arc<OwnedSemaphorePermit>,
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.log.received(self.received.0, self.received.1);
    }
}

pub(super) async fn next(scan: Option<Scan>) -> Result<Option<(RecordBatch, Option<Scan>)>, ConnectorError> {
    let Some(mut scan) = scan else { return Ok(None) };
    loop {
        while let Some(batch) = scan.pending.pop() {
            if batch.num_rows() > 1
                && batch.get_array_memory_size() > BATCH_BYTES_MAX
                && sliced_bytes(&batch) > BATCH_BYTES_MAX
            {
                let half = batch.num_rows() / 2;
                scan.pending.push(batch.slice(half, batch.num_rows() - half));
                scan.pending.push(batch.slice(0, half));
                continue;
            }
            let batch = shaped(&scan, &batch)?;
            scan.received.0 += batch.num_rows();
            scan.received.1 += sliced_bytes(&batch);
            return Ok(Some((batch, Some(scan))));
        }
        match tokio::time::timeout_at(scan.deadline.into(), scan.stream.next()).await {
            Ok(Some(Ok(batch))) if batch.num_rows() == 0 => {}
            Ok(Some(Ok(batch))) => scan.pending.push(batch),
            Ok(Some(Err(error))) => return Err(refused(&scan.files, &scan.spec, &scan.store, &error)),
            Ok(None) => return ended(scan).await,
            Err(_) => return Err(scan.files.error(ErrorClass::Deadline, "the deadline passed")),
        }
    }
}

/// The end of a scan: an answer only if the files are still what they were when it began. Files of a store were asked for by
/// their tags, and one that has changed did not come.
async fn ended(scan: Scan) -> Result<Option<(RecordBatch, Option<Scan>)>, ConnectorError> {
    if scan.state.values().all(|file| file.e_tag.is_some()) {
        return Ok(None);
    }
    let now = tokio::time::timeout_at(scan.deadline.into(), scan.files.root.find(&scan.spec.path)).await;
    match now {
        Ok(Ok(now)) if now == scan.state => Ok(None),
        Ok(_) => Err(changed(&scan.files, &scan.spec)),
        Err(_) => Err(scan.files.error(ErrorClass::Deadline, "the deadline passed")),
    }
}

/// The batch in the very schema promised: nullability and metadata are the query's, not the file's.
fn shaped(scan: &Scan, batch: &RecordBatch) -> Result<RecordBatch, ConnectorError> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(scan.schema.clone(), batch.columns().to_vec(), &options).map_err(|_| {
        scan.files.error(
            ErrorClass::Data,
            format!("a file of table `{}` holds a value of another type", scan.spec.name),
        )
    })
}
