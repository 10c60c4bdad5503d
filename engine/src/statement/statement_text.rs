//! A statement's text as audit may keep it: its structure, with a keyed hash in the place of every literal.
//!
//! Owns: what counts as a literal. Never: gives the text itself away.

use std::fmt::{self, Write};
use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use ring::hmac::{Key, sign};

use super::bound_text::STATEMENT_BYTES;
use super::dialect::CaliberDialect;

/// The bytes of a literal's hash that are kept: enough to see that two are equal.
const LITERAL_HASH_BYTES: usize = 4;

/// The text of a statement. Who holds it reads no literal from it, only hashes under a key of his own; it does not print.
#[derive(Clone)]
pub struct StatementText(Arc<str>);

impl StatementText {
    /// Of a statement as it was sent.
    pub fn new(sql: &str) -> Self {
        Self(Arc::from(sql))
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The HMAC of the whole text under `key`, hexadecimal.
    pub fn hash(&self, key: &Key) -> String {
        hex(sign(key, self.0.as_bytes()).as_ref())
    }

    /// The text with `‹hmac:1a2b3c4d›` for each literal, without comments, white space as one space; at most `bytes_max`
    /// bytes, cut at a token, and whether it was cut. `None` where it is not tokens of SQL or longer than a statement may be.
    ///
    /// Names stay as they are, quoted ones too. Only words, placeholders and punctuation are kept, so that a kind of literal
    /// that the tokenizer learns one day is hashed.
    pub fn without_literals(&self, key: &Key, bytes_max: usize) -> Option<(String, bool)> {
        if self.0.len() > STATEMENT_BYTES {
            return None;
        }
        let tokens = Tokenizer::new(&CaliberDialect::new(0), &self.0).tokenize().ok()?;
        let mut text = String::with_capacity(self.0.len());
        for token in tokens {
            let end = text.len();
            write_token(&token, key, &mut text);
            if text.len() > bytes_max {
                text.truncate(end);
                return Some((text, true));
            }
        }
        Some((text.trim().to_owned(), false))
    }
}

fn write_token(token: &Token, key: &Key, text: &mut String) {
    let kept = match token {
        Token::Whitespace(_) => {
            if !text.ends_with(' ') {
                text.push(' ');
            }
            return;
        }
        Token::Word(_) | Token::Placeholder(_) => Some(token.to_string()),
        other => Some(other.to_string()).filter(|written| is_punctuation(written)),
    };
    match kept {
        Some(kept) => text.push_str(&kept),
        None => {
            let hash = sign(key, token.to_string().as_bytes());
            let short = hash.as_ref().get(..LITERAL_HASH_BYTES).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(text, "‹hmac:{}›", hex(short));
        }
    }
}

fn is_punctuation(written: &str) -> bool {
    written
        .chars()
        .all(|character| character.is_ascii_punctuation() && !matches!(character, '\'' | '"'))
}

impl fmt::Debug for StatementText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatementText({} bytes)", self.0.len())
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use ring::hmac::HMAC_SHA256;

    use super::*;

    fn hidden(sql: &str) -> String {
        let key = Key::new(HMAC_SHA256, b"a key of the test");
        StatementText::new(sql).without_literals(&key, 10_000).unwrap().0
    }

    #[test]
    fn no_literal_of_any_kind_is_kept_and_the_structure_is() {
        let text = hidden(
            "SELECT \"A b\", secret1 -- comment secret0\n FROM t /* secret0 */ WHERE a='secret2' AND b = N'secret3' \
             AND c IN (1234567, 1.5e9) AND d = $$secret4$$ AND e = $tag$secret5$tag$ AND f = E'secret6\\n' \
             AND g = X'5ec7e7' AND h = DATE '2024-01-01' AND i = U&'secret8' AND j = $1 AND k||'' <> ''",
        );
        for literal in [
            "secret0", "secret2", "secret3", "1234567", "1.5", "secret4", "secret5", "secret6", "5ec7e7", "2024",
            "secret8",
        ] {
            assert!(!text.contains(literal), "{literal} is in {text}");
        }
        assert!(
            text.starts_with("SELECT \"A b\", secret1 FROM t WHERE a=‹hmac:"),
            "{text}"
        );
        assert!(text.contains(" AND j = $1 AND k||‹hmac:"), "{text}");
        assert!(text.contains(" AND c IN (‹hmac:"), "{text}");
    }

    #[test]
    fn equal_literals_are_equal_under_one_key_and_not_under_another() {
        let text = hidden("SELECT 'a', 'a', 'b'");
        let hashes: Vec<&str> = text.trim_start_matches("SELECT ").split(", ").collect();
        assert_eq!(hashes[0], hashes[1]);
        assert_ne!(hashes[0], hashes[2]);
        let other = Key::new(HMAC_SHA256, b"another key");
        let statement = StatementText::new("SELECT 'a', 'a', 'b'");
        assert_ne!(statement.without_literals(&other, 10_000).unwrap().0, text);
        assert_ne!(
            statement.hash(&other),
            statement.hash(&Key::new(HMAC_SHA256, b"a key of the test"))
        );
    }

    #[test]
    fn what_is_no_sql_or_too_long_has_no_text_and_a_long_one_is_cut() {
        let key = Key::new(HMAC_SHA256, b"a key of the test");
        assert!(StatementText::new("SELECT 'open").without_literals(&key, 100).is_none());
        let long = format!("SELECT {}", "1, ".repeat(STATEMENT_BYTES / 3));
        assert!(StatementText::new(&long).without_literals(&key, 100).is_none());
        let (text, cut) = StatementText::new("SELECT 1, 2, 3, 4, 5")
            .without_literals(&key, 60)
            .unwrap();
        assert!(cut && text.len() <= 60, "{text}");
        assert_eq!(
            format!("{:?}", StatementText::new("SELECT 'secret'")),
            "StatementText(15 bytes)"
        );
    }
}
