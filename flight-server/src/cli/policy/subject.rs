//! Whom a policy command is about: a user of the project, or somebody with roles and attributes given by hand.
//!
//! Owns: those arguments, and how a principal is shown. Never: checks a password: who holds the project's files may ask
//! about anybody.

use std::collections::BTreeMap;

use caliber_catalog::principal::{AttributeValue, Principal};
use caliber_catalog::project::Project;
use caliber_engine::policy_tools::in_words;
use clap::Args;

use super::super::failure::Failure;

/// The principal given by hand, in what is printed.
const BY_HAND: &str = "somebody";

/// Roles and attributes given by hand.
#[derive(Args, Debug, Default)]
pub struct ByHand {
    /// Instead of a user: a role; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// With --role: an attribute, as 1, 1.5, true, text or [one, another]
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
}

impl ByHand {
    /// The principal, if one was given.
    pub fn principal(&self) -> Result<Option<Principal>, Failure> {
        if self.roles.is_empty() && self.attributes.is_empty() {
            return Ok(None);
        }
        let mut roles = self.roles.clone();
        roles.sort();
        roles.dedup();
        let mut attributes = BTreeMap::new();
        for given in &self.attributes {
            let Some((name, text)) = given.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                return Err(Failure::Usage(format!("write `--attribute NAME=VALUE`, not `{given}`")));
            };
            attributes.insert(name.to_owned(), value(text));
        }
        Ok(Some(Principal {
            name: BY_HAND.to_owned(),
            roles,
            attributes,
        }))
    }
}

/// The user of that name.
pub fn user(project: &Project, name: &str) -> Result<Principal, Failure> {
    project.users.get(name).map(|user| user.principal()).ok_or_else(|| {
        let names: Vec<&str> = project.users.keys().map(String::as_str).collect();
        Failure::Usage(format!(
            "the project has no user `{name}`; its users are {}",
            names.join(", ")
        ))
    })
}

/// A value as a project's file would be read: numbers and truth values are what they look like, quotes make text.
fn value(text: &str) -> AttributeValue {
    let text = text.trim();
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let items = inside.split(',').map(str::trim).filter(|item| !item.is_empty());
        return AttributeValue::List(items.map(value).collect());
    }
    for quote in ['\'', '"'] {
        if let Some(inside) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return AttributeValue::Text(inside.to_owned());
        }
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_code = digits.len() > 1 && digits.starts_with('0') && !digits.contains('.');
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text {
        "true" => AttributeValue::Bool(true),
        "false" => AttributeValue::Bool(false),
        "null" => AttributeValue::Null,
        _ if is_code || !is_number => AttributeValue::Text(text.to_owned()),
        _ => match (text.parse(), text.parse()) {
            (Ok(number), _) => AttributeValue::Int(number),
            (_, Ok(number)) => AttributeValue::Float(number),
            _ => AttributeValue::Text(text.to_owned()),
        },
    }
}

/// `role branch_staff, district_id = 1`
pub fn described(principal: &Principal) -> String {
    let mut parts = Vec::new();
    match principal.roles.as_slice() {
        [] => parts.push("no role".to_owned()),
        [role] => parts.push(format!("role {role}")),
        roles => parts.push(format!("roles {}", roles.join(", "))),
    }
    let attributes = principal.attributes.iter();
    parts.extend(attributes.map(|(name, value)| format!("{name} = {}", in_words(value))));
    parts.join(", ")
}

/// The principal for programs.
pub fn json(principal: &Principal) -> serde_json::Value {
    let attributes: serde_json::Map<String, serde_json::Value> = principal
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), json_value(value)))
        .collect();
    serde_json::json!({ "name": principal.name, "roles": principal.roles, "attributes": attributes })
}

fn json_value(value: &AttributeValue) -> serde_json::Value {
    match value {
        AttributeValue::Null => serde_json::Value::Null,
        AttributeValue::Bool(value) => (*value).into(),
        AttributeValue::Int(value) => (*value).into(),
        AttributeValue::Float(value) => (*value).into(),
        AttributeValue::Text(value) => value.as_str().into(),
        AttributeValue::List(values) => values.iter().map(json_value).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_given_by_hand_are_read_as_a_project_reads_them() {
        let text = |text: &str| AttributeValue::Text(text.to_owned());
        for (given, wanted) in [
            ("1", AttributeValue::Int(1)),
            ("-1", AttributeValue::Int(-1)),
            ("1.5", AttributeValue::Float(1.5)),
            ("true", AttributeValue::Bool(true)),
            ("007", text("007")),
            ("'1'", text("1")),
            ("north", text("north")),
            ("", text("")),
            (
                "[1, north]",
                AttributeValue::List(vec![AttributeValue::Int(1), text("north")]),
            ),
        ] {
            assert_eq!(value(given), wanted, "{given}");
        }
    }

    #[test]
    fn an_attribute_needs_its_name() {
        let given = ByHand {
            roles: vec!["b".to_owned(), "a".to_owned(), "b".to_owned()],
            attributes: vec!["=1".to_owned()],
        };
        assert!(matches!(given.principal(), Err(Failure::Usage(_))));
        let given = ByHand {
            attributes: vec!["d=1".to_owned()],
            ..given
        };
        let principal = given.principal().unwrap().unwrap();
        assert_eq!(described(&principal), "roles a, b, d = 1");
    }
}
