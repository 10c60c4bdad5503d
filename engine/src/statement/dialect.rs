//! The SQL that Caliber reads: PostgreSQL's precedence and literals, the clauses DataFusion runs, nothing else.
//!
//! Owns: what the tokenizer and parser accept, and the budget of work a parse may take. Never: decides what is allowed
//! (`admit_query` does). A clause that no part of Caliber could run is off here, so that it is a plain syntax error.

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

const POSTGRESQL: PostgreSqlDialect = PostgreSqlDialect {};

/// The dialect of one parse.
#[derive(Debug)]
pub(crate) struct CaliberDialect {
    /// The parser tries some constructs twice and rewinds, which doubles at each level of nesting; so the expressions
    /// it starts are counted.
    expressions_left: Cell<usize>,
}

impl CaliberDialect {
    /// For a text of so many tokens.
    pub(crate) fn new(tokens: usize) -> Self {
        Self {
            expressions_left: Cell::new(tokens.saturating_mul(8).saturating_add(10_000)),
        }
    }

    /// Whether a parse gave up because it took too much work.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.expressions_left.get() == 0
    }
}

macro_rules! on {
    ($($feature:ident)*) => { $(fn $feature(&self) -> bool { true })* };
}

impl Dialect for CaliberDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '"'
    }

    /// Wide and no-break spaces are spaces, not letters.
    fn is_identifier_start(&self, character: char) -> bool {
        character.is_alphabetic()
            || character == '_'
            || !(character.is_ascii() || character.is_whitespace() || character.is_control())
    }

    fn is_identifier_part(&self, character: char) -> bool {
        self.is_identifier_start(character) || character.is_ascii_digit() || character == '$'
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        POSTGRESQL.prec_value(precedence)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRESQL.get_next_precedence(parser)
    }

    fn parse_prefix(&self, _parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.expressions_left.get().checked_sub(1) {
            Some(left) if left > 0 => {
                self.expressions_left.set(left);
                None
            }
            _ => {
                self.expressions_left.set(0);
                Some(Err(ParserError::RecursionLimitExceeded))
            }
        }
    }

    on! {
        allow_extract_custom
        allow_extract_single_quotes
        support_map_literal_syntax
        supports_array_typedef_with_brackets
        supports_bitwise_shift_operators
        supports_comma_separated_trim
        supports_dictionary_syntax
        supports_filter_during_aggregation
        supports_group_by_expr
        supports_nested_comments
        supports_notnull_operator
        supports_numeric_literal_underscores
        supports_parens_around_table_factor
        supports_select_wildcard_except
        supports_select_wildcard_exclude
        supports_select_wildcard_replace
        supports_string_escape_constant
        supports_unicode_string_literal
        supports_window_clause_named_window_reference
        supports_window_function_null_treatment_arg
    }
}
