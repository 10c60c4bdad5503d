//! One home table of a query: its rows, grouped where they are by entity key and period.
//!
//! Owns: which metrics share a branch, which conditions go below, the partial values. Never: adds up over customers
//! (`carry`), or picks a balance (`picks`).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use caliber_catalog::diagnostic::Code;
use caliber_catalog::grant::KeyStep;
use caliber_catalog::metric::Frame;
use caliber_catalog::name::TableName;
use caliber_catalog::project::HoldingRule;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, TableReference};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, cast};

use super::asked::{Asked, Leaf, Over, over};
use super::calendar::{Calendar, Grain, days};
use super::definition::Base;
use super::metric_sql::Aggregate;
use super::metric_view::METRIC_TIME;
use super::only_one::is_enforced;
use super::plan_parts::{aggregate, all, bare, date, of, one, only_where, replaced};
use crate::EngineError;
use crate::govern::governed_table::GovernedTable;
use crate::resolve::governed_catalog::GovernedCatalog;

/// The name of a home table within its branch.
pub(crate) const HOME: &str = "home";
/// The column of facts that leads to the entity.
pub(crate) const HELD: &str = "held key";
/// The first day of the period.
pub(crate) const PERIOD: &str = "period";
/// The first day of the period from which on a carried value is another's.
pub(crate) const UNTIL: &str = "period until";
/// Whether rows of the period itself, within the asked range, stand behind it.
pub(crate) const OWN: &str = "own";

/// What plans of a query are made with.
pub(crate) struct Planner<'a> {
    pub catalog: &'a GovernedCatalog,
    pub state: &'a SessionState,
    pub asked: &'a Asked<'a>,
}

/// A home's rows, grouped: `HELD`, `PERIOD`, dimensions, and partial values of each leaf.
pub(crate) struct Facts {
    pub plan: LogicalPlan,
    /// Places among the query's leaves.
    pub leaves: Vec<usize>,
    pub has_held: bool,
    /// How fine `PERIOD` is, where it is there.
    pub grain: Option<Grain>,
    /// Whether `UNTIL` and `OWN` are there.
    pub is_carried: bool,
    /// Conditions that need the entity.
    pub above: Vec<Expr>,
}

/// The name of a dimension's column within facts.
pub(crate) fn dimension(name: &str) -> String {
    format!("dimension {name}")
}

/// The name of a partial value: `part` is `value`, or `count` beside it.
pub(crate) fn partial(leaf: usize, part: &str) -> String {
    format!("{part} {leaf}")
}

/// Whether a column is a partial value of that leaf.
pub(crate) fn is_partial(column: &str, leaf: usize) -> bool {
    ["value", "count"].iter().any(|part| column == partial(leaf, part))
}

/// The places of leaves that are aggregated together.
pub(crate) fn branches(asked: &Asked<'_>) -> Result<Vec<Vec<usize>>, EngineError> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    for (at, leaf) in asked.leaves.iter().enumerate() {
        let base = leaf.base()?;
        let mut home = None;
        if !stands_alone(base) {
            for (place, others) in found.iter().enumerate() {
                let Some(first) = others.first().and_then(|first| asked.leaves.get(*first)) else {
                    continue;
                };
                let other = first.base()?;
                if !stands_alone(other)
                    && other.table == base.table
                    && other.time == base.time
                    && first.filter == leaf.filter
                    && first.frame == leaf.frame
                {
                    home = Some(place);
                }
            }
        }
        match home.and_then(|place| found.get_mut(place)) {
            Some(others) => others.push(at),
            None => found.push(vec![at]),
        }
    }
    Ok(found)
}

/// Whether a metric's partial values are of a grain of their own.
fn stands_alone(base: &Base) -> bool {
    let shared = matches!(base.rule(), Some(HoldingRule::EqualShare | HoldingRule::FullToEach));
    base.balance.is_some()
        || matches!(base.function, Aggregate::CountDistinct | Aggregate::ApproxDistinct)
        || (base.function == Aggregate::CountEntity && shared)
}

