//! `cargo run -- demo` and `cargo test --workspace` build every dependency alike, so that one cold build serves both.
//!
//! Owns: the comparison. Never: which features are chosen (the root Cargo.toml).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Finding;
use crate::run::output;
use crate::workspace::Workspace;

/// Compares the features that cargo resolves for the default members with those for the whole workspace.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let demo = resolved(workspace, &["--edges", "normal,build"])?;
    let tests = resolved(workspace, &["--workspace", "--edges", "normal,build,dev"])?;
    let differ = demo
        .into_iter()
        .filter(|(package, features)| tests.get(package).is_some_and(|others| !features.is_subset(others)));
    Ok(differ
        .map(|(package, _)| {
            let message =
                format!("`{package}` has other features under test than in the demo: both would build it anew");
            Finding::file("Cargo.toml", message)
        })
        .collect())
}

/// By package and version, the sets of features it is built with (one for programs, one for build scripts).
fn resolved(workspace: &Workspace, arguments: &[&str]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p}|{f}"])
        .args(arguments);
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in output(&mut cargo)?.lines() {
        if let Some((package, features)) = line.trim_end_matches(" (*)").split_once('|') {
            packages
                .entry(package.to_owned())
                .or_default()
                .insert(features.to_owned());
        }
    }
    Ok(packages)
}
