//! For whom a change is compared: the users of both projects, each kind once.
//!
//! Owns: which users see the same, so that each is compared once. Never: what they see.

use std::collections::BTreeSet;

use caliber_catalog::principal::Principal;
use caliber_catalog::project::Project;

use super::why_closed::uses_name;

/// Users that see the same before and the same after.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedUsers {
    /// Their names, sorted.
    pub names: Vec<String>,
    /// One of them in the first project; `None` where they are new.
    pub before: Option<Principal>,
    /// The same one in the second; `None` where they are gone.
    pub after: Option<Principal>,
}

/// The users of either project whose names are in `only` (all, if that is empty), those of equal roles and attributes
/// together, in the order of names. Where a policy uses `principal.name`, each stands alone.
pub fn compared_users(before: &Project, after: &Project, only: &[String]) -> Vec<ComparedUsers> {
    let names: BTreeSet<&String> = before.users.keys().chain(after.users.keys()).collect();
    let alone = [before, after].into_iter().any(names_matter);
    let mut all: Vec<ComparedUsers> = Vec::new();
    for name in names {
        if !only.is_empty() && !only.contains(name) {
            continue;
        }
        let of = |project: &Project| project.users.get(name).map(|user| user.principal());
        let (before, after) = (of(before), of(after));
        let alike = all
            .iter_mut()
            .find(|known| !alone && equal(&known.before, &before) && equal(&known.after, &after));
        match alike {
            Some(known) => known.names.push(name.clone()),
            None => all.push(ComparedUsers {
                names: vec![name.clone()],
                before,
                after,
            }),
        }
    }
    all
}

fn equal(one: &Option<Principal>, other: &Option<Principal>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.roles == other.roles && one.attributes == other.attributes,
        (None, None) => true,
        _ => false,
    }
}

fn names_matter(project: &Project) -> bool {
    let policies = project.policies.iter().flat_map(|policy| {
        let rows = policy.table_rows.values().chain(policy.entity_rows.values());
        rows.chain(policy.masks.values()).chain(&policy.when)
    });
    let holdings = project.entities.values().flat_map(|entity| &entity.holdings);
    policies
        .chain(holdings.filter_map(|holding| holding.condition.as_ref()))
        .any(uses_name)
}
