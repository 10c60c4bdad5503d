//! Balances: for each account and period the one row that counts, and how long it counts.
//!
//! Owns: the pick, what is carried, what is closed. Never: filters another metric; a pick is a step of its own branch.

use caliber_catalog::diagnostic::Code;
use caliber_catalog::metric::{Missing, Pick, SemiAdditive};
use datafusion::common::JoinType;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlanBuilder, WindowFunctionDefinition, lit, not, when};

use super::asked::{Leaf, TimeRange, add_range, over};
use super::branch::{Facts, HELD, HOME, OWN, PERIOD, Planner, UNTIL, dimension, partial};
use super::calendar::{Calendar, Grain, days};
use super::definition::{Base, order_of};
use super::frames::check_groups;
use super::plan_parts::{aggregate, all, bare, call, date, float, of, one, replaced};
use crate::EngineError;

/// The rows among which is picked, within joins.
const ROWS: &str = "rows";
/// The best place of each, within joins.
const BEST: &str = "best";
/// The day of a row.
pub(super) const DAY: &str = "day";
/// Its value.
pub(super) const VALUE: &str = "value";
/// The day on which it closes.
pub(super) const CLOSED: &str = "closed";
const NEXT: &str = "next period";

/// The name of a column that names what has one value at a time.
pub(super) fn per(at: usize) -> String {
    format!("per {at}")
}

/// The name of a column by which rows are ordered.
pub(super) fn order(at: usize) -> String {
    format!("order {at}")
}

/// A balance, and what the query asks of it.
pub(super) struct Balance<'a> {
    pub base: &'a Base,
    pub balance: &'a SemiAdditive,
    pub range: TimeRange,
    /// The periods asked for; `None`: one value for the whole range.
    pub grain: Option<Grain>,
    /// The columns that rows are grouped by before one is picked.
    groups: Vec<String>,
    pub dimensions: Vec<String>,
    /// How many columns order its rows.
    pub order: usize,
    has_held: bool,
}

