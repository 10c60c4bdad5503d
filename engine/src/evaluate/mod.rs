//! What local evaluation must do that DataFusion does not do of itself: fail where an answer would be wrong.
//!
//! Owns: checked whole-number arithmetic, one execution of a join's left side. Never: policy.

pub(crate) mod check_overflow;
pub(crate) mod execute_once;
