//! Whether enough stand behind a group or a value.
//!
//! Owns: the comparison, and that a statement withheld something. Never: how many it withheld.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::EngineError;

/// Set once a group or a value of the statement was withheld.
pub(crate) type Withheld = Arc<AtomicBool>;

/// Says of each group whether enough stand behind it, and remembers where not.
#[derive(Debug)]
pub(crate) struct Reaches {
    sizes: Vec<u64>,
    withheld: Withheld,
    signature: Signature,
}

impl Reaches {
    /// Of each contributor at least `sizes`, in their order. What does not reach them is noted in `withheld`.
    pub fn new(sizes: Vec<u64>, withheld: &Withheld) -> Self {
        Self {
            signature: Signature::any(sizes.len(), Volatility::Volatile),
            sizes,
            withheld: Arc::clone(withheld),
        }
    }
}

impl PartialEq for Reaches {
    fn eq(&self, other: &Self) -> bool {
        self.sizes == other.sizes && Arc::ptr_eq(&self.withheld, &other.withheld)
    }
}

impl Eq for Reaches {}

impl std::hash::Hash for Reaches {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.sizes.hash(state);
    }
}

impl ScalarUDFImpl for Reaches {
    fn name(&self) -> &'static str {
        "reaches_min_group"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut reached = vec![true; args.number_rows];
        for (counts, size) in ColumnarValue::values_to_arrays(&args.args)?.iter().zip(&self.sizes) {
            let counts = counts.as_primitive_opt::<Int64Type>().ok_or_else(|| {
                DataFusionError::from(EngineError::internal("a count is no count", &counts.data_type()))
            })?;
            let size = i64::try_from(*size).unwrap_or(i64::MAX);
            for (row, reached) in reached.iter_mut().enumerate() {
                *reached &= counts.is_valid(row) && counts.value(row) >= size;
            }
        }
        if reached.contains(&false) {
            self.withheld.store(true, Ordering::Relaxed);
        }
        let reached: ArrayRef = Arc::new(BooleanArray::from(reached));
        Ok(ColumnarValue::Array(reached))
    }
}
