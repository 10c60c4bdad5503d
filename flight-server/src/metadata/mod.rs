//! The metadata commands: answered from the caller's own listing, so what policy hides has no name here either.
//!
//! Owns: FlightInfo and stream of a metadata command. Never: asks a source, sees more than the caller's queries do.

pub mod keys;
pub mod tables;
pub mod type_info;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::sql::ProstMessageExt;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::stream::StreamExt;
use prost::Message;
use tonic::Status;

use crate::encode::BatchEncoder;
use crate::statement::MessageStream;
use crate::status;

/// The promise of a metadata command's answer. Its ticket is the command itself: it means the same for whoever
/// redeems it, as its answer is made for that caller.
pub fn flight_info(
    command: &impl ProstMessageExt,
    schema: &Schema,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let ticket = Ticket::new(command.as_any().encode_to_vec());
    let info = FlightInfo::new()
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket));
    info.try_with_schema(schema).map_err(|_| status::internal())
}

/// The answer as a stream.
pub fn stream(batch: &RecordBatch) -> Result<MessageStream, Status> {
    let mut encoder = BatchEncoder::new(batch.schema());
    let mut messages = vec![encoder.schema_message()];
    messages.extend(encoder.encode(batch)?);
    Ok(futures::stream::iter(messages.into_iter().map(Ok)).boxed())
}

/// A catalog filter. Tools send an empty name for "any", and every object here has a catalog, so empty is unset.
fn catalog_filter(catalog: Option<String>) -> Option<String> {
    catalog.filter(|name| !name.is_empty())
}

/// An error of arrow's kernels over our own small arrays; a pattern of the caller's may be what it cannot compile.
fn refused(error: impl std::fmt::Display) -> Status {
    tracing::debug!(%error, "metadata filter");
    status::malformed("the metadata filter cannot be evaluated")
}
