//! The fixed part of `cargo xtask leak`: hidden rows and masked values change nothing that anybody can observe but time.

use anyhow::{Result, ensure};
use caliber_tests::proof::leak::{Options, prove};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_worlds_that_differ_where_nobody_may_look_are_the_same() -> Result<()> {
    let summary = prove(&Options {
        queries: 250,
        seed: 20_260_101,
        traced: 60,
        progress: false,
    })
    .await?;
    ensure!(summary.canaries >= 200, "{summary:?}");
    ensure!(summary.kinds.len() >= 7, "{summary:?}");
    Ok(())
}
