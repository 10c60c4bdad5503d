//! The ways a query is run and governed: one value of each dimension, every pair of values at least once.
//!
//! Owns: the dimensions and the choice among their values. Never: what a value means to the engine.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;

use super::data::SOURCES;
use super::policy::{SHAPES, Shape};
use super::sources::Running;

/// One dimension: its name, and how often each of its values is drawn when pairs are covered.
struct Dimension {
    name: &'static str,
    weights: &'static [u32],
    show: fn(usize) -> String,
}

const BATCHES: [usize; 3] = [1, 7, 8192];
const PARTITIONS: [usize; 3] = [1, 2, 4];
const SHARES: [i64; 6] = [0, 1, 21, 50, 99, 100];

/// The dimensions. Another way of running the engine is one more line, and its field in `Running`.
const DIMENSIONS: &[Dimension] = &[
    dimension("source", &[1, 1, 1, 1], |at| SOURCES[at].to_owned()),
    dimension("pushdown", &[1, 1], |at| ["off", "on"][at].to_owned()),
    dimension("batch", &[1, 1, 1], |at| BATCHES[at].to_string()),
    dimension("partitions", &[1, 1, 1], |at| PARTITIONS[at].to_string()),
    // Where next to nothing is visible, next to nothing can be compared.
    dimension("visible", &[1, 1, 3, 4, 4, 3], |at| format!("{} %", SHARES[at])),
    dimension("policy", &[2, 2, 3, 3, 2, 3, 2], |at| format!("{:?}", SHAPES[at])),
];

const fn dimension(name: &'static str, weights: &'static [u32], show: fn(usize) -> String) -> Dimension {
    Dimension { name, weights, show }
}

/// One value of each dimension, by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config(Vec<usize>);

/// Two values of two dimensions.
type Pair = ((usize, usize), (usize, usize));

impl Config {
    /// The home source.
    pub fn source(&self) -> &'static str {
        SOURCES[self.0[0]]
    }

    /// How the engine runs.
    pub fn running(&self) -> Running {
        Running {
            pushdown: self.0[1] == 1,
            batch_rows: BATCHES[self.0[2]],
            partitions: PARTITIONS[self.0[3]],
        }
    }

    /// How many rows in a hundred are visible.
    pub fn share(&self) -> i64 {
        SHARES[self.0[4]]
    }

    /// The shape of the policy.
    pub fn shape(&self) -> Shape {
        SHAPES[self.0[5]]
    }

    /// The pairs of values it covers.
    fn pairs(&self) -> impl Iterator<Item = Pair> {
        let values: Vec<(usize, usize)> = self.0.iter().copied().enumerate().collect();
        (0..values.len()).flat_map(move |at| {
            let values = values.clone();
            (at + 1..values.len()).map(move |other| (values[at], values[other]))
        })
    }

    /// Any, by the weights.
    pub fn draw(chance: &mut StdRng) -> Self {
        Self(
            DIMENSIONS
                .iter()
                .map(|dimension| weighted(chance, dimension.weights))
                .collect(),
        )
    }
}

impl std::fmt::Display for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = DIMENSIONS.iter().zip(&self.0);
        let words: Vec<String> = words
            .map(|(dimension, at)| format!("{} {}", dimension.name, (dimension.show)(*at)))
            .collect();
        f.write_str(&words.join(", "))
    }
}

/// An index, each as likely as its weight.
pub fn weighted(chance: &mut StdRng, weights: &[u32]) -> usize {
    let mut left = chance.random_range(0..weights.iter().sum::<u32>().max(1));
    for (at, weight) in weights.iter().enumerate() {
        if left < *weight {
            return at;
        }
        left -= weight;
    }
    0
}

/// Configurations that cover every pair: of a few dozen drawn each time, the one that covers most of what is left.
pub fn covering(chance: &mut StdRng) -> Vec<Config> {
    let mut left = all_pairs();
    let mut chosen = Vec::new();
    while let Some(wanted) = left.first().copied() {
        let mut best: Option<(usize, Config)> = None;
        for _ in 0..40 {
            let mut config = Config(
                DIMENSIONS
                    .iter()
                    .map(|d| chance.random_range(0..d.weights.len()))
                    .collect(),
            );
            for (dimension, value) in [wanted.0, wanted.1] {
                config.0[dimension] = value;
            }
            let gain = config.pairs().filter(|pair| left.contains(pair)).count();
            if best.as_ref().is_none_or(|(most, _)| gain > *most) {
                best = Some((gain, config));
            }
        }
        let Some((_, config)) = best else { break };
        for pair in config.pairs() {
            left.remove(&pair);
        }
        chosen.push(config);
    }
    chosen
}

fn all_pairs() -> BTreeSet<Pair> {
    let mut pairs = BTreeSet::new();
    for (first, left) in DIMENSIONS.iter().enumerate() {
        for (second, right) in DIMENSIONS.iter().enumerate().skip(first + 1) {
            for value in 0..left.weights.len() {
                for other in 0..right.weights.len() {
                    pairs.insert(((first, value), (second, other)));
                }
            }
        }
    }
    pairs
}

/// Which pairs have been compared.
pub struct Coverage {
    left: BTreeSet<Pair>,
    all: usize,
}

impl Coverage {
    /// None yet.
    pub fn new() -> Self {
        let left = all_pairs();
        Self { all: left.len(), left }
    }

    /// A query was compared in `config`.
    pub fn cover(&mut self, config: &Config) {
        for pair in config.pairs() {
            self.left.remove(&pair);
        }
    }

    /// How many pairs are covered, of how many.
    pub fn count(&self) -> (usize, usize) {
        (self.all - self.left.len(), self.all)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_first_configurations_cover_every_pair() {
        for seed in 0..5 {
            let configs = covering(&mut StdRng::seed_from_u64(seed));
            let mut coverage = Coverage::new();
            // Products of 4, 2, 3, 3, 6 and 7 values, two at a time.
            let all = 4 * (2 + 3 + 3 + 6 + 7) + 2 * (3 + 3 + 6 + 7) + 3 * (3 + 6 + 7) + 3 * (6 + 7) + 6 * 7;
            assert_eq!(coverage.count(), (0, all));
            configs.iter().for_each(|config| coverage.cover(config));
            assert_eq!(coverage.count(), (all, all));
            assert!(configs.len() < 120, "{}", configs.len());
        }
    }
}
