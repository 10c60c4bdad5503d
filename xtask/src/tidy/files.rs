//! What every source file must be: opened by its contract, small, declared, named by the field's words.
//!
//! Owns: the list of files that may still be too long, which only shrinks. Never: reads what is inside a line.

use std::path::Path;

use anyhow::Result;

use super::Finding;
use crate::workspace::{TextFile, Workspace};

/// The most lines of a file before its tests.
const LINES_MAX: usize = 500;

/// Files that are longer, and the length each may not exceed. An entry that a file no longer needs is a finding too.
const LONGER: &[(&str, usize)] = &[];

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &[
    "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils",
];

/// Checks every `.rs` file.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let sources: Vec<&TextFile> = workspace.files.iter().filter(|file| file.extension() == "rs").collect();
    for file in &sources {
        if !file.text.starts_with("//! ") {
            findings.push(Finding::line(
                &file.path,
                1,
                "opens without `//!`: say what it owns and what it never does",
            ));
        }
        if !file.is_test() {
            findings.extend(length(&file.path, file.production().lines().count(), LONGER));
        }
        findings.extend(name(&file.path));
        if !is_declared(&file.path, &sources) {
            findings.push(Finding::file(&file.path, "no file declares it as a module"));
        }
    }
    for (path, _) in LONGER {
        if workspace.text(path).is_none() {
            findings.push(Finding::file(
                *path,
                "is exempt from the length rule, but gone: remove the exemption",
            ));
        }
    }
    Ok(findings)
}

fn length(path: &str, lines: usize, longer: &[(&str, usize)]) -> Option<Finding> {
    match longer.iter().find(|(exempt, _)| *exempt == path) {
        Some((_, most)) if lines > *most => Some(Finding::file(
            path,
            format!("{lines} lines; its exemption says {most} at most, and only shrinks"),
        )),
        Some(_) if lines <= LINES_MAX => Some(Finding::file(path, "is short enough now: remove its exemption")),
        None if lines > LINES_MAX => Some(Finding::file(
            path,
            format!("{lines} lines before its tests; {LINES_MAX} at most: make two rooms of it"),
        )),
        _ => None,
    }
}

fn name(path: &str) -> Option<Finding> {
    let empty = Path::new(path).with_extension("");
    let empty = empty
        .iter()
        .find_map(|part| EMPTY_NAMES.iter().find(|name| part == **name))?;
    Some(Finding::file(
        path,
        format!("`{empty}` names nothing: say what it does"),
    ))
}

/// Whether the file is a crate's root, or the file above it says `mod name;`.
fn is_declared(path: &str, sources: &[&TextFile]) -> bool {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let in_src = folder.ends_with("src") || folder.ends_with("src/bin");
    let above = folder.rsplit_once('/').map_or("", |(above, _)| above);
    // Programs of tests: `tests/name.rs` or `tests/name/main.rs` of a package.
    let is_test =
        !path.contains("/src/") && (folder.ends_with("/tests") || (above.ends_with("/tests") && file == "main.rs"));
    if file == "build.rs"
        || folder.ends_with("/examples")
        || (in_src && matches!(file, "lib.rs" | "main.rs"))
        || (is_test && !path.starts_with("tests/tests/"))
    {
        return true;
    }
    if path == "tests/tests/main.rs" {
        return true;
    }
    let (folder, module) = match file {
        "mod.rs" => folder.rsplit_once('/').unwrap_or(("", folder)),
        _ => (folder, file.trim_end_matches(".rs")),
    };
    let parents = [
        format!("{folder}/lib.rs"),
        format!("{folder}/main.rs"),
        format!("{folder}/mod.rs"),
        format!("{folder}.rs"),
    ];
    let declaration = format!("mod {module};");
    let declares = |text: &str| {
        text.lines().any(|line| {
            line.trim_start()
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub ")
                == declaration
        })
    };
    sources
        .iter()
        .any(|source| parents.contains(&source.path) && declares(&source.text))
}

#[cfg(test)]
mod tests {
    use super::{is_declared, length, name};
    use crate::workspace::TextFile;

    #[test]
    fn exemptions_only_shrink() {
        let exempt = [("long.rs", 700)];
        assert!(length("short.rs", 500, &exempt).is_none());
        assert!(length("new.rs", 501, &exempt).is_some());
        assert!(length("long.rs", 700, &exempt).is_none());
        assert!(length("long.rs", 701, &exempt).is_some());
        assert!(length("long.rs", 400, &exempt).is_some());
    }

    #[test]
    fn empty_names_are_refused() {
        assert!(name("engine/src/utils.rs").is_some());
        assert!(name("engine/src/common/scan.rs").is_some());
        assert!(name("engine/src/commonness.rs").is_none());
    }

    #[test]
    fn a_file_nobody_declares_is_an_orphan() {
        let file = |path: &str, text: &str| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let (root, rule) = (
            file("engine/src/lib.rs", "//! x\npub mod govern;\n"),
            file("engine/src/govern.rs", "mod mask;\n"),
        );
        let sources = [&root, &rule];
        assert!(is_declared("engine/src/govern.rs", &sources));
        assert!(is_declared("engine/src/govern/mod.rs", &sources));
        assert!(is_declared("engine/src/govern/mask.rs", &sources));
        assert!(!is_declared("engine/src/govern/forgotten.rs", &sources));
    }
}
