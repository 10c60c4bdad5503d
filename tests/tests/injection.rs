//! The fixed part of `cargo xtask injection`: hostile text is a value or a name, in every place and mode.

use anyhow::{Result, ensure};
use caliber_tests::proof::injection::{Options, prove};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv5_hostile_text_is_text_in_every_place_and_mode() -> Result<()> {
    let summary = prove(&Options {
        strings: 500,
        seed: 20_260_101,
        local_every: 2,
        progress: false,
    })
    .await?;
    ensure!(
        summary.sent > 50 && summary.names > 1_000 && summary.logged > 0,
        "{summary:?}"
    );
    Ok(())
}
