//! What lies between an aggregate and a part below it: the joins and filters, and which columns of the part they use.
//!
//! Owns: names for columns that no plan in between can shadow, putting the joins and filters back on top of another part.
//! Never: a decision.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, Join, LogicalPlan};

use super::partial_aggregate::ignores_repetition;
use super::region::{column, lost, may_fail, position, replaced};

/// What lies between an aggregate and a part below it. Columns are named by the plan that gives them, which has a name of
/// its own, and by position.
#[derive(Clone)]
pub(super) struct Way<'a> {
    /// From above to below.
    pub steps: Vec<Step<'a>>,
    pub groups: Vec<Expr>,
    pub calls: Vec<Expr>,
    /// Whether some row above has no row of the part.
    pub is_optional: bool,
}

#[derive(Clone)]
pub(super) enum Step<'a> {
    Filter(Expr),
    Join {
        join: &'a Join,
        /// The side that stays as it is.
        other: Arc<LogicalPlan>,
        is_part_left: bool,
        on: Vec<(Expr, Expr)>,
        filter: Option<Expr>,
    },
}

impl<'a> Way<'a> {
    pub fn has_join(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Join { .. }))
    }

    /// The calls whose value changes where a row is met more than once.
    pub fn repeated(&self) -> impl Iterator<Item = &Expr> {
        self.calls.iter().filter(|call| !ignores_repetition(call))
    }

    /// The same with `place(n)` for the column `n` of `name`.
    pub fn over(&self, name: &str, place: &dyn Fn(usize) -> Option<Expr>) -> Result<Self> {
        let mut over = |expr: &Expr| over(expr, name, place);
        Ok(Self {
            steps: self
                .steps
                .iter()
                .map(|step| step.map(&mut over))
                .collect::<Result<_>>()?,
            groups: self.groups.iter().map(&mut over).collect::<Result<_>>()?,
            calls: self.calls.iter().map(&mut over).collect::<Result<_>>()?,
            is_optional: self.is_optional,
        })
    }
}

impl Step<'_> {
    pub fn map(&self, change: &mut dyn FnMut(&Expr) -> Result<Expr>) -> Result<Self> {
        Ok(match self {
            Step::Filter(predicate) => Step::Filter(change(predicate)?),
            Step::Join {
                join,
                other,
                is_part_left,
                on,
                filter,
            } => Step::Join {
                join,
                other: Arc::clone(other),
                is_part_left: *is_part_left,
                on: on
                    .iter()
                    .map(|(l, r)| Ok((change(l)?, change(r)?)))
                    .collect::<Result<_>>()?,
                filter: filter.as_ref().map(change).transpose()?,
            },
        })
    }

    /// The step on top of `below`.
    pub fn plan(self, below: LogicalPlan) -> Result<LogicalPlan> {
        Ok(match self {
            Step::Filter(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(below))?),
            Step::Join {
                join,
                other,
                is_part_left,
                on,
                filter,
            } => {
                let below = Arc::new(below);
                let (left, right) = if is_part_left { (below, other) } else { (other, below) };
                LogicalPlan::Join(Join::try_new(
                    left,
                    right,
                    on,
                    filter,
                    join.join_type,
                    join.join_constraint,
                    join.null_equality,
                    join.null_aware,
                )?)
            }
        })
    }
}

/// Whether an expression is not known by its columns alone.
pub(super) fn is_opaque(expr: &Expr) -> bool {
    let found = expr.exists(|part| {
        Ok(part.is_volatile_node()
            || matches!(
                part,
                Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::OuterReferenceColumn(..)
            ))
    });
    found.unwrap_or(true)
}

/// Whether something in the plan, scans apart, may fail.
pub(super) fn computes(plan: &LogicalPlan) -> bool {
    let found = plan.exists(|node| {
        let schemas: Vec<&DFSchemaRef> = node.inputs().into_iter().map(LogicalPlan::schema).collect();
        let is_scan = matches!(node, LogicalPlan::TableScan(_));
        Ok(!is_scan && node.expressions().iter().any(|expr| fails(expr, &schemas)))
    });
    found.unwrap_or(true)
}

/// Whether an expression over the columns of `schemas` may fail.
pub(super) fn fails(expr: &Expr, schemas: &[&DFSchemaRef]) -> bool {
    may_fail(expr, &|part| {
        schemas.iter().find_map(|schema| part.get_type(schema).ok())
    })
}

/// `expr` over the columns of `sides`, each named by its side and position.
pub(super) fn named(expr: &Expr, sides: &[(&DFSchemaRef, &str)]) -> Result<Expr> {
    replaced(expr, &|used| {
        sides.iter().find_map(|(schema, name)| {
            let at = schema.maybe_index_of_column(used)?;
            Some(column(name, at))
        })
    })
}

/// `expr` with `place(n)` for the column `n` of `name`; other columns stay.
pub(super) fn over(expr: &Expr, name: &str, place: &dyn Fn(usize) -> Option<Expr>) -> Result<Expr> {
    let moved = expr.clone().transform_up(|part| {
        let at = match &part {
            Expr::Column(used) => position(used, name),
            _ => None,
        };
        match at {
            Some(at) => Ok(Transformed::yes(place(at).ok_or_else(lost)?)),
            None => Ok(Transformed::no(part)),
        }
    })?;
    Ok(moved.data)
}

/// The columns of `name` in `expr`, in an order that does not change.
pub(super) fn columns_of(expr: &Expr, name: &str) -> BTreeSet<usize> {
    let used = expr.column_refs().into_iter();
    used.filter_map(|used| position(used, name)).collect()
}
