//! Turns a `RemoteQuery` into one statement with bind parameters.
//!
//! Owns: what a dialect has to know, the entry. Never: a value in the text, an identifier that was not introspected,
//! edits of text already rendered.
//!
//! `sql.rs` holds fragments and their parameters, `block.rs` makes SELECTs (`select.rs`) of relations, `expression.rs`
//! writes expressions, `dialect.rs` says what differs between databases.

mod block;
mod dialect;
mod expression;
mod names;
mod needed;
mod select;
mod sql;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use crate::{RemoteColumn, RemoteQuery, RemoteTable, Value};

pub use dialect::{Call, Dialect, operator};
pub use select::Subquery;
pub use sql::Sql;

/// A bind parameter.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// One value.
    Value(Value),
    /// An array of keys, bound as one parameter.
    Keys(ArrayRef),
}

/// A statement and what to bind to it, in order.
#[derive(Clone, Debug)]
pub struct RenderedQuery {
    /// The text: identifiers, operators, placeholders and numbers of ours only.
    pub sql: String,
    /// The parameters, in the order of their placeholders.
    pub parameters: Vec<Parameter>,
}

/// What an expression is made of: some SQL, and what is known of its value.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Its text.
    pub sql: Sql,
    /// The Arrow type it stands for.
    pub data_type: DataType,
    /// Where it comes from.
    pub form: Form,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// Where an operand comes from, and so how far its text may be trusted to be of its type.
#[derive(Clone, Debug)]
pub enum Form {
    /// A column of a table as the source stores it: its table, its index there.
    Column(Arc<RemoteTable>, usize),
    /// A column of a derived table, of the database's own type for the operand's.
    Derived,
    /// An expression of the database's own type for the operand's.
    Typed,
    /// An expression with the operand's values, but maybe of a narrower or wider type in the database.
    Loose,
    /// A bind parameter.
    Value(Value),
}

impl Operand {
    /// An expression of the database's own type for `data_type`.
    pub fn typed(sql: Sql, data_type: &DataType) -> Self {
        Self::new(sql, data_type, Form::Typed)
    }

    /// An expression whose type in the database may be another than its own for `data_type`.
    pub fn loose(sql: Sql, data_type: &DataType) -> Self {
        Self::new(sql, data_type, Form::Loose)
    }

    fn new(sql: Sql, data_type: &DataType, form: Form) -> Self {
        Self {
            sql,
            data_type: data_type.clone(),
            form,
            nullable: true,
        }
    }

    /// A value, as a parameter.
    pub fn value(value: &Value) -> Self {
        Self {
            nullable: false,
            ..Self::new(Sql::value(value), &value.data_type(), Form::Value(value.clone()))
        }
    }

    /// The described column, where the text is just that.
    pub fn described(&self) -> Option<&RemoteColumn> {
        match &self.form {
            Form::Column(table, index) => table.columns.get(*index),
            _ => None,
        }
    }

    /// The value, where the text is its placeholder.
    pub fn as_value(&self) -> Option<&Value> {
        match &self.form {
            Form::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Whether it is of text.
    pub fn is_text(&self) -> bool {
        self.data_type == DataType::Utf8
    }

    /// Whether the text is no more than the name of a column.
    pub fn is_name(&self) -> bool {
        matches!(self.form, Form::Column(..) | Form::Derived)
    }
}

/// The statement for `query` in `dialect`.
pub fn render(query: &RemoteQuery, dialect: &dyn Dialect) -> RenderedQuery {
    block::statement(&query.root, dialect).finish(dialect)
}

#[cfg(test)]
mod tests;
