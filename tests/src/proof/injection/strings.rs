//! The hostile strings, and what LIKE means.
//!
//! Owns: the alphabet; which strings a place can hold. Never: escapes for a source.

use std::collections::HashSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Texts that broke out of a literal somewhere.
pub const PAYLOADS: [&str; 4] = ["'\\'') or 1=1) --'", "')) or 1=1) -- '", "A\\' OR 1=1 --", "a''b"];

/// What strings are made of. `¿'` and `縗` are bytes 0xBF 0x27 and 0xBF 0x5C in encodings that were exploited.
const ALPHABET: &[&str] = &[
    "\\", "'", "\"", "`", "%", "_", ";", "--", "/*", "*/", "#", "\0", "¥", "\u{2bc}", "\u{2019}", "¿'", "縗", "😀",
    "\n", "\r", "\t", " ", ")", "(", "or 1=1", "a", "B", "$1", "?", ":x", "@@v", "''", "\\'", "{", "}", "\u{feff}",
    "é",
];

/// Pieces of one string, at most.
const PIECES: usize = 8;

/// `count` different strings, the payloads among them: those that every source takes as pattern and value first, then
/// those whose backslashes are no plain pattern, then those with NUL.
pub fn strings(count: usize, seed: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut known: HashSet<String> = PAYLOADS.iter().map(|&text| text.to_owned()).collect();
    let mut all: Vec<String> = PAYLOADS.iter().map(|&text| text.to_owned()).collect();
    while all.len() < count {
        let pieces = random.random_range(1..=PIECES);
        let text: String = (0..pieces)
            .map(|_| ALPHABET[random.random_range(0..ALPHABET.len())])
            .collect();
        if known.insert(text.clone()) {
            all.push(text);
        }
    }
    all.sort_by_key(|text| (text.contains('\0'), !is_plain_pattern(text)));
    all
}

/// Whether a backslash of it stands before `%`, `_` or a backslash only.
fn is_plain_pattern(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character == '\\' && !matches!(characters.next(), Some('%' | '_' | '\\')) {
            return false;
        }
    }
    true
}

/// Whether a source evaluates `pattern`. One that matches everything is made IS NOT NULL OR NULL before it could.
pub fn may_travel(pattern: &str) -> bool {
    let all = !pattern.is_empty() && pattern.chars().all(|character| character == '%');
    !all && is_plain_pattern(pattern) && !pattern.contains('\0') && !pattern.ends_with('\\')
}

/// `text LIKE pattern`: `%` any characters, `_` one, `\` the next one as it is, and itself at the end.
pub fn like(text: &str, pattern: &str) -> bool {
    enum Piece {
        Any,
        One,
        This(char),
    }
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '%' => Piece::Any,
            '_' => Piece::One,
            '\\' => Piece::This(characters.next().unwrap_or('\\')),
            other => Piece::This(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // The places in the text up to which the pieces so far match.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for piece in pieces {
        let mut next = vec![false; text.len() + 1];
        match piece {
            Piece::Any => {
                let first = reached.iter().position(|at| *at);
                next.iter_mut()
                    .skip(first.unwrap_or(usize::MAX))
                    .for_each(|at| *at = true);
            }
            Piece::One => next[1..].copy_from_slice(&reached[..text.len()]),
            Piece::This(wanted) => {
                for (at, character) in text.iter().enumerate() {
                    next[at + 1] = reached[at] && *character == wanted;
                }
            }
        }
        reached = next;
    }
    reached[text.len()]
}

/// The text as a pattern. One without a wildcard is made a comparison before any source sees it, so it gets one.
pub fn pattern(text: &str) -> String {
    if text.contains(['%', '_']) {
        text.to_owned()
    } else {
        format!("{text}%")
    }
}

/// A literal of the user's SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A quoted name of the user's SQL, and of PostgreSQL and SQLite.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_sqls() {
        for (text, pattern, expected) in [
            ("abc", "abc", true),
            ("abc", "a%", true),
            ("abc", "_b_", true),
            ("abc", "ab", false),
            ("", "%", true),
            ("", "_", false),
            ("a\nb", "a_b", true),
            ("a%b", "a\\%b", true),
            ("axb", "a\\%b", false),
            ("a\\b", "a\\\\b", true),
            ("a'b", "a\\'b", true),
            ("a\\", "a\\", true),
            ("😀", "_", true),
            ("ab", "%%b%", true),
        ] {
            assert_eq!(like(text, pattern), expected, "{text:?} LIKE {pattern:?}");
        }
    }

    #[test]
    fn the_payloads_are_among_the_strings_and_none_twice() {
        let strings = strings(2_000, 7);
        assert_eq!(strings.len(), 2_000);
        assert_eq!(strings.iter().collect::<HashSet<_>>().len(), 2_000);
        assert!(
            PAYLOADS
                .iter()
                .all(|payload| strings.iter().any(|text| text == payload))
        );
    }
}
