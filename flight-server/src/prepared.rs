//! Prepared statements. Nothing is kept here: the handle carries the statement and its parameters, sealed.
//!
//! Owns: what create, bind and close answer; parameters as bytes. Never: the types of parameters (the engine's).

use std::panic::AssertUnwindSafe;
use std::time::SystemTime;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, DoPutPreparedStatementResult,
};
use arrow_flight::{IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use caliber_catalog::diagnostic::Code;
use caliber_engine::Prepared;
use futures::{FutureExt, TryStreamExt};
use tonic::Status;

use crate::state::{Caller, ServerState};
use crate::ticket::{Claims, Kind};
use crate::{statement, status};

/// Parameter rows of one statement.
const PARAMETER_ROWS_MAX: usize = 10_000;
/// Their bytes; tickets and handles travel in messages of at most 4 MiB.
const PARAMETER_BYTES_MAX: usize = 1024 * 1024;

/// Plans the statement and answers with its handle and both schemas, empty ones included.
pub async fn create(
    state: &ServerState,
    caller: &Caller,
    request: ActionCreatePreparedStatementRequest,
) -> Result<ActionCreatePreparedStatementResult, Status> {
    let planned = statement::plan(state, caller, &request.query).await?;
    let claims = statement::claims(state, caller, request.query)?;
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: state.sealer.seal(Kind::Prepared, claims, SystemTime::now())?,
        dataset_schema: schema_bytes(&planned.schema),
        parameter_schema: schema_bytes(&planned.parameters),
    })
}

/// Binds the rows of `stream` and answers with the handle that carries them; the old handle stays without.
pub async fn bind(
    state: &ServerState,
    caller: &Caller,
    handle: &[u8],
    stream: PeekableFlightDataStream,
) -> Result<DoPutPreparedStatementResult, Status> {
    let claims = open(state, caller, handle)?;
    // The decoder is not ours and the bytes are the client's: a panic in it is a broken message.
    let parameters = AssertUnwindSafe(collect(stream)).catch_unwind().await;
    let parameters = parameters.unwrap_or_else(|_| Err(status::malformed("the parameters cannot be decoded")))?;
    let parameters = parameters.map(|batch| write_parameters(&batch)).transpose()?;
    let handle = state
        .sealer
        .seal(Kind::Prepared, Claims { parameters, ..claims }, SystemTime::now())?;
    Ok(DoPutPreparedStatementResult {
        prepared_statement_handle: Some(handle),
    })
}

/// The statement of a handle, if it is the caller's.
pub fn open(state: &ServerState, caller: &Caller, handle: &[u8]) -> Result<Claims, Status> {
    state
        .sealer
        .open(Kind::Prepared, handle, caller.name(), SystemTime::now())
}

/// `SQL016` where the parameters bound are not as many as the statement takes.
pub fn check_parameters(planned: &Prepared, bound: Option<&Bytes>) -> Result<(), Status> {
    let bound = bound
        .map(read_parameters)
        .transpose()?
        .map_or(0, |batch| batch.num_columns());
    let taken = planned.parameters.fields().len();
    if bound == taken {
        return Ok(());
    }
    let message = format!(
        "the statement takes {taken} parameter{}, {bound} {} bound",
        if taken == 1 { "" } else { "s" },
        if bound == 1 { "is" } else { "are" },
    );
    Err(status::of_code(
        Code::SQL016,
        &message,
        Some("prepare the statement and bind a value for each `?` or `$n`"),
    ))
}

/// What `write_parameters` wrote.
pub fn read_parameters(bytes: &Bytes) -> Result<RecordBatch, Status> {
    let read = |bytes: &[u8]| StreamReader::try_new(bytes, None)?.next().transpose();
    read(bytes).ok().flatten().ok_or_else(status::internal)
}

/// A schema as clients expect it in `FlightInfo`, `dataset_schema` and `parameter_schema`.
pub fn schema_bytes(schema: &Schema) -> Bytes {
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &IpcWriteOptions::default()));
    message.map(|IpcMessage(bytes)| bytes).unwrap_or_default()
}

async fn collect(stream: PeekableFlightDataStream) -> Result<Option<RecordBatch>, Status> {
    let mut decoder = FlightRecordBatchStream::new_from_flight_data(stream.map_err(FlightError::from));
    let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while let Some(batch) = decoder.try_next().await.map_err(undecodable)? {
        rows += batch.num_rows();
        bytes += batch.get_array_memory_size();
        // A batch's memory counts its buffers' spare room as well, so this only stops what is far too much.
        if rows > PARAMETER_ROWS_MAX || bytes > 16 * PARAMETER_BYTES_MAX {
            return Err(too_many());
        }
        batches.push(batch);
    }
    let Some(schema) = decoder.schema().cloned() else {
        return Ok(None);
    };
    if schema.fields().is_empty() {
        return Ok(None);
    }
    let all = arrow::compute::concat_batches(&schema, &batches);
    all.map(Some)
        .map_err(|_| status::malformed("the parameters cannot be decoded"))
}

fn write_parameters(batch: &RecordBatch) -> Result<Bytes, Status> {
    let write = || {
        let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
        writer.write(batch)?;
        writer.into_inner()
    };
    let bytes = write().map_err(|_| status::malformed("the parameters cannot be decoded"))?;
    if bytes.len() > PARAMETER_BYTES_MAX {
        return Err(too_many());
    }
    Ok(bytes.into())
}

fn undecodable(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => status::normalised(*status),
        _ => status::malformed("the parameters cannot be decoded"),
    }
}

fn too_many() -> Status {
    let message = format!("too many parameters: at most {PARAMETER_ROWS_MAX} rows in {PARAMETER_BYTES_MAX} bytes");
    status::of_code(Code::LIM001, &message, Some("bind fewer rows at once"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn planned(parameters: usize) -> Prepared {
        let fields = (1..=parameters)
            .map(|n| Field::new(format!("${n}"), DataType::Utf8, true))
            .collect::<Vec<_>>();
        Prepared {
            schema: Arc::new(Schema::empty()),
            parameters: Arc::new(Schema::new(fields)),
        }
    }

    fn batch(rows: usize) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(0..rows as i64);
        let texts = StringArray::from_iter_values((0..rows).map(|row| format!("行{row}")));
        RecordBatch::try_from_iter([("1", Arc::new(numbers) as _), ("2", Arc::new(texts) as _)]).unwrap()
    }

    #[test]
    fn parameters_travel_unchanged_without_and_with_rows() {
        for rows in [0, 1, 3] {
            let written = write_parameters(&batch(rows)).unwrap();
            assert_eq!(read_parameters(&written).unwrap(), batch(rows));
        }
    }

    #[test]
    fn their_number_must_fit_the_statement() {
        let two = write_parameters(&batch(1)).unwrap();
        assert!(check_parameters(&planned(2), Some(&two)).is_ok());
        assert!(check_parameters(&planned(0), None).is_ok());
        for (taken, bound) in [(1, Some(&two)), (0, Some(&two)), (1, None)] {
            let refused = check_parameters(&planned(taken), bound).unwrap_err();
            assert!(refused.message().starts_with("SQL016"), "{}", refused.message());
        }
    }

    #[test]
    fn too_many_bytes_are_refused() {
        let refused = write_parameters(&batch(PARAMETER_BYTES_MAX / 8)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    }

    #[test]
    fn an_empty_schema_is_bytes_too() {
        assert!(!schema_bytes(&Schema::empty()).is_empty());
    }
}
