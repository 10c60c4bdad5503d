//! The branches of a query side by side: one row for each group, each metric in its column.
//!
//! Owns: bringing branches together null-safely, carried balances spread over the periods shown, what stands where there is
//! nothing, derived metrics. Never: multiplies a row: each branch gives one for a group, and all are grouped once more.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use caliber_catalog::metric::Frame;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition, cast, lit, when,
};

use super::asked::{Leaf, within};
use super::branch::{OWN, PERIOD, Planner, UNTIL, branches};
use super::calendar::{Calendar, Grain};
use super::carry::{Branch, counted_rows, group, mean, metric};
use super::definition::{Base, Defined, Kind};
use super::metric_sql::Aggregate;
use super::metric_view::METRIC_TIME;
use super::plan_parts::{aggregate, bare, call, date, replaced};
use crate::EngineError;

/// The first day of a period that is shown.
const SHOWN: &str = "shown";
/// How many rows of the period itself a group has.
const HAS_OWN: &str = "rows of its own";
/// The same of all groups.
const ANY_OWN: &str = "rows of any group";
/// After the last period that has a row.
const END: &str = "end";

/// The name of a result's measure.
pub(crate) fn measure_column(at: usize) -> String {
    format!("measure {at}")
}

impl Planner<'_> {
    /// The whole query: `group(i)` for each group expression, `measure_column(i)` for each measure.
    pub fn plan(&self) -> Result<LogicalPlan, EngineError> {
        self.check_reach()?;
        let mut made = Vec::new();
        for places in branches(self.asked)? {
            let first = places.first().and_then(|at| Some((*at, self.asked.leaves.get(*at)?)));
            let balance = first.and_then(|(at, leaf)| Some((at, leaf, leaf.base().ok()?.balance.as_ref()?)));
            let facts = match balance {
                Some((at, leaf, balance)) => self.balance(at, leaf, balance)?,
                None => self.flows(&places)?,
            };
            made.push(self.carried(facts)?);
        }
        let spread = made.iter().any(|branch| branch.is_carried);
        let mut builder = self.side_by_side(made, spread)?;
        let grain = self
            .asked
            .periods
            .filter(|_| self.asked.by_period())
            .map(|periods| periods.grain);
        let mut period = None;
        if let Some(grain) = grain {
            period = Some(if spread { SHOWN } else { PERIOD });
            if spread {
                builder = self.spread(builder, grain)?;
            }
        }
        let mut keys: Vec<Expr> = self.kept_groups().map(|at| bare(&group(at))).collect();
        keys.extend(period.map(bare));
        let mut calls = Vec::new();
        for (at, leaf) in self.asked.leaves.iter().enumerate() {
            let windowed = is_windowed(leaf, period.is_some());
            let (function, distinct) = together(leaf, windowed)?;
            calls.push(aggregate(self.state, function, bare(&metric(at)), distinct)?.alias(metric(at)));
            if windowed && leaf.base()?.function == Aggregate::Average {
                let rows = counted_rows(at);
                calls.push(aggregate(self.state, "sum", bare(&rows), false)?.alias(rows));
            }
        }
        if spread {
            // Rows without a time are shown in no period, and are their own.
            let shown_here = bare(PERIOD).eq(bare(SHOWN)).or(bare(PERIOD).is_null());
            let own = when(bare(OWN).and(shown_here), lit(1_i64)).end()?;
            calls.push(aggregate(self.state, "count", own, false)?.alias(HAS_OWN));
        }
        builder = builder.aggregate(keys, calls)?;
        if spread {
            let total = aggregate(self.state, "sum", bare(HAS_OWN), false)?;
            builder = builder.window([over_all(total, vec![bare(SHOWN)])?.alias(ANY_OWN)])?;
            builder = builder.filter(bare(ANY_OWN).gt(lit(0_i64)))?;
        }
        let mut columns = Vec::new();
        for (at, expr) in self.asked.group.iter().enumerate() {
            let column = match period {
                Some(period) if self.is_of_period(at) => {
                    replaced(expr, &|name| Ok((name == METRIC_TIME).then(|| bare(period))))?
                }
                _ => bare(&group(at)),
            };
            columns.push(column.alias(group(at)));
        }
        for (at, (defined, filter)) in self.asked.measures.iter().enumerate() {
            columns.push(
                self.value(defined, filter.as_ref(), Frame::default())?
                    .alias(measure_column(at)),
            );
        }
        Ok(builder.project(columns)?.build()?)
    }

    /// The group expressions that branches compute.
    fn kept_groups(&self) -> impl Iterator<Item = usize> {
        (0..self.asked.group.len()).filter(|at| !self.is_of_period(*at))
    }

    /// The columns that branches give values in.
    fn value_columns(&self) -> Vec<String> {
        let leaves = self.asked.leaves.iter().enumerate();
        leaves
            .flat_map(|(at, leaf)| {
                let is_mean = leaf.base().is_ok_and(|base| base.function == Aggregate::Average);
                let counted = is_mean && is_windowed(leaf, self.asked.by_period());
                std::iter::once(metric(at)).chain(counted.then(|| counted_rows(at)))
            })
            .collect()
    }

    /// All rows of all branches, each with the columns of all.
    fn side_by_side(&self, made: Vec<Branch>, spread: bool) -> Result<LogicalPlanBuilder, EngineError> {
        let grain = self.asked.periods.map_or(Grain::Day, |periods| periods.grain);
        let mut values: Vec<(String, DataType)> = Vec::new();
        for name in self.value_columns() {
            let found = made.iter().find_map(|branch| {
                let field = branch.plan.schema().field_with_unqualified_name(&name).ok()?;
                Some(field.data_type().clone())
            });
            let data_type = found.ok_or_else(|| EngineError::internal("a metric has no branch", &name))?;
            values.push((name, data_type));
        }
        let mut all: Option<LogicalPlanBuilder> = None;
        for branch in made {
            let mut columns: Vec<Expr> = self.kept_groups().map(|at| bare(&group(at))).collect();
            if self.asked.by_period() {
                columns.push(bare(PERIOD));
            }
            if spread && branch.is_carried {
                columns.extend([bare(UNTIL), bare(OWN)]);
            } else if spread {
                columns.extend([grain.next(bare(PERIOD)).alias(UNTIL), lit(true).alias(OWN)]);
            }
            for (name, data_type) in &values {
                columns.push(if branch.plan.schema().has_column_with_unqualified_name(name) {
                    bare(name)
                } else {
                    lit(ScalarValue::try_from(data_type)?).alias(name)
                });
            }
            let table = branch.leaves.first().and_then(|at| self.asked.leaves.get(*at));
            let name = match table {
                Some(leaf) => self.branch_name(leaf.base()?, &branch.leaves),
                None => String::new(),
            };
            let plan = LogicalPlanBuilder::from(branch.plan).project(columns.clone())?;
            let names: Vec<String> = plan
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            let plan = plan.alias(datafusion::common::TableReference::bare(name))?;
            let plan = plan.project(names.iter().map(|name| bare(name)).map(|column| {
                let name = column.name_for_alias().unwrap_or_default();
                column.alias(name)
            }))?;
            all = Some(match all {
                Some(others) => others.union(plan.build()?)?,
                None => plan,
            });
        }
        all.ok_or_else(|| EngineError::internal("a query over metrics has no branch", &"no metric"))
    }

    /// How a plan names a branch: its table, and the metrics computed there that exist for the principal.
    fn branch_name(&self, base: &Base, leaves: &[usize]) -> String {
        let leaves = leaves.iter().filter_map(|at| self.asked.leaves.get(*at));
        let shown = leaves
            .map(Leaf::name)
            .filter(|name| self.asked.view.metrics.contains_key(*name));
        let names: BTreeSet<&str> = shown.collect();
        let names: Vec<&str> = names.into_iter().collect();
        format!("metrics of {} ({})", base.table, names.join(", "))
    }

    /// Each row once for every period in which it counts, up to the last that has a row.
    fn spread(&self, builder: LogicalPlanBuilder, grain: Grain) -> Result<LogicalPlanBuilder, EngineError> {
        let last = over_all(aggregate(self.state, "max", bare(PERIOD), false)?, Vec::new())?.alias(END);
        let builder = builder.window([last])?;
        let end = grain.next(bare(END));
        let until = call(self.state, "least", vec![bare(UNTIL), end])?;
        let periods = call(self.state, "range", vec![bare(PERIOD), date(until), grain.step()])?;
        let mut columns: Vec<Expr> = self.kept_groups().map(|at| bare(&group(at))).collect();
        columns.extend([bare(PERIOD), bare(OWN)]);
        columns.extend(self.value_columns().iter().map(|name| bare(name)));
        columns.push(periods.alias(SHOWN));
        Ok(builder.project(columns)?.unnest_column(SHOWN)?)
    }

    /// A metric over the leaves' columns.
    pub fn value(&self, defined: &Defined, filter: Option<&Expr>, outer: Frame) -> Result<Expr, EngineError> {
        let frame = within(outer, defined);
        match &defined.kind {
            Kind::Base(base) => {
                let at = self.asked.leaf(defined, filter, frame);
                let at = at.ok_or_else(|| EngineError::internal("a metric has no branch", &defined.metric.name))?;
                let windowed = frame.window.is_some() && self.asked.by_period();
                if windowed && base.function == Aggregate::Average {
                    return mean(bare(&metric(at)), bare(&counted_rows(at)), defined.data_type.clone());
                }
                let value = cast(bare(&metric(at)), defined.data_type.clone());
                let value = if base.is_flow() {
                    let zero = lit(ScalarValue::new_zero(&defined.data_type)?);
                    call(self.state, "coalesce", vec![value, zero])?
                } else {
                    value
                };
                let is_present = self.asked.as_of.as_ref().and_then(|as_of| as_of.is_present.clone());
                Ok(match is_present.filter(|_| base.time.is_none()) {
                    Some(is_present) => when(is_present, value).end()?,
                    None => value,
                })
            }
            Kind::Derived { expr, .. } => {
                let expr = replaced(expr, &|name| {
                    let part = self.asked.view.known.get(name);
                    let part = part.ok_or_else(|| EngineError::internal("a part of a metric is missing", &name))?;
                    Ok(Some(self.value(part, filter, frame)?))
                })?;
                Ok(cast(expr, defined.data_type.clone()))
            }
        }
    }
}

