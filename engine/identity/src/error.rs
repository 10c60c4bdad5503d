//! Why a build fails.
//!
//! Owns: the reasons. Never: a value of a record.

use std::path::PathBuf;

/// What a build returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a build, or a change of a crosswalk, fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
    /// A bound was reached.
    #[error("more than {limit} {what}: {advice}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// What to do.
        advice: &'static str,
    },
    /// A record is named that the crosswalk does not hold.
    #[error("source `{0}` has no record of that key in the crosswalk")]
    UnknownRecord(String),
    /// Two records of a source have the same key.
    #[error("source `{source_name}` has two records of one key")]
    DuplicateKey {
        /// The source.
        source_name: String,
    },
    /// The crosswalk's file cannot be read or written.
    #[error("cannot use the crosswalk file `{path}`: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
