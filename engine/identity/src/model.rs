//! The Fellegi-Sunter model and how it is learnt without labels.
//!
//! Owns: m, u and the prior, expectation maximisation, the score of a pattern. Never: a record's value.
//!
//! For each field, *m* is how often matches show a level and *u* how often strangers do; the score is the sum of
//! log2(m/u) and the prior's log-odds. *u* comes from pairs at random and *m* from candidates, both weighted by what the
//! model itself thinks of them, until that no longer changes. Levels start from, and are held near, what is usual in
//! registers (`usual`): two books without a common customer then show no matches instead of teaching that names suffice.

use std::collections::HashMap;

use crate::compare::{DIFFERENT, MISSING, Pattern, level};
use crate::{Comparison, Config};

/// How many matches the usual m counts for.
const USUAL_MATCHES: f64 = 50.0;
/// How many strangers each level's u counts for before one is seen.
const UNSEEN: f64 = 0.5;
/// Rounds of estimation at most.
const ROUNDS: usize = 100;
/// A change of every probability below this ends the estimation.
const SETTLED: f64 = 1e-7;

/// What is learnt of a field: probabilities by level; that of `missing` is not used.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldModel {
    /// Of matches.
    pub m: Vec<f64>,
    /// Of strangers.
    pub u: Vec<f64>,
}

/// What is learnt of a linkage: numbers only.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The probability that a permitted pair at random is a match.
    pub prior: f64,
    /// By field; `None` where a field is not compared.
    pub fields: Vec<Option<FieldModel>>,
}

/// Patterns and how many pairs show them.
pub type Histogram = HashMap<Pattern, f64>;

/// What matches usually show: four of five agree, one of twelve differs.
fn usual(comparison: Comparison) -> Vec<f64> {
    let levels = comparison.levels();
    let between = levels - 3;
    let mut m = vec![if between == 0 { 0.0 } else { 0.12 / between as f64 }; levels];
    m[usize::from(MISSING)] = 0.0;
    m[usize::from(DIFFERENT)] = if between == 0 { 0.2 } else { 0.08 };
    m[levels - 1] = 0.8;
    m
}

impl Model {
    /// Learns from candidate pairs, each counted, and from pairs at random; `pairs` are all permitted ones.
    pub fn learn(config: &Config, candidates: &Histogram, random: &Histogram, pairs: f64) -> Self {
        // Sorted, so that sums come out alike in every run.
        let sorted = |histogram: &Histogram| {
            let mut list: Vec<(Pattern, f64)> = histogram.iter().map(|(pattern, count)| (*pattern, *count)).collect();
            list.sort_unstable_by_key(|(pattern, _)| *pattern);
            list
        };
        let (candidates, random) = (sorted(candidates), sorted(random));
        let start = config.fields.iter().map(|field| {
            field.compare.map(|comparison| FieldModel {
                m: usual(comparison),
                u: vec![1.0; comparison.levels()],
            })
        });
        let mut model = Self {
            prior: 1.0 / (pairs + 2.0),
            fields: start.collect(),
        };
        // At first every pair at random is a stranger.
        model.estimate(config, &[], &random);
        // As many matches as half the smaller side could have: the first round only needs the order of size.
        model.prior = (0.5 * pairs.sqrt() / pairs.max(1.0)).min(0.5);
        for _ in 0..ROUNDS {
            let before = model.clone();
            let matches = model.estimate(config, &candidates, &random);
            model.prior = ((matches + 1.0) / (pairs + 2.0)).min(0.5);
            if model.distance(&before) < SETTLED {
                break;
            }
        }
        model
    }

    /// One round: weighs every pattern by the model as it is, and counts again. Gives the matches expected.
    fn estimate(&mut self, config: &Config, candidates: &[(Pattern, f64)], random: &[(Pattern, f64)]) -> f64 {
        let mut next: Vec<Option<FieldModel>> = config
            .fields
            .iter()
            .map(|field| {
                field.compare.map(|comparison| FieldModel {
                    m: usual(comparison).iter().map(|part| part * USUAL_MATCHES).collect(),
                    u: vec![UNSEEN; comparison.levels()],
                })
            })
            .collect();
        let mut matches = 0.0;
        for (pattern, count) in candidates {
            let weight = count * probability(self.bits(*pattern));
            matches += weight;
            for (field, counts) in next.iter_mut().enumerate() {
                if let Some(counts) = counts {
                    counts.m[usize::from(level(*pattern, field))] += weight;
                }
            }
        }
        for (pattern, count) in random {
            let weight = if candidates.is_empty() {
                *count
            } else {
                count * (1.0 - probability(self.bits(*pattern)))
            };
            for (field, counts) in next.iter_mut().enumerate() {
                if let Some(counts) = counts {
                    counts.u[usize::from(level(*pattern, field))] += weight;
                }
            }
        }
        for field in next.iter_mut().flatten() {
            for side in [&mut field.m, &mut field.u] {
                side[usize::from(MISSING)] = 0.0;
                let total: f64 = side.iter().sum();
                side.iter_mut().for_each(|part| *part /= total);
            }
        }
        self.fields = next;
        matches
    }

