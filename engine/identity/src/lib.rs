//! Record linkage: which records of different sources are the same customer.
//!
//! Owns: normalisation, candidate pairs, the Fellegi-Sunter score learnt without labels, resolution into customers, and the
//! crosswalk that remembers them. Never: reads a source, knows a policy, writes a value of a record anywhere.
//!
//! The life of a build: [`Records`] take values through the [`Normaliser`]s of their [`Field`]; a [`Linker`] indexes them
//! by exact rules and blocking keys; [`Linker::learn`] estimates a [`Model`]; [`Linker::build`] scores the
//! candidate pairs and resolves them, beside the crosswalk of the last build, into a new [`Crosswalk`].
//! `docs/identity.md` is its guide, `docs/decisions/0013-identity-without-labels.md` says why it is so.

mod block;
mod build;
mod compare;
mod config;
mod crosswalk;
mod error;
mod file;
mod link;
mod model;
mod normalise;
mod records;
mod resolve;

pub use build::{Outcome, Report};
pub use compare::{Comparison, MISSING};
pub use config::{BlockKey, Config, ExactRule, Field, Limits, Part, Source, Thresholds};
pub use crosswalk::{Crosswalk, Member, RecordKey, Review, Verdict};
pub use error::{Error, Result};
pub use link::{Evidence, Explanation, Linker};
pub use model::{FieldModel, Model};
pub use normalise::Normaliser;
pub use records::Records;
