//! Aggregates over joins of several sources: a source groups its rows by all that the joins and the groups above use of
//! them before they travel, and the groups are brought together here (Yan and Larson, "Eager aggregation and lazy
//! aggregation", VLDB 1995).
//!
//! Owns: the way from an aggregate through joins down to a source's part, what that is grouped by, whether it pays. Never:
//! how a call is taken apart (`partial_aggregate`); another order of joins; fewer rows than the joins would have met.
//!
//! Rows that agree on every column which a condition or a group uses meet the same partners and end in the same group, so
//! one row with their partial values can stand for them.

use std::sync::Arc;

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::{Column, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, Join, LogicalPlan, Projection, TableScan};

use super::absorb_plan::{Absorber, Node};
use super::absorbed_table::AbsorbedTable;
use super::join_way::{Step, Way, columns_of, computes, fails, is_opaque, named, over};
use super::partial_aggregate::{Functions, TakenApart, ignores_repetition, is_null_of_null};
use super::region::{column, lost, position};
use super::remote_plan::RemotePlan;

/// So many times fewer rows must leave the source, by its own figures.
const FEWER: f64 = 2.0;

/// The rewritten aggregate, and by how many rows fewer leave the source.
type Found = Option<(f64, LogicalPlan)>;

impl Absorber {
    /// `aggregate`, whose input is absorbed already, with the part of a source grouped below the joins that lead to it. `None`
    /// where that is not exact or does not pay.
    pub(super) fn group_before_joins(&mut self, aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
        let exprs = || aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
        if !has_join(&aggregate.input) || exprs().any(|expr| matches!(expr, Expr::GroupingSet(_)) || is_opaque(expr)) {
            return Ok(None);
        }
        let name = self.name();
        let schema = aggregate.input.schema();
        let moved = |exprs: &[Expr]| {
            exprs
                .iter()
                .map(|expr| named(expr, &[(schema, &name)]))
                .collect::<Result<Vec<_>>>()
        };
        let way = Way {
            steps: Vec::new(),
            groups: moved(&aggregate.group_expr)?,
            calls: moved(&aggregate.aggr_expr)?,
            is_optional: false,
        };
        let found = self.descend(&aggregate.input, &name, way, aggregate)?;
        Ok(found.map(|(_, plan)| plan))
    }

    fn name(&mut self) -> String {
        self.aliases += 1;
        format!("side{}", self.aliases - 1)
    }

