//! `sources`.
//!
//! Owns: options as their connector declared them. Never: knows a kind of connector by name.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::Scope;
use crate::diagnostic::{Code, Diagnostic};
use crate::load::node::Key;
use crate::load::value::{Fields, Value};
use crate::project::Source;
use crate::source::{ConnectorKind, OptionValue, Options};

/// Connections to a source, where it does not say.
const CONNECTIONS_DEFAULT: usize = 8;

pub(super) fn source(key: &Key, fields: &Fields, kinds: &[ConnectorKind]) -> Option<Source> {
    let connector = fields.string("connector")?;
    let kind = kinds.iter().find(|kind| kind.kind == connector)?;
    let mut options = Options::default();
    for spec in kind.options {
        if let Some(value) = fields.values.get(spec.name).and_then(option) {
            options.values.insert(spec.name, value);
        }
    }
    let limits = fields.fields("limits");
    let connections = limits
        .and_then(|limits| limits.integer("connections"))
        .and_then(|number| usize::try_from(number).ok());
    Some(Source {
        name: key.text.clone(),
        connector,
        options,
        owner: fields.string("owner"),
        label: fields.label("label"),
        connections_max: connections.unwrap_or(CONNECTIONS_DEFAULT),
        statement_timeout: limits.and_then(|limits| limits.duration("timeout")),
        place: key.place.clone(),
    })
}

fn option(value: &Value) -> Option<(OptionValue, Option<crate::diagnostic::Place>)> {
    Some(match value {
        Value::Text(text) => (OptionValue::Text(text.text.clone()), Some(text.place.clone())),
        Value::Secret(text) => (
            OptionValue::Secret(SecretString::from(text.text.clone())),
            Some(text.place.clone()),
        ),
        Value::Path(path, text) => (OptionValue::Path(path.clone()), Some(text.place.clone())),
        Value::Integer(number) => (OptionValue::Integer(*number), None),
        Value::Bool(value) => (OptionValue::Bool(*value), None),
        Value::Map(tables) => {
            let settings = |value: &Value| match value {
                Value::Map(settings) => settings
                    .iter()
                    .filter_map(|(key, value)| Some((key.text.clone(), value.texts().next()?.text.clone())))
                    .collect(),
                _ => BTreeMap::new(),
            };
            (
                OptionValue::Tables(
                    tables
                        .iter()
                        .map(|(key, value)| (key.text.clone(), settings(value)))
                        .collect(),
                ),
                None,
            )
        }
        _ => return None,
    })
}

/// Two sources whose names differ in case only would make a name without quotes ambiguous for everybody.
pub(super) fn report_case_variants(sources: &BTreeMap<String, Source>, scope: &mut Scope<'_>) {
    let mut lower = BTreeMap::new();
    for source in sources.values() {
        if let Some(other) = lower.insert(source.name.to_ascii_lowercase(), source) {
            let at = |source: &Source| (source.place.source.name.clone(), source.place.range.start);
            let (first, source) = if at(other) < at(source) {
                (other, source)
            } else {
                (source, other)
            };
            scope.add(
                Diagnostic::error(
                    Code::PRJ006,
                    format!("`{}` and `{}` differ in case only", first.name, source.name),
                )
                .at(source.place.clone())
                .related(first.place.clone(), "the other one")
                .help("give one of the two another name"),
            );
        }
    }
}
