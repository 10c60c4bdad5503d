//! The file that records are appended to.
//!
//! Owns: what must hold of a write, a sync and a cut, with the real file as one of those that do it. Never: a record.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A file that is appended to.
pub trait LogFile: Send {
    /// Appends all of `bytes`, or fails and may have appended a part.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything appended survives a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to `len` bytes, durably.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Whether the file is still what lies at `path`, and has `len` bytes. A file that was removed still takes writes.
    fn is_at(&self, path: &Path, len: u64) -> io::Result<bool>;
}

/// Opens the file at a path, or makes it where it must not be there yet.
pub type Opener = fn(&Path, Make) -> io::Result<Box<dyn LogFile>>;

/// Whether a file is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// It is.
    No,
    /// It is not, and nobody but its owner may read it.
    New,
}

struct RealFile(File);

/// A file of the operating system.
pub fn open(path: &Path, make: Make) -> io::Result<Box<dyn LogFile>> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(make == Make::New);
    owner_only(&mut options);
    let file = options.open(path)?;
    if make == Make::New {
        sync_folder(path)?;
    }
    Ok(Box::new(RealFile(file)))
}

impl LogFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)?;
        self.0.sync_all()
    }

    fn is_at(&self, path: &Path, len: u64) -> io::Result<bool> {
        let (ours, there) = (self.0.metadata()?, std::fs::metadata(path)?);
        Ok(ours.len() == len && is_same(&ours, &there))
    }
}

/// New files are for their owner alone.
pub fn owner_only(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// Makes the folder of `path`, for its owner alone, where it is not there.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A new or renamed file's name is durable once its folder is.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(unix)]
fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    one.len() == other.len()
}
