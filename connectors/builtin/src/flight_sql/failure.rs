//! What a server's refusal means to Caliber.
//!
//! Owns: gRPC code and Caliber code to class. Never: the server's words, which may quote a statement or name what the account
//! sees and the one who asks does not.

use std::error::Error;

use caliber_connector_spi::{ConnectorError, ErrorClass};
use tonic::{Code, Status};

/// The error as anyone may see it.
pub(super) fn failure(source_name: &str, status: &Status) -> ConnectorError {
    let code = own_code(status.message());
    // A status that wraps another error was made here, of a connection that ended: no server said anything.
    let grpc_code = if status.source().is_some() {
        Code::Unavailable
    } else {
        status.code()
    };
    let (class, words) = classify(grpc_code, code);
    let message = match code {
        Some(code) => format!("{words} ({code})"),
        None => format!("{words} (gRPC {grpc_code:?})"),
    };
    ConnectorError::new(source_name, class, message)
}

/// The error of an attempt to connect.
pub(super) fn connect_failure(source_name: &str, error: &tonic::transport::Error) -> ConnectorError {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || inside.is_some_and(|inside| inside.is::<rustls::Error>()) {
            let message = "it cannot be reached: no encrypted connection that is to be trusted came about";
            return ConnectorError::new(source_name, ErrorClass::Unavailable, message);
        }
        cause = error.source();
    }
    ConnectorError::new(source_name, ErrorClass::Unavailable, "it cannot be reached")
}

/// Whether another connection may have another answer: this one is gone, or its session is.
pub(super) fn is_stale(status: &Status) -> bool {
    status.source().is_some() || matches!(status.code(), Code::Unavailable | Code::Unauthenticated | Code::Unknown)
}

/// The code a Caliber begins its messages with: three letters, three digits, a colon.
fn own_code(message: &str) -> Option<&str> {
    let (code, _) = message.split_once(':')?;
    let (letters, digits) = code.split_at_checked(3)?;
    let is_code = digits.len() == 3
        && letters.bytes().all(|byte| byte.is_ascii_uppercase())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then_some(code)
}

fn classify(code: Code, own: Option<&str>) -> (ErrorClass, &'static str) {
    match own {
        Some("SQL022") => return (ErrorClass::Range, "a result of the statement does not fit its type"),
        Some("SQL010" | "SQL011" | "SQL012" | "SRC004" | "SRV004") => return (ErrorClass::Drift, DRIFTED),
        Some("SRC003") => return (ErrorClass::Data, "a value there does not fit its column"),
        Some("SRC005") => return (ErrorClass::Busy, "a source of its own is busy"),
        _ => {}
    }
    match code {
        Code::Unauthenticated => (ErrorClass::Denied, "it refused the account"),
        Code::PermissionDenied => (ErrorClass::Denied, "it refused its account what was asked for"),
        Code::NotFound | Code::FailedPrecondition => (ErrorClass::Drift, DRIFTED),
        Code::ResourceExhausted => (ErrorClass::Busy, "it has reached a limit of its own"),
        Code::DeadlineExceeded | Code::Cancelled => (ErrorClass::Deadline, "the statement was cancelled there"),
        Code::OutOfRange | Code::DataLoss => (ErrorClass::Data, "a value there does not fit what was asked for"),
        Code::InvalidArgument | Code::Unimplemented | Code::Internal => {
            (ErrorClass::Statement, "it refused the statement, or failed at it")
        }
        _ => (
            ErrorClass::Unavailable,
            "it is not available, or a source of its own is not",
        ),
    }
}

const DRIFTED: &str = "a table or column is no longer what it was when it was described";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_ours_is_told_from_other_words() {
        assert_eq!(own_code("SQL022: a sum"), Some("SQL022"));
        for other in ["SQL22: x", "sql022: x", "SQL022", "", "été: x", "SQL0222: x"] {
            assert_eq!(own_code(other), None, "{other}");
        }
    }

    #[test]
    fn the_servers_words_stay_there() {
        let status = Status::not_found("table `salaries` does not exist");
        let error = failure("group", &status);
        assert_eq!(error.class, ErrorClass::Drift);
        assert!(!error.to_string().contains("salaries"), "{error}");
    }
}
