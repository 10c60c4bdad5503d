//! Builds record batches cell by cell, for connectors that decode rows.
//!
//! Owns: the builders of each Arrow type a connector maps to, and when a batch is full. Never: a wire format.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int8Builder, Int16Builder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use caliber_connector_spi::{ConnectorError, ErrorClass, OutputColumn, RemoteQuery};

/// A batch is handed on when its cells reach this many bytes.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// The largest single text or binary value.
pub const CELL_BYTES_MAX: usize = 64 << 20;

/// The bytes of a batch's own cells: of a slice no more than it shows, of columns that share one buffer each its part.
pub fn sliced_bytes(batch: &RecordBatch) -> usize {
    let sizes = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
    sizes.sum()
}

/// The growing column of one Arrow type.
pub enum Column {
    /// `Boolean`
    Bool(BooleanBuilder),
    /// `Int8`
    Int8(Int8Builder),
    /// `Int16`
    Int16(Int16Builder),
    /// `Int32`
    Int32(Int32Builder),
    /// `Int64`
    Int64(Int64Builder),
    /// `UInt8`
    UInt8(UInt8Builder),
    /// `UInt16`
    UInt16(UInt16Builder),
    /// `UInt32`
    UInt32(UInt32Builder),
    /// `UInt64`
    UInt64(UInt64Builder),
    /// `Float32`
    Float32(Float32Builder),
    /// `Float64`
    Float64(Float64Builder),
    /// `Decimal128`, with its precision and scale.
    Decimal(Decimal128Builder, u8, i8),
    /// `Utf8`
    Text(StringBuilder),
    /// `Binary`
    Binary(BinaryBuilder),
    /// `Date32`
    Date(Date32Builder),
    /// `Timestamp(Microsecond, _)`
    Timestamp(TimestampMicrosecondBuilder),
    /// `Time64(Microsecond)`
    Time(Time64MicrosecondBuilder),
}

/// Runs `$body` with `$builder` bound to whichever builder the column holds.
macro_rules! each {
    ($column:expr, $builder:ident => $body:expr) => {
        match $column {
            Column::Bool($builder) => $body,
            Column::Int8($builder) => $body,
            Column::Int16($builder) => $body,
            Column::Int32($builder) => $body,
            Column::Int64($builder) => $body,
            Column::UInt8($builder) => $body,
            Column::UInt16($builder) => $body,
            Column::UInt32($builder) => $body,
            Column::UInt64($builder) => $body,
            Column::Float32($builder) => $body,
            Column::Float64($builder) => $body,
            Column::Decimal($builder, _, _) => $body,
            Column::Text($builder) => $body,
            Column::Binary($builder) => $body,
            Column::Date($builder) => $body,
            Column::Timestamp($builder) => $body,
            Column::Time($builder) => $body,
        }
    };
}

impl Column {
    /// A builder for `data_type`; `None` if no connector maps to it.
    pub fn new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int8 => Self::Int8(Int8Builder::new()),
            DataType::Int16 => Self::Int16(Int16Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::UInt8 => Self::UInt8(UInt8Builder::new()),
            DataType::UInt16 => Self::UInt16(UInt16Builder::new()),
            DataType::UInt32 => Self::UInt32(UInt32Builder::new()),
            DataType::UInt64 => Self::UInt64(UInt64Builder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::new().with_data_type(data_type.clone());
                Self::Decimal(builder, *precision, *scale)
            }
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()))
            }
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(Time64MicrosecondBuilder::new()),
            _ => return None,
        })
    }

    /// Appends NULL.
    pub fn null(&mut self) {
        each!(self, builder => builder.append_null());
    }

    fn finish(&mut self) -> ArrayRef {
        each!(self, builder => Arc::new(builder.finish()))
    }
}

/// Why a value could not become a cell: a phrase that follows the column's name, never the value.
pub type Misfit = &'static str;

/// A number that its type has no room for: of a column, a broken value; of a computed one, a result out of range.
pub const TOO_LARGE: Misfit = "holds a number with more digits than its type declares";

/// A growing batch of one read.
pub struct BatchBuilder {
    source_name: String,
    /// Each column as errors name it; `None` where it is computed.
    names: Vec<Option<String>>,
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    rows_max: usize,
}

impl BatchBuilder {
    /// An empty batch of `query`'s schema.
    pub fn new(source_name: &str, query: &RemoteQuery, rows_max: usize) -> Result<Self, ConnectorError> {
        let schema = query.schema();
        let names = names(query);
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let column = Column::new(field.data_type()).ok_or_else(|| {
                let message = format!("column `{}` has no reader for {}", field.name(), field.data_type());
                ConnectorError::new(source_name, ErrorClass::Statement, message)
            })?;
            columns.push(column);
        }
        let source_name = source_name.to_owned();
        Ok(Self {
            source_name,
            names,
            schema,
            columns,
            rows: 0,
            bytes: 0,
            rows_max: rows_max.max(1),
        })
    }

    /// Appends one row: `append` is called once for each column, in order, with its index, and returns the bytes
    /// the cell took.
    pub fn row(
        &mut self,
        mut append: impl FnMut(usize, &mut Column) -> Result<usize, Misfit>,
    ) -> Result<(), ConnectorError> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            match append(index, column) {
                Ok(bytes) if bytes <= CELL_BYTES_MAX => self.bytes += bytes,
                Ok(_) => return Err(self.misfit(index, ErrorClass::Limit, "holds a value of more than 64 MiB")),
                Err(why) => {
                    let is_computed = self.names.get(index).is_some_and(Option::is_none);
                    let class = if is_computed && why == TOO_LARGE {
                        ErrorClass::Range
                    } else {
                        ErrorClass::Data
                    };
                    return Err(self.misfit(index, class, why));
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// An empty builder of batches like these.
    pub fn another(&self) -> Self {
        let column = |field: &arrow::datatypes::FieldRef| Column::new(field.data_type());
        Self {
            source_name: self.source_name.clone(),
            names: self.names.clone(),
            schema: self.schema.clone(),
            // Each of these types had a column in `new`.
            columns: self.schema.fields().iter().filter_map(column).collect(),
            rows: 0,
            bytes: 0,
            rows_max: self.rows_max,
        }
    }

    /// How many columns a row has.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Whether the batch should be handed on.
    pub fn is_full(&self) -> bool {
        self.rows >= self.rows_max || self.bytes >= BATCH_BYTES_MAX
    }

    /// The rows so far, if there are any; the builder then starts the next batch.
    pub fn take(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        if self.rows == 0 {
            return Ok(None);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map(Some)
            .map_err(|_| {
                // The one thing arrow can object to: NULL in a column that was described as never NULL.
                let message = "a column holds NULL where its description allows none";
                ConnectorError::new(&self.source_name, ErrorClass::Drift, message)
            })
    }

    fn misfit(&self, index: usize, class: ErrorClass, why: Misfit) -> ConnectorError {
        let name = match self.names.get(index) {
            Some(Some(name)) => format!("`{name}`"),
            _ => format!("the result, in column {},", index + 1),
        };
        ConnectorError::new(&self.source_name, class, format!("{name} {why}"))
    }
}

/// What errors call the columns of `query`.
fn names(query: &RemoteQuery) -> Vec<Option<String>> {
    let name = |column: &OutputColumn| {
        let (table, _) = column.origin.as_ref()?;
        Some(format!("{}.{}", table.name, column.described()?.name))
    };
    query.root.columns().iter().map(name).collect()
}
