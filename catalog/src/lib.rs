//! What exists and who may see what: project files with spans, checked into an immutable `CatalogSnapshot`.
//!
//! Owns: the project format, diagnostics and error codes, policy decisions. Never: knows DataFusion, connects to a
//! source, does I/O beyond the project's files.

pub mod date;
pub mod diagnostic;
pub mod expectation;
pub mod grant;
pub mod identity;
pub mod metric;
pub mod name;
pub mod principal;
pub mod project;
pub mod snapshot;
pub mod source;
pub mod source_schema;
pub mod standing;
pub mod whole;

mod digest;
mod load;
mod policy;

pub use digest::digest_of;
pub use load::{
    ChangedFile, Environment, ProcessEnvironment, expectation_files, json_schema, load, load_changed, load_expectations,
};
