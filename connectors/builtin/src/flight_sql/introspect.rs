//! The tables, columns and keys that the account sees in the schema.
//!
//! Owns: what GetTables and GetPrimaryKeys say, types that have no counterpart. Never: rows of a table.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Schema};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandGetPrimaryKeys, CommandGetTables, ProstMessageExt};
use arrow_flight::{FlightDescriptor, IpcMessage};
use bytes::Bytes;
use caliber_connector_spi::{ConnectorError, ErrorClass, RemoteColumn, RemoteTable, SourceSchema, TypeClass};
use futures::{FutureExt, StreamExt, TryStreamExt};
use prost::Message;

use super::dialect::type_name;
use super::failure::{failure, is_stale};
use super::session::{Session, Sessions};
use crate::pool::Pool;

/// The most bytes of metadata taken.
const BYTES_MAX: usize = 256 << 20;
/// Tables whose keys are asked for at once.
const AT_ONCE: usize = 8;
/// Field metadata: what people wrote of a column (FlightSql.proto).
const REMARKS: &str = "ARROW:FLIGHT:SQL:REMARKS";

/// Describes `schema`.
pub(super) async fn introspect(
    source_name: &str,
    schema: &str,
    pool: &Pool<Sessions>,
    patience: Duration,
) -> Result<SourceSchema, ConnectorError> {
    let describe = async {
        let mut lease = pool.get().await?;
        let gone = || ConnectorError::new(source_name, ErrorClass::Unavailable, "the connection to it was lost");
        let asked = describe(source_name, schema, lease.connection().ok_or_else(gone)?).await;
        let described = match asked {
            Err(Failed::There(status)) if is_stale(&status) && lease.is_reused() => {
                pool.forget_idle();
                lease = pool.get().await?;
                describe(source_name, schema, lease.connection().ok_or_else(gone)?).await
            }
            other => other,
        };
        match described {
            Ok(described) => {
                lease.settled();
                Ok(described)
            }
            Err(Failed::There(status)) => Err(failure(source_name, &status)),
            Err(Failed::Here(error)) => Err(error),
        }
    };
    let late = || {
        ConnectorError::new(
            source_name,
            ErrorClass::Deadline,
            "it took too long to describe its tables",
        )
    };
    tokio::time::timeout(patience, describe)
        .await
        .unwrap_or_else(|_| Err(late()))
}

enum Failed {
    There(Box<tonic::Status>),
    Here(ConnectorError),
}

impl From<tonic::Status> for Failed {
    fn from(status: tonic::Status) -> Self {
        Self::There(Box::new(status))
    }
}

async fn describe(source_name: &str, schema: &str, session: &Session) -> Result<SourceSchema, Failed> {
    let broken = || {
        let message = "its description of its tables cannot be decoded";
        Failed::Here(ConnectorError::new(source_name, ErrorClass::Data, message))
    };
    let command = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: Some(pattern(schema)),
        table_name_filter_pattern: None,
        table_types: Vec::new(),
        include_schema: true,
    };
    let mut described = SourceSchema::default();
    for batch in answer(session, command.as_any().encode_to_vec(), &broken).await? {
        let text = |name: &str| {
            batch
                .column_by_name(name)
                .and_then(|column| column.as_string_opt::<i32>())
        };
        let (Some(schemas), Some(names), Some(kinds)) =
            (text("db_schema_name"), text("table_name"), text("table_type"))
        else {
            return Err(broken());
        };
        let columns = batch.column_by_name("table_schema");
        let columns = columns
            .and_then(|column| column.as_binary_opt::<i32>())
            .ok_or_else(broken)?;
        for row in 0..batch.num_rows() {
            if schemas.is_null(row) || schemas.value(row) != schema {
                continue;
            }
            let bytes = Bytes::copy_from_slice(columns.value(row));
            let decoded = catch_unwind(AssertUnwindSafe(|| Schema::try_from(IpcMessage(bytes))));
            let columns = decoded.ok().and_then(Result::ok).ok_or_else(broken)?;
            let table = table(
                schema,
                names.value(row),
                kinds.value(row),
                &columns,
                &mut described.notices,
            );
            described.tables.push(table);
        }
    }
    described.tables.sort_by(|one, other| one.name.cmp(&other.name));
    if described
        .tables
        .windows(2)
        .any(|pair| matches!(pair, [one, other] if one.name == other.name))
    {
        return Err(broken());
    }
    let names: Vec<String> = described.tables.iter().map(|table| table.name.clone()).collect();
    let keys = names
        .into_iter()
        .map(|name| primary_key(session, schema, name, &broken));
    let keys: Vec<Vec<String>> = futures::stream::iter(keys).buffered(AT_ONCE).try_collect().await?;
    for (table, key) in described.tables.iter_mut().zip(keys) {
        // One with a column that is not described is none here.
        if key.iter().all(|column| table.column(column).is_some()) {
            table.primary_key = key;
        }
    }
    Ok(described)
}

