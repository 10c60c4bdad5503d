//! The types a result has on the wire: plain ones that every client reads.
//!
//! Owns: the mapping, and casting batches to it. Never: changes a value (but a timestamp's nanoseconds, which no
//! source delivers, become microseconds). The rule for clients: `docs/flight-sql.md`, "Results".

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::EngineError;

/// The schema of a result on the wire: plain types, every column nullable, no source's metadata, each name once
/// (`SELECT a.*, b.*` gives `id` and `id_1`).
pub(crate) fn wire_schema(schema: &Schema) -> SchemaRef {
    let mut taken: BTreeSet<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut seen = BTreeSet::new();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut name = field.name().clone();
            if !seen.insert(name.clone()) {
                let free = (1..)
                    .map(|number| format!("{name}_{number}"))
                    .find(|other| !taken.contains(other));
                name = free.unwrap_or(name);
                taken.insert(name.clone());
            }
            Field::new(name, wire_type(field.data_type()), true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The plain counterpart of a type.
pub(crate) fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, values) => wire_type(values),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type()),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale) => {
            DataType::Decimal128((*precision).min(DECIMAL128_MAX_PRECISION), *scale)
        }
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(zone)) => {
            let zone = if zone.as_ref() == "+00:00" {
                "UTC".into()
            } else {
                Arc::clone(zone)
            };
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone))
        }
        DataType::Date64 => DataType::Date32,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::new(Field::new("item", wire_type(item.data_type()), true)))
        }
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| Field::new(field.name(), wire_type(field.data_type()), true))
                .collect::<Fields>(),
        ),
        other => other.clone(),
    }
}

/// The batch with exactly `schema`.
pub(crate) fn to_wire(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, EngineError> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns: Result<Vec<ArrayRef>, EngineError> = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast_with_options(column, field.data_type(), &options).map_err(|_| {
                EngineError::new(
                    caliber_catalog::diagnostic::Code::SQL022,
                    format!(
                        "column `{}` of the result does not fit {}",
                        field.name(),
                        field.data_type()
                    ),
                )
                .help("cast it in the statement to a type that holds its values")
            })
        })
        .collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns?, &rows)
        .map_err(|error| EngineError::internal("a result batch does not have the advertised schema", &error))
}

/// The SQL name of a wire type, for metadata.
pub(crate) fn sql_type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "TINYINT UNSIGNED".to_owned(),
        DataType::UInt16 => "SMALLINT UNSIGNED".to_owned(),
        DataType::UInt32 => "INTEGER UNSIGNED".to_owned(),
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 => "VARCHAR".to_owned(),
        DataType::Binary => "VARBINARY".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Interval(_) => "INTERVAL".to_owned(),
        DataType::List(item) => format!("{} ARRAY", sql_type_name(item.data_type())),
        DataType::Struct(_) => "ROW".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_on_the_wire() {
        let field = |name: &str| Field::new(name, DataType::Utf8View, false);
        let schema = Schema::new(vec![field("id"), field("id_1"), field("id"), field("id")]);
        let wire = wire_schema(&schema);
        let names: Vec<&str> = wire.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["id", "id_1", "id_2", "id_3"]);
        assert!(
            wire.fields()
                .iter()
                .all(|field| field.is_nullable() && *field.data_type() == DataType::Utf8)
        );
    }

    #[test]
    fn wire_types_are_plain() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8));
        assert_eq!(wire_type(&dictionary), DataType::Utf8);
        assert_eq!(wire_type(&DataType::Decimal32(5, 2)), DataType::Decimal128(5, 2));
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into()));
        assert_eq!(
            wire_type(&nanoseconds),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        );
    }
}
