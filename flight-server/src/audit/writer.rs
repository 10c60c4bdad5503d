//! The one thread that writes records, and the bounded queue before it.
//!
//! Owns: group commit (whatever waits shares one sync), failing closed, trying again. Never: the bytes of a record.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde_json::json;
use tokio::sync::oneshot;

use super::record;
use super::trail::Trail;

/// Records that may wait to be written; more are refused.
const QUEUE_MAX: usize = 4_096;
/// Ends that may wait while the disk fails. Each has a durable start, so statements bound them long before this does.
const ENDS_MAX: usize = 65_536;
/// Records of one write.
const BATCH_MAX: usize = 1_024;
/// How long the ends of statements wait for a record that somebody waits for, to share its sync: nobody waits for an end.
const ENDS_WAIT: Duration = Duration::from_millis(20);
/// A write that takes longer is as good as failed.
pub const STALL_MAX: Duration = Duration::from_secs(2);
/// While the disk fails, how often writing is tried again.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// When the log closes, how long the last write may take.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// One record to write.
pub struct Job {
    /// What it says.
    pub body: String,
    /// What it begins or ends.
    pub part: Part,
    /// Told once it is durable, or will never be.
    pub done: Option<oneshot::Sender<Result<(), String>>>,
}

/// The part a record has in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Begins the statement of that query.
    Start(String),
    /// Ends it. Written only if its start is durable.
    End(String),
    /// Stands alone.
    Whole,
}

impl Job {
    fn is_end(&self) -> bool {
        matches!(self.part, Part::End(_))
    }

    fn answer(self, outcome: Result<(), String>) {
        if let Some(done) = self.done {
            // Whoever waited may be gone.
            let _ = done.send(outcome);
        }
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    ends: usize,
    /// When the ends that wait are written, if nothing is before.
    ends_until: Option<Instant>,
    ends_lost: u64,
    /// Why the last write failed, and since when all have.
    failing: Option<(String, Instant)>,
    refused: u64,
    busy_since: Option<Instant>,
    /// Statements whose start is durable and whose end is not.
    open: usize,
    closing: bool,
    closed: bool,
}

/// The way to the thread.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// Starts the thread that writes to `trail`.
    pub fn start(trail: Trail) -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let writer = Writer {
            queue: Arc::clone(&queue),
            trail: Some(trail),
            open: HashSet::new(),
        };
        std::thread::Builder::new()
            .name("caliber-audit".to_owned())
            .spawn(move || writer.run())?;
        Ok(queue)
    }

    /// Queues a record that somebody waits for; at once an error while nothing can be written.
    pub fn push(&self, job: Job) -> Result<(), String> {
        let mut state = self.state.lock();
        if let Err(reason) = state.usable() {
            state.refused += 1;
            return Err(reason);
        }
        if state.jobs.len() - state.ends >= QUEUE_MAX {
            state.refused += 1;
            return Err("too many records wait to be written".to_owned());
        }
        state.jobs.push_back(job);
        self.changed.notify_all();
        Ok(())
    }

    /// Queues an end, which is kept until it can be written.
    pub fn push_end(&self, job: Job) {
        let mut state = self.state.lock();
        if state.ends >= ENDS_MAX || state.closed {
            state.ends_lost += 1;
            return;
        }
        state.ends += 1;
        state.jobs.push_back(job);
        let is_first = state.ends_until.is_none();
        state.ends_until.get_or_insert_with(|| Instant::now() + ENDS_WAIT);
        if is_first || state.jobs.len() >= BATCH_MAX {
            self.changed.notify_all();
        }
    }

    /// Whether a record would be taken now.
    pub fn usable(&self) -> Result<(), String> {
        self.state.lock().usable()
    }

    /// How many records wait to be written.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.state.lock().jobs.len()
    }

    /// Writes what waits, and that the server stops; gives up after a while. Waits a moment for the ends of statements that
    /// are being cut off.
    pub fn close(&self, for_ends: Duration) {
        let mut state = self.state.lock();
        let enough = Instant::now() + for_ends;
        while state.open > 0 && !state.closed && !self.changed.wait_until(&mut state, enough).timed_out() {}
        state.closing = true;
        self.changed.notify_all();
        let enough = Instant::now() + CLOSE_MAX;
        while !state.closed && !self.changed.wait_until(&mut state, enough).timed_out() {}
    }

    /// What to write next; `None` to end. While writing fails, whatever waits is due for another try after a moment.
    fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        loop {
            if state.failing.is_some() {
                if !state.closing {
                    self.changed.wait_for(&mut state, PROBE_EVERY);
                    // Waiting may end early; a try a little sooner does no harm.
                }
                break;
            }
            if state.closing {
                if state.jobs.is_empty() {
                    return None;
                }
                break;
            }
            if state.jobs.len() > state.ends || state.jobs.len() >= BATCH_MAX {
                break;
            }
            let until = state.ends_until;
            match until {
                None => self.changed.wait(&mut state),
                Some(until) if self.changed.wait_until(&mut state, until).timed_out() => break,
                Some(_) => {}
            }
        }
        if state.failing.is_some() && state.closing {
            return None;
        }
        state.busy_since = Some(Instant::now());
        let count = state.jobs.len().min(BATCH_MAX);
        let batch: Vec<Job> = state.jobs.drain(..count).collect();
        state.ends -= batch.iter().filter(|job| job.is_end()).count();
        if state.ends == 0 {
            state.ends_until = None;
        }
        Some(batch)
    }
}

