//! The rules of this workspace that neither the compiler nor clippy knows. Each is also a test.
//!
//! Owns: the list of rules. Never: mends anything.

mod errors;
mod features;
mod files;
mod layers;
mod links;
mod packages;
mod samples;
mod words;

use anyhow::{Result, bail};

use crate::run::say;
use crate::workspace::Workspace;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the root.
    pub path: String,
    /// From 1, where one line is to blame.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Finding {
    /// A breach by a whole file.
    pub fn file(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: None,
            message: message.into(),
        }
    }

    /// A breach in a line, counted from 1.
    pub fn line(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: Some(line),
            message: message.into(),
        }
    }
}

type Rule = fn(&Workspace) -> Result<Vec<Finding>>;

const RULES: &[(&str, Rule)] = &[
    ("layers", layers::check),
    ("files", files::check),
    ("words", words::check),
    ("errors", errors::check),
    ("packages", packages::check),
    ("features", features::check),
    ("samples", samples::check),
    ("links", links::check),
];

/// Checks every rule and shows every finding.
pub fn tidy(workspace: &Workspace) -> Result<()> {
    let mut count = 0;
    for (name, rule) in RULES {
        for finding in rule(workspace)? {
            let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
            say(&format!("tidy[{name}]: {}{line}: {}", finding.path, finding.message));
            count += 1;
        }
    }
    match count {
        0 => Ok(()),
        1 => bail!("1 finding"),
        _ => bail!("{count} findings"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, RULES};
    use crate::workspace::Workspace;

    fn holds(name: &str) {
        let workspace = Workspace::open().unwrap();
        let (_, rule) = RULES.iter().find(|(rule, _)| *rule == name).unwrap();
        assert_eq!(rule(&workspace).unwrap(), Vec::<Finding>::new());
    }

    #[test]
    fn dependencies_point_one_way() {
        holds("layers");
    }

    #[test]
    fn files_say_what_they_own_and_stay_small() {
        holds("files");
    }

    #[test]
    fn nothing_is_left_undone_or_tied_to_a_machine() {
        holds("words");
    }

    #[test]
    fn every_error_code_has_a_page_and_a_test() {
        holds("errors");
    }

    #[test]
    fn one_version_of_each_engine_crate_and_licences_allowed() {
        holds("packages");
    }

    #[test]
    fn demo_and_tests_share_what_they_build() {
        holds("features");
    }

    #[test]
    fn every_sample_is_run() {
        holds("samples");
    }

    #[test]
    fn links_between_pages_lead_somewhere() {
        holds("links");
    }

    #[test]
    fn every_rule_is_also_a_test() {
        let names: Vec<&str> = RULES.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "layers", "files", "words", "errors", "packages", "features", "samples", "links"
            ]
        );
    }
}
