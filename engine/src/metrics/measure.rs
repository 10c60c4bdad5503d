//! `MEASURE(m)`, and `AGG(m)` and `AGGREGATE(m)`, which are the same.
//!
//! Owns: the marker that stands for a metric until the plan is expanded (`expand_measures`). Never: computes.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use crate::EngineError;

/// The function's name in a plan.
pub(crate) const MEASURE: &str = "measure";

/// An aggregate that is never run.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Measure {
    signature: Signature,
    aliases: Vec<String>,
}

/// The function to register.
pub(crate) fn measure() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Measure {
        signature: Signature::any(1, Volatility::Immutable),
        aliases: vec!["agg".to_owned(), "aggregate".to_owned()],
    }))
}

impl AggregateUDFImpl for Measure {
    fn name(&self) -> &'static str {
        MEASURE
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Err(EngineError::internal("a metric was not expanded", &MEASURE).into())
    }
}
