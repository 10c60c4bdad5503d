//! What a driver's error means to Caliber.
//!
//! Owns: SQLSTATE to class. Never: the driver's text, which may quote data or addresses.

use caliber_connector_spi::{ConnectorError, ErrorClass};
use tokio_postgres::Error;

/// The error as anyone may see it. The server's own words are left out.
pub fn failure(source_name: &str, error: &Error) -> ConnectorError {
    let Some(state) = error.code() else {
        let message = if error.is_closed() {
            "it closed the connection"
        } else {
            "the connection to it failed"
        };
        return ConnectorError::new(source_name, ErrorClass::Unavailable, message);
    };
    let code = state.code();
    let (class, words) = classify(code);
    ConnectorError::new(source_name, class, format!("{words} (SQLSTATE {code})"))
}

/// The error of an attempt to connect.
pub fn connect_failure(source_name: &str, error: &Error) -> ConnectorError {
    if error.code().is_some() {
        return failure(source_name, error);
    }
    ConnectorError::new(
        source_name,
        ErrorClass::Unavailable,
        "it cannot be reached, or refused a secure connection",
    )
}

fn classify(code: &str) -> (ErrorClass, &'static str) {
    match code {
        "42501" => return (ErrorClass::Denied, "it refused its account what was asked for"),
        "42P01" | "42703" | "3F000" | "0A000" | "42704" | "42804" | "42846" | "42883" => {
            return (
                ErrorClass::Drift,
                "a table or column is no longer what it was when it was described",
            );
        }
        "3D000" => return (ErrorClass::Options, "it has no such database"),
        "22003" => return (ErrorClass::Range, "a result of the statement does not fit its type"),
        "57014" => return (ErrorClass::Deadline, "the statement was cancelled"),
        _ => {}
    }
    match code.get(..2) {
        Some("28") => (ErrorClass::Denied, "it refused the account"),
        Some("08" | "57" | "58" | "XX") => (ErrorClass::Unavailable, "it broke off"),
        Some("53") => (ErrorClass::Busy, "it has reached a limit of its own"),
        Some("40" | "55") => (ErrorClass::Busy, "something else there stood in the way"),
        Some("22" | "21") => (ErrorClass::Data, "a value there does not fit what was asked for"),
        _ => (ErrorClass::Statement, "it refused the statement"),
    }
}
