//! What a driver's error means to Caliber.
//!
//! Owns: error number to class. Never: the driver's text, which may quote data or addresses.

use caliber_connector_spi::{ConnectorError, ErrorClass};
use mysql_async::Error;

/// The error as anyone may see it. The server's own words are left out.
pub fn failure(source_name: &str, error: &Error) -> ConnectorError {
    match error {
        Error::Server(server) => {
            let (class, words) = classify(server.code);
            ConnectorError::new(source_name, class, format!("{words} (error {})", server.code))
        }
        Error::Url(_) => ConnectorError::new(source_name, ErrorClass::Options, "option `url` is not an address"),
        Error::Driver(_) | Error::Io(_) | Error::Other(_) => {
            let message = "it cannot be reached, or broke off the connection";
            ConnectorError::new(source_name, ErrorClass::Unavailable, message)
        }
    }
}

/// Numbers of the MySQL and MariaDB error references.
fn classify(code: u16) -> (ErrorClass, &'static str) {
    match code {
        1044 | 1045 | 1130 | 1251 | 1698 | 1820 | 1862 | 3118 | 4151 => (ErrorClass::Denied, "it refused the account"),
        1142 | 1143 | 1227 | 1290 | 1345 | 1370 | 1792 => {
            (ErrorClass::Denied, "it refused its account what was asked for")
        }
        1049 => (ErrorClass::Options, "it has no such database"),
        1054 | 1146 | 1356 | 1412 => (
            ErrorClass::Drift,
            "a table or column is no longer what it was when it was described",
        ),
        1040 | 1041 | 1203 | 1205 | 1213 | 1226 => (ErrorClass::Busy, "it has reached a limit of its own"),
        1317 | 1969 | 3024 => (ErrorClass::Deadline, "the statement was cancelled"),
        1053 | 1077..=1080 | 1152..=1161 | 1184 | 1927 | 2006 | 2013 => (ErrorClass::Unavailable, "it broke off"),
        1690 => (ErrorClass::Range, "a result of the statement does not fit its type"),
        1264 | 1292 | 1365 | 1366 | 1406 | 1411 | 1426 | 1525 => {
            (ErrorClass::Data, "a value there does not fit what was asked for")
        }
        _ => (ErrorClass::Statement, "it refused the statement"),
    }
}
