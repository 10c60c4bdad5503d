//! The files of one log: which they are, where their last whole record ends, their newest records.
//!
//! Owns: names of files, reading from their end. Never: writes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::chain::{self, Head, Sealed};

/// No record is longer: its statement and its lists of names are cut.
pub const LINE_BYTES_MAX: u64 = 8 << 20;
/// The most bytes read to find the newest records.
const NEWEST_BYTES_MAX: u64 = 64 << 20;
/// Bytes read from a file's end at first.
const WINDOW: u64 = 1 << 20;

/// The name of the rotated file of that number: `audit.000001.jsonl` beside `audit.jsonl`.
pub fn rotated_name(path: &Path, number: u64) -> String {
    let (stem, extension) = parts(path);
    format!("{stem}.{number:06}{extension}")
}

/// The rotated files of the log at `path`, oldest first, with their numbers.
pub fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let (stem, extension) = parts(path);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix(&format!("{stem}."))
            .and_then(|rest| rest.strip_suffix(extension.as_str()))
            .filter(|digits| digits.len() >= 6 && digits.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        if let Some(number) = number {
            files.push((number, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = match path.extension() {
        Some(extension) => format!(".{}", extension.to_string_lossy()),
        None => String::new(),
    };
    (text(path.file_stem()), extension)
}

/// The path beside the log for its lock and its key: `audit.jsonl.lock`.
pub fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    path.with_file_name(name)
}

/// How a file ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its last whole record; `None` where it has none.
    pub head: Option<Head>,
    /// The bytes that stay: what is after them is no line.
    pub keep: u64,
    /// All its bytes.
    pub len: u64,
    /// Lines after the last whole record that are lines, and not records.
    pub damaged: usize,
    /// SHA-256 of what is after `keep`.
    pub torn_hash: Option<String>,
}

/// How the file at `path` ends; `None` where it is not there. What a write that was cut off left at the end (a line
/// without its end, zeros of a lost page) is torn; a whole line that is no record is damage, which stays for `verify`.
/// Error: a file without any record, which something else wrote.
pub fn ending(path: &Path) -> io::Result<Option<Ending>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let len = file.metadata()?.len();
    let (start, tail) = tail(&mut file, len, LINE_BYTES_MAX)?;
    let clean = tail.iter().position(|byte| *byte == 0).unwrap_or(tail.len());
    let end = tail
        .get(..clean)
        .and_then(|tail| tail.iter().rposition(|byte| *byte == b'\n'))
        .map_or(0, |at| at + 1);
    let (kept, torn) = tail.split_at_checked(end).unwrap_or((&tail, &[]));
    let mut damaged = 0;
    let mut head = None;
    for line in kept.strip_suffix(b"\n").unwrap_or(kept).rsplit(|byte| *byte == b'\n') {
        if kept.is_empty() {
            break;
        }
        head = chain::read(line).map(|sealed| sealed.head);
        if head.is_some() {
            break;
        }
        damaged += 1;
    }
    let is_torn_first = start == 0 && kept.is_empty() && (torn.starts_with(b"{\"seq\":") || torn.first() == Some(&0));
    if head.is_none() && len > 0 && !is_torn_first {
        let message = "it is not an audit log: no record at its end";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some(Ending {
        head,
        keep: start + end as u64,
        len,
        damaged,
        torn_hash: (!torn.is_empty()).then(|| chain::hash_of(torn)),
    }))
}

/// The newest whole records of the log at `path`, at most `max`, oldest first.
pub fn newest(path: &Path, max: usize) -> io::Result<Vec<Sealed>> {
    let mut files: Vec<PathBuf> = rotated(path)?.into_iter().map(|(_, path)| path).collect();
    files.push(path.to_owned());
    let mut found: Vec<Sealed> = Vec::new();
    let mut budget = NEWEST_BYTES_MAX;
    for path in files.iter().rev() {
        if found.len() >= max || budget == 0 {
            break;
        }
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let len = file.metadata()?.len();
        let missing = max - found.len();
        let mut window = WINDOW;
        let (start, bytes) = loop {
            let (start, bytes) = tail(&mut file, len, window.min(budget))?;
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            if start == 0 || lines > missing || window >= budget {
                break (start, bytes);
            }
            window *= 4;
        };
        budget -= budget.min(bytes.len() as u64);
        let lines = bytes.split(|byte| *byte == b'\n').rev();
        // The first line of a window may be the end of one.
        let whole = bytes.iter().filter(|byte| **byte == b'\n').count() + usize::from(start == 0);
        let records = lines.take(whole).filter_map(chain::read).take(missing);
        found.extend(records);
    }
    found.reverse();
    Ok(found)
}

/// The last bytes of a file, at most `max`, and where they start.
fn tail(file: &mut File, len: u64, max: u64) -> io::Result<(u64, Vec<u8>)> {
    let start = len.saturating_sub(max);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(len - start).read_to_end(&mut bytes)?;
    Ok((start, bytes))
}
