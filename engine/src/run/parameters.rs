//! The rows of parameters a statement is run with.
//!
//! Owns: fitting a client's values to the statement's types. Never: a lossy conversion.

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use caliber_catalog::diagnostic::Code;
use datafusion::common::ScalarValue;

use crate::EngineError;

/// More rows of parameters than this are refused.
const PARAMETER_ROWS_MAX: usize = 10_000;

/// Rows of parameters, fitted to the statement's types.
pub(crate) struct ParameterRows {
    columns: Vec<arrow::array::ArrayRef>,
    rows: usize,
    next: usize,
}

impl ParameterRows {
    /// Fits `batch` to `types`. A statement without parameters runs once.
    pub fn new(types: &[DataType], batch: Option<RecordBatch>) -> Result<Self, EngineError> {
        let given = batch.as_ref().map_or(0, RecordBatch::num_columns);
        if given != types.len() {
            return Err(EngineError::new(
                Code::SQL016,
                format!("the statement takes {} parameters, {given} were given", types.len()),
            ));
        }
        let Some(batch) = batch.filter(|_| !types.is_empty()) else {
            return Ok(Self {
                columns: Vec::new(),
                rows: 1,
                next: 0,
            });
        };
        if batch.num_rows() > PARAMETER_ROWS_MAX {
            return Err(EngineError::new(
                Code::SQL016,
                format!(
                    "{} rows of parameters were given, at most {PARAMETER_ROWS_MAX} are allowed",
                    batch.num_rows()
                ),
            )
            .help("join with a VALUES list, or send several requests"));
        }
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let columns = batch
            .columns()
            .iter()
            .zip(types)
            .enumerate()
            .map(|(at, (column, wanted))| {
                cast_with_options(column, wanted, &options)
                    .ok()
                    .filter(|cast| keeps_values(column, cast))
                    .ok_or_else(|| {
                        let text = format!(
                            "parameter ${} is {}, the statement needs {wanted}",
                            at + 1,
                            column.data_type()
                        );
                        EngineError::new(Code::SQL016, text)
                            .help("send a value of that type, or CAST the parameter in the statement")
                    })
            });
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            rows: batch.num_rows(),
            next: 0,
        })
    }

    /// Whether there is more than one row.
    pub fn is_several(&self) -> bool {
        self.rows > 1
    }

    /// The next row's values; `None` after the last.
    pub fn next_row(&mut self) -> Result<Option<Vec<ScalarValue>>, EngineError> {
        if self.next >= self.rows {
            return Ok(None);
        }
        let row = self.next;
        self.next += 1;
        let values: Result<Vec<ScalarValue>, _> = self
            .columns
            .iter()
            .map(|column| ScalarValue::try_from_array(column, row))
            .collect();
        Ok(Some(values?))
    }
}

/// Whether casting back gives the values that were sent: 1.5 is no whole number, 12.345 no DECIMAL(10,2).
fn keeps_values(sent: &arrow::array::ArrayRef, cast: &arrow::array::ArrayRef) -> bool {
    let numeric = |data_type: &DataType| data_type.is_numeric();
    if sent.data_type() == cast.data_type() || !(numeric(sent.data_type()) && numeric(cast.data_type())) {
        return true;
    }
    // A float has no exact decimal; the nearest one is what its sender means.
    if sent.data_type().is_floating() && cast.data_type().is_decimal() {
        return true;
    }
    arrow::compute::cast(cast, sent.data_type()).is_ok_and(|back| back.to_data() == sent.to_data())
}
