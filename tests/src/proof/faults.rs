//! Sources that break, and an engine that says so, at once, and goes on.
//!
//! Owns: the task `faults`. Never: an expectation copied from the output under test.

mod cancelled;
mod killed;
mod restarted;
mod sources;

use std::time::Duration;

use anyhow::{Result, ensure};
use caliber_testkit::conformance::faults::{BrokenOff, truncation};

use super::options::Words;
use super::say;

pub use self::cancelled::{Cancelled, cancelled, reused};
pub use self::killed::killed;
pub use self::restarted::{Restarted, restarted};
pub use self::sources::{Kind, broken_off};

/// A statement that nobody wants any more has ended at its source within this, 99 times in 100, and always within
/// `ENDED_ALWAYS`.
pub const ENDED_WITHIN: Duration = Duration::from_secs(1);
/// See `ENDED_WITHIN`.
pub const ENDED_ALWAYS: Duration = Duration::from_secs(3);
/// A client learns within this that the session of its statement was ended at the source.
pub const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// A client learns within this that the source is down.
pub const DOWN_WITHIN: Duration = Duration::from_secs(2);
/// A source that accepts connections again is read again within this.
pub const HEALTHY_WITHIN: Duration = Duration::from_secs(3);
/// The other sources' median time while one is down, over their median time before.
pub const OTHERS_SLOWER_MAX: f64 = 1.2;

/// Runs the task.
pub async fn run(options: &[String]) -> Result<()> {
    let words = Words::read(options, &["offsets", "kills", "cancels", "reuses", "clients", "seed"])?;
    let seed = words.number("seed", 1)?;
    let offsets = words.number("offsets", 300)?;
    if offsets > 0 {
        for kind in Kind::NETWORKED {
            let found: BrokenOff = truncation(&broken_off(kind).await?, offsets).await;
            say(&format!(
                "faults: {kind:?}: {} results broken off, {} refused, {} whole, none short; the slowest took {:?}",
                found.refused + found.whole,
                found.refused,
                found.whole,
                found.slowest
            ));
        }
    }
    let kills = words.number("kills", 200)?;
    for kind in Kind::NETWORKED {
        if kills > 0 {
            let slowest = killed(kind, kills).await?;
            say(&format!(
                "faults: {kind:?}: {kills} sessions ended at the source while it sent rows; each told within {slowest:?}, each next query answered"
            ));
        }
    }
    let (cancels, reuses) = (words.number("cancels", 100)?, words.number("reuses", 1000)?);
    for kind in Kind::ALL {
        if cancels > 0 {
            let found = cancelled(kind, cancels, seed).await?;
            say(&format!(
                "faults: {kind:?}: {cancels} clients left, {} statements ended within {ENDED_WITHIN:?}, all within {:?}",
                found.in_time, found.slowest
            ));
            ensure!(found.in_time * 100 >= cancels * 99, "too late too often: {found:?}");
        }
        if reuses > 0 {
            reused(kind, reuses, seed).await?;
            say(&format!(
                "faults: {kind:?}: {reuses} connections used again after a client left, no wrong victim"
            ));
        }
    }
    let clients = words.number("clients", 64)?;
    if clients > 0 {
        let found = restarted(clients).await?;
        say(&format!("faults: restart under {clients} clients: {found:?}"));
        ensure!(
            found.others_slower <= OTHERS_SLOWER_MAX,
            "other sources suffered: {found:?}"
        );
    }
    Ok(())
}
