//! Step 6 of a query's life: one run of a planned statement.
//!
//! Owns: the run's shared state, its bounds, audit, receipt and wire types. Never: plans, or decides.

pub(crate) mod audit;
pub(crate) mod parameters;
pub(crate) mod plan_cache;
pub(crate) mod plan_template;
pub(crate) mod query_run;
pub(crate) mod receipt;
pub(crate) mod result_stream;
pub(crate) mod steps;
pub(crate) mod wire_types;
