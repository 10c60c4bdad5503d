//! `entities.NAME.identity`.
//!
//! Owns: names of fields that lead to nothing, parts of blocking keys, what a word needs beside it. Never: columns, which
//! need the sources.

use std::path::Path;

use super::Scope;
use crate::diagnostic::{Code, Diagnostic, Place, did_you_mean};
use crate::identity::{BlockingPart, Identity, IdentityField, IdentitySource};
use crate::load::node::Key;
use crate::load::scalar;
use crate::load::value::{Fields, Text, Value};

/// What records are linked by where the project is silent.
const MATCH_PERCENT: u8 = 95;
const REVIEW_PERCENT: u8 = 50;

pub(super) fn identity(entity: &Key, fields: &Fields, root: &Path, scope: &mut Scope<'_>) -> Option<Identity> {
    let place = fields.text("role")?.place.clone();
    let declared: Vec<IdentityField> = fields
        .records("fields")
        .filter_map(|(key, fields)| field(key, fields, scope))
        .collect();
    let mut names = Names {
        fields: &declared,
        scope,
    };
    let sources: Vec<IdentitySource> = fields
        .records("sources")
        .filter_map(|(key, fields)| source(key, fields, &mut names))
        .collect();
    let mut exact = Vec::new();
    for (rule, value) in fields.map("exact") {
        let list: Option<Vec<usize>> = value.texts().map(|text| names.find(&text.text, &text.place)).collect();
        exact.push((rule.text.clone(), list?));
    }
    let mut blocking = Vec::new();
    for key in list(fields, "blocking") {
        let parts: Option<Vec<BlockingPart>> = key.texts().map(|text| names.part(text)).collect();
        blocking.push(parts?);
    }
    let percent = |name: &str, otherwise: u8| {
        let written = fields.integer(name).and_then(|number| u8::try_from(number).ok());
        written.unwrap_or(otherwise)
    };
    let identity = Identity {
        role: fields.string("role")?,
        file: fields
            .path("file")
            .cloned()
            .unwrap_or_else(|| root.join("identity").join(format!("{}.csv", entity.text))),
        sources,
        exact,
        blocking,
        match_percent: percent("match", MATCH_PERCENT),
        review_percent: percent("review", REVIEW_PERCENT),
        place,
        fields: declared,
    };
    contradictions(&identity, scope);
    Some(identity)
}

fn list<'f>(fields: &'f Fields, name: &str) -> &'f [Value] {
    match fields.values.get(name) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

fn field(key: &Key, fields: &Fields, scope: &mut Scope<'_>) -> Option<IdentityField> {
    let field = IdentityField {
        name: key.text.clone(),
        normalise: fields.texts("normalise").map(|text| text.text.clone()).collect(),
        compare: fields.string("compare"),
        frequency: fields.bool("frequency").unwrap_or_default(),
        formats: fields.texts("formats").map(|text| text.text.clone()).collect(),
        country: fields.string("country").unwrap_or_default(),
    };
    let has = |word: &str| field.normalise.iter().any(|written| written == word);
    if has("date") && field.formats.is_empty() {
        cannot(
            scope,
            format!("`{}` does not say how its dates are written", key.text),
            &key.place,
            "add `formats`, as [\"%Y-%m-%d\"]",
        );
    }
    let is_code = (1..=3).contains(&field.country.len()) && field.country.bytes().all(|digit| digit.is_ascii_digit());
    if has("phone") && !is_code {
        cannot(
            scope,
            format!("`{}` has no country's calling code", key.text),
            &key.place,
            "add `country: \"420\"`, say: digits only",
        );
    }
    Some(field)
}

fn source(key: &Key, fields: &Fields, names: &mut Names<'_, '_>) -> Option<IdentitySource> {
    let table = scalar::table(&key.text).ok()?;
    names.scope.known_source(&table, &key.place);
    let mut columns = vec![None; names.fields.len()];
    for (name, column) in fields.texts_by_key("fields") {
        columns[names.find(&name.text, &name.place)?] = Some(column.text.clone());
    }
    Some(IdentitySource {
        table,
        key: fields.string("key")?,
        unique: fields.bool("unique").unwrap_or_default(),
        columns,
    })
}

/// What no single value shows.
fn contradictions(identity: &Identity, scope: &mut Scope<'_>) {
    let compared = identity.fields.iter().any(|field| field.compare.is_some());
    let place = &identity.place;
    if compared && identity.blocking.is_empty() {
        cannot(
            scope,
            "fields are compared, but of which records?".to_owned(),
            place,
            "add `blocking`, or take `compare` out",
        );
    }
    if !compared && !identity.blocking.is_empty() {
        cannot(
            scope,
            "`blocking` brings records together, but no field is compared".to_owned(),
            place,
            "add `compare` to a field, or take `blocking` out",
        );
    }
    if !compared && identity.exact.is_empty() {
        cannot(
            scope,
            "nothing makes two records one".to_owned(),
            place,
            "add `exact`, or `compare` and `blocking`",
        );
    }
    if identity.review_percent > identity.match_percent {
        cannot(
            scope,
            "`review` lies above `match`".to_owned(),
            place,
            "pairs from `review` up to `match` are for a steward",
        );
    }
}

/// The fields there are.
struct Names<'n, 's> {
    fields: &'n [IdentityField],
    scope: &'n mut Scope<'s>,
}

impl Names<'_, '_> {
    /// A field's position; reports a name that is none's.
    fn find(&mut self, name: &str, place: &Place) -> Option<usize> {
        let found = self.fields.iter().position(|field| field.name == name);
        if found.is_none() {
            let names = || self.fields.iter().map(|field| field.name.as_str());
            let mut finding = Diagnostic::error(Code::PRJ010, format!("no field `{name}`")).at(place.clone());
            if let Some(near) = did_you_mean(name, names()) {
                finding = finding.label(format!("did you mean `{near}`?"));
            }
            let help = format!("the identity's fields are {}", names().collect::<Vec<_>>().join(", "));
            self.scope.add(finding.help(help));
        }
        found
    }

    fn part(&mut self, text: &Text) -> Option<BlockingPart> {
        let written = text.text.trim();
        let Some((word, rest)) = written.split_once('(') else {
            return self.find(written, &text.place).map(BlockingPart::Whole);
        };
        let inside = rest
            .strip_suffix(')')
            .map(|inside| inside.split(',').map(str::trim).collect::<Vec<_>>());
        let length = |text: &str| text.parse::<usize>().ok().filter(|length| (1..=64).contains(length));
        let part = match (word.trim(), inside.as_deref()) {
            ("soundex", Some([name])) => self.find(name, &text.place).map(BlockingPart::Soundex)?,
            ("first", Some([name, count])) if length(count).is_some() => {
                BlockingPart::First(self.find(name, &text.place)?, length(count)?)
            }
            ("last", Some([name, count])) if length(count).is_some() => {
                BlockingPart::Last(self.find(name, &text.place)?, length(count)?)
            }
            _ => {
                let finding = Diagnostic::error(Code::PRJ004, format!("`{}` cannot stand here", text.raw));
                let help = "write NAME, `first(NAME, N)`, `last(NAME, N)` or `soundex(NAME)`, N from 1 to 64";
                self.scope.add(finding.at(text.place.clone()).help(help));
                return None;
            }
        };
        Some(part)
    }
}

fn cannot(scope: &mut Scope<'_>, message: String, place: &Place, help: &str) {
    scope.add(Diagnostic::error(Code::PRJ023, message).at(place.clone()).help(help));
}
