//! What governance costs in instructions, against the same SQL with filter and masks written by hand.
//!
//! Owns: the task `cost`. Never: an expectation copied from the output under test.

use anyhow::{Result, bail};

/// Runs the task.
pub async fn run(_: &[String]) -> Result<()> {
    bail!("`cost` is not part of this build")
}
