//! Inner joins as a set: sides of one source are joined there first, then the sources among each other, the few before the many.
//!
//! Owns: taking a tree of inner joins apart, which sides a source joins, the order of the rest. Never: outer joins, which
//! have an order of their own; semi and anti joins only where they concern one side, which is then theirs alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, JoinConstraint, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, find_valid_equijoin_key_pair, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator, Projection};

use super::absorb_plan::{Absorber, Node, is_inner};
use super::join_order::{Class, Unit, order, shared};
use super::region::{Existence, Region, Side, column, equal, leads_to_join, lost, plain, replaced};
use super::remote_plan::RemotePlan;

impl Absorber {
    /// An inner join and all inner joins below it.
    pub fn region(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let mut region = Region::new();
        let outputs = self.flatten(plan, &mut region)?;
        self.finish(region, outputs, plan)
    }

    /// The region, joined, with the columns that `plan` has.
    fn finish(&mut self, region: Region, outputs: Vec<Column>, plan: &LogicalPlan) -> Result<Node> {
        // A product of sides that nothing equates stays as it was written: there is no order to choose it by. So does what may
        // fail: which rows it meets is not to depend on guessed sizes.
        if !region.is_connected() || region.may_fail() || !region.has_joining_source() {
            return self.local(plan);
        }
        let joined = self.joined(region)?;
        let exprs: Vec<Expr> = outputs
            .into_iter()
            .zip(plan.schema().iter())
            .map(|(column, (qualifier, field))| {
                Expr::Column(column).alias_qualified(qualifier.cloned(), field.name().as_str())
            })
            .collect();
        if let Node::Remote(remote) = &joined
            && let Ok(whole) = remote.project(&exprs, plan.schema(), plan.clone())
        {
            return Ok(Node::Remote(Box::new(whole)));
        }
        let projection = Projection::try_new_with_schema(exprs, Arc::new(joined.sealed()), Arc::clone(plan.schema()))?;
        Ok(Node::Local(LogicalPlan::Projection(projection)))
    }

    /// Takes `plan` apart; for each of its columns the column of a side that it is.
    fn flatten(&mut self, plan: &LogicalPlan, region: &mut Region) -> Result<Vec<Column>> {
        match plan {
            LogicalPlan::Join(join) if is_inner(join) => {
                let left = self.flatten(&join.left, region)?;
                let right = self.flatten(&join.right, region)?;
                let all = |expr: &Expr| -> Result<Expr> {
                    replaced(expr, &|column| {
                        let found = join.left.schema().maybe_index_of_column(column);
                        let found = found.and_then(|at| left.get(at)).cloned();
                        found.or_else(|| {
                            let at = join.right.schema().maybe_index_of_column(column)?;
                            right.get(at).cloned()
                        })
                    })
                };
                for (l, r) in &join.on {
                    let condition = all(&l.clone().eq(r.clone()))?;
                    region.add(condition);
                }
                for condition in join.filter.iter().flat_map(|filter| split_conjunction(filter)) {
                    let condition = all(condition)?;
                    region.add(condition);
                }
                Ok(left.into_iter().chain(right).collect())
            }
            LogicalPlan::Filter(filter) if leads_to_join(&filter.input) => {
                let columns = self.flatten(&filter.input, region)?;
                for condition in split_conjunction(&filter.predicate) {
                    let condition = replaced(condition, &|column| {
                        columns
                            .get(filter.input.schema().maybe_index_of_column(column)?)
                            .cloned()
                    })?;
                    region.add(condition);
                }
                Ok(columns)
            }
            LogicalPlan::SubqueryAlias(alias) if leads_to_join(&alias.input) => self.flatten(&alias.input, region),
            LogicalPlan::Projection(projection)
                if leads_to_join(&projection.input) && projection.expr.iter().all(|expr| plain(expr).is_some()) =>
            {
                let columns = self.flatten(&projection.input, region)?;
                let schema = projection.input.schema();
                let found = projection.expr.iter().map(|expr| {
                    let at = plain(expr).and_then(|column| schema.maybe_index_of_column(column));
                    at.and_then(|at| columns.get(at)).cloned()
                });
                found.collect::<Option<Vec<_>>>().ok_or_else(lost)
            }
            LogicalPlan::Join(join) if Existence::of(join).is_some() => self.existence(plan, join, region),
            other => self.side(other, region),
        }
    }

    /// A side of its own.
    fn side(&mut self, plan: &LogicalPlan, region: &mut Region) -> Result<Vec<Column>> {
        let node = self.node(plan)?;
        self.as_side(node, plan.schema().fields().len(), region)
    }

