//! A checked value of the project format, ready to become the model.
//!
//! Owns: values as the shapes promise them, and typed access; no `Debug`, for they may hold secrets. Never: reports a finding.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::node::Key;
use crate::diagnostic::Place;
use crate::grant::SqlText;
use crate::principal::AttributeValue;
use crate::project::Label;

/// A text of the project.
#[derive(Clone)]
pub(super) struct Text {
    /// With every `${…}` resolved. Not for messages.
    pub text: String,
    /// As written: safe in messages where the shape is.
    pub raw: String,
    pub place: Place,
}

impl Text {
    /// The same as a piece of SQL.
    pub fn sql(&self) -> SqlText {
        SqlText {
            text: self.text.clone(),
            place: self.place.clone(),
        }
    }
}

/// A value that has the shape its key asks for.
#[derive(Clone)]
pub(super) enum Value {
    Text(Text),
    Secret(Text),
    Path(PathBuf, Text),
    Integer(i64),
    Bool(bool),
    Duration(Duration),
    Size(u64),
    Label(Label),
    Attribute(AttributeValue),
    List(Vec<Value>),
    Map(Vec<(Key, Value)>),
    Fields(Fields),
    /// The name is known, the value is not of this build; already reported.
    Nothing,
}

/// The keys of a record that were written and are right.
#[derive(Clone, Default)]
pub(super) struct Fields {
    pub values: BTreeMap<&'static str, Value>,
}

impl Fields {
    pub fn text(&self, name: &str) -> Option<&Text> {
        match self.values.get(name) {
            Some(Value::Text(text) | Value::Path(_, text)) => Some(text),
            _ => None,
        }
    }

    pub fn string(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| text.text.clone())
    }

    pub fn secret(&self, name: &str) -> Option<&Text> {
        match self.values.get(name) {
            Some(Value::Secret(text)) => Some(text),
            _ => None,
        }
    }

    pub fn path(&self, name: &str) -> Option<&PathBuf> {
        match self.values.get(name) {
            Some(Value::Path(path, _)) => Some(path),
            _ => None,
        }
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.values.get(name) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.values.get(name) {
            Some(Value::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    pub fn size(&self, name: &str) -> Option<u64> {
        match self.values.get(name) {
            Some(Value::Size(size)) => Some(*size),
            _ => None,
        }
    }

    pub fn label(&self, name: &str) -> Label {
        match self.values.get(name) {
            Some(Value::Label(label)) => label.clone(),
            _ => Label::default(),
        }
    }

    pub fn fields(&self, name: &str) -> Option<&Fields> {
        match self.values.get(name) {
            Some(Value::Fields(fields)) => Some(fields),
            _ => None,
        }
    }

    /// The entries of a map; none where the key is not written.
    pub fn map(&self, name: &str) -> &[(Key, Value)] {
        match self.values.get(name) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        }
    }

    /// The entries of a map of records.
    pub fn records(&self, name: &str) -> impl Iterator<Item = (&Key, &Fields)> {
        self.map(name).iter().filter_map(|(key, value)| match value {
            Value::Fields(fields) => Some((key, fields)),
            _ => None,
        })
    }

    /// The entries of a map of texts.
    pub fn texts_by_key(&self, name: &str) -> impl Iterator<Item = (&Key, &Text)> {
        self.map(name).iter().filter_map(|(key, value)| match value {
            Value::Text(text) => Some((key, text)),
            _ => None,
        })
    }

    /// The texts of a list; none where the key is not written.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &Text> {
        self.values.get(name).into_iter().flat_map(Value::texts)
    }
}

impl Value {
    /// The texts of a list, or the one text.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        let list = match self {
            Value::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        list.iter().filter_map(|item| match item {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }
}
