//! Small parts of plans that the branches share.
//!
//! Owns: columns, calls of registered functions, casts. Never: a plan's shape.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, TableReference};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, cast, lit, when};

use crate::EngineError;

/// A column of the relation named `alias`.
pub(crate) fn of(alias: &str, column: &str) -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare(alias.to_owned())), column))
}

/// A column without the name of its relation.
pub(crate) fn bare(column: &str) -> Expr {
    Expr::Column(Column::new_unqualified(column))
}

/// The same expression with each column that `replace` knows replaced.
pub(crate) fn replaced(
    expr: &Expr,
    replace: &dyn Fn(&str) -> Result<Option<Expr>, EngineError>,
) -> Result<Expr, EngineError> {
    let done = expr.clone().transform_up(|part| {
        if let Expr::Column(column) = &part
            && let Some(other) = replace(&column.name)?
        {
            return Ok(Transformed::yes(other));
        }
        Ok(Transformed::no(part))
    })?;
    Ok(done.data)
}

/// An aggregate of the session.
pub(crate) fn aggregate(state: &SessionState, name: &str, argument: Expr, distinct: bool) -> Result<Expr, EngineError> {
    let found = state.aggregate_functions().get(name);
    let function = found.ok_or_else(|| EngineError::internal("an aggregate is missing", &name))?;
    let call = AggregateFunction::new_udf(Arc::clone(function), vec![argument], distinct, None, Vec::new(), None);
    Ok(Expr::AggregateFunction(call))
}

/// A scalar function of the session.
pub(crate) fn call(state: &SessionState, name: &str, arguments: Vec<Expr>) -> Result<Expr, EngineError> {
    let found = state.scalar_functions().get(name);
    let function = found.ok_or_else(|| EngineError::internal("a function is missing", &name))?;
    Ok(function.call(arguments))
}

/// `value` where `condition` holds, else NULL.
pub(crate) fn only_where(condition: Option<&Expr>, value: Expr) -> Result<Expr, EngineError> {
    Ok(match condition {
        Some(condition) => when(condition.clone(), value).end()?,
        None => value,
    })
}

/// All of them.
pub(crate) fn all(conditions: impl IntoIterator<Item = Expr>) -> Option<Expr> {
    conditions.into_iter().reduce(Expr::and)
}

/// As a date.
pub(crate) fn date(expr: Expr) -> Expr {
    cast(expr, DataType::Date32)
}

/// As a floating point number.
pub(crate) fn float(expr: Expr) -> Expr {
    cast(expr, DataType::Float64)
}

/// One, to be counted.
pub(crate) fn one() -> Expr {
    lit(1_i64)
}
