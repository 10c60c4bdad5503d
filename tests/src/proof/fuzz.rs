//! Random queries by random principals: the governed engine against plain DataFusion over what the principal may see.
//!
//! Owns: the task `fuzz`. Never: an expectation copied from the output under test.

use anyhow::{Result, bail};

/// Runs the task.
pub async fn run(_: &[String]) -> Result<()> {
    bail!("`fuzz` is not part of this build")
}
