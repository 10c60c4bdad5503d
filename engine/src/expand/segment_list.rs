//! The names of the segments an instance is in, as one list.
//!
//! Owns: one function of as many conditions as there are segments. Never: decides who is in one.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// `segment_list(in_first, in_second, …)`: the names of those that are true, in their order.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SegmentList {
    names: Vec<String>,
    signature: Signature,
}

impl SegmentList {
    pub fn new(names: Vec<String>) -> Self {
        Self {
            signature: Signature::any(names.len(), Volatility::Immutable),
            names,
        }
    }
}

impl ScalarUDFImpl for SegmentList {
    fn name(&self) -> &'static str {
        "segment_list"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let held = arguments.args.iter().map(|argument| argument.to_array(rows));
        let held = held.collect::<Result<Vec<_>>>()?;
        let mut conditions: Vec<&BooleanArray> = Vec::with_capacity(held.len());
        for array in &held {
            let array = array.as_boolean_opt();
            conditions.push(array.ok_or_else(|| DataFusionError::Plan("a segment is true or false".to_owned()))?);
        }
        let mut list = ListBuilder::new(StringBuilder::new());
        for row in 0..rows {
            for (name, is_in) in self.names.iter().zip(&conditions) {
                if is_in.is_valid(row) && is_in.value(row) {
                    list.values().append_value(name);
                }
            }
            list.append(true);
        }
        Ok(ColumnarValue::Array(Arc::new(list.finish())))
    }
}
