//! A YAML file as a tree of nodes, each with its place.
//!
//! Owns: the tree (which has no `Debug`: it may hold secrets), and the findings of one load with what may be shown of each file. Never: knows a key.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Place, Severity, SourceText};

/// One value of a file.
pub(super) struct Node {
    pub place: Place,
    pub kind: Kind,
}

pub(super) enum Kind {
    /// Its text after YAML's escapes, and whether it stands without quotes (so that `1` is a number).
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

impl Node {
    /// What it is, in words.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar { .. } if self.is_null() => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a map",
        }
    }

    /// Whether it is YAML's null: nothing at all, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// One key of a mapping and its value.
pub(super) struct Entry {
    pub key: Key,
    pub value: Node,
}

/// A key, or any other text that names something.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub text: String,
    pub place: Place,
}

/// The most findings one load reports.
const FINDINGS_MAX: usize = 500;

/// Everything found so far, and what of each file may be shown.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Diagnostic>,
    sheets: HashMap<String, Sheet>,
    /// Whether a file could not be understood, so that a name not found may stand in it.
    pub incomplete: bool,
    left_out: usize,
}

#[derive(Debug)]
struct Sheet {
    source: Arc<SourceText>,
    clear: Vec<Range<usize>>,
    values: Vec<Range<usize>>,
}

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, diagnostic: Diagnostic) {
        if self.list.len() < FINDINGS_MAX {
            self.list.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// Notes a file that was understood: the ranges of its keys and values, none of them safe to show as yet.
    pub fn understood(&mut self, source: &Arc<SourceText>, values: Vec<Range<usize>>) {
        self.sheets.insert(
            source.name.clone(),
            Sheet {
                source: Arc::clone(source),
                clear: Vec::new(),
                values,
            },
        );
    }

    /// Declares a key or a value safe to show.
    pub fn clear(&mut self, place: &Place) {
        if let Some(sheet) = self.sheets.get_mut(&place.source.name) {
            sheet.clear.push(place.range.clone());
        }
    }

    /// Whether an error is among the findings.
    pub fn has_error(&self) -> bool {
        self.left_out > 0 || self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The findings in the order of their places; from here on files may be shown.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        for sheet in self.sheets.into_values() {
            sheet.source.reveal(sheet.clear, sheet.values);
        }
        self.list.sort_by_key(|finding| {
            finding
                .place
                .as_ref()
                .map(|place| (place.source.name.clone(), place.range.start))
        });
        if self.left_out > 0 {
            let message = format!("{} more findings are not shown", self.left_out);
            self.list
                .push(Diagnostic::error(Code::PRJ009, message).help("mend those above first"));
        }
        self.list
    }
}
