//! Rows of a statement into Arrow batches.
//!
//! Owns: builders for each column, the size of a batch, the error that names a cell's column. Never: a value that was
//! not stored.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder,
    Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::calendar;
use super::fault::{Fault, storage};
use super::prepare::{Prepared, Selected};
use super::types::{self, Kind};

/// The most bytes of one cell.
const CELL_BYTES_MAX: usize = 16 << 20;

enum Cells {
    Small(Int32Builder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Boolean(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Untyped(StringBuilder),
}

struct Column {
    /// `table.column`, for errors.
    name: String,
    nullable: bool,
    cells: Cells,
}

/// Gathers the rows of one statement into batches.
pub(super) struct Decoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    hidden: usize,
    rows: usize,
    bytes: usize,
}

impl Decoder {
    /// For the columns of `statement`, of which the hidden ones are checked and left out of the batches.
    pub(super) fn new(statement: &Prepared) -> Self {
        let shown = statement.columns.len().saturating_sub(statement.hidden);
        let field = |column: &Selected| Field::new(&column.name, column.data_type.clone(), column.nullable);
        let fields: Vec<Field> = statement.columns.iter().take(shown).map(field).collect();
        let columns = statement.columns.iter().map(Column::new).collect();
        Self {
            schema: Arc::new(Schema::new(fields)),
            columns,
            hidden: statement.hidden,
            rows: 0,
            bytes: 0,
        }
    }

    /// Rows gathered since the last batch.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// About how many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes one row.
    pub(super) fn push(&mut self, row: &Row<'_>) -> Result<(), Fault> {
        for (at, column) in self.columns.iter_mut().enumerate() {
            let value = row.get_ref(at)?;
            self.bytes += column.push(value)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// The rows gathered, as a batch; the decoder is then empty.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, Fault> {
        let mut arrays: Vec<ArrayRef> = self.columns.iter_mut().map(|column| column.cells.finish()).collect();
        arrays.truncate(arrays.len().saturating_sub(self.hidden));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|_| Fault::Statement("a batch that does not fit its schema"))
    }
}

impl Column {
    fn new(column: &Selected) -> Self {
        let cells = match column.kind {
            Kind::Integer if column.data_type == DataType::Int32 => Cells::Small(Int32Builder::new()),
            Kind::Integer => Cells::Integer(Int64Builder::new()),
            Kind::Float => Cells::Float(Float64Builder::new()),
            Kind::Decimal { precision, scale } => Cells::Decimal(
                Decimal128Builder::new().with_data_type(column.data_type.clone()),
                precision,
                scale,
            ),
            Kind::Boolean => Cells::Boolean(BooleanBuilder::new()),
            Kind::Date => Cells::Date(Date32Builder::new()),
            Kind::Timestamp => Cells::Timestamp(TimestampMicrosecondBuilder::new()),
            Kind::Text => Cells::Text(StringBuilder::new()),
            Kind::Binary => Cells::Binary(BinaryBuilder::new()),
            Kind::Untyped => Cells::Untyped(StringBuilder::new()),
        };
        Self {
            name: column.label.clone(),
            nullable: column.nullable,
            cells,
        }
    }

    /// Appends a value and says about how many bytes it takes.
    fn push(&mut self, value: ValueRef<'_>) -> Result<usize, Fault> {
        if matches!(value, ValueRef::Null) {
            if !self.nullable {
                return Err(Fault::Null {
                    column: self.name.clone(),
                });
            }
            self.cells.append_null();
            return Ok(8);
        }
        if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = value
            && bytes.len() > CELL_BYTES_MAX
        {
            return Err(Fault::Cell {
                column: self.name.clone(),
                mebibytes: CELL_BYTES_MAX >> 20,
            });
        }
        match self.cells.append(value) {
            Some(bytes) => Ok(bytes),
            None => Err(Fault::Value {
                column: self.name.clone(),
                stored: storage(value),
            }),
        }
    }
}

impl Cells {
    fn append_null(&mut self) {
        match self {
            Self::Small(builder) => builder.append_null(),
            Self::Integer(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Decimal(builder, ..) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Text(builder) | Self::Untyped(builder) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
        }
    }

    /// Appends a value that is not NULL; `None` if it does not fit the type.
    fn append(&mut self, value: ValueRef<'_>) -> Option<usize> {
        match (self, value) {
            (Self::Small(builder), ValueRef::Integer(number)) => builder.append_value(i32::try_from(number).ok()?),
            (Self::Integer(builder), ValueRef::Integer(number)) => builder.append_value(number),
            (Self::Float(builder), ValueRef::Real(number)) => builder.append_value(number),
            (Self::Float(builder), ValueRef::Integer(number)) => builder.append_value(types::float_of_integer(number)?),
            (Self::Decimal(builder, precision, scale), value) => {
                builder.append_value(decimal(value, *precision, *scale)?);
                return Some(16);
            }
            (Self::Boolean(builder), ValueRef::Integer(number @ (0 | 1))) => builder.append_value(number == 1),
            (Self::Date(builder), ValueRef::Text(bytes)) => builder.append_value(calendar::days_of_text(text(bytes)?)?),
            (Self::Timestamp(builder), ValueRef::Text(bytes)) => {
                builder.append_value(types::timestamp_of_text(text(bytes)?)?);
            }
            (Self::Text(builder) | Self::Untyped(builder), ValueRef::Text(bytes)) => {
                builder.append_value(text(bytes)?);
                return Some(bytes.len() + 4);
            }
            (Self::Untyped(builder), ValueRef::Integer(number)) => {
                builder.append_value(number.to_string());
                return Some(24);
            }
            (Self::Untyped(builder), ValueRef::Real(number)) => {
                builder.append_value(format!("{number:?}"));
                return Some(24);
            }
            (Self::Binary(builder), ValueRef::Blob(bytes)) => {
                builder.append_value(bytes);
                return Some(bytes.len() + 4);
            }
            _ => return None,
        }
        Some(8)
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Small(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder, ..) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Text(builder) | Self::Untyped(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
        }
    }
}

fn decimal(value: ValueRef<'_>, precision: u8, scale: u8) -> Option<i128> {
    match value {
        ValueRef::Integer(number) => types::decimal_of_integer(number, precision, scale),
        ValueRef::Real(number) => types::decimal_of_float(number, precision, scale),
        ValueRef::Text(bytes) => types::decimal_of_text(text(bytes)?, precision, scale),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
