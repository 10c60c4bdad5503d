//! Step 1: the bounds of a statement, before anything is parsed.
//!
//! Owns: length, tokens, and the promise that parsing, planning and dropping what follows is shallow and quick
//! (measured against `nesting`). Never: parses.
//!
//! Parsers and planners recurse over trees: 20,000 times `1+1` overflows a stack, 5,000 take half a minute
//! (DataFusion issues 22229 and 22936). sqlparser's own limit counts brackets but not flat chains.

use caliber_catalog::diagnostic::Code;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};

use super::dialect::CaliberDialect;
use super::nesting::{Exceeded, Nesting};
use super::query_text::{QueryText, with_help};
use crate::EngineError;

/// Bytes of a statement, at most.
pub(crate) const STATEMENT_BYTES: usize = 256 * 1024;

/// Tokenises a statement and checks every bound that its tokens show.
///
/// Gives the text and its tokens without whitespace and comments, each with the place it was written at.
/// Errors: LIM001 for a bound, SQL001 for text that is not SQL.
pub(crate) fn bound_text(sql: &str) -> Result<(QueryText, Vec<TokenWithSpan>), EngineError> {
    if sql.len() > STATEMENT_BYTES {
        let error = EngineError {
            code: Code::LIM001,
            message: format!(
                "the statement has {} bytes, more than the {STATEMENT_BYTES} allowed",
                sql.len()
            ),
            place: None,
            label: None,
            help: None,
        };
        return Err(with_help(
            error,
            "send long lists of values as parameters, or join a table instead",
        ));
    }
    let text = QueryText::new(sql);
    let mut tokens = Vec::new();
    Tokenizer::new(&CaliberDialect::new(0), sql)
        .tokenize_with_location_into_buf(&mut tokens)
        .map_err(|error| {
            let span = Span::new(error.location, error.location);
            text.error(Code::SQL001, span, sentence(&error.message))
        })?;
    separate_numbers(&text, &tokens)?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    measure(&text, &tokens)?;
    Ok((text, tokens))
}

/// `1a` would read as `1 AS a`: a typing error with a plausible answer.
fn separate_numbers(text: &QueryText, tokens: &[TokenWithSpan]) -> Result<(), EngineError> {
    for (token, next) in tokens.iter().zip(tokens.iter().skip(1)) {
        if let (Token::Number(number, _), Token::Word(word)) = (&token.token, &next.token)
            && word.quote_style.is_none()
        {
            let message = format!("`{number}{}` is neither a number nor a name", word.value);
            let span = Span::new(token.span.start, next.span.end);
            let help = "put a space between the number and what follows, or double quotes around a name";
            return Err(with_help(text.error(Code::SQL001, span, message), help));
        }
    }
    Ok(())
}

fn measure(text: &QueryText, tokens: &[TokenWithSpan]) -> Result<(), EngineError> {
    let mut nesting = Nesting::new(tokens);
    for (index, token) in tokens.iter().enumerate() {
        nesting
            .token(index)
            .map_err(|exceeded| refuse(text, token.span, exceeded))?;
    }
    nesting.finish().map_err(|exceeded| match tokens.last() {
        Some(last) => refuse(text, last.span, exceeded),
        None => refuse(text, Span::empty(), exceeded),
    })
}

fn refuse(text: &QueryText, span: Span, exceeded: Exceeded) -> EngineError {
    with_help(text.error(Code::LIM001, span, exceeded.message()), exceeded.help())
}

/// A library's sentence in our form: lower case at its start, no place at its end.
fn sentence(message: &str) -> String {
    let message = message.split(" at Line:").next().unwrap_or(message).trim();
    let mut characters = message.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}
