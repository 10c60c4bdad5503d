//! The checkout: its root, its text files, its packages.
//!
//! Owns: finding and reading. Never: judges what it read.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// Folders that are never ours to judge.
const SKIPPED: &[&str] = &[".git", "target", ".venv", "__pycache__", "node_modules"];
/// Endings of the texts that the rules read.
const TEXTS: &[&str] = &[
    "rs", "toml", "md", "py", "sh", "slt", "sql", "yaml", "yml", "json", "txt",
];

/// The checkout, read once.
pub struct Workspace {
    /// The folder that holds the root `Cargo.toml`.
    pub root: PathBuf,
    /// Its text files, sorted by path.
    pub files: Vec<TextFile>,
}

/// One text file.
pub struct TextFile {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

impl TextFile {
    /// The path's ending, without the dot.
    pub fn extension(&self) -> &str {
        Path::new(&self.path)
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default()
    }

    /// The lines before the in-file test module.
    pub fn production(&self) -> &str {
        self.text.split("\n#[cfg(test)]").next().unwrap_or_default()
    }

    /// Whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

impl Workspace {
    /// Reads the checkout that cargo runs us in. It may not be the one that we were built from: checkouts that share a
    /// target folder share this program.
    pub fn open() -> Result<Self> {
        let package = run::variable("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").to_owned());
        let root = Path::new(&package)
            .parent()
            .context("xtask has no parent folder")?
            .to_owned();
        let mut files = Vec::new();
        read_folder(&root, &root, &mut files)?;
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(Self { root, files })
    }

    /// A program in the root folder.
    pub fn command(&self, program: &str) -> Command {
        run::command(program, &self.root)
    }

    /// The same cargo that runs us.
    pub fn cargo(&self) -> Command {
        self.command(&run::variable("CARGO").unwrap_or_else(|| "cargo".to_owned()))
    }

    /// The text of a file of the root, if it is there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.text.as_str())
    }

    /// What `cargo metadata` says, of the members alone or of every package this machine's build uses.
    pub fn metadata(&self, packages: Packages) -> Result<Value> {
        let mut cargo = self.cargo();
        cargo.args(["metadata", "--format-version", "1", "--locked"]);
        match packages {
            Packages::Members => cargo.arg("--no-deps"),
            Packages::All => cargo.args(["--filter-platform", &self.host()?]),
        };
        serde_json::from_str(&run::output(&mut cargo)?).context("cargo metadata is not JSON")
    }

    /// Where cargo builds.
    pub fn target(&self) -> Result<PathBuf> {
        let metadata = self.metadata(Packages::Members)?;
        let target = metadata["target_directory"]
            .as_str()
            .context("cargo metadata names no target folder")?;
        Ok(PathBuf::from(target))
    }

    fn host(&self) -> Result<String> {
        let version = run::output(self.command("rustc").arg("-vV"))?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc -vV names no host")?;
        Ok(host.to_owned())
    }
}

/// Which packages to ask cargo about.
#[derive(Clone, Copy, Debug)]
pub enum Packages {
    /// The workspace's members.
    Members,
    /// And everything they need on this machine.
    All,
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<TextFile>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let (name, path, kind) = (entry.file_name(), entry.path(), entry.file_type()?);
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                read_folder(root, &path, files)?;
            }
        } else if kind.is_file() && is_text(&path) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            files.push(TextFile { path, text });
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    path.ends_with(".ci/run") || ending.is_some_and(|ending| TEXTS.contains(&ending))
}