    fn as_side(&mut self, node: Node, width: usize, region: &mut Region) -> Result<Vec<Column>> {
        let (alias, node) = self.named(node)?;
        region.sides.push(Side {
            alias: alias.clone(),
            node: Some(node),
            width,
        });
        Ok((0..width).map(|at| column(&alias, at)).collect())
    }

    /// A semi or anti join. Where there is at most one partner a semi join is an inner one; else it belongs to the one side its
    /// condition concerns, or is a side itself.
    fn existence(&mut self, plan: &LogicalPlan, join: &Join, region: &mut Region) -> Result<Vec<Column>> {
        let Some(existence) = Existence::of(join) else {
            return self.side(plan, region);
        };
        let other = self.node(existence.other)?;
        let schema = existence.other.schema();
        let partner: Option<Vec<usize>> = existence
            .on
            .iter()
            .map(|(_, right)| plain(right).and_then(|column| schema.maybe_index_of_column(column)))
            .collect();
        let is_one = partner.is_some_and(|columns| other.is_unique_on(&columns));
        let kept = existence.kept;
        if is_one && existence.join_type == JoinType::LeftSemi {
            let columns = self.flatten(kept, region)?;
            let others = self.as_side(other, schema.fields().len(), region)?;
            let conditions = existence.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
            for condition in conditions.chain(join.filter.iter().cloned()) {
                let condition = replaced(&condition, &|used| {
                    let left = kept.schema().maybe_index_of_column(used);
                    let left = left.and_then(|at| columns.get(at)).cloned();
                    left.or_else(|| others.get(schema.maybe_index_of_column(used)?).cloned())
                })?;
                region.add(condition);
            }
            return Ok(columns);
        }
        let mut inner = Region::new();
        let columns = self.flatten(kept, &mut inner)?;
        let mut concerned = BTreeSet::new();
        let exprs = existence.on.iter().map(|(left, _)| left).chain(&join.filter);
        for used in exprs.flat_map(|expr| expr.column_refs()) {
            if let Some(column) = kept.schema().maybe_index_of_column(used).and_then(|at| columns.get(at)) {
                concerned.extend(inner.place(column).map(|(side, _)| side));
            }
        }
        let only = concerned.iter().next().copied().filter(|_| concerned.len() == 1);
        let Some(at) = only else {
            let left = self.finish(inner, columns, kept)?;
            let logical = existence.join(kept, existence.other, existence.on.clone(), join.filter.clone())?;
            let joined = self.join(left, other, &logical, plan.clone())?;
            return self.as_side(joined, plan.schema().fields().len(), region);
        };
        let (alias, other) = self.named(other)?;
        let moved = |expr: &Expr| -> Result<Expr> {
            replaced(expr, &|used| {
                let left = kept.schema().maybe_index_of_column(used);
                let left = left.and_then(|at| columns.get(at)).cloned();
                left.or_else(|| Some(column(&alias, schema.maybe_index_of_column(used)?)))
            })
        };
        let on = existence
            .on
            .iter()
            .map(|(l, r)| Ok((moved(l)?, moved(r)?)))
            .collect::<Result<Vec<_>>>()?;
        let filter = join.filter.as_ref().map(&moved).transpose()?;
        let side = inner.sides.get_mut(at).ok_or_else(lost)?;
        let left = side.node.take().ok_or_else(lost)?;
        let logical = existence.join(&original(&left), &original(&other), on, filter)?;
        let joined = self.join(left, other, &logical, LogicalPlan::Join(logical.clone()))?;
        side.node = Some(joined);
        region.take_in(inner);
        Ok(columns)
    }

    /// `node` with its columns named after a new alias.
    pub(super) fn named(&mut self, node: Node) -> Result<(String, Node)> {
        let alias = format!("side{}", self.aliases);
        self.aliases += 1;
        let rename = |plan: LogicalPlan| -> Result<LogicalPlan> {
            let exprs: Vec<Expr> = plan
                .schema()
                .columns()
                .into_iter()
                .enumerate()
                .map(|(at, old)| Expr::Column(old).alias_qualified(Some(alias.as_str()), column(&alias, at).name))
                .collect();
            Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
        };
        let node = match node {
            Node::Remote(remote) => {
                let named = rename(remote.original.clone())?;
                let schema = Arc::clone(named.schema());
                Node::Remote(Box::new(remote.renamed(schema, named)))
            }
            Node::Local(plan) => Node::Local(rename(plan)?),
        };
        Ok((alias, node))
    }

