//! `server` and `auth`.
//!
//! Owns: listeners, limits with their defaults, the key of masks. Never: listens.

use secrecy::SecretString;

use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::load::node::Findings;
use crate::load::value::Fields;
use crate::project::{Limits, ServerSettings, TlsSettings};

/// `server`, silent or not.
pub(super) fn settings(fields: Option<&Fields>) -> ServerSettings {
    let flight = fields.and_then(|fields| fields.fields("flight"));
    let defaults = ServerSettings::default();
    ServerSettings {
        flight_listen: flight
            .and_then(|flight| flight.string("listen"))
            .unwrap_or(defaults.flight_listen),
        flight_tls: flight.and_then(|flight| flight.fields("tls")).and_then(|tls| {
            Some(TlsSettings {
                cert: tls.path("cert")?.clone(),
                key: tls.path("key")?.clone(),
                client_ca: tls.path("client_ca").cloned(),
            })
        }),
        http_listen: fields
            .and_then(|fields| fields.fields("http"))
            .and_then(|http| http.string("listen")),
        limits: fields
            .and_then(|fields| fields.fields("limits"))
            .map(limits)
            .unwrap_or_default(),
        mask_key: fields
            .and_then(|fields| fields.secret("mask_key"))
            .map(|key| SecretString::from(key.text.clone())),
    }
}

/// The fewest bytes of `mask_key`: as many as the hash gives.
const MASK_KEY_BYTES: usize = 32;

/// A short key could be guessed, and with it every token looked up.
pub(super) fn check_mask_key(fields: &Fields, findings: &mut Findings) {
    let key = fields.fields("server").and_then(|server| server.secret("mask_key"));
    if let Some(key) = key.filter(|key| key.text.trim().len() < MASK_KEY_BYTES) {
        let finding = Diagnostic::error(
            Code::PRJ004,
            format!("`mask_key` has fewer than {MASK_KEY_BYTES} bytes"),
        )
        .at(key.place.clone())
        .label("not shown");
        findings.add(finding.help("draw one at random: `openssl rand -hex 32`"));
    }
}

fn limits(fields: &Fields) -> Limits {
    let defaults = Limits::default();
    let count = |name: &str, default: usize| {
        fields
            .integer(name)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(default)
    };
    Limits {
        query_timeout: fields.duration("query_timeout").unwrap_or(defaults.query_timeout),
        memory_bytes: fields.size("memory").unwrap_or(defaults.memory_bytes),
        query_memory_bytes: fields.size("query_memory").unwrap_or(defaults.query_memory_bytes),
        result_rows: fields
            .integer("result_rows")
            .and_then(|rows| u64::try_from(rows).ok())
            .unwrap_or(defaults.result_rows),
        result_bytes: fields.size("result_bytes").unwrap_or(defaults.result_bytes),
        concurrent_per_user: count("concurrent_per_user", defaults.concurrent_per_user),
        sessions_per_user: count("sessions_per_user", defaults.sessions_per_user),
    }
}

/// `auth.users` names a file that the project has read anyway; it must be one of them.
pub(super) fn check_users_file(fields: &Fields, files: &[&str], findings: &mut Findings) {
    let Some(file) = fields.fields("auth").and_then(|auth| auth.text("users")) else {
        return;
    };
    let name = file.text.strip_prefix("./").unwrap_or(&file.text);
    if files.contains(&name) || findings.incomplete {
        return;
    }
    let mut finding =
        Diagnostic::error(Code::PRJ010, format!("`{}` is not a file of this project", file.raw)).at(file.place.clone());
    if let Some(near) = did_you_mean(name, files.iter().copied()) {
        finding = finding.label(format!("did you mean `{near}`?"));
    }
    findings.add(finding.help("name a `.yaml` file of the project folder, relative to it"));
}
