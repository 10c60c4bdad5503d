//! Joins whose keys travel: the rows of one side are gathered, their keys are sent to every source of the other side.
//!
//! Owns: which joins do that, from which side, down to which scans; the gathering. Never: a row that the join would not have
//! dropped itself; a wait for anything but the gathering, which whoever needs its keys first drives.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, PhysicalExpr};

use super::absorbed_scan::{AbsorbedScanExec, is_single};
use super::estimate;
use super::gathering::{Binding, GatheredExec, Gathering, KEYS_MAX};
use super::total::is_total;
use super::translate::key_type;
use crate::evaluate::forget_constants::ForgetConstantsExec;
use crate::govern::governed_scan::GovernedScanExec;

/// Files are read in this process: keys save it row groups where they are few, and cost more than the join where they are not.
const KEYS_FOR_FILES_MAX: usize = 100;

/// Whether sources do what they can. In the session's configuration, for rules.
pub(crate) struct Pushdown(pub bool);

/// Makes joins whose keys could travel build on the side they come from, in one piece. Runs before partitions are chosen.
#[derive(Debug)]
pub(crate) struct BuildOnFewer;

/// Lets the keys travel. Runs last, when no rule moves a side of a join any more.
#[derive(Debug)]
pub(crate) struct BindJoins;

