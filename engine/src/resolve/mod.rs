//! Step 1 of a query's life: names lead to governed tables, or nowhere.
//!
//! Owns: the principal's catalog, its listing, the catalog's tables about itself. Never: says of a hidden name anything
//! but what it says of an absent one (INV-4).

pub(crate) mod audit_table;
pub(crate) mod catalog_cache;
pub(crate) mod governed_catalog;
pub(crate) mod listing;
pub(crate) mod system_tables;
