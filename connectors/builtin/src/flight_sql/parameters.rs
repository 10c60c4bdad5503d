//! The values of a statement as the one row that is bound to it.
//!
//! Owns: their Arrow types, keys as one list. Never: text of a statement.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use caliber_connector_spi::{Parameter, Value};

/// The row of `parameters`; `None` where there are none.
pub(super) fn row(parameters: &[Parameter]) -> Result<Option<RecordBatch>, ArrowError> {
    if parameters.is_empty() {
        return Ok(None);
    }
    let columns: Vec<ArrayRef> = parameters.iter().map(column).collect::<Result<_, _>>()?;
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| Field::new(format!("${}", at + 1), column.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map(Some)
}

fn column(parameter: &Parameter) -> Result<ArrayRef, ArrowError> {
    let value = match parameter {
        Parameter::Keys(keys) => return Ok(Arc::new(list(keys)?)),
        Parameter::Value(value) => value,
    };
    Ok(match value {
        Value::Bool(value) => Arc::new(BooleanArray::from(vec![*value])),
        Value::Int(value) => Arc::new(Int64Array::from(vec![*value])),
        Value::UInt(value) => Arc::new(UInt64Array::from(vec![*value])),
        Value::Float(value) => Arc::new(Float64Array::from(vec![*value])),
        Value::Decimal {
            unscaled,
            precision,
            scale,
        } => Arc::new(Decimal128Array::from(vec![*unscaled]).with_precision_and_scale(*precision, *scale)?),
        Value::Text(text) => Arc::new(StringArray::from(vec![text.as_str()])),
        Value::Bytes(bytes) => Arc::new(BinaryArray::from_vec(vec![bytes])),
        Value::Date(days) => Arc::new(Date32Array::from(vec![*days])),
        Value::Timestamp(at) => Arc::new(TimestampMicrosecondArray::from(vec![*at])),
        Value::TimestampUtc(at) => Arc::new(TimestampMicrosecondArray::from(vec![*at]).with_timezone("UTC")),
    })
}

fn list(keys: &ArrayRef) -> Result<ListArray, ArrowError> {
    let item = Arc::new(Field::new_list_field(keys.data_type().clone(), true));
    ListArray::try_new(item, OffsetBuffer::from_lengths([keys.len()]), Arc::clone(keys), None)
}
