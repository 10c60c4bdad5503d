//! Seeded chance: the distributions the demo bank is drawn from.
//!
//! Owns: one stream of random numbers for each chunk of the bank. Never: a source of chance outside the seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A stream of draws. Equal seeds and streams give equal draws.
pub(super) struct Dice(StdRng);

impl Dice {
    /// The stream with that number under a seed.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut bytes = [0; 32];
        for (at, byte) in seed.to_le_bytes().into_iter().chain(stream.to_le_bytes()).enumerate() {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        Self(StdRng::from_seed(bytes))
    }

    /// True with that probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    /// A whole number from `low` to `high`, both included; `low` if the range is empty.
    pub(super) fn whole(&mut self, low: i32, high: i32) -> i32 {
        if low >= high {
            low
        } else {
            self.0.random_range(low..=high)
        }
    }

    /// An index below `length`; 0 if it is 0.
    pub(super) fn index(&mut self, length: usize) -> usize {
        if length < 2 { 0 } else { self.0.random_range(0..length) }
    }

    /// One of `choices`, or the fallback of an empty slice.
    pub(super) fn pick<T: Copy + Default>(&mut self, choices: &[T]) -> T {
        let index = self.index(choices.len());
        choices.get(index).copied().unwrap_or_default()
    }

    /// Log-normal: half of the draws lie below `median`; `sigma` is the spread of the logarithm.
    pub(super) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        // Box and Muller, 1958.
        let radius = (-2.0 * (1.0 - self.0.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.0.random::<f64>();
        median * (sigma * radius * angle.cos()).exp()
    }

    /// A log-normal amount in cents, rounded to a multiple of `round` cents, at least that and at most ten million.
    pub(super) fn amount(&mut self, median: f64, sigma: f64, round: i64) -> i64 {
        let yuan = self.log_normal(median, sigma).clamp(0.01, 1e7);
        // Clamped.
        let cents = (yuan * 100.0).round() as i64;
        (cents / round * round).max(round)
    }

    /// How many of something rare happen, on average `mean`.
    pub(super) fn times(&mut self, mean: f64) -> i32 {
        // Knuth's method for Poisson draws; the means here are below ten.
        let limit = (-mean).exp();
        let mut product = self.0.random::<f64>();
        let mut times = 0;
        while product > limit && times < 100 {
            product *= self.0.random::<f64>();
            times += 1;
        }
        times
    }
}
