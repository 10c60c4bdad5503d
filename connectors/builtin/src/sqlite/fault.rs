//! What can go wrong inside SQLite, and what of it may be said outside.
//!
//! Owns: the translation of the driver's errors to classes. Never: lets the driver's text, a value or a path out.

use caliber_connector_spi::{ConnectorError, ErrorClass, RemoteTable};
use std::sync::Arc;

use rusqlite::ErrorCode;
use rusqlite::types::ValueRef;

use super::checks::{Failed, failed};

/// An error before it knows its source's name.
#[derive(Debug)]
pub(super) enum Fault {
    /// The driver's.
    Driver(rusqlite::Error),
    /// A stored value that its column's declared type does not hold.
    Value { column: String, stored: &'static str },
    /// NULL in a column that forbids it.
    Null { column: String },
    /// A cell beyond the bound.
    Cell { column: String, mebibytes: usize },
    /// A table or column that is no longer as it was described.
    Drift,
    /// A sum that its type has no room for.
    Range,
    /// The deadline passed.
    Deadline,
    /// A bound of ours, in words.
    Limit(&'static str),
    /// A query this connector should not have been given.
    Statement(&'static str),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Driver(error)
    }
}

impl Fault {
    /// The driver's error of a running statement; where one of our functions failed, what it found in which of `tables`.
    pub(super) fn while_reading(error: rusqlite::Error, tables: &[Arc<RemoteTable>]) -> Self {
        let text = match &error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.as_str(),
            _ => "",
        };
        match failed(text) {
            Some(Failed::Range) => Self::Range,
            Some(Failed::Check(table, column, stored)) => {
                let table = tables.get(table);
                let column =
                    table.and_then(|table| Some(format!("{}.{}", table.name, table.columns.get(column)?.name)));
                Self::Value {
                    column: column.unwrap_or_default(),
                    stored,
                }
            }
            None => Self::Driver(error),
        }
    }

    /// The error of `source`.
    pub(super) fn of(self, source: &str) -> ConnectorError {
        let (class, message) = match self {
            Self::Driver(error) => driver(&error),
            Self::Value { column, stored } => (
                ErrorClass::Data,
                format!("a value of `{column}`, stored as {stored}, does not fit the column's declared type"),
            ),
            Self::Null { column } => (
                ErrorClass::Data,
                format!("`{column}` holds NULL though it is declared NOT NULL"),
            ),
            Self::Cell { column, mebibytes } => (
                ErrorClass::Limit,
                format!("a value of `{column}` is larger than {mebibytes} MiB"),
            ),
            Self::Drift => (
                ErrorClass::Drift,
                "a table or column is no longer what it was when it was described".to_owned(),
            ),
            Self::Range => (
                ErrorClass::Range,
                "a result of the statement does not fit its type".to_owned(),
            ),
            Self::Deadline => (ErrorClass::Deadline, "the deadline passed".to_owned()),
            Self::Limit(what) => (ErrorClass::Limit, what.to_owned()),
            Self::Statement(what) => (ErrorClass::Statement, format!("the query has {what}")),
        };
        ConnectorError::new(source, class, message)
    }
}

/// What kind of value was stored.
pub(super) fn storage(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Null => "NULL",
        ValueRef::Integer(_) => "an INTEGER",
        ValueRef::Real(_) => "a REAL",
        ValueRef::Text(_) => "TEXT",
        ValueRef::Blob(_) => "a BLOB",
    }
}

/// Whether another connection holds the database's lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Whether the progress handler ended the statement.
pub(super) fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

fn driver(error: &rusqlite::Error) -> (ErrorClass, String) {
    // The text is looked at to find the class and goes no further.
    let text = match error {
        rusqlite::Error::SqliteFailure(_, text) => text.as_deref().unwrap_or_default(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.as_str(),
        _ => "",
    };
    let number = error.sqlite_error().map_or(0, |failure| failure.extended_code);
    let say = |class, what: &str| (class, format!("{what} (SQLite error {number})"));
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => say(ErrorClass::Unavailable, "the database file cannot be opened"),
        Some(ErrorCode::NotADatabase) => say(ErrorClass::Unavailable, "the file is not a SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => say(ErrorClass::Data, "the database file is damaged"),
        Some(ErrorCode::SystemIoFailure) => say(ErrorClass::Unavailable, "the database file cannot be read"),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            say(ErrorClass::Denied, "the database file may not be read")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            say(ErrorClass::Busy, "another program keeps the database locked")
        }
        Some(ErrorCode::OperationInterrupted) => say(ErrorClass::Deadline, "the statement was cancelled"),
        Some(ErrorCode::TooBig) => say(ErrorClass::Limit, "a row is larger than the bound"),
        Some(ErrorCode::OutOfMemory) => say(ErrorClass::Limit, "SQLite ran out of memory"),
        Some(ErrorCode::SchemaChanged) => say(ErrorClass::Drift, "the tables changed while they were read"),
        _ if text.starts_with("no such ") => say(ErrorClass::Drift, "a table or column is no longer there"),
        _ => say(ErrorClass::Statement, "the statement was refused"),
    }
}
