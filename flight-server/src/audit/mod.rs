//! The audit log: JSON lines, each durable before what it tells of is answered, chained by hashes.
//!
//! Owns: the records of statements, log-ins, refusals, cancels and calls about the catalog; when nothing may be answered.
//! Never: what a statement may see.
//!
//! `chain` makes a line, `trail` appends lines to files, `writer` lets whoever waits share one sync, `record` says what a
//! line holds, `files` and `verify` read.

mod chain;
mod disk;
mod files;
mod record;
#[cfg(test)]
mod tests;
mod trail;
pub mod verify;
mod writer;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use caliber_catalog::diagnostic::{Code, Diagnostic};
use caliber_catalog::project::AuditSettings;
use caliber_engine::{AuditEnd, AuditEntry, AuditRefusal, AuditSink, AuditStart};
use ring::hmac::{HMAC_SHA256, Key};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use disk::Opener;
use trail::{OpenError, Trail};
use writer::{Job, Part, Queue, STALL_MAX};

/// When the log closes, how long it waits for statements that are being cut off.
const LAST_ENDS_MAX: Duration = Duration::from_secs(1);
/// Bytes of the key that literals are hashed under.
const KEY_BYTES: usize = 32;

/// The open log. One process has it; dropping it writes that the server stops.
pub struct AuditLog {
    queue: Arc<Queue>,
    key: Key,
    path: PathBuf,
    /// Log-ins turned away unchecked since the last record of one.
    logins_unrecorded: AtomicU64,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens the log at `settings.path`, which goes on where it ended, for the server of `project`. Blocks.
    ///
    /// Error: SRV005, where another process writes it, where it is not an audit log, or cannot be written.
    pub fn open(settings: &AuditSettings, project: &str) -> Result<Arc<Self>, Diagnostic> {
        Self::open_with(settings, project, disk::open)
    }

    fn open_with(settings: &AuditSettings, project: &str, open: Opener) -> Result<Arc<Self>, Diagnostic> {
        let path = settings.path.as_path();
        let refused = |error| match error {
            OpenError::Held => Diagnostic::error(
                Code::SRV005,
                format!("the audit log `{}` is held by another server", path.display()),
            )
            .help("each server has its own log: end the other, or name another file with `--audit-file FILE`"),
            OpenError::Io(error) => Diagnostic::error(
                Code::SRV005,
                format!("the audit log `{}` cannot be used: {error}", path.display()),
            )
            .help("nothing is served without one; choose its place with `server.audit.path` or `--audit-file FILE`"),
        };
        let server = record::body(&json!({
            "kind": "server_start",
            "project": project,
            "version": env!("CARGO_PKG_VERSION"),
        }));
        let opened = Trail::open(path, settings.rotate_bytes, open, &server).map_err(refused)?;
        let key = literal_key(path).map_err(|error| refused(error.into()))?;
        let queue = Queue::start(opened).map_err(|error| refused(error.into()))?;
        Ok(Arc::new(Self {
            queue,
            key,
            path: path.to_owned(),
            logins_unrecorded: AtomicU64::new(0),
        }))
    }

    /// Whether a record would be taken now, else why not.
    pub fn usable(&self) -> Result<(), String> {
        self.queue.usable()
    }

    /// A log-in: whose, from where, and whether the password was right. Durable when this gives `Ok`.
    pub async fn login(&self, user: &str, address: Option<&str>, right: bool, roles: &[String]) -> Result<(), String> {
        let unrecorded = self.logins_unrecorded.swap(0, Ordering::Relaxed);
        let body = record::login(user, address, right, roles, unrecorded);
        self.append(body, Part::Whole).await
    }

    /// A log-in that was turned away before its password was checked: counted in the next one's record, so that nobody
    /// who is not let in can fill the disk.
    pub fn login_turned_away(&self) {
        self.logins_unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    /// A call about the catalog (`GetTables`), or one of the session's actions. Durable when this gives `Ok`.
    pub async fn call(&self, kind: Call, what: &str, principal: &str, address: Option<&str>) -> Result<(), String> {
        let (kind, outcome) = match kind {
            Call::Metadata => ("metadata", "ok"),
            Call::Session => ("session", "ok"),
            Call::Cancel { stopped: true } => ("cancel", "ok"),
            Call::Cancel { stopped: false } => ("cancel", "nothing to cancel"),
        };
        let body = record::call(kind, what, principal, address, outcome);
        self.append(body, Part::Whole).await
    }

    /// Writes what waits and that the server stops. Nothing is recorded afterwards. Blocks for a few seconds at most.
    pub fn close(&self) {
        self.queue.close(LAST_ENDS_MAX);
    }

    async fn append(&self, body: String, part: Part) -> Result<(), String> {
        let (done, outcome) = oneshot::channel();
        self.queue.push(Job {
            body,
            part,
            done: Some(done),
        })?;
        match tokio::time::timeout(STALL_MAX, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("the audit log is closed".to_owned()),
            Err(_) => Err("the disk does not answer".to_owned()),
        }
    }
}

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Answered from the catalog.
    Metadata,
    /// An action on the caller's own session.
    Session,
    /// Ended a statement, or found none.
    Cancel {
        /// Whether one was.
        stopped: bool,
    },
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.queue.close(Duration::ZERO);
    }
}

#[async_trait]
impl AuditSink for AuditLog {
    async fn started(&self, record: AuditStart) -> Result<(), String> {
        let body = record::start(&record, &self.key);
        self.append(body, Part::Start(record.query_id)).await
    }

    async fn refused(&self, record: AuditRefusal) -> Result<(), String> {
        self.append(record::refused(&record, &self.key), Part::Whole).await
    }

    fn ended(&self, record: AuditEnd) {
        self.queue.push_end(Job {
            body: record::end(&record),
            part: Part::End(record.query_id),
            done: None,
        });
    }

    fn keeps_records(&self) -> bool {
        true
    }

    async fn recent(&self, max: usize) -> Result<Vec<AuditEntry>, String> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || files::newest(&path, max));
        let records = read.await.map_err(|error| error.to_string())?;
        let records = records.map_err(|error| error.to_string())?;
        Ok(records.iter().map(record::entry).collect())
    }
}

/// The newest records of the log at `path`, at most `max`, oldest first, as JSON objects. Needs no lock.
pub fn newest(path: &Path, max: usize) -> io::Result<Vec<Value>> {
    Ok(files::newest(path, max)?
        .into_iter()
        .map(|sealed| sealed.value)
        .collect())
}

/// The key that literals are hashed under: random, made with the log, beside it. Without it nobody can try out what a
/// literal was; with one key for ever, equal literals stay equal.
fn literal_key(path: &Path) -> io::Result<Key> {
    let path = files::beside(path, "key");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    disk::owner_only(&mut options);
    let mut bytes = Vec::new();
    match options.open(&path) {
        Ok(mut file) => {
            bytes.resize(KEY_BYTES, 0);
            SystemRandom::new()
                .fill(&mut bytes)
                .map_err(|_| io::Error::other("the system gives no randomness"))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            disk::sync_folder(&path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = std::fs::File::open(&path)?;
            file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        }
        Err(error) => return Err(error),
    }
    if bytes.len() != KEY_BYTES {
        let message = format!("`{}` is not a key: move it away for a new one", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Key::new(HMAC_SHA256, &bytes))
}
