//! What an answer rests on.
//!
//! Owns: counts by source, as the principal may know them. Never: hidden rows, policy text.

use std::time::Duration;

/// What an answer rests on; complete once its stream has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Names the run.
    pub query_id: String,
    /// Rows delivered.
    pub rows: u64,
    /// From the start of planning to the last row.
    pub elapsed: Duration,
    /// The sources read, sorted by name; those that policies alone read are not told to one for whom they do not exist.
    pub sources: Vec<SourceReceipt>,
    /// How many columns of the tables read are masked for the principal.
    pub masked_columns: usize,
    /// The metrics asked for, sorted by name: which definition of each the answer rests on.
    pub metrics: Vec<MetricUsed>,
    /// Whether groups, or values, with too few customers behind them were withheld (`min_group`).
    pub withheld: bool,
}

/// A metric, in the definition that it was computed by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricUsed {
    /// The entity whose metric it is.
    pub entity: String,
    /// Its name.
    pub metric: String,
    /// The steward's name for the definition, where there is one.
    pub version: Option<String>,
    /// The hash of what it means, that of the metrics it is computed from included: `caliber.metrics` lists it.
    pub definition: String,
}

/// One source's part. What was received may count rows that policy hides, so it is for operators, never for
/// the principal.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceReceipt {
    /// The source's name.
    pub source: String,
    /// Statements sent to it.
    pub statements: u64,
    /// Rows received from it, hidden ones included.
    pub rows: u64,
    /// Bytes received from it, in Arrow.
    pub bytes: u64,
}
