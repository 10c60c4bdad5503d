//! `users`.
//!
//! Owns: users as written. Never: verifies a password.

use secrecy::SecretString;

use super::Scope;
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::load::node::Key;
use crate::load::value::{Fields, Value};
use crate::project::{Policy, User};

pub(super) fn user(key: &Key, fields: &Fields) -> Option<User> {
    let mut roles: Vec<String> = fields.texts("roles").map(|text| text.text.clone()).collect();
    roles.sort();
    roles.dedup();
    let attributes = fields.map("attributes").iter().filter_map(|(key, value)| match value {
        Value::Attribute(value) => Some((key.text.clone(), value.clone())),
        _ => None,
    });
    Some(User {
        name: key.text.clone(),
        password: SecretString::from(fields.secret("password")?.text.clone()),
        roles,
        attributes: attributes.collect(),
    })
}

/// A role that no policy names gives nothing; most often it is misspelt.
pub(super) fn report_unknown_roles(fields: &Fields, policies: &[Policy], scope: &mut Scope<'_>) {
    if scope.findings.incomplete {
        return;
    }
    let known: std::collections::BTreeSet<&str> = policies
        .iter()
        .flat_map(|policy| policy.roles.iter().map(String::as_str))
        .collect();
    for (_, user) in fields.records("users") {
        for role in user.texts("roles").filter(|role| !known.contains(role.text.as_str())) {
            let mut finding = Diagnostic::warning(Code::PRJ010, format!("no policy names the role `{}`", role.raw))
                .at(role.place.clone());
            if let Some(near) = did_you_mean(&role.text, known.iter().copied()) {
                finding = finding.label(format!("did you mean `{near}`?"));
            }
            scope.add(finding.help("name it in a policy's `roles`, or take it from the user"));
        }
    }
}
