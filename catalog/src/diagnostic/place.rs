//! A place in a text somebody wrote.
//!
//! Owns: file, byte range, line and column; what of a text may be shown. Never: reads a file.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::redact::{self, Cover};

/// A text that diagnostics can point into.
pub struct SourceText {
    /// What it is called: a path relative to the project, or `query`.
    pub name: String,
    /// Its whole text. It may hold secrets: what is shown of it goes through [`Place::shown_line`].
    pub text: String,
    /// `None` shows the text as it is.
    cover: Option<OnceLock<Cover>>,
}

impl SourceText {
    /// A text under a name, shown as it is: a statement, shown only to the one who wrote it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
            cover: None,
        })
    }

    /// A text that may hold secrets. Until [`SourceText::reveal`] says which parts are safe to show, whatever
    /// looks like a secret is covered.
    pub fn guarded(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
            cover: Some(OnceLock::new()),
        })
    }

    /// Says what of a guarded text may be shown: `clear` as it is, the rest of `values` as asterisks. The first
    /// call counts.
    pub fn reveal(&self, clear: Vec<Range<usize>>, values: Vec<Range<usize>>) {
        if let Some(cover) = &self.cover {
            // A second call would only narrow or widen what the first one's owner decided.
            let _ = cover.set(Cover::new(clear, values));
        }
    }
}

impl PartialEq for SourceText {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.text == other.text
    }
}

impl Eq for SourceText {}

impl std::hash::Hash for SourceText {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.text.hash(state);
    }
}

/// The text may hold secrets, so only its name is shown.
impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceText({})", self.name)
    }
}

/// A range of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The text.
    pub source: Arc<SourceText>,
    /// Byte offsets into it; both on character boundaries, within the text.
    pub range: Range<usize>,
}

impl Place {
    /// A place, its range brought within the text and onto character boundaries.
    pub fn new(source: Arc<SourceText>, range: Range<usize>) -> Self {
        let floor = |offset: usize| {
            let mut offset = offset.min(source.text.len());
            while !source.text.is_char_boundary(offset) {
                offset -= 1;
            }
            offset
        };
        let start = floor(range.start);
        let range = start..floor(range.end).max(start);
        Self { source, range }
    }

    /// A part of this place, by offsets from its start; brought within the text.
    pub fn part(&self, part: Range<usize>) -> Self {
        let start = self.range.start;
        Self::new(
            Arc::clone(&self.source),
            start.saturating_add(part.start)..start.saturating_add(part.end),
        )
    }

    /// The line and column of the start, each from 1, columns counted in characters.
    pub fn line_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.range.start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// The range of the whole line the start stands on, without its line end.
    pub(super) fn line_range(&self) -> Range<usize> {
        let text = self.source.text.as_str();
        let start = text
            .get(..self.range.start)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |at| at + 1);
        let line = text
            .get(start..)
            .and_then(|rest| rest.split('\n').next())
            .unwrap_or_default();
        start..start + line.trim_end_matches('\r').len()
    }

    /// The whole line the start stands on, without its line end, secrets covered: one character for each of the
    /// line's own, so that columns stay; a comment of a project's file may be left out.
    pub fn shown_line(&self) -> String {
        let line = self.line_range();
        match &self.source.cover {
            None => self.source.text.get(line).unwrap_or_default().to_string(),
            Some(cover) => match cover.get() {
                Some(cover) => cover.show(&self.source.text, line),
                None => redact::show_unparsed(&self.source.text, line),
            },
        }
    }
}
