//! Queries over metric views become plans over governed tables, before anything is optimised or absorbed.
//!
//! Owns: finding the aggregates over a metric view, and refusing what means nothing (MET001, MET002, MET004). Never: the plan
//! of a branch.

use std::collections::BTreeSet;
use std::sync::Arc;

use caliber_catalog::diagnostic::Code;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, TableScan, lit};

use super::asked::{Asked, over};
use super::branch::Planner;
use super::carry::group;
use super::combine::measure_column;
use super::definition::{Defined, Kind};
use super::measure::MEASURE;
use super::metric_sql::Aggregate as Function;
use super::metric_view::MetricView;
use super::plan_parts::bare;
use crate::EngineError;
use crate::resolve::governed_catalog::GovernedCatalog;
use crate::run::receipt::MetricUsed;

/// The plan with every query over a metric view expanded, and the metrics asked for, sorted.
pub(crate) fn expand_measures(
    plan: LogicalPlan,
    catalog: &GovernedCatalog,
    state: &SessionState,
) -> Result<(LogicalPlan, Vec<MetricUsed>), EngineError> {
    let mut concerned = false;
    plan.apply_with_subqueries(|node| {
        concerned |= is_metric_scan(node)? || has_measure(node)?;
        Ok(if concerned {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    if !concerned {
        return Ok((plan, Vec::new()));
    }
    let mut metrics = BTreeSet::new();
    let expanded = plan
        .transform_down_with_subqueries(|node| Ok(expand(node, catalog, state, &mut metrics)?))?
        .data;
    expanded.apply_with_subqueries(|node| {
        if is_metric_scan(node)? {
            let error = EngineError::new(
                Code::MET001,
                "a metric view is joined or limited before it is aggregated",
            );
            let help = "aggregate it first, in a subquery: its rows are no facts, and a join would count them again";
            return Err(error.help(help).into());
        }
        if has_measure(node)? {
            let error = EngineError::new(Code::MET001, "MEASURE stands where no metric can be computed");
            let help = "it aggregates a column of `unified.<entity>_metrics`, in a query over that view alone";
            return Err(error.help(help).into());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((expanded, metrics.into_iter().collect()))
}

fn is_metric_scan(node: &LogicalPlan) -> Result<bool, EngineError> {
    match node {
        LogicalPlan::TableScan(scan) => Ok(view_of(scan)?.is_some()),
        _ => Ok(false),
    }
}

fn view_of(scan: &TableScan) -> Result<Option<Arc<MetricView>>, EngineError> {
    // Views of other kinds have plans of their own, and no provider behind them here.
    let Ok(provider) = source_as_provider(&scan.source) else {
        return Ok(None);
    };
    Ok(provider
        .downcast_ref::<MetricViewTable>()
        .map(|table| Arc::clone(&table.0)))
}

/// The provider that a name leads to: the principal's own view.
#[derive(Debug)]
pub(crate) struct MetricViewTable(pub Arc<MetricView>);

#[async_trait::async_trait]
impl datafusion::catalog::TableProvider for MetricViewTable {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> datafusion::logical_expr::TableType {
        datafusion::logical_expr::TableType::View
    }

    async fn scan(
        &self,
        _: &dyn datafusion::catalog::Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
        Err(EngineError::internal("a metric view was not expanded", &self.0.entity).into())
    }
}

fn has_measure(node: &LogicalPlan) -> Result<bool, EngineError> {
    let mut found = false;
    node.apply_expressions(|expr| {
        expr.apply(|part| {
            found |= match part {
                Expr::AggregateFunction(call) => call.func.name() == MEASURE,
                Expr::WindowFunction(call) => call.fun.name() == MEASURE,
                _ => false,
            };
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

fn expand(
    node: LogicalPlan,
    catalog: &GovernedCatalog,
    state: &SessionState,
    metrics: &mut BTreeSet<MetricUsed>,
) -> Result<Transformed<LogicalPlan>, EngineError> {
    match &node {
        LogicalPlan::Aggregate(aggregate) => match trace(&aggregate.input)? {
            Some(traced) if aggregate.aggr_expr.is_empty() => {
                for expr in &aggregate.group_expr {
                    plain(
                        &substituted(expr, aggregate.input.schema(), &traced.columns)?,
                        &traced.view,
                    )?;
                }
                preview(node, &traced)
            }
            Some(traced) => Ok(Transformed::yes(aggregated(
                aggregate, &traced, catalog, state, metrics,
            )?)),
            None => Ok(Transformed::no(node)),
        },
        LogicalPlan::Projection(projection) => match trace(&projection.input)? {
            Some(traced) => {
                let mut columns = Vec::new();
                for expr in &projection.expr {
                    columns.push(substituted(expr, projection.input.schema(), &traced.columns)?);
                }
                let every = traced.view.schema();
                let all = every.fields().iter().all(|field| columns.contains(&bare(field.name())));
                if !all {
                    columns.iter().try_for_each(|expr| plain(expr, &traced.view))?;
                }
                preview(node, &traced)
            }
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    }
}

/// A relation that gives a metric view's rows under conditions: what each of its columns is over the view.
struct Traced {
    view: Arc<MetricView>,
    columns: Vec<Expr>,
    conditions: Vec<Expr>,
}

fn trace(plan: &LogicalPlan) -> Result<Option<Traced>, EngineError> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) => view_of(scan)?.map(|view| Traced {
            columns: scan
                .projected_schema
                .fields()
                .iter()
                .map(|field| bare(field.name()))
                .collect(),
            view,
            conditions: Vec::new(),
        }),
        LogicalPlan::SubqueryAlias(alias) => trace(&alias.input)?,
        LogicalPlan::Filter(filter) => match trace(&filter.input)? {
            Some(mut traced) => {
                for condition in split_conjunction(&filter.predicate) {
                    let condition = substituted(condition, filter.input.schema(), &traced.columns)?;
                    traced.conditions.push(condition);
                }
                Some(traced)
            }
            None => None,
        },
        LogicalPlan::Projection(projection) => match trace(&projection.input)? {
            Some(mut traced) => {
                let columns: Result<Vec<Expr>, EngineError> = projection
                    .expr
                    .iter()
                    .map(|expr| substituted(expr, projection.input.schema(), &traced.columns))
                    .collect();
                traced.columns = columns?;
                Some(traced)
            }
            None => None,
        },
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => trace(&sort.input)?,
        _ => None,
    })
}

/// The expression over the view's columns.
fn substituted(expr: &Expr, schema: &DFSchema, columns: &[Expr]) -> Result<Expr, EngineError> {
    let done = expr.clone().unalias().transform_up(|part| match &part {
        Expr::Column(column) => {
            let at = schema.index_of_column(column)?;
            let found = columns.get(at).cloned();
            let found = found.ok_or_else(|| EngineError::internal("a column is not among its relation's", column))?;
            Ok(Transformed::yes(found))
        }
        Expr::ScalarSubquery(subquery) => uncorrelated(&subquery.outer_ref_columns).map(|()| Transformed::no(part)),
        Expr::Exists(exists) => uncorrelated(&exists.subquery.outer_ref_columns).map(|()| Transformed::no(part)),
        Expr::InSubquery(list) => uncorrelated(&list.subquery.outer_ref_columns).map(|()| Transformed::no(part)),
        _ => Ok(Transformed::no(part)),
    })?;
    Ok(done.data)
}

fn uncorrelated(outer: &[Expr]) -> datafusion::error::Result<()> {
    if outer.is_empty() {
        return Ok(());
    }
    let error = EngineError::new(
        Code::MET001,
        "a subquery over a metric view's row is no condition on its facts",
    );
    Err(error
        .help("write the subquery without columns of the metric view")
        .into())
}

/// Refuses a metric or a time outside MEASURE.
fn plain(expr: &Expr, view: &MetricView) -> Result<(), EngineError> {
    let over = over(expr, view)?;
    let time = over.time.then(|| super::metric_view::METRIC_TIME.to_owned());
    match time.or_else(|| over.dimensions.into_iter().next()) {
        Some(name) => Err(EngineError::new(
            Code::MET004,
            format!("`{name}` is of a metric's rows, and none is asked for"),
        )
        .help("ask for a metric beside it: MEASURE(…)")),
        None => Ok(()),
    }
}

/// The relation over the entity's key and attributes, every other column NULL.
fn preview(node: LogicalPlan, traced: &Traced) -> Result<Transformed<LogicalPlan>, EngineError> {
    traced
        .conditions
        .iter()
        .try_for_each(|condition| plain(condition, &traced.view))?;
    let done = node.transform_down(|part| {
        let LogicalPlan::TableScan(scan) = &part else {
            return Ok(Transformed::no(part));
        };
        let Some(view) = view_of(scan)? else {
            return Ok(Transformed::no(part));
        };
        let mut columns = Vec::new();
        for (qualifier, field) in scan.projected_schema.iter() {
            let value = if view.attributes.contains(field.name()) {
                bare(field.name())
            } else {
                lit(ScalarValue::try_from(field.data_type())?)
            };
            columns.push(value.alias_qualified(qualifier.cloned(), field.name()));
        }
        let plan = LogicalPlanBuilder::from(view.customers.clone())
            .project(columns)?
            .build()?;
        Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
    })?;
    Ok(Transformed::yes(done.data))
}

/// An aggregate over a metric view, computed.
fn aggregated(
    aggregate: &Aggregate,
    traced: &Traced,
    catalog: &GovernedCatalog,
    state: &SessionState,
    metrics: &mut BTreeSet<MetricUsed>,
) -> Result<LogicalPlan, EngineError> {
    let schema = aggregate.input.schema();
    let mut groups = Vec::new();
    for expr in &aggregate.group_expr {
        if matches!(expr, Expr::GroupingSet(_)) {
            let error = EngineError::new(Code::MET001, "grouping sets over a metric view are not computed");
            return Err(error.help("ask for each grouping in a statement, and join them by UNION ALL"));
        }
        groups.push(substituted(expr, schema, &traced.columns)?);
    }
    let mut measures = Vec::new();
    for expr in &aggregate.aggr_expr {
        measures.push(asked_measure(expr, schema, traced)?);
    }
    metrics.extend(measures.iter().map(|(defined, _)| MetricUsed {
        entity: traced.view.entity.clone(),
        metric: defined.metric.name.clone(),
        version: defined.metric.version.clone(),
        definition: defined.version.clone(),
    }));
    let asked = Asked::new(&traced.view, groups, traced.conditions.clone(), measures)?;
    let planner = Planner {
        catalog,
        state,
        asked: &asked,
    };
    let plan = planner.plan()?;
    let count = aggregate.group_expr.len();
    let columns = aggregate.schema.iter().enumerate().map(|(at, (qualifier, field))| {
        let name = if at < count {
            group(at)
        } else {
            measure_column(at - count)
        };
        bare(&name).alias_qualified(qualifier.cloned(), field.name())
    });
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}

/// The metric that an aggregate asks for, and its FILTER.
fn asked_measure(expr: &Expr, schema: &DFSchema, traced: &Traced) -> Result<(Arc<Defined>, Option<Expr>), EngineError> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias() else {
        return Err(EngineError::internal("an aggregate was expected", expr));
    };
    let name = func.name();
    let spoken = if name == MEASURE {
        "MEASURE".to_owned()
    } else {
        name.to_uppercase()
    };
    let [argument] = params.args.as_slice() else {
        return Err(no_metric(&spoken));
    };
    let found = match substituted(argument, schema, &traced.columns)? {
        Expr::Column(column) => traced.view.metrics.get(&column.name).map(Arc::clone),
        _ => None,
    };
    let Some(defined) = found else {
        return Err(no_metric(&spoken));
    };
    let metric = &defined.metric.name;
    if params.distinct || !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(EngineError::new(
            Code::MET001,
            format!("{spoken} of a metric takes no DISTINCT and no order"),
        ));
    }
    if name != MEASURE && !agrees(name, &defined) {
        return Err(EngineError::new(
            Code::MET002,
            format!("{spoken} of metric `{metric}` is not what `{metric}` means"),
        )
        .help(format!(
            "write MEASURE({metric}): it is computed as it is defined, whatever it is grouped by"
        )));
    }
    let filter = match &params.filter {
        Some(filter) => Some(substituted(filter, schema, &traced.columns)?),
        None => None,
    };
    Ok((defined, filter))
}

/// MET001: an aggregate over the metric view of what is no metric.
fn no_metric(spoken: &str) -> EngineError {
    let error = match spoken {
        "MEASURE" => EngineError::new(Code::MET001, "MEASURE takes a metric, by its name alone"),
        _ => EngineError::new(
            Code::MET001,
            format!("{spoken} over a metric view does not count anything"),
        ),
    };
    error.help("write MEASURE(metric); to count customers or to aggregate their attributes use `unified.<entity>_360`")
}

/// Whether a plain aggregate of a metric's column is the metric itself.
fn agrees(aggregate: &str, defined: &Defined) -> bool {
    let Kind::Base(base) = &defined.kind else {
        return false;
    };
    if base.balance.is_some()
        || defined.made_of.window
        || base.rule() == Some(caliber_catalog::project::HoldingRule::FullToEach)
    {
        return false;
    }
    matches!(
        (aggregate, base.function),
        ("sum", Function::Sum | Function::Count) | ("min", Function::Min) | ("max", Function::Max)
    )
}
