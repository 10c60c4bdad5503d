//! `tables`: meaning laid over discovered tables.
//!
//! Owns: descriptions, keys and references as written. Never: whether the source has them (`snapshot`).

use super::Scope;
use crate::load::node::Key;
use crate::load::scalar;
use crate::load::value::{Fields, Value};
use crate::name::TableName;
use crate::project::{ColumnMeaning, Label, Reference, TableMeaning};

pub(super) fn table(key: &Key, fields: &Fields, scope: &mut Scope<'_>) -> Option<(TableName, TableMeaning)> {
    let table = scalar::table(&key.text).ok()?;
    scope.known_source(&table, &key.place);
    let columns = fields
        .records("columns")
        .map(|(key, fields)| (key.text.clone(), column(key, fields)))
        .collect();
    let mut references = std::collections::BTreeMap::new();
    for (column, text) in fields.texts_by_key("references") {
        let Ok(target) = scalar::column(&text.text) else {
            continue;
        };
        scope.known_source(&target.table, &text.place);
        references.insert(
            column.text.clone(),
            Reference {
                target,
                place: text.place.clone(),
            },
        );
    }
    let meaning = TableMeaning {
        table: table.clone(),
        description: fields.string("description"),
        label: fields.label("label"),
        key: fields.texts("key").map(|text| text.text.clone()).collect(),
        columns,
        references,
        place: key.place.clone(),
    };
    Some((table, meaning))
}

fn column(key: &Key, fields: &Fields) -> ColumnMeaning {
    let label = |value: &Value| match value {
        Value::Label(label) => label.clone(),
        _ => Label::default(),
    };
    ColumnMeaning {
        description: fields.string("description"),
        label: fields.label("label"),
        unit: fields.string("unit"),
        classification: fields.string("classification"),
        values: fields
            .map("values")
            .iter()
            .map(|(key, value)| (key.text.clone(), label(value)))
            .collect(),
        place: key.place.clone(),
    }
}
