//! Rows that policy opens in groups only (`min_group`): counts, sums and averages over enough customers, and nothing else.
//!
//! Owns: which statements may read such rows, and withholding what too few customers stand behind. Never: shows a row, a
//! key, a least or greatest value; counts what is withheld.
//!
//! Below the aggregate only expressions that no row can make fail are admitted, or an error would tell of one row. Above it
//! the keys and values of a withheld group are NULL before anything of the user's sees them.

use std::sync::Arc;

use caliber_catalog::diagnostic::Code;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, ScalarUDF, TableScan, when,
};

use super::cannot_fail::cannot_fail;
use super::governed_table::{GovernedTable, contributor};
use super::reaches_group::{Reaches, Withheld};
use crate::EngineError;

/// A column that names who stands behind a row, and how many of them a group needs.
#[derive(Clone, Debug)]
struct Contributor {
    column: Column,
    size: u64,
}

/// Admits and rewrites every reading of rows that are open in groups only. Other plans come back as they are.
pub(crate) fn guard_groups(plan: LogicalPlan, withheld: &Withheld) -> std::result::Result<LogicalPlan, EngineError> {
    if !is_guarded(&plan)? {
        return Ok(plan);
    }
    let mut guard = Guard {
        withheld: Arc::clone(withheld),
        names: 0,
    };
    Ok(guard.above(plan)?)
}

/// The guarded table a scan reads.
fn guarded_table(scan: &TableScan) -> Result<Option<Arc<GovernedTable>>> {
    let provider = source_as_provider(&scan.source)?;
    Ok(match provider.downcast_ref::<GovernedTable>() {
        Some(table) if !table.enforcement.groups.is_empty() => Some(Arc::new(table.with_contributors()?)),
        _ => None,
    })
}

