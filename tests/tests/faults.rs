//! The short form of `cargo xtask faults`: sources that break are an error, at once, and the next query is answered.

use anyhow::{Result, ensure};
use caliber_testkit::conformance::faults::truncation;
use caliber_tests::proof::faults::{Kind, broken_off, cancelled, killed, restarted, reused};
use tokio::sync::{Mutex, MutexGuard};

const SEED: u64 = 20_260_101;

/// Nothing else of these tests at the server of `kind`: whoever ends its sessions, or counts them, means all of them.
async fn alone(kind: Kind) -> Option<MutexGuard<'static, ()>> {
    static POSTGRES: Mutex<()> = Mutex::const_new(());
    static MARIADB: Mutex<()> = Mutex::const_new(());
    match kind {
        Kind::Postgres | Kind::FlightSql => Some(POSTGRES.lock().await),
        Kind::MariaDb => Some(MARIADB.lock().await),
        Kind::Sqlite => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv8_a_result_broken_off_anywhere_is_an_error() -> Result<()> {
    for kind in Kind::NETWORKED {
        let _alone = alone(kind).await;
        let found = truncation(&broken_off(kind).await?, 40).await;
        ensure!(found.refused >= 60, "{kind:?}: {found:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ended_at_the_source_is_an_error_and_the_next_query_is_answered() -> Result<()> {
    for kind in Kind::NETWORKED {
        let _alone = alone(kind).await;
        killed(kind, 10).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv10_a_client_that_leaves_leaves_nothing_running() -> Result<()> {
    for kind in Kind::ALL {
        let _alone = alone(kind).await;
        cancelled(kind, 10, SEED).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv10_a_cancel_never_meets_the_next_user_of_its_connection() -> Result<()> {
    for kind in Kind::ALL {
        let _alone = alone(kind).await;
        reused(kind, 50, SEED).await?;
    }
    Ok(())
}

/// Sixty-four clients, and how much slower other sources become, are for `cargo xtask faults`: on a loaded machine so
/// many wait longer for a connection than they may, and a time tells nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_is_left_alone_until_it_is_back() -> Result<()> {
    let found = restarted(16).await?;
    ensure!(found.failed > 0 && found.attempts.0 > 0, "{found:?}");
    Ok(())
}
