//! Walks a tree of nodes along the format's tables.
//!
//! Owns: every finding about keys and shapes, all at once; which values may be shown. Never: looks at more than one
//! value at a time (`model` does).

use std::path::Path;

use super::Environment;
use super::format::{PROJECT, VERSION};
use super::interpolate;
use super::node::{Entry, Findings, Key, Kind, Node};
use super::scalar;
use super::shape::{Field, Keys, Record, Shape, option_shape};
use super::value::{Fields, Text, Value};
use crate::diagnostic::{Code, Diagnostic, Place, did_you_mean};
use crate::name::RESERVED_SCHEMAS;
use crate::principal::AttributeValue;
use crate::project::Label;
use crate::source::ConnectorKind;

pub(super) struct Checker<'a> {
    pub findings: &'a mut Findings,
    pub environment: &'a dyn Environment,
    pub root: &'a Path,
    pub kinds: &'a [ConnectorKind],
}

impl Checker<'_> {
    /// The whole project. Where a file could not be understood, what is missing may stand in it and is not reported.
    pub fn project(&mut self, sections: &[Entry], top: &Place) -> Fields {
        let known: Vec<&Field> = PROJECT.fields.iter().collect();
        let fields = self.keys(sections, PROJECT.what, &known);
        if !self.findings.incomplete {
            self.missing(&fields, PROJECT.what, &known, top);
        }
        fields
    }

    /// The value of `node` if it has `shape`; `owner` is where a missing key is reported.
    fn value(&mut self, node: &Node, shape: &Shape, owner: &Place) -> Option<Value> {
        match shape {
            Shape::Record(record) => self
                .mapping(node)
                .map(|entries| Value::Fields(self.record(entries, record, &[], owner))),
            Shape::Source(record) => self
                .mapping(node)
                .map(|entries| Value::Fields(self.source(entries, record, owner))),
            Shape::Map(keys, value) => self.map(node, *keys, value),
            Shape::List(item) => self.list(node, item),
            Shape::OneOrMany(item) if matches!(node.kind, Kind::Sequence(_)) => self.list(node, item),
            Shape::OneOrMany(item) => self.value(node, item, owner).map(|one| Value::List(vec![one])),
            Shape::SqlOr(record) if matches!(node.kind, Kind::Mapping(_)) => self
                .mapping(node)
                .map(|entries| Value::Fields(self.record(entries, record, &[], owner))),
            Shape::SqlOr(_) => self.value(node, &Shape::Sql, owner),
            Shape::Label => self.label(node),
            Shape::Attribute => self.attribute(node).map(Value::Attribute),
            Shape::OptionTables => self.option_tables(node),
            Shape::Unsupported => Some(Value::Nothing),
            Shape::Secret | Shape::PasswordHash => self.secret(node, shape),
            _ => self.scalar(node, shape),
        }
    }

    /// A record. Wrong keys and values are reported and left out.
    fn record<'n>(
        &mut self,
        entries: impl IntoIterator<Item = &'n Entry>,
        record: &Record,
        more: &[Field],
        owner: &Place,
    ) -> Fields {
        let known: Vec<&Field> = record.fields.iter().chain(more).collect();
        let fields = self.keys(entries, record.what, &known);
        self.missing(&fields, record.what, &known, owner);
        fields
    }

    fn keys<'n>(&mut self, entries: impl IntoIterator<Item = &'n Entry>, what: &str, known: &[&Field]) -> Fields {
        let mut fields = Fields::default();
        for Entry { key, value } in entries {
            let Some(field) = known.iter().find(|field| field.name == key.text) else {
                self.unknown_key(key, value, what, known);
                continue;
            };
            self.findings.clear(&key.place);
            // A key that is there but wrong is not also missing.
            let value = if let Shape::Unsupported = field.shape {
                let message = format!("`{}` is not supported by this version", field.name);
                self.findings.add(
                    Diagnostic::error(Code::PRJ017, message)
                        .at(key.place.clone())
                        .help("take it out until a later version"),
                );
                Value::Nothing
            } else {
                self.value(value, &field.shape, &key.place).unwrap_or(Value::Nothing)
            };
            fields.values.insert(field.name, value);
        }
        fields
    }

    fn missing(&mut self, fields: &Fields, what: &str, known: &[&Field], owner: &Place) {
        for field in known
            .iter()
            .filter(|field| field.required && !fields.values.contains_key(field.name))
        {
            let message = format!("{what} needs `{}`", field.name);
            let help = format!("add `{}:`. {}", field.name, field.description);
            self.findings
                .add(Diagnostic::error(Code::PRJ005, message).at(owner.clone()).help(help));
        }
    }

    fn unknown_key(&mut self, key: &Key, value: &Node, what: &str, known: &[&Field]) {
        let known: Vec<&str> = known.iter().map(|field| field.name).collect();
        // A slip can make a key of a secret: only what looks like a key is shown.
        let shown = looks_like_a_key(key) && !value.is_null();
        let name = if shown {
            format!(" `{}`", key.text)
        } else {
            String::new()
        };
        let mut finding = Diagnostic::error(Code::PRJ003, format!("unknown key{name} in {what}")).at(key.place.clone());
        if shown {
            self.findings.clear(&key.place);
        }
        if let Some(near) = did_you_mean(&key.text, known.iter().copied()) {
            finding = finding.label(format!("did you mean `{near}`?"));
        }
        self.findings
            .add(finding.help(format!("the keys are {}", known.join(", "))));
    }

    fn source(&mut self, entries: &[Entry], record: &Record, owner: &Place) -> Fields {
        let connector = entries.iter().find(|entry| entry.key.text == "connector");
        let kind = connector.and_then(|entry| match &entry.value.kind {
            Kind::Scalar { text, .. } => self.kinds.iter().find(|kind| kind.kind == text),
            _ => None,
        });
        if let Some(kind) = kind {
            let options: Vec<Field> = kind
                .options
                .iter()
                .map(|option| Field {
                    name: option.name,
                    shape: option_shape(option.kind),
                    required: option.required,
                    description: option.description,
                })
                .collect();
            return self.record(entries, record, &options, owner);
        }
        // Without its kind nobody can tell which other keys are right.
        for entry in entries
            .iter()
            .filter(|entry| looks_like_a_key(&entry.key) && !entry.value.is_null())
        {
            self.findings.clear(&entry.key.place);
        }
        let common = entries.iter().filter(|entry| record.field(&entry.key.text).is_some());
        let fields = self.record(common, record, &[], owner);
        if let Some(text) = fields.text("connector") {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.kind).collect();
            let mut finding =
                Diagnostic::error(Code::PRJ008, format!("unknown connector `{}`", text.raw)).at(text.place.clone());
            if let Some(near) = did_you_mean(&text.raw, kinds.iter().copied()) {
                finding = finding.label(format!("did you mean `{near}`?"));
            }
            self.findings
                .add(finding.help(format!("the connectors are {}", kinds.join(", "))));
        }
        fields
    }

    fn mapping<'n>(&mut self, node: &'n Node) -> Option<&'n [Entry]> {
        match &node.kind {
            Kind::Mapping(entries) => Some(entries),
            _ => self.wrong(node, "a map", "write `key: value` lines below it, or `{}` for none"),
        }
    }

    fn wrong<T>(&mut self, node: &Node, wanted: &str, help: &str) -> Option<T> {
        let message = format!("expected {wanted}, found {}", node.describe());
        self.findings.add(
            Diagnostic::error(Code::PRJ004, message)
                .at(node.place.clone())
                .help(help),
        );
        None
    }

    fn map(&mut self, node: &Node, keys: Keys, shape: &Shape) -> Option<Value> {
        let mut map = Vec::new();
        for Entry { key, value } in self.mapping(node)? {
            // A name of nothing may be no name at all, but a secret behind a slip.
            let named = (keys != Keys::Any || !value.is_null()) && self.key(key, keys);
            let value = self.value(value, shape, &key.place);
            if named {
                map.push((key.clone(), value.unwrap_or(Value::Nothing)));
            }
        }
        Some(Value::Map(map))
    }

    fn key(&mut self, key: &Key, keys: Keys) -> bool {
        let text = key.text.as_str();
        let reserved = || match RESERVED_SCHEMAS.iter().any(|name| name.eq_ignore_ascii_case(text)) {
            true => Err(format!("`{text}` is a schema of Caliber's own: choose another name")),
            false => Ok(()),
        };
        let right = match keys {
            _ if text.contains("${") => Err("a name cannot hold `${…}`: only values are resolved".into()),
            Keys::Any if text.trim().is_empty() || text.chars().any(char::is_control) => Err("write a name".into()),
            Keys::Any => Ok(()),
            Keys::Identifier => scalar::identifier(text),
            Keys::Source => scalar::identifier(text).and_then(|()| reserved()),
            Keys::Table => scalar::table(text).map(|_| ()),
            Keys::Column => scalar::column(text).map(|_| ()),
            Keys::TableOrEntity if text.contains('.') => scalar::table(text).map(|_| ()),
            Keys::TableOrEntity => scalar::identifier(text),
        };
        if right.is_ok() || looks_like_a_key(key) {
            self.findings.clear(&key.place);
        }
        if let Err(help) = &right {
            let finding = Diagnostic::error(Code::PRJ004, "this cannot stand here as a name").at(key.place.clone());
            self.findings.add(finding.help(help));
        }
        right.is_ok()
    }

    fn list(&mut self, node: &Node, item: &Shape) -> Option<Value> {
        let Kind::Sequence(items) = &node.kind else {
            return self.wrong(node, "a list", "write it in brackets: `[one, another]`");
        };
        // A list with a wrong item would silently mean less than it says, so it is wrong as a whole.
        let values: Vec<Option<Value>> = items.iter().map(|node| self.value(node, item, &node.place)).collect();
        values.into_iter().collect::<Option<Vec<_>>>().map(Value::List)
    }

    fn label(&mut self, node: &Node) -> Option<Value> {
        let mut label = Label::default();
        if let Kind::Mapping(entries) = &node.kind {
            for Entry { key, value } in entries {
                if value.is_null() {
                    // `{ en: Loan, card and orders }`: YAML ends a text within braces at the comma.
                    let finding = Diagnostic::warning(Code::PRJ004, "a language without a text is left out");
                    let help = "a text that holds a comma stands in quotes: `{ en: \"Loan, card\" }`";
                    self.findings.add(finding.at(value.place.clone()).help(help));
                    continue;
                }
                let text = self.text(value, true)?;
                self.findings.clear(&key.place);
                label.0.insert(key.text.clone(), text.text);
            }
        } else {
            label.0.insert(String::new(), self.text(node, true)?.text);
        }
        Some(Value::Label(label))
    }

    fn attribute(&mut self, node: &Node) -> Option<AttributeValue> {
        match &node.kind {
            Kind::Sequence(items) => {
                let values: Vec<Option<AttributeValue>> = items.iter().map(|item| self.attribute(item)).collect();
                let values = values.into_iter().collect::<Option<Vec<_>>>()?;
                match values.iter().any(|value| matches!(value, AttributeValue::List(_))) {
                    true => self.wrong(node, "a list of single values", "write one flat list"),
                    false => Some(AttributeValue::List(values)),
                }
            }
            Kind::Scalar { .. } if node.is_null() => Some(AttributeValue::Null),
            Kind::Scalar { plain, .. } => {
                let text = self.text(node, true)?;
                let value = if *plain {
                    scalar::plain(&text.text)
                } else {
                    Ok(AttributeValue::Text(text.text.clone()))
                };
                self.parsed(&text, value)
            }
            Kind::Mapping(_) => self.wrong(
                node,
                "a single value or a list",
                "write `name: value` or `name: [one, another]`",
            ),
        }
    }

    fn option_tables(&mut self, node: &Node) -> Option<Value> {
        let mut tables = Vec::new();
        for Entry { key, value } in self.mapping(node)? {
            self.findings.clear(&key.place);
            let mut settings = Vec::new();
            for Entry { key: setting, value } in self.mapping(value)? {
                self.findings.clear(&setting.place);
                match &value.kind {
                    Kind::Mapping(nested) => {
                        for Entry { key: inner, value } in nested {
                            self.findings.clear(&inner.place);
                            let text = format!("{}.{}", setting.text, inner.text);
                            settings.push((
                                Key {
                                    text,
                                    place: inner.place.clone(),
                                },
                                Value::Text(self.text(value, true)?),
                            ));
                        }
                    }
                    _ => settings.push((setting.clone(), Value::Text(self.text(value, true)?))),
                }
            }
            tables.push((key.clone(), Value::Map(settings)));
        }
        Some(Value::Map(tables))
    }

    fn secret(&mut self, node: &Node, shape: &Shape) -> Option<Value> {
        let (text, literal) = self.resolved(node, false)?;
        if let Shape::PasswordHash = shape {
            if let Err(help) = scalar::password_hash(&text.text) {
                let finding =
                    Diagnostic::error(Code::PRJ004, "a password that is not an argon2id hash").at(text.place.clone());
                self.findings.add(finding.label("not shown").help(help));
                return None;
            }
        } else if holds_password(&literal) {
            let finding =
                Diagnostic::warning(Code::PRJ018, "a secret is written in a project file").at(text.place.clone());
            self.findings
                .add(finding.help("write `${env:NAME}` or `${file:PATH}` in its place"));
        }
        Some(Value::Secret(text))
    }

    fn scalar(&mut self, node: &Node, shape: &Shape) -> Option<Value> {
        // In SQL, NULL is a value: `mask: NULL` means what it says.
        let sql_null = matches!(shape, Shape::Sql)
            && matches!(&node.kind, Kind::Scalar { text, .. } if text.eq_ignore_ascii_case("null"));
        let text = if sql_null {
            self.resolved_scalar(node, true)?.0
        } else {
            self.text(node, true)?
        };
        let empty = |help: &str| {
            if text.text.trim().is_empty() {
                Err(help.to_string())
            } else {
                Ok(())
            }
        };
        let said = text.text.as_str();
        let value = match shape {
            Shape::Version => scalar::integer(said, VERSION, VERSION)
                .map(Value::Integer)
                .map_err(|_| format!("write `version: {VERSION}`: this build reads no other")),
            Shape::Duration => scalar::duration(said).map(Value::Duration),
            Shape::Date => scalar::date(said).map(|_| Value::Text(text.clone())),
            Shape::Size => scalar::size(said).map(Value::Size),
            Shape::Integer(least, most) => scalar::integer(said, *least, *most).map(Value::Integer),
            Shape::Bool => scalar::boolean(said).map(Value::Bool),
            Shape::Identifier => scalar::identifier(said).map(|()| Value::Text(text.clone())),
            Shape::Table => scalar::table(said).map(|_| Value::Text(text.clone())),
            Shape::Column => scalar::column(said).map(|_| Value::Text(text.clone())),
            Shape::Pattern => crate::policy::Pattern::parse(said).map(|_| Value::Text(text.clone())),
            Shape::Path => empty("write a path, relative to the project folder")
                .map(|()| Value::Path(self.root.join(said), text.clone())),
            Shape::Address => address(said).map(|()| Value::Text(text.clone())),
            Shape::Sql => empty("write a piece of SQL").map(|()| Value::Text(text.clone())),
            Shape::Choice(words) => match words.contains(&said) {
                true => Ok(Value::Text(text.clone())),
                false => Err(format!("write one of {}", words.join(", "))),
            },
            _ => empty("write some text").map(|()| Value::Text(text.clone())),
        };
        self.parsed(&text, value)
    }

    fn parsed<T>(&mut self, text: &Text, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|help| {
                let message = format!("`{}` cannot stand here", text.raw);
                self.findings.add(
                    Diagnostic::error(Code::PRJ004, message)
                        .at(text.place.clone())
                        .help(help),
                );
            })
            .ok()
    }

    fn text(&mut self, node: &Node, public: bool) -> Option<Text> {
        self.resolved(node, public).map(|(text, _)| text)
    }

    fn resolved(&mut self, node: &Node, public: bool) -> Option<(Text, String)> {
        if node.is_null() {
            return self.wrong(node, "a value", "write a value after the colon, or take the key out");
        }
        self.resolved_scalar(node, public)
    }

    /// A scalar with its references resolved, and what it says without them.
    fn resolved_scalar(&mut self, node: &Node, public: bool) -> Option<(Text, String)> {
        let Kind::Scalar { text: raw, .. } = &node.kind else {
            return self.wrong(node, "a single value", "write it on one line after the colon");
        };
        if public {
            self.findings.clear(&node.place);
        }
        let resolved = interpolate::resolve(raw, self.environment, self.root);
        // Offsets in the value are offsets in the file only where YAML took the text as it stands.
        let verbatim = node.place.source.text.get(node.place.range.clone()) == Some(raw);
        let part = |range: &std::ops::Range<usize>| {
            if verbatim {
                node.place.part(range.clone())
            } else {
                node.place.clone()
            }
        };
        if verbatim {
            resolved
                .references
                .iter()
                .for_each(|range| self.findings.clear(&part(range)));
        }
        for wrong in &resolved.wrong {
            let finding = Diagnostic::error(wrong.code, &wrong.message)
                .at(part(&wrong.range))
                .help(&wrong.help);
            self.findings.add(finding);
        }
        if !resolved.wrong.is_empty() {
            return None;
        }
        Some((
            Text {
                text: resolved.text,
                raw: raw.clone(),
                place: node.place.clone(),
            },
            resolved.literal,
        ))
    }
}

/// Whether a text is spelt like a key of the format.
fn looks_like_a_key(key: &Key) -> bool {
    let text = key.text.as_str();
    text.len() <= 40
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Whether what a project says of a secret, references left out, holds a secret itself.
fn holds_password(literal: &str) -> bool {
    let Some((_, address)) = literal.split_once("://") else {
        return literal.chars().any(char::is_alphanumeric);
    };
    let authority = address.split(['/', '?']).next().unwrap_or_default();
    let user = address.rfind('@').map_or("", |at| &address[..at]);
    let password = user.split_once(':').map_or("", |(_, password)| password);
    let parameter = ["password=", "passwd=", "token=", "secret="].iter().any(|name| {
        let at = literal.to_ascii_lowercase().find(name);
        at.is_some_and(|at| literal[at + name.len()..].chars().next().is_some_and(|c| c != '&'))
    });
    !authority.is_empty() && !password.is_empty() || parameter
}

/// A host and a port.
fn address(text: &str) -> Result<(), String> {
    let right = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if right {
        Ok(())
    } else {
        Err("write a host and a port: `127.0.0.1:50051`".into())
    }
}
