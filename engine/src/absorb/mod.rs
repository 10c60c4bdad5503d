//! Step 5 of a query's life: what of it the sources do.
//!
//! Owns: translation into `RemoteQuery`, raw reads, key relations. Never: widens what policy lets through; what a
//! source filters is checked again by `govern`.

pub(crate) mod absorb_plan;
pub(crate) mod absorbed_scan;
pub(crate) mod absorbed_table;
pub(crate) mod bind_join;
mod constants;
mod eager_aggregate;
pub(crate) mod estimate;
pub(crate) mod gathering;
pub(crate) mod governed_relation;
pub(crate) mod infer_parameters;
mod join_order;
mod join_region;
mod join_way;
pub(crate) mod key_relation;
mod partial_aggregate;
pub(crate) mod raw_read;
pub(crate) mod read_ahead;
mod region;
pub(crate) mod remote_plan;
pub(crate) mod restrict;
mod split_average;
mod total;
pub(crate) mod translate;
