//! The proof of governance as a program: `cargo xtask fuzz`, `differential`, `leak`, `injection`, `crash`, `caps` and `cost` run it.
//!
//! Owns: its arguments and its end. Never: a task (`caliber_tests::proof`).

use std::process::ExitCode;

#[tokio::main(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a proof that failed says why")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match caliber_tests::proof::run(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
