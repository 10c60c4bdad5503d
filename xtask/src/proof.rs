//! `cargo xtask fuzz | differential | leak | injection | crash | caps | cost | faults`: the proof of governance and pushdown, at any length, on a release build.
//!
//! Owns: building and starting it. Never: what is proven (`tests/src/proof`).

use anyhow::{Context, Result};

use crate::provision::{Consent, databases};
use crate::run::{run, variable};
use crate::workspace::Workspace;

/// The tasks of the proof, each with its options.
pub const TASKS: [&str; 8] = [
    "fuzz",
    "differential",
    "leak",
    "injection",
    "crash",
    "caps",
    "cost",
    "faults",
];

/// Runs one task with its options. `--dev` uses the everyday profile instead of release.
pub fn prove(workspace: &Workspace, task: &str, options: &[String]) -> Result<()> {
    let refused = variable("CALIBER_NO_INSTALL").is_some();
    let consent = if refused { Consent::Refused } else { Consent::Given };
    databases::provide(workspace, consent)?;
    let dev = options.iter().any(|option| option == "--dev");
    let (profile, folder): (&[&str], _) = if dev {
        (&[], "debug")
    } else {
        (&["--release"], "release")
    };
    run(workspace.cargo().args(["build", "--locked"]).args(profile))?;
    run(workspace
        .cargo()
        .args(["build", "--locked", "--example", "proof"])
        .args(profile))?;
    let target = workspace.target()?.join(folder);
    let suffix = std::env::consts::EXE_SUFFIX;
    let proof = target.join("examples").join(format!("proof{suffix}"));
    let words = options.iter().filter(|option| *option != "--dev");
    let mut command = crate::run::command(&proof, &workspace.root);
    command
        .arg(task)
        .args(words)
        .env("CALIBER_PROGRAM", target.join(format!("caliber{suffix}")));
    run(&mut command).with_context(|| format!("`{task}` did not hold"))
}
