//! What is odd between policies, and between policies and users.
//!
//! Owns: warnings that need no source: policies for nobody, masks that differ. Never: an error; every project it warns of
//! means something, if not what was meant.

use std::collections::{BTreeMap, BTreeSet};

use super::Scope;
use crate::diagnostic::{Code, Diagnostic, Place};
use crate::project::{Policy, User};

pub(super) fn report(policies: &[Policy], users: &BTreeMap<String, User>, scope: &mut Scope<'_>) {
    if scope.findings.incomplete {
        return;
    }
    nobody(policies, users, scope);
    differing_masks(policies, scope);
}

/// Policies whose roles no user has. A project without users has them elsewhere.
fn nobody(policies: &[Policy], users: &BTreeMap<String, User>, scope: &mut Scope<'_>) {
    let held: BTreeSet<&String> = users.values().flat_map(|user| &user.roles).collect();
    let named: BTreeSet<&String> = policies.iter().flat_map(|policy| &policy.roles).collect();
    // A role that no policy names was reported; it may be the misspelt one.
    if users.is_empty() || !held.is_subset(&named) {
        return;
    }
    for policy in policies {
        let by_condition = policy.roles.is_empty() && policy.when.is_some();
        if !by_condition && !policy.roles.iter().any(|role| held.contains(role)) {
            let finding = Diagnostic::warning(Code::PRJ019, "no user has a role of this policy");
            scope.add(
                finding
                    .at(policy.place.clone())
                    .help("give a user one of its roles, or take the policy out"),
            );
        }
    }
}

/// Columns that two policies with a common role mask in different ways: on a row that both admit only the first shows.
fn differing_masks(policies: &[Policy], scope: &mut Scope<'_>) {
    for (at, later) in policies.iter().enumerate() {
        for (column, mask) in &later.masks {
            let place = |policy: &Policy| -> Option<Place> { policy.mask_places.get(column).cloned() };
            let first = policies.iter().take(at).find(|earlier| {
                let differs = earlier.masks.get(column).is_some_and(|first| first.text != mask.text);
                differs && earlier.roles.iter().any(|role| later.roles.contains(role))
            });
            let Some(first) = first else { continue };
            let message = format!("`{column}` is masked in another way by a policy of the same role");
            let mut finding = Diagnostic::warning(Code::PRJ020, message)
                .help("on rows that both admit the first mask is shown, in the order of file path, then place");
            if let Some(place) = place(later) {
                finding = finding.at(place);
            }
            if let Some(place) = place(first) {
                finding = finding.related(place, "the first");
            }
            scope.add(finding);
        }
    }
}
