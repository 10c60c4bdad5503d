//! `cargo xtask mutants`: the fuzzer, the differential test and the broken network are not vacuous. Thirteen leaks, five
//! wrong answers and an error that is swallowed are seeded, and they find each of them.
//!
//! Owns: the mutated copy of the workspace, its build, the runs. Never: a leak (`tests/mutants`), or a change to what
//! ships: the copy has a version of its own, so that nothing built of it can take the place of the real thing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::provision::{Consent, databases};
use crate::run::{command, output, run, say, variable};
use crate::workspace::Workspace;

/// How many leaks there are.
const LEAKS: usize = 13;
/// How many wrong answers there are, numbered from 101, faults that go unseen among them.
const DEFECTS: usize = 6;
/// Queries within which a leak must show.
const QUERIES: &str = "6000";
/// Queries that agree where no leak is on.
const CLEAN_QUERIES: &str = "400";
/// All runs together, without the build.
const RUNS_TIME_MAX: Duration = Duration::from_secs(300);
/// What finds leaks, defects, and faults that go unseen.
const TASKS: [&str; 3] = ["fuzz", "differential", "faults"];
/// The part of `faults` that finds them, and what it says then.
const BROKEN_OFF: [&str; 11] = [
    "faults",
    "--offsets",
    "40",
    "--kills",
    "0",
    "--cancels",
    "0",
    "--reuses",
    "0",
    "--clients",
    "0",
];
/// See `BROKEN_OFF`.
const SHORT: &str = "a short answer";
/// What the mutated program is told by.
const SELECTOR: &str = "CALIBER_SEEDED_LEAK";

/// The crates of the copy that the switch is added to.
const SWITCHED: [&str; 2] = ["engine/src/lib.rs", "connectors/builtin/src/lib.rs"];
/// The switch.
const SWITCH: &str = r#"
/// Whether the seeded leak of that number is on.
#[expect(clippy::disallowed_methods, reason = "a mutated copy, which never ships")]
pub(crate) fn seeded(number: usize) -> bool {
    static SEEDED: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    let seeded = SEEDED.get_or_init(|| std::env::var("CALIBER_SEEDED_LEAK").ok()?.parse().ok());
    *seeded == Some(number)
}
"#;

/// One leak.
#[derive(Debug, PartialEq, Eq)]
struct Leak {
    number: usize,
    /// What finds it.
    task: &'static str,
    title: String,
    changes: Vec<Change>,
}

/// One text of a file, and what stands in its place.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    path: String,
    text: String,
    replacement: String,
}

/// What the caller asked for.
#[derive(Debug)]
struct Options {
    /// The everyday profile instead of release.
    dev: bool,
    /// The fuzzer's.
    seed: String,
    /// Only these leaks; empty is all.
    only: Vec<usize>,
}

/// What the tests run: the copy builds, nothing differs without a leak, and three kinds of leak are caught.
pub const FIXED_PART: [&str; 3] = ["--dev", "--only", "1,6,10,13"];

/// Runs the gate.
pub fn mutants(workspace: &Workspace, options: &[String]) -> Result<()> {
    let Options { dev, seed, only } = parse(options)?;
    let refused = variable("CALIBER_NO_INSTALL").is_some();
    databases::provide(workspace, if refused { Consent::Refused } else { Consent::Given })?;
    let leaks = read_leaks(&workspace.root.join("tests/mutants"))?;
    ensure!(
        leaks.len() == LEAKS + DEFECTS,
        "{} leaks and defects, not {LEAKS} and {DEFECTS}",
        leaks.len()
    );
    let target = workspace.target()?;
    let tree = target.join("mutants").join("tree");
    copy(workspace, &tree, &leaks)?;
    let program = build(&tree, &target, dev)?;
    let start = Instant::now();
    let asked: Vec<&Leak> = leaks
        .iter()
        .filter(|leak| only.is_empty() || only.contains(&leak.number))
        .collect();
    let count = asked.len();
    ensure!(count > 0, "no leak has one of the numbers {only:?}");
    for task in TASKS.iter().filter(|task| asked.iter().any(|leak| leak.task == **task)) {
        let clean = prove(&program, workspace, task, 0, CLEAN_QUERIES, &seed)?;
        ensure!(
            clean.succeeded,
            "without a leak `{task}` found a difference:\n{}",
            clean.text
        );
    }
    let mut missed = Vec::new();
    for leak in asked {
        let began = Instant::now();
        let found = prove(&program, workspace, leak.task, leak.number, QUERIES, &seed)?;
        let difference = if leak.task == TASKS[2] { SHORT } else { "queries differ" };
        let caught = !found.succeeded && found.text.contains(difference);
        let seconds = began.elapsed().as_secs();
        let (number, title) = (leak.number, &leak.title);
        match caught {
            true => say(&format!("{number:3} caught by {}, {seconds} s: {title}", found.by)),
            false => {
                say(&format!("{number:3} MISSED, {seconds} s: {title}\n{}", found.text));
                missed.push(number);
            }
        }
    }
    let time = start.elapsed();
    say(&format!(
        "mutants: {} of {count} seeded leaks and defects caught, none without one ({CLEAN_QUERIES} queries), {} s",
        count - missed.len(),
        time.as_secs()
    ));
    ensure!(missed.is_empty(), "not caught: {missed:?}");
    ensure!(
        time <= RUNS_TIME_MAX,
        "that took longer than {} s",
        RUNS_TIME_MAX.as_secs()
    );
    Ok(())
}

