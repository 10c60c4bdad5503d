//! A parameter that one side of a join equals is what the other side equals too.
//!
//! Owns: carrying `column = $1` over the equalities of joins, which DataFusion does with constants (it evaluates them to see
//! that they drop NULL) and cannot do with a value that is not known yet. Never: drops a row that the join would keep.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator};
use std::sync::Arc;

/// `plan` with the right sides of its joins filtered by the parameters that their left sides equal, and the other way round
/// in inner joins.
pub(crate) fn infer_parameters(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => infer(join),
        other => Ok(Transformed::no(other)),
    })
}

fn infer(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let (to_left, to_right) = match join.join_type {
        // NOT IN: one NULL at the right, whatever its key, and no row stays.
        _ if join.null_aware => (false, false),
        JoinType::Inner | JoinType::LeftSemi => (true, true),
        // A right row with another key has no partner among the left rows that there are.
        JoinType::Left | JoinType::LeftAnti => (false, true),
        _ => (false, false),
    };
    let (left, right) = (equalities(&join.left), equalities(&join.right));
    let mut changed = false;
    for (l, r) in join.on.clone() {
        let (Expr::Column(l), Expr::Column(r)) = (&l, &r) else {
            continue;
        };
        let value = |known: &[(Column, Expr)], column: &Column| {
            let found = known.iter().find(|(known, _)| known == column);
            found.map(|(_, value)| value.clone())
        };
        match (value(&left, l), value(&right, r)) {
            (Some(value), None) if to_right => {
                changed |= restrict(&mut join.right, r, value)?;
            }
            (None, Some(value)) if to_left => {
                changed |= restrict(&mut join.left, l, value)?;
            }
            _ => {}
        }
    }
    Ok(if changed {
        Transformed::yes(LogicalPlan::Join(join))
    } else {
        Transformed::no(LogicalPlan::Join(join))
    })
}

fn restrict(side: &mut Arc<LogicalPlan>, column: &Column, value: Expr) -> Result<bool> {
    let column = Expr::Column(column.clone());
    if column.get_type(side.schema())? != value.get_type(side.schema())? {
        return Ok(false);
    }
    let filtered = LogicalPlanBuilder::from(side.as_ref().clone()).filter(column.eq(value))?;
    *side = Arc::new(filtered.build()?);
    Ok(true)
}

/// The columns of which every row of `plan` is known to equal a parameter.
fn equalities(plan: &LogicalPlan) -> Vec<(Column, Expr)> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let filters = scan.filters.iter().filter_map(equality);
            let shown = filters.filter_map(|(column, value)| {
                let mut fields = scan.projected_schema.iter();
                let (qualifier, field) = fields.find(|(_, field)| *field.name() == column.name)?;
                Some((Column::new(qualifier.cloned(), field.name()), value))
            });
            shown.collect()
        }
        LogicalPlan::Filter(filter) => {
            let mut known = equalities(&filter.input);
            let parts = datafusion::logical_expr::utils::split_conjunction(&filter.predicate);
            known.extend(parts.into_iter().filter_map(equality));
            known
        }
        LogicalPlan::Projection(projection) => {
            let below = equalities(&projection.input);
            let outputs = projection.expr.iter().zip(projection.schema.columns());
            let shown = outputs.filter_map(|(expr, output)| {
                let mut inner = expr;
                while let Expr::Alias(alias) = inner {
                    inner = &alias.expr;
                }
                let Expr::Column(column) = inner else { return None };
                let (_, value) = below.iter().find(|(known, _)| known == column)?;
                Some((output, value.clone()))
            });
            shown.collect()
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let below = equalities(&alias.input);
            let columns = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
            let shown = columns.filter_map(|(inner, outer)| {
                let (_, value) = below.iter().find(|(known, _)| *known == inner)?;
                Some((outer, value.clone()))
            });
            shown.collect()
        }
        LogicalPlan::Join(join) => {
            let mut known = match join.join_type {
                JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => equalities(&join.left),
                _ => Vec::new(),
            };
            if join.join_type == JoinType::Inner {
                known.extend(equalities(&join.right));
            }
            known
        }
        LogicalPlan::Sort(sort) => equalities(&sort.input),
        LogicalPlan::Limit(limit) => equalities(&limit.input),
        _ => Vec::new(),
    }
}

fn equality(expr: &Expr) -> Option<(Column, Expr)> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = expr
    else {
        return None;
    };
    match (&**left, &**right) {
        (Expr::Column(column), value @ Expr::Placeholder(_)) | (value @ Expr::Placeholder(_), Expr::Column(column)) => {
            Some((column.clone(), value.clone()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::builder::LogicalTableSource;
    use datafusion::logical_expr::col;
    use datafusion::logical_expr::expr::Placeholder;

    use super::*;

    fn table(name: &str) -> LogicalPlanBuilder {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("v", DataType::Int64, true),
        ]);
        let source = Arc::new(LogicalTableSource::new(Arc::new(schema)));
        LogicalPlanBuilder::scan(name, source, None).expect("a table")
    }

    fn parameter(data_type: DataType) -> Expr {
        let field = Some(Arc::new(Field::new("$1", data_type, true)));
        Expr::Placeholder(Placeholder::new_with_field("$1".to_owned(), field))
    }

    /// `l` filtered by a parameter, joined to `r`; gives the filters over `r` and over `l`.
    fn inferred(join_type: JoinType, filtered: &str) -> String {
        let of = |name: &str| {
            let table = table(name);
            if name == filtered {
                table
                    .filter(col(format!("{name}.k")).eq(parameter(DataType::Int64)))
                    .expect("a filter")
            } else {
                table
            }
        };
        let joined = of("l").join(
            of("r").build().expect("a side"),
            join_type,
            (vec!["l.k"], vec!["r.k"]),
            None,
        );
        let plan = joined.and_then(LogicalPlanBuilder::build).expect("a join");
        let plan = infer_parameters(plan).expect("inferred").data;
        plan.display_indent().to_string()
    }

    #[test]
    fn the_side_whose_rows_may_go_is_filtered_too() {
        for kind in [JoinType::Inner, JoinType::Left, JoinType::LeftSemi, JoinType::LeftAnti] {
            assert!(inferred(kind, "l").contains("Filter: r.k = $1"), "{kind}");
        }
        for kind in [JoinType::Inner, JoinType::LeftSemi] {
            assert!(inferred(kind, "r").contains("Filter: l.k = $1"), "{kind}");
        }
    }

    #[test]
    fn a_side_whose_rows_stay_is_not() {
        for kind in [JoinType::Left, JoinType::LeftAnti, JoinType::Full, JoinType::LeftMark] {
            assert!(!inferred(kind, "r").contains("Filter: l.k"), "{kind}");
        }
        for kind in [JoinType::Right, JoinType::Full, JoinType::RightAnti] {
            assert!(!inferred(kind, "l").contains("Filter: r.k"), "{kind}");
        }
    }
}
