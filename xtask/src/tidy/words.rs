//! Words that must not be in the checkout: work left undone, and paths of one person's machine.
//!
//! Owns: the list. Never: style, which reviewers weigh.

use anyhow::Result;

use super::Finding;
use crate::workspace::Workspace;

/// Each word in two pieces, so that this file does not hold it; the endings of the files it must not be in (none: all).
const WORDS: &[(&str, &str, &[&str], &str)] = &[
    (
        "TO",
        "DO",
        &["rs", "py", "sh", "slt", "toml"],
        "do it, or file an issue",
    ),
    (
        "FIX",
        "ME",
        &["rs", "py", "sh", "slt", "toml"],
        "fix it, or file an issue",
    ),
    ("db", "g!(", &["rs"], "left from debugging"),
    ("todo", "!(", &["rs"], "not written yet"),
    ("unimplemented", "!(", &["rs"], "not written yet"),
    ("/wo", "rk/", &[], "a path of one machine"),
    ("/ro", "ot/", &[], "a path of one machine"),
];

/// Checks every line of every text file.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in &workspace.files {
        for (first, second, endings, reason) in WORDS {
            let word = format!("{first}{second}");
            if !(endings.is_empty() || endings.contains(&file.extension())) || !file.text.contains(&word) {
                continue;
            }
            let lines = file.text.lines().enumerate().filter(|(_, line)| line.contains(&word));
            findings
                .extend(lines.map(|(index, _)| Finding::line(&file.path, index + 1, format!("`{word}`: {reason}"))));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use crate::workspace::{TextFile, Workspace};

    #[test]
    fn a_word_is_found_with_its_line() {
        let text = format!("//! x\n// {}{}: later\n", "TO", "DO");
        let file = TextFile {
            path: "engine/src/lib.rs".to_owned(),
            text,
        };
        let findings = super::check(&Workspace {
            root: ".".into(),
            files: vec![file],
        })
        .unwrap();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(2));
    }
}
