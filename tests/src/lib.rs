//! What the tests of the whole product stand on: the program, its clients, the bank.
//!
//! Owns: starting and stopping what is tested. Never: an expectation.

pub mod bank;
pub mod engine;
pub mod flight;
pub mod program;
pub mod proof;
pub mod python;
pub mod rows;

pub use caliber_testkit::checkout as root;

/// The value of a variable that `cargo xtask test` or CI set.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests are told by xtask what it provisioned; this is their one place"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says what is not tested here and why. The one line a test may print.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn skipped(what: &str, why: &str) {
    eprintln!("skipped {what}: {why}");
}