    /// The sides, joined.
    fn joined(&mut self, region: Region) -> Result<Node> {
        let mut units = Vec::with_capacity(region.sides.len());
        for (at, side) in region.sides.into_iter().enumerate() {
            let node = side.node.ok_or_else(lost)?;
            let aliases = vec![(at, side.alias, 0)];
            units.push(Unit { node, sides: aliases });
        }
        let mut classes: Vec<Class> = region.classes.into_iter().map(Class::new).collect();
        for class in &mut classes {
            class.measure(&units);
        }
        let mut conditions = region.conditions;
        for at in 0..units.len() {
            self.equal_within(&mut units, at, &classes)?;
        }
        self.join_within_sources(&mut units, &classes, &mut conditions)?;
        let plan = order(&units, &classes);
        let mut rest: Vec<Option<Unit>> = units.into_iter().map(Some).collect();
        let mut taken = plan.iter().map(|at| rest.get_mut(*at).and_then(Option::take));
        let mut all = taken.next().flatten().ok_or_else(lost)?;
        for next in taken {
            let next = next.ok_or_else(lost)?;
            all = self.join_units(all, next, &classes, &mut conditions)?;
        }
        if let Some(rest) = conjunction(std::mem::take(&mut conditions)) {
            let filter = Filter::try_new(rest, Arc::new(all.node.sealed()))?;
            return Ok(Node::Local(LogicalPlan::Filter(filter)));
        }
        Ok(all.node)
    }

    /// Columns of one side that a class equates.
    fn equal_within(&mut self, units: &mut [Unit], at: usize, classes: &[Class]) -> Result<()> {
        let Some(unit) = units.get_mut(at) else { return Ok(()) };
        let mut conditions = Vec::new();
        for class in classes {
            let mut columns = class.columns_in(unit);
            let Some(first) = columns.pop() else { continue };
            let schema = unit.node.schema();
            conditions.extend(columns.iter().map(|other| equal((&first, schema), (other, schema))));
        }
        let Some(predicate) = conjunction(conditions) else {
            return Ok(());
        };
        let node = std::mem::replace(&mut unit.node, nothing());
        let filter = Filter::try_new(predicate.clone(), Arc::new(original(&node)))?;
        unit.node = match node {
            Node::Remote(remote) => match remote.filter(&predicate, LogicalPlan::Filter(filter)) {
                Ok(grown) => Node::Remote(Box::new(grown)),
                Err(why) => {
                    self.keep(predicate.to_string(), why);
                    let input = Arc::new(Node::Remote(remote).sealed());
                    Node::Local(LogicalPlan::Filter(Filter::try_new(predicate, input)?))
                }
            },
            Node::Local(_) => Node::Local(LogicalPlan::Filter(filter)),
        };
        Ok(())
    }

    /// Joins sides of one source there: where a key makes the result no larger than a side, or where there is no other source.
    fn join_within_sources(
        &mut self,
        units: &mut Vec<Unit>,
        classes: &[Class],
        conditions: &mut Vec<Expr>,
    ) -> Result<()> {
        let mut refused: BTreeSet<(String, String)> = BTreeSet::new();
        loop {
            let is_one_source = units.len() > 1 && {
                let first = units.first().and_then(remote_of);
                first.is_some_and(|first| {
                    units
                        .iter()
                        .all(|unit| remote_of(unit).is_some_and(|it| it.is_beside(first)))
                })
            };
            let mut best: Option<(bool, f64, usize, usize)> = None;
            for left in 0..units.len() {
                for right in left + 1..units.len() {
                    let (Some(a), Some(b)) = (units.get(left), units.get(right)) else {
                        continue;
                    };
                    let (Some(l), Some(r)) = (remote_of(a), remote_of(b)) else {
                        continue;
                    };
                    if !l.is_beside(r) || refused.contains(&(a.name(), b.name())) {
                        continue;
                    }
                    let on = shared(a, b, classes);
                    let (left_on, right_on): (Vec<usize>, Vec<usize>) =
                        on.iter().map(|(class, _)| class.positions(a, b)).unzip();
                    let is_key = l.is_unique_on(&left_on) || r.is_unique_on(&right_on);
                    if !(is_one_source || is_key && !on.is_empty()) {
                        continue;
                    }
                    let rows = on
                        .iter()
                        .fold(a.rows() * b.rows(), |rows, (_, distinct)| rows / distinct);
                    let better = best.is_none_or(|(key, least, ..)| (!on.is_empty(), -rows) > (key, -least));
                    if better {
                        best = Some((!on.is_empty(), rows, left, right));
                    }
                }
            }
            let Some((_, _, left, right)) = best else { return Ok(()) };
            let b = units.remove(right);
            let a = units.remove(left);
            match self.remote_units(&a, &b, classes, conditions)? {
                Some(unit) => units.push(unit),
                None => {
                    refused.insert((a.name(), b.name()));
                    refused.insert((b.name(), a.name()));
                    units.insert(left, a);
                    units.insert(right, b);
                }
            }
        }
    }