fn parse(words: &[String]) -> Result<Options> {
    let mut options = Options {
        dev: false,
        seed: "1".to_owned(),
        only: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--dev" => options.dev = true,
            "--seed" => options.seed = words.next().context("--seed takes a number")?.clone(),
            "--only" => {
                let numbers = words.next().context("--only takes numbers of leaks, as in 1,6")?;
                let numbers = numbers.split(',').map(|number| Ok(number.trim().parse::<usize>()?));
                options.only = numbers.collect::<Result<_>>().context("--only takes numbers")?;
            }
            other => bail!("`{other}` is not an option of `mutants`; it takes --dev, --seed S, --only N,N"),
        }
    }
    Ok(options)
}

fn read_leaks(folder: &Path) -> Result<Vec<Leak>> {
    let mut leaks = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let task = match path.extension().and_then(|ending| ending.to_str()) {
            Some("leak") => TASKS[0],
            Some("defect") => TASKS[1],
            Some("fault") => TASKS[2],
            _ => continue,
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        leaks.push(read_leak(&name, task, &text).with_context(|| format!("`{name}`"))?);
    }
    leaks.sort_by_key(|leak| leak.number);
    Ok(leaks)
}

fn read_leak(name: &str, task: &'static str, text: &str) -> Result<Leak> {
    let number = name.split('-').next().unwrap_or_default();
    let number = number.parse().context("its name begins with no number")?;
    let (title, rest) = text.split_once('\n').context("it is empty")?;
    let title = title.strip_prefix("# ").context("it opens with no title")?.to_owned();
    let mut changes = Vec::new();
    for part in rest.split("@@ ").skip(1) {
        let (path, part) = part.split_once("\n<<<<\n").context("a path is not followed by <<<<")?;
        let (text, part) = part.split_once("\n====\n").context("a text is not followed by ====")?;
        let (replacement, _) = part
            .split_once("\n>>>>")
            .context("a replacement is not followed by >>>>")?;
        changes.push(Change {
            path: path.to_owned(),
            text: text.to_owned(),
            replacement: replacement.to_owned(),
        });
    }
    ensure!(!changes.is_empty(), "it changes nothing");
    Ok(Leak {
        number,
        task,
        title,
        changes,
    })
}

/// The file with every change made. Each text must be there exactly once, and apart from the others.
fn changed(path: &str, original: &str, changes: &[&Change]) -> Result<String> {
    let mut places = Vec::new();
    for change in changes {
        let mut found = original.match_indices(&change.text).map(|(at, _)| at);
        let (Some(at), None) = (found.next(), found.next()) else {
            bail!(
                "`{path}` does not hold this exactly once any more; write the leak anew:\n{}",
                change.text
            );
        };
        places.push((at, *change));
    }
    places.sort_by_key(|(at, _)| *at);
    let mut text = String::with_capacity(original.len());
    let mut done = 0;
    for (at, change) in places {
        let between = original
            .get(done..at)
            .with_context(|| format!("two leaks change one text of `{path}`"))?;
        text.push_str(between);
        text.push_str(&change.replacement);
        done = at + change.text.len();
    }
    text.push_str(original.get(done..).unwrap_or_default());
    Ok(text)
}

/// The files to copy: what git tracks or would; where there is no git, every text.
fn paths(workspace: &Workspace) -> Vec<String> {
    let mut git = workspace.command("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    match output(&mut git) {
        Ok(listed) => listed
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect(),
        Err(_) => {
            let texts = workspace.files.iter().map(|file| file.path.clone());
            texts.chain(["Cargo.lock".to_owned()]).collect()
        }
    }
}