    fn distance(&self, other: &Self) -> f64 {
        let both = self.fields.iter().flatten().zip(other.fields.iter().flatten());
        both.flat_map(|(one, two)| one.m.iter().zip(&two.m).chain(one.u.iter().zip(&two.u)))
            .map(|(one, two)| (one - two).abs())
            .fold((self.prior / other.prior).ln().abs() * 1e-3, f64::max)
    }

    /// The prior's log-odds, base 2.
    pub fn prior_bits(&self) -> f64 {
        (self.prior / (1.0 - self.prior)).log2()
    }

    /// What a level of a field adds: log2(m/u); nothing where a value is missing.
    pub fn weight(&self, field: usize, level: u8) -> f64 {
        match self.fields.get(field) {
            Some(Some(model)) if level != MISSING => {
                let level = usize::from(level);
                (model.m[level] / model.u[level]).log2()
            }
            _ => 0.0,
        }
    }

    /// The log-odds of a pattern, base 2, before term frequencies.
    pub fn bits(&self, pattern: Pattern) -> f64 {
        let fields = 0..self.fields.len();
        self.prior_bits()
            + fields
                .map(|field| self.weight(field, level(pattern, field)))
                .sum::<f64>()
    }
}

/// The probability of log-odds in base 2.
pub fn probability(bits: f64) -> f64 {
    1.0 / (1.0 + (-bits).exp2())
}

#[cfg(test)]
mod tests {
    use super::{Histogram, Model, probability};
    use crate::{Comparison, Config, Field};

    fn config(fields: usize) -> Config {
        let field = |position| Field {
            name: format!("f{position}"),
            normalise: Vec::new(),
            compare: Some(Comparison::Equal),
            term_frequency: false,
        };
        Config {
            fields: (0..fields).map(field).collect(),
            ..Config::default()
        }
    }

    /// Every pattern of `fields` equal-or-not fields, as often as m and u with independent fields give.
    fn patterns(fields: usize, count: f64, equal: f64) -> Histogram {
        (0..1u64 << fields)
            .map(|bits| {
                let levels = (0..fields)
                    .map(|field| (if bits >> field & 1 == 1 { 2u64 } else { 1 }) << (3 * field))
                    .sum();
                let ones = bits.count_ones() as i32;
                (
                    levels,
                    count * equal.powi(ones) * (1.0 - equal).powi(fields as i32 - ones),
                )
            })
            .collect()
    }

    #[test]
    fn estimation_finds_what_made_the_data() {
        let strangers = patterns(4, 990_000.0, 0.02);
        let mut all = strangers.clone();
        for (pattern, count) in patterns(4, 10_000.0, 0.9) {
            *all.entry(pattern).or_default() += count;
        }
        let model = Model::learn(&config(4), &all, &strangers, 1_000_000.0);
        assert!((model.prior - 0.01).abs() < 0.0005, "{model:?}");
        for field in model.fields.iter().flatten() {
            assert!((field.m[2] - 0.9).abs() < 0.01, "{field:?}");
            assert!((field.u[2] - 0.02).abs() < 0.001, "{field:?}");
        }
    }

    #[test]
    fn strangers_alone_teach_no_matches() {
        let strangers = patterns(4, 1_000_000.0, 0.02);
        let model = Model::learn(&config(4), &strangers, &strangers, 1_000_000.0);
        assert!(model.prior < 1e-4, "{model:?}");
        // Two fields of four agree: a coincidence.
        let two = 2 | 2 << 3 | 1 << 6 | 1 << 9;
        assert!(probability(model.bits(two)) < 0.01, "{model:?}");
    }
}
