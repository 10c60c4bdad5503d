//! What a query asks of a metric view, sorted.
//!
//! Owns: which columns an expression is over, the base metrics behind the measures, conditions on time as ranges. Never: a
//! plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use caliber_catalog::diagnostic::Code;
use caliber_catalog::metric::Frame;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use super::calendar::{Periods, periods};
use super::definition::{Base, Defined, Kind};
use super::metric_view::{METRIC_TIME, MetricView};
use crate::EngineError;

/// Which columns of the view an expression is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Over {
    /// The key or an attribute.
    pub entity: bool,
    /// `metric_time`
    pub time: bool,
    /// Dimensions.
    pub dimensions: BTreeSet<String>,
}

/// The columns of the view that `expr` is over. Error: MET004, where one is a metric.
pub(crate) fn over(expr: &Expr, view: &MetricView) -> Result<Over, EngineError> {
    let mut found = Over::default();
    let mut metric = None;
    expr.apply(|part| {
        if let Expr::Column(column) = part {
            if column.name == METRIC_TIME {
                found.time = true;
            } else if view.metrics.contains_key(&column.name) {
                metric = Some(column.name.clone());
            } else if view.dimensions.contains_key(&column.name) {
                found.dimensions.insert(column.name.clone());
            } else {
                found.entity = true;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match metric {
        Some(name) => Err(bare_metric(&name)),
        None => Ok(found),
    }
}

/// MET004
pub(crate) fn bare_metric(name: &str) -> EngineError {
    EngineError::new(Code::MET004, format!("metric `{name}` stands without MEASURE"))
        .help(format!("write MEASURE({name}); a condition on it stands in HAVING"))
}

/// One base metric, under the condition of its own that FILTER gives it.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub defined: Arc<Defined>,
    pub filter: Option<Expr>,
    /// Its own window and shift, or those of the metric over it.
    pub frame: Frame,
}

impl Leaf {
    /// Its definition.
    pub fn base(&self) -> Result<&Base, EngineError> {
        match &self.defined.kind {
            Kind::Base(base) => Ok(base),
            Kind::Derived { .. } => Err(EngineError::internal("a derived metric has no table", &self.name())),
        }
    }

    pub fn name(&self) -> &str {
        &self.defined.metric.name
    }
}

/// The frame of a metric that stands in another's. Definitions are refused where both have a window, or both a shift.
pub(crate) fn within(outer: Frame, defined: &Defined) -> Frame {
    let own = defined.metric.frame;
    Frame {
        window: own.window.or(outer.window),
        shift: own.shift.or(outer.shift),
    }
}

/// A query over a metric view: every expression is over the view's columns, by their bare names.
pub(crate) struct Asked<'a> {
    pub view: &'a MetricView,
    pub group: Vec<Expr>,
    /// Conditions that must all hold.
    pub conditions: Vec<Expr>,
    /// Metrics, each with its FILTER.
    pub measures: Vec<(Arc<Defined>, Option<Expr>)>,
    /// The base metrics behind them, and those that say which groups there are.
    pub leaves: Vec<Leaf>,
    /// The periods of its groups, where it groups by time.
    pub periods: Option<Periods>,
    /// Of each group expression, what it is over.
    pub group_over: Vec<Over>,
    /// The last day that counts, of metrics that have a time.
    pub as_of: Option<AsOf>,
}

/// A day at whose end metrics are asked for.
#[derive(Clone, Debug)]
pub(crate) struct AsOf {
    pub day: Expr,
    /// Whether metrics without a time have a value then: only what has a time can be asked of the past.
    pub is_present: Option<Expr>,
}

impl<'a> Asked<'a> {
    pub fn new(
        view: &'a MetricView,
        group: Vec<Expr>,
        conditions: Vec<Expr>,
        measures: Vec<(Arc<Defined>, Option<Expr>)>,
    ) -> Result<Self, EngineError> {
        let group_over = group
            .iter()
            .map(|expr| over(expr, view))
            .collect::<Result<Vec<_>, _>>()?;
        let timed = group
            .iter()
            .zip(&group_over)
            .filter(|(_, over)| over.time)
            .map(|(expr, _)| expr);
        let mut asked = Self {
            view,
            periods: periods(timed),
            group,
            conditions,
            leaves: Vec::new(),
            measures: Vec::new(),
            group_over,
            as_of: None,
        };
        for (defined, filter) in measures {
            asked.add(&defined, filter.as_ref(), Frame::default())?;
            // Groups are those of all rows; a FILTER takes from the metric alone.
            if filter.is_some() && !asked.group.is_empty() {
                asked.add(&defined, None, Frame::default())?;
            }
            asked.measures.push((defined, filter));
        }
        Ok(asked)
    }

    fn add(&mut self, defined: &Arc<Defined>, filter: Option<&Expr>, outer: Frame) -> Result<(), EngineError> {
        let frame = within(outer, defined);
        match &defined.kind {
            Kind::Derived { parts, .. } => {
                for part in parts {
                    let Some(part) = self.view.known.get(part).map(Arc::clone) else {
                        return Err(EngineError::internal("a part of a metric is missing", part));
                    };
                    self.add(&part, filter, frame)?;
                }
            }
            Kind::Base(_) if self.leaf(defined, filter, frame).is_none() => self.leaves.push(Leaf {
                defined: Arc::clone(defined),
                filter: filter.cloned(),
                frame,
            }),
            Kind::Base(_) => {}
        }
        Ok(())
    }

    /// The place of a base metric under a frame among the leaves.
    pub fn leaf(&self, defined: &Defined, filter: Option<&Expr>, frame: Frame) -> Option<usize> {
        let same =
            |leaf: &Leaf| leaf.name() == defined.metric.name && leaf.filter.as_ref() == filter && leaf.frame == frame;
        self.leaves.iter().position(same)
    }

    /// The conditions of a leaf: the query's and its own.
    pub fn conditions_of(&self, leaf: &Leaf) -> Vec<Expr> {
        let own = leaf
            .filter
            .iter()
            .flat_map(|filter| datafusion::logical_expr::utils::split_conjunction(filter));
        let timed = leaf.base().is_ok_and(|base| base.time.is_some());
        let time = Expr::Column(datafusion::common::Column::new_unqualified(METRIC_TIME));
        let by_then = self.as_of.iter().filter(|_| timed);
        let by_then = by_then.map(|as_of| time.clone().lt_eq(as_of.day.clone()));
        self.conditions.iter().chain(own).cloned().chain(by_then).collect()
    }

    /// Whether every group is one period of the calendar, or there is no time in it.
    pub fn by_period(&self) -> bool {
        self.periods.is_some_and(|periods| periods.each_alone)
    }
}

/// The conditions on time of one leaf: lower bounds and upper bounds, each over `metric_time`.
#[derive(Debug, Default)]
pub(crate) struct TimeRange {
    pub lower: Vec<Expr>,
    pub upper: Vec<Expr>,
}

/// Sorts a condition that is over `metric_time` alone. Error: MET005 where it is no range.
pub(crate) fn add_range(range: &mut TimeRange, condition: &Expr, metric: &str) -> Result<(), EngineError> {
    let is_time = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == METRIC_TIME);
    let is_bound = |expr: &Expr| !expr.any_column_refs() && !expr.is_volatile();
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let op = match (is_time(left) && is_bound(right), is_time(right) && is_bound(left)) {
                (true, _) => Some(*op),
                (_, true) => op.swap(),
                _ => None,
            };
            match op {
                Some(Operator::Gt | Operator::GtEq) => range.lower.push(condition.clone()),
                Some(Operator::Lt | Operator::LtEq) => range.upper.push(condition.clone()),
                Some(Operator::Eq) => {
                    let bound = if is_time(left) { right } else { left };
                    let time = if is_time(left) { left } else { right };
                    range.lower.push(time.as_ref().clone().gt_eq(bound.as_ref().clone()));
                    range.upper.push(time.as_ref().clone().lt_eq(bound.as_ref().clone()));
                }
                _ => return Err(no_range(metric)),
            }
        }
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) if is_time(expr) && is_bound(low) && is_bound(high) => {
            range.lower.push(expr.as_ref().clone().gt_eq(low.as_ref().clone()));
            range.upper.push(expr.as_ref().clone().lt_eq(high.as_ref().clone()));
        }
        _ => return Err(no_range(metric)),
    }
    Ok(())
}

/// MET005
fn no_range(metric: &str) -> EngineError {
    EngineError::new(
        Code::MET005,
        format!("`{metric}` cannot be asked under this condition on `metric_time`"),
    )
    .help("compare `metric_time` itself with dates: =, <, <=, >, >= or BETWEEN, joined by AND")
}