/// Comparisons of `metric_time` with a day as comparisons of the column with the day's first instant or the next day's:
/// what a source can do with an index.
fn by_instants(expr: &Expr, time: &str, unit: TimeUnit) -> Result<Expr, EngineError> {
    let is_time = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == METRIC_TIME);
    let instant = |day: Expr| cast(day, DataType::Timestamp(unit, None));
    let done = expr.clone().transform_down(|part| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &part else {
            return Ok(Transformed::no(part));
        };
        let is_day = !right.any_column_refs() && right.get_type(&DFSchema::empty())? == DataType::Date32;
        if !is_time(left) || !is_day {
            return Ok(Transformed::no(part));
        }
        let (column, day) = (of(HOME, time), right.as_ref().clone());
        let next = || instant(date(right.as_ref().clone() + days(1)));
        let compared = match op {
            Operator::LtEq => column.lt(next()),
            Operator::Lt => column.lt(instant(day)),
            Operator::GtEq => column.gt_eq(instant(day)),
            Operator::Gt => column.gt_eq(next()),
            _ => return Ok(Transformed::no(part)),
        };
        Ok(Transformed::new(compared, true, TreeNodeRecursion::Jump))
    })?;
    Ok(done.data)
}

impl Planner<'_> {
    /// What a column of a governed table is like.
    pub fn column_type(&self, table: &TableName, column: &str) -> Result<DataType, EngineError> {
        let remote = self.catalog.snapshot.remote_table(table);
        let found = remote.and_then(|table| table.column(column));
        found
            .map(|column| column.data_type.clone())
            .ok_or_else(|| EngineError::internal("a column of a metric is missing", &column))
    }

    /// A table as the principal sees it.
    pub fn scan(&self, table: &TableName, alias: &str) -> Result<LogicalPlanBuilder, EngineError> {
        let enforcement = self.catalog.enforcement(table)?;
        let enforcement = enforcement.ok_or_else(|| EngineError::internal("a table of a metric is missing", table))?;
        let provider = Arc::new(GovernedTable::new(enforcement)?);
        let name = TableReference::bare(alias.to_owned());
        Ok(LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?)
    }

    /// Whether a leaf can be grouped and filtered so. Error: MET003.
    pub fn reaches(&self, leaf: &Leaf, over: &Over) -> Result<(), EngineError> {
        let base = leaf.base()?;
        if over.time && base.time.is_none() {
            let message = format!(
                "metric `{}` has no time, so it cannot be grouped or filtered by it",
                leaf.name()
            );
            return Err(EngineError::new(Code::MET003, message).help("ask for it in a statement of its own"));
        }
        if let Some(missing) = over.dimensions.iter().find(|name| !base.dimensions.contains(name)) {
            let message = format!("metric `{}` cannot be grouped or filtered by `{missing}`", leaf.name());
            let help = format!("`{missing}` is no column of its table that its `dimensions` name");
            return Err(EngineError::new(Code::MET003, message).help(help));
        }
        Ok(())
    }

    /// Checks that every leaf reaches every group and condition.
    pub fn check_reach(&self) -> Result<(), EngineError> {
        for leaf in &self.asked.leaves {
            for over in &self.asked.group_over {
                self.reaches(leaf, over)?;
            }
            for condition in self.asked.conditions_of(leaf) {
                self.reaches(leaf, &over(&condition, self.asked.view)?)?;
            }
        }
        Ok(())
    }

    /// A definition's expression, over the home.
    pub fn at_home(&self, expr: &Expr) -> Result<Expr, EngineError> {
        replaced(expr, &|name| Ok(Some(of(HOME, name))))
    }

    /// An expression of the query over time and dimensions, over the home.
    pub fn asked_at_home(&self, expr: &Expr, base: &Base) -> Result<Expr, EngineError> {
        let time = base.time.as_deref().unwrap_or_default();
        let expr = match self.column_type(&base.table, time) {
            Ok(DataType::Timestamp(unit, None)) if unit != TimeUnit::Nanosecond => &by_instants(expr, time, unit)?,
            _ => expr,
        };
        replaced(expr, &|name| {
            if name == METRIC_TIME {
                return self.day_at_home(base).map(Some);
            }
            Ok(Some(of(HOME, name)))
        })
    }

    /// The day of a row of the home.
    pub fn day_at_home(&self, base: &Base) -> Result<Expr, EngineError> {
        let time = base.time.as_deref().unwrap_or_default();
        let column = of(HOME, time);
        Ok(match self.column_type(&base.table, time)? {
            DataType::Date32 => column,
            _ => date(column),
        })
    }

    /// The column of the home that leads to the entity.
    fn held_column<'b>(&'b self, base: &'b Base) -> &'b str {
        base.path
            .steps
            .first()
            .map_or(self.asked.view.key.as_str(), |step| step.column.as_str())
    }

    /// How many steps towards the entity are taken where the home is: to tables of its source whose key that enforces, so
    /// that its rows are grouped by a key nearer to the entity before they leave.
    pub fn steps_at_home(&self, base: &Base) -> usize {
        let before = base.path.steps.len().saturating_sub(1);
        let here = |(at, step): &(usize, &KeyStep)| {
            step.table.schema == base.table.schema
                && step.condition.is_none()
                && base.path.held.is_none_or(|(bridge, _)| *at < bridge)
                && is_enforced(&self.catalog.snapshot, &step.table, &step.key)
        };
        base.path.steps.iter().take(before).enumerate().take_while(here).count()
    }

    /// The rows of the home, and the column that leads on to the entity where it `is_held`.
    pub fn home(&self, base: &Base, is_held: bool) -> Result<(LogicalPlanBuilder, Expr), EngineError> {
        let mut builder = self.scan(&base.table, HOME)?;
        let mut held = of(HOME, self.held_column(base));
        let steps = if is_held { self.steps_at_home(base) } else { 0 };
        for (at, step) in base.path.steps.iter().take(steps).enumerate() {
            let alias = format!("step {at}");
            let entered = self.scan(&step.table, &alias)?.build()?;
            let equal = held.eq(of(&alias, &step.key));
            builder = builder.join_on(entered, JoinType::Left, [equal])?;
            let next = base.path.steps.get(at + 1).map_or(&step.key, |next| &next.column);
            held = of(&alias, next);
        }
        Ok((builder, held))
    }

    /// Whether the query asks something of the entity that these conditions and groups are over.
    pub fn needs_entity(&self, leaf: &Leaf, above: &[Expr]) -> Result<bool, EngineError> {
        let grouped = self.asked.group_over.iter().any(|over| over.entity);
        Ok(grouped || !above.is_empty() || leaf.base()?.function == Aggregate::CountEntity)
    }

    /// The dimensions that groups and these conditions are over.
    pub fn dimensions_used(&self, above: &[Expr]) -> Result<BTreeSet<String>, EngineError> {
        let mut used: BTreeSet<String> = self
            .asked
            .group_over
            .iter()
            .flat_map(|over| over.dimensions.iter().cloned())
            .collect();
        for condition in above {
            used.extend(over(condition, self.asked.view)?.dimensions);
        }
        Ok(used)
    }

    /// The facts of leaves that are no balances.
    pub fn flows(&self, places: &[usize]) -> Result<Facts, EngineError> {
        let leaves: Vec<(usize, &Leaf)> = places
            .iter()
            .filter_map(|at| Some((*at, self.asked.leaves.get(*at)?)))
            .collect();
        let Some((_, first)) = leaves.first() else {
            return Err(EngineError::internal("a branch is empty", &"no leaf"));
        };
        let base = first.base()?;
        let (mut below, mut above) = (Vec::new(), Vec::new());
        let mut has_time_above = false;
        let mut conditions = self.asked.conditions_of(first);
        let framed = match first.frame == Frame::default() {
            true => None,
            false => Some(self.framed(first, &mut conditions)?),
        };
        for condition in conditions {
            let over = over(&condition, self.asked.view)?;
            if over.entity {
                has_time_above |= over.time;
                above.push(condition);
            } else {
                below.push(self.asked_at_home(&condition, base)?);
            }
        }
        let mut has_held = false;
        for (_, leaf) in &leaves {
            has_held |= self.needs_entity(leaf, &above)?;
        }
        let mut grain = match self.asked.periods {
            _ if has_time_above => Some(Grain::Day),
            Some(periods) => Some(periods.grain),
            None => None,
        };
        if let Some(framed) = &framed {
            below.extend(self.framed_rows(framed, base)?);
            grain = framed.source_grain;
        }
        let (shared, each) = self.own_conditions(&leaves)?;
        below.extend(shared);
        let (mut builder, held) = self.home(base, has_held)?;
        if let Some(condition) = all(below) {
            builder = builder.filter(condition)?;
        }
        let mut keys = Vec::new();
        let mut outputs = Vec::new();
        if has_held {
            keys.push(held.alias(HELD));
            outputs.push(bare(HELD));
        }
        if let (Some(grain), Some(time)) = (grain, &base.time) {
            let data_type = self.column_type(&base.table, time)?;
            keys.push(grain.period(self.state, of(HOME, time), &data_type)?.alias(PERIOD));
            outputs.push(date(bare(PERIOD)).alias(PERIOD));
        }
        for name in self.dimensions_used(&above)? {
            keys.push(of(HOME, &name).alias(dimension(&name)));
            outputs.push(bare(&dimension(&name)));
        }
        let mut values = Vec::new();
        for ((at, leaf), condition) in leaves.iter().zip(each) {
            let base = leaf.base()?;
            let argument = base
                .argument
                .as_ref()
                .map(|argument| self.at_home(argument))
                .transpose()?;
            if matches!(base.function, Aggregate::CountDistinct | Aggregate::ApproxDistinct) {
                keys.push(argument.unwrap_or_else(one).alias(partial(*at, "value")));
                outputs.push(bare(&partial(*at, "value")));
                continue;
            }
            for (part, call) in self.partial_values(base.function, argument, condition.as_ref())? {
                values.push(call.alias(partial(*at, part)));
                outputs.push(bare(&partial(*at, part)));
            }
        }
        let builder = builder.aggregate(keys, values)?.project(outputs)?;
        let facts = Facts {
            plan: builder.build()?,
            leaves: places.to_vec(),
            has_held,
            grain,
            is_carried: false,
            above,
        };
        match framed {
            Some(framed) => self.framed_facts(facts, &framed),
            None => Ok(facts),
        }
    }

    /// What a branch's own conditions make of it: those that all its rows meet, and for each leaf the one that only its
    /// rows do. A row that no leaf counts stays out, so that it makes no group.
    fn own_conditions(&self, leaves: &[(usize, &Leaf)]) -> Result<(Vec<Expr>, Vec<Option<Expr>>), EngineError> {
        let mut each = Vec::with_capacity(leaves.len());
        for (_, leaf) in leaves {
            let condition = leaf.base()?.condition.as_ref();
            each.push(condition.map(|condition| self.at_home(condition)).transpose()?);
        }
        let mut unlike = each.clone();
        unlike.dedup();
        match unlike.as_slice() {
            [only] => Ok((only.iter().cloned().collect(), vec![None; each.len()])),
            _ if each.iter().all(Option::is_some) => {
                let any = each.iter().flatten().cloned().reduce(Expr::or);
                Ok((any.into_iter().collect(), each))
            }
            _ => Ok((Vec::new(), each)),
        }
    }

    /// The aggregates that partial values are made of.
    pub fn partial_values(
        &self,
        function: Aggregate,
        argument: Option<Expr>,
        condition: Option<&Expr>,
    ) -> Result<Vec<(&'static str, Expr)>, EngineError> {
        let value = only_where(condition, argument.unwrap_or_else(one))?;
        let call = |name: &str| aggregate(self.state, name, value.clone(), false);
        Ok(match function {
            Aggregate::Sum => vec![("value", call("sum")?)],
            Aggregate::Min => vec![("value", call("min")?)],
            Aggregate::Max => vec![("value", call("max")?)],
            Aggregate::Average => vec![("value", call("sum")?), ("count", call("count")?)],
            _ => vec![("value", call("count")?)],
        })
    }
}