/// Copies the workspace's files, leaks and switch in place. What has not changed keeps its time, so that it is not
/// built again.
fn copy(workspace: &Workspace, tree: &Path, leaks: &[Leak]) -> Result<()> {
    let changes: Vec<&Change> = leaks.iter().flat_map(|leak| &leak.changes).collect();
    let paths = paths(workspace);
    for change in &changes {
        ensure!(
            paths.contains(&change.path),
            "`{}` is gone; write the leak anew",
            change.path
        );
    }
    for path in paths.iter().map(String::as_str) {
        let Ok(bytes) = fs::read(workspace.root.join(path)) else {
            continue;
        };
        let bytes = match path {
            "Cargo.toml" => changed_version(&String::from_utf8(bytes)?)?.into_bytes(),
            _ => {
                let own: Vec<&Change> = changes.iter().filter(|change| change.path == path).copied().collect();
                match own.is_empty() {
                    true => bytes,
                    false => changed(path, &String::from_utf8(bytes)?, &own)?.into_bytes(),
                }
            }
        };
        let bytes = match path {
            switched if SWITCHED.contains(&switched) => [bytes, SWITCH.as_bytes().to_vec()].concat(),
            // It names the versions of the copy's packages; cargo writes it anew from the one that is there.
            "Cargo.lock" if tree.join(path).is_file() => continue,
            _ => bytes,
        };
        let to = tree.join(path);
        if fs::read(&to).is_ok_and(|known| known == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file without a folder")?)?;
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The root manifest with another version for the workspace's packages.
fn changed_version(manifest: &str) -> Result<String> {
    let head = "[workspace.package]\nversion = \"";
    let at = manifest
        .find(head)
        .context("the root manifest names no version first")?
        + head.len();
    let end = manifest
        .get(at..)
        .and_then(|rest| rest.find('"'))
        .context("a version without end")?;
    let (before, after) = manifest.split_at(at + end);
    Ok(format!("{before}-mutant{after}"))
}

/// Builds the copy's proof program, and takes it out of the way of the real one.
fn build(tree: &Path, target: &Path, dev: bool) -> Result<PathBuf> {
    let cargo = variable("CARGO").unwrap_or_else(|| "cargo".to_owned());
    let mut cargo = command(cargo, tree);
    cargo.args(["build", "--offline", "-p", "caliber-tests", "--example", "proof"]);
    if !dev {
        cargo.arg("--release");
    }
    cargo.env("CARGO_TARGET_DIR", target);
    run(&mut cargo)?;
    let name = format!("proof{}", std::env::consts::EXE_SUFFIX);
    let built = target
        .join(if dev { "debug" } else { "release" })
        .join("examples")
        .join(&name);
    let program = target.join("mutants").join(name);
    fs::copy(&built, &program).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::remove_file(&built).with_context(|| format!("cannot remove {}", built.display()))?;
    Ok(program)
}

/// What a run of the mutated program came to.
struct Found {
    succeeded: bool,
    /// What found it.
    by: String,
    text: String,
}

fn prove(program: &Path, workspace: &Workspace, task: &str, leak: usize, queries: &str, seed: &str) -> Result<Found> {
    let mut command = command(program, &workspace.root);
    match task == TASKS[2] {
        true => command.args(BROKEN_OFF),
        false => command.args([task, "--queries", queries, "--seed", seed, "--differences", "1"]),
    };
    command
        .env(SELECTOR, leak.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = text
        .lines()
        .find_map(|line| line.strip_prefix(task)?.strip_prefix(": "))
        .unwrap_or_default();
    Ok(Found {
        succeeded: output.status.success(),
        by: match task == TASKS[2] {
            true => SHORT.to_owned(),
            false => format!("query {}", summary.split(' ').next().unwrap_or_default()),
        },
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAK: &str = "# a leak\n@@ a.rs\n<<<<\none\n====\ntwo\n>>>>\n@@ a.rs\n<<<<\nthree\n====\nfour\nfive\n>>>>\n";

    #[test]
    fn a_leak_is_read_and_made() {
        let leak = read_leak("07-some-leak", TASKS[0], LEAK).unwrap();
        assert_eq!((leak.number, leak.title.as_str(), leak.changes.len()), (7, "a leak", 2));
        let changes: Vec<&Change> = leak.changes.iter().collect();
        assert_eq!(
            changed("a.rs", "0\nthree one\n6", &changes).unwrap(),
            "0\nfour\nfive two\n6"
        );
    }

    #[test]
    fn a_text_that_is_gone_or_there_twice_fails_the_gate() {
        let leak = read_leak("07-some-leak", TASKS[0], LEAK).unwrap();
        let changes: Vec<&Change> = leak.changes.iter().collect();
        assert!(changed("a.rs", "one", &changes).is_err());
        assert!(changed("a.rs", "one three one", &changes).is_err());
    }

    /// The gate's own run takes minutes; that its texts are still there is seen at once.
    #[test]
    fn every_leak_can_be_made_in_the_workspace_as_it_is() {
        let workspace = Workspace::open().unwrap();
        let leaks = read_leaks(&workspace.root.join("tests/mutants")).unwrap();
        assert_eq!(
            leaks.iter().map(|leak| leak.number).collect::<Vec<_>>(),
            (1..=LEAKS).chain(101..=100 + DEFECTS).collect::<Vec<_>>()
        );
        let changes: Vec<&Change> = leaks.iter().flat_map(|leak| &leak.changes).collect();
        for change in &changes {
            let own: Vec<&Change> = changes
                .iter()
                .filter(|other| other.path == change.path)
                .copied()
                .collect();
            let original = workspace.text(&change.path).unwrap();
            let made = changed(&change.path, original, &own).unwrap();
            assert_ne!(made, original);
        }
        for leak in &leaks {
            let selects = format!("seeded({})", leak.number);
            assert!(
                leak.changes.iter().any(|change| change.replacement.contains(&selects)),
                "{}",
                leak.title
            );
        }
    }

    #[test]
    fn the_copy_has_a_version_of_its_own() {
        let manifest = "[workspace.package]\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        let changed = changed_version(manifest).unwrap();
        assert!(changed.contains("version = \"0.1.0-mutant\"\n"), "{changed}");
    }
}
