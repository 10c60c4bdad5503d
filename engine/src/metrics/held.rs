//! Balances whose pick is of all that is held in a period, not of one of its rows: `time_weighted_average`, and under
//! `carry` or `closed` also `first`, `min`, `max` and `average`.
//!
//! Owns: from which day to which a value is held, the part of that in each period, the pick among those parts. A value is
//! held from its row's day until that of the next row, the day of closing, or the last day it is carried to. Never: which
//! rows there are (`picks`); adds up over accounts.

use arrow::datatypes::DataType;
use caliber_catalog::diagnostic::Code;
use caliber_catalog::metric::{Missing, Pick};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, Sort, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, ExprSchemable, LogicalPlanBuilder, WindowFunctionDefinition, cast, lit, when,
};

use super::asked::Leaf;
use super::branch::{HELD, OWN, PERIOD, Planner, UNTIL, dimension};
use super::calendar::{Calendar, Grain, days};
use super::frames::asked_days;
use super::metric_sql::Aggregate;
use super::picks::{Balance, CLOSED, DAY, VALUE, order, per};
use super::plan_parts::{aggregate, all, bare, call, date, float, only_where};
use crate::EngineError;

/// The day of the next row.
const NEXT: &str = "next day";
/// The first day on which the account is closed.
const CLOSES: &str = "closes";
/// The first day on which the value is no longer held; NULL: none.
const END: &str = "end";
/// Which part of a row's time it is.
const KIND: &str = "kind";
/// The days of a part: the first, and the first after it.
const FROM: &str = "from";
const TO: &str = "to";
/// The sum of values, or of values times days.
const TOTAL: &str = "total";
/// The number of values, or of days.
const NUMBER: &str = "number";

/// The parts of the time a row's value is held: in its own period, in the last one it reaches, in all between, and the
/// nothing after it where the account is closed.
#[derive(Clone, Copy)]
enum Kind {
    Own = 0,
    Last = 1,
    Between = 2,
    Closed = 3,
}

/// One part: whether there is one, and its columns.
struct Part {
    stands: Expr,
    period: Option<Expr>,
    until: Option<Expr>,
    own: Expr,
    from: Expr,
    to: Option<Expr>,
    value: Expr,
}

/// The days asked for.
struct Range {
    from: Option<Expr>,
    before: Option<Expr>,
}

