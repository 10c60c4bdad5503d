//! Metrics as the project writes them.
//!
//! Owns: the model of `metrics`. Never: reads a metric's SQL, which is the engine's (`engine/src/metrics`).

use std::fmt;

use crate::diagnostic::Place;
use crate::grant::SqlText;
use crate::name::TableName;
use crate::project::Label;

/// `metrics.NAME`
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its name, a column of `unified.<entity>_metrics`.
    pub name: String,
    /// `label`
    pub label: Label,
    /// `description`
    pub description: Option<String>,
    /// `owner`: who answers for it.
    pub owner: Option<String>,
    /// `version`: the steward's.
    pub version: Option<String>,
    /// `unit`
    pub unit: Option<String>,
    /// `expr`: one aggregate over the table, or SQL over other metrics.
    pub expr: SqlText,
    /// What it is counted from; `None` where it is computed from other metrics.
    pub base: Option<BaseMetric>,
    /// `window` and `shift`
    pub frame: Frame,
    /// Where its name stands.
    pub place: Place,
}

/// Which rows a metric counts at a time: without a frame those of the period itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `window`
    pub window: Option<Window>,
    /// `shift`: every row counts so much later.
    pub shift: Option<Span>,
}

/// `window`: the rows up to the last day of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// All.
    Cumulative,
    /// Those of so long a time before the day's end.
    Trailing(Span),
    /// Those since the beginning of the day's week, month, quarter or year.
    ToDate(Unit),
}

/// So many days, weeks, months, quarters or years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// How many.
    pub count: u32,
    /// Of what.
    pub unit: Unit,
}

/// A period of the calendar; weeks begin on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A day.
    Day,
    /// Seven days from a Monday on.
    Week,
    /// A month.
    Month,
    /// Three months from January, April, July or October on.
    Quarter,
    /// A year.
    Year,
}

impl Unit {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    /// The unit of that name, however its letters are written.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year]
            .into_iter()
            .find(|unit| unit.word().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.count, self.unit.word())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cumulative => write!(f, "cumulative"),
            Self::Trailing(span) => write!(f, "trailing {span}"),
            Self::ToDate(unit) => write!(f, "{} to date", unit.word()),
        }
    }
}

/// What a metric is counted from.
#[derive(Clone, Debug)]
pub struct BaseMetric {
    /// `table`: its home.
    pub table: TableName,
    /// `where`
    pub condition: Option<SqlText>,
    /// `time`: the column that says when, and where it stands.
    pub time: Option<(String, Place)>,
    /// `dimensions`: columns of the home, and where they stand.
    pub dimensions: Vec<(String, Place)>,
    /// `semi_additive`
    pub semi_additive: Option<SemiAdditive>,
    /// Where the table's name stands.
    pub table_place: Place,
}

/// `metrics.NAME.semi_additive`: a stock, which may be added up over everything but time.
#[derive(Clone, Debug)]
pub struct SemiAdditive {
    /// `per`: the columns that name what has one value at a time.
    pub per: Vec<(String, Place)>,
    /// `pick`
    pub pick: Pick,
    /// `order`: the columns that order the rows of one; empty: by time.
    pub order: Vec<(String, Place)>,
    /// `missing`
    pub missing: Missing,
    /// `closed: zero_from(COLUMN)`
    pub closed: Option<(String, Place)>,
    /// Where it stands.
    pub place: Place,
}

/// Which value is a period's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// That of the last row.
    Last,
    /// That of the first row.
    First,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The mean of the rows' values.
    Average,
    /// The mean of the values at the end of each day.
    TimeWeightedAverage,
}

impl SemiAdditive {
    /// Whether the pick is of what is held day by day, so that it matters until when a row's value is.
    pub fn is_of_days(&self) -> bool {
        match self.pick {
            Pick::Last => false,
            Pick::First => self.missing != Missing::Strict,
            Pick::Min | Pick::Max | Pick::Average => self.missing != Missing::Strict || self.closed.is_some(),
            Pick::TimeWeightedAverage => true,
        }
    }

    /// Whether it matters which row of several is the last.
    pub fn is_ordered(&self) -> bool {
        matches!(self.pick, Pick::Last | Pick::First) || self.is_of_days()
    }
}

/// What stands for one that has no row in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    Strict,
    /// What it had last, however long ago.
    Carry,
    /// What it had last, if that is at most so many days before the period's last day.
    CarryDays(u32),
}
