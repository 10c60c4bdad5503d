//! Where a table's files are, and that they lie within the source's folder.
//!
//! Owns: patterns, the wall around the folder, what makes a file another file. Never: reads a file's content.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// The most files of one table.
const FILES_MAX: usize = 10_000;

/// Why a table's files cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A path in the project that can never be right.
    Path(&'static str),
    /// The folder or a file is not there, or may not be read.
    Missing,
    /// A bound.
    Limit,
}

/// The files of a table, sorted by path, with what tells a later state from an earlier one.
pub(super) type State = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// Whether `path`, as a project writes it, can name files inside the folder: relative, without `..`, and with `*` or `?`
/// in its last part alone.
pub(super) fn check(path: &str) -> Result<(), Refused> {
    let path = Path::new(path);
    let mut parts = path.components().peekable();
    if parts.peek().is_none() {
        return Err(Refused::Path("is empty"));
    }
    while let Some(part) = parts.next() {
        match part {
            Component::Normal(name) if parts.peek().is_some() && has_wildcard(&name.to_string_lossy()) => {
                return Err(Refused::Path("may have `*` and `?` in its last part only"));
            }
            Component::Normal(name) if name.to_str().is_none() => return Err(Refused::Path("is not UTF-8")),
            Component::Normal(_) => {}
            Component::ParentDir => return Err(Refused::Path("may not leave the source's folder with `..`")),
            _ => return Err(Refused::Path("must be relative to the source's folder")),
        }
    }
    Ok(())
}

/// The files that `path` names now, relative to `root`. A symbolic link on the way or at the end is refused, since it may
/// lead out of the folder.
pub(super) fn find(root: &Path, path: &str) -> Result<State, Refused> {
    check(path)?;
    let relative = Path::new(path);
    let name = relative
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or(Refused::Missing)?;
    let folder = relative.parent().unwrap_or(Path::new(""));
    let mut state = State::new();
    if has_wildcard(name) {
        inside(root, folder)?;
        for entry in fs::read_dir(root.join(folder)).map_err(|_| Refused::Missing)? {
            let entry = entry.map_err(|_| Refused::Missing)?;
            let found = entry.file_name();
            let Some(found) = found.to_str() else { continue };
            let is_dir = entry.file_type().map_err(|_| Refused::Missing)?.is_dir();
            // As in a shell, `*` does not name hidden files.
            if !is_dir && !found.starts_with('.') && matches(name, found) {
                add(root, &folder.join(found), &mut state)?;
            }
        }
    } else {
        add(root, relative, &mut state)?;
    }
    if state.is_empty() {
        Err(Refused::Missing)
    } else {
        Ok(state)
    }
}

fn add(root: &Path, relative: &Path, state: &mut State) -> Result<(), Refused> {
    inside(root, relative)?;
    let about = fs::metadata(root.join(relative)).map_err(|_| Refused::Missing)?;
    if !about.is_file() {
        return Err(Refused::Path("names something that is not a file"));
    }
    if state.len() >= FILES_MAX {
        return Err(Refused::Limit);
    }
    state.insert(relative.to_owned(), (about.len(), about.modified().ok()));
    Ok(())
}

/// Whether every part of the way below `root` is a real folder or file.
fn inside(root: &Path, relative: &Path) -> Result<(), Refused> {
    let mut way = root.to_owned();
    for part in relative.components() {
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

fn has_wildcard(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether `name` fits `pattern`: `*` any run of characters, `?` any one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` stood, and how far it had eaten.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || name.get(seen) == Some(wanted) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((place, eaten)) = star else { return false };
                star = Some((place, eaten + 1));
                at = place + 1;
                seen = eaten + 1;
            }
        }
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|character| *character == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["a.parquet", "2024/*.parquet", "日/a?.csv", "a..b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "..", "../a", "a/../../b", "/etc/passwd", "*/a.parquet"] {
            assert!(matches!(check(bad), Err(Refused::Path(_))), "{bad}");
        }
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.gz", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("?.csv", "日.csv", true),
            ("?.csv", "ab.csv", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
