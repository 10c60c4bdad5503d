//! What can go wrong at a source, as far as anyone outside the connector may know.
//!
//! Owns: the source's alias, a class, a safe sentence. Never: the driver's text, a value, an address, a secret.

use thiserror::Error;

/// Who must act, and whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// An option's value is wrong; the steward must change the project.
    Options,
    /// The source cannot be reached, or broke the connection.
    Unavailable,
    /// The source refused the account, or what it asked for.
    Denied,
    /// A value does not fit the column's type, or the source broke its protocol.
    Data,
    /// A result the statement computes (a sum) does not fit its type.
    Range,
    /// The table or a column is no longer what it was when the source was last described.
    Drift,
    /// No connection within the bound, or the source's own limit.
    Busy,
    /// The deadline passed, or the statement was cancelled.
    Deadline,
    /// A bound of ours (buffer, cell size) was reached.
    Limit,
    /// The source refused a statement Caliber made: our bug.
    Statement,
}

/// An error of a source. `Display` is safe for anyone who may know the source's name.
#[derive(Clone, Debug, Error)]
#[error("source `{source_name}`: {message}")]
pub struct ConnectorError {
    /// The source's name in the project.
    pub source_name: String,
    /// Its class.
    pub class: ErrorClass,
    /// One sentence, lower case, no full stop; may name a table and column of the source, a driver's error code
    /// (an SQLSTATE), never its text or a value.
    pub message: String,
}

impl ConnectorError {
    /// An error of `source_name`.
    pub fn new(source_name: impl Into<String>, class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            source_name: source_name.into(),
            class,
            message: message.into(),
        }
    }
}
