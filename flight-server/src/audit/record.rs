//! What each kind of record says.
//!
//! Owns: the members of a record, their bounds, reading one back for `caliber.audit`. Never: number, time or hash (`chain`).

use caliber_catalog::diagnostic::Code;
use caliber_engine::{AuditCaller, AuditEnd, AuditEntry, AuditRefusal, AuditStart, StatementText};
use ring::hmac::Key;
use serde_json::{Map, Value, json};

use super::chain::Sealed;

/// The most bytes of a statement's text in a record.
const STATEMENT_BYTES_MAX: usize = 64 << 10;
/// The most names in a list.
const NAMES_MAX: usize = 1_000;
/// The most characters of a name that a client gave.
const GIVEN_CHARS_MAX: usize = 256;

/// An object's members without its braces, as `chain::seal` takes them.
pub fn body(value: &Value) -> String {
    let text = value.to_string();
    text.strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .unwrap_or_default()
        .to_owned()
}

/// A statement that is about to deliver rows.
pub fn start(record: &AuditStart, key: &Key) -> String {
    let mut members = caller("start", &record.caller);
    members.insert("query_id".into(), record.query_id.as_str().into());
    statement(&mut members, &record.statement, key);
    for (name, list) in [
        ("tables", &record.tables),
        ("columns", &record.columns),
        ("masked", &record.masked),
        ("policies", &record.policies),
        ("sources", &record.sources),
    ] {
        members.insert(name.into(), names(list));
    }
    members.insert("snapshot".into(), record.snapshot.as_str().into());
    body(&members.into())
}

/// Its end.
pub fn end(record: &AuditEnd) -> String {
    body(&json!({
        "kind": "end",
        "query_id": record.query_id,
        "rows": record.rows,
        "bytes": record.bytes,
        "ms": u64::try_from(record.elapsed.as_millis()).unwrap_or(u64::MAX),
        "sources": names(&record.sources),
        "outcome": record.outcome.map_or_else(Code::as_str, |()| "ok"),
    }))
}

/// A statement that was refused before it started.
pub fn refused(record: &AuditRefusal, key: &Key) -> String {
    let mut members = caller("refused", &record.caller);
    statement(&mut members, &record.statement, key);
    members.insert("outcome".into(), record.code.as_str().into());
    body(&members.into())
}

/// A log-in, right or wrong. `unrecorded` counts attempts since the last record that were turned away unchecked.
pub fn login(user: &str, address: Option<&str>, right: bool, roles: &[String], unrecorded: u64) -> String {
    body(&json!({
        "kind": "login",
        "principal": given(user),
        "roles": names(roles),
        "address": address,
        "authentication": "password",
        "outcome": if right { "ok" } else { Code::SRV001.as_str() },
        "unrecorded": unrecorded,
    }))
}

/// A call about the catalog or the session, or one that cancels.
pub fn call(kind: &str, what: &str, principal: &str, address: Option<&str>, outcome: &str) -> String {
    body(&json!({
        "kind": kind,
        "call": given(what),
        "principal": principal,
        "address": address,
        "outcome": outcome,
    }))
}

fn caller(kind: &str, caller: &AuditCaller) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("kind".into(), kind.into());
    members.insert("principal".into(), caller.principal.as_str().into());
    members.insert("roles".into(), names(&caller.roles));
    members.insert("attributes".into(), names(&caller.attributes));
    members.insert("address".into(), caller.origin.address.clone().into());
    members.insert("authentication".into(), caller.origin.authentication.as_str().into());
    members
}

fn statement(members: &mut Map<String, Value>, statement: &StatementText, key: &Key) {
    if let Some((text, cut)) = statement.without_literals(key, STATEMENT_BYTES_MAX) {
        members.insert("statement".into(), text.into());
        if cut {
            members.insert("statement_cut".into(), true.into());
        }
    }
    members.insert("statement_bytes".into(), statement.bytes().into());
    members.insert("statement_hmac".into(), statement.hash(key).into());
}

fn names(list: &[String]) -> Value {
    let more = list.len().saturating_sub(NAMES_MAX);
    let mut names: Vec<Value> = list.iter().take(NAMES_MAX).map(|name| given(name).into()).collect();
    if more > 0 {
        names.push(format!("and {more} more").into());
    }
    names.into()
}

/// Text of a client's, not longer than any name. JSON escapes what controls a terminal.
fn given(text: &str) -> String {
    text.chars().take(GIVEN_CHARS_MAX).collect()
}

/// A record as `caliber.audit` shows it.
pub fn entry(sealed: &Sealed) -> AuditEntry {
    let text = |name: &str| match sealed.value.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        _ => None,
    };
    let count = |name: &str| sealed.value.get(name).and_then(Value::as_u64);
    AuditEntry {
        seq: sealed.head.seq,
        time: text("time").unwrap_or_default(),
        kind: text("kind").unwrap_or_default(),
        query_id: text("query_id"),
        principal: text("principal"),
        roles: text("roles"),
        address: text("address"),
        statement: text("statement").or_else(|| text("call")),
        tables: text("tables"),
        columns: text("columns"),
        masked: text("masked"),
        policies: text("policies"),
        sources: text("sources"),
        rows: count("rows"),
        bytes: count("bytes"),
        duration_ms: count("ms"),
        outcome: text("outcome"),
    }
}
