//! `caliber-benches transfer PROJECT USER SQL`: one statement, its batches let go as they come.
//!
//! Owns: the time from the statement to its last row, what this process grew by meanwhile. Never: keeps a batch; another
//! statement before it, but what opening the project asks.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use serde_json::json;

use crate::project;

/// How often the resident set is looked at.
const SAMPLE: Duration = Duration::from_millis(10);

/// Writes one line: rows, seconds, bytes resident before and at most while the rows came.
pub async fn transfer(folder: &Path, user: &str, sql: &str) -> Result<()> {
    let engine = project::open(folder, true).await?;
    let session = project::session(&engine, user)?;
    let idle = resident()?;
    let watch = Watch::start(idle);
    let begun = Instant::now();
    let mut stream = session.execute(sql, None).await?;
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await? {
        rows += batch.num_rows();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let line = json!({ "rows": rows, "seconds": seconds, "idle": idle, "largest": watch.end() });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// The largest resident set of this process until it is ended.
struct Watch {
    over: Arc<AtomicBool>,
    largest: Arc<AtomicU64>,
}

impl Watch {
    fn start(idle: u64) -> Self {
        let watch = Self {
            over: Arc::new(AtomicBool::new(false)),
            largest: Arc::new(AtomicU64::new(idle)),
        };
        let (over, largest) = (Arc::clone(&watch.over), Arc::clone(&watch.largest));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                largest.fetch_max(resident().unwrap_or_default(), Ordering::Relaxed);
                thread::sleep(SAMPLE);
            }
        });
        watch
    }

    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.largest.load(Ordering::Relaxed)
    }
}

/// Bytes of this process that are in memory (proc(5), `VmRSS`, in kB).
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the resident set is told by Linux alone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let kilobytes: u64 = number.context("no VmRSS in /proc/self/status")?.parse()?;
    Ok(kilobytes << 10)
}