impl State {
    fn usable(&self) -> Result<(), String> {
        if self.closing {
            return Err("the audit log is closed".to_owned());
        }
        if let Some((reason, _)) = &self.failing {
            return Err(reason.clone());
        }
        if self.busy_since.is_some_and(|since| since.elapsed() >= STALL_MAX) {
            return Err("the disk does not answer".to_owned());
        }
        Ok(())
    }
}

struct Writer {
    queue: Arc<Queue>,
    /// `None` once closed: the lock is free before anybody is told.
    trail: Option<Trail>,
    open: HashSet<String>,
}

impl Writer {
    fn run(mut self) {
        while let Some(batch) = self.queue.take() {
            self.write(batch);
        }
        if let Some(trail) = &mut self.trail
            && let Err(error) = trail.write(&[record::body(&json!({ "kind": "server_stop" }))])
        {
            tracing::warn!(%error, "the audit log ends without the record that the server stops");
        }
        self.trail = None;
        let mut state = self.queue.state.lock();
        state.closed = true;
        for job in state.jobs.drain(..) {
            job.answer(Err("the audit log is closed".to_owned()));
        }
        self.queue.changed.notify_all();
    }

    fn write(&mut self, batch: Vec<Job>) {
        let mut bodies = Vec::with_capacity(batch.len() + 1);
        let (failing, refused, lost) = {
            let state = self.queue.state.lock();
            (state.failing.clone(), state.refused, state.ends_lost)
        };
        if let Some((reason, since)) = &failing {
            bodies.push(record::body(&json!({
                "kind": "resumed",
                "reason": reason,
                "failed_ms": u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                "refused": refused,
                "ends_lost": lost,
            })));
        }
        let mut started = HashSet::new();
        let mut kept = Vec::with_capacity(batch.len());
        for mut job in batch {
            match &job.part {
                Part::Start(query) => {
                    started.insert(query.clone());
                }
                // Its start never became durable.
                Part::End(query) if !self.open.contains(query) && !started.contains(query) => continue,
                Part::End(_) | Part::Whole => {}
            }
            bodies.push(std::mem::take(&mut job.body));
            kept.push((bodies.len() - 1, job));
        }
        let outcome = match &mut self.trail {
            _ if bodies.is_empty() => Ok(()),
            Some(trail) => trail.write(&bodies),
            None => Err(std::io::Error::other("the log is closed")),
        };
        let mut state = self.queue.state.lock();
        state.busy_since = None;
        match outcome {
            Ok(()) => {
                if failing.is_some() {
                    tracing::warn!(refused, "the audit log can be written again");
                    (state.failing, state.refused, state.ends_lost) = (None, 0, 0);
                }
                self.open.extend(started);
                for (_, job) in kept {
                    if let Part::End(query) = &job.part {
                        self.open.remove(query);
                    }
                    job.answer(Ok(()));
                }
                state.open = self.open.len();
                self.queue.changed.notify_all();
            }
            Err(error) => {
                let reason = error.to_string();
                if failing.is_none() {
                    tracing::error!(%error, "the audit log cannot be written: nothing is answered until it can");
                }
                let since = failing.map_or_else(Instant::now, |(_, since)| since);
                state.failing = Some((reason.clone(), since));
                let waiting: Vec<Job> = state.jobs.drain(..).collect();
                let failed = kept.into_iter().map(|(at, mut job)| {
                    job.body = bodies.get_mut(at).map(std::mem::take).unwrap_or_default();
                    job
                });
                let (ends, others): (Vec<Job>, Vec<Job>) = failed.chain(waiting).partition(Job::is_end);
                state.refused += others.len() as u64;
                state.ends = ends.len();
                state.ends_until = Some(Instant::now());
                state.jobs.extend(ends);
                drop(state);
                for job in others {
                    job.answer(Err(reason.clone()));
                }
            }
        }
    }
}
