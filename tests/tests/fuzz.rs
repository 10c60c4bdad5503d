//! The fixed part of the differential fuzzer: the same checks as `cargo xtask fuzz`, over fewer queries.

use anyhow::Result;
use caliber_tests::proof::fuzz::{Options, fuzz};

/// Queries of the fixed part: enough for every pair of settings and every feature of the generator.
const QUERIES: u64 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_random_queries_answer_as_over_what_is_visible() -> Result<()> {
    let options = Options {
        queries: QUERIES,
        ..Options::default()
    };
    let report = fuzz(&options).await?;
    report.holds()
}
