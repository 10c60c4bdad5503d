//! Whether a log is whole: every file, every line, from its first record to its newest.
//!
//! Owns: where a chain breaks first and what was done to it. Never: repairs, locks.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::{self, Head, Sealed};
use super::files;

/// What a log holds, as far as its chain does.
#[derive(Debug, Default)]
pub struct Report {
    /// Files read.
    pub files: usize,
    /// Records whose place in the chain holds.
    pub records: u64,
    /// The time of the first, and of the last.
    pub first: String,
    /// As above.
    pub last: String,
    /// The newest record's number and hash.
    pub newest: Option<Head>,
    /// The file before the first, where it was put away.
    pub before: Option<String>,
    /// Statements that began.
    pub statements: u64,
    /// Of them, those of an earlier run of the server that have no end: it did not stop in good order.
    pub unfinished: u64,
    /// Of them, those of the newest run that have no end yet.
    pub running: u64,
    /// The first break.
    pub broken: Option<Break>,
}

impl Report {
    /// Whether all there is to say against it is a last line without its end.
    pub fn is_torn(&self) -> bool {
        self.broken
            .as_ref()
            .is_some_and(|broken| broken.damage == Damage::Truncated)
    }
}

/// Where a chain breaks.
#[derive(Debug)]
pub struct Break {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What was done.
    pub damage: Damage,
}

/// What was done to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The line does not have the hash it says, or is no record.
    Changed,
    /// It has, but does not follow from the record before: one of the two was written anew.
    Replaced,
    /// The records of these numbers are gone.
    Removed(u64, u64),
    /// The record stands elsewhere than its number says.
    Reordered,
    /// The last line has no end.
    Truncated,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("changed: the line is not the record whose hash it holds"),
            Self::Replaced => f.write_str("changed: it does not follow from the record before it; one of the two was written anew"),
            Self::Removed(first, last) if first == last => write!(f, "removed: record {first} is missing before this line"),
            Self::Removed(first, last) => write!(f, "removed: records {first} to {last} are missing before this line"),
            Self::Reordered => f.write_str("reordered: the record stands in the place of another"),
            Self::Truncated => f.write_str(
                "truncated tail: the last line has no end; a server that crashed leaves one, and cuts it when it starts again",
            ),
        }
    }
}

/// Reads the whole log whose newest file is at `path`. Error: a file that cannot be read, or none there.
pub fn verify(path: &Path) -> io::Result<Report> {
    let mut files: Vec<PathBuf> = files::rotated(path)?.into_iter().map(|(_, path)| path).collect();
    // Between rotating and the first record of the next file there is none at the path.
    if path.try_exists()? || files.is_empty() {
        files.push(path.to_owned());
    }
    let mut walk = Walk {
        report: Report::default(),
        head: None,
        open: BTreeSet::new(),
    };
    for (at, file) in files.iter().enumerate() {
        let rest = files.get(at..).unwrap_or_default();
        walk.report.files += 1;
        if let Some((line, damage)) = walk.file(file, rest)? {
            walk.report.broken = Some(Break {
                file: file.clone(),
                line,
                damage,
            });
            break;
        }
    }
    walk.report.running = walk.open.len() as u64;
    walk.report.newest = walk.head;
    Ok(walk.report)
}

struct Walk {
    report: Report,
    head: Option<Head>,
    open: BTreeSet<String>,
}

impl Walk {
    /// Follows the chain through a file to its end, or to the line where it breaks.
    fn file(&mut self, path: &Path, rest: &[PathBuf]) -> io::Result<Option<(u64, Damage)>> {
        let mut lines = Lines::open(path)?;
        while let Some(line) = lines.next()? {
            let Line::Whole(line) = line else {
                return Ok(Some((lines.number, Damage::Truncated)));
            };
            let Some(sealed) = chain::read(&line) else {
                return Ok(Some((lines.number, Damage::Changed)));
            };
            if let Some(damage) = self.misplaced(&sealed, rest)? {
                return Ok(Some((lines.number, damage)));
            }
            self.count(&sealed);
            self.head = Some(sealed.head);
        }
        Ok(None)
    }

    fn misplaced(&mut self, sealed: &Sealed, rest: &[PathBuf]) -> io::Result<Option<Damage>> {
        let before = match &self.head {
            Some(head) => head.clone(),
            None => match sealed.value.get("previous").and_then(Value::as_str) {
                // The files before were put away: the chain is whole from here.
                Some(previous) => {
                    self.report.before = Some(previous.to_owned());
                    return Ok(None);
                }
                None => Head::genesis(),
            },
        };
        let wanted = before.seq + 1;
        if sealed.head.seq == wanted {
            return Ok((sealed.prev != before.hash).then_some(Damage::Replaced));
        }
        if sealed.head.seq < wanted || stands_in(rest, wanted)? {
            return Ok(Some(Damage::Reordered));
        }
        Ok(Some(Damage::Removed(wanted, sealed.head.seq - 1)))
    }

    fn count(&mut self, sealed: &Sealed) {
        let text = |name: &str| sealed.value.get(name).and_then(Value::as_str).unwrap_or_default();
        let report = &mut self.report;
        report.records += 1;
        report.last = text("time").to_owned();
        if report.records == 1 {
            report.first = report.last.clone();
        }
        match text("kind") {
            "server_start" => report.unfinished += std::mem::take(&mut self.open).len() as u64,
            "start" => {
                report.statements += 1;
                self.open.insert(text("query_id").to_owned());
            }
            "end" => {
                self.open.remove(text("query_id"));
            }
            _ => {}
        }
    }
}

/// Whether a whole record of that number stands anywhere in `files`.
fn stands_in(files: &[PathBuf], seq: u64) -> io::Result<bool> {
    for file in files {
        let mut lines = Lines::open(file)?;
        while let Some(Line::Whole(line)) = lines.next()? {
            if chain::read(&line).is_some_and(|sealed| sealed.head.seq == seq) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

enum Line {
    Whole(Vec<u8>),
    /// Without its end.
    Torn,
}

struct Lines {
    file: BufReader<File>,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            number: 0,
        })
    }

    fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let read = (&mut self.file)
            .take(files::LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(if line.pop() == Some(b'\n') {
            Line::Whole(line)
        } else {
            Line::Torn
        }))
    }
}
