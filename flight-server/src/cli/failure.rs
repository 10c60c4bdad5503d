//! How a command ends that does not end well.
//!
//! Owns: exit codes, printing errors. Never: what went wrong.

use std::io::{self, Write};
use std::process::ExitCode;

use caliber_catalog::diagnostic::{Code, Diagnostic, Fault, Severity, render};
use caliber_engine::EngineError;

/// A line on standard error. Where standard error is gone, nobody is left to tell.
macro_rules! note {
    ($($text:tt)*) => {{ let _ = writeln!(std::io::stderr(), $($text)*); }};
}
pub(super) use note;

/// Why a command stops.
#[derive(Debug)]
pub enum Failure {
    /// Findings, at least one of them an error.
    Findings(Vec<Diagnostic>),
    /// The arguments do not fit together.
    Usage(String),
    /// No connection, or no log-in.
    Connect(Box<Diagnostic>),
    /// Reading or writing failed.
    Io(io::Error),
    /// Everything was said already.
    Said(u8),
}

impl Failure {
    /// Prints what is left to say and gives the exit code: 1 error, 2 usage, 3 no connection or log-in,
    /// 4 refused by policy, 5 deadline or cancelled; a reader that went away is no failure.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Findings(findings) => {
                print(&findings);
                let first = findings.iter().find(|finding| finding.severity == Severity::Error);
                ExitCode::from(first.map_or(1, |finding| exit_code(finding.code)))
            }
            Self::Usage(message) => {
                note!("error: {message}\n\nFor more information, try '--help'.");
                ExitCode::from(2)
            }
            Self::Connect(diagnostic) => {
                print(&[*diagnostic]);
                ExitCode::from(3)
            }
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Io(error) => {
                note!("error: {error}");
                ExitCode::from(1)
            }
            Self::Said(code) => ExitCode::from(code),
        }
    }

    /// No connection or no log-in, and why.
    pub fn connect(diagnostic: Diagnostic) -> Self {
        Self::Connect(Box::new(diagnostic))
    }

    /// One error.
    pub fn of(diagnostic: Diagnostic) -> Self {
        Self::Findings(vec![diagnostic])
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::of(error.diagnostic())
    }
}

/// Prints findings on standard error as people read them.
pub fn print(findings: &[Diagnostic]) {
    for finding in findings {
        note!("{}", render(finding).trim_end());
    }
}

/// The exit code of an error.
pub fn exit_code(code: Code) -> u8 {
    match code.fault() {
        Fault::Unauthenticated => 3,
        Fault::Refused => 4,
        Fault::Deadline | Fault::Cancelled => 5,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_who_must_act() {
        let expected = [
            (Code::SQL012, 1),
            (Code::SRV001, 3),
            (Code::SQL002, 4),
            (Code::LIM004, 5),
            (Code::LIM006, 5),
            (Code::PRJ003, 1),
        ];
        for (code, exit) in expected {
            assert_eq!(exit_code(code), exit, "{code:?}");
        }
    }
}