/// Whether a leaf's rows count in several periods.
fn is_windowed(leaf: &Leaf, by_period: bool) -> bool {
    by_period && leaf.frame.window.is_some()
}

/// How a leaf's rows in one group become one, and whether each value counts once: only a carried balance and a window have
/// several there.
fn together(leaf: &Leaf, windowed: bool) -> Result<(&'static str, bool), EngineError> {
    let base = leaf.base()?;
    let several = windowed || base.balance.is_some();
    Ok(match base.function {
        Aggregate::CountDistinct | Aggregate::CountEntity if windowed => ("count", true),
        Aggregate::ApproxDistinct if windowed => ("approx_distinct", false),
        Aggregate::Average if windowed => ("sum", false),
        Aggregate::Sum | Aggregate::Count if several => ("sum", false),
        Aggregate::Min if several => ("min", false),
        _ => ("max", false),
    })
}

/// An aggregate over all rows that agree on `partition`.
fn over_all(aggregate: Expr, partition: Vec<Expr>) -> Result<Expr, EngineError> {
    let Expr::AggregateFunction(call) = aggregate else {
        return Err(EngineError::internal("an aggregate was expected", &aggregate));
    };
    let window = WindowFunction::new(WindowFunctionDefinition::AggregateUDF(call.func), call.params.args);
    Ok(Expr::from(window).partition_by(partition).build()?)
}
