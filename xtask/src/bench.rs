//! `cargo xtask bench --vs duckdb`: Caliber and DuckDB over the same live databases, side by side.
//!
//! Owns: options, what the benchmark needs of the machine, its start. Never: what is measured (`benches/federation`), or
//! whether a figure is good enough (docs/benchmarks.md).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::provision::{Consent, databases, python};
use crate::run::{run, say, variable};
use crate::workspace::Workspace;

/// The scripts, and the one that is run.
const SCRIPTS: &str = "benches/federation";
/// What can be measured alone, a file each in `benches/federation/measures`.
const MEASURES: [&str; 9] = [
    "bulk", "lookup", "memory", "metrics", "parquet", "segment", "single", "tpch", "transfer",
];
/// TPC-H has so many queries.
const QUERIES: u32 = 22;

/// What the caller asked for.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    /// For the scripts, checked: `--scale`, `1`…
    arguments: Vec<String>,
    /// Where loaded data stays.
    keep: Option<PathBuf>,
    /// Where the report goes, besides standard output.
    report: Option<PathBuf>,
    /// Never install a package.
    no_install: bool,
}

impl Options {
    /// Reads the words after `bench`.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut rival = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--no-install" {
                options.no_install = true;
                continue;
            }
            let mut value = || words.next().with_context(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "--vs" => rival = Some(value()?.as_str()),
                "--keep" => options.keep = Some(PathBuf::from(value()?)),
                "--report" => options.report = Some(PathBuf::from(value()?)),
                "--scale" | "--rounds" | "--only" | "--queries" | "--third" => {
                    let value = value()?;
                    check(word, value)?;
                    options.arguments.extend([word.clone(), value.clone()]);
                }
                _ => bail!("`{word}` is not an option of `cargo xtask bench`"),
            }
        }
        ensure!(
            rival == Some("duckdb"),
            "say what to compare with: `cargo xtask bench --vs duckdb`"
        );
        Ok(options)
    }
}

/// Fails unless `value` is one that `option` takes.
fn check(option: &str, value: &str) -> Result<()> {
    let (understood, takes) = match option {
        "--scale" => (
            value
                .parse::<f64>()
                .is_ok_and(|scale| scale.is_finite() && scale >= 0.01),
            "a number of at least 0.01".to_owned(),
        ),
        "--rounds" => (
            value.parse::<u32>().is_ok_and(|rounds| rounds >= 1),
            "a number of at least 1".to_owned(),
        ),
        "--third" => (["sqlite", "parquet"].contains(&value), "sqlite or parquet".to_owned()),
        "--queries" => (
            value
                .split(',')
                .all(|word| word.parse().is_ok_and(|query: u32| (1..=QUERIES).contains(&query))),
            format!("numbers from 1 to {QUERIES}, with commas between"),
        ),
        _ => (
            value.split(',').all(|word| MEASURES.contains(&word)),
            format!("of {}, with commas between", MEASURES.join(", ")),
        ),
    };
    ensure!(understood, "`{option}` takes {takes}; it got `{value}`");
    Ok(())
}

/// Provides servers, Python and a release build, and runs the scripts.
pub fn bench(workspace: &Workspace, options: &Options) -> Result<()> {
    let refused = options.no_install || variable("CALIBER_NO_INSTALL").is_some();
    let consent = if refused { Consent::Refused } else { Consent::Given };
    databases::provide(workspace, consent)?;
    let interpreter = python::benches(workspace, consent)?;
    let scripts = workspace.root.join(SCRIPTS);
    // What compares answers is itself tested before it is believed.
    run(script(workspace, &interpreter)
        .args([
            "-m",
            "unittest",
            "discover",
            "--quiet",
            "--pattern",
            "*_test.py",
            "--start-directory",
        ])
        .arg(&scripts))?;
    run(workspace.cargo().args([
        "build",
        "--locked",
        "--release",
        "--package",
        "caliber-server",
        "--package",
        "caliber-benches",
    ]))?;
    let target = workspace.target()?;
    let program = |name: &str| {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        target.join("release").join(file)
    };
    let report = absolute(options.report.as_deref().unwrap_or(&target.join("bench/report.md")))?;
    if let Some(folder) = report.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut command = script(workspace, &interpreter);
    command
        .arg(scripts.join("main.py"))
        .arg("--caliber")
        .arg(program("caliber"))
        .arg("--benches")
        .arg(program("caliber-benches"))
        .arg("--report")
        .arg(&report)
        .args(&options.arguments);
    if let Some(folder) = &options.keep {
        command.arg("--keep").arg(absolute(folder)?);
    }
    run(&mut command)?;
    say(&format!("the report is in {}", report.display()));
    Ok(())
}

/// The interpreter, told to leave no files beside the scripts.
fn script(workspace: &Workspace, interpreter: &Path) -> std::process::Command {
    let mut command = workspace.command(&interpreter.to_string_lossy());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A path as the caller means it, who may stand below the root, where the scripts run.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{MEASURES, Options, SCRIPTS};
    use crate::workspace::Workspace;

    fn parse(words: &str) -> anyhow::Result<Options> {
        Options::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_understood_is_passed_on() {
        let options = parse("--scale 0.1 --vs duckdb --keep data --only tpch,bulk --no-install").unwrap();
        assert_eq!(options.arguments, ["--scale", "0.1", "--only", "tpch,bulk"]);
        assert_eq!(options.keep.as_deref(), Some("data".as_ref()));
        assert!(options.no_install);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in [
            "",
            "--vs trino",
            "--vs",
            "--vs duckdb --scale 0",
            "--vs duckdb --scale NaN",
            "--vs duckdb --rounds 0",
            "--vs duckdb --queries 0",
            "--vs duckdb --queries 1,,2",
            "--vs duckdb --queries 23",
            "--vs duckdb --only everything",
            "--vs duckdb --third csv",
            "--vs duckdb --fast",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn each_measure_is_a_file() {
        let folder = format!("{SCRIPTS}/measures/");
        let files: Vec<String> = Workspace::open()
            .unwrap()
            .files
            .into_iter()
            .filter_map(|file| {
                let name = file.path.strip_prefix(&folder)?.strip_suffix(".py")?.to_owned();
                (!name.starts_with("__")).then_some(name)
            })
            .collect();
        assert_eq!(files, MEASURES);
    }
}
