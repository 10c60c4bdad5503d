//! The proof of governance: what a security officer runs, and what CI runs a fixed part of.
//!
//! Owns: the tasks and their words. Never: a switch that weakens the engine.

pub mod caps;
pub mod cost;
pub mod crash;
pub mod differential;
pub mod faults;
pub mod fuzz;
pub mod injection;
pub mod leak;
mod options;

use anyhow::{Result, bail};

/// Runs the task that `words` begin with; the rest are its options. An error is a failed proof.
pub async fn run(words: &[String]) -> Result<()> {
    let Some((task, options)) = words.split_first() else {
        bail!("no task");
    };
    match task.as_str() {
        "caps" => caps::run(options).await,
        "cost" => cost::run(options).await,
        "crash" => crash::run(options).await,
        "differential" => differential::run(options).await,
        "faults" => faults::run(options).await,
        "fuzz" => fuzz::run(options).await,
        "injection" => injection::run(options).await,
        "leak" => leak::run(options).await,
        _ => bail!("`{task}` is not a task of the proof"),
    }
}

/// Says what is proven so far, and in the end what was.
#[expect(clippy::print_stdout, reason = "the proof is a program that people watch")]
fn say(line: &str) {
    println!("{line}");
}