fn table(schema: &str, name: &str, kind: &str, columns: &Schema, notices: &mut Vec<String>) -> RemoteTable {
    let mut known = Vec::new();
    for field in columns.fields() {
        if !travels(field.data_type()) {
            notices.push(format!(
                "column `{}` of `{name}` is absent: its type {} does not travel",
                field.name(),
                field.data_type()
            ));
            continue;
        }
        known.push(RemoteColumn {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: true,
            native_type: type_name(field.data_type()).unwrap_or_else(|| field.data_type().to_string()),
            comment: field.metadata().get(REMARKS).cloned(),
            comparable: TypeClass::of(field.data_type()).is_some(),
            distinct_estimate: None,
        });
    }
    RemoteTable {
        name: name.to_owned(),
        namespace: Some(schema.to_owned()),
        is_view: kind.eq_ignore_ascii_case("VIEW"),
        columns: known,
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        comment: None,
        rows_estimate: None,
    }
}

/// Whether values of the type arrive as they left.
fn travels(data_type: &DataType) -> bool {
    type_name(data_type).is_some() || matches!(data_type, DataType::Time64(_))
}

async fn primary_key(
    session: &Session,
    schema: &str,
    table: String,
    broken: &impl Fn() -> Failed,
) -> Result<Vec<String>, Failed> {
    let command = CommandGetPrimaryKeys {
        catalog: None,
        db_schema: Some(schema.to_owned()),
        table,
    };
    let mut found = BTreeMap::new();
    for batch in answer(session, command.as_any().encode_to_vec(), broken).await? {
        let columns = batch
            .column_by_name("column_name")
            .and_then(|it| it.as_string_opt::<i32>());
        let order = batch
            .column_by_name("key_sequence")
            .and_then(|it| it.as_primitive_opt::<Int32Type>());
        let (Some(columns), Some(order)) = (columns, order) else {
            return Err(broken());
        };
        for row in 0..batch.num_rows() {
            found.insert(order.value(row), columns.value(row).to_owned());
        }
    }
    Ok(found.into_values().collect())
}

/// The answer to a metadata command.
async fn answer(session: &Session, command: Vec<u8>, broken: &impl Fn() -> Failed) -> Result<Vec<RecordBatch>, Failed> {
    let info = session.info(FlightDescriptor::new_cmd(command)).await?;
    let messages = session.messages(&info).await?;
    let mut stream = FlightRecordBatchStream::new_from_flight_data(messages.map_err(FlightError::from));
    let (mut batches, mut bytes) = (Vec::new(), 0);
    loop {
        let next = AssertUnwindSafe(stream.next())
            .catch_unwind()
            .await
            .map_err(|_| broken())?;
        match next {
            None => return Ok(batches),
            Some(Ok(batch)) => {
                bytes += batch.get_array_memory_size();
                if bytes > BYTES_MAX {
                    return Err(broken());
                }
                batches.push(batch);
            }
            Some(Err(FlightError::Tonic(status))) => return Err(Failed::There(status)),
            Some(Err(_)) => return Err(broken()),
        }
    }
}

/// A pattern that matches `name` alone.
fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '\\' | '%' | '_') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
