//! Arithmetic of whole numbers that fails where SQL demands it (ISO/IEC 9075-2, 6.29), as functions of the reference:
//! DataFusion's own operators wrap around.
//!
//! Owns: sum, difference and product, and `||` as a function. Never: code of the engine under test, which does the same by a rule.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// The three functions.
pub const EXACT: [Exact; 3] = [Exact("exact_sum"), Exact("exact_difference"), Exact("exact_product")];

/// The name of the function that stands for an operator.
pub fn exact(op: &str) -> Option<&'static str> {
    let at = ["+", "-", "*"].iter().position(|known| *known == op)?;
    EXACT.get(at).map(|exact| exact.0)
}

/// One of them, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exact(&'static str);

static SIGNATURE: LazyLock<Signature> = LazyLock::new(|| Signature::user_defined(Volatility::Immutable));

/// Whole numbers by width.
const WIDTHS: [DataType; 4] = [DataType::Int8, DataType::Int16, DataType::Int32, DataType::Int64];

fn wider(types: &[DataType]) -> Result<DataType> {
    let width = |data_type: &DataType| WIDTHS.iter().position(|known| known == data_type);
    let widths: Option<Vec<usize>> = types.iter().map(width).collect();
    let widest = widths.and_then(|widths| widths.into_iter().max());
    widest
        .and_then(|at| WIDTHS.get(at))
        .cloned()
        .ok_or_else(|| DataFusionError::Plan(format!("no whole numbers: {types:?}")))
}

impl Exact {
    fn of(self, left: i64, right: i64) -> Option<i64> {
        match self.0 {
            "exact_sum" => left.checked_add(right),
            "exact_difference" => left.checked_sub(right),
            _ => left.checked_mul(right),
        }
    }

    fn arrays(self, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
        let wanted = left.data_type().clone();
        let overflow = || ArrowError::ArithmeticOverflow(self.0.to_owned());
        let (left, right) = (cast(left, &DataType::Int64)?, cast(right, &DataType::Int64)?);
        let pairs = left
            .as_primitive::<Int64Type>()
            .iter()
            .zip(right.as_primitive::<Int64Type>());
        let values: std::result::Result<Int64Array, ArrowError> = pairs
            .map(|pair| match pair {
                (Some(left), Some(right)) => self.of(left, right).map(Some).ok_or_else(overflow),
                _ => Ok(None),
            })
            .collect();
        let values: ArrayRef = Arc::new(values?);
        let narrow = cast(&values, &wanted)?;
        // What the narrower type does not hold became NULL.
        if narrow.null_count() > values.null_count() {
            return Err(overflow().into());
        }
        Ok(narrow)
    }
}

impl ScalarUDFImpl for Exact {
    fn name(&self) -> &str {
        self.0
    }

    fn signature(&self) -> &Signature {
        &SIGNATURE
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![wider(types)?; types.len()])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        wider(types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = arguments
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.0, wider(&types)?, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = arguments
            .args
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [left, right] = arrays.as_slice() else {
            return Err(DataFusionError::Plan(format!("{} takes two numbers", self.0)));
        };
        let array = self.arrays(left, right)?;
        Ok(match scalar {
            true => ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&array, 0)?),
            false => ColumnarValue::Array(array),
        })
    }
}

/// `||` of two texts: NULL where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concatenation;

impl Concatenation {
    /// Its name.
    pub const NAME: &str = "exact_concatenation";
}

static TEXTS: LazyLock<Signature> = LazyLock::new(|| Signature::string(2, Volatility::Immutable));

impl ScalarUDFImpl for Concatenation {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &TEXTS
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(Self::NAME, DataType::Utf8, nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = arguments
            .args
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [left, right] = arrays.as_slice() else {
            return Err(DataFusionError::Plan(format!("{} takes two texts", Self::NAME)));
        };
        let (left, right) = (cast(left, &DataType::Utf8)?, cast(right, &DataType::Utf8)?);
        let pairs = left.as_string::<i32>().iter().zip(right.as_string::<i32>());
        let joined: StringArray = pairs
            .map(|pair| match pair {
                (Some(left), Some(right)) => Some(format!("{left}{right}")),
                _ => None,
            })
            .collect();
        let array: ArrayRef = Arc::new(joined);
        Ok(match scalar {
            true => ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&array, 0)?),
            false => ColumnarValue::Array(array),
        })
    }
}
