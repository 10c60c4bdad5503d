//! Laws of policy decisions, over random policies.

use super::*;

/// Numbers that look random and are the same on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn some<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        of.iter().copied().filter(|_| self.below(2) == 0).collect()
    }
}

const ROLES: [&str; 4] = ["a", "b", "c", "d"];

fn random_policies(numbers: &mut Numbers) -> String {
    let mut text = String::from("policies:\n");
    for policy in 0..5 {
        let patterns = ["s.*", "s.account", "s.customer", "s.h*", "s.region"];
        text.push_str(&format!(
            "  p{policy}:\n    roles: [{}]\n",
            numbers.some(&ROLES).join(", ")
        ));
        text.push_str(&format!(
            "    tables: [{}]\n",
            numbers
                .some(&patterns)
                .iter()
                .map(|p| format!("'{p}'"))
                .collect::<Vec<_>>()
                .join(", ")
        ));
        if numbers.below(2) == 0 {
            text.push_str(&format!(
                "    columns: {{ s.customer: [{}] }}\n",
                numbers.some(&["id", "region"]).join(", ")
            ));
        }
        let rows = numbers.some(&["customer: region = 1", "s.account: branch = 2"]);
        text.push_str(&format!(
            "    rows: {{ {} }}\n    masks: {{ {} }}\n",
            rows.join(", "),
            numbers.some(&["s.customer.region: NULL"]).join(", ")
        ));
    }
    text
}

#[test]
fn decisions_only_grow_with_roles_and_do_not_depend_on_their_order() {
    let mut numbers = Numbers(20_261_122);
    let mut granted = 0;
    for _ in 0..60 {
        let project = project(&format!("{ENTITY}{}", random_policies(&mut numbers)));
        let (snapshot, _) = CatalogSnapshot::resolve(project, schemas(vec![("s", small())]));
        for _ in 0..12 {
            let few = numbers.some(&ROLES);
            let more: Vec<&str> = ROLES
                .iter()
                .copied()
                .filter(|role| few.contains(role) || numbers.below(2) == 0)
                .collect();
            let turned: Vec<&str> = more.iter().rev().copied().collect();
            for table in snapshot.source_tables() {
                let less = snapshot.decide(&standing(&snapshot, principal(&few)), &table);
                let all = snapshot.decide(&standing(&snapshot, principal(&more)), &table);
                assert_eq!(
                    all,
                    snapshot.decide(&standing(&snapshot, principal(&turned)), &table),
                    "the order of roles"
                );
                let Some(less) = less else { continue };
                let all = all.expect("a table that fewer roles open");
                granted += 1;
                assert!(less.columns.iter().all(|column| all.columns.contains(column)));
                assert!(less.policies.iter().all(|policy| all.policies.contains(policy)));
                assert!(!all.policies.is_empty() && all.policies.iter().all(|policy| !policy.columns.is_empty()));
            }
        }
    }
    assert!(
        granted > 500,
        "{granted} grants: the generator opens too little to prove anything"
    );
}
