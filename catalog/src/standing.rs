//! A principal as policy sees it at one moment: who, and which policies apply.
//!
//! Owns: roles, expiry and condition put together, the same for every decision. Never: evaluates a condition (the engine
//! does), or what an applicable policy opens.

use std::collections::BTreeMap;

use crate::date::Date;
use crate::grant::SqlText;
use crate::principal::Principal;
use crate::project::{Policy, Project};

/// Whether a policy applies, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It applies.
    Applies,
    /// The principal has none of its roles.
    NoRole,
    /// Its last day is over.
    Expired,
    /// Its `when` does not hold, or cannot be evaluated for this principal.
    ConditionFails,
}

/// A principal, and what each policy of one project says to it on one day. Holds for one statement: a policy may expire.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    principal: Principal,
    today: Date,
    verdicts: BTreeMap<String, Verdict>,
}

impl Standing {
    /// The standing of `principal` on the day `today` (UTC). `holds` evaluates a `when`; it is asked only of policies
    /// that apply in every other respect, and what it cannot evaluate must be `false`.
    pub fn new(
        project: &Project,
        principal: Principal,
        today: Date,
        holds: impl Fn(&Principal, &SqlText) -> bool,
    ) -> Self {
        let verdict = |policy: &Policy| {
            // Without roles a condition alone says whom a policy is for.
            let by_role = policy.roles.iter().any(|role| principal.roles.contains(role));
            let by_condition = policy.roles.is_empty() && policy.when.is_some();
            if !(by_role || by_condition) {
                Verdict::NoRole
            } else if policy.expired(today) {
                Verdict::Expired
            } else if policy.when.as_ref().is_some_and(|when| !holds(&principal, when)) {
                Verdict::ConditionFails
            } else {
                Verdict::Applies
            }
        };
        let verdicts = project
            .policies
            .iter()
            .map(|policy| (policy.name.clone(), verdict(policy)))
            .collect();
        Self {
            principal,
            today,
            verdicts,
        }
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The day for which it holds.
    pub fn today(&self) -> Date {
        self.today
    }

    /// What a policy says; `None` for a policy that the project does not have.
    pub fn verdict(&self, policy: &str) -> Option<Verdict> {
        self.verdicts.get(policy).copied()
    }

    /// Whether a policy applies.
    pub fn applies(&self, policy: &Policy) -> bool {
        self.verdict(&policy.name) == Some(Verdict::Applies)
    }
}
