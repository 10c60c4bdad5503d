//! From a home's facts to the groups of the query: over the steps that lead to the entity, by the holdings rule.
//!
//! Owns: the join with those who hold a row, shares, one row for each group. Never: multiplies a fact: partners are one for
//! each fact, or the rule says what becomes of several.

use arrow::datatypes::DataType;
use caliber_catalog::project::HoldingRule;
use datafusion::common::{JoinType, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};

use super::branch::{Facts, HELD, OWN, PERIOD, Planner, UNTIL, dimension, partial};
use super::calendar::Calendar;
use super::definition::Base;
use super::metric_sql::{Aggregate, OverTable};
use super::metric_view::METRIC_TIME;
use super::only_one::Counted;
use super::plan_parts::{aggregate, all, bare, call, float, of, one, replaced};
use crate::EngineError;
use crate::evaluate::average::average;
use crate::govern::enforcement::raw_schema;
use crate::govern::policy_expr::parse;

/// The facts, within the join.
const FACTS: &str = "facts";
/// Those who hold a row, within the join.
const HOLDER: &str = "holder";
/// How many hold a row.
const HOLDERS: &str = "number of holders";

/// A branch: a row for each group of the query.
pub(crate) struct Branch {
    pub plan: LogicalPlan,
    pub leaves: Vec<usize>,
    pub is_carried: bool,
}

/// The name of a group's column.
pub(crate) fn group(at: usize) -> String {
    format!("group {at}")
}

/// The name of a leaf's column.
pub(crate) fn metric(at: usize) -> String {
    format!("metric {at}")
}

/// The name of the column beside a leaf's own that says how many values a sum is of: of averages over a window.
pub(crate) fn counted_rows(at: usize) -> String {
    format!("rows of metric {at}")
}

/// A mean.
pub(crate) fn mean(sum: Expr, number: Expr, data_type: DataType) -> Result<Expr, EngineError> {
    if data_type != DataType::Float64 {
        return Ok(average(sum, number, data_type));
    }
    let some = float(number.clone()).gt(lit(0.0_f64));
    Ok(when(some, float(sum) / float(number)).end()?)
}

/// The value, if each key on the way to it is one row's.
fn checked(counted: &[Counted], value: Expr) -> Expr {
    counted.iter().fold(value, |value, counted| counted.checked(value))
}

/// What a branch is made of: its columns before they are grouped, what they are grouped by, and after.
struct Parts<'a> {
    columns: &'a mut Vec<Expr>,
    keys: &'a mut Vec<Expr>,
    calls: &'a mut Vec<Expr>,
    outputs: &'a mut Vec<Expr>,
}

