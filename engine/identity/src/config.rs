//! What a linkage is told.
//!
//! Owns: fields, exact rules, blocking, thresholds, bounds, and their contradictions. Never: a record.

use crate::{Comparison, Error, Normaliser, Result};

/// At most so many fields: a pair's levels fit into one word.
pub const MAX_FIELDS: usize = 20;
/// At most so many sources: a set of them fits into one word.
pub const MAX_SOURCES: usize = 64;
/// At most so many blocking keys.
pub const MAX_BLOCKING: usize = 16;

/// A source of records.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, unique.
    pub name: String,
    /// Whether it has each customer once: then no two of its records become one customer.
    pub unique: bool,
}

/// A field that records of every source may have.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name, unique.
    pub name: String,
    /// What happens to a value before anything else, in order.
    pub normalise: Vec<Normaliser>,
    /// How two values are compared for the score; `None` for fields of exact rules and blocking only.
    pub compare: Option<Comparison>,
    /// Whether agreement on a rare value counts for more than on a common one.
    pub term_frequency: bool,
}

/// Records that have all these fields, equal, are linked whatever the score.
#[derive(Debug, Clone)]
pub struct ExactRule {
    /// Its name, as the crosswalk records it.
    pub name: String,
    /// The fields, by position.
    pub fields: Vec<usize>,
}

/// What of a value blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its first characters.
    Prefix(usize),
    /// Its last characters.
    Suffix(usize),
    /// Its Soundex code.
    Soundex,
}

/// A part of a blocking key.
#[derive(Debug, Clone, Copy)]
pub struct BlockKey {
    /// The field, by position.
    pub field: usize,
    /// What of it.
    pub part: Part,
}

/// Probabilities of a match between which a pair is a match, for review, or neither.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// From here on a pair is a match.
    pub matches: f64,
    /// From here on a pair is for review.
    pub review: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            matches: 0.95,
            review: 0.5,
        }
    }
}

/// Bounds of a build.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Candidate pairs of one block; a larger block is left out and reported.
    pub block_pairs: u64,
    /// Links (matches and reviews) held; more fail the build.
    pub links: u64,
    /// Pairs from which the model learns, of the candidates and at random each.
    pub sample: u64,
    /// Threads that score.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_pairs: 500_000,
            links: 20_000_000,
            sample: 4_000_000,
            threads: 2,
        }
    }
}

/// A linkage: what is compared, and what follows from it.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where records come from.
    pub sources: Vec<Source>,
    /// What they have.
    pub fields: Vec<Field>,
    /// Rules of equality, the strongest first.
    pub exact: Vec<ExactRule>,
    /// Pairs are compared that agree on all parts of at least one of these.
    pub blocking: Vec<Vec<BlockKey>>,
    /// What a probability means.
    pub thresholds: Thresholds,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// Refuses what contradicts itself.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Config(message));
        if self.sources.is_empty() || self.sources.len() > MAX_SOURCES {
            return refuse(format!("a linkage has 1 to {MAX_SOURCES} sources"));
        }
        if self.fields.is_empty() || self.fields.len() > MAX_FIELDS {
            return refuse(format!("a linkage has 1 to {MAX_FIELDS} fields"));
        }
        if self.blocking.len() > MAX_BLOCKING || self.exact.len() > MAX_BLOCKING {
            return refuse(format!(
                "a linkage has at most {MAX_BLOCKING} blocking keys and as many exact rules"
            ));
        }
        let scored = self.fields.iter().any(|field| field.compare.is_some());
        if scored == self.blocking.is_empty() {
            return refuse("compared fields need `blocking`, and blocking needs compared fields".to_owned());
        }
        if self.exact.is_empty() && !scored {
            return refuse("a linkage needs exact rules or compared fields".to_owned());
        }
        let lists = self.exact.iter().map(|rule| rule.fields.clone());
        let blocks = self
            .blocking
            .iter()
            .map(|parts| parts.iter().map(|part| part.field).collect());
        for list in lists.chain(blocks) {
            if list.is_empty() || list.iter().any(|field| *field >= self.fields.len()) {
                return refuse("a rule or blocking key names no field, or one that is not declared".to_owned());
            }
        }
        let Thresholds { matches, review } = self.thresholds;
        if !(0.0 < review && review <= matches && matches < 1.0) {
            return refuse("thresholds need 0 < review ≤ match < 1".to_owned());
        }
        if self.limits.threads == 0 || self.limits.sample == 0 || self.limits.block_pairs == 0 {
            return refuse("the bounds `threads`, `sample` and `block_pairs` are at least 1".to_owned());
        }
        Ok(())
    }
}
