//! The scripts of `tests/clients`, run with the interpreter that xtask provisioned.
//!
//! Owns: skipping where there is none, outside CI. Never: a client library of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{root, skipped, variable};

/// The interpreter, or `None` where `cargo xtask test` did not make one. In CI that is an error.
pub fn interpreter(what: &str) -> Result<Option<PathBuf>> {
    match variable("CALIBER_PYTHON") {
        Some(python) => Ok(Some(PathBuf::from(python))),
        None if variable("CI").is_some() => bail!("CALIBER_PYTHON is not set; run `cargo xtask test`"),
        None => {
            skipped(what, "CALIBER_PYTHON is not set; `cargo xtask test` sets it");
            Ok(None)
        }
    }
}

/// Runs `tests/clients/SCRIPT` to its end. Fails unless it closes with `N checks passed`.
pub fn script(script: &str, arguments: &[&str]) -> Result<()> {
    let Some(python) = interpreter(script)? else {
        return Ok(());
    };
    let output = Command::new(python)
        .arg(root().join("tests/clients").join(script))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .context("cannot run Python")?;
    let (out, notes) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{script} failed\n{out}\n{notes}");
    let passed = out
        .trim_end()
        .rsplit('\n')
        .next()
        .and_then(|line| line.strip_suffix(" checks passed"));
    let passed: u64 = passed
        .and_then(|count| count.parse().ok())
        .with_context(|| format!("{script} printed `{out}`"))?;
    ensure!(passed > 0, "{script} checked nothing");
    Ok(())
}
