//! Metrics over a window, and metrics shifted by whole periods.
//!
//! Owns: which rows count in which periods. A row counts from the period of its day on, so much later under `shift`, up to
//! the first period whose last day it is out of the window of. Never: a balance over a window; adds anything up.

use arrow::array::{AsArray, Date32Array};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::compute::{DatePart, date_part};
use arrow::datatypes::{DataType, Date32Type, Int32Type, TimeUnit};
use caliber_catalog::diagnostic::Code;
use caliber_catalog::metric::{Frame, Window};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlanBuilder, Operator, cast, lit, when};

use super::asked::{Leaf, TimeRange, add_range, over};
use super::branch::{Facts, OWN, PERIOD, Planner, UNTIL, is_partial};
use super::calendar::{Calendar, Grain, days, interval, later, moves_whole};
use super::definition::Base;
use super::metric_view::METRIC_TIME;
use super::plan_parts::{all, bare, call, date, only_where};
use crate::EngineError;

/// The days asked for: the first ones, and the first ones that are not.
#[derive(Debug, Default)]
pub(super) struct Days {
    pub from: Vec<Expr>,
    pub before: Vec<Expr>,
}

/// The frame of some leaves, and what the query asks of it.
pub(super) struct Framed {
    frame: Frame,
    asked: Days,
    /// The periods asked for; `None`: one value for the whole range.
    grain: Option<Grain>,
    /// The periods that rows are grouped by where they are.
    pub source_grain: Option<Grain>,
}

/// In which periods facts count: the columns that say so, and of a window that ends some time what may not count.
#[derive(Default)]
struct Placed {
    columns: Vec<Expr>,
    window: Option<InWindow>,
}

/// A fact of a window.
struct InWindow {
    /// Whether it counts in its own period.
    counts: Expr,
    /// Whether it counts anywhere, or is a row of a period that is asked for.
    stands: Expr,
}

/// Refuses groups over time that are not one period each.
pub(super) fn check_groups(planner: &Planner<'_>, leaf: &Leaf) -> Result<(), EngineError> {
    let mixed = |over: &super::asked::Over| over.time && (over.entity || !over.dimensions.is_empty());
    let unclear = planner.asked.periods.is_some_and(|periods| !periods.each_alone);
    if !unclear && !planner.asked.group_over.iter().any(mixed) {
        return Ok(());
    }
    let message = format!(
        "`{}` cannot be grouped by this expression of `metric_time`",
        leaf.name()
    );
    let help = "group by date_trunc of day, week, month, quarter or year, by metric_time, or by year and month: \
                its value is of one period";
    Err(EngineError::new(Code::MET005, message).help(help))
}

