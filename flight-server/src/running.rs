//! The statements that run now.
//!
//! Owns: how many a principal may run at once, and ending them on request. Never: runs one.

use std::collections::HashMap;
use std::sync::Arc;

use caliber_catalog::diagnostic::Code;
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Status;

use crate::status;

/// Planning is quick; a principal may plan this many times more statements at once than it may run.
const PLANS_FOR_EACH_RUN: usize = 4;

/// What a place is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Parsing and planning.
    Plan,
    /// Delivering rows.
    Run,
}

struct Entry {
    principal: String,
    work: Work,
    statement_id: String,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Places {
    next: u64,
    entries: HashMap<u64, Entry>,
}

/// Every statement this server plans or runs.
pub struct Running {
    places: Mutex<Places>,
    per_principal_max: usize,
}

/// The place of one statement; free again when dropped.
pub struct Place {
    of: Arc<Running>,
    number: u64,
    stop: Stop,
}

impl Running {
    /// Nothing runs; one principal may run `per_principal_max` statements at once.
    pub fn new(per_principal_max: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Mutex::new(Places::default()),
            per_principal_max,
        })
    }

    /// A place for a statement of `principal`. `LIM005` at once if it has as many as it may.
    pub fn start(self: &Arc<Self>, principal: &str, work: Work, statement_id: &str) -> Result<Place, Status> {
        let max = match work {
            Work::Plan => self.per_principal_max.saturating_mul(PLANS_FOR_EACH_RUN),
            Work::Run => self.per_principal_max,
        };
        let mut places = self.places.lock();
        let taken = places
            .entries
            .values()
            .filter(|entry| entry.work == work && entry.principal == principal)
            .count();
        if taken >= max {
            let message = format!("you already run {taken} statements, as many as one user may");
            return Err(status::of_code(
                Code::LIM005,
                &message,
                Some("wait for one to end, or cancel one"),
            ));
        }
        let (stop, stopped) = watch::channel(false);
        let number = places.next;
        places.next += 1;
        let entry = Entry {
            principal: principal.to_owned(),
            work,
            statement_id: statement_id.to_owned(),
            stop,
        };
        places.entries.insert(number, entry);
        Ok(Place {
            of: Arc::clone(self),
            number,
            stop: Stop(stopped),
        })
    }

    /// Ends what runs under `statement_id`, if it is `principal`'s. Gives whether anything did.
    pub fn cancel(&self, principal: &str, statement_id: &str) -> bool {
        let places = self.places.lock();
        let mut stopped = false;
        for entry in places.entries.values() {
            if entry.principal == principal && entry.statement_id == statement_id {
                entry.stop.send_replace(true);
                stopped = true;
            }
        }
        stopped
    }

    /// Ends everything.
    pub fn cancel_all(&self) {
        for entry in self.places.lock().entries.values() {
            entry.stop.send_replace(true);
        }
    }

    /// How many statements deliver rows now.
    pub fn count(&self) -> usize {
        self.places
            .lock()
            .entries
            .values()
            .filter(|entry| entry.work == Work::Run)
            .count()
    }
}

impl Place {
    /// Returns once somebody cancelled the statement.
    pub async fn cancelled(&mut self) {
        self.stop.cancelled().await;
    }

    /// Told of the same, without holding the place.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }
}

/// Told when a statement is cancelled.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns once somebody cancelled the statement.
    pub async fn cancelled(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            // The statement has ended, so nobody can cancel it any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.places.lock().entries.remove(&self.number);
    }
}

/// The error of a cancelled statement.
pub fn cancelled() -> Status {
    status::of_code(Code::LIM006, "the statement was cancelled", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_its_own_places_and_gets_them_back() {
        let running = Running::new(2);
        let first = running.start("anna", Work::Run, "1").unwrap();
        let _second = running.start("anna", Work::Run, "2").unwrap();
        let refused = running.start("anna", Work::Run, "3").err().unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(running.start("anna", Work::Plan, "3").is_ok());
        assert!(running.start("petr", Work::Run, "4").is_ok());
        drop(first);
        assert!(running.start("anna", Work::Run, "5").is_ok());
        assert_eq!(running.count(), 1);
    }

    #[tokio::test]
    async fn only_the_owner_cancels() {
        let running = Running::new(2);
        let mut place = running.start("anna", Work::Run, "1").unwrap();
        assert!(!running.cancel("petr", "1"));
        assert!(!running.cancel("anna", "2"));
        assert!(!*place.stop.0.borrow());
        assert!(running.cancel("anna", "1"));
        place.cancelled().await;
        drop(place);
        assert!(!running.cancel("anna", "1"));
    }
}
