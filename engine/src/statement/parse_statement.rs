//! Step 3: exactly one statement, of a kind that only reads.
//!
//! Owns: the list of kinds, and syntax errors as people read them. Never: parses a kind that is not on the list: what a
//! statement may begin with is decided on its first word, so that nothing else of the grammar is reached.

use caliber_catalog::diagnostic::{Code, did_you_mean};
use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, Query};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

use super::bound_text::bound_text;
use super::dialect::CaliberDialect;
use super::nesting::NESTING;
use super::query_text::{QueryText, with_help};
use crate::EngineError;

/// The parser recurses a few times for each level that `nesting` counts, and grows its stack as it needs.
const PARSER_RECURSION: usize = NESTING * 12;

const KINDS: &str =
    "SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, SHOW SCHEMAS, SHOW COLUMNS FROM and DESCRIBE are allowed";

/// A statement of a kind that is allowed.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// SELECT, with CTEs and set operations, or VALUES.
    Query(Box<Query>),
    /// EXPLAIN of a query.
    Explain {
        /// The query; it is not run but under `ExplainMode::Analyze`.
        query: Box<Query>,
        /// What to tell of it.
        mode: ExplainMode,
    },
    /// `SHOW TABLES`, of one schema or all.
    ShowTables {
        /// The schema, as it was written.
        schema: Option<Ident>,
    },
    /// `SHOW SCHEMAS`.
    ShowSchemas,
    /// `SHOW COLUMNS FROM table`, `DESCRIBE table`.
    Describe {
        /// The table, as it was written.
        table: ObjectName,
    },
}

/// How much an EXPLAIN tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExplainMode {
    /// The plan.
    Plan,
    /// The plan at each step.
    Verbose,
    /// The plan with what running it took: the query is run.
    Analyze,
}

/// Parses the tokens of a text. Errors: SQL001 (syntax), SQL002 (kind), SQL003 (several), LIM001.
pub(crate) fn parse_statement(text: &QueryText, tokens: Vec<TokenWithSpan>) -> Result<Admitted, EngineError> {
    let tokens = single(text, tokens)?;
    let mut reader = Reader::new(text, tokens);
    let Some(first) = reader.peek() else {
        return Err(EngineError {
            code: Code::SQL001,
            message: "the statement is empty".to_owned(),
            place: None,
            label: None,
            help: None,
        });
    };
    match &first.token {
        Token::LParen => reader.query().map(Admitted::Query),
        Token::Word(word) if word.quote_style.is_none() => {
            let (keyword, written) = (word.keyword, word.value.to_uppercase());
            match keyword {
                Keyword::SELECT | Keyword::WITH | Keyword::VALUES => reader.query().map(Admitted::Query),
                Keyword::EXPLAIN => reader.explain(),
                Keyword::SHOW => reader.show(),
                Keyword::DESCRIBE | Keyword::DESC => reader.describe(1),
                _ => Err(refuse_kind(text, first.span, &written, keyword)),
            }
        }
        other => Err(text.error(
            Code::SQL001,
            first.span,
            format!("expected a statement, found `{other}`"),
        )),
    }
}

/// Parses one expression of a project file (a policy, an attribute) under the same bounds and dialect.
pub(crate) fn parse_expression(sql: &str) -> Result<(QueryText, Expr), EngineError> {
    let (text, tokens) = bound_text(sql)?;
    let mut reader = Reader::new(&text, bracket_lists(tokens));
    let expression = reader.parse(0, |parser| parser.parse_expr())?;
    drop(reader);
    Ok((text, expression))
}

/// `IN principal.roles` means `IN (principal.roles)`: an attribute can be a list, which the grammar does not know.
fn bracket_lists(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let keyword = |token: &TokenWithSpan, wanted| matches!(&token.token, Token::Word(word) if word.keyword == wanted);
    let mut bracketed = Vec::with_capacity(tokens.len());
    let mut left = tokens.into_iter().peekable();
    while let Some(token) = left.next() {
        let list = keyword(&token, Keyword::IN)
            && left.peek().is_some_and(|next| {
                matches!(&next.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("principal"))
            });
        let span = token.span;
        bracketed.push(token);
        if list {
            bracketed.push(TokenWithSpan::new(Token::LParen, span));
            bracketed.extend(left.by_ref().take(3));
            bracketed.push(TokenWithSpan::new(Token::RParen, span));
        }
    }
    bracketed
}

