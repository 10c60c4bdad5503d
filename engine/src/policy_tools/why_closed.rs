//! Which attributes of a principal a piece of policy text uses, and what is wrong with them where it closes.
//!
//! Owns: the reason in words. Never: decides whether a policy is closed; that is `policy_expr`.

use std::ops::ControlFlow;

use caliber_catalog::grant::SqlText;
use caliber_catalog::principal::{AttributeValue, Principal};
use datafusion::sql::sqlparser::ast;

use crate::statement::parse_expression;

/// The attributes that `sql` uses, each with its value as people read it: `district_id = 1`.
pub(super) fn attributes_used(sql: &SqlText, principal: &Principal) -> Vec<String> {
    names_used(sql)
        .into_iter()
        .map(|name| match value(&name, principal) {
            Some(value) => format!("{name} = {}", in_words(&value)),
            None => format!("{name} is missing"),
        })
        .collect()
}

/// Why `sql`, which was found closed, is closed for the principal.
pub(super) fn why_closed(sql: &SqlText, principal: &Principal) -> Vec<String> {
    let names = names_used(sql);
    let reasons: Vec<String> = names
        .iter()
        .filter_map(|name| match value(name, principal) {
            None => Some(format!("attribute `{name}` is missing")),
            Some(AttributeValue::Null) => Some(format!("attribute `{name}` is NULL")),
            Some(AttributeValue::List(values)) if values.is_empty() => {
                Some(format!("attribute `{name}` is an empty list"))
            }
            Some(AttributeValue::List(values)) if values.contains(&AttributeValue::Null) => {
                Some(format!("attribute `{name}` holds NULL"))
            }
            Some(_) => None,
        })
        .collect();
    if !reasons.is_empty() {
        return reasons;
    }
    // Nothing is missing, so a value is of another type than what it is compared with.
    names
        .iter()
        .map(|name| format!("attribute `{name}` is of a type that does not fit"))
        .collect()
}

/// Whether `sql` uses the principal's name, so that two principals of equal roles and attributes may differ.
pub(super) fn uses_name(sql: &SqlText) -> bool {
    names_used(sql).iter().any(|name| name == "name")
}

/// The names after `principal.`, each once, in order.
fn names_used(sql: &SqlText) -> Vec<String> {
    let Ok((_, expr)) = parse_expression(&sql.text) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    let walked = ast::visit_expressions(&expr, |part| {
        if let ast::Expr::CompoundIdentifier(parts) = part
            && let [head, name] = parts.as_slice()
            && head.value.eq_ignore_ascii_case("principal")
            && !names.contains(&name.value)
        {
            names.push(name.value.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(walked.is_continue());
    names
}

fn value(name: &str, principal: &Principal) -> Option<AttributeValue> {
    match name {
        "name" => Some(AttributeValue::Text(principal.name.clone())),
        "roles" => Some(AttributeValue::List(
            principal.roles.iter().cloned().map(AttributeValue::Text).collect(),
        )),
        _ => principal.attributes.get(name).cloned(),
    }
}

/// A value as people write it.
pub fn in_words(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Null => "NULL".to_owned(),
        AttributeValue::Bool(value) => value.to_string(),
        AttributeValue::Int(value) => value.to_string(),
        AttributeValue::Float(value) => value.to_string(),
        AttributeValue::Text(value) => format!("'{value}'"),
        AttributeValue::List(values) => {
            let values: Vec<String> = values.iter().map(in_words).collect();
            format!("({})", values.join(", "))
        }
    }
}
