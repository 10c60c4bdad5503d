//! What a connector declares of its options, and what a project gave for them.
//!
//! Owns: option declarations as data; checked option values, secrets among them. Never: knows a kind of connector by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::diagnostic::Place;

/// A kind of connector this build has: what a project may write for it.
#[derive(Clone, Copy, Debug)]
pub struct ConnectorKind {
    /// The word: `connector: postgres`.
    pub kind: &'static str,
    /// Its options; any other key is an error.
    pub options: &'static [OptionSpec],
}

/// One option of a connector.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The key.
    pub name: &'static str,
    /// The shape of its value.
    pub kind: OptionKind,
    /// Whether a source without it is an error.
    pub required: bool,
    /// One sentence for the documentation and the JSON Schema.
    pub description: &'static str,
}

/// The shape of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// Text that may be shown.
    Text,
    /// Text that never prints: a password, or an address that may carry one.
    Secret,
    /// A path, relative to the project folder.
    Path,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Bool,
    /// A map of names to maps of text (the tables of `files`).
    Tables,
}

/// The value of an option. Secrets do not print.
#[derive(Clone, Debug)]
pub enum OptionValue {
    /// `OptionKind::Text`
    Text(String),
    /// `OptionKind::Secret`
    Secret(SecretString),
    /// `OptionKind::Path`, made absolute on the project folder.
    Path(PathBuf),
    /// `OptionKind::Integer`
    Integer(i64),
    /// `OptionKind::Bool`
    Bool(bool),
    /// `OptionKind::Tables`: by table, its settings.
    Tables(BTreeMap<String, BTreeMap<String, String>>),
}

/// The checked options of one source.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// By option name, the value and where it stands.
    pub values: BTreeMap<&'static str, (OptionValue, Option<Place>)>,
}

impl Options {
    /// The text of `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some((OptionValue::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    /// The secret text of `name`. The caller must not print it.
    pub fn secret(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some((OptionValue::Secret(secret), _)) => Some(secret.expose_secret()),
            _ => None,
        }
    }

    /// The absolute path of `name`.
    pub fn path(&self, name: &str) -> Option<&std::path::Path> {
        match self.values.get(name) {
            Some((OptionValue::Path(path), _)) => Some(path),
            _ => None,
        }
    }

    /// The number of `name`.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.values.get(name) {
            Some((OptionValue::Integer(number), _)) => Some(*number),
            _ => None,
        }
    }

    /// The truth value of `name`.
    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some((OptionValue::Bool(value), _)) => Some(*value),
            _ => None,
        }
    }

    /// The tables of `name`.
    pub fn tables(&self, name: &str) -> Option<&BTreeMap<String, BTreeMap<String, String>>> {
        match self.values.get(name) {
            Some((OptionValue::Tables(tables), _)) => Some(tables),
            _ => None,
        }
    }

    /// The same options with one more, for tests and programs that build a source by hand.
    pub fn with(mut self, name: &'static str, value: OptionValue) -> Self {
        self.values.insert(name, (value, None));
        self
    }
}