    /// On from `plan`, whose columns `way` knows by `name`.
    fn descend<'a>(
        &mut self,
        plan: &'a LogicalPlan,
        name: &str,
        mut way: Way<'a>,
        aggregate: &Aggregate,
    ) -> Result<Found> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.descend(&alias.input, name, way, aggregate),
            LogicalPlan::Filter(filter) => {
                if is_opaque(&filter.predicate) || fails(&filter.predicate, &[filter.input.schema()]) {
                    return Ok(None);
                }
                let predicate = named(&filter.predicate, &[(filter.input.schema(), name)])?;
                way.steps.push(Step::Filter(predicate));
                self.descend(&filter.input, name, way, aggregate)
            }
            LogicalPlan::Projection(projection) => {
                // What may fail below a condition must go on meeting the rows that the condition drops; what is not NULL of
                // NULLs is one thing below an outer join and another above.
                let stays = |expr: &Expr| {
                    let value = expr.clone().unalias();
                    is_opaque(expr)
                        || !way.steps.is_empty() && fails(expr, &[projection.input.schema()])
                        || way.is_optional && !is_null_of_null(&value)
                };
                if projection.expr.iter().any(stays) {
                    return Ok(None);
                }
                let below = self.name();
                let exprs = projection
                    .expr
                    .iter()
                    .map(|expr| named(&expr.clone().unalias(), &[(projection.input.schema(), &below)]))
                    .collect::<Result<Vec<_>>>()?;
                let way = way.over(name, &|at| exprs.get(at).cloned())?;
                self.descend(&projection.input, &below, way, aggregate)
            }
            LogicalPlan::Join(join) => {
                let mut best: Found = None;
                for is_part_left in [true, false] {
                    let found = self.descend_join(join, is_part_left, name, &way, aggregate)?;
                    if found.as_ref().map(|it| it.0) > best.as_ref().map(|it| it.0) {
                        best = found;
                    }
                }
                Ok(best)
            }
            LogicalPlan::TableScan(scan) if way.has_join() => match self.part(plan, scan)? {
                Some(part) => group(&part, name, &self.name(), &way, aggregate),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// On into one side of a join, where the other side's rows stay what they are.
    fn descend_join<'a>(
        &mut self,
        join: &'a Join,
        is_part_left: bool,
        name: &str,
        way: &Way<'a>,
        aggregate: &Aggregate,
    ) -> Result<Found> {
        let gives_left = !matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti);
        let gives_right = !matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti);
        let is_given = if is_part_left { gives_left } else { gives_right };
        let is_mark = matches!(join.join_type, JoinType::LeftMark | JoinType::RightMark);
        let schemas = [join.left.schema(), join.right.schema()];
        let mut conditions = join.filter.iter().chain(join.on.iter().flat_map(|(l, r)| [l, r]));
        if is_mark || !is_given || conditions.any(|expr| is_opaque(expr) || fails(expr, &schemas)) {
            return Ok(None);
        }
        let (part, other) = if is_part_left {
            (&join.left, &join.right)
        } else {
            (&join.right, &join.left)
        };
        // Whether a side is read at all may depend on the other: what fails there must not, for being grouped here.
        if computes(other) {
            return Ok(None);
        }
        // What is summed must be on this side: asked before anything is renamed.
        let count = join.left.schema().fields().len();
        let is_here = |at: &usize| !gives_left || !gives_right || (*at < count) == is_part_left;
        if way.repeated().any(|call| !columns_of(call, name).iter().all(is_here)) {
            return Ok(None);
        }
        let part_name = self.name();
        let (other_name, other) = self.named(Node::Local(other.as_ref().clone()))?;
        let (left, right) = if is_part_left {
            (part_name.as_str(), other_name.as_str())
        } else {
            (other_name.as_str(), part_name.as_str())
        };
        let sides = [(join.left.schema(), left), (join.right.schema(), right)];
        let mut way = way.over(name, &|at| {
            Some(Expr::Column(if !gives_right || gives_left && at < count {
                column(left, at)
            } else {
                column(right, if gives_left { at - count } else { at })
            }))
        })?;
        way.is_optional |= match join.join_type {
            JoinType::Full => true,
            JoinType::Left => !is_part_left,
            JoinType::Right => is_part_left,
            _ => false,
        };
        let on = join.on.iter().map(|(l, r)| Ok((named(l, &sides)?, named(r, &sides)?)));
        way.steps.push(Step::Join {
            join,
            other: Arc::new(other.sealed()),
            is_part_left,
            on: on.collect::<Result<_>>()?,
            filter: join.filter.as_ref().map(|filter| named(filter, &sides)).transpose()?,
        });
        self.descend(part, &part_name, way, aggregate)
    }

    /// The part of a source that `scan` reads.
    fn part(&mut self, plan: &LogicalPlan, scan: &TableScan) -> Result<Option<RemotePlan>> {
        let provider = source_as_provider(&scan.source)?;
        if let Some(absorbed) = provider.downcast_ref::<AbsorbedTable>() {
            return Ok(Some(absorbed.remote().clone()));
        }
        // Why a table is read by itself was said when it was met first.
        let said = self.kept.len();
        let node = self.node(plan)?;
        self.kept.truncate(said);
        Ok(match node {
            Node::Remote(remote) => Some(*remote),
            Node::Local(_) => None,
        })
    }
}

/// What the part is grouped by (`k0`, `k1`…) and computes of each group (`p0`, `p1`…), each as an expression over the part.
struct Below<'a> {
    part: &'a RemotePlan,
    /// The part's columns in the expressions of the way.
    part_name: &'a str,
    name: &'a str,
    keys: Vec<Expr>,
    calls: Vec<Expr>,
}

