//! Hashes that name a project and a snapshot.
//!
//! Owns: an unambiguous way to feed parts into SHA-256. Never: hashes a password.

use sha2::{Digest as _, Sha256};

/// A hash of parts: two lists of parts that differ give different hashes.
pub(crate) struct Digest(Sha256);

impl Digest {
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// Feeds one part, with its length, so that parts cannot run into each other.
    pub fn part(&mut self, text: &str) -> &mut Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
        self
    }

    /// The hash as hexadecimal text.
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The hash of a list of parts, as hexadecimal text.
pub fn digest_of<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut digest = Digest::new();
    for part in parts {
        digest.part(part);
    }
    digest.finish()
}
