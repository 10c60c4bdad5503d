//! The threads of one file, each with a connection of its own, kept for a while between queries: the pages and the
//! prepared statements of the last query serve the next.
//!
//! Owns: which threads are idle, how long. Never: how many serve at once (the source's permits), a statement.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::worker::{self, Event, Job, Read};

/// How long a thread waits for another query.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A query for a thread.
pub(super) struct Assignment {
    pub(super) job: Job,
    pub(super) events: Receiver<Event>,
    pub(super) first: Box<Read>,
}

/// The threads that wait, by number.
type Idle = Mutex<Vec<(u64, Sender<Assignment>)>>;

/// The threads of one file that wait for a query. Bounded as those that serve are: a query takes one that waits before
/// it starts another.
#[derive(Clone, Default)]
pub(super) struct Threads {
    idle: Arc<Idle>,
    started: Arc<AtomicU64>,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}

impl Threads {
    /// Has `assignment` served by a thread that waits, or by a new one of that name.
    pub(super) fn assign(&self, name: &str, mut assignment: Assignment) -> std::io::Result<()> {
        loop {
            // The last to have served has the warmest pages.
            let Some((_, waiting)) = self.idle.lock().pop() else {
                break;
            };
            match waiting.send(assignment) {
                Ok(()) => return Ok(()),
                Err(refused) => assignment = refused.0,
            }
        }
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let idle = Arc::downgrade(&self.idle);
        let serve = move || serve(number, &idle, assignment);
        std::thread::Builder::new().name(name.to_owned()).spawn(serve)?;
        Ok(())
    }
}

/// One thread: a query, then others as long as they come, its connection is clean and the source is there.
fn serve(number: u64, idle: &Weak<Idle>, first: Assignment) {
    let mut held = None;
    let mut next = Some(first);
    while let Some(Assignment { job, events, first }) = next.take() {
        held = worker::run(&job, &events, first, held);
        let Some(idle) = idle.upgrade().filter(|_| held.is_some()) else {
            return;
        };
        let (sender, assigned) = channel();
        // Waits before its place is free, so that who finds the place free finds the thread.
        idle.lock().push((number, sender));
        let idle = Arc::downgrade(&idle);
        drop(job.permit);
        next = assigned.recv_timeout(IDLE_MAX).ok();
        if next.is_none() && is_taken(number, &idle) {
            // Whoever took the thread is about to say what for.
            next = assigned.recv().ok();
        }
    }
}

/// Whether somebody took the thread; it waits no more.
fn is_taken(number: u64, idle: &Weak<Idle>) -> bool {
    let Some(idle) = idle.upgrade() else { return false };
    let mut idle = idle.lock();
    let before = idle.len();
    idle.retain(|(waiting, _)| *waiting != number);
    idle.len() == before
}
