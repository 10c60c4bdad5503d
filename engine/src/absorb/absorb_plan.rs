//! Hands the largest sub-plans a source runs exactly to that source: one pass over the optimized plan, from its leaves up.
//!
//! Owns: the walk, what happens to each kind of node, why a node stayed. Never: translation (`remote_plan`), the order of joins
//! (`join_region`), a plan that optimizer rules still run on.

use std::collections::BTreeSet;
use std::sync::Arc;

use caliber_connector_spi::JoinKind;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Dependency, JoinType, NullEquality, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, Expr, Filter, Join, Limit, LogicalPlan, Projection, Sort, Subquery, SubqueryAlias, TableScan, Union,
};

use super::absorbed_table::AbsorbedTable;
use super::estimate;
use super::governed_relation::governed_relation;
use super::region::is_region;
use super::remote_plan::RemotePlan;
use super::split_average::split_averages;
use super::translate::Why;
use crate::govern::governed_table::GovernedTable;

/// A sub-plan on its way up.
pub(crate) enum Node {
    /// A source runs it, so far.
    Remote(Box<RemotePlan>),
    /// It runs here.
    Local(LogicalPlan),
}

/// Why something stays here.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// What.
    pub what: String,
    /// Why.
    pub why: Why,
    /// Whether that says something of a policy.
    pub is_policy: bool,
}

/// The pass.
#[derive(Default)]
pub(crate) struct Absorber {
    /// What stayed here that might have been pushed.
    pub kept: Vec<Kept>,
    /// Names given to sides of joins so far.
    pub aliases: usize,
}

impl Node {
    /// The sub-plan as part of a plan that runs here.
    pub fn sealed(self) -> LogicalPlan {
        match self {
            Node::Local(plan) => plan,
            // The governed scan checks each row again.
            Node::Remote(remote) if remote.is_plain => remote.original,
            Node::Remote(remote) => {
                let schema = Arc::clone(&remote.schema);
                let name = TableReference::bare(remote.source.name.as_str());
                LogicalPlan::TableScan(TableScan {
                    table_name: name,
                    source: provider_as_source(Arc::new(AbsorbedTable::new(*remote))),
                    projection: None,
                    projected_schema: schema,
                    filters: Vec::new(),
                    fetch: None,
                    statistics_requests: BTreeSet::new(),
                })
            }
        }
    }

    /// Its columns.
    pub fn schema(&self) -> &DFSchema {
        match self {
            Node::Remote(remote) => &remote.schema,
            Node::Local(plan) => plan.schema(),
        }
    }

    /// Whether no two rows agree on all of `columns`.
    pub fn is_unique_on(&self, columns: &[usize]) -> bool {
        match self {
            Node::Remote(remote) => remote.is_unique_on(columns),
            Node::Local(plan) => plan.schema().functional_dependencies().iter().any(|dependency| {
                dependency.mode == Dependency::Single
                    && !dependency.nullable
                    && dependency.target_indices.len() == plan.schema().fields().len()
                    && dependency.source_indices.iter().all(|at| columns.contains(at))
            }),
        }
    }

    /// Its guessed rows.
    pub fn rows(&self) -> f64 {
        match self {
            Node::Remote(remote) => remote.estimate.rows,
            Node::Local(plan) => rows_of(plan),
        }
    }
}

/// The guessed rows of a plan that runs here.
pub(crate) fn rows_of(plan: &LogicalPlan) -> f64 {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source);
            let provider = provider.as_ref().ok();
            let absorbed = provider.and_then(|it| it.downcast_ref::<AbsorbedTable>());
            let governed = provider.and_then(|it| it.downcast_ref::<GovernedTable>());
            let rows = match (absorbed, governed) {
                (Some(absorbed), _) => absorbed.remote().estimate.rows,
                (None, Some(table)) => {
                    let all = estimate::of_table(&table.enforcement.table).rows;
                    scan.filters.iter().fold(all, |rows, _| rows * 0.33)
                }
                (None, None) => 100.0,
            };
            scan.fetch.map_or(rows, |most| rows.min(most as f64)).max(1.0)
        }
        LogicalPlan::Filter(filter) => rows_of(&filter.input) * 0.33,
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => 1.0,
        LogicalPlan::Aggregate(aggregate) => (rows_of(&aggregate.input) * 0.3).max(1.0),
        LogicalPlan::Join(join) => {
            let (left, right) = (rows_of(&join.left), rows_of(&join.right));
            match join.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
                _ if join.on.is_empty() => left * right,
                _ => left.max(right),
            }
        }
        LogicalPlan::Limit(limit) => match limit.get_fetch_type() {
            Ok(datafusion::logical_expr::FetchType::Literal(Some(most))) => rows_of(&limit.input).min(most as f64),
            _ => rows_of(&limit.input),
        },
        LogicalPlan::EmptyRelation(_) => 1.0,
        other => other.inputs().iter().map(|input| rows_of(input)).sum::<f64>().max(1.0),
    }
}

impl Absorber {
    /// The plan with its sub-plans handed over.
    pub fn absorb(&mut self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        Ok(self.node(plan)?.sealed())
    }

