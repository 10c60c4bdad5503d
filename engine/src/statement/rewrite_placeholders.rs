//! Step 2: `?` becomes `$1`, `$2`… in order, so that everything behind knows one kind of parameter.
//!
//! Owns: the two ways to write a parameter, and their count. Never: looks into strings or comments: it works on tokens,
//! which also keep the places of the text as it was written.

use std::collections::BTreeMap;

use caliber_catalog::diagnostic::Code;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::query_text::{QueryText, with_help};
use crate::EngineError;

/// Parameters of one statement, at most: what the PostgreSQL protocol allows.
pub(crate) const PARAMETERS: usize = 65_535;

/// Rewrites `?` and says how many parameters there are. Error: SQL016.
pub(crate) fn rewrite_placeholders(text: &QueryText, tokens: &mut [TokenWithSpan]) -> Result<usize, EngineError> {
    let mut positional = 0_usize;
    let mut numbered: BTreeMap<usize, Span> = BTreeMap::new();
    for token in tokens {
        let Token::Placeholder(name) = &mut token.token else {
            continue;
        };
        if name == "?" {
            positional += 1;
            *name = format!("${positional}");
        } else {
            numbered.entry(number(text, name, token.span)?).or_insert(token.span);
        }
        if positional > 0
            && let Some((_, span)) = numbered.first_key_value()
        {
            let error = text.error(Code::SQL016, *span, "`?` and `$1` are mixed in one statement");
            return Err(with_help(
                error,
                "write every parameter as `?`, or every parameter as `$1`, `$2`…",
            ));
        }
        if positional > PARAMETERS {
            let message = format!("more than {PARAMETERS} parameters");
            return Err(text.error(Code::SQL016, token.span, message));
        }
    }
    for (expected, (found, span)) in (1..).zip(&numbered) {
        if expected != *found {
            let message = format!("parameter `${found}` without `${expected}`");
            return Err(with_help(
                text.error(Code::SQL016, *span, message),
                "number parameters from `$1` without gaps",
            ));
        }
    }
    Ok(positional.max(numbered.len()))
}

/// The number of `$n`.
fn number(text: &QueryText, name: &str, span: Span) -> Result<usize, EngineError> {
    name.strip_prefix('$')
        .filter(|digits| !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|number| *number <= PARAMETERS)
        .ok_or_else(|| {
            let error = text.error(Code::SQL016, span, format!("`{name}` is not a parameter"));
            with_help(error, format!("write `?`, or `$1` to `${PARAMETERS}`"))
        })
}
