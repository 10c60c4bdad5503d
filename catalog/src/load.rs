//! Reads a project folder: files → trees → one tree → checked values → the model.
//!
//! Owns: the order of those steps; all findings of all steps at once. Never: connects, or compares with what a source
//! holds (`CatalogSnapshot::resolve`).

mod check;
mod digest;
mod expectations;
mod files;
mod format;
mod format_identity;
mod interpolate;
mod json_schema;
mod merge;
mod model;
mod node;
mod scalar;
mod shape;
mod value;
mod yaml;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;

use crate::diagnostic::{Code, Diagnostic, Place, SourceText};
use crate::project::Project;
use crate::source::ConnectorKind;
use check::Checker;
use node::Findings;

pub use expectations::{expectation_files, load_expectations};
pub use json_schema::json_schema;

/// The file every project has.
const MAIN_FILE: &str = "caliber.yaml";

/// Where `${env:NAME}` comes from.
pub trait Environment {
    /// The variable's value.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The process's own environment.
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the configuration's one door to the environment"
    )]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Loads the project in `folder`: every `.yaml` file in it and below, hidden ones left out, as one.
///
/// `kinds` are the connectors of this build. Errors: every finding, at least one of them an error, in the order of
/// files and places. Success: the project, and warnings.
pub fn load(
    folder: &Path,
    environment: &dyn Environment,
    kinds: &[ConnectorKind],
) -> Result<(Project, Vec<Diagnostic>), Vec<Diagnostic>> {
    load_texts(folder, None, environment, kinds).map(|(project, warnings, _)| (project, warnings))
}

/// Where a changed file stands in a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFile {
    /// Its name in the project.
    pub name: String,
    /// Whether it stands in the place of another; otherwise it is added.
    pub replaces: bool,
}

/// Loads the project in `folder` as it would be with the file at `change` in the place of its own file of that name (of
/// several, the one whose path ends most like `change`), or beside its files where none has that name.
pub fn load_changed(
    folder: &Path,
    change: &Path,
    environment: &dyn Environment,
    kinds: &[ConnectorKind],
) -> Result<(Project, Vec<Diagnostic>, Option<ChangedFile>), Vec<Diagnostic>> {
    load_texts(folder, Some(change), environment, kinds)
}

fn load_texts(
    folder: &Path,
    change: Option<&Path>,
    environment: &dyn Environment,
    kinds: &[ConnectorKind],
) -> Result<(Project, Vec<Diagnostic>, Option<ChangedFile>), Vec<Diagnostic>> {
    let unreadable = |reason: String, help: &str| {
        Err(vec![
            Diagnostic::error(
                Code::PRJ001,
                format!("the project folder `{}` {reason}", folder.display()),
            )
            .help(help),
        ])
    };
    let root = match folder.canonicalize() {
        Ok(root) if root.is_dir() => root,
        Ok(_) => return unreadable("is not a folder".into(), "give the folder that holds `caliber.yaml`"),
        Err(error) => {
            return unreadable(
                format!("cannot be read: {}", error.kind()),
                "give the folder that holds `caliber.yaml`",
            );
        }
    };
    let mut findings = Findings::default();
    let mut texts = files::read(&root, &mut findings);
    let changed = change
        .and_then(|change| files::replace(&mut texts, change, &mut findings))
        .map(|(name, replaces)| ChangedFile { name, replaces });
    if !root.join(MAIN_FILE).exists() {
        return unreadable(format!("holds no `{MAIN_FILE}`"), "`caliber init` makes one");
    }
    let mut trees = Vec::new();
    for text in &texts {
        match yaml::parse(text, &mut findings) {
            Some(tree) => trees.push(tree),
            None => findings.incomplete = true,
        }
    }
    let sections = merge::merge(trees, &mut findings);
    let main = texts.iter().find(|text| text.name == MAIN_FILE).cloned();
    let top = Place::new(main.unwrap_or_else(|| SourceText::guarded(MAIN_FILE, "")), 0..0);
    let mut checker = Checker {
        findings: &mut findings,
        environment,
        root: &root,
        kinds,
    };
    let fields = checker.project(&sections, &top);
    let names: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
    let project = model::build(&fields, &root, kinds, &names, &mut findings);
    match project {
        Some(project) if !findings.has_error() => Ok((project, findings.finish(), changed)),
        _ => Err(findings.finish()),
    }
}
