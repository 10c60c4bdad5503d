//! Step 4 of a query's life: policy below everything the user wrote.
//!
//! Owns: compiled policy, the governed table and its one scan operator, the check that nothing else runs.
//! Never: decides what policy says (`caliber_catalog`), or reads a source other than through `absorb`.

pub(crate) mod attribute_class;
pub(crate) mod cannot_fail;
pub(crate) mod check_policies;
pub(crate) mod check_syntax;
pub(crate) mod enforcement;
mod even_batches;
pub(crate) mod governed_rows;
pub(crate) mod governed_scan;
pub(crate) mod governed_table;
pub(crate) mod guard_groups;
pub(crate) mod leakproof;
pub(crate) mod mask_functions;
pub(crate) mod policy_expr;
pub(crate) mod reaches_group;
pub(crate) mod require_governed;
pub(crate) mod source_ask;
pub(crate) mod standing;