impl PhysicalOptimizerRule for BuildOnFewer {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            if is_bindable(join) && places(join) > 0 {
                let whole = join
                    .builder()
                    .with_partition_mode(PartitionMode::CollectLeft)
                    .build_exec()?;
                return Ok(Transformed::yes(whole));
            }
            // The other way round, where the left side is not kept whole for its own sake.
            let can_swap = matches!(join.join_type, JoinType::Inner | JoinType::LeftSemi | JoinType::Right);
            if can_swap && !join.null_aware && join.null_equality == NullEquality::NullEqualsNothing {
                let swapped = join.swap_inputs(PartitionMode::CollectLeft)?;
                if let Some(other) = find_join(&swapped)
                    && is_bindable(other)
                    && places(other) > 0
                {
                    return Ok(Transformed::yes(swapped));
                }
            }
            Ok(Transformed::no(node))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "build_on_fewer"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl PhysicalOptimizerRule for BindJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            if join.mode != PartitionMode::CollectLeft || !is_bindable(join) || !is_single(&join.left) {
                return Ok(Transformed::no(node));
            }
            Ok(match bound(join)? {
                Some(bound) => Transformed::yes(bound),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "bind_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The hash join at the top of what swapping gave.
fn find_join(plan: &Arc<dyn ExecutionPlan>) -> Option<&HashJoinExec> {
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => projection.input().downcast_ref::<HashJoinExec>(),
        None => plan.downcast_ref::<HashJoinExec>(),
    }
}

/// Whether rows of the right side without a partner are of no consequence.
fn is_bindable(join: &HashJoinExec) -> bool {
    let drops = matches!(
        join.join_type,
        JoinType::Inner
            | JoinType::Left
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
            | JoinType::RightSemi
    );
    drops && join.null_equality == NullEquality::NullEqualsNothing && !join.null_aware
}

/// How many scans of the right side would be sent keys.
fn places(join: &HashJoinExec) -> usize {
    let few = Few::of(&join.left);
    join.on
        .iter()
        .filter(|(left, right)| {
            is_key(join, left)
                && column_of(right).is_some_and(|at| {
                    place(&join.right, at, few, &mut |scan, _| Ok(Arc::clone(scan))).is_ok_and(|it| it.is_some())
                })
        })
        .count()
}

fn is_key(join: &HashJoinExec, key: &Arc<dyn PhysicalExpr>) -> bool {
    key.data_type(&join.left.schema())
        .is_ok_and(|data_type| key_type(&data_type))
}

/// The join with its left side gathered and its right side's scans waiting for the keys; `None` where no scan takes any.
fn bound(join: &HashJoinExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let few = Few::of(&join.left);
    let keys: Vec<Arc<dyn PhysicalExpr>> = join.on.iter().map(|(left, _)| Arc::clone(left)).collect();
    let gathering = Arc::new(Gathering::new(Arc::clone(&join.left), keys));
    let mut right = Arc::clone(&join.right);
    let mut is_bound = false;
    for (at, (left, other)) in join.on.iter().enumerate() {
        let Some(column) = column_of(other).filter(|_| is_key(join, left)) else {
            continue;
        };
        let mut bind = |scan: &Arc<dyn ExecutionPlan>, column: usize| {
            let binding = Binding {
                gathering: Arc::clone(&gathering),
                key: at,
                column,
                rows: rows(scan),
                most: keys_max(scan),
            };
            Ok(with_binding(scan, binding))
        };
        if let Some(changed) = place(&right, column, few, &mut bind)? {
            right = changed;
            is_bound = true;
        }
    }
    if !is_bound {
        return Ok(None);
    }
    let left = Arc::new(GatheredExec { gathering });
    let joined = join.builder().with_new_children(vec![left, right])?.build_exec()?;
    Ok(Some(joined))
}

fn with_binding(scan: &Arc<dyn ExecutionPlan>, binding: Binding) -> Arc<dyn ExecutionPlan> {
    if let Some(absorbed) = scan.downcast_ref::<AbsorbedScanExec>() {
        Arc::new(absorbed.bound(binding))
    } else if let Some(governed) = scan.downcast_ref::<GovernedScanExec>() {
        Arc::new(governed.bound(binding))
    } else {
        Arc::clone(scan)
    }
}

/// The most keys that a scan is sent.
fn keys_max(scan: &Arc<dyn ExecutionPlan>) -> usize {
    let governed = scan.downcast_ref::<GovernedScanExec>();
    if governed.is_some_and(GovernedScanExec::is_read_here) {
        KEYS_FOR_FILES_MAX
    } else {
        KEYS_MAX
    }
}

/// How few the keys of a side are.
#[derive(Clone, Copy)]
struct Few {
    rows: f64,
    /// The groups that a HAVING leaves: one in three by the guess, often one in thousands.
    is_guess: bool,
}

impl Few {
    fn of(side: &Arc<dyn ExecutionPlan>) -> Self {
        Self {
            rows: rows(side),
            is_guess: is_some_groups(side),
        }
    }
}

/// Whether a plan is groups, and not all of them.
fn is_some_groups(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let is_filter = plan.downcast_ref::<FilterExec>().is_some();
    match plan.children().as_slice() {
        [child] if is_filter => is_groups(child),
        [child] if keeps_rows(plan) => is_some_groups(child),
        _ => false,
    }
}

fn is_groups(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.children().as_slice() {
        [child] if keeps_rows(plan) => is_groups(child),
        _ => plan.downcast_ref::<AggregateExec>().is_some(),
    }
}

/// Whether a plan has the rows of its input, each as it was or with other columns.
fn keeps_rows(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<ProjectionExec>().is_some() || moves_rows(plan)
}

/// Whether a plan has the rows of its input as they were.
fn moves_rows(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<RepartitionExec>().is_some()
        || plan.downcast_ref::<CoalescePartitionsExec>().is_some()
        || plan.downcast_ref::<CooperativeExec>().is_some()
        || plan.downcast_ref::<ForgetConstantsExec>().is_some()
        || plan
            .downcast_ref::<SortExec>()
            .is_some_and(|sort| sort.fetch().is_none())
}

type Bind<'a> = &'a mut dyn FnMut(&Arc<dyn ExecutionPlan>, usize) -> Result<Arc<dyn ExecutionPlan>>;

/// `plan` with `bind` applied to every scan where dropping the rows whose `column` is none of some keys drops just those of
/// `plan`, and pays: a scan of many more rows than there are keys.
fn place(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
    few: Few,
    bind: Bind<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<AbsorbedScanExec>() {
        let takes = few.rows < rows(plan) && few.rows <= KEYS_MAX as f64 && scan.takes_keys(column);
        return takes.then(|| bind(plan, column)).transpose();
    }
    if let Some(scan) = plan.downcast_ref::<GovernedScanExec>() {
        // What is read here loses nothing by waiting for what turns out.
        let may_be_few = few.is_guess && scan.is_read_here() || few.rows <= keys_max(plan) as f64;
        let takes = few.rows < rows(plan) && may_be_few && scan.takes_keys(column);
        return takes.then(|| bind(plan, column)).transpose();
    }
    if !is_total(plan) {
        return Ok(None);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let below = projection.expr().get(column).and_then(|it| column_of(&it.expr));
        return below.map_or(Ok(None), |below| in_child(plan, 0, below, few, bind));
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let below = match filter.projection() {
            Some(projection) => projection.get(column).copied(),
            None => Some(column),
        };
        return below.map_or(Ok(None), |below| in_child(plan, 0, below, few, bind));
    }
    if moves_rows(plan) {
        return in_child(plan, 0, column, few, bind);
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let groups = aggregate.group_expr();
        let below = groups.expr().get(column).and_then(|(expr, _)| column_of(expr));
        return match below.filter(|_| groups.is_single() && aggregate.limit_options().is_none()) {
            Some(below) => in_child(plan, 0, below, few, bind),
            None => Ok(None),
        };
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return in_join(plan, join, column, few, bind);
    }
    Ok(None)
}

/// A join's left side is gathered whole or builds a table; keys go to its right side, directly or by the join's own equality.
fn in_join(
    plan: &Arc<dyn ExecutionPlan>,
    join: &HashJoinExec,
    column: usize,
    few: Few,
    bind: Bind<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let unprojected = match &join.projection {
        Some(projection) => projection.get(column).copied(),
        None => Some(column),
    };
    let Some(column) = unprojected else { return Ok(None) };
    if join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
        return Ok(None);
    }
    let count = join.left.schema().fields().len();
    let is_left = column < count;
    let has_right = match join.join_type {
        JoinType::Inner | JoinType::Right => true,
        JoinType::RightSemi | JoinType::RightAnti => {
            return in_child(plan, 1, column, few, bind);
        }
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => false,
        _ => return Ok(None),
    };
    if !is_left {
        return if has_right {
            in_child(plan, 1, column - count, few, bind)
        } else {
            Ok(None)
        };
    }
    if join.join_type == JoinType::Right {
        return Ok(None);
    }
    // Of the left side itself, where it is still to be read.
    let changed = if join.left.downcast_ref::<GatheredExec>().is_none() {
        in_child(plan, 0, column, few, bind)?
    } else {
        None
    };
    let whole = changed.as_ref().unwrap_or(plan);
    let partner = join
        .on
        .iter()
        .find(|(left, _)| column_of(left) == Some(column))
        .and_then(|(_, right)| column_of(right));
    let further = match partner {
        Some(partner) if join.join_type != JoinType::Left || changed.is_some() => {
            in_child(whole, 1, partner, few, bind)?
        }
        _ => None,
    };
    // Left rows that stay need their partners; those that go need none.
    Ok(match join.join_type {
        JoinType::Inner => further.or(changed),
        _ if changed.is_some() => further.or(changed),
        _ => None,
    })
}

fn in_child(
    plan: &Arc<dyn ExecutionPlan>,
    at: usize,
    column: usize,
    few: Few,
    bind: Bind<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut children: Vec<Arc<dyn ExecutionPlan>> = plan.children().into_iter().cloned().collect();
    let Some(child) = children.get_mut(at) else {
        return Ok(None);
    };
    let Some(changed) = place(child, column, few, bind)? else {
        return Ok(None);
    };
    *child = changed;
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(children, options).map(Some)
}

/// The column, where an expression is one, widened or not.
fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(column.index());
    }
    let cast = expr.downcast_ref::<CastExpr>()?;
    if cast.cast_type().is_integer() {
        column_of(cast.expr())
    } else {
        None
    }
}

