//! The metrics of each single instance of an entity, joined to a relation that has one row for each.
//!
//! Owns: one relation of who holds what for all metrics that find the entity in the same way, so that keys are asked for
//! once and facts of every home at once. Never: multiplies a row: every relation that is joined has one row for each key.

use caliber_catalog::grant::KeyStep;
use caliber_catalog::metric::Frame;
use caliber_catalog::project::HoldingRule;
use datafusion::common::JoinType;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};

use crate::EngineError;
use crate::metrics::asked::Leaf;
use crate::metrics::branch::{Facts, HELD, Planner, branches, partial};
use crate::metrics::carry::{mean, metric};
use crate::metrics::definition::Base;
use crate::metrics::metric_sql::Aggregate;
use crate::metrics::only_one::{Counted, is_enforced};
use crate::metrics::plan_parts::{aggregate, bare, float, of, one, replaced};

/// The entity's key in what is joined.
const KEY: &str = "instance";
/// Who holds what, within joins.
const HOLDINGS: &str = "holdings";
/// The number of rows with a step's key, and of those the same holder's.
const ROWS: &str = "rows of the key";
const OWN_ROWS: &str = "rows of the holder";

/// How facts find their entity from where they are grouped.
#[derive(Clone, PartialEq)]
struct Way {
    /// Up to the entity's table.
    steps: Vec<KeyStep>,
    held: Option<(usize, HoldingRule)>,
}

/// Facts that are joined to one relation of holdings.
struct Held {
    way: Way,
    facts: Vec<Facts>,
    /// Whether its facts have several rows for what is held: they stand alone.
    is_alone: bool,
}

/// `plan` with a column `metric(i)` for each leaf. `key` is the entity's key in `plan`.
pub(super) fn joined_metrics(planner: &Planner<'_>, plan: LogicalPlan, key: &Expr) -> Result<LogicalPlan, EngineError> {
    let mut groups: Vec<Held> = Vec::new();
    let mut all: Vec<(Vec<usize>, &Leaf)> = Vec::new();
    for places in branches(planner.asked)? {
        let first = places.first().and_then(|at| planner.asked.leaves.get(*at));
        let leaf = first.ok_or_else(|| EngineError::internal("a branch is empty", &"no leaf"))?;
        all.push((places, leaf));
    }
    // Branches that have a row for all that is held first: others of their table stand beside them.
    all.sort_by_key(|(places, _)| !is_of_all(planner, places));
    for (places, leaf) in all {
        let base = leaf.base()?;
        let facts = match (&base.balance, places.first()) {
            (Some(balance), Some(at)) => planner.balance(*at, leaf, balance)?,
            _ => planner.flows(&places)?,
        };
        let way = way_of(planner, base);
        let is_alone = matches!(base.function, Aggregate::CountDistinct | Aggregate::ApproxDistinct);
        let fitting = groups
            .iter_mut()
            .find(|group| !is_alone && !group.is_alone && !group.way.steps.is_empty() && group.way == way);
        let beside = |known: &Facts| {
            let first = known.leaves.first().and_then(|at| planner.asked.leaves.get(*at));
            let other = first.and_then(|leaf| leaf.base().ok());
            let same = other.is_some_and(|other| other.table == base.table && other.time == base.time);
            same && is_of_all(planner, &known.leaves)
        };
        match fitting {
            Some(group) => match group.facts.iter_mut().find(|known| beside(known)) {
                Some(known) => put_beside(known, facts)?,
                None => group.facts.push(facts),
            },
            None => groups.push(Held {
                way,
                facts: vec![facts],
                is_alone,
            }),
        }
    }
    let mut builder = LogicalPlanBuilder::from(plan);
    for (at, group) in groups.into_iter().enumerate() {
        let name = format!("metrics {at}");
        let found = LogicalPlanBuilder::from(each_instance(planner, group)?)
            .alias(name.clone())?
            .build()?;
        let mut columns: Vec<Expr> = builder.schema().columns().into_iter().map(Expr::Column).collect();
        for field in found.schema().fields().iter().filter(|field| field.name() != KEY) {
            columns.push(of(&name, field.name()).alias(field.name()));
        }
        builder = builder
            .join_on(found, JoinType::Left, [key.clone().eq(of(&name, KEY))])?
            .project(columns)?;
    }
    Ok(builder.build()?)
}

/// Whether a branch has a row for everything of its table that is held: some metric of it counts every row.
fn is_of_all(planner: &Planner<'_>, places: &[usize]) -> bool {
    let leaves = places.iter().filter_map(|at| planner.asked.leaves.get(*at));
    let mut plain = leaves.filter(|leaf| leaf.frame == Frame::default() && leaf.filter.is_none());
    plain.any(|leaf| {
        leaf.base()
            .is_ok_and(|base| base.condition.is_none() && base.balance.is_none() && base.function == Aggregate::Count)
    })
}

