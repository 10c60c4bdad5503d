//! `cargo xtask check`: everything that judges the code without running it.
//!
//! Owns: the order, quick ones first. Never: a rule of its own (`tidy`).

use anyhow::{Result, bail};

use crate::provision::python;
use crate::run::{run, say, variable};
use crate::tidy;
use crate::workspace::Workspace;

/// The spelling checker ships as a binary in a PyPI package of this version.
const TYPOS: &str = "typos==1.52.0";

type Step = fn(&Workspace) -> Result<()>;

/// Runs every check, and fails after the last one if any failed, so that one run shows all.
pub fn check(workspace: &Workspace) -> Result<()> {
    let steps: [(&str, Step); 5] = [
        ("fmt", fmt),
        ("tidy", tidy::tidy),
        ("typos", typos),
        ("deny", deny),
        ("clippy", clippy),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        if let Err(error) = step(workspace) {
            say(&format!("{name}: {error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    say("check passed");
    Ok(())
}

fn fmt(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn typos(workspace: &Workspace) -> Result<()> {
    let program = match python::tool(workspace, "typos", TYPOS) {
        Ok(program) => program,
        Err(error) if variable("CI").is_none() => {
            say(&format!("typos: skipped, it could not be installed ({error:#})"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    run(workspace
        .command(&program.to_string_lossy())
        .args(["--config", ".typos.toml"]))
}

/// Licences and double versions are tidy rules, for cargo-deny is not on every machine; where it is, it looks too.
/// Its advisories need a database from the network and stay with those who have it (`deny.toml`).
fn deny(workspace: &Workspace) -> Result<()> {
    if workspace
        .cargo()
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return run(workspace.cargo().args(["deny", "check", "bans", "licenses", "sources"]));
    }
    say("deny: cargo-deny is not installed; tidy has checked licences and versions");
    Ok(())
}
