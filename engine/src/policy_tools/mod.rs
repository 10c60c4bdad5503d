//! What policies mean and what a change of them opens, for those who hold the project's files.
//!
//! Owns: the explanation of a table and of a statement, the comparison of two projects, as data. Never: words for a
//! terminal, an answer of its own: it asks the decision, the compiled enforcement and the row evaluation that
//! statements run under. Whoever may call this may see everything.

mod cells;
mod compare;
mod count;
mod explain;
mod owners;
mod principals;
mod statement;
mod why_closed;

pub use cells::{ColumnState, Shown};
pub use compare::{ColumnChange, Comparison, TableChange, changed_sources, compare};
pub use count::{CellCounts, EntityCount, RowCounts, count_rows};
pub use explain::{
    ColumnExplanation, Effect, EntityRule, Opening, PathStep, PolicyExplanation, RowRule, TableExplanation,
};
pub use principals::{ComparedUsers, compared_users};
pub use statement::{StatementExplanation, ViewExplanation, is_ordered};
pub use why_closed::in_words;
