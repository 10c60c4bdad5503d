//! Which policies apply to a principal now.
//!
//! Owns: evaluating a policy's `when` over the principal alone. Never: roles and expiry, which the catalog decides.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use caliber_catalog::date::Date;
use caliber_catalog::grant::SqlText;
use caliber_catalog::principal::Principal;
use caliber_catalog::project::Project;
use caliber_catalog::standing::Standing;
use datafusion::common::DFSchema;
use datafusion::common::cast::as_boolean_array;
use datafusion::execution::session_state::SessionState;

use super::policy_expr::{Attributes, Compiled, Wanted, compile};
use crate::EngineError;

/// The standing of `principal` on `today`.
pub(crate) fn standing(project: &Project, state: &SessionState, principal: Principal, today: Date) -> Standing {
    Standing::new(project, principal, today, |principal, when| {
        holds(state, principal, when).unwrap_or(false)
    })
}

/// Whether a condition over `principal.*` is true. NULL is not, and what fails is not either.
fn holds(state: &SessionState, principal: &Principal, when: &SqlText) -> Result<bool, EngineError> {
    let schema = DFSchema::empty();
    let compiled = compile(state, when, &schema, Attributes::Of(principal), &Wanted::Predicate)?;
    let Compiled::Expr(expr) = compiled else {
        return Ok(false);
    };
    let one_row = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one_row)
        .map_err(|error| EngineError::internal("a condition could not be evaluated", &error))?;
    let value = state
        .create_physical_expr(expr, &schema)?
        .evaluate(&batch)?
        .into_array(1)?;
    let truth = as_boolean_array(&value)?;
    Ok(truth.len() == 1 && truth.is_valid(0) && truth.value(0))
}