impl Below<'_> {
    /// `expr` over the part's own columns.
    fn in_part(&self, expr: &Expr) -> Result<Expr> {
        over(expr, self.part_name, &|at| {
            let schema = &self.part.schema;
            (at < schema.fields().len()).then(|| Expr::Column(schema.qualified_field(at).into()))
        })
    }

    /// The column that holds `expr`, over the part's columns, which the part is grouped by.
    fn key(&mut self, expr: Expr) -> Expr {
        let at = place(&mut self.keys, expr);
        Expr::Column(Column::new(Some(self.name), self.key_name(at)))
    }

    /// The column that holds the value of a call over the part's columns.
    fn call(&mut self, call: Expr) -> Expr {
        let at = place(&mut self.calls, call);
        Expr::Column(Column::new(Some(self.name), self.call_name(at)))
    }

    fn key_name(&self, at: usize) -> String {
        format!("{}k{at}", self.name)
    }

    fn call_name(&self, at: usize) -> String {
        format!("{}p{at}", self.name)
    }

    /// `expr` above the groups: each column of the part that it uses is a key.
    fn above(&mut self, expr: &Expr) -> Result<Expr> {
        let mut columns = Vec::new();
        for at in columns_of(expr, self.part_name) {
            let of_part = self.in_part(&Expr::Column(column(self.part_name, at)))?;
            columns.push((at, self.key(of_part)));
        }
        over(expr, self.part_name, &|at| {
            columns
                .iter()
                .find(|(known, _)| *known == at)
                .map(|(_, key)| key.clone())
        })
    }

    /// The key of a group above: computed below where nothing else is in it, which makes the fewest groups.
    fn group(&mut self, expr: &Expr, is_optional: bool) -> Result<Expr> {
        let all = expr.column_refs();
        let is_own = !all.is_empty() && all.iter().all(|used| position(used, self.part_name).is_some());
        if is_own && !is_optional {
            let whole = self.in_part(expr)?.unalias();
            if self.part.translate(&whole).is_ok() {
                return Ok(self.key(whole));
            }
        }
        self.above(&expr.clone().unalias())
    }

    /// The grouped part, where its source computes it and gives enough fewer rows.
    fn plan(&self) -> Result<Found> {
        let input = Arc::new(self.part.original.clone());
        let grouped = Aggregate::try_new(input, self.keys.clone(), self.calls.clone())?;
        let (keys, calls, schema) = (&grouped.group_expr, &grouped.aggr_expr, Arc::clone(&grouped.schema));
        let original = LogicalPlan::Aggregate(grouped.clone());
        let Ok(grown) = self.part.aggregate(keys, calls, &schema, original) else {
            return Ok(None);
        };
        let (rows, fewer) = (self.part.estimate.rows, grown.estimate.rows);
        if fewer * FEWER > rows {
            return Ok(None);
        }
        let names = (0..keys.len()).map(|at| self.key_name(at));
        let names = names.chain((0..calls.len()).map(|at| self.call_name(at)));
        let exprs: Vec<Expr> = names
            .enumerate()
            .map(|(at, new)| Expr::Column(schema.qualified_field(at).into()).alias_qualified(Some(self.name), new))
            .collect();
        let sealed = Arc::new(Node::Remote(Box::new(grown.into_parts())).sealed());
        let projection = LogicalPlan::Projection(Projection::try_new(exprs, sealed)?);
        Ok(Some((rows - fewer, projection)))
    }
}