    /// Both, joined by their source; `None` where it does not do that exactly.
    fn remote_units(
        &mut self,
        a: &Unit,
        b: &Unit,
        classes: &[Class],
        conditions: &mut Vec<Expr>,
    ) -> Result<Option<Unit>> {
        let (Some(left), Some(right)) = (remote_of(a), remote_of(b)) else {
            return Ok(None);
        };
        let (mut on, rest) = applicable(a, b, classes, conditions);
        let whole = logical_join(&left.original, &right.original, &on)?;
        let schema = Arc::clone(whole.schema());
        if on.is_empty() {
            // A pair of rows that meets no condition is every pair.
            on.push(datafusion::logical_expr::lit(true));
        }
        match left.join(right, caliber_connector_spi::JoinKind::Inner, &on, &schema, whole) {
            Ok(grown) => {
                *conditions = rest;
                Ok(Some(a.with(b, Node::Remote(Box::new(grown)))))
            }
            Err(why) => {
                self.keep(format!("a join within {}", left.source.name), why);
                Ok(None)
            }
        }
    }

    /// Both, joined here: the smaller on the left, where the keys for the other side come from.
    fn join_units(&mut self, a: Unit, b: Unit, classes: &[Class], conditions: &mut Vec<Expr>) -> Result<Unit> {
        let (on, rest) = applicable(&a, &b, classes, conditions);
        *conditions = rest;
        let (a, b) = if b.rows() < a.rows() { (b, a) } else { (a, b) };
        let sides = a.with(&b, nothing());
        let plan = logical_join(&a.node.sealed(), &b.node.sealed(), &on)?;
        Ok(Unit {
            node: Node::Local(plan),
            ..sides
        })
    }
}

/// The plan a node stands for.
fn original(node: &Node) -> LogicalPlan {
    match node {
        Node::Remote(remote) => remote.original.clone(),
        Node::Local(plan) => plan.clone(),
    }
}

fn remote_of(unit: &Unit) -> Option<&RemotePlan> {
    match &unit.node {
        Node::Remote(remote) => Some(remote),
        Node::Local(_) => None,
    }
}

/// The conditions that join `a` and `b`, and those that wait for further sides.
fn applicable(a: &Unit, b: &Unit, classes: &[Class], conditions: &[Expr]) -> (Vec<Expr>, Vec<Expr>) {
    let mut on: Vec<Expr> = shared(a, b, classes)
        .into_iter()
        .filter_map(|(class, _)| {
            let (left, right) = (class.columns_in(a).pop()?, class.columns_in(b).pop()?);
            Some(equal((&left, a.node.schema()), (&right, b.node.schema())))
        })
        .collect();
    let mut rest = Vec::new();
    for condition in conditions {
        let known = condition
            .column_refs()
            .iter()
            .all(|column| a.has(column) || b.has(column));
        if known && !condition.column_refs().is_empty() {
            on.push(condition.clone());
        } else {
            rest.push(condition.clone());
        }
    }
    (on, rest)
}

/// An inner join of two plans, equalities between them as its keys.
fn logical_join(left: &LogicalPlan, right: &LogicalPlan, conditions: &[Expr]) -> Result<LogicalPlan> {
    let mut on = Vec::new();
    let mut filters = Vec::new();
    for condition in conditions {
        let pair = match condition {
            Expr::BinaryExpr(BinaryExpr {
                left: l,
                op: Operator::Eq,
                right: r,
            }) => find_valid_equijoin_key_pair(l, r, left.schema(), right.schema())?,
            _ => None,
        };
        match pair {
            Some(pair) => on.push(pair),
            None => filters.push(condition.clone()),
        }
    }
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left.clone()),
        Arc::new(right.clone()),
        on,
        conjunction(filters),
        JoinType::Inner,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?))
}

fn nothing() -> Node {
    Node::Local(LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(DFSchema::empty()),
    }))
}
