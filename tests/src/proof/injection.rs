//! Hostile text in every place a value or a name can stand, against live sources.
//!
//! Owns: the task `injection`. Never: an expectation copied from the output under test.

use anyhow::{Result, bail};

/// Runs the task.
pub async fn run(_: &[String]) -> Result<()> {
    bail!("`injection` is not part of this build")
}