/// The aggregate over the same joins, the part grouped first.
fn group(part: &RemotePlan, part_name: &str, name: &str, way: &Way<'_>, aggregate: &Aggregate) -> Result<Found> {
    let Some(functions) = Functions::find() else {
        return Ok(None);
    };
    let mut below = Below {
        part,
        part_name,
        name,
        keys: Vec::new(),
        calls: Vec::new(),
    };
    let mut steps = Vec::with_capacity(way.steps.len());
    for step in &way.steps {
        steps.push(step.map(&mut |expr| below.above(expr))?);
    }
    let mut groups = Vec::with_capacity(way.groups.len());
    for (at, expr) in way.groups.iter().enumerate() {
        groups.push(below.group(expr, way.is_optional)?.alias(format!("g{at}")));
    }
    let Some(whole) = calls_above(&mut below, &functions, way)? else {
        return Ok(None);
    };
    // Without a key there is one group even of no row at all.
    if below.keys.is_empty() {
        return Ok(None);
    }
    let Some((saved, grouped)) = below.plan()? else {
        return Ok(None);
    };
    let joined = steps
        .into_iter()
        .rev()
        .try_fold(grouped, |below, step| step.plan(below))?;
    let calls = whole.iter().flat_map(|call| &call.calls).enumerate();
    let calls = calls.map(|(at, call)| call.clone().alias(format!("a{at}"))).collect();
    let above = Aggregate::try_new(Arc::new(joined), groups, calls)?;
    Ok(finished(above, &whole, aggregate)?.map(|plan| (saved, plan)))
}

/// What stands in a call's place above the joins.
struct Above {
    /// What the call was taken apart into, if it was.
    parts: Option<TakenApart>,
    calls: Vec<Expr>,
}

/// What stands in the place of each call. `None` where one does not decompose.
fn calls_above(below: &mut Below<'_>, functions: &Functions, way: &Way<'_>) -> Result<Option<Vec<Above>>> {
    let mut whole = Vec::with_capacity(way.calls.len());
    for call in &way.calls {
        let call = call.clone().unalias();
        let mut used = call.column_refs().into_iter();
        if used.all(|used| position(used, below.part_name).is_some()) {
            let own = below.in_part(&call)?;
            if let Some(parts) = functions.take_apart(&own, &below.part.schema, way.is_optional)? {
                let columns: Vec<Expr> = parts.below.iter().map(|call| below.call(call.clone())).collect();
                let above = functions.above(&parts, &columns)?;
                whole.push(Above {
                    parts: Some(parts),
                    calls: above,
                });
                continue;
            }
        }
        if !ignores_repetition(&call) {
            return Ok(None);
        }
        whole.push(Above {
            parts: None,
            calls: vec![below.above(&call)?],
        });
    }
    Ok(Some(whole))
}

/// The values of `above` as the columns that `aggregate` gives.
fn finished(above: Aggregate, whole: &[Above], aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let above = LogicalPlan::Aggregate(above);
    let mut columns = above.schema().columns().into_iter().map(Expr::Column);
    let mut exprs = Vec::with_capacity(aggregate.schema.fields().len());
    for (at, (qualifier, field)) in aggregate.schema.iter().enumerate() {
        let value = match at.checked_sub(aggregate.group_expr.len()) {
            None => columns.next().ok_or_else(lost)?,
            Some(call) => {
                let call = whole.get(call).ok_or_else(lost)?;
                let totals: Vec<Expr> = columns.by_ref().take(call.calls.len()).collect();
                match &call.parts {
                    Some(parts) => parts.value(&totals, field.data_type())?,
                    None => totals.into_iter().next().ok_or_else(lost)?,
                }
            }
        };
        let is_same = value.get_type(above.schema())? == *field.data_type();
        if !is_same || value.nullable(above.schema())? && !field.is_nullable() {
            return Ok(None);
        }
        exprs.push(value.alias_qualified(qualifier.cloned(), field.name().as_str()));
    }
    let projection = Projection::try_new_with_schema(exprs, Arc::new(above), Arc::clone(&aggregate.schema))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// Whether a join is below, through nodes that a way leads through.
fn has_join(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(_) => true,
        LogicalPlan::Projection(projection) => has_join(&projection.input),
        LogicalPlan::Filter(filter) => has_join(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => has_join(&alias.input),
        _ => false,
    }
}

/// Where `expr` stands among `known`, added if it does not.
fn place(known: &mut Vec<Expr>, expr: Expr) -> usize {
    known.iter().position(|other| *other == expr).unwrap_or_else(|| {
        known.push(expr);
        known.len() - 1
    })
}
