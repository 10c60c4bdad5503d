//! Fragments of SQL with their parameters inside.
//!
//! Owns: the order of parameters, which is the order of the text whatever was rendered first. Never: a value as text.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::ArrayRef;

use super::{Dialect, Parameter, RenderedQuery};
use crate::Value;

/// A fragment: text, and places for parameters between.
#[derive(Clone, Debug, Default)]
pub struct Sql {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    /// Shared by the copies of a fragment, so that they can share a number.
    Parameter(Arc<Parameter>),
}

impl Sql {
    /// Text of ours: words, identifiers, numbers that no user wrote.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            pieces: vec![Piece::Text(text.into())],
        }
    }

    /// The place of `value`.
    pub fn value(value: &Value) -> Self {
        Self::parameter(Parameter::Value(value.clone()))
    }

    /// The place of an array of keys.
    pub fn keys(keys: &ArrayRef) -> Self {
        Self::parameter(Parameter::Keys(keys.clone()))
    }

    fn parameter(parameter: Parameter) -> Self {
        Self {
            pieces: vec![Piece::Parameter(Arc::new(parameter))],
        }
    }

    /// `template` with each `{}` replaced by the next of `parts`.
    pub fn of(template: &'static str, parts: &[&Sql]) -> Self {
        let mut whole = Self::default();
        let mut parts = parts.iter();
        for (at, text) in template.split("{}").enumerate() {
            if at > 0
                && let Some(part) = parts.next()
            {
                whole.append(part);
            }
            whole.push(text);
        }
        whole
    }

    /// The parts with `between` between them.
    pub fn joined(parts: &[Sql], between: &'static str) -> Self {
        let mut whole = Self::default();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                whole.push(between);
            }
            whole.append(part);
        }
        whole
    }

    /// Adds text of ours.
    pub fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Adds a fragment.
    pub fn append(&mut self, other: &Sql) {
        for piece in &other.pieces {
            match piece {
                Piece::Text(text) => self.push(text),
                parameter @ Piece::Parameter(_) => self.pieces.push(parameter.clone()),
            }
        }
    }

    /// About how many characters it has.
    pub fn len(&self) -> usize {
        let length = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Parameter(_) => 1,
        };
        self.pieces.iter().map(length).sum()
    }

    /// Whether it has nothing.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether both are the same text without a parameter.
    pub fn is_text_of(&self, other: &Sql) -> bool {
        match (self.pieces.as_slice(), other.pieces.as_slice()) {
            ([Piece::Text(one)], [Piece::Text(other)]) => one == other,
            _ => false,
        }
    }

    /// The statement: every place a placeholder. Where placeholders have numbers, a parameter that is written twice is
    /// bound once.
    pub(super) fn finish(&self, dialect: &dyn Dialect) -> RenderedQuery {
        let mut sql = String::with_capacity(self.len() + 16);
        let mut bound: Vec<&Arc<Parameter>> = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => sql.push_str(text),
                Piece::Parameter(parameter) => {
                    let known = bound.iter().position(|other| Arc::ptr_eq(other, parameter));
                    let at = match known {
                        Some(at) if !dialect.is_positional() => at,
                        _ => {
                            bound.push(parameter);
                            bound.len() - 1
                        }
                    };
                    // Writing to a String cannot fail.
                    let _ = write!(sql, "{}", dialect.placeholder(at + 1, parameter));
                }
            }
        }
        let parameters = bound.into_iter().map(|parameter| (**parameter).clone()).collect();
        RenderedQuery { sql, parameters }
    }
}

/// `parts` joined by AND or OR, in halves where there are many: a parser that nests a chain nests it ten deep and not a
/// thousand.
pub(super) fn chain(mut parts: Vec<Sql>, between: &'static str, of_none: &'static str) -> Sql {
    /// The longest chain written flat.
    const FLAT_MAX: usize = 50;
    match parts.len() {
        0 => Sql::text(of_none),
        1 => parts.swap_remove(0),
        2..=FLAT_MAX => Sql::of("({})", &[&Sql::joined(&parts, between)]),
        many => {
            let rest = parts.split_off(many / 2);
            let halves = [chain(parts, between, of_none), chain(rest, between, of_none)];
            Sql::of("({})", &[&Sql::joined(&halves, between)])
        }
    }
}