/// Facts of the same table beside others that have a row for each of theirs.
fn put_beside(known: &mut Facts, more: Facts) -> Result<(), EngineError> {
    const ALL: &str = "all";
    const MORE: &str = "more";
    let names = |facts: &Facts| -> Vec<String> {
        let fields = facts.plan.schema().fields().iter();
        fields.map(|field| field.name().clone()).collect()
    };
    let mut columns: Vec<Expr> = names(known).iter().map(|name| of(ALL, name).alias(name)).collect();
    let further = names(&more);
    columns.extend(
        further
            .iter()
            .filter(|name| *name != HELD)
            .map(|name| of(MORE, name).alias(name)),
    );
    let right = LogicalPlanBuilder::from(more.plan).alias(MORE)?.build()?;
    known.plan = LogicalPlanBuilder::from(known.plan.clone())
        .alias(ALL)?
        .join_on(right, JoinType::Left, [of(ALL, HELD).eq(of(MORE, HELD))])?
        .project(columns)?
        .build()?;
    known.leaves.extend(more.leaves);
    Ok(())
}

/// The steps that are left after those that facts take where they are, but for the last, which enters the entity's table.
fn way_of(planner: &Planner<'_>, base: &Base) -> Way {
    let taken = planner.steps_at_home(base);
    let left = base.path.steps.get(taken..).unwrap_or_default();
    Way {
        steps: if left.len() > 1 { left.to_vec() } else { Vec::new() },
        held: base.path.held.map(|(at, rule)| (at.saturating_sub(taken), rule)),
    }
}

/// A row for each instance that has facts: `KEY`, and `metric(i)` for each leaf.
fn each_instance(planner: &Planner<'_>, group: Held) -> Result<LogicalPlan, EngineError> {
    let leaves: Vec<usize> = group.facts.iter().flat_map(|facts| facts.leaves.clone()).collect();
    let fact_alias = |at: usize| format!("facts {at}");
    let mut places = Vec::new();
    for (at, facts) in group.facts.iter().enumerate() {
        places.extend(facts.leaves.iter().map(|leaf| (*leaf, fact_alias(at))));
    }
    let (mut builder, key, counted, share) = match group.way.steps.split_last() {
        // What is held is the entity's own key.
        None => (None, of(&fact_alias(0), HELD), Vec::new(), None),
        Some((last, before)) => {
            let (holdings, counted, share) = holdings(planner, before, last, group.way.held)?;
            (Some(holdings), of(HOLDINGS, KEY), counted, share)
        }
    };
    for (at, facts) in group.facts.into_iter().enumerate() {
        let alias = fact_alias(at);
        let facts = LogicalPlanBuilder::from(facts.plan).alias(alias.clone())?;
        builder = Some(match builder {
            Some(known) => {
                let equal = of(HOLDINGS, HELD).eq(of(&alias, HELD));
                known.join_on(facts.build()?, JoinType::Left, [equal])?
            }
            None => facts,
        });
    }
    let builder = builder.ok_or_else(|| EngineError::internal("a branch is empty", &"no facts"))?;
    let checked = |value: Expr| {
        counted
            .iter()
            .fold(value, |value, counted: &Counted| counted.checked(value))
    };
    let mut columns = vec![key.alias(KEY)];
    let mut calls = Vec::new();
    let mut outputs = vec![bare(KEY)];
    for at in leaves {
        let leaf = planner.asked.leaves.get(at);
        let leaf = leaf.ok_or_else(|| EngineError::internal("a leaf is missing", &at))?;
        let place = places.iter().find(|(known, _)| *known == at);
        let alias = place.map(|(_, alias)| alias.as_str()).unwrap_or_default();
        let base = leaf.base()?;
        let data_type = leaf.defined.data_type.clone();
        let (value, count) = (partial(at, "value"), partial(at, "count"));
        let shared = share
            .as_ref()
            .filter(|_| matches!(base.function, Aggregate::Sum | Aggregate::Count | Aggregate::Average));
        let part = |name: &str| {
            let part = checked(of(alias, name));
            match shared {
                Some(share) => float(part) / share.clone(),
                None => part,
            }
        };
        let call = |function: &str, name: &str| aggregate(planner.state, function, bare(name), false);
        columns.push(part(&value).alias(&value));
        let output = match base.function {
            Aggregate::Average => {
                columns.push(part(&count).alias(&count));
                calls.push(call("sum", &value)?.alias(&value));
                calls.push(call("sum", &count)?.alias(&count));
                mean(bare(&value), bare(&count), data_type)?
            }
            Aggregate::CountEntity => {
                calls.push(call("sum", &value)?.alias(&value));
                cast(when(bare(&value).gt(lit(0_i64)), one()).end()?, data_type)
            }
            Aggregate::CountDistinct => {
                calls.push(aggregate(planner.state, "count", bare(&value), true)?.alias(&value));
                cast(bare(&value), data_type)
            }
            Aggregate::ApproxDistinct => {
                calls.push(call("approx_distinct", &value)?.alias(&value));
                cast(bare(&value), data_type)
            }
            Aggregate::Min => {
                calls.push(call("min", &value)?.alias(&value));
                cast(bare(&value), data_type)
            }
            Aggregate::Max => {
                calls.push(call("max", &value)?.alias(&value));
                cast(bare(&value), data_type)
            }
            Aggregate::Sum | Aggregate::Count => {
                calls.push(call("sum", &value)?.alias(&value));
                cast(bare(&value), data_type)
            }
        };
        outputs.push(output.alias(metric(at)));
    }
    let grouped = builder.project(columns)?.aggregate([bare(KEY)], calls)?;
    Ok(grouped.project(outputs)?.build()?)
}