/// Whether the plan or a subquery in it reads rows that are open in groups only.
pub(crate) fn is_guarded(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && guarded_table(scan)?.is_some()
        {
            found = true;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Whether the plan hands such rows up, not under an aggregate.
fn exposes(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::Aggregate(_) => TreeNodeRecursion::Jump,
            LogicalPlan::TableScan(scan) if guarded_table(scan)?.is_some() => {
                found = true;
                TreeNodeRecursion::Stop
            }
            _ => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

struct Guard {
    withheld: Withheld,
    /// How many names were given: each is given once.
    names: usize,
}

impl Guard {
    /// The part of a plan above the aggregates.
    fn above(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if !is_guarded(&plan)? {
            return Ok(plan);
        }
        if let LogicalPlan::TableScan(scan) = &plan
            && let Some(table) = guarded_table(scan)?
        {
            return Err(refused(&table, "its rows are not shown one by one").into());
        }
        match plan {
            LogicalPlan::Aggregate(aggregate) if exposes(&aggregate.input)? => self.aggregate(&aggregate),
            plan => {
                let plan = plan.map_children(|child| self.above(child).map(Transformed::yes))?.data;
                let plan = plan
                    .map_subqueries(|subquery| self.above(subquery).map(Transformed::yes))?
                    .data;
                plan.recompute_schema()
            }
        }
    }

    /// An aggregate over guarded rows, with what too few stand behind withheld.
    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<LogicalPlan> {
        let (input, contributors) = self.below(aggregate.input.as_ref().clone())?;
        let schema = Arc::clone(aggregate.input.schema());
        for key in &aggregate.group_expr {
            if !cannot_fail(key, &schema) {
                return Err(not_admitted("GROUP BY", key).into());
            }
        }
        let mut counts: Vec<Expr> = Vec::new();
        let mut place = |count: Expr| match counts.iter().position(|known| *known == count) {
            Some(place) => place,
            None => {
                counts.push(count);
                counts.len() - 1
            }
        };
        let whole: Vec<usize> = contributors.iter().map(|who| place(distinct(who, None))).collect();
        let mut each = Vec::with_capacity(aggregate.aggr_expr.len());
        for value in &aggregate.aggr_expr {
            let counted = counted_rows(value, &schema)?;
            let places: Vec<usize> = contributors
                .iter()
                .map(|who| place(distinct(who, counted.clone())))
                .collect();
            each.push(places);
        }
        let first = self.names;
        self.names += counts.len();
        let name = |place: usize| format!("customers\u{1}{}", first + place);
        let named: Vec<Expr> = counts
            .into_iter()
            .enumerate()
            .map(|(at, count)| count.alias(name(at)))
            .collect();
        let keys = aggregate.group_expr.len();
        let values: Vec<Expr> = aggregate.aggr_expr.iter().cloned().chain(named).collect();
        let guarded = LogicalPlan::Aggregate(Aggregate::try_new(
            Arc::new(input),
            aggregate.group_expr.clone(),
            values,
        )?);
        let reached = |places: &[usize]| {
            let counts = places
                .iter()
                .map(|at| Expr::Column(Column::new_unqualified(name(*at))))
                .collect();
            self.reaches(counts, &contributors)
        };
        let group = reached(&whole);
        let mut shown = Vec::new();
        for (at, (relation, field)) in aggregate.schema.iter().enumerate() {
            let known = Expr::Column(Column::new(relation.cloned(), field.name()));
            let open = match at.checked_sub(keys).and_then(|value| each.get(value)) {
                Some(places) => reached(places),
                None => group.clone(),
            };
            shown.push(
                when(open, known)
                    .end()?
                    .alias_qualified(relation.cloned(), field.name()),
            );
        }
        let mut plan = LogicalPlanBuilder::from(guarded);
        if keys > 0 {
            plan = plan.filter(group)?;
        }
        plan.project(shown)?.build()
    }

    /// The part of a plan below an aggregate: with the columns that say who stands behind each row.
    fn below(&mut self, plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Contributor>)> {
        if !exposes(&plan)? {
            return Ok((self.above(plan)?, Vec::new()));
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(&scan),
            LogicalPlan::SubqueryAlias(alias) => {
                let (input, contributors) = self.below(alias.input.as_ref().clone())?;
                let contributors = contributors
                    .into_iter()
                    .map(|who| Contributor {
                        column: Column::new(Some(alias.alias.clone()), who.column.name),
                        size: who.size,
                    })
                    .collect();
                let plan = LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()?;
                Ok((plan, contributors))
            }
            LogicalPlan::Projection(projection) => {
                let schema = projection.input.schema();
                // A unified view's own expressions are the steward's; whatever the caller asks, they are the same.
                if !is_view(&projection.input)?
                    && let Some(wrong) = projection.expr.iter().find(|expr| !cannot_fail(expr, schema))
                {
                    return Err(not_admitted("a subquery under it", wrong).into());
                }
                let (input, contributors) = self.below(projection.input.as_ref().clone())?;
                let mut exprs = projection.expr.clone();
                exprs.extend(contributors.iter().map(|who| Expr::Column(who.column.clone())));
                let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
                Ok((plan, contributors))
            }
            LogicalPlan::Filter(filter) => {
                if !cannot_fail(&filter.predicate, filter.input.schema()) {
                    return Err(not_admitted("WHERE", &filter.predicate).into());
                }
                let (input, contributors) = self.below(filter.input.as_ref().clone())?;
                Ok((
                    LogicalPlanBuilder::from(input).filter(filter.predicate)?.build()?,
                    contributors,
                ))
            }
            LogicalPlan::Join(join) => {
                let outer = matches!(
                    join.join_type,
                    JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
                );
                let on_columns = join.on.iter().all(|(left, right)| is_column(left) && is_column(right));
                let filter = join
                    .filter
                    .as_ref()
                    .is_none_or(|filter| cannot_fail(filter, &join.schema));
                if !outer || !on_columns || !filter {
                    return Err(EngineError::new(
                        Code::POL002,
                        "over rows open in groups only, a join compares columns with `=`",
                    )
                    .into());
                }
                let (left, mut contributors) = self.below(join.left.as_ref().clone())?;
                let (right, more) = self.below(join.right.as_ref().clone())?;
                contributors.extend(more);
                let join = LogicalPlan::Join(join);
                let exprs = join.expressions();
                Ok((join.with_new_exprs(exprs, vec![left, right])?, contributors))
            }
            other => Err(EngineError::new(
                Code::POL002,
                format!("rows open in groups only cannot be read through {}", in_words(&other)),
            )
            .help("aggregate first: SELECT …, count(*) FROM … WHERE … GROUP BY …")
            .into()),
        }
    }

    /// A guarded table with its contributors beside its columns.
    fn scan(&mut self, scan: &TableScan) -> Result<(LogicalPlan, Vec<Contributor>)> {
        let Some(table) = guarded_table(scan)? else {
            return Err(EngineError::internal("a guarded table is missing", &scan.table_name).into());
        };
        let mut shown: Vec<Expr> = scan
            .projected_schema
            .iter()
            .map(|(relation, field)| Expr::Column(Column::new(relation.cloned(), field.name())))
            .collect();
        let mut contributors = Vec::new();
        for (at, floor) in table.enforcement.groups.iter().enumerate() {
            let name = format!("{}\u{1}{}", floor.entity, self.names);
            self.names += 1;
            let known = Column::new(Some(scan.table_name.clone()), contributor(at));
            shown.push(Expr::Column(known).alias_qualified(Some(scan.table_name.clone()), name.clone()));
            contributors.push(Contributor {
                column: Column::new(Some(scan.table_name.clone()), name),
                size: floor.size,
            });
        }
        let plan = LogicalPlanBuilder::scan(scan.table_name.clone(), provider_as_source(table), None)?
            .project(shown)?
            .build()?;
        Ok((plan, contributors))
    }

    /// Whether enough of each contributor stand behind: `counts[i]` of `contributors[i]`.
    fn reaches(&self, counts: Vec<Expr>, contributors: &[Contributor]) -> Expr {
        let sizes = contributors.iter().map(|who| who.size).collect();
        ScalarUDF::from(Reaches::new(sizes, &self.withheld)).call(counts)
    }
}

/// Whether a plan is the inside of a unified view: its scans are made for attributes, and only for them.
fn is_view(plan: &LogicalPlan) -> Result<bool> {
    let mut view = true;
    plan.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                view &= provider
                    .downcast_ref::<GovernedTable>()
                    .is_some_and(GovernedTable::is_for_attributes);
            }
            LogicalPlan::Join(_) => {}
            _ => view = false,
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(view)
}

/// `count(distinct who) FILTER (WHERE rows)`.
fn distinct(who: &Contributor, rows: Option<Expr>) -> Expr {
    Expr::AggregateFunction(AggregateFunction::new_udf(
        count_udaf(),
        vec![Expr::Column(who.column.clone())],
        true,
        rows.map(Box::new),
        Vec::new(),
        None,
    ))
}

/// The rows that an aggregate counts, as a condition; `None` is all of them. An error: not one that groups may show.
fn counted_rows(value: &Expr, schema: &DFSchema) -> std::result::Result<Option<Expr>, EngineError> {
    let plain = match value {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    let Expr::AggregateFunction(AggregateFunction { func, params }) = plain else {
        return Err(not_admitted("SELECT", value));
    };
    let AggregateFunctionParams {
        args,
        distinct,
        filter,
        order_by,
        ..
    } = params;
    let known = match func.name() {
        "count" => true,
        "sum" | "avg" => !distinct,
        _ => false,
    };
    if !known || !order_by.is_empty() {
        return Err(EngineError::new(
            Code::POL002,
            format!("`{}` is not shown of rows open in groups only", func.name()),
        )
        .help("count, sum and avg are"));
    }
    if let Some(wrong) = args
        .iter()
        .chain(filter.iter().map(AsRef::as_ref))
        .find(|part| !cannot_fail(part, schema))
    {
        return Err(not_admitted(func.name(), wrong));
    }
    let given = args
        .iter()
        .filter(|argument| !matches!(argument, Expr::Literal(..)))
        .map(|argument| argument.clone().is_not_null());
    Ok(filter
        .iter()
        .map(|filter| filter.as_ref().clone())
        .chain(given)
        .reduce(Expr::and))
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_))
}

fn refused(table: &GovernedTable, why: &str) -> EngineError {
    let floors: Vec<String> = table
        .enforcement
        .groups
        .iter()
        .map(|floor| format!("at least {} of `{}`", floor.size, floor.entity))
        .collect();
    EngineError::new(
        Code::POL002,
        format!(
            "`{}` is open to you in groups of {} only: {why}",
            table.enforcement.name,
            floors.join(" and ")
        ),
    )
    .help("ask for count, sum or avg, grouped by other columns: SELECT …, count(*) FROM … GROUP BY …")
}

fn not_admitted(place: &str, expr: &Expr) -> EngineError {
    EngineError::new(
        Code::POL002,
        format!("over rows open in groups only, {place} cannot hold `{expr}`"),
    )
    .help("columns, constants, comparisons of one type, CASE, coalesce and extract may stand there")
}

fn in_words(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Window(_) => "a window",
        LogicalPlan::Sort(_) => "ORDER BY before they are aggregated",
        LogicalPlan::Limit(_) => "LIMIT before they are aggregated",
        LogicalPlan::Distinct(_) => "DISTINCT",
        LogicalPlan::Union(_) => "UNION before they are aggregated",
        LogicalPlan::Unnest(_) => "unnest",
        _ => "this operator",
    }
}
