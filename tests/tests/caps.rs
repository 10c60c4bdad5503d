//! The fixed part of `cargo xtask caps`: every statement alone, against a running server (INV-6).

use anyhow::Result;

/// A loaded machine and an unoptimised build get more time for each statement than the promise has; all else is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv6_a_server_lives_past_every_bound() -> Result<()> {
    let words = ["caps", "--no-heavy", "--seconds", "20"].map(str::to_owned);
    caliber_tests::proof::run(&words).await
}