/// Drops the semicolons at both ends; one between tokens is an error.
fn single(text: &QueryText, mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, EngineError> {
    while tokens.last().is_some_and(|token| token.token == Token::SemiColon) {
        tokens.pop();
    }
    let leading = tokens
        .iter()
        .take_while(|token| token.token == Token::SemiColon)
        .count();
    tokens.drain(..leading);
    let mut behind = tokens
        .iter()
        .skip_while(|token| token.token != Token::SemiColon)
        .skip(1);
    match behind.find(|token| token.token != Token::SemiColon) {
        Some(second) => {
            let error = text.error(Code::SQL003, second.span, "more than one statement");
            Err(with_help(error, "send statements one at a time"))
        }
        None => Ok(tokens),
    }
}

/// Words that begin a statement in some SQL; any other word at the start is a typing error.
const REFUSED_KINDS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "ATTACH",
    "BEGIN",
    "CACHE",
    "CALL",
    "CHECKPOINT",
    "CLOSE",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DENY",
    "DETACH",
    "DISCARD",
    "DO",
    "DROP",
    "END",
    "EXECUTE",
    "EXPORT",
    "FETCH",
    "FLUSH",
    "FROM",
    "GRANT",
    "HANDLER",
    "IMPORT",
    "INSERT",
    "INSTALL",
    "KILL",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MSCK",
    "NOTIFY",
    "OPEN",
    "OPTIMIZE",
    "PRAGMA",
    "PREPARE",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPAIR",
    "REPLACE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "START",
    "TABLE",
    "TRUNCATE",
    "UNCACHE",
    "UNLISTEN",
    "UNLOAD",
    "UNLOCK",
    "UPDATE",
    "UPSERT",
    "USE",
    "VACUUM",
];

fn refuse_kind(text: &QueryText, span: Span, written: &str, keyword: Keyword) -> EngineError {
    if REFUSED_KINDS.contains(&written) {
        let message = format!("{written} is not allowed: Caliber answers queries and changes nothing");
        let help = match keyword {
            Keyword::SET | Keyword::RESET => "the options of a session are fixed; its schema is chosen when connecting",
            Keyword::PREPARE | Keyword::EXECUTE | Keyword::DEALLOCATE => "prepare statements through the driver",
            Keyword::BEGIN | Keyword::START | Keyword::COMMIT | Keyword::ROLLBACK => {
                "each statement reads one snapshot; turn autocommit on in the client"
            }
            Keyword::TABLE | Keyword::FROM => "write SELECT * FROM table",
            _ => KINDS,
        };
        return with_help(text.error(Code::SQL002, span, message), help);
    }
    let error = text.error(
        Code::SQL001,
        span,
        format!("expected a statement, found `{}`", shorten(written)),
    );
    let kinds = ["SELECT", "WITH", "VALUES", "EXPLAIN", "SHOW", "DESCRIBE"];
    match did_you_mean(written, kinds) {
        Some(near) => with_help(error, format!("did you mean `{near}`?")),
        None => with_help(error, KINDS),
    }
}

