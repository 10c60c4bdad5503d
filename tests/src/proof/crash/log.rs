//! A log as its file holds it, read without the product.
//!
//! Owns: what a whole chain is, by the page that describes it (docs/audit.md). Never: calls the product's own reader, but
//! to compare.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::program;

/// A log of one file.
pub(super) struct Log {
    /// The file.
    pub path: PathBuf,
}

/// What a whole log holds.
pub(super) struct Whole {
    /// Records.
    pub records: usize,
    /// Statements without an end.
    pub unfinished: usize,
    /// Records of a repair.
    pub repaired: usize,
}

impl Log {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The markers of every statement whose start is a whole line.
    pub fn started(&self) -> Result<BTreeSet<String>> {
        let text = std::fs::read(&self.path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let text = std::str::from_utf8(text.get(..whole).unwrap_or_default())?;
        let mut markers = BTreeSet::new();
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).context("a line is no JSON")?;
            if record["kind"] == "start" {
                let statement = record["statement"].as_str().unwrap_or_default();
                let words = statement.split(|character: char| !character.is_alphanumeric() && character != '_');
                markers.extend(words.filter(|word| word.starts_with("m_")).map(str::to_owned));
            }
        }
        Ok(markers)
    }

    /// Follows the chain from its first record to its last: numbers without a gap, each hash of the bytes before it and
    /// named by the next line.
    pub fn whole(&self) -> Result<Whole> {
        let text = std::fs::read_to_string(&self.path)?;
        ensure!(text.ends_with('\n'), "the last line has no end");
        let mut prev = "0".repeat(64);
        let (mut open, mut repaired) = (BTreeSet::new(), 0);
        for (at, line) in text.lines().enumerate() {
            let record: Value = serde_json::from_str(line).with_context(|| format!("line {}", at + 1))?;
            let (content, _) = line.rsplit_once(r#","hash":"#).context("a line without a hash")?;
            let hash = hex(ring::digest::digest(&ring::digest::SHA256, content.as_bytes()).as_ref());
            ensure!(record["hash"] == hash.as_str(), "line {}: not its hash", at + 1);
            ensure!(record["prev"] == prev.as_str(), "line {}: not the hash before", at + 1);
            ensure!(record["seq"] == at + 1, "line {}: not its number", at + 1);
            prev = hash;
            let query = record["query_id"].as_str().unwrap_or_default().to_owned();
            match record["kind"].as_str().unwrap_or_default() {
                "start" => ensure!(open.insert(query), "line {}: started twice", at + 1),
                "end" => ensure!(open.remove(&query), "line {}: ended without a start", at + 1),
                "recovered" => repaired += 1,
                _ => {}
            }
        }
        Ok(Whole {
            records: text.lines().count(),
            unfinished: open.len(),
            repaired,
        })
    }

    /// The product finds it whole too, and as many unfinished statements.
    pub fn verified(&self) -> Result<()> {
        let path = self.path.to_str().context("a path that is not UTF-8")?;
        let finished = program::run(&["audit", "verify", path], [])?;
        ensure!(finished.code == Some(0), "{finished:?}");
        let unfinished = self.whole()?.unfinished;
        ensure!(
            finished.out.contains(&format!(" {unfinished} unfinished")),
            "{}",
            finished.out
        );
        Ok(())
    }

    /// Leaves the log where it is after the proof ended.
    pub fn keep(&self, folder: TempDir) -> Result<PathBuf> {
        let _ = super::kept(folder);
        Ok(self.path.clone())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
