//! The log on disk: appending whole records, durably or not at all; rotation; what a crash left.
//!
//! Owns: the lock, the newest file, the head of the chain. Never: who waits for a record (`writer`).

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use serde_json::json;

use super::chain::{Head, seal};
use super::disk::{self, LogFile, Make, Opener};
use super::files;
use super::record;

/// The log, open for writing by this process alone.
pub struct Trail {
    path: PathBuf,
    rotate_bytes: u64,
    open: Opener,
    /// `None` after a failure that asks for another look at what is there.
    file: Option<Box<dyn LogFile>>,
    head: Head,
    /// The durable bytes of the newest file.
    len: u64,
    /// Whether there may be more bytes than that.
    dirty: bool,
    /// The rotated file before the newest.
    previous: Option<String>,
    next_number: u64,
    /// Held as long as the log is open.
    _lock: File,
}

/// Why a log cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process writes it.
    Held,
    /// A file cannot be used.
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Trail {
    /// Opens the log at `path`, goes on where it ended, and writes that `server` starts. What a crash left half written is
    /// cut away, and a record says so.
    pub fn open(path: &Path, rotate_bytes: u64, open: Opener, server: &str) -> Result<Self, OpenError> {
        disk::make_folder(path)?;
        let lock = lock(path)?;
        let rotated = files::rotated(path)?;
        let mut trail = Self {
            path: path.to_owned(),
            rotate_bytes,
            open,
            file: None,
            head: Head::genesis(),
            len: 0,
            dirty: false,
            previous: rotated.last().map(|(number, _)| files::rotated_name(path, *number)),
            next_number: rotated.last().map_or(1, |(number, _)| number + 1),
            _lock: lock,
        };
        let ending = files::ending(path)?;
        let mut repaired = None;
        if let Some(ending) = &ending {
            let mut file = (trail.open)(path, Make::No)?;
            if ending.keep < ending.len {
                file.truncate(ending.keep)?;
            }
            if ending.keep < ending.len || ending.damaged > 0 {
                repaired = Some(record::body(&json!({
                    "kind": "recovered",
                    "cut_bytes": ending.len - ending.keep,
                    "cut_sha256": ending.torn_hash,
                    "damaged_lines": ending.damaged,
                })));
            }
            trail.len = ending.keep;
            trail.file = Some(file);
        }
        if let Some(head) = ending.and_then(|ending| ending.head) {
            trail.head = head;
        } else if let Some((_, last)) = rotated.last() {
            let ending = files::ending(last)?.and_then(|ending| ending.head);
            trail.head = ending.unwrap_or_else(Head::genesis);
        }
        let bodies: Vec<String> = repaired.into_iter().chain([server.to_owned()]).collect();
        trail.write(&bodies)?;
        Ok(trail)
    }

    /// Appends a record for each of `bodies`. After an error none of them is in the log, nor ever will be.
    pub fn write(&mut self, bodies: &[String]) -> io::Result<()> {
        self.ready()?;
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let mut head = self.head.clone();
        let mut text = String::new();
        if self.len == 0 {
            let opening = record::body(&json!({ "kind": "file", "format": 1, "previous": self.previous }));
            text.push_str(&seal(&mut head, &time, &opening));
        }
        for body in bodies {
            text.push_str(&seal(&mut head, &time, body));
        }
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("no file is open"))?;
        self.dirty = true;
        match file.append(text.as_bytes()).and_then(|()| file.sync()) {
            Ok(()) => {
                self.dirty = false;
                self.head = head;
                self.len += text.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Where this fails too, the next write tries again first.
                self.dirty = file.truncate(self.len).is_err();
                Err(error)
            }
        }
    }

    /// Makes sure that the file open is the one at the path, ends with the last record, and has room below its size.
    fn ready(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            if self.dirty {
                file.truncate(self.len)?;
                self.dirty = false;
            }
            if !file.is_at(&self.path, self.len).unwrap_or(false) {
                self.file = None;
            }
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        if self.len >= self.rotate_bytes {
            self.rotate()?;
        }
        Ok(())
    }

    /// Opens what lies at the path now. If it is gone, the chain goes on in a new file, and `verify` shows the gap.
    fn reopen(&mut self) -> io::Result<()> {
        let Some(ending) = files::ending(&self.path)? else {
            disk::make_folder(&self.path)?;
            self.file = Some((self.open)(&self.path, Make::New)?);
            self.len = 0;
            return Ok(());
        };
        if ending.head.as_ref().is_some_and(|head| *head != self.head) || (ending.head.is_none() && ending.keep > 0) {
            let message = "another file than this server's lies in its place: move it away";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut file = (self.open)(&self.path, Make::No)?;
        if ending.keep < ending.len {
            file.truncate(ending.keep)?;
        }
        self.len = ending.keep;
        self.file = Some(file);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut name = files::rotated_name(&self.path, self.next_number);
        // Never over a file that somebody put back.
        while self.path.with_file_name(&name).try_exists()? {
            self.next_number += 1;
            name = files::rotated_name(&self.path, self.next_number);
        }
        self.file = None;
        std::fs::rename(&self.path, self.path.with_file_name(&name))?;
        self.previous = Some(name);
        self.next_number += 1;
        self.file = Some((self.open)(&self.path, Make::New)?);
        self.len = 0;
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    disk::owner_only(&mut options);
    let lock = options.open(files::beside(path, "lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Held),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(error)),
    }
}
