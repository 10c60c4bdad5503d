//! One connection to a SQLite file: read-only, pinned, one query's snapshot after the other.
//!
//! Owns: how a connection is opened and what it keeps between queries, what ends a statement that runs. Never: runs a
//! statement of a query.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::checks;
use super::fault::{Fault, is_busy, is_interrupted};

/// The longest wait for another program's lock.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long SQLite itself waits before it is asked again, so that a cancel is noticed.
const LOCK_WAIT_STEP: Duration = Duration::from_millis(100);
/// Virtual machine instructions between two looks at the clock.
const INSTRUCTIONS: std::ffi::c_int = 4_000;
/// Prepared statements kept between queries.
const STATEMENTS_KEPT: usize = 64;
/// The longest row, or parameter of keys.
const ROW_BYTES_MAX: i32 = 256 << 20;

/// What ends the statement that is running now: its cancel flag, or its deadline.
///
/// SQLite's own interrupt would end every statement of the connection, also those of the query's other reads.
#[derive(Debug, Default)]
pub(super) struct Gate {
    running: Mutex<Option<(Arc<AtomicBool>, Instant)>>,
}

impl Gate {
    /// Says whose statement runs from now on.
    pub(super) fn enter(&self, cancelled: &Arc<AtomicBool>, deadline: Instant) {
        *self.running.lock() = Some((cancelled.clone(), deadline));
    }

    /// Nobody's statement runs from now on.
    fn leave(&self) {
        *self.running.lock() = None;
    }

    /// Whether the statement that runs must end.
    fn closed(&self) -> bool {
        let running = self.running.lock();
        running
            .as_ref()
            .is_some_and(|(cancelled, deadline)| cancelled.load(Ordering::Relaxed) || Instant::now() >= *deadline)
    }
}

/// A connection, in no snapshot before it is asked to begin one.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) gate: Arc<Gate>,
    path: PathBuf,
    /// The file that was opened: another one may take its name.
    file: FileId,
}

/// What tells a file from another of the same name: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self(metadata.dev(), metadata.ino()))
    }
}

impl Session {
    /// Opens `path`.
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        // Looked at before it is opened: if it is replaced in between, the next query opens the new one.
        let file = FileId::of(path).unwrap_or(FileId(0, 0));
        let gate = Arc::new(Gate::default());
        // Without SQLITE_OPEN_URI a name like `file:x?mode=rwc` is only a name.
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        // A column that is gone must be an error, not the text of its name.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.busy_timeout(LOCK_WAIT_STEP)?;
        let watched = gate.clone();
        connection.progress_handler(INSTRUCTIONS, Some(move || watched.closed()))?;
        // Nothing of the source may reach a file of ours, and a file that shrinks must be an error, not a signal.
        connection.execute_batch(
            "PRAGMA query_only=ON; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA cache_size=-8192;",
        )?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        checks::register(&connection)?;
        Ok(Self {
            connection,
            gate,
            path: path.to_owned(),
            file,
        })
    }

    /// Whether the file it reads is still the one of that name.
    pub(super) fn is_current(&self) -> bool {
        FileId::of(&self.path) == Some(self.file)
    }

    /// Pins a snapshot: every statement until the end sees the same rows.
    pub(super) fn begin(&self) -> Result<(), Fault> {
        pin(&self.connection, &self.gate)
    }

    /// Lets go of the snapshot; whether the session may serve another query. No statement may be in flight.
    pub(super) fn end(&self) -> bool {
        self.gate.leave();
        self.connection.execute_batch("ROLLBACK").is_ok() && self.connection.is_autocommit()
    }
}

fn pin(connection: &Connection, gate: &Gate) -> Result<(), Fault> {
    connection.execute_batch("BEGIN DEFERRED")?;
    let give_up = Instant::now() + LOCK_WAIT_MAX;
    loop {
        // A deferred transaction takes its snapshot with its first read.
        match connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())) {
            Err(error) if is_busy(&error) && Instant::now() < give_up => {
                if gate.closed() {
                    return Err(Fault::Deadline);
                }
            }
            Err(error) if is_interrupted(&error) => return Err(Fault::Deadline),
            other => return Ok(other?),
        }
    }
}
