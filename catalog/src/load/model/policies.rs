//! `policies`.
//!
//! Owns: who, which tables, rows, columns and masks, as written. Never: decides (`policy`).

use std::collections::BTreeMap;

use super::Scope;
use crate::diagnostic::{Code, Diagnostic, Place};
use crate::grant::MinGroup;
use crate::load::node::Key;
use crate::load::scalar;
use crate::load::value::{Fields, Text, Value};
use crate::name::TableName;
use crate::policy::Pattern;
use crate::project::Policy;

pub(super) fn policy(key: &Key, fields: &Fields, scope: &mut Scope<'_>) -> Policy {
    let mut policy = Policy {
        name: key.text.clone(),
        roles: fields.texts("roles").map(|text| text.text.clone()).collect(),
        when: fields.text("when").map(Text::sql),
        expires: fields
            .text("expires")
            .and_then(|text| Some((scalar::date(&text.text).ok()?, text.place.clone()))),
        min_group: min_group(fields, &key.place, scope),
        tables: fields
            .texts("tables")
            .map(|text| (text.text.clone(), text.place.clone()))
            .collect(),
        columns: BTreeMap::new(),
        table_rows: BTreeMap::new(),
        entity_rows: BTreeMap::new(),
        row_places: BTreeMap::new(),
        masks: BTreeMap::new(),
        mask_places: BTreeMap::new(),
        admin: fields.bool("admin").unwrap_or(false),
        place: key.place.clone(),
    };
    for_somebody(&policy, fields, scope);
    for (text, place) in &policy.tables {
        pattern(text, place, scope);
    }
    for (key, value) in fields.map("columns") {
        if let Some(table) = named_table(key, Named::TableOrView, scope) {
            let columns = value
                .texts()
                .map(|text| (text.text.clone(), text.place.clone()))
                .collect();
            policy.columns.insert(table, (columns, key.place.clone()));
        }
    }
    for (key, text) in fields.texts_by_key("rows") {
        policy.row_places.insert(key.text.clone(), key.place.clone());
        if !key.text.contains('.') {
            scope.known_entity(&key.text, &key.place);
            policy.entity_rows.insert(key.text.clone(), text.sql());
        } else if let Some(table) = named_table(key, Named::Table, scope) {
            policy.table_rows.insert(table, text.sql());
        }
    }
    for (key, text) in fields.texts_by_key("masks") {
        let Ok(column) = scalar::column(&key.text) else {
            continue;
        };
        if known(&column.table, Named::TableOrView, &key.place, scope) {
            policy.mask_places.insert(column.clone(), key.place.clone());
            policy.masks.insert(column, text.sql());
        }
    }
    policy
}

/// A policy says whom it is for, by roles, by a condition, or by both.
fn for_somebody(policy: &Policy, fields: &Fields, scope: &mut Scope<'_>) {
    let written = |name| fields.values.contains_key(name);
    if !written("roles") && !written("when") {
        let finding = Diagnostic::error(Code::PRJ005, "a policy needs `roles` or `when`").at(policy.place.clone());
        scope.add(finding.help("add `roles:`, the roles it applies to, or `when:`, a condition over `principal.*`"));
    } else if written("roles") && policy.roles.is_empty() && policy.when.is_some() {
        let finding = Diagnostic::error(Code::PRJ004, "no role beside `when`").at(policy.place.clone());
        scope.add(finding.help("name roles, or take `roles` out if the condition alone says whom the policy is for"));
    }
}

/// The one entity of `min_group`.
fn min_group(fields: &Fields, owner: &Place, scope: &mut Scope<'_>) -> Option<MinGroup> {
    let entries = fields.map("min_group");
    if let (Some(Value::Map(_)), []) = (fields.values.get("min_group"), entries) {
        let finding = Diagnostic::error(Code::PRJ004, "`min_group` names no entity").at(owner.clone());
        scope.add(finding.help("write `min_group: { ENTITY: 10 }`, or take it out"));
    }
    for (key, _) in entries {
        scope.known_entity(&key.text, &key.place);
    }
    if let Some((second, _)) = entries.get(1) {
        let finding = Diagnostic::error(Code::PRJ004, "more than one entity in `min_group`").at(second.place.clone());
        scope.add(finding.help("name one; another needs a policy of its own"));
    }
    entries.iter().find_map(|(key, value)| match value {
        Value::Integer(size) => Some(MinGroup {
            entity: key.text.clone(),
            size: u32::try_from(*size).ok()?,
            place: key.place.clone(),
        }),
        _ => None,
    })
}

/// What a key of `rows`, `columns` or `masks` may name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Table,
    TableOrView,
}

fn named_table(key: &Key, may: Named, scope: &mut Scope<'_>) -> Option<TableName> {
    let table = scalar::table(&key.text).ok()?;
    known(&table, may, &key.place, scope).then_some(table)
}

fn known(table: &TableName, may: Named, place: &Place, scope: &mut Scope<'_>) -> bool {
    match table.schema.as_str() {
        "unified" if may == Named::Table => {
            let message = format!("rows of `{table}` itself are not supported by this version");
            let help = "write them on the entity, or on the source's tables: the view follows them";
            scope.add(Diagnostic::error(Code::PRJ017, message).at(place.clone()).help(help));
            false
        }
        "unified" => scope.known_view(table, place),
        _ => {
            scope.known_source(table, place);
            true
        }
    }
}

/// A pattern that names one schema must name one that is.
fn pattern(text: &str, place: &Place, scope: &mut Scope<'_>) {
    let Ok(pattern) = Pattern::parse(text) else { return };
    match pattern.schema() {
        None | Some("unified") => {}
        Some("caliber") => {
            let finding = Diagnostic::error(Code::PRJ010, "no policy opens tables of `caliber`").at(place.clone());
            scope.add(finding.help("everybody reads his own part of it; `admin: true` opens the rest"));
        }
        Some(schema) => scope.known_source(
            &TableName::new(schema, text.split_once('.').map_or("*", |(_, table)| table)),
            place,
        ),
    }
}
