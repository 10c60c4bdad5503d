//! A server killed under load delivered no row without a durable audit record.
//!
//! Owns: the task `crash`. Never: an expectation copied from the output under test.

use anyhow::{Result, bail};

/// Runs the task.
pub async fn run(_: &[String]) -> Result<()> {
    bail!("`crash` is not part of this build")
}