impl Planner<'_> {
    /// A row for each that has a value and each period in which it has: `HELD`, dimensions, `PERIOD`, `VALUE`; under
    /// `carry` also `UNTIL` and `OWN`. And whether those are there.
    pub(super) fn held(
        &self,
        rows: LogicalPlanBuilder,
        asked: &Balance<'_>,
        leaf: &Leaf,
    ) -> Result<(LogicalPlanBuilder, bool), EngineError> {
        let found = asked_days(&asked.range, leaf.name())?;
        let range = Range {
            from: self.extreme("greatest", found.from)?,
            before: self.extreme("least", found.before)?,
        };
        if asked.balance.pick == Pick::TimeWeightedAverage && asked.grain.is_none() && range.before.is_none() {
            let message = "an average weighted by time needs a last day";
            let help = "add a condition such as metric_time <= DATE '2026-01-31', or group by time";
            return Err(EngineError::new(Code::MET005, message).help(help));
        }
        let rows = self.until_when(rows, asked)?;
        let parts = self.parts(rows, asked, &range)?;
        self.pick_among(parts, asked)
    }

    fn extreme(&self, name: &str, mut of: Vec<Expr>) -> Result<Option<Expr>, EngineError> {
        Ok(match of.len() {
            0 | 1 => of.pop(),
            _ => Some(date(call(self.state, name, of)?)),
        })
    }

    /// Each row that holds for some time, with `END` and, of accounts that close, `CLOSES`.
    fn until_when(&self, rows: LogicalPlanBuilder, asked: &Balance<'_>) -> Result<LogicalPlanBuilder, EngineError> {
        let strict = asked.balance.missing == Missing::Strict;
        let mut columns: Vec<Expr> = Vec::new();
        for field in rows.schema().fields() {
            let name = field.name().as_str();
            columns.push(match name {
                DAY | CLOSED | PERIOD => date(bare(name)).alias(name),
                _ => bare(name),
            });
        }
        let mut partition: Vec<Expr> = one_held(asked).iter().map(|name| bare(name)).collect();
        partition.extend(asked.grain.filter(|_| strict).map(|_| bare(PERIOD)));
        let in_order: Vec<Sort> = std::iter::once(DAY.to_owned())
            .chain((0..asked.order).map(order))
            .map(|name| Sort::new(bare(&name), true, false))
            .collect();
        let lead = self.state.window_functions().get("lead");
        let lead = lead.ok_or_else(|| EngineError::internal("a window function is missing", &"lead"))?;
        let lead = WindowFunctionDefinition::WindowUDF(std::sync::Arc::clone(lead));
        let next = Expr::from(WindowFunction::new(lead, vec![bare(DAY)]))
            .partition_by(partition.clone())
            .order_by(in_order)
            .build()?;
        let mut builder = rows.project(columns)?.window([next.alias(NEXT)])?;
        let mut ends = vec![date(bare(NEXT))];
        let mut holds = Vec::new();
        if asked.balance.closed.is_some() {
            let Expr::AggregateFunction(least) = aggregate(self.state, "min", bare(CLOSED), false)? else {
                return Err(EngineError::internal("an aggregate was expected", &"min"));
            };
            let closes = WindowFunction::new(WindowFunctionDefinition::AggregateUDF(least.func), least.params.args);
            let closes = Expr::from(closes).partition_by(partition).build()?;
            builder = builder.window([closes.alias(CLOSES)])?;
            ends.push(bare(CLOSES));
            holds.push(bare(CLOSES).is_null().or(bare(DAY).lt(bare(CLOSES))));
        }
        if let Missing::CarryDays(number) = asked.balance.missing {
            let after = i32::try_from(number).unwrap_or(i32::MAX).saturating_add(1);
            ends.push(date(bare(DAY) + days(after)));
        }
        if asked.balance.pick == Pick::TimeWeightedAverage {
            // Of a day the last row counts.
            holds.push(bare(NEXT).is_null().or(bare(NEXT).gt(bare(DAY))));
        }
        if let Some(holds) = all(holds) {
            builder = builder.filter(holds)?;
        }
        let end = match ends.as_slice() {
            [only] => only.clone(),
            _ => date(call(self.state, "least", ends)?),
        };
        let kept: Vec<Expr> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| bare(field.name()))
            .chain([end.alias(END)])
            .collect();
        Ok(builder.project(kept)?)
    }

    /// Every part of every row's time that is asked for.
    fn parts(
        &self,
        rows: LogicalPlanBuilder,
        asked: &Balance<'_>,
        range: &Range,
    ) -> Result<LogicalPlanBuilder, EngineError> {
        let value_type = bare(VALUE).get_type(rows.schema())?;
        let mut kinds = vec![(Kind::Own, self.own_part(asked, range)?)];
        if let Some(grain) = asked.grain.filter(|_| asked.balance.missing != Missing::Strict) {
            kinds.push((Kind::Last, self.last_part(grain, range)?));
            kinds.push((Kind::Between, self.between_part(grain)?));
        }
        if asked.balance.closed.is_some() {
            // Sums have nothing to add; what is counted or compared is not there.
            let nothing = match asked.base.function {
                Aggregate::Sum => lit(ScalarValue::new_zero(&value_type)?),
                _ => lit(ScalarValue::try_from(&value_type)?),
            };
            kinds.push((Kind::Closed, self.closed_part(asked, range, nothing)?));
        }
        let number = |kind: Kind| lit(kind as i64);
        let numbers = call(
            self.state,
            "make_array",
            kinds.iter().map(|(kind, _)| number(*kind)).collect(),
        )?;
        let mut columns: Vec<Expr> = rows.schema().fields().iter().map(|field| bare(field.name())).collect();
        columns.push(numbers.alias(KIND));
        let builder = rows.project(columns)?.unnest_column(KIND)?;
        let is = |kind: Kind| bare(KIND).eq(number(kind));
        let stands = kinds.iter().map(|(kind, part)| is(*kind).and(part.stands.clone()));
        let builder = match stands.reduce(Expr::or) {
            Some(stands) => builder.filter(stands)?,
            None => builder,
        };
        let choose = |column: &dyn Fn(&Part) -> Option<Expr>, none: ScalarValue| -> Result<Expr, EngineError> {
            let mut chosen = lit(none);
            for (kind, part) in &kinds {
                if let Some(value) = column(part) {
                    chosen = when(is(*kind), value).otherwise(chosen)?;
                }
            }
            Ok(chosen)
        };
        let no_day = ScalarValue::Date32(None);
        let mut columns: Vec<Expr> = one_held(asked).iter().map(|name| bare(name)).collect();
        columns.extend((0..asked.order).map(|at| bare(&order(at))));
        if asked.grain.is_some() {
            columns.push(choose(&|part| part.period.clone(), no_day.clone())?.alias(PERIOD));
            columns.push(choose(&|part| part.until.clone(), no_day.clone())?.alias(UNTIL));
        }
        columns.push(choose(&|part| Some(part.own.clone()), ScalarValue::Boolean(None))?.alias(OWN));
        columns.push(choose(&|part| Some(part.from.clone()), no_day.clone())?.alias(FROM));
        columns.push(choose(&|part| part.to.clone(), no_day)?.alias(TO));
        let value = choose(&|part| Some(part.value.clone()), ScalarValue::try_from(&value_type)?)?;
        columns.push(cast(value, value_type).alias(VALUE));
        Ok(builder.project(columns)?)
    }

    /// The row's own period, or the whole range.
    fn own_part(&self, asked: &Balance<'_>, range: &Range) -> Result<Part, EngineError> {
        let next = asked.grain.map(|grain| grain.next(bare(PERIOD)));
        let from = self.no_earlier(bare(DAY), range)?;
        let to = self.extreme(
            "least",
            [Some(bare(END)), next.clone(), range.before.clone()]
                .into_iter()
                .flatten()
                .collect(),
        )?;
        let own = match &range.from {
            Some(from) => bare(DAY).gt_eq(from.clone()),
            None => lit(true),
        };
        let reaches = bare(END)
            .is_null()
            .or(to.clone().unwrap_or_else(|| bare(END)).gt(from.clone()));
        Ok(Part {
            stands: own.clone().or(reaches),
            period: asked.grain.map(|_| bare(PERIOD)),
            until: next,
            own,
            from,
            to,
            value: bare(VALUE),
        })
    }

    /// The last period that it reaches, a later one than its own.
    fn last_part(&self, grain: Grain, range: &Range) -> Result<Part, EngineError> {
        let last = last_period(self, grain)?;
        let from = self.no_earlier(last.clone(), range)?;
        let to = self.extreme(
            "least",
            [Some(bare(END)), range.before.clone()].into_iter().flatten().collect(),
        )?;
        let reaches = to.clone().map_or_else(|| lit(true), |to| to.gt(from.clone()));
        Ok(Part {
            stands: bare(END).is_not_null().and(last.clone().gt(bare(PERIOD))).and(reaches),
            until: Some(grain.next(last.clone())),
            period: Some(last),
            own: lit(false),
            from,
            to,
            value: bare(VALUE),
        })
    }

    /// The periods between: its value all the time.
    fn between_part(&self, grain: Grain) -> Result<Part, EngineError> {
        let next = grain.next(bare(PERIOD));
        let last = last_period(self, grain)?;
        Ok(Part {
            stands: bare(END).is_null().or(last.clone().gt(next.clone())),
            until: Some(last),
            period: Some(next.clone()),
            own: lit(false),
            from: next.clone(),
            to: Some(date(next + days(1))),
            value: bare(VALUE),
        })
    }

    /// From the day of closing to the end of its period, or of the range.
    fn closed_part(&self, asked: &Balance<'_>, range: &Range, nothing: Expr) -> Result<Part, EngineError> {
        let mut stands = vec![bare(CLOSES).is_not_null(), bare(END).eq(bare(CLOSES))];
        stands.push(bare(NEXT).is_null().or(bare(NEXT).gt_eq(bare(CLOSES))));
        stands.extend(range.from.iter().map(|from| bare(CLOSES).gt_eq(from.clone())));
        stands.extend(range.before.iter().map(|before| bare(CLOSES).lt(before.clone())));
        let period = asked
            .grain
            .map(|grain| grain.first_day(self.state, bare(CLOSES)))
            .transpose()?;
        let next = asked
            .grain
            .zip(period.clone())
            .map(|(grain, period)| grain.next(period));
        if let Some(period) = period.clone().filter(|_| asked.balance.missing == Missing::Strict) {
            stands.push(period.eq(bare(PERIOD)));
        }
        let to = self.extreme("least", next.iter().chain(&range.before).cloned().collect())?;
        Ok(Part {
            stands: all(stands).unwrap_or_else(|| lit(true)),
            period,
            until: next,
            own: lit(false),
            from: bare(CLOSES),
            to,
            value: nothing,
        })
    }

    fn no_earlier(&self, day: Expr, range: &Range) -> Result<Expr, EngineError> {
        Ok(match &range.from {
            Some(from) => date(call(self.state, "greatest", vec![day, from.clone()])?),
            None => day,
        })
    }

    /// The parts of one in one period become its value.
    fn pick_among(
        &self,
        parts: LogicalPlanBuilder,
        asked: &Balance<'_>,
    ) -> Result<(LogicalPlanBuilder, bool), EngineError> {
        let carried = asked.grain.is_some() && asked.balance.missing != Missing::Strict;
        let mut keys = one_held(asked);
        keys.extend(asked.grain.map(|_| PERIOD.to_owned()));
        let keys: Vec<Expr> = keys.iter().map(|name| bare(name)).collect();
        let of = |name: &str, argument: Expr| aggregate(self.state, name, argument, false);
        let some = float(bare(NUMBER)).gt(lit(0.0_f64));
        let mean = when(some, float(bare(TOTAL)) / float(bare(NUMBER))).end()?;
        let (mut calls, value) = match asked.balance.pick {
            Pick::TimeWeightedAverage => {
                let number = |day: &str| cast(bare(day), DataType::Int32);
                let weight = float(number(TO) - number(FROM));
                let known = only_where(Some(&bare(VALUE).is_not_null()), weight.clone())?;
                let total = of("sum", float(bare(VALUE)) * weight)?;
                (vec![total.alias(TOTAL), of("sum", known)?.alias(NUMBER)], mean)
            }
            Pick::Average => {
                let (total, number) = (of("sum", bare(VALUE))?, of("count", bare(VALUE))?);
                (vec![total.alias(TOTAL), number.alias(NUMBER)], mean)
            }
            Pick::Min => (vec![of("min", bare(VALUE))?.alias(VALUE)], bare(VALUE)),
            Pick::Max => (vec![of("max", bare(VALUE))?.alias(VALUE)], bare(VALUE)),
            Pick::First | Pick::Last => {
                let Expr::AggregateFunction(first) = of("first_value", bare(VALUE))? else {
                    return Err(EngineError::internal("an aggregate was expected", &"first_value"));
                };
                let in_order = std::iter::once(FROM.to_owned())
                    .chain((0..asked.order).map(order))
                    .map(|name| Sort::new(bare(&name), true, false));
                let first =
                    AggregateFunction::new_udf(first.func, first.params.args, false, None, in_order.collect(), None);
                (vec![Expr::AggregateFunction(first).alias(VALUE)], bare(VALUE))
            }
        };
        let mut outputs: Vec<Expr> = keys.clone();
        outputs.push(value.alias(VALUE));
        if carried {
            calls.push(of("max", bare(UNTIL))?.alias(UNTIL));
            let own = when(bare(OWN), lit(1_i64)).otherwise(lit(0_i64))?;
            calls.push(of("max", own)?.alias(OWN));
            outputs.push(bare(UNTIL));
            outputs.push(bare(OWN).eq(lit(1_i64)).alias(OWN));
        }
        Ok((parts.aggregate(keys, calls)?.project(outputs)?, carried))
    }
}

/// The columns that name what has one value at a time, in one group of the query.
fn one_held(asked: &Balance<'_>) -> Vec<String> {
    let mut names: Vec<String> = (0..asked.balance.per.len()).map(per).collect();
    names.push(HELD.to_owned());
    names.extend(asked.dimensions.iter().map(|name| dimension(name)));
    names
}

/// The period of the last day on which a value is held.
fn last_period(planner: &Planner<'_>, grain: Grain) -> Result<Expr, EngineError> {
    grain.first_day(planner.state, date(bare(END) - days(1)))
}