/// The tokens of one statement, and what is read from them.
struct Reader<'a> {
    text: &'a QueryText,
    tokens: Vec<TokenWithSpan>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a QueryText, tokens: Vec<TokenWithSpan>) -> Self {
        Self { text, tokens }
    }

    fn peek(&self) -> Option<&TokenWithSpan> {
        self.tokens.first()
    }

    fn keyword(&self, at: usize) -> Option<Keyword> {
        match self.tokens.get(at).map(|token| &token.token) {
            Some(Token::Word(Word {
                quote_style: None,
                keyword,
                ..
            })) => Some(*keyword),
            _ => None,
        }
    }

    fn query(&mut self) -> Result<Box<Query>, EngineError> {
        self.parse(0, |parser| parser.parse_query())
    }

    /// Parses everything behind the first `skip` tokens.
    fn parse<T>(
        &mut self,
        skip: usize,
        parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<T, EngineError> {
        let tokens: Vec<TokenWithSpan> = self.tokens.iter().skip(skip).cloned().collect();
        let dialect = CaliberDialect::new(tokens.len());
        let mut parser = Parser::new(&dialect)
            .with_tokens_with_locations(tokens)
            .with_recursion_limit(PARSER_RECURSION);
        let parsed = parse(&mut parser).and_then(|parsed| {
            let next = parser.peek_token();
            if next.token == Token::EOF {
                Ok(parsed)
            } else {
                parser.expected("end of statement", next)
            }
        });
        parsed.map_err(|error| self.syntax_error(&error, dialect.is_exhausted()))
    }

    fn explain(&mut self) -> Result<Admitted, EngineError> {
        let mut mode = ExplainMode::Plan;
        let mut at = 1;
        let in_brackets = self.tokens.get(1).is_some_and(|token| token.token == Token::LParen)
            && matches!(
                self.keyword(2),
                Some(Keyword::ANALYZE | Keyword::VERBOSE | Keyword::FORMAT)
            );
        if in_brackets {
            at += 1;
        }
        while let Some(token) = self.tokens.get(at) {
            match self.keyword(at) {
                Some(Keyword::ANALYZE) => mode = ExplainMode::Analyze,
                Some(Keyword::VERBOSE) if mode == ExplainMode::Plan => mode = ExplainMode::Verbose,
                Some(Keyword::VERBOSE) => {}
                _ if in_brackets && token.token == Token::Comma => {}
                _ => break,
            }
            at += 1;
        }
        if in_brackets {
            match self.tokens.get(at) {
                Some(token) if token.token == Token::RParen => at += 1,
                other => {
                    let span = other.map_or(Span::empty(), |token| token.span);
                    let error = self
                        .text
                        .error(Code::SQL002, span, "this option of EXPLAIN is not allowed");
                    return Err(with_help(error, "EXPLAIN takes VERBOSE and ANALYZE"));
                }
            }
        }
        let is_query = self.tokens.get(at).is_some_and(|token| token.token == Token::LParen)
            || matches!(
                self.keyword(at),
                Some(Keyword::SELECT | Keyword::WITH | Keyword::VALUES)
            );
        if !is_query && let Some(token) = self.tokens.get(at) {
            let message = "EXPLAIN takes a query only";
            return Err(with_help(
                self.text.error(Code::SQL002, token.span, message),
                "write EXPLAIN SELECT …",
            ));
        }
        let query = self.parse(at, |parser| parser.parse_query())?;
        Ok(Admitted::Explain { query, mode })
    }

    fn show(&mut self) -> Result<Admitted, EngineError> {
        let from = matches!(self.keyword(2), Some(Keyword::FROM | Keyword::IN));
        match (self.keyword(1), self.tokens.len()) {
            (Some(Keyword::TABLES), 2) => Ok(Admitted::ShowTables { schema: None }),
            (Some(Keyword::TABLES), 4) if from => {
                let schema = self.parse(3, |parser| parser.parse_identifier())?;
                Ok(Admitted::ShowTables { schema: Some(schema) })
            }
            (Some(Keyword::SCHEMAS), 2) => Ok(Admitted::ShowSchemas),
            (Some(Keyword::COLUMNS | Keyword::FIELDS), count) if from && count > 3 => self.describe(3),
            _ => {
                let last = self
                    .tokens
                    .last()
                    .or(self.peek())
                    .map_or(Span::empty(), |token| token.span);
                let error = self.text.error(Code::SQL002, last, "this kind of SHOW is not allowed");
                Err(with_help(
                    error,
                    "write SHOW TABLES [FROM schema], SHOW SCHEMAS or SHOW COLUMNS FROM table",
                ))
            }
        }
    }

    fn describe(&mut self, at: usize) -> Result<Admitted, EngineError> {
        let at = if self.keyword(at) == Some(Keyword::TABLE) {
            at + 1
        } else {
            at
        };
        if matches!(
            self.keyword(at),
            Some(Keyword::SELECT | Keyword::WITH | Keyword::VALUES)
        ) && let Some(token) = self.tokens.get(at)
        {
            let error = self.text.error(Code::SQL002, token.span, "DESCRIBE takes a table only");
            return Err(with_help(error, "write EXPLAIN for a query"));
        }
        let table = self.parse(at, |parser| parser.parse_object_name(false))?;
        Ok(Admitted::Describe { table })
    }

    /// The parser's error, without its noise: `expected X, found Y`, at the token it means.
    fn syntax_error(&self, error: &ParserError, exhausted: bool) -> EngineError {
        let message = match error {
            ParserError::RecursionLimitExceeded => None,
            _ if exhausted => None,
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => Some(message.as_str()),
        };
        let Some(message) = message else {
            let error = EngineError {
                code: Code::LIM001,
                message: "the statement is nested too deeply, or would take too long to read".to_owned(),
                place: None,
                label: None,
                help: None,
            };
            return with_help(error, "name parts of the query with WITH, side by side");
        };
        let (sentence, location) = split_location(message);
        let sentence = sentence
            .replacen("Expected: ", "expected ", 1)
            .replacen(", found: ", ", found ", 1);
        let sentence = sentence.replacen("found EOF", "found the end of the statement", 1);
        let span = location.and_then(|location| {
            let token = self.tokens.iter().find(|token| token.span.start == location);
            token.map(|token| token.span)
        });
        let error = EngineError {
            code: Code::SQL001,
            message: shorten(&lower_first(sentence.trim())),
            place: None,
            label: None,
            help: None,
        };
        match span {
            Some(span) => EngineError {
                place: self.text.place(span),
                ..error
            },
            None => EngineError {
                place: Some(self.text.end()),
                ..error
            },
        }
    }
}

/// `sentence at Line: 1, Column: 8`.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let Some((sentence, place)) = message.rsplit_once(" at Line: ") else {
        return (message, None);
    };
    let location = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?)));
    (sentence, location)
}

fn lower_first(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// One line of at most 160 characters.
fn shorten(message: &str) -> String {
    let line: String = message
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if line.chars().count() <= 160 {
        return line;
    }
    line.chars().take(159).chain(['…']).collect()
}
