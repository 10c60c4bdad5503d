//! The hash chain: each record holds its number, the hash of the one before, and its own.
//!
//! Owns: the canonical bytes of a line, and whether a line is one. Never: what a record says, or a file.

use ring::digest::{SHA256, digest};
use serde_json::Value;

/// Between a record's content and its hash.
const HASH_KEY: &str = r#","hash":""#;
/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 64;

/// The newest record of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; the first record's is 1.
    pub seq: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
}

impl Head {
    /// Before the first record.
    pub fn genesis() -> Self {
        Self {
            seq: 0,
            hash: "0".repeat(HASH_DIGITS),
        }
    }
}

/// The line of the next record, which becomes the head. `body` is what it says: members of a JSON object, without braces.
///
/// The hash is SHA-256 over the line's bytes up to `,"hash":`, the hash before included.
pub fn seal(head: &mut Head, time: &str, body: &str) -> String {
    let seq = head.seq + 1;
    let mut line = format!(r#"{{"seq":{seq},"time":"{time}","prev":"{}",{body}"#, head.hash);
    let hash = hash_of(line.as_bytes());
    line.push_str(HASH_KEY);
    line.push_str(&hash);
    line.push_str("\"}\n");
    *head = Head { seq, hash };
    line
}

/// A whole record.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// What it makes the head.
    pub head: Head,
    /// The hash it says the record before it has.
    pub prev: String,
    /// All of it.
    pub value: Value,
}

/// The record on `line` (without its end), if the line is what `seal` wrote.
pub fn read(line: &[u8]) -> Option<Sealed> {
    let text = std::str::from_utf8(line).ok()?;
    let at = text.len().checked_sub(HASH_KEY.len() + HASH_DIGITS + 2)?;
    let (content, tail) = text.split_at_checked(at)?;
    let hash = tail.strip_prefix(HASH_KEY)?.strip_suffix("\"}")?;
    if hash != hash_of(content.as_bytes()) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let seq = value.get("seq")?.as_u64()?;
    let prev = value.get("prev")?.as_str()?.to_owned();
    let hash = hash.to_owned();
    Some(Sealed {
        head: Head { seq, hash },
        prev,
        value,
    })
}

/// SHA-256, hexadecimal.
pub fn hash_of(bytes: &[u8]) -> String {
    use std::fmt::Write;
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .fold(String::with_capacity(HASH_DIGITS), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_and_any_changed_byte_is_noticed() {
        let mut head = Head::genesis();
        let first = seal(&mut head, "2026-01-01T00:00:00Z", r#""kind":"a","text":"x ‹y›""#);
        let line = first.trim_end().as_bytes();
        let sealed = read(line).unwrap();
        assert_eq!((sealed.head.seq, &sealed.head), (1, &head));
        assert_eq!(sealed.prev, Head::genesis().hash);
        assert_eq!(sealed.value["text"], "x ‹y›");
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(read(&changed).is_none(), "byte {at}");
        }
        let second = seal(&mut head, "2026-01-01T00:00:00Z", r#""kind":"b""#);
        assert_eq!(read(second.trim_end().as_bytes()).unwrap().prev, sealed.head.hash);
    }

    /// Of `printf '%s' CONTENT | sha256sum`.
    #[test]
    fn the_hash_is_plain_sha_256_of_the_content() {
        assert_eq!(
            hash_of(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
