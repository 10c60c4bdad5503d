//! Where a table's files are, in a folder of this machine or in a store, and that they lie within it.
//!
//! Owns: the wall around the folder, the listing, what makes a file another file. Never: reads a file's content.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::pattern::{Pattern, fits, has_wildcard};

/// The most files of one table.
const FILES_MAX: usize = 10_000;
/// The most names of a store that are looked at for one table.
const LISTED_MAX: usize = 200_000;

/// Why a table's files cannot be used.
#[derive(Debug)]
pub(super) enum Refused {
    /// A path that can never be right.
    Path(&'static str),
    /// The folder or a file is not there, or may not be read.
    Missing,
    /// A bound.
    Limit,
    /// The store's word. Not to be shown: it may hold addresses.
    Store(object_store::Error),
}

/// The files of a table by path, with what tells a later state from an earlier one.
pub(super) type State = BTreeMap<String, ObjectMeta>;

/// What a source's paths are relative to.
#[derive(Clone)]
pub(super) enum Root {
    Folder(PathBuf),
    /// A bucket or container, below the prefix of the source.
    Store(Arc<dyn ObjectStore>),
}

/// Stores print their credentials.
impl fmt::Debug for Root {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Folder(_) => "Folder",
            Self::Store(_) => "Store",
        })
    }
}

impl Root {
    /// The part of `store` below `prefix`.
    pub(super) fn below(store: impl ObjectStore, prefix: Location) -> Self {
        Self::Store(Arc::new(PrefixStore::new(store, prefix)))
    }

    /// Where the files' paths lead.
    pub(super) fn store(&self) -> Result<Arc<dyn ObjectStore>, Refused> {
        Ok(match self {
            Self::Folder(folder) => Arc::new(LocalFileSystem::new_with_prefix(real(folder)?).map_err(Refused::Store)?),
            Self::Store(store) => Arc::clone(store),
        })
    }

    /// The files that `pattern` names now.
    pub(super) async fn find(&self, pattern: &Pattern) -> Result<State, Refused> {
        let found = match self {
            Self::Folder(folder) => {
                let (folder, pattern) = (folder.clone(), pattern.clone());
                let found = tokio::task::spawn_blocking(move || find_local(&real(&folder)?, &pattern)).await;
                found.map_err(|_| Refused::Missing)??
            }
            Self::Store(store) => list(store, pattern).await?,
        };
        if found.is_empty() {
            Err(Refused::Missing)
        } else {
            Ok(found)
        }
    }
}

/// The files of a store.
async fn list(store: &Arc<dyn ObjectStore>, pattern: &Pattern) -> Result<State, Refused> {
    let mut state = State::new();
    if !pattern.has_wildcard() {
        let path = pattern.parts().join("/");
        let location = Location::parse(&path).map_err(|_| Refused::Path("names no object of a store"))?;
        let about = store.head(&location).await.map_err(missing_or)?;
        // A list says neither the prefix nor versions; both answers are one state.
        let about = ObjectMeta {
            location,
            version: None,
            ..about
        };
        state.insert(path, about);
        return Ok(state);
    }
    let below = Location::parse(pattern.literal_folders().join("/"))
        .map_err(|_| Refused::Path("names no object of a store"))?;
    let mut listed = store.list(Some(&below));
    let mut seen = 0_usize;
    while let Some(about) = listed.try_next().await.map_err(missing_or)? {
        seen += 1;
        if seen > LISTED_MAX {
            return Err(Refused::Limit);
        }
        let path = about.location.as_ref().to_owned();
        if pattern.names(&path) {
            if state.len() >= FILES_MAX {
                return Err(Refused::Limit);
            }
            state.insert(path, about);
        }
    }
    Ok(state)
}

fn missing_or(error: object_store::Error) -> Refused {
    match error {
        object_store::Error::NotFound { .. } => Refused::Missing,
        other => Refused::Store(other),
    }
}

/// The folder without symbolic links on the way to it: the wall that every path is held against.
fn real(folder: &Path) -> Result<PathBuf, Refused> {
    folder.canonicalize().map_err(|_| Refused::Missing)
}

/// The files of a folder. A symbolic link on the way or at the end is refused, since it may lead out of the folder.
fn find_local(root: &Path, pattern: &Pattern) -> Result<State, Refused> {
    // The paths that the parts so far name, with `/` between their parts.
    let mut reached = vec![String::new()];
    let mut parts = pattern.parts().iter().peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let mut next = Vec::new();
        for folder in &reached {
            if !has_wildcard(part) {
                next.push(below(folder, part));
                continue;
            }
            inside(root, folder)?;
            for entry in fs::read_dir(root.join(folder)).map_err(|_| Refused::Missing)? {
                let entry = entry.map_err(|_| Refused::Missing)?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let is_folder = entry.file_type().map_err(|_| Refused::Missing)?.is_dir();
                // A link counts as what is wanted, so that it is refused rather than passed over.
                let is_wanted = is_folder != is_last || entry.file_type().is_ok_and(|kind| kind.is_symlink());
                if fits(part, name) && is_wanted {
                    next.push(below(folder, name));
                }
                if next.len() > FILES_MAX {
                    return Err(Refused::Limit);
                }
            }
        }
        reached = next;
    }
    let several = pattern.has_wildcard();
    let mut state = State::new();
    for path in reached {
        match about(root, &path) {
            Ok(about) => {
                state.insert(path, about);
            }
            // `year=*/sales.csv`: not every folder needs to have one.
            Err(Refused::Missing) if several => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(state)
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

fn about(root: &Path, path: &str) -> Result<ObjectMeta, Refused> {
    inside(root, path)?;
    let about = fs::metadata(root.join(path)).map_err(|_| Refused::Missing)?;
    if !about.is_file() {
        return Err(Refused::Path("names something that is not a file"));
    }
    Ok(ObjectMeta {
        location: Location::parse(path).map_err(|_| Refused::Path("names a file that cannot be addressed"))?,
        last_modified: about.modified().unwrap_or(SystemTime::UNIX_EPOCH).into(),
        size: about.len(),
        e_tag: None,
        version: None,
    })
}

/// Whether every part of the way below `root` is a real folder or file.
fn inside(root: &Path, relative: &str) -> Result<(), Refused> {
    let mut way = root.to_owned();
    for part in Path::new(relative).components() {
        way.push(part);
        let about = fs::symlink_metadata(&way).map_err(|_| Refused::Missing)?;
        if about.file_type().is_symlink() {
            return Err(Refused::Path(
                "goes through a symbolic link, which could leave the source's folder",
            ));
        }
    }
    Ok(())
}