    /// One node and all below it.
    pub fn node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        match plan {
            LogicalPlan::TableScan(scan) => Ok(self.scan(plan, scan)),
            LogicalPlan::SubqueryAlias(alias) => self.alias(plan, alias),
            LogicalPlan::Projection(projection) => self.projection(plan, projection),
            LogicalPlan::Filter(filter) => self.filter(plan, filter),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(plan, aggregate),
            LogicalPlan::Join(join) if is_region(join) => self.region(plan),
            LogicalPlan::Join(join) => {
                let left = self.node(&join.left)?;
                let right = self.node(&join.right)?;
                self.join(left, right, join, plan.clone())
            }
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => self.limit(plan, limit),
            LogicalPlan::Union(union) => self.union(plan, union),
            other => self.local(other),
        }
    }

    /// The node as it is, over inputs that are absorbed each for itself.
    pub fn local(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let plan = plan.clone();
        let absorbed = plan
            .map_children(|child| Ok(Transformed::yes(self.absorb(&child)?)))?
            .data;
        self.subqueries(absorbed).map(Node::Local)
    }

    /// `plan` with the plans of its subqueries absorbed.
    fn subqueries(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let absorbed = plan.map_subqueries(|subquery| {
            let LogicalPlan::Subquery(subquery) = subquery else {
                return Ok(Transformed::no(subquery));
            };
            let inner = self.absorb(&subquery.subquery)?;
            Ok(Transformed::yes(LogicalPlan::Subquery(Subquery {
                subquery: Arc::new(inner),
                ..subquery
            })))
        })?;
        Ok(absorbed.data)
    }

    /// Notes why something stays here.
    pub fn keep(&mut self, what: impl Into<String>, why: Why) {
        self.kept.push(Kept {
            what: what.into(),
            why,
            is_policy: false,
        });
    }

    fn scan(&mut self, plan: &LogicalPlan, scan: &TableScan) -> Node {
        let provider = source_as_provider(&scan.source).ok();
        let Some(table) = provider.as_ref().and_then(|it| it.downcast_ref::<GovernedTable>()) else {
            return Node::Local(plan.clone());
        };
        match governed_relation(scan, table) {
            Ok(remote) => Node::Remote(Box::new(remote)),
            Err(why) => {
                self.kept.push(Kept {
                    what: table.enforcement.name.to_string(),
                    why,
                    is_policy: true,
                });
                Node::Local(plan.clone())
            }
        }
    }

    fn alias(&mut self, plan: &LogicalPlan, alias: &SubqueryAlias) -> Result<Node> {
        Ok(match self.node(&alias.input)? {
            Node::Remote(remote) => Node::Remote(Box::new(remote.renamed(Arc::clone(&alias.schema), plan.clone()))),
            Node::Local(input) => {
                let mut local = alias.clone();
                local.input = Arc::new(input);
                Node::Local(LogicalPlan::SubqueryAlias(local))
            }
        })
    }

    fn projection(&mut self, plan: &LogicalPlan, projection: &Projection) -> Result<Node> {
        let input = self.node(&projection.input)?;
        if let Node::Remote(remote) = &input {
            match remote.project(&projection.expr, &projection.schema, plan.clone()) {
                Ok(grown) => return Ok(Node::Remote(Box::new(grown))),
                Err(why) => self.keep("the select list", why),
            }
        }
        let mut local = projection.clone();
        local.input = Arc::new(input.sealed());
        self.subqueries(LogicalPlan::Projection(local)).map(Node::Local)
    }

    /// The conjuncts the source evaluates go to it, the rest stays here.
    fn filter(&mut self, plan: &LogicalPlan, filter: &Filter) -> Result<Node> {
        let mut remote = match self.node(&filter.input)? {
            Node::Remote(remote) => remote,
            Node::Local(input) => return self.local_filter(&filter.predicate, input),
        };
        let mut rest = Vec::new();
        for part in split_conjunction(&filter.predicate) {
            match remote.filter(part, plan.clone()) {
                Ok(grown) => remote = Box::new(grown),
                Err(why) => {
                    self.keep(part.to_string(), why);
                    rest.push(part.clone());
                }
            }
        }
        match conjunction(rest) {
            None => Ok(Node::Remote(remote)),
            Some(rest) => self.local_filter(&rest, Node::Remote(remote).sealed()),
        }
    }

    fn local_filter(&mut self, predicate: &Expr, input: LogicalPlan) -> Result<Node> {
        let filter = Filter::try_new(predicate.clone(), Arc::new(input))?;
        self.subqueries(LogicalPlan::Filter(filter)).map(Node::Local)
    }

    fn aggregate(&mut self, plan: &LogicalPlan, aggregate: &Aggregate) -> Result<Node> {
        let input = self.node(&aggregate.input)?;
        if let Node::Remote(remote) = &input {
            let (keys, calls) = (&aggregate.group_expr, &aggregate.aggr_expr);
            match remote.aggregate(keys, calls, &aggregate.schema, plan.clone()) {
                Ok(grown) => return Ok(Node::Remote(Box::new(grown))),
                Err(why) => match split_averages(remote, aggregate)? {
                    Some(split) => return Ok(split),
                    None => self.keep("the groups", why),
                },
            }
        }
        let mut local = aggregate.clone();
        local.input = Arc::new(input.sealed());
        let grouped = self.group_before_joins(&local)?;
        Ok(Node::Local(grouped.unwrap_or(LogicalPlan::Aggregate(local))))
    }

    /// A join of `left` and `right` that is not inner.
    pub fn join(&mut self, left: Node, right: Node, join: &Join, original: LogicalPlan) -> Result<Node> {
        if let (Node::Remote(l), Node::Remote(r)) = (&left, &right)
            && l.is_beside(r)
        {
            match remote_join(l, r, join, original) {
                Ok(grown) => return Ok(Node::Remote(Box::new(grown))),
                Err(why) => self.keep(format!("a {} join", join.join_type), why),
            }
        }
        Ok(Node::Local(LogicalPlan::Join(Join {
            left: Arc::new(left.sealed()),
            right: Arc::new(right.sealed()),
            ..join.clone()
        })))
    }

    /// The order is made here; of the first so many rows, the source gives no others.
    fn sort(&mut self, sort: &Sort) -> Result<Node> {
        let mut input = self.node(&sort.input)?;
        if let (Node::Remote(remote), Some(rows)) = (&input, sort.fetch) {
            let original = sort.input.as_ref().clone();
            match remote.top(&sort.expr, rows, original) {
                Ok(grown) => input = Node::Remote(Box::new(grown)),
                Err(why) => self.keep(format!("the first {rows} rows"), why),
            }
        }
        Ok(Node::Local(LogicalPlan::Sort(Sort {
            input: Arc::new(input.sealed()),
            ..sort.clone()
        })))
    }

    fn limit(&mut self, plan: &LogicalPlan, limit: &Limit) -> Result<Node> {
        use datafusion::logical_expr::{FetchType, SkipType};
        let mut input = self.node(&limit.input)?;
        if let Node::Remote(remote) = &input
            && !remote.is_plain
            && let (Ok(FetchType::Literal(Some(fetch))), Ok(SkipType::Literal(skip))) =
                (limit.get_fetch_type(), limit.get_skip_type())
        {
            match remote.limit(fetch.saturating_add(skip), limit.input.as_ref().clone()) {
                Ok(grown) if skip == 0 => {
                    return Ok(Node::Remote(Box::new(RemotePlan {
                        original: plan.clone(),
                        ..grown
                    })));
                }
                Ok(grown) => input = Node::Remote(Box::new(grown)),
                Err(why) => self.keep(format!("the first {fetch} rows"), why),
            }
        }
        let local = LogicalPlan::Limit(Limit {
            input: Arc::new(input.sealed()),
            ..limit.clone()
        });
        self.subqueries(local).map(Node::Local)
    }

    fn union(&mut self, plan: &LogicalPlan, union: &Union) -> Result<Node> {
        let inputs = union
            .inputs
            .iter()
            .map(|input| self.node(input))
            .collect::<Result<Vec<_>>>()?;
        let remotes: Option<Vec<RemotePlan>> = inputs
            .iter()
            .map(|input| match input {
                Node::Remote(remote) => Some(remote.as_ref().clone()),
                Node::Local(_) => None,
            })
            .collect();
        if let Some(remotes) = remotes {
            match RemotePlan::union(&remotes, &union.schema, plan.clone()) {
                Ok(grown) => return Ok(Node::Remote(Box::new(grown))),
                Err(why) => self.keep("a UNION ALL", why),
            }
        }
        Ok(Node::Local(LogicalPlan::Union(Union {
            inputs: inputs.into_iter().map(|input| Arc::new(input.sealed())).collect(),
            schema: Arc::clone(&union.schema),
        })))
    }
}

/// Whether `join` gives pairs and nothing else, by conditions of which only TRUE counts.
pub(crate) fn is_inner(join: &Join) -> bool {
    join.join_type == JoinType::Inner && join.null_equality == NullEquality::NullEqualsNothing
}

/// The join of two sub-plans of one source, there.
fn remote_join(left: &RemotePlan, right: &RemotePlan, join: &Join, original: LogicalPlan) -> Result<RemotePlan, Why> {
    if join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
        return Err("it compares NULL as a value".to_owned());
    }
    let mut on: Vec<Expr> = join.on.iter().map(|(l, r)| l.clone().eq(r.clone())).collect();
    on.extend(join.filter.iter().cloned());
    let (kind, is_swapped) = match join.join_type {
        JoinType::Left => (JoinKind::Left, false),
        JoinType::LeftSemi => (JoinKind::Semi, false),
        JoinType::LeftAnti => (JoinKind::Anti, false),
        JoinType::RightSemi => (JoinKind::Semi, true),
        JoinType::RightAnti => (JoinKind::Anti, true),
        other => return Err(format!("a {other} join is made here")),
    };
    if is_swapped {
        right.join(left, kind, &on, &join.schema, original)
    } else {
        left.join(right, kind, &on, &join.schema, original)
    }
}
