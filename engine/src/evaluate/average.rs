//! `avg` from a sum and a count that sources computed.
//!
//! Owns: the last step of an average, digit for digit as DataFusion's own (`DecimalAverager::avg`: the quotient is cut, not
//! rounded). Never: sums.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array};
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, Int64Type};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function's name in a plan.
pub(crate) const NAME: &str = "average";

/// `average(sum, count)` of one result type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    result: DataType,
    signature: Signature,
}

/// The average of values that sum up to `sum`, a decimal, and of which there are `count`; NULL where there is none.
pub(crate) fn average(sum: Expr, count: Expr, result: DataType) -> Expr {
    let function = ScalarUDF::from(Average {
        result,
        signature: Signature::any(2, Volatility::Immutable),
    });
    Arc::new(function).call(vec![sum, count])
}

impl ScalarUDFImpl for Average {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [sums, counts] = arrays.as_slice() else {
            return Err(DataFusionError::Plan("an average is of a sum and a count".to_owned()));
        };
        let DataType::Decimal128(_, scale) = *sums.data_type() else {
            return Err(DataFusionError::Plan("an average is of a decimal sum".to_owned()));
        };
        let sums = sums.as_primitive::<Decimal128Type>();
        let counts = counts.as_primitive::<Int64Type>();
        let pair = |row: usize| {
            let count = counts
                .is_valid(row)
                .then(|| counts.value(row))
                .filter(|count| *count > 0)?;
            sums.is_valid(row).then(|| (sums.value(row), count))
        };
        let averages: ArrayRef = match self.result {
            DataType::Float64 => Arc::new(
                (0..sums.len())
                    .map(|row| pair(row).map(|(sum, count)| sum as f64 / count as f64))
                    .collect::<Float64Array>(),
            ),
            DataType::Decimal128(precision, digits) => {
                let shift = u32::try_from(i16::from(digits) - i16::from(scale)).map_err(|_| overflow())?;
                let factor = 10_i128.checked_pow(shift).ok_or_else(overflow)?;
                let found = (0..sums.len())
                    .map(|row| {
                        let Some((sum, count)) = pair(row) else { return Ok(None) };
                        let quotient = sum.checked_mul(factor).ok_or_else(overflow)? / i128::from(count);
                        Decimal128Type::validate_decimal_precision(quotient, precision, digits)
                            .map_err(|_| overflow())?;
                        Ok(Some(quotient))
                    })
                    .collect::<Result<Decimal128Array>>()?;
                Arc::new(found.with_precision_and_scale(precision, digits)?)
            }
            _ => return Err(DataFusionError::Plan("an average is a decimal or a float".to_owned())),
        };
        Ok(ColumnarValue::Array(averages))
    }
}

fn overflow() -> DataFusionError {
    DataFusionError::from(ArrowError::ArithmeticOverflow("avg".to_owned()))
}