impl Planner<'_> {
    /// What the frame of `leaf` makes of the query; its conditions on time are taken out of `conditions`.
    pub(super) fn framed(&self, leaf: &Leaf, conditions: &mut Vec<Expr>) -> Result<Framed, EngineError> {
        check_groups(self, leaf)?;
        let mut range = TimeRange::default();
        let mut rest = Vec::new();
        for condition in conditions.drain(..) {
            if over(&condition, self.asked.view)?.time {
                add_range(&mut range, &condition, leaf.name())?;
            } else {
                rest.push(condition);
            }
        }
        *conditions = rest;
        let asked = asked_days(&range, leaf.name())?;
        let frame = leaf.frame;
        let grain = self.asked.periods.map(|periods| periods.grain);
        if grain.is_none()
            && asked.before.is_empty()
            && matches!(frame.window, Some(Window::Trailing(_) | Window::ToDate(_)))
        {
            let message = format!(
                "`{}` is of a window that ends on a day, and none is asked for",
                leaf.name()
            );
            let help = "add a condition such as metric_time <= DATE '2026-01-31', or group by time";
            return Err(EngineError::new(Code::MET005, message).help(help));
        }
        let source_grain = grain.map(|grain| {
            let mut fine = grain;
            if let Some(shift) = frame.shift {
                fine = fine.finer(shift.unit);
            }
            fine = match frame.window {
                Some(Window::Trailing(span)) => fine.finer(span.unit),
                Some(Window::ToDate(unit)) => fine.finer(unit),
                Some(Window::Cumulative) | None => fine,
            };
            let whole = asked.from.iter().chain(&asked.before).all(|day| begins(day, fine));
            if frame.window.is_none() || whole {
                fine
            } else {
                Grain::Day
            }
        });
        Ok(Framed {
            frame,
            asked,
            grain,
            source_grain,
        })
    }

    /// The rows that can count at all.
    pub(super) fn framed_rows(&self, framed: &Framed, base: &Base) -> Result<Vec<Expr>, EngineError> {
        let day = self.day_at_home(base)?;
        let earlier = |asked: Expr| match framed.frame.shift {
            Some(shift) => date(asked - interval(shift)),
            None => asked,
        };
        let mut conditions: Vec<Expr> = framed
            .asked
            .before
            .iter()
            .map(|before| day.clone().lt(earlier(before.clone())))
            .collect();
        // The first day of the window that ends before `end`.
        let start = |end: Expr| -> Result<Option<Expr>, EngineError> {
            Ok(match framed.frame.window {
                None | Some(Window::Cumulative) => None,
                Some(Window::Trailing(span)) => Some(date(end - interval(span))),
                Some(Window::ToDate(unit)) => Some(unit.first_day(self.state, date(end - days(1)))?),
            })
        };
        match (framed.frame.window, framed.grain) {
            (None, _) => conditions.extend(
                framed
                    .asked
                    .from
                    .iter()
                    .map(|from| day.clone().gt_eq(earlier(from.clone()))),
            ),
            (Some(_), Some(_)) => {
                conditions.push(day.clone().is_not_null());
                for from in &framed.asked.from {
                    if let Some(start) = start(date(from.clone() + days(1)))? {
                        conditions.push(day.clone().gt_eq(earlier(start)));
                    }
                }
            }
            (Some(_), None) => {
                conditions.push(day.clone().is_not_null());
                if let Some(end) = self.least(&framed.asked.before)?
                    && let Some(start) = start(end)?
                {
                    conditions.push(day.gt_eq(earlier(start)));
                }
            }
        }
        Ok(conditions)
    }

    /// Facts by the source's periods, by the periods in which they count.
    pub(super) fn framed_facts(&self, facts: Facts, framed: &Framed) -> Result<Facts, EngineError> {
        let Placed { mut columns, window } = self.framed_periods(framed)?;
        if columns.is_empty() {
            return Ok(facts);
        }
        for field in facts.plan.schema().fields() {
            let name = field.name();
            let is_value = facts.leaves.iter().any(|at| is_partial(name, *at));
            columns.extend(match &window {
                _ if name == PERIOD => None,
                Some(window) if is_value => Some(only_where(Some(&window.counts), bare(name))?.alias(name)),
                _ => Some(bare(name)),
            });
        }
        let mut builder = LogicalPlanBuilder::from(facts.plan);
        if let Some(window) = &window {
            builder = builder.filter(window.stands.clone())?;
        }
        Ok(Facts {
            plan: builder.project(columns)?.build()?,
            grain: framed.grain,
            is_carried: framed.frame.window.is_some(),
            ..facts
        })
    }

    /// In which periods a fact counts, from the first day of the source's period in `PERIOD`.
    fn framed_periods(&self, framed: &Framed) -> Result<Placed, EngineError> {
        let (Some(grain), Some(fine)) = (framed.grain, framed.source_grain) else {
            return Ok(Placed::default());
        };
        let first = date(bare(PERIOD));
        let first = match framed.frame.shift {
            Some(shift) => later(self.state, fine, first, shift)?,
            None => first,
        };
        let period = grain.first_day(self.state, first.clone())?;
        let Some(window) = framed.frame.window else {
            let columns = vec![period.alias(PERIOD)];
            return Ok(Placed { columns, window: None });
        };
        // The first day on which it is out of the window.
        let out = match window {
            Window::Cumulative => None,
            Window::Trailing(span) => Some(later(self.state, fine, first.clone(), span)?),
            Window::ToDate(unit) => Some(unit.next(unit.first_day(self.state, first.clone())?)),
        };
        let from = framed.asked.from.iter().map(|from| first.clone().gt_eq(from.clone()));
        let own = all(from).unwrap_or_else(|| lit(true));
        let Some(out) = out else {
            let never = lit(ScalarValue::Date32(None));
            let columns = vec![period.alias(PERIOD), never.alias(UNTIL), own.alias(OWN)];
            return Ok(Placed { columns, window: None });
        };
        let mut until = grain.first_day(self.state, out.clone())?;
        if let Some(end) = self.least(&framed.asked.before)? {
            // The last period asked for may end early: on its last day asked for the row is still in the window.
            let last = grain.first_day(self.state, date(end.clone() - days(1)))?;
            let stays = out.gt_eq(end).and(until.clone().eq(last.clone()));
            until = when(stays, grain.next(last)).otherwise(until)?;
        }
        // One that is out of the window before its own period ends counts nowhere, and still is a row of its period.
        let counts = until.clone().gt(period.clone());
        let stands = counts.clone().or(own.clone());
        let shown = when(counts.clone(), until).otherwise(grain.next(period.clone()))?;
        let columns = vec![period.alias(PERIOD), shown.alias(UNTIL), own.alias(OWN)];
        let window = Some(InWindow { counts, stands });
        Ok(Placed { columns, window })
    }

    /// The conditions of a balance under `shift`, on the days before it.
    pub(super) fn shifted_back(&self, leaf: &Leaf, range: TimeRange) -> Result<TimeRange, EngineError> {
        let Some(shift) = leaf.frame.shift else {
            return Ok(range);
        };
        if let Some(periods) = self.asked.periods
            && !moves_whole(periods.grain, shift)
        {
            let (word, name) = (periods.grain.word(), leaf.name());
            let message = format!("balance `{name}` is shifted by {shift}, and a {word} is no {word} then");
            let help = "group by a period of which the shift is made, or by none";
            return Err(EngineError::new(Code::MET005, message).help(help));
        }
        let asked = asked_days(&range, leaf.name())?;
        let earlier = |day: Expr| date(day - interval(shift));
        Ok(TimeRange {
            lower: asked
                .from
                .into_iter()
                .map(|day| bare(METRIC_TIME).gt_eq(earlier(day)))
                .collect(),
            upper: asked
                .before
                .into_iter()
                .map(|day| bare(METRIC_TIME).lt(earlier(day)))
                .collect(),
        })
    }

    /// The periods of a balance, so much later.
    pub(super) fn shifted(
        &self,
        leaf: &Leaf,
        builder: LogicalPlanBuilder,
        grain: Option<Grain>,
    ) -> Result<LogicalPlanBuilder, EngineError> {
        let (Some(shift), Some(grain)) = (leaf.frame.shift, grain) else {
            return Ok(builder);
        };
        let fields = builder.schema().fields().clone();
        let mut columns = Vec::with_capacity(fields.len());
        for field in &fields {
            let name = field.name();
            let column = bare(name);
            columns.push(if name == PERIOD || name == UNTIL {
                later(self.state, grain, column, shift)?.alias(name)
            } else {
                column.alias(name)
            });
        }
        Ok(builder.project(columns)?)
    }

    fn least(&self, days: &[Expr]) -> Result<Option<Expr>, EngineError> {
        Ok(match days {
            [] => None,
            [only] => Some(only.clone()),
            several => Some(date(call(self.state, "least", several.to_vec())?)),
        })
    }
}

