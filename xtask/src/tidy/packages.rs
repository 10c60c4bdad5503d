//! What the build takes from others: one version of what must be one, and only licences that we may ship.
//!
//! Owns: both lists. Never: advisories, which need a database from the network (`deny.toml`, docs/decisions/0003).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::Finding;
use crate::workspace::{Packages, Workspace};

/// Crates whose types cross our own borders: two versions would not fit together.
const SINGLE: &[&str] = &[
    "arrow",
    "arrow-flight",
    "arrow-schema",
    "datafusion",
    "object_store",
    "prost",
    "rustls",
    "sqlparser",
    "tonic",
];

/// SPDX licences under which a dependency may come.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Checks Cargo.lock and the licences that the packages declare.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let lock = std::fs::read_to_string(workspace.root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let versions = versions(&lock);
    let mut findings = Vec::new();
    for name in SINGLE {
        match versions.get(name).map(BTreeSet::len) {
            Some(1) => {}
            None => findings.push(Finding::file(
                "Cargo.lock",
                format!("`{name}` is gone: take it off the list of single crates"),
            )),
            Some(_) => findings.push(Finding::file(
                "Cargo.lock",
                format!("more than one version of `{name}`"),
            )),
        }
    }
    let metadata = workspace.metadata(Packages::All)?;
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| node["id"].as_str())
        .collect();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let (name, licence) = (
            package["name"].as_str().unwrap_or_default(),
            package["license"].as_str().unwrap_or_default(),
        );
        if used.contains(package["id"].as_str().unwrap_or_default()) && !is_allowed(licence) {
            findings.push(Finding::file(
                "Cargo.lock",
                format!("`{name}` comes under `{licence}`, which is not on the list"),
            ));
        }
    }
    Ok(findings)
}

fn versions(lock: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let value = |line: &'_ str, key: &str| -> Option<usize> { line.starts_with(key).then_some(key.len()) };
    let mut name = "";
    for line in lock.lines() {
        if let Some(at) = value(line, "name = \"") {
            name = line[at..].trim_end_matches('"');
        } else if let Some(at) = value(line, "version = \"") {
            versions
                .entry(name)
                .or_default()
                .insert(line[at..].trim_end_matches('"'));
        }
    }
    versions
}

/// Whether an SPDX expression can be met by allowed licences alone. `MIT/Apache-2.0`, the old way of writing OR, counts.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at);
    met && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> bool {
    let mut met = all_of(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize) -> bool {
    let mut met = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at);
    }
    met
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any_of(words, at);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        let name = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
        return ALLOWED.contains(&name.as_str());
    }
    ALLOWED.contains(word)
}

#[cfg(test)]
mod tests {
    use super::{is_allowed, versions};

    #[test]
    fn a_choice_needs_one_and_a_sum_needs_all() {
        assert!(is_allowed("MIT OR GPL-3.0"));
        assert!(is_allowed("MIT/Apache-2.0"));
        assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
        assert!(!is_allowed("MIT AND GPL-3.0"));
        assert!(!is_allowed("GPL-3.0"));
        assert!(!is_allowed(""));
    }

    #[test]
    fn two_versions_are_seen() {
        let lock = "[[package]]\nname = \"arrow\"\nversion = \"59.3.0\"\n\n[[package]]\nname = \"arrow\"\nversion = \"58.0.0\"\n";
        assert_eq!(versions(lock)["arrow"].len(), 2);
    }
}
