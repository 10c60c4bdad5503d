//! The text of a statement as it was written, and the places in it.
//!
//! Owns: the way from the tokenizer's lines and columns to byte ranges. Never: reads SQL.

use std::sync::Arc;

use caliber_catalog::diagnostic::{Code, Place, SourceText};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use crate::EngineError;

/// A statement's text. Debug shows its name only: literals in it may be a customer's data.
#[derive(Clone, Debug)]
pub(crate) struct QueryText {
    source: Arc<SourceText>,
}

impl QueryText {
    /// A text under the name errors show: `query`.
    pub(crate) fn new(sql: &str) -> Self {
        Self {
            source: SourceText::new("query", sql),
        }
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.source.text
    }

    /// The byte offset of a line and column, both from 1, columns in characters. Beyond the text: its end.
    pub(crate) fn offset(&self, location: Location) -> usize {
        let text = self.as_str();
        let mut start = 0;
        for _ in 1..location.line {
            match text.get(start..).and_then(|rest| rest.find('\n')) {
                Some(at) => start += at + 1,
                None => return text.len(),
            }
        }
        let column = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let rest = text.get(start..).unwrap_or_default();
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }

    /// The place of a token or name; none for a name that was not written.
    pub(crate) fn place(&self, span: Span) -> Option<Place> {
        if span.start.line == 0 {
            return None;
        }
        Some(Place::new(
            Arc::clone(&self.source),
            self.offset(span.start)..self.offset(span.end),
        ))
    }

    /// The place just behind the text.
    pub(crate) fn end(&self) -> Place {
        let end = self.as_str().trim_end().len();
        Place::new(Arc::clone(&self.source), end..end)
    }

    /// An error at a token or name.
    pub(crate) fn error(&self, code: Code, span: Span, message: impl Into<String>) -> EngineError {
        EngineError {
            code,
            message: message.into(),
            place: self.place(span),
            label: None,
            help: None,
        }
    }
}

/// The same error with an instruction.
pub(crate) fn with_help(error: EngineError, help: impl Into<String>) -> EngineError {
    EngineError {
        help: Some(help.into()),
        ..error
    }
}

/// The same error with a remark beside the caret.
pub(crate) fn with_label(error: EngineError, label: impl Into<String>) -> EngineError {
    EngineError {
        label: Some(label.into()),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: u64, column: u64, expected: usize) {
        assert_eq!(
            QueryText::new(text).offset(Location::new(line, column)),
            expected,
            "{text:?} {line}:{column}"
        );
    }

    #[test]
    fn lines_and_columns_become_byte_offsets() {
        check("SELECT 1", 1, 1, 0);
        check("SELECT 1", 1, 8, 7);
        check("客户 x", 1, 4, 7);
        check("a\r\nbc", 2, 2, 4);
        check("a\nb", 9, 1, 3);
        check("a\nb", 2, 99, 3);
    }
}
