//! Slows down those who guess passwords.
//!
//! Owns: how long a name from an address must wait after failures. Never: whether a password was right.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures in a row that cost nothing: people mistype.
const FREE_FAILURES: u32 = 5;
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Failures older than this are forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// The most pairs of name and address remembered.
const ENTRIES_MAX: usize = 10_000;

/// Who tries: the name, known here or not, and where from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The name given.
    pub user: String,
    /// The peer's address, where there is one.
    pub peer: Option<IpAddr>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Failures in a row, by attempt.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: HashMap<Attempt, Failures>,
}

impl Backoff {
    /// How long `attempt` must still wait, if at all.
    pub fn wait(&self, attempt: &Attempt, now: Instant) -> Option<Duration> {
        let failures = self.failures.get(attempt)?;
        let doublings = failures.count.checked_sub(FREE_FAILURES)?;
        let wait = Duration::from_secs(1 << doublings.min(6)).min(WAIT_MAX);
        (failures.last + wait)
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// `attempt` gave a wrong password, or a name that does not exist.
    pub fn failed(&mut self, attempt: &Attempt, now: Instant) {
        if !self.failures.contains_key(attempt) {
            self.make_room(now);
        }
        let failures = self
            .failures
            .entry(attempt.clone())
            .or_insert(Failures { count: 0, last: now });
        if now.duration_since(failures.last) >= MEMORY {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// `attempt` gave the right password.
    pub fn succeeded(&mut self, attempt: &Attempt) {
        self.failures.remove(attempt);
    }

    fn make_room(&mut self, now: Instant) {
        if self.failures.len() < ENTRIES_MAX {
            return;
        }
        self.failures
            .retain(|_, failures| now.duration_since(failures.last) < MEMORY);
        if self.failures.len() >= ENTRIES_MAX {
            let oldest = self
                .failures
                .iter()
                .min_by_key(|(_, failures)| failures.last)
                .map(|(key, _)| key.clone());
            oldest.and_then(|key| self.failures.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(user: &str) -> Attempt {
        Attempt {
            user: user.into(),
            peer: None,
        }
    }

    #[test]
    fn the_sixth_try_waits_and_waits_double_to_a_minute() {
        let (mut backoff, now, anna) = (Backoff::default(), Instant::now(), attempt("anna"));
        for _ in 0..FREE_FAILURES - 1 {
            backoff.failed(&anna, now);
            assert_eq!(backoff.wait(&anna, now), None);
        }
        let mut waits = Vec::new();
        for _ in 0..8 {
            backoff.failed(&anna, now);
            waits.push(backoff.wait(&anna, now).unwrap().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.wait(&anna, now + WAIT_MAX), None);
        assert_eq!(backoff.wait(&attempt("petr"), now), None);
    }

    #[test]
    fn success_and_time_forgive() {
        let (mut backoff, now, anna) = (Backoff::default(), Instant::now(), attempt("anna"));
        (0..9).for_each(|_| backoff.failed(&anna, now));
        backoff.succeeded(&anna);
        assert_eq!(backoff.wait(&anna, now), None);
        (0..9).for_each(|_| backoff.failed(&anna, now));
        backoff.failed(&anna, now + MEMORY);
        assert_eq!(backoff.wait(&anna, now + MEMORY), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for number in 0..ENTRIES_MAX + 10 {
            backoff.failed(&attempt(&number.to_string()), now);
        }
        assert_eq!(backoff.failures.len(), ENTRIES_MAX);
    }
}
