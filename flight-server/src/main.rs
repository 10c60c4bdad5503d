//! The `caliber` program. Everything is in the library, so tests can call it.

use std::process::ExitCode;

fn main() -> ExitCode {
    caliber_server::cli::run()
}
