//! The hash of what a project says.
//!
//! Owns: which values count: meaning, not spelling, order of keys or comments. Never: what a secret resolves to.

use super::value::{Fields, Value};
use crate::digest::Digest;

/// The hash of a whole project.
pub(super) fn project(fields: &Fields) -> String {
    let mut digest = Digest::new();
    record(&mut digest, fields);
    digest.finish()
}

fn record(digest: &mut Digest, fields: &Fields) {
    digest.part("record").part(&fields.values.len().to_string());
    for (name, field) in &fields.values {
        // The order of policies and of attributes means something; that of a record's keys does not.
        digest.part(name);
        value(digest, field);
    }
}

fn value(digest: &mut Digest, of: &Value) {
    match of {
        Value::Text(text) => digest.part("text").part(&text.text),
        Value::Secret(text) => digest.part("secret").part(&text.raw),
        Value::Path(_, text) => digest.part("path").part(&text.text),
        Value::Integer(number) => digest.part("integer").part(&number.to_string()),
        Value::Bool(value) => digest.part("bool").part(&value.to_string()),
        Value::Duration(duration) => digest.part("duration").part(&duration.as_millis().to_string()),
        Value::Size(size) => digest.part("size").part(&size.to_string()),
        Value::Label(label) => {
            digest.part("label").part(&label.0.len().to_string());
            label.0.iter().for_each(|(language, text)| {
                digest.part(language).part(text);
            });
            digest
        }
        Value::Attribute(attribute) => digest.part("attribute").part(&format!("{attribute:?}")),
        Value::List(items) => {
            digest.part("list").part(&items.len().to_string());
            items.iter().for_each(|item| value(digest, item));
            digest
        }
        Value::Map(entries) => {
            digest.part("map").part(&entries.len().to_string());
            for (key, entry) in entries {
                digest.part(&key.text);
                value(digest, entry);
            }
            digest
        }
        Value::Fields(fields) => {
            record(digest, fields);
            digest
        }
        Value::Nothing => digest.part("nothing"),
    };
}
