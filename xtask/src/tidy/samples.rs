//! Samples and files of behaviour that a test must run.
//!
//! Owns: that none lies unused. Never: runs one.

use anyhow::Result;

use super::Finding;
use crate::workspace::Workspace;

/// Checks that a test names each script under `tests/clients`, or that another script imports it.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let tests: Vec<&str> = workspace
        .files
        .iter()
        .filter(|file| file.path.starts_with("tests/tests/"))
        .map(|file| file.text.as_str())
        .collect();
    let mut findings = Vec::new();
    for file in &workspace.files {
        let Some(script) = file
            .path
            .strip_prefix("tests/clients/")
            .filter(|name| name.ends_with(".py"))
        else {
            continue;
        };
        let imported = script.trim_end_matches(".py");
        let import =
            |line: &str| line == format!("import {imported}") || line.starts_with(&format!("from {imported} import "));
        let scripts = workspace
            .files
            .iter()
            .filter(|other| other.path.starts_with("tests/clients/"));
        let used =
            tests.iter().any(|text| text.contains(script)) || scripts.flat_map(|other| other.text.lines()).any(import);
        if !used {
            findings.push(Finding::file(&file.path, "no test runs it"));
        }
    }
    Ok(findings)
}
