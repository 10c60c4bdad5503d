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

/// What is shown of a line of a file that could not be understood: anything after a word that smells of a secret is
/// covered, to the end of its line, its deeper lines and its quotes.
pub(super) fn show_unparsed(text: &str, line: Range<usize>) -> String {
    let mut hiding: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut start = 0;
    for part in text[..line.end].split('\n') {
        let indent = part.len() - part.trim_start().len();
        let blank = part.trim().is_empty();
        let secret = secret_from(part);
        let (word, mut cut) = secret.unwrap_or((part.len(), part.len()));
        if let Some(open) = quote {
            cut = 0;
            quote = if part.contains(open) { None } else { Some(open) };
        } else if hiding.is_some_and(|deep| blank || indent > deep) {
            cut = 0;
        } else if !part.contains(':') && !part.trim_start().starts_with('-') {
            // Neither a key nor an item: the rest of something, whatever its indentation says.
            cut = 0;
        } else {
            hiding = secret.map(|_| indent);
            quote = ['"', '\'']
                .into_iter()
                .find(|mark| part[word..].matches(*mark).count() % 2 == 1);
        }
        if start == line.start {
            let part = part.trim_end_matches('\r');
            let cut = cut.min(part.len());
            let covered: String = part[cut..]
                .chars()
                .map(|c| if c.is_whitespace() { c } else { '*' })
                .collect();
            return cover_addresses(&format!("{}{covered}", &part[..cut]));
        }
        start += part.len() + 1;
    }
    String::new()
}

/// Where a word that smells of a secret ends, and where after its separator the secret may begin.
fn secret_from(line: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    for word in line.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        let end = at + word.len();
        if smells_secret(word) {
            let rest = &line[end..];
            return Some((
                end,
                end + rest
                    .find(|c: char| !c.is_whitespace() && !":=\"'".contains(c))
                    .unwrap_or(rest.len()),
            ));
        }
        at = end + line[end..].chars().next().map_or(0, char::len_utf8);
    }
    line.find("$argon2").map(|at| (at, at))
}

fn smells_secret(word: &str) -> bool {
    const PARTS: [&str; 9] = ["pass", "pwd", "secret", "token", "cred", "url", "uri", "dsn", "_key"];
    const WORDS: [&str; 4] = ["password", "passwd", "secret", "token"];
    let word = word.to_lowercase();
    let near = |known: &&str| strsim::damerau_levenshtein(&word, known) <= 2;
    PARTS.iter().any(|part| word.contains(part)) || (word.len() > 3 && WORDS.iter().any(|known| near(&known)))
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
        check("connector: postgres", "connector: postgres");
        check("password: hunter2", "password: *******");
        check("pasword hunter2", "pasword *******");
        check("a:\nhunter2 {", "******* *");
        check("url: |\n  postgres and more", "  ******** *** ****");
        check("password: \"one\n two\" three", " **** *****");
        check("password: \"one\ntwo\" three", "**** *****");
        check("a: { password: x1, roles: [r] }", "a: { password: *** ****** *** *");
        check("x: $argon2id$v=19", "x: **************");
        check("see db://me:pw@host/x for more", "see db://*****@host/x for more");
    }

    #[test]
    fn values_nobody_declared_clear_are_covered() {
        let text = "name: berka  # not shown\nother: s3cret!";
        let cover = Cover::new(vec![0..4, 6..11, 25..30], vec![6..11, 32..39]);
        assert_eq!(cover.show(text, 0..24), "name: berka");
        assert_eq!(cover.show(text, 25..39), "other: *******");
    }
}
