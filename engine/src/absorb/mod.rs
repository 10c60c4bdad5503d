//! Step 5 of a query's life: what of it the sources do.
//!
//! Owns: translation into `RemoteQuery`, raw reads, key relations. Never: widens what policy lets through; what a
//! source filters is checked again by `govern`.

pub(crate) mod key_relation;
pub(crate) mod raw_read;
pub(crate) mod translate;
