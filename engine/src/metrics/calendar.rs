//! Periods of time: how fine a query groups its dates, and the arithmetic of it.
//!
//! Owns: what `date_trunc` and `date_part` over `metric_time` say of a period. Never: a time zone; dates are dates.

use arrow::datatypes::{DataType, TimeUnit};
use caliber_catalog::metric::Span;
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Cast, Expr, cast, lit, when};

use super::metric_view::METRIC_TIME;
use super::plan_parts::{call, date};
use crate::EngineError;

/// How long a period is.
pub(crate) use caliber_catalog::metric::Unit as Grain;

/// The arithmetic of periods.
pub(crate) trait Calendar: Sized {
    /// The longest period of which both are made.
    fn finer(self, other: Self) -> Self;
    /// From the first day of a period to that of the next.
    fn step(self) -> Expr;
    /// The first day of the next period.
    fn next(self, first_day: Expr) -> Expr;
    /// What names the period of a column that is a date or a time, in a form that sources compute; `date` of it is the
    /// period's first day.
    fn period(self, state: &SessionState, column: Expr, data_type: &DataType) -> Result<Expr, EngineError>;
    /// The first day of the period of a date.
    fn first_day(self, state: &SessionState, day: Expr) -> Result<Expr, EngineError>;
}

impl Calendar for Grain {
    fn finer(self, other: Self) -> Self {
        let rank = |grain: Self| match grain {
            Self::Day => 0,
            Self::Week => 1,
            Self::Month => 2,
            Self::Quarter => 3,
            Self::Year => 4,
        };
        match (self, other) {
            (one, two) if one == two => one,
            // Weeks run across the ends of months.
            (Self::Week, _) | (_, Self::Week) => Self::Day,
            (one, two) if rank(one) < rank(two) => one,
            (_, two) => two,
        }
    }

    fn step(self) -> Expr {
        let (months, days) = match self {
            Self::Day => (0, 1),
            Self::Week => (0, 7),
            Self::Month => (1, 0),
            Self::Quarter => (3, 0),
            Self::Year => (12, 0),
        };
        lit(ScalarValue::new_interval_mdn(months, days, 0))
    }

    fn next(self, first_day: Expr) -> Expr {
        date(first_day + self.step())
    }

    fn period(self, state: &SessionState, column: Expr, data_type: &DataType) -> Result<Expr, EngineError> {
        match (self, data_type) {
            (Self::Day, DataType::Date32) => Ok(column),
            (_, DataType::Timestamp(TimeUnit::Microsecond, None)) => trunc(self, state, column),
            _ => trunc(self, state, cast(date(column), MICROSECONDS)),
        }
    }

    fn first_day(self, state: &SessionState, day: Expr) -> Result<Expr, EngineError> {
        if self == Self::Day {
            return Ok(day);
        }
        Ok(date(trunc(self, state, cast(day, MICROSECONDS))?))
    }
}

fn trunc(grain: Grain, state: &SessionState, time: Expr) -> Result<Expr, EngineError> {
    call(state, "date_trunc", vec![lit(grain.word()), time])
}

const MICROSECONDS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// A span of time, to be added to a day.
pub(crate) fn interval(span: Span) -> Expr {
    let count = i32::try_from(span.count).unwrap_or(i32::MAX);
    let (months, days) = match span.unit {
        Grain::Day => (0, count),
        Grain::Week => (0, count.saturating_mul(7)),
        Grain::Month => (count, 0),
        Grain::Quarter => (count.saturating_mul(3), 0),
        Grain::Year => (count.saturating_mul(12), 0),
    };
    lit(ScalarValue::new_interval_mdn(months, days, 0))
}

/// Whether every period of that length becomes one of the same length so much later.
pub(crate) fn moves_whole(grain: Grain, span: Span) -> bool {
    let of_days = |unit| matches!(unit, Grain::Day | Grain::Week);
    grain.finer(span.unit) == grain && of_days(grain) == of_days(span.unit)
}

/// The day so much later, of a period's first day. The days of a longer month go to the last of a shorter one, and the
/// last of a shorter to the last of a longer, so that the months of days are the months of the days so much later.
pub(crate) fn later(state: &SessionState, grain: Grain, first_day: Expr, span: Span) -> Result<Expr, EngineError> {
    let plain = date(first_day.clone() + interval(span));
    if moves_whole(grain, span) || matches!(span.unit, Grain::Day | Grain::Week) {
        return Ok(plain);
    }
    let next = date(first_day + days(1));
    let number = call(state, "date_part", vec![lit("day"), next.clone()])?;
    let ends_month = cast(number, DataType::Int32).eq(lit(1_i32));
    Ok(when(ends_month, date(date(next + interval(span)) - days(1))).otherwise(plain)?)
}

/// A number of days.
pub(crate) fn days(count: i32) -> Expr {
    lit(ScalarValue::new_interval_mdn(0, count, 0))
}

/// What an expression over `metric_time` alone tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The period itself.
    Period(Grain),
    /// The number of the year, or of the quarter or month within it.
    Number(Grain),
    /// Something else of the day.
    OfDay,
}

fn told(expr: &Expr) -> Told {
    match expr {
        Expr::Alias(alias) => told(&alias.expr),
        Expr::Column(column) if column.name == METRIC_TIME => Told::Period(Grain::Day),
        Expr::Cast(Cast { expr, field, .. }) if *field.data_type() == DataType::Date32 => told(expr),
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let [Expr::Literal(word, _), time] = args.as_slice() else {
                return Told::OfDay;
            };
            let word = word.try_as_str().flatten().unwrap_or_default();
            let is_time = told(strip_cast(time)) == Told::Period(Grain::Day);
            match (func.name(), Grain::named(word)) {
                ("date_trunc", Some(grain)) if is_time => Told::Period(grain),
                ("date_part", Some(grain @ (Grain::Year | Grain::Quarter | Grain::Month))) if is_time => {
                    Told::Number(grain)
                }
                _ => Told::OfDay,
            }
        }
        _ => Told::OfDay,
    }
}

/// A date as a time is the same day.
fn strip_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(Cast { expr, field, .. })
            if matches!(field.data_type(), DataType::Date32 | DataType::Timestamp(_, None)) =>
        {
            strip_cast(expr)
        }
        other => other,
    }
}

/// The periods that a query's groups are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Periods {
    /// Every group's expression over time is the same on all days of one.
    pub grain: Grain,
    /// Whether each group is one period.
    pub each_alone: bool,
}

/// The periods of the expressions over `metric_time` that a query groups by; `None` without any.
pub(crate) fn periods<'e>(exprs: impl Iterator<Item = &'e Expr>) -> Option<Periods> {
    let all: Vec<Told> = exprs.map(told).collect();
    let grain_of = |one: &Told| match one {
        Told::Period(grain) | Told::Number(grain) => *grain,
        Told::OfDay => Grain::Day,
    };
    let grain = all.iter().map(grain_of).reduce(Grain::finer)?;
    let has_year = all.iter().any(|one| {
        matches!(
            one,
            Told::Number(Grain::Year) | Told::Period(Grain::Year | Grain::Quarter | Grain::Month)
        )
    });
    let each_alone = all.iter().any(|one| match one {
        Told::Period(period) => *period == grain,
        Told::Number(number) => *number == grain && has_year,
        Told::OfDay => false,
    });
    Some(Periods { grain, each_alone })
}
