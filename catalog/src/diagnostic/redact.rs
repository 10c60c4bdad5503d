//! What of a project's file may stand in a diagnostic.
//!
//! Owns: covering every value that nobody declared safe, character by character. Never: decides which keys are secret
//! in a file that was understood (the format's tables do).

use std::ops::Range;

/// What may be shown of a text that was understood.
///
/// Safe by construction: a value is covered unless it was declared clear, so a misspelt `password` is covered too.
#[derive(Debug)]
pub(super) struct Cover {
    clear: Vec<Range<usize>>,
    values: Vec<Range<usize>>,
}

impl Cover {
    pub(super) fn new(mut clear: Vec<Range<usize>>, mut values: Vec<Range<usize>>) -> Self {
        clear.sort_by_key(|range| range.start);
        values.sort_by_key(|range| range.start);
        Self { clear, values }
    }

    /// The line, values that are not clear as asterisks; a comment ends it.
    pub(super) fn show(&self, text: &str, line: Range<usize>) -> String {
        let near = |ranges: &[Range<usize>]| -> Vec<Range<usize>> {
            ranges
                .iter()
                .filter(|range| range.start < line.end && range.end > line.start)
                .cloned()
                .collect()
        };
        let (clear, values) = (near(&self.clear), near(&self.values));
        let mut shown = String::with_capacity(line.len());
        let mut after_space = true;
        for (offset, character) in text[line.clone()].char_indices() {
            let at = line.start + offset;
            let within = |ranges: &[Range<usize>]| ranges.iter().any(|range| range.contains(&at));
            let open = character.is_whitespace() || character.is_ascii_punctuation();
            if within(&clear) {
                shown.push(character);
            } else if within(&values) {
                shown.push(if character.is_whitespace() { character } else { '*' });
            } else if character == '#' && after_space {
                break;
            } else {
                shown.push(if open { character } else { '*' });
            }
            after_space = character.is_whitespace();
        }
        cover_addresses(&shown).trim_end().to_string()
    }
}

/// What is shown of a line of a file that could not be understood: the word before its first colon, and the marks that
/// make YAML's structure. Where nobody can tell a key from a value, every value is covered.
pub(super) fn show_unparsed(text: &str, line: Range<usize>) -> String {
    let line = text.get(line).unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    let colon = line.find(':').unwrap_or(0);
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let key = line.get(indent..colon).is_some_and(|key| key.chars().all(word));
    let cover = |(at, c): (usize, char)| {
        let structure = c.is_whitespace() || "{}[],:\"'|>&*#-".contains(c);
        if structure || (key && at < colon) { c } else { '*' }
    };
    line.char_indices().map(cover).collect()
}

/// Covers what stands before an `@`, back to a space, a quote or `://`: an address's user and password.
fn cover_addresses(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut parts = line.split('@').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            shown.push_str(part);
            break;
        }
        let word = part
            .rfind(|c: char| c.is_whitespace() || c == '"' || c == '\'')
            .map_or(0, |at| at + 1);
        let (before, word) = part.split_at(word);
        let user = word.rfind("://").map_or(0, |at| at + 3);
        let (scheme, user) = word.split_at(user);
        shown.push_str(before);
        shown.push_str(scheme);
        shown.extend(user.chars().map(|_| '*'));
        shown.push('@');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        let start = text.rfind('\n').map_or(0, |at| at + 1);
        assert_eq!(show_unparsed(text, start..text.len()), shown);
    }

    #[test]
    fn a_broken_files_secrets_are_covered() {
        check("connector: postgres", "connector: ********");
        check("password: hunter2", "password: *******");
        check("pasword hunter2", "******* *******");
        check("url: |\n  one and more", "  *** *** ****");
        check("a b: c", "* *: *");
        check(
            "eva: { pa{ss: \"x1\", roles: [r] }",
            "eva: { **{**: \"**\", *****: [*] }",
        );
    }

    #[test]
    fn addresses_keep_their_hosts_only() {
        assert_eq!(
            cover_addresses("see db://me:p/w@host/x, a@b"),
            "see db://******@host/x, *@b"
        );
        assert_eq!(cover_addresses("nothing here"), "nothing here");
    }

    #[test]
    fn values_nobody_declared_clear_are_covered() {
        let text = "name: berka  # not shown\nother: s3cret!";
        let cover = Cover::new(vec![0..4, 6..11, 25..30], vec![6..11, 32..39]);
        assert_eq!(cover.show(text, 0..24), "name: berka");
        assert_eq!(cover.show(text, 25..39), "other: *******");
    }
}