impl Planner<'_> {
    /// The facts of a balance.
    pub fn balance(&self, at: usize, leaf: &Leaf, balance: &SemiAdditive) -> Result<Facts, EngineError> {
        let base = leaf.base()?;
        let mut range = TimeRange::default();
        let (mut below, mut above) = (Vec::new(), Vec::new());
        for condition in self.asked.conditions_of(leaf) {
            let over = over(&condition, self.asked.view)?;
            if over.time {
                add_range(&mut range, &condition, leaf.name())?;
            } else if over.entity {
                above.push(condition);
            } else {
                below.push(self.asked_at_home(&condition, base)?);
            }
        }
        check_groups(self, leaf)?;
        let range = self.shifted_back(leaf, range)?;
        let dimensions: Vec<String> = self.dimensions_used(&above)?.into_iter().collect();
        let mut asked = Balance {
            base,
            balance,
            range,
            grain: self.asked.periods.map(|periods| periods.grain),
            groups: Vec::new(),
            dimensions,
            order: 0,
            has_held: self.needs_entity(leaf, &above)?,
        };
        asked.groups = (0..balance.per.len()).map(per).collect();
        asked.groups.extend(asked.grain.map(|_| PERIOD.to_owned()));
        let rows = self.rows(&mut asked, leaf, below)?;
        let (picked, is_carried) = match balance.pick {
            _ if balance.is_of_days() => self.held(rows, &asked, leaf)?,
            Pick::Last => self.counted(self.picked(rows, &asked, "max")?, &asked)?,
            Pick::First => self.counted(self.picked(rows, &asked, "min")?, &asked)?,
            _ => self.counted(self.summed_up(rows, &asked)?, &asked)?,
        };
        let picked = self.shifted(leaf, picked, asked.grain)?;
        self.grouped(picked, at, &asked, is_carried, above)
    }

    /// The rows that may be picked.
    fn rows(
        &self,
        asked: &mut Balance<'_>,
        leaf: &Leaf,
        mut conditions: Vec<Expr>,
    ) -> Result<LogicalPlanBuilder, EngineError> {
        let Balance { base, balance, .. } = *asked;
        let written = leaf.defined.metric.base.as_ref();
        let columns_of_order = written.map(|base| order_of(balance, base)).unwrap_or_default();
        let time = base.time.as_deref().unwrap_or_default();
        if let Some(condition) = &base.condition {
            conditions.push(self.at_home(condition)?);
        }
        for (column, _) in &balance.per {
            conditions.push(of(HOME, column).is_not_null());
        }
        conditions.push(of(HOME, time).is_not_null());
        for bound in &asked.range.upper {
            conditions.push(self.asked_at_home(bound, base)?);
        }
        if balance.missing == Missing::Strict {
            for bound in &asked.range.lower {
                conditions.push(self.asked_at_home(bound, base)?);
            }
        }
        let mut columns: Vec<Expr> = balance
            .per
            .iter()
            .enumerate()
            .map(|(at, (name, _))| of(HOME, name).alias(per(at)))
            .collect();
        if let Some(grain) = asked.grain {
            let data_type = self.column_type(&base.table, time)?;
            columns.push(grain.period(self.state, of(HOME, time), &data_type)?.alias(PERIOD));
        }
        let (mut builder, held) = self.home(base, asked.has_held)?;
        columns.push(held.alias(HELD));
        columns.push(of(HOME, time).alias(DAY));
        if balance.is_ordered() {
            asked.order = columns_of_order.len();
            columns.extend(
                columns_of_order
                    .iter()
                    .enumerate()
                    .map(|(at, name)| of(HOME, name).alias(order(at))),
            );
        }
        columns.extend(
            asked
                .dimensions
                .iter()
                .map(|name| of(HOME, name).alias(dimension(name))),
        );
        let value = base
            .argument
            .as_ref()
            .map(|argument| self.at_home(argument))
            .transpose()?;
        columns.push(value.unwrap_or_else(one).alias(VALUE));
        columns.extend(balance.closed.iter().map(|(name, _)| of(HOME, name).alias(CLOSED)));
        if let Some(condition) = all(conditions) {
            builder = builder.filter(condition)?;
        }
        Ok(builder.project(columns)?)
    }

    /// The one row of each group that is best by the order: the best first column, then among those the best second.
    fn picked(
        &self,
        rows: LogicalPlanBuilder,
        asked: &Balance<'_>,
        best: &str,
    ) -> Result<LogicalPlanBuilder, EngineError> {
        let all_rows = rows.build()?;
        let columns: Vec<String> = all_rows
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let mut candidates = all_rows.clone();
        for at in 0..asked.order {
            // What is best so far is the same in every candidate of a group.
            let mut keys: Vec<String> = asked.groups.clone();
            keys.extend((0..at).map(order));
            let key_columns: Vec<Expr> = keys.iter().map(|name| bare(name)).collect();
            let extreme = aggregate(self.state, best, bare(&order(at)), false)?.alias(order(at));
            let found = LogicalPlanBuilder::from(candidates.clone())
                .aggregate(key_columns, [extreme])?
                .alias(BEST)?
                .build()?;
            keys.push(order(at));
            let equal: Vec<Expr> = keys.iter().map(|name| of(ROWS, name).eq(of(BEST, name))).collect();
            let kept = columns.iter().map(|name| of(ROWS, name).alias(name));
            candidates = LogicalPlanBuilder::from(all_rows.clone())
                .alias(ROWS)?
                .join_on(found, JoinType::Inner, equal)?
                .project(kept)?
                .build()?;
        }
        Ok(LogicalPlanBuilder::from(candidates))
    }

    /// The smallest, largest or mean value of each.
    fn summed_up(&self, rows: LogicalPlanBuilder, asked: &Balance<'_>) -> Result<LogicalPlanBuilder, EngineError> {
        let mut keys: Vec<String> = asked.groups.clone();
        keys.push(HELD.to_owned());
        keys.extend(asked.dimensions.iter().map(|name| dimension(name)));
        let of_value = |name: &str| aggregate(self.state, name, bare(VALUE), false);
        let mut outputs: Vec<Expr> = keys.iter().map(|name| bare(name)).collect();
        let key_columns = outputs.clone();
        let (calls, value) = match asked.balance.pick {
            Pick::Average => {
                const NUMBER: &str = "number";
                let some = float(bare(NUMBER)).gt(lit(0.0_f64));
                let mean = when(some, float(bare(VALUE)) / float(bare(NUMBER))).end()?;
                (
                    vec![of_value("sum")?.alias(VALUE), of_value("count")?.alias(NUMBER)],
                    mean,
                )
            }
            Pick::Min => (vec![of_value("min")?.alias(VALUE)], bare(VALUE)),
            _ => (vec![of_value("max")?.alias(VALUE)], bare(VALUE)),
        };
        outputs.push(value.alias(VALUE));
        Ok(rows.aggregate(key_columns, calls)?.project(outputs)?)
    }

    /// In which periods a picked row counts, and whether at all.
    fn counted(
        &self,
        picked: LogicalPlanBuilder,
        asked: &Balance<'_>,
    ) -> Result<(LogicalPlanBuilder, bool), EngineError> {
        let Balance { balance, grain, .. } = asked;
        let time_is = |bounds: &[Expr], day: &Expr| -> Result<Option<Expr>, EngineError> {
            let placed: Result<Vec<Expr>, EngineError> = bounds
                .iter()
                .map(|bound| replaced(bound, &|_| Ok(Some(day.clone()))))
                .collect();
            Ok(all(placed?))
        };
        // What closes after the range asked for has not closed yet.
        let closed = match (&balance.closed, time_is(&asked.range.upper, &date(bare(CLOSED)))?) {
            (Some(_), Some(within)) => Some(when(within, date(bare(CLOSED))).end()?),
            (Some(_), None) => Some(date(bare(CLOSED))),
            (None, _) => None,
        };
        let day = date(bare(DAY));
        let Some(grain) = grain else {
            let mut conditions: Vec<Expr> = closed.into_iter().map(Expr::is_null).collect();
            if let Missing::CarryDays(number) = balance.missing {
                let beyond = date(day + days(i32::try_from(number).unwrap_or(i32::MAX).saturating_add(1)));
                let Some(within) = time_is(&asked.range.upper, &beyond)? else {
                    let help = "add a condition such as metric_time <= DATE '2026-01-31', or group by time";
                    return Err(EngineError::new(
                        Code::MET005,
                        "a balance that is carried for some days only needs a last day",
                    )
                    .help(help));
                };
                conditions.push(not(within));
            }
            let builder = match all(conditions) {
                Some(condition) => picked.filter(condition)?,
                None => picked,
            };
            return Ok((builder, false));
        };
        let mut columns: Vec<Expr> = vec![bare(HELD)];
        columns.extend(asked.dimensions.iter().map(|name| bare(&dimension(name))));
        let period = date(bare(PERIOD));
        let next = grain.next(period.clone());
        let closed_from = closed.map(|closed| grain.first_day(self.state, closed)).transpose()?;
        let is_closed = closed_from.clone().map(|from| from.lt_eq(period.clone()));
        let value = match is_closed.clone() {
            Some(is_closed) => when(not(is_closed.is_true()), bare(VALUE)).end()?,
            None => bare(VALUE),
        };
        columns.extend([period.clone().alias(PERIOD), value.alias(VALUE)]);
        if balance.missing == Missing::Strict {
            return Ok((picked.project(columns)?, false));
        }
        let lead = self.state.window_functions().get("lead");
        let lead = lead.ok_or_else(|| EngineError::internal("a window function is missing", &"lead"))?;
        let partition: Vec<Expr> = (0..balance.per.len()).map(|at| bare(&per(at))).collect();
        let next_picked = Expr::from(WindowFunction::new(
            WindowFunctionDefinition::WindowUDF(std::sync::Arc::clone(lead)),
            vec![bare(PERIOD)],
        ))
        .partition_by(partition)
        .order_by(vec![Sort::new(bare(PERIOD), true, false)])
        .build()?
        .alias(NEXT);
        let mut ends = vec![date(bare(NEXT))];
        if let Missing::CarryDays(number) = balance.missing {
            let beyond = date(day.clone() + days(i32::try_from(number).unwrap_or(i32::MAX).saturating_add(1)));
            let last = grain.first_day(self.state, beyond)?;
            ends.push(call(self.state, "greatest", vec![last, next.clone()])?);
        }
        ends.extend(closed_from);
        let mut until = match ends.as_slice() {
            [only] => only.clone(),
            _ => call(self.state, "least", ends)?,
        };
        if let Some(is_closed) = is_closed {
            until = when(is_closed.is_true(), next).otherwise(until)?;
        }
        let own = time_is(&asked.range.lower, &day)?.unwrap_or_else(|| lit(true));
        columns.extend([until.alias(UNTIL), own.alias(OWN)]);
        Ok((picked.window([next_picked])?.project(columns)?, true))
    }

    /// The picked values, grouped by what the query asks.
    fn grouped(
        &self,
        picked: LogicalPlanBuilder,
        at: usize,
        asked: &Balance<'_>,
        is_carried: bool,
        above: Vec<Expr>,
    ) -> Result<Facts, EngineError> {
        let mut names: Vec<String> = Vec::new();
        names.extend(asked.has_held.then(|| HELD.to_owned()));
        names.extend(asked.grain.map(|_| PERIOD.to_owned()));
        names.extend(asked.dimensions.iter().map(|name| dimension(name)));
        if is_carried {
            names.extend([UNTIL.to_owned(), OWN.to_owned()]);
        }
        let keys: Vec<Expr> = names.iter().map(|name| bare(name)).collect();
        let mut outputs = keys.clone();
        let mut calls = Vec::new();
        for (part, call) in self.partial_values(asked.base.function, Some(bare(VALUE)), None)? {
            calls.push(call.alias(partial(at, part)));
            outputs.push(bare(&partial(at, part)));
        }
        Ok(Facts {
            plan: picked.aggregate(keys, calls)?.project(outputs)?.build()?,
            leaves: vec![at],
            has_held: asked.has_held,
            grain: asked.grain,
            is_carried,
            above,
        })
    }
}
