//! Record batches to Flight messages that every client accepts.
//!
//! Owns: the size of messages, the zero-row batch that carries the receipt. Never: changes a value.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, SchemaAsIpc};
use bytes::Bytes;
use caliber_catalog::diagnostic::Code;
use tonic::Status;

use crate::status;

/// Batches are split to messages of about this size.
const MESSAGE_BYTES_TARGET: usize = 2 * 1024 * 1024;
/// gRPC's usual limit is 4 MiB for the whole message; the rest is for its frame.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024 - 64 * 1024;

/// Encodes the batches of one result.
pub struct BatchEncoder {
    schema: SchemaRef,
    options: IpcWriteOptions,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    context: IpcWriteContext,
}

impl BatchEncoder {
    /// For batches of exactly `schema`, which has plain wire types only.
    pub fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            options: IpcWriteOptions::default(),
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(true),
            context: IpcWriteContext::default(),
        }
    }

    /// The first message of the stream.
    pub fn schema_message(&self) -> FlightData {
        SchemaAsIpc::new(&self.schema, &self.options).into()
    }

    /// The messages of `batch`, split by rows where needed. A row too large for any message is `LIM003`.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>, Status> {
        if batch.schema_ref().fields() != self.schema.fields() {
            tracing::error!("a batch does not have the schema that was promised");
            return Err(status::internal());
        }
        let mut messages = Vec::new();
        // Pieces still to encode, the next one last.
        let mut pieces = vec![batch.clone()];
        while let Some(piece) = pieces.pop() {
            let message = self.message(&piece)?;
            let bytes = message.data_header.len() + message.data_body.len();
            let rows = piece.num_rows();
            if bytes <= MESSAGE_BYTES_TARGET || (rows == 1 && bytes <= MESSAGE_BYTES_MAX) {
                messages.push(message);
            } else if rows <= 1 {
                return Err(too_large(bytes));
            } else {
                let each = rows.div_ceil(bytes.div_ceil(MESSAGE_BYTES_TARGET)).clamp(1, rows - 1);
                let starts = (0..rows).step_by(each).collect::<Vec<_>>();
                pieces.extend(
                    starts
                        .into_iter()
                        .rev()
                        .map(|start| piece.slice(start, each.min(rows - start))),
                );
            }
        }
        Ok(messages)
    }

    /// A batch without rows that carries `metadata`: what a client reads last.
    pub fn last_message(&mut self, metadata: Bytes) -> Result<FlightData, Status> {
        let empty = RecordBatch::new_empty(self.schema.clone());
        Ok(self.message(&empty)?.with_app_metadata(metadata))
    }

    fn message(&mut self, batch: &RecordBatch) -> Result<FlightData, Status> {
        let encoded = self
            .generator
            .encode(batch, &mut self.dictionaries, &self.options, &mut self.context);
        let (dictionaries, message) = encoded.map_err(|error| {
            tracing::error!(%error, "a batch cannot be encoded");
            status::internal()
        })?;
        if !dictionaries.is_empty() {
            tracing::error!("a batch has a dictionary, which is no wire type");
            return Err(status::internal());
        }
        Ok(message.into())
    }
}

fn too_large(bytes: usize) -> Status {
    let message = format!("one row takes {bytes} bytes; a message holds {MESSAGE_BYTES_MAX}");
    status::of_code(
        Code::LIM003,
        &message,
        Some("select fewer columns, or parts of the large value with substr"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow_flight::utils::flight_data_to_batches;

    use super::*;

    fn batch(texts: Vec<String>) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(0..texts.len() as i64);
        let columns = [
            ("n", Arc::new(numbers) as _),
            ("t", Arc::new(StringArray::from(texts)) as _),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn round_trip(batch: &RecordBatch) -> (Vec<usize>, RecordBatch) {
        let mut encoder = BatchEncoder::new(batch.schema());
        let messages = encoder.encode(batch).unwrap();
        let sizes = messages
            .iter()
            .map(|message| message.data_header.len() + message.data_body.len())
            .collect();
        let all = [vec![encoder.schema_message()], messages].concat();
        let batches = flight_data_to_batches(&all).unwrap();
        (
            sizes,
            arrow::compute::concat_batches(&batch.schema(), &batches).unwrap(),
        )
    }

    #[test]
    fn uneven_rows_stay_under_the_target_in_order() {
        let texts = (0..5_000)
            .map(|row| "x".repeat(if row % 1_000 == 0 { 1_500_000 } else { row % 90 }))
            .collect();
        let batch = batch(texts);
        let (sizes, read) = round_trip(&batch);
        assert!(sizes.iter().all(|size| *size <= MESSAGE_BYTES_TARGET), "{sizes:?}");
        assert_eq!(read, batch);
    }

    #[test]
    fn one_row_may_reach_the_limit_and_not_pass_it() {
        let (sizes, read) = round_trip(&batch(vec!["a".into(), "x".repeat(3_000_000), "b".into()]));
        assert_eq!(sizes.len(), 3);
        assert_eq!(read.num_rows(), 3);
        let large = batch(vec!["a".into(), "x".repeat(MESSAGE_BYTES_MAX)]);
        let refused = BatchEncoder::new(large.schema()).encode(&large).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().starts_with("LIM003"));
    }

    #[test]
    fn the_last_message_has_no_rows_and_the_receipt() {
        let batch = batch(vec!["a".into()]);
        let mut encoder = BatchEncoder::new(batch.schema());
        let last = encoder.last_message(Bytes::from_static(b"{}")).unwrap();
        assert_eq!(&last.app_metadata[..], b"{}");
        let batches = flight_data_to_batches(&[encoder.schema_message(), last]).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    }

    #[test]
    fn a_batch_of_another_schema_is_our_bug() {
        let other = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
        let mut encoder = BatchEncoder::new(batch(vec![]).schema());
        assert_eq!(encoder.encode(&other).unwrap_err().code(), tonic::Code::Internal);
    }
}
