//! From the text a client sent to one admitted statement whose names are exact. Works on text and syntax alone.
//!
//! Owns: the steps below, in this order, and the list of functions a statement may call. Never: plans, knows a session,
//! or asks who the caller is beyond the names that are visible to it.
//!
//! 1. `bound_text`: the text is short enough, and its tokens promise a tree that is shallow enough.
//! 2. `rewrite_placeholders`: `?` becomes `$1`, `$2`…
//! 3. `parse_statement`: exactly one statement of a kind that only reads.
//! 4. `admit_query`: every clause of it is one that Caliber knows.
//! 5. `resolve_identifiers` (with `resolve_tables`, `resolve_relations`, `resolve_columns`): tables and columns get their exact names, among those that are visible.
//! 6. `name_outputs`: no two columns of the result share a name.

mod admit_query;
mod bound_text;
pub(crate) mod bounded_allocation;
pub(crate) mod dated_view;
mod dialect;
mod functions;
mod name_outputs;
mod name_scope;
mod nesting;
mod parse_statement;
mod query_text;
mod resolve_columns;
mod resolve_identifiers;
mod resolve_relations;
mod resolve_tables;
mod rewrite_placeholders;
mod statement_text;

pub(crate) use functions::{
    aggregate_functions, bounded, bounded_concatenation, expr_planners, refused, scalar_functions, window_functions,
};
pub(crate) use name_outputs::{name_outputs, written_names};
pub(crate) use parse_statement::{Admitted, ExplainMode, parse_expression};
pub(crate) use query_text::QueryText;
pub(crate) use resolve_identifiers::resolve_identifiers;
pub(crate) use resolve_tables::{VisibleNames, resolve_schema, resolve_table};
pub use statement_text::StatementText;
pub(crate) use statement_text::hex;

use crate::EngineError;

/// A statement that passed every rule that needs no catalog.
#[derive(Debug)]
pub(crate) struct ReadStatement {
    /// The text as it was written; every error points into it.
    pub text: QueryText,
    /// What it asks for.
    pub admitted: Admitted,
    /// How many parameters it takes: `$1` to `$n`, without gaps.
    pub parameters: usize,
}

/// Reads a statement: steps 1 to 4. Errors: LIM001, SQL001, SQL002, SQL003, SQL016.
pub(crate) fn read_statement(sql: &str) -> Result<ReadStatement, EngineError> {
    let (text, mut tokens) = bound_text::bound_text(sql)?;
    let parameters = rewrite_placeholders::rewrite_placeholders(&text, &mut tokens)?;
    let mut admitted = parse_statement::parse_statement(&text, tokens)?;
    if let Admitted::Query(query) | Admitted::Explain { query, .. } = &mut admitted {
        admit_query::admit_query(&text, query)?;
    }
    Ok(ReadStatement {
        text,
        admitted,
        parameters,
    })
}

#[cfg(test)]
mod tests;
