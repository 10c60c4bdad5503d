//! Which files a project has, and their text.
//!
//! Owns: the walk over the folder and its bounds: number, size, links that lead out. Never: parses.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node::Findings;
use crate::diagnostic::{Code, Diagnostic, Place, SourceText};

/// The most files of a project.
const FILES_MAX: usize = 2_000;
/// The most bytes of a file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most bytes of all files together.
const TOTAL_BYTES_MAX: usize = 64 << 20;
/// The most folders that are looked into, and how deep.
const FOLDERS_MAX: usize = 10_000;

/// The texts of every `.yaml` file in `root` and below, sorted by path. Hidden files and folders are left out.
/// A file that cannot be read is a finding, and makes the project incomplete.
pub(super) fn read(root: &Path, findings: &mut Findings) -> Vec<Arc<SourceText>> {
    let mut texts = Vec::new();
    let mut seen = BTreeSet::new();
    let mut total = 0;
    for path in walk(root, findings) {
        let name = name(root, &path);
        match text(root, &path, &mut seen) {
            Ok(None) => {}
            Ok(Some(text)) => {
                total += text.len();
                if total > TOTAL_BYTES_MAX {
                    unreadable(
                        findings,
                        Code::PRJ009,
                        &name,
                        &format!("the project's files hold more than {TOTAL_BYTES_MAX} bytes"),
                        "",
                    );
                    break;
                }
                texts.push(SourceText::guarded(name, text));
            }
            Err(Unreadable { code, reason, help }) => unreadable(findings, code, &name, &reason, help),
        }
    }
    texts
}

struct Unreadable {
    code: Code,
    reason: String,
    help: &'static str,
}

fn unreadable(findings: &mut Findings, code: Code, name: &str, reason: &str, help: &str) {
    findings.incomplete = true;
    let place = Place::new(SourceText::guarded(name, ""), 0..0);
    let mut finding = Diagnostic::error(code, format!("`{name}`: {reason}")).at(place);
    if !help.is_empty() {
        finding = finding.help(help);
    }
    findings.add(finding);
}

/// A path as diagnostics name it.
fn name(root: &Path, path: &Path) -> String {
    parts(path.strip_prefix(root).unwrap_or(path)).join("/")
}

/// Every path that ends in `.yaml`, sorted; folders that are links are not entered.
fn walk(root: &Path, findings: &mut Findings) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    let mut visited = 0;
    while let Some(folder) = folders.pop() {
        visited += 1;
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                unreadable(
                    findings,
                    Code::PRJ001,
                    &name(root, &folder),
                    &format!("the folder cannot be read: {}", error.kind()),
                    "",
                );
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let Ok(kind) = entry.file_type() else { continue };
            let leads_to_folder = kind.is_symlink() && path.is_dir();
            if hidden {
                continue;
            } else if leads_to_folder {
                let finding = Diagnostic::warning(
                    Code::PRJ001,
                    format!("`{}` is a link to a folder and is not read", name(root, &path)),
                );
                findings.add(finding.help("copy the folder into the project, or link its files one by one"));
            } else if kind.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yml") {
                let finding = Diagnostic::warning(Code::PRJ001, format!("`{}` is not read", name(root, &path)));
                findings.add(finding.help("a project's files end in `.yaml`: rename it"));
            }
        }
        if files.len() > FILES_MAX || visited > FOLDERS_MAX {
            let reason = format!("more than {FILES_MAX} files or {FOLDERS_MAX} folders");
            unreadable(
                findings,
                Code::PRJ009,
                &name(root, &folder),
                &reason,
                "keep only the project in its folder",
            );
            break;
        }
    }
    files.sort_by_cached_key(|path| name(root, path));
    files.truncate(FILES_MAX);
    files
}

/// The text of a file; `None` if a link leads to one already read.
fn text(root: &Path, path: &Path, seen: &mut BTreeSet<PathBuf>) -> Result<Option<String>, Unreadable> {
    let unreadable = |reason: String| Unreadable {
        code: Code::PRJ001,
        reason,
        help: "",
    };
    let real = path
        .canonicalize()
        .map_err(|error| unreadable(format!("cannot be read: {}", error.kind())))?;
    if !real.starts_with(root) {
        let reason = "a link that leads out of the project".to_string();
        return Err(Unreadable {
            code: Code::PRJ001,
            reason,
            help: "copy the file into the project",
        });
    }
    if !seen.insert(real.clone()) {
        return Ok(None);
    }
    contents(&real).map(Some)
}

/// The text of one file that is not of the project's folder. The error reads after the file's name.
pub(super) fn bounded_text(path: &Path) -> Result<String, String> {
    contents(path).map_err(|unreadable| unreadable.reason)
}

/// Puts the file at `change` in the place of the project's file of that name; of several, of the one whose path ends
/// most like its own. One that has no like is added. Gives the name it stands under, and whether it replaces.
pub(super) fn replace(
    texts: &mut Vec<Arc<SourceText>>,
    change: &Path,
    findings: &mut Findings,
) -> Option<(String, bool)> {
    let given: Vec<String> = parts(change);
    let alike = |text: &Arc<SourceText>| {
        let own: Vec<&str> = text.name.split('/').collect();
        own.iter()
            .rev()
            .zip(given.iter().rev())
            .take_while(|(own, given)| *own == given)
            .count()
    };
    let most = texts.iter().map(alike).max().unwrap_or(0);
    let places: Vec<usize> = (0..texts.len())
        .filter(|at| most > 0 && texts.get(*at).is_some_and(|text| alike(text) == most))
        .collect();
    let shown = change.display().to_string();
    let contents = match contents(change) {
        Ok(contents) => contents,
        Err(Unreadable { code, reason, help }) => {
            unreadable(findings, code, &shown, &reason, help);
            return None;
        }
    };
    match places.as_slice() {
        [] => {
            let name = given.last().cloned().unwrap_or(shown);
            texts.push(SourceText::guarded(&name, contents));
            texts.sort_by(|one, other| one.name.cmp(&other.name));
            Some((name, false))
        }
        [one] => {
            let text = texts.get_mut(*one)?;
            let name = text.name.clone();
            *text = SourceText::guarded(&name, contents);
            Some((name, true))
        }
        _ => {
            let reason = "several files of the project have that name";
            unreadable(
                findings,
                Code::PRJ001,
                &shown,
                reason,
                "give a changed copy of the whole folder",
            );
            None
        }
    }
}

fn parts(path: &Path) -> Vec<String> {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect()
}

fn contents(real: &Path) -> Result<String, Unreadable> {
    let unreadable = |reason: String| Unreadable {
        code: Code::PRJ001,
        reason,
        help: "",
    };
    let metadata = real
        .metadata()
        .map_err(|error| unreadable(format!("cannot be read: {}", error.kind())))?;
    if !metadata.is_file() {
        return Err(unreadable("is not a file".into()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(real).map_err(|error| unreadable(format!("cannot be read: {}", error.kind())))?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(format!("cannot be read: {}", error.kind())))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Unreadable {
            code: Code::PRJ009,
            reason: format!("larger than {FILE_BYTES_MAX} bytes"),
            help: "split the file",
        });
    }
    decode(bytes)
}

fn decode(bytes: Vec<u8>) -> Result<String, Unreadable> {
    let not_text = |reason: &str| Unreadable {
        code: Code::PRJ002,
        reason: reason.into(),
        help: "save it as text in UTF-8",
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(not_text("text in UTF-16, not UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(not_text("a binary file, not text"));
    }
    let text = String::from_utf8(bytes).map_err(|_| not_text("not text in UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}
