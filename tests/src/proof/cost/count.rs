//! Instructions of a child process, counted by valgrind.
//!
//! Owns: starting it, reading its count. Never: what the child does.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Children started for one count, at most.
const ATTEMPTS: usize = 3;

/// The instructions that one of `times` runs takes: what `times + 1` of them take beyond one, divided.
pub(super) fn instructions(folder: &Path, kind: &str, side: &str, query: &str, times: u64) -> Result<u64> {
    let one = counted(folder, kind, side, query, 1)?;
    let all = counted(folder, kind, side, query, times)?;
    Ok(all.saturating_sub(one) / times.saturating_sub(1).max(1))
}

/// Valgrind is fifty times slower than the machine: on a busy one a bound of time may end a child, which says nothing.
fn counted(folder: &Path, kind: &str, side: &str, query: &str, times: u64) -> Result<u64> {
    (1..ATTEMPTS)
        .find_map(|_| count_once(folder, kind, side, query, times).ok())
        .map_or_else(|| count_once(folder, kind, side, query, times), Ok)
}

/// Cachegrind counts the instructions of all threads; they depend on neither the machine's load nor its cache.
fn count_once(folder: &Path, kind: &str, side: &str, query: &str, times: u64) -> Result<u64> {
    let program = std::env::current_exe().context("no path of this program")?;
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(program)
        .args(["cost", "--child"])
        .arg(folder)
        .args([side, query, &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("cannot run valgrind; it counts instructions (apt-get install valgrind)")?;
    let notes = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{query} over {kind}, {side}: {notes}");
    let line = notes
        .lines()
        .find(|line| line.contains("I") && line.contains("refs:"))
        .with_context(|| format!("valgrind told no count: {notes}"))?;
    let number: String = line
        .rsplit("refs:")
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    number.parse().with_context(|| format!("not a count: {line}"))
}