/// Who holds what: `HELD` and `KEY`; what must be one row of each; and by how much a value is shared.
type Holdings = (LogicalPlanBuilder, Vec<Counted>, Option<Expr>);

fn holdings(
    planner: &Planner<'_>,
    before: &[KeyStep],
    last: &KeyStep,
    held: Option<(usize, HoldingRule)>,
) -> Result<Holdings, EngineError> {
    let mut counted = Vec::new();
    let mut share = None;
    let mut builder: Option<LogicalPlanBuilder> = None;
    let mut columns = Vec::new();
    let name = |at: usize| format!("holding {at}");
    for (at, step) in before.iter().enumerate() {
        let next = before.get(at + 1).map_or(&last.column, |next| &next.column);
        let rule = held.filter(|(bridge, _)| *bridge == at).map(|(_, rule)| rule);
        let is_one = is_enforced(&planner.catalog.snapshot, &step.table, &step.key);
        let entered = entered(planner, step, &name(at))?;
        let keys = [of(&name(at), &step.key).alias(HELD), of(&name(at), next).alias(KEY)];
        let alias = format!("step {at}");
        let rows = match rule {
            Some(HoldingRule::FullToEach) => entered.project(keys)?.distinct()?,
            _ if is_one => entered.project(keys)?,
            _ => {
                // Beside each row those of the same key: found by the key where the holder is known, so that one holder's
                // holdings are a few rows of an index.
                let again = format!("{} again", name(at));
                let others = self::entered(planner, step, &again)?.build()?;
                let equal = of(&name(at), &step.key).eq(of(&again, &step.key));
                let own = when(of(&again, next).eq(of(&name(at), next)), one()).otherwise(lit(0_i64))?;
                let calls = [
                    aggregate(planner.state, "count", one(), false)?.alias(ROWS),
                    aggregate(planner.state, "sum", own, false)?.alias(OWN_ROWS),
                ];
                let rows = entered
                    .join_on(others, JoinType::Inner, [equal])?
                    .aggregate(keys, calls)?;
                if rule == Some(HoldingRule::EqualShare) {
                    share = Some(float(of(HOLDINGS, ROWS)) / float(of(HOLDINGS, OWN_ROWS)));
                    columns.push(of(&alias, ROWS).alias(ROWS));
                    columns.push(of(&alias, OWN_ROWS).alias(OWN_ROWS));
                } else {
                    let rows_name = format!("{ROWS} {at}");
                    columns.push(of(&alias, ROWS).alias(&rows_name));
                    counted.push(Counted::new(&step.table, &step.key, of(HOLDINGS, &rows_name)));
                }
                rows.project([bare(HELD), bare(KEY), bare(ROWS), bare(OWN_ROWS)])?
            }
        };
        let rows = rows.alias(alias.clone())?;
        builder = Some(match builder {
            Some(known) => {
                let equal = of(&format!("step {}", at - 1), KEY).eq(of(&alias, HELD));
                known.join_on(rows.build()?, JoinType::Left, [equal])?
            }
            None => rows,
        });
    }
    let builder = builder.ok_or_else(|| EngineError::internal("a way has no step", &last.table))?;
    columns.push(of("step 0", HELD).alias(HELD));
    columns.push(of(&format!("step {}", before.len() - 1), KEY).alias(KEY));
    Ok((builder.project(columns)?.alias(HOLDINGS)?, counted, share))
}

/// The rows of a step that count, by its condition.
fn entered(planner: &Planner<'_>, step: &KeyStep, alias: &str) -> Result<LogicalPlanBuilder, EngineError> {
    let entered = planner.scan(&step.table, alias)?;
    let Some(sql) = &step.condition else {
        return Ok(entered);
    };
    let condition = planner.condition(&step.table, sql)?;
    Ok(entered.filter(replaced(&condition, &|name| Ok(Some(of(alias, name))))?)?)
}
