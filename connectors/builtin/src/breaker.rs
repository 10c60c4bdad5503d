//! Keeps a source that is down from being asked again and again.
//!
//! Owns: who may try to connect, and when. Never: a connection.
//!
//! While nothing is known to be wrong, everybody connects at once. Once a connection broke or could not be opened,
//! attempts are made one after the other, at most two within a second, those made just before included, until one
//! succeeds. Who may not try is told so at once, or waits for what others find out while none of them has yet.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::MutexGuard;

/// Attempts that fail one after the other until the breaker opens, and the most attempts within `WINDOW` from then on.
const ATTEMPTS_MAX: usize = 2;
/// See `ATTEMPTS_MAX`.
const WINDOW: Duration = Duration::from_secs(1);
/// The longest an attempt waits for the one before it.
const TURN_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How often who waits looks whether those before found something out.
const LOOK: Duration = Duration::from_millis(5);

/// The breaker of one source.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
    /// Held by the attempt that is being made while something is wrong.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// A connection broke or could not be opened, and none was opened since.
    is_doubted: bool,
    /// Attempts that failed since.
    failures: usize,
    /// When the last attempts since then were made, oldest first.
    attempts: [Option<Instant>; ATTEMPTS_MAX],
}

/// The right to make one attempt. Dropped without word, the attempt was given up.
pub struct Attempt<'a> {
    breaker: &'a Breaker,
    #[expect(dead_code, reason = "held while the attempt is made")]
    turn: Option<MutexGuard<'a, ()>>,
}

/// The source is down as far as is known, and is not to be tried now.
#[derive(Debug)]
pub struct Open;

impl Breaker {
    /// A connection to the source broke: the source may be down.
    pub fn lost(&self) {
        self.state.lock().is_doubted = true;
    }

    /// Leave to connect.
    pub async fn attempt(&self) -> Result<Attempt<'_>, Open> {
        {
            let mut state = self.state.lock();
            if !state.is_doubted {
                state.attempted(Instant::now());
                return Ok(Attempt {
                    breaker: self,
                    turn: None,
                });
            }
        }
        let turn = if self.is_open() {
            self.turn.try_lock().map_err(|_| Open)?
        } else {
            let turn = tokio::time::timeout(TURN_TIMEOUT, self.turn.lock()).await;
            turn.map_err(|_| Open)?
        };
        while !self.may_begin()? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(Attempt {
            breaker: self,
            turn: Some(turn),
        })
    }

    /// Whether whose turn it is begins now; otherwise he waits.
    fn may_begin(&self) -> Result<bool, Open> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let is_early = |earlier: Instant| now.duration_since(earlier) < WINDOW;
        if state.is_doubted && state.attempts[0].is_some_and(is_early) {
            return if state.failures >= ATTEMPTS_MAX {
                Err(Open)
            } else {
                Ok(false)
            };
        }
        state.attempted(now);
        Ok(true)
    }

    fn is_open(&self) -> bool {
        self.state.lock().failures >= ATTEMPTS_MAX
    }
}

impl State {
    fn attempted(&mut self, now: Instant) {
        self.attempts.rotate_left(1);
        self.attempts[ATTEMPTS_MAX - 1] = Some(now);
    }
}

impl Attempt<'_> {
    /// The source answered.
    pub fn succeeded(self) {
        *self.breaker.state.lock() = State::default();
    }

    /// It did not.
    pub fn failed(self) {
        let mut state = self.breaker.state.lock();
        state.is_doubted = true;
        state.failures = state.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    //! Attempts in time.

    use super::*;

    #[tokio::test]
    async fn a_healthy_source_is_tried_by_everybody_at_once() {
        let breaker = Breaker::default();
        let first = breaker.attempt().await.expect("leave");
        let second = breaker.attempt().await.expect("leave");
        first.succeeded();
        second.succeeded();
        assert!(breaker.attempt().await.is_ok());
    }

    /// An administrator ends sessions one after the other; each time the source is there again at once.
    #[tokio::test]
    async fn a_source_that_loses_connections_and_accepts_new_ones_is_healthy() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            breaker.lost();
            breaker.attempt().await.expect("leave").succeeded();
        }
    }

    #[tokio::test]
    async fn a_source_that_is_down_is_tried_twice_a_second() {
        let breaker = Breaker::default();
        breaker.lost();
        let (begun, mut tried, mut refused) = (Instant::now(), Vec::new(), 0);
        while begun.elapsed() < WINDOW * 3 + WINDOW / 2 {
            let asked = Instant::now();
            match breaker.attempt().await {
                Ok(attempt) => {
                    tried.push(Instant::now());
                    attempt.failed();
                }
                Err(Open) => {
                    refused += 1;
                    assert!(asked.elapsed() < WINDOW / 4, "at once");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        assert!(
            (4..=8).contains(&tried.len()) && refused > 0,
            "{} attempts",
            tried.len()
        );
        let within = |pair: &[Instant]| pair[2].duration_since(pair[0]) >= WINDOW;
        assert!(tried.windows(3).all(within), "{tried:?}");
        tokio::time::sleep(WINDOW).await;
        breaker.attempt().await.expect("leave").succeeded();
        let healthy = (
            breaker.attempt().await,
            breaker.attempt().await,
            breaker.attempt().await,
        );
        assert!(healthy.0.is_ok() && healthy.1.is_ok() && healthy.2.is_ok());
    }

    /// Two were on their way when the source went: a third is one too many.
    #[tokio::test]
    async fn attempts_made_just_before_count() {
        let breaker = Breaker::default();
        let under_way = (
            breaker.attempt().await.expect("leave"),
            breaker.attempt().await.expect("leave"),
        );
        let begun = Instant::now();
        breaker.lost();
        let (third, ()) = tokio::join!(breaker.attempt(), async {
            tokio::time::sleep(WINDOW / 10).await;
            under_way.0.failed();
            under_way.1.failed();
        });
        assert!(third.is_err() && begun.elapsed() < WINDOW / 2);
        tokio::time::sleep(WINDOW).await;
        assert!(breaker.attempt().await.is_ok());
    }

    #[tokio::test]
    async fn who_comes_when_attempts_are_under_way_waits_for_what_they_find() {
        let breaker = Breaker::default();
        let under_way = (
            breaker.attempt().await.expect("leave"),
            breaker.attempt().await.expect("leave"),
        );
        let begun = Instant::now();
        breaker.lost();
        let (third, ()) = tokio::join!(breaker.attempt(), async {
            tokio::time::sleep(WINDOW / 10).await;
            under_way.0.succeeded();
        });
        assert!(third.is_ok() && begun.elapsed() < WINDOW / 2);
    }

    #[tokio::test]
    async fn while_a_source_is_only_doubted_who_comes_second_waits_for_the_first() {
        let breaker = Breaker::default();
        breaker.lost();
        let first = breaker.attempt().await.expect("leave");
        let (second, ()) = tokio::join!(breaker.attempt(), async {
            tokio::task::yield_now().await;
            first.succeeded();
        });
        second.expect("leave, since the first found it healthy").succeeded();
    }
}
