//! Where the checkout is.
//!
//! Owns: finding it at run time. Never: the path that a test was compiled with, while cargo names another: checkouts
//! that share a target folder share what was built in it.

use std::path::{Path, PathBuf};

/// The root folder of the checkout whose tests run.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a test this way where its package is"
)]
pub fn checkout() -> PathBuf {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let root = Path::new(&package)
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").exists());
    root.unwrap_or(Path::new(&package)).to_owned()
}
