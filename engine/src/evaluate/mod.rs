//! What local evaluation must do that DataFusion does not do of itself: fail where an answer would be wrong, or where
//! one value would take all memory.
//!
//! Owns: checked arithmetic and sums, whole calendars, bounds on what a call may make, one execution of a join's left side. Never: policy.

pub(crate) mod average;
pub(crate) mod bound_calls;
pub(crate) mod bound_expansion;
pub(crate) mod bound_unnest;
pub(crate) mod bounded_gathering;
pub(crate) mod calendar_trunc;
pub(crate) mod check_overflow;
pub(crate) mod checked_sum;
pub(crate) mod distinct_groups;
pub(crate) mod distinct_keys;
pub(crate) mod execute_once;
pub(crate) mod forget_constants;
pub(crate) mod pass_through;
pub(crate) mod spread_literals;
pub(crate) mod yield_often;
