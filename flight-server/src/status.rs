//! How an error leaves over gRPC, and how the client side reads it back.
//!
//! Owns: the gRPC code of each fault, the text and the details of a status. Never: decides what is an error.

use std::collections::HashMap;

use caliber_catalog::diagnostic::{Code, Diagnostic, Fault, Place, SourceText};
use caliber_engine::EngineError;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

/// The `domain` of every `ErrorInfo` this server sends.
const DOMAIN: &str = "caliber";
/// Statuses travel in headers, percent-encoded and once more inside the details; clients bound those at 8 KiB.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// The gRPC code that tells a client who must act.
pub fn grpc_code(code: Code) -> tonic::Code {
    if code == Code::SRV003 {
        return tonic::Code::Unimplemented;
    }
    match code.fault() {
        Fault::Caller => tonic::Code::InvalidArgument,
        Fault::NotFound => tonic::Code::NotFound,
        Fault::Unauthenticated => tonic::Code::Unauthenticated,
        Fault::Refused => tonic::Code::PermissionDenied,
        Fault::Source => tonic::Code::Unavailable,
        Fault::Changed | Fault::Project => tonic::Code::FailedPrecondition,
        Fault::Limit => tonic::Code::ResourceExhausted,
        Fault::Deadline => tonic::Code::DeadlineExceeded,
        Fault::Cancelled => tonic::Code::Cancelled,
        Fault::Internal => tonic::Code::Internal,
    }
}

/// A statement's error, with the query it belongs to where that is known.
pub fn of_engine(error: &EngineError, query_id: Option<&str>) -> Status {
    let mut metadata = HashMap::new();
    if let Some(query_id) = query_id {
        metadata.insert("query_id".to_owned(), query_id.to_owned());
    }
    if let Some(place) = &error.place {
        metadata.insert("start".to_owned(), place.range.start.to_string());
        metadata.insert("end".to_owned(), place.range.end.to_string());
    }
    let remarks = [("note", &error.label), ("help", &error.help)];
    let remarks = remarks
        .iter()
        .filter_map(|(kind, text)| text.as_deref().map(|text| (*kind, text)));
    build(grpc_code(error.code), error.code, &error.message, remarks, metadata)
}

/// An error of this server's own, under `code`.
pub fn of_code(code: Code, message: &str, help: Option<&str>) -> Status {
    build(
        grpc_code(code),
        code,
        message,
        help.map(|text| ("help", text)).into_iter(),
        HashMap::new(),
    )
}

/// A request this server understands and does not serve: UNIMPLEMENTED.
pub fn unsupported(what: &str) -> Status {
    of_code(
        Code::SRV003,
        &format!("{what} is not supported"),
        Some("this server answers read-only SQL; see GetSqlInfo"),
    )
}

/// A request that cannot be read: INVALID_ARGUMENT.
pub fn malformed(what: &str) -> Status {
    build(
        tonic::Code::InvalidArgument,
        Code::SRV003,
        what,
        [].into_iter(),
        HashMap::new(),
    )
}

/// What cannot be recorded is not answered: SRV005.
pub fn not_audited(reason: &str) -> Status {
    tracing::debug!(reason, "a call was refused for want of its audit record");
    of_code(
        Code::SRV005,
        "the audit log cannot be written, so nothing is answered",
        Some("ask the operator; the server answers again once the audit log can be written"),
    )
}

/// Our own bug. What happened goes to the log, never to the caller.
pub fn internal() -> Status {
    of_code(
        Code::INT001,
        "internal error",
        Some("the server's log says more; please report it"),
    )
}

/// Brings a status that arrow-flight or tonic made into our shape. Statuses of ours pass unchanged.
///
/// What a library says of a broken message may quote it, so its text is not passed on.
pub fn normalised(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    match status.code() {
        tonic::Code::Internal | tonic::Code::InvalidArgument => malformed("the request cannot be decoded"),
        tonic::Code::Unimplemented => unsupported("this request"),
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
            of_code(Code::LIM001, "the request is larger than this server accepts", None)
        }
        tonic::Code::Cancelled => of_code(Code::LIM006, "cancelled", None),
        _ => internal(),
    }
}

fn build<'a>(
    grpc: tonic::Code,
    code: Code,
    message: &str,
    remarks: impl Iterator<Item = (&'a str, &'a str)>,
    metadata: HashMap<String, String>,
) -> Status {
    let first_line = message.lines().next().unwrap_or_default();
    let mut text = format!("{}: {first_line}", code.as_str());
    for (kind, remark) in remarks {
        for line in remark.lines() {
            text.push_str(&format!("\n{kind}: {line}"));
        }
    }
    let text = shortened(text);
    Status::with_error_details(
        grpc,
        text,
        ErrorDetails::with_error_info(code.as_str(), DOMAIN, metadata),
    )
}

fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The client side: what a status of a Caliber server (or of any other) says, as people read it.
/// `sql` is the statement sent, for the caret.
pub fn diagnostic(status: &Status, sql: &str) -> Diagnostic {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let code = info.and_then(|info| Code::ALL.iter().copied().find(|code| code.as_str() == info.reason));
    let Some((code, info)) = code.zip(info) else {
        let first_line = status.message().lines().next().unwrap_or_default().to_owned();
        return Diagnostic::error(code_of_grpc(status.code()), first_line);
    };
    let mut lines = status.message().lines();
    let first_line = lines.next().unwrap_or_default();
    let first_line = first_line
        .strip_prefix(code.as_str())
        .map_or(first_line, |rest| rest.trim_start_matches(": "));
    let mut diagnostic = Diagnostic::error(code, first_line);
    let mut help = Vec::new();
    for line in lines {
        match line.split_once(": ") {
            Some(("note", text)) => diagnostic.label = Some(text.to_owned()),
            Some(("help", text)) => help.push(text),
            _ => {}
        }
    }
    if !help.is_empty() {
        diagnostic.help = Some(help.join("\n"));
    }
    let offset = |key: &str| info.metadata.get(key).and_then(|text| text.parse::<usize>().ok());
    if let (Some(start), Some(end)) = (offset("start"), offset("end")) {
        diagnostic.place = Some(Place::new(SourceText::new("query", sql), start..end));
    }
    diagnostic
}

/// The nearest code of ours for a status that no Caliber server made.
fn code_of_grpc(code: tonic::Code) -> Code {
    match code {
        tonic::Code::Unauthenticated => Code::SRV001,
        tonic::Code::PermissionDenied => Code::SQL002,
        tonic::Code::NotFound => Code::SQL010,
        tonic::Code::InvalidArgument => Code::SQL015,
        tonic::Code::DeadlineExceeded => Code::LIM004,
        tonic::Code::Cancelled => Code::LIM006,
        tonic::Code::ResourceExhausted => Code::LIM003,
        tonic::Code::Unimplemented => Code::SRV003,
        tonic::Code::Unavailable => Code::SRC001,
        _ => Code::INT001,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine_error(code: Code) -> EngineError {
        let query = SourceText::new("query", "SELECT amont FROM credit.loan");
        EngineError {
            code,
            message: "column `amont` not found in `credit.loan`".into(),
            place: Some(Place::new(query, 7..12)),
            label: Some("did you mean `amount`?".into()),
            help: Some("caliber catalog show credit.loan".into()),
        }
    }

    #[test]
    fn each_fault_has_its_grpc_code() {
        let expected = [
            (Code::SQL012, tonic::Code::InvalidArgument),
            (Code::SQL010, tonic::Code::NotFound),
            (Code::SQL002, tonic::Code::PermissionDenied),
            (Code::SRC001, tonic::Code::Unavailable),
            (Code::LIM002, tonic::Code::ResourceExhausted),
            (Code::LIM004, tonic::Code::DeadlineExceeded),
            (Code::LIM006, tonic::Code::Cancelled),
            (Code::SRV001, tonic::Code::Unauthenticated),
            (Code::SRV002, tonic::Code::InvalidArgument),
            (Code::SRV003, tonic::Code::Unimplemented),
            (Code::SRV004, tonic::Code::FailedPrecondition),
            (Code::INT001, tonic::Code::Internal),
        ];
        for (code, grpc) in expected {
            assert_eq!(of_code(code, "message", None).code(), grpc, "{code:?}");
        }
    }

    #[test]
    fn a_status_is_first_line_note_and_help_with_details() {
        let status = of_engine(&engine_error(Code::SQL012), Some("q1"));
        assert_eq!(
            status.message(),
            "SQL012: column `amont` not found in `credit.loan`\nnote: did you mean `amount`?\nhelp: caliber catalog show credit.loan"
        );
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("SQL012", "caliber"));
        assert_eq!(info.metadata.get("query_id").map(String::as_str), Some("q1"));
    }

    #[test]
    fn the_client_side_reads_back_what_the_server_said() {
        let error = engine_error(Code::SQL012);
        let read = diagnostic(&of_engine(&error, None), "SELECT amont FROM credit.loan");
        assert_eq!(read.code, error.code);
        assert_eq!(read.message, error.message);
        assert_eq!(read.label, error.label);
        assert_eq!(read.help, error.help);
        assert_eq!(read.place.unwrap().range, 7..12);
    }

    #[test]
    fn a_library_message_is_replaced_and_ours_is_not() {
        let foreign = normalised(Status::internal("ParseError(\"secret bytes\")"));
        assert_eq!(foreign.code(), tonic::Code::InvalidArgument);
        assert!(!foreign.message().contains("secret"));
        let ours = normalised(internal());
        assert_eq!(ours.code(), tonic::Code::Internal);
    }

    #[test]
    fn a_long_message_is_cut_on_a_character() {
        let status = of_code(Code::SQL015, &"行".repeat(5_000), None);
        assert!(status.message().len() <= MESSAGE_BYTES_MAX + '…'.len_utf8());
        assert!(status.message().ends_with('…'));
    }
}