impl Planner<'_> {
    /// Whether the group expression at that place is computed last, from the period.
    pub fn is_of_period(&self, at: usize) -> bool {
        let over = self.asked.group_over.get(at);
        let over_time_alone = |over: &super::asked::Over| over.time && !over.entity && over.dimensions.is_empty();
        self.asked.by_period() && over.is_some_and(over_time_alone)
    }

    /// The branch of some facts.
    pub fn carried(&self, facts: Facts) -> Result<Branch, EngineError> {
        let first = facts.leaves.first().and_then(|at| self.asked.leaves.get(*at));
        let base = first
            .ok_or_else(|| EngineError::internal("a branch is empty", &"no leaf"))?
            .base()?;
        let mut builder = LogicalPlanBuilder::from(facts.plan.clone()).alias(FACTS)?;
        let rule = base.rule().filter(|_| facts.has_held);
        if facts.has_held {
            let holders = LogicalPlanBuilder::from(self.holders(base, rule)?)
                .alias(HOLDER)?
                .build()?;
            builder = builder.join_on(holders, JoinType::Left, [of(FACTS, HELD).eq(of(HOLDER, HELD))])?;
        }
        let place = |name: &str| -> Result<Option<Expr>, EngineError> {
            Ok(Some(if name == METRIC_TIME {
                of(FACTS, PERIOD)
            } else if self.asked.view.dimensions.contains_key(name) {
                of(FACTS, &dimension(name))
            } else {
                of(HOLDER, name)
            }))
        };
        let above: Vec<Expr> = facts
            .above
            .iter()
            .map(|condition| replaced(condition, &place))
            .collect::<Result<_, _>>()?;
        if let Some(condition) = all(above) {
            builder = builder.filter(condition)?;
        }
        let mut keys = Vec::new();
        let mut columns = Vec::new();
        for (at, expr) in self.asked.group.iter().enumerate() {
            if !self.is_of_period(at) {
                columns.push(replaced(expr, &place)?.alias(group(at)));
                keys.push(bare(&group(at)));
            }
        }
        if let (true, Some(periods)) = (self.asked.by_period(), self.asked.periods) {
            let period = if facts.grain == Some(periods.grain) {
                of(FACTS, PERIOD)
            } else {
                periods.grain.first_day(self.state, of(FACTS, PERIOD))?
            };
            columns.push(period.alias(PERIOD));
            keys.push(bare(PERIOD));
            if facts.is_carried {
                for name in [UNTIL, OWN] {
                    columns.push(of(FACTS, name).alias(name));
                    keys.push(bare(name));
                }
            }
        }
        let each_once = rule == Some(HoldingRule::FullToEach) && base.function != Aggregate::CountEntity;
        let shared = rule == Some(HoldingRule::EqualShare);
        let mut calls = Vec::new();
        let mut outputs = keys.clone();
        for at in &facts.leaves {
            let parts = Parts {
                columns: &mut columns,
                keys: &mut keys,
                calls: &mut calls,
                outputs: &mut outputs,
            };
            self.leaf(*at, shared, facts.is_carried, parts)?;
        }
        if each_once {
            // A fact counts once in each group, however many of the group hold it.
            columns.push(of(FACTS, HELD).alias(HELD));
            for name in self.dimensions_used(&facts.above)? {
                columns.push(of(FACTS, &dimension(&name)).alias(dimension(&name)));
            }
            if facts.grain.is_some() && !self.asked.by_period() {
                columns.push(of(FACTS, PERIOD).alias(PERIOD));
            }
        }
        builder = builder.project(columns)?;
        if each_once {
            builder = builder.distinct()?;
        }
        let plan = builder.aggregate(keys, calls)?.project(outputs)?.build()?;
        Ok(Branch {
            plan,
            leaves: facts.leaves,
            is_carried: facts.is_carried,
        })
    }

    /// The partial values of one leaf, brought together.
    fn leaf(&self, at: usize, shared: bool, is_carried: bool, parts: Parts<'_>) -> Result<(), EngineError> {
        let Parts {
            columns,
            keys,
            calls,
            outputs,
        } = parts;
        let leaf = self.asked.leaves.get(at);
        let leaf = leaf.ok_or_else(|| EngineError::internal("a leaf is missing", &at))?;
        let base = leaf.base()?;
        let data_type = leaf.defined.data_type.clone();
        let (value, count) = (partial(at, "value"), partial(at, "count"));
        let part = |name: &str| -> Result<Expr, EngineError> {
            Ok(
                if shared && matches!(base.function, Aggregate::Sum | Aggregate::Count | Aggregate::Average) {
                    let holders = call(self.state, "coalesce", vec![of(HOLDER, HOLDERS), one()])?;
                    float(of(FACTS, name)) / float(holders)
                } else {
                    of(FACTS, name)
                }
                .alias(name),
            )
        };
        let over = |function: &str, distinct: bool| aggregate(self.state, function, bare(&value), distinct);
        match base.function {
            Aggregate::CountEntity => {
                let key = of(HOLDER, &self.asked.view.key);
                let counted = when(of(FACTS, &value).gt(lit(0_i64)), key).end()?;
                if is_carried {
                    // Who is counted in several periods is the same in all of them.
                    columns.push(counted.alias(metric(at)));
                    keys.push(bare(&metric(at)));
                    outputs.push(bare(&metric(at)));
                    return Ok(());
                }
                columns.push(counted.alias(&value));
                calls.push(over("count", true)?.alias(metric(at)));
            }
            Aggregate::Average => {
                columns.extend([part(&value)?, part(&count)?]);
                calls.push(over("sum", false)?.alias(&value));
                calls.push(aggregate(self.state, "sum", bare(&count), false)?.alias(&count));
                if is_carried {
                    outputs.extend([bare(&value).alias(metric(at)), bare(&count).alias(counted_rows(at))]);
                } else {
                    outputs.push(mean(bare(&value), bare(&count), data_type)?.alias(metric(at)));
                }
                return Ok(());
            }
            Aggregate::CountDistinct | Aggregate::ApproxDistinct if is_carried => {
                columns.push(of(FACTS, &value).alias(metric(at)));
                keys.push(bare(&metric(at)));
                outputs.push(bare(&metric(at)));
                return Ok(());
            }
            function => {
                columns.push(part(&value)?);
                let call = match function {
                    Aggregate::CountDistinct => over("count", true)?,
                    Aggregate::ApproxDistinct => over("approx_distinct", false)?,
                    Aggregate::Min => over("min", false)?,
                    Aggregate::Max => over("max", false)?,
                    _ => over("sum", false)?,
                };
                calls.push(call.alias(metric(at)));
            }
        }
        outputs.push(cast(bare(&metric(at)), data_type).alias(metric(at)));
        Ok(())
    }

    /// Who holds the rows of a home: `HELD`, the entity's key and attributes, and under `equal_share` how many hold it.
    fn holders(&self, base: &Base, rule: Option<HoldingRule>) -> Result<LogicalPlan, EngineError> {
        const ENTITY: &str = "entity";
        let view = self.asked.view;
        let mut wanted = vec![view.key.clone()];
        wanted.extend(view.attributes.iter().filter(|name| **name != view.key).cloned());
        let entity = LogicalPlanBuilder::from(view.customers.clone()).alias(ENTITY)?;
        let (entity, counted) = self.one_for_each(entity, ENTITY, &view.table, &view.key, &wanted)?;
        let mut counted: Vec<Counted> = counted.into_iter().collect();
        let steps = base.path.steps.split_last();
        let Some((last, before)) = steps else {
            let columns = std::iter::once(of(ENTITY, &view.key).alias(HELD)).chain(
                wanted
                    .iter()
                    .map(|name| checked(&counted, of(ENTITY, name)).alias(name)),
            );
            return Ok(entity.project(columns)?.build()?);
        };
        let mut builder: Option<LogicalPlanBuilder> = None;
        let mut held = of(ENTITY, &last.key).alias(HELD);
        let mut left = None;
        for (at, step) in before.iter().enumerate().skip(self.steps_at_home(base)) {
            let alias = format!("step {at}");
            let mut entered = self.scan(&step.table, &alias)?;
            if let Some(sql) = &step.condition {
                let condition = self.condition(&step.table, sql)?;
                entered = entered.filter(replaced(&condition, &|name| Ok(Some(of(&alias, name))))?)?;
            }
            let next = before.get(at + 1).map_or(&last.column, |next| &next.column);
            let shares = rule.is_some_and(|rule| rule != HoldingRule::PrimaryHolder);
            let is_shared = shares && base.path.held.is_some_and(|(bridge, _)| bridge == at);
            if !is_shared {
                let columns = std::slice::from_ref(next);
                let (once, rows) = self.one_for_each(entered, &alias, &step.table, &step.key, columns)?;
                entered = once;
                counted.extend(rows);
            }
            builder = Some(match (builder, left.take()) {
                (Some(known), Some(column)) => {
                    let equal: Expr = Expr::eq(column, of(&alias, &step.key));
                    known.join_on(entered.build()?, JoinType::Left, [equal])?
                }
                _ => {
                    held = of(&alias, &step.key).alias(HELD);
                    entered
                }
            });
            left = Some(of(&alias, next));
        }
        let mut columns = vec![held];
        let mut builder = match (builder, left) {
            (Some(known), Some(column)) => {
                known.join_on(entity.build()?, JoinType::Left, [column.eq(of(ENTITY, &last.key))])?
            }
            _ => entity,
        };
        if let (Some(HoldingRule::EqualShare), Some((at, _))) = (rule, base.path.held)
            && let Some(step) = base.path.steps.get(at)
        {
            const COUNTED: &str = "counted";
            let mut bridge = self.scan(&step.table, COUNTED)?;
            if let Some(sql) = &step.condition {
                let condition = self.condition(&step.table, sql)?;
                bridge = bridge.filter(replaced(&condition, &|name| Ok(Some(of(COUNTED, name))))?)?;
            }
            let number = aggregate(self.state, "count", one(), false)?.alias(HOLDERS);
            let counted = bridge.aggregate([of(COUNTED, &step.key).alias(HELD)], [number])?;
            let counted = counted
                .project([bare(HELD), bare(HOLDERS)])?
                .alias(TableReference::bare(COUNTED))?;
            let equal = of(&format!("step {at}"), &step.key).eq(of(COUNTED, HELD));
            builder = builder.join_on(counted.build()?, JoinType::Left, [equal])?;
            columns.push(of(COUNTED, HOLDERS).alias(HOLDERS));
        }
        columns.extend(
            wanted
                .iter()
                .map(|name| checked(&counted, of(ENTITY, name)).alias(name)),
        );
        Ok(builder.project(columns)?.build()?)
    }

    /// A holding's condition, over the raw names of its bridge.
    pub fn condition(
        &self,
        table: &caliber_catalog::name::TableName,
        sql: &caliber_catalog::grant::SqlText,
    ) -> Result<Expr, EngineError> {
        let snapshot = &self.catalog.snapshot;
        let remote = snapshot.remote_table(table);
        let remote = remote.ok_or_else(|| EngineError::internal("a table of a metric is missing", table))?;
        let raw = raw_schema(remote)?;
        let over = OverTable {
            snapshot,
            state: self.state,
            table,
            schema: &raw,
        };
        over.expression(sql, parse(sql)?, &mut std::collections::BTreeSet::new())
    }
}
