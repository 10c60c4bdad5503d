//! Metrics as the project writes them.
//!
//! Owns: the model of `metrics`. Never: reads a metric's SQL, which is the engine's (`engine/src/metrics`).

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
    /// Where its name stands.
    pub place: Place,
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