/// The guessed rows of a scan with the keys it waits for.
pub(crate) fn bound_rows(scan: &Arc<dyn ExecutionPlan>) -> f64 {
    let bindings = match (
        scan.downcast_ref::<AbsorbedScanExec>(),
        scan.downcast_ref::<GovernedScanExec>(),
    ) {
        (Some(absorbed), _) => &absorbed.bindings,
        (_, Some(governed)) => &governed.bindings,
        _ => return rows(scan),
    };
    // Each key finds some.
    let found = bindings.iter().map(|binding| binding.gathering.rows() * 10.0);
    found.fold(rows(scan), f64::min)
}

/// The guessed rows of a plan.
pub(crate) fn rows(plan: &Arc<dyn ExecutionPlan>) -> f64 {
    if let Some(scan) = plan.downcast_ref::<AbsorbedScanExec>() {
        return scan.remote.estimate.rows;
    }
    if let Some(scan) = plan.downcast_ref::<GovernedScanExec>() {
        let all = estimate::of_table(&scan.enforcement.table).rows;
        let rows = scan.estimated_rows(all);
        return scan.limit.map_or(rows, |most| rows.min(most as f64)).max(1.0);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let (left, right) = (rows(&join.left), rows(&join.right));
        return match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
            // Keys bring as many as they find.
            _ if join.mode == PartitionMode::CollectLeft => left.max(right.min(left * 10.0)),
            _ => left.max(right),
        };
    }
    if plan.downcast_ref::<FilterExec>().is_some() {
        return plan.children().iter().map(|child| rows(child)).sum::<f64>() * 0.33;
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        if aggregate.group_expr().expr().is_empty() {
            return 1.0;
        }
        return rows(aggregate.input()) * 0.5;
    }
    let children = plan.children();
    if children.is_empty() {
        return 100.0;
    }
    children.iter().map(|child| rows(child)).sum()
}
