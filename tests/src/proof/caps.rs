//! Statements past every bound, against a running server: it lives, answers in time, and others do not notice.
//!
//! Owns: the task `caps`. Never: an expectation copied from the output under test.

use anyhow::{Result, bail};

/// Runs the task.
pub async fn run(_: &[String]) -> Result<()> {
    bail!("`caps` is not part of this build")
}
