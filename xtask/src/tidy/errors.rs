//! One code, one page, one test.
//!
//! Owns: that the three go together. Never: what a page says.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::Finding;
use crate::workspace::{TextFile, Workspace};

const CODES: &str = "catalog/src/diagnostic/code.rs";
const PAGES: &str = "docs/errors/";

/// Checks that every code has a page with its title and a test that names it, and that no page is without a code.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let codes = codes(workspace.text(CODES).unwrap_or_default());
    ensure!(!codes.is_empty(), "no error code found in {CODES}");
    let mut findings = Vec::new();
    for (code, title) in &codes {
        let page = format!("{PAGES}{code}.md");
        let heading = format!("# {code}: {title}\n");
        match workspace.text(&page) {
            None => findings.push(Finding::file(
                &page,
                format!("missing; it begins with `{}`", heading.trim_end()),
            )),
            Some(text) if !text.starts_with(&heading) => {
                findings.push(Finding::line(
                    &page,
                    1,
                    format!("must begin with `{}`", heading.trim_end()),
                ));
            }
            Some(_) => {}
        }
        if !workspace
            .files
            .iter()
            .any(|file| test_code(file).contains(code.as_str()))
        {
            findings.push(Finding::file(CODES, format!("no test names {code}")));
        }
    }
    for file in workspace.files.iter().filter(|file| file.path.starts_with(PAGES)) {
        let name = file.path.trim_start_matches(PAGES).trim_end_matches(".md");
        if name != "README" && !codes.contains_key(name) {
            findings.push(Finding::file(&file.path, "no code has this page"));
        }
    }
    Ok(findings)
}

/// By code, its title: the lines `SQL012 Caller "column not found";`.
fn codes(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (code, rest) = line.trim().split_once(' ')?;
        let title = rest.split_once('"')?.1.strip_suffix("\";")?;
        let (letters, digits) = (code.get(..3)?, code.get(3..)?);
        let shaped = letters.bytes().all(|byte| byte.is_ascii_uppercase())
            && digits.len() == 3
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        shaped.then(|| (code.to_owned(), title.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// The part of a file that runs only under test.
fn test_code(file: &TextFile) -> &str {
    match file.extension() {
        "slt" => &file.text,
        "rs" | "py" if file.is_test() => &file.text,
        "rs" => file.text.get(file.production().len()..).unwrap_or_default(),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::{codes, test_code};
    use crate::workspace::TextFile;

    #[test]
    fn codes_are_read_with_their_titles() {
        let found =
            codes("codes! {\n    // Files.\n    PRJ001 Project \"the project cannot be read\";\n    not a code;\n}\n");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("PRJ001".to_owned(), "the project cannot be read".to_owned())]
        );
    }

    #[test]
    fn only_test_code_counts_as_a_test() {
        let file = TextFile {
            path: "a/src/b.rs".into(),
            text: "let x = PRJ001;\n#[cfg(test)]\nmod tests { PRJ002 }".into(),
        };
        assert!(!test_code(&file).contains("PRJ001"));
        assert!(test_code(&file).contains("PRJ002"));
    }
}
