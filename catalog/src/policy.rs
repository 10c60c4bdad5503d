//! Who may see what: the decision, never its enforcement.
//!
//! Owns: patterns, the paths from tables to entities, the grants of a principal, findings about policies. Never:
//! evaluates SQL.

mod decide;
mod paths;
mod pattern;
mod references;

pub(crate) use decide::{covers, decide, decide_view, grant};
pub(crate) use paths::{Ambiguity, EntityPaths, Reach};
pub(crate) use pattern::Pattern;
pub(crate) use references::References;
