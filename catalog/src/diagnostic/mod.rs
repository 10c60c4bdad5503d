//! What went wrong, where, and what to do: one shape for project files and SQL alike.
//!
//! Owns: codes, places in text, the rendering of `design`'s error shape. Never: prints, or decides an exit code.

mod code;
mod place;
mod redact;
mod render;

pub use code::{Code, Fault};
pub use place::{Place, SourceText};
pub use render::render;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The project or statement cannot be used.
    Error,
    /// It can be used, but somebody should look.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Its stable code; `docs/errors/CODE.md` explains it.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// One line, lower case, names in backticks, complete alone.
    pub message: String,
    /// Where, if the input was text.
    pub place: Option<Place>,
    /// What stands beside the caret.
    pub label: Option<String>,
    /// Further places (the first definition of a name defined twice), each with its remark.
    pub related: Vec<(Place, String)>,
    /// What to do, as a full instruction.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without place or help.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            place: None,
            label: None,
            related: Vec::new(),
            help: None,
        }
    }

    /// A warning without place or help.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// The same with its place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same with a remark beside the caret.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same with an instruction.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with one more place.
    pub fn related(mut self, place: Place, remark: impl Into<String>) -> Self {
        self.related.push((place, remark.into()));
        self
    }
}

/// The nearest of `candidates` to `word`, if one is near enough to suggest.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count().min(word.chars().count()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
