//! Where statements end in a text.
//!
//! Owns: quotes and comments as far as a `;` inside them is concerned. Never: parses SQL.

/// The statements of `text`, without their `;`, empty ones left out; and whether the last was ended by one.
pub fn split(text: &str) -> (Vec<&str>, bool) {
    let mut statements = Vec::new();
    let (mut start, mut position, mut ended) = (0, 0, true);
    while let Some(character) = text[position..].chars().next() {
        let rest = &text[position..];
        position += match character {
            ';' => {
                statements.push(&text[start..position]);
                start = position + 1;
                1
            }
            '\'' | '"' | '`' => quoted(rest, character),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => commented(rest),
            other => other.len_utf8(),
        };
    }
    if !is_blank(&text[start..]) {
        statements.push(&text[start..]);
        ended = false;
    }
    statements.retain(|statement| !is_blank(statement));
    (statements.into_iter().map(str::trim).collect(), ended)
}

/// Whether more must be typed before anything can run.
pub fn is_open(text: &str) -> bool {
    !split(text).1
}

/// Bytes of a quoted text with its quotes; the quote twice is one inside.
fn quoted(text: &str, quote: char) -> usize {
    let inside = &text[quote.len_utf8()..];
    inside
        .find(quote)
        .map_or(text.len(), |at| quote.len_utf8() + at + quote.len_utf8())
}

/// Bytes of a comment; comments nest.
fn commented(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(character) = text[at..].chars().next() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += character.len_utf8();
        }
    }
    text.len()
}

fn is_blank(statement: &str) -> bool {
    let mut rest = statement.trim_start();
    while !rest.is_empty() {
        let comment = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            commented(rest)
        } else {
            return false;
        };
        rest = rest[comment..].trim_start();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, statements: &[&str], open: bool) {
        assert_eq!(split(text).0, statements, "{text}");
        assert_eq!(is_open(text), open, "{text}");
    }

    #[test]
    fn only_a_semicolon_outside_quotes_and_comments_ends_a_statement() {
        check("", &[], false);
        check(" ;; ", &[], false);
        check("SELECT 1", &["SELECT 1"], true);
        check("SELECT 1;", &["SELECT 1"], false);
        check("SELECT 1; SELECT 2", &["SELECT 1", "SELECT 2"], true);
        check(
            "SELECT ';', \"a;b\" -- ;\n, 'it''s;' /* ; /* ; */ ; */;",
            &["SELECT ';', \"a;b\" -- ;\n, 'it''s;' /* ; /* ; */ ; */"],
            false,
        );
        check("SELECT '行;", &["SELECT '行;"], true);
        check("-- only a note", &[], false);
        check("SELECT 1 /* open ;", &["SELECT 1 /* open ;"], true);
        check("SELECT 1; -- done\n", &["SELECT 1"], false);
    }
}
