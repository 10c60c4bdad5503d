//! `entities`.
//!
//! Owns: attributes and holdings as written. Never: the path from a table to an entity (`policy::paths`).

use std::path::Path;

use super::{Scope, identity};
use crate::diagnostic::{Code, Diagnostic};
use crate::load::node::Key;
use crate::load::scalar;
use crate::load::value::{Fields, Value};
use crate::project::{Attribute, Entity, Holding, HoldingRule, Label};

pub(super) fn entity(key: &Key, fields: &Fields, root: &Path, scope: &mut Scope<'_>) -> Option<Entity> {
    let table_text = fields.text("table")?;
    let table = scalar::table(&table_text.text).ok()?;
    scope.known_source(&table, &table_text.place);
    let key_text = fields.text("key")?;
    let mut attributes: Vec<(Attribute, &Key)> = Vec::new();
    for (name, value) in fields.map("attributes") {
        let Some(attribute) = attribute(name, value) else {
            continue;
        };
        let same = |other: &str| other.eq_ignore_ascii_case(&name.text);
        if same(&key_text.text) {
            scope.add(
                Diagnostic::error(
                    Code::PRJ006,
                    format!("`{}` is the entity's key and one of its attributes", name.text),
                )
                .at(name.place.clone())
                .related(key_text.place.clone(), "the key")
                .help("the key is a column of the view anyway: take the attribute out"),
            );
        }
        if let Some((_, first)) = attributes.iter().find(|(other, _)| same(&other.name)) {
            scope.add(
                Diagnostic::error(
                    Code::PRJ006,
                    format!("`{}` and `{}` differ in case only", first.text, name.text),
                )
                .at(name.place.clone())
                .related(first.place.clone(), "the other one")
                .help("give one of the two another name"),
            );
        }
        attributes.push((attribute, name));
    }
    Some(Entity {
        name: key.text.clone(),
        label: fields.label("label"),
        description: fields.string("description"),
        table,
        key: key_text.text.clone(),
        time: fields.string("time"),
        attributes: attributes.into_iter().map(|(attribute, _)| attribute).collect(),
        holdings: fields
            .records("holdings")
            .filter_map(|(key, fields)| holding(key, fields, scope))
            .collect(),
        identity: fields
            .fields("identity")
            .and_then(|written| identity::identity(key, written, root, scope)),
        table_place: table_text.place.clone(),
        key_place: key_text.place.clone(),
        time_place: fields.text("time").map(|text| text.place.clone()),
        place: key.place.clone(),
    })
}

fn attribute(name: &Key, value: &Value) -> Option<Attribute> {
    let (expr, label, description) = match value {
        Value::Text(text) => (text.sql(), Label::default(), None),
        Value::Fields(fields) => (
            fields.text("expr")?.sql(),
            fields.label("label"),
            fields.string("description"),
        ),
        _ => return None,
    };
    Some(Attribute {
        name: name.text.clone(),
        expr,
        label,
        description,
    })
}

fn holding(key: &Key, fields: &Fields, scope: &mut Scope<'_>) -> Option<Holding> {
    let table = scalar::table(&key.text).ok()?;
    scope.known_source(&table, &key.place);
    let bridge_text = fields.text("bridge")?;
    let bridge = scalar::table(&bridge_text.text).ok()?;
    scope.known_source(&bridge, &bridge_text.place);
    let rule = match fields.text("rule")?.text.as_str() {
        "primary_holder" => HoldingRule::PrimaryHolder,
        "equal_share" => HoldingRule::EqualShare,
        "full_to_each" => HoldingRule::FullToEach,
        _ => return None,
    };
    let condition = fields.text("where").map(|text| text.sql());
    Some(Holding {
        table,
        bridge,
        condition,
        rule,
        bridge_place: bridge_text.place.clone(),
        place: key.place.clone(),
    })
}
