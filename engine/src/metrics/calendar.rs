//! Periods of time: how fine a query groups its dates, and the arithmetic of it.
//!
//! Owns: what `date_trunc` and `date_part` over `metric_time` say of a period. Never: a time zone; dates are dates.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Cast, Expr, cast, lit};

use super::metric_view::METRIC_TIME;
use super::plan_parts::{call, date};
use crate::EngineError;

/// How long a period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Grain {
    fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    fn named(word: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year]
            .into_iter()
            .find(|grain| grain.word().eq_ignore_ascii_case(word))
    }

    /// The longest period of which both are made.
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

    /// From the first day of a period to that of the next.
    pub fn step(self) -> Expr {
        let (months, days) = match self {
            Self::Day => (0, 1),
            Self::Week => (0, 7),
            Self::Month => (1, 0),
            Self::Quarter => (3, 0),
            Self::Year => (12, 0),
        };
        lit(ScalarValue::new_interval_mdn(months, days, 0))
    }

    /// The first day of the next period.
    pub fn next(self, first_day: Expr) -> Expr {
        date(first_day + self.step())
    }

    /// What names the period of a column that is a date or a time, in a form that sources compute; `date` of it is the
    /// period's first day.
    pub fn period(self, state: &SessionState, column: Expr, data_type: &DataType) -> Result<Expr, EngineError> {
        match (self, data_type) {
            (Self::Day, DataType::Date32) => Ok(column),
            (_, DataType::Timestamp(TimeUnit::Microsecond, None)) => self.trunc(state, column),
            _ => self.trunc(state, cast(date(column), MICROSECONDS)),
        }
    }

    /// The first day of the period of a date.
    pub fn first_day(self, state: &SessionState, day: Expr) -> Result<Expr, EngineError> {
        if self == Self::Day {
            return Ok(day);
        }
        Ok(date(self.trunc(state, cast(day, MICROSECONDS))?))
    }

    fn trunc(self, state: &SessionState, time: Expr) -> Result<Expr, EngineError> {
        call(state, "date_trunc", vec![lit(self.word()), time])
    }
}

const MICROSECONDS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

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