/// The days that conditions on `metric_time` ask for.
pub(super) fn asked_days(range: &TimeRange, metric: &str) -> Result<Days, EngineError> {
    let mut days_asked = Days::default();
    for condition in range.lower.iter().chain(&range.upper) {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
            return Err(EngineError::internal("a bound of time is no comparison", condition));
        };
        let is_time = matches!(left.as_ref(), Expr::Column(column) if column.name == METRIC_TIME);
        let (op, bound) = if is_time { (Some(*op), right) } else { (op.swap(), left) };
        let (floor, ceiling) = days_of(bound, metric)?;
        match op {
            Some(Operator::GtEq) => days_asked.from.push(ceiling),
            Some(Operator::Gt) => days_asked.from.push(date(floor + days(1))),
            Some(Operator::Lt) => days_asked.before.push(ceiling),
            Some(Operator::LtEq) => days_asked.before.push(date(floor + days(1))),
            _ => return Err(EngineError::internal("a bound of time is no bound", condition)),
        }
    }
    Ok(days_asked)
}

/// The day of a bound, and the first day that does not begin before it.
fn days_of(bound: &Expr, metric: &str) -> Result<(Expr, Expr), EngineError> {
    const DAY_BUT_ONE: i64 = 86_400_000_000_000 - 1;
    match bound.get_type(&DFSchema::empty())? {
        DataType::Date32 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            Ok((date(bound.clone()), date(bound.clone())))
        }
        DataType::Timestamp(_, None) => {
            let exact = cast(bound.clone(), DataType::Timestamp(TimeUnit::Nanosecond, None));
            let end = exact + lit(ScalarValue::new_interval_mdn(0, 0, DAY_BUT_ONE));
            Ok((date(bound.clone()), date(end)))
        }
        _ => Err(EngineError::new(
            Code::MET005,
            format!("`{metric}` compares `metric_time` with what is no day"),
        )
        .help("write a date: metric_time <= DATE '2026-01-31'")),
    }
}

/// Whether a day is known to begin a period.
fn begins(day: &Expr, grain: Grain) -> bool {
    grain == Grain::Day || matches!(known_day(day), Some(known) if is_first_day(known, grain))
}

/// The number of a day that is written as a date, with whole days added to it.
fn known_day(day: &Expr) -> Option<i32> {
    match day {
        Expr::Cast(cast) => known_day(&cast.expr),
        Expr::Literal(ScalarValue::Date32(day), _) => *day,
        Expr::Literal(text, _) => {
            let text = text.try_as_str()??;
            Date32Type::parse(text)
        }
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Plus,
            right,
        }) if **right == days(1) => known_day(left)?.checked_add(1),
        _ => None,
    }
}

fn is_first_day(day: i32, grain: Grain) -> bool {
    let day = Date32Array::from(vec![day]);
    let part = |part| {
        let found = date_part(&day, part).ok()?;
        found.as_primitive_opt::<Int32Type>()?.iter().next()?
    };
    let month_begins = part(DatePart::Day) == Some(1);
    match grain {
        Grain::Day => true,
        Grain::Week => part(DatePart::DayOfWeekMonday0) == Some(0),
        Grain::Month => month_begins,
        Grain::Quarter => month_begins && part(DatePart::Month).is_some_and(|month| month % 3 == 1),
        Grain::Year => month_begins && part(DatePart::Month) == Some(1),
    }
}
