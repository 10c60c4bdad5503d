//! What follows from a definition: the type of its values, the hash of its meaning, the names it takes.
//!
//! Owns: when two definitions mean the same. Never: reads SQL.

use std::sync::Arc;

use arrow::datatypes::DataType;
use caliber_catalog::diagnostic::{Code, Diagnostic, Place};
use caliber_catalog::metric::{BaseMetric, Frame, Metric, Pick};
use caliber_catalog::project::{Entity, HoldingRule};
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::ExprSchemable;

use super::definition::{Base, Defined, MetricSet};
use super::metric_sql::Aggregate;
use super::metric_view::METRIC_TIME;
use super::plan_parts::{aggregate, one};
use crate::EngineError;
use crate::expand::entity_view::coerced;

/// Metrics and dimensions whose names the view has already.
pub(super) fn clashes(entity: &Entity, set: &MetricSet) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let own = |name: &str| {
        name.eq_ignore_ascii_case(METRIC_TIME)
            || name.eq_ignore_ascii_case(&entity.key)
            || entity.attributes.iter().any(|one| one.name.eq_ignore_ascii_case(name))
    };
    for defined in set.values() {
        let metric = &defined.metric;
        if own(&metric.name) {
            findings.push(clash(&metric.name, &entity.name, &metric.place));
        }
        for (dimension, place) in metric.base.iter().flat_map(|base| &base.dimensions) {
            if own(dimension) || set.keys().any(|name| name.eq_ignore_ascii_case(dimension)) {
                findings.push(clash(dimension, &entity.name, place));
            }
        }
    }
    findings
}

fn clash(name: &str, entity: &str, place: &Place) -> Diagnostic {
    Diagnostic::error(
        Code::PRJ006,
        format!("`unified.{entity}_metrics` has a column `{name}` already"),
    )
    .at(place.clone())
    .help(
        "its columns are the entity's key and attributes, `metric_time`, dimensions and metrics: give it another name",
    )
}

/// What stands in a metric, or in those that it is computed from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MadeOf {
    pub balance: bool,
    pub window: bool,
    pub shift: bool,
}

/// What a metric of a table is made of. Error: PRJ021, where its frame says nothing.
pub(super) fn framed_base(metric: &Metric, base: &BaseMetric) -> Result<MadeOf, EngineError> {
    let frame = metric.frame;
    if frame != Frame::default() && base.time.is_none() {
        let help = "name the column that says when a row happened";
        return Err(no_frame(metric, "a window or a shift needs `time`", help));
    }
    if frame.window.is_some() && base.semi_additive.is_some() {
        let help = "a balance is of one day, and not added up over several: take `window` out";
        return Err(no_frame(metric, "a window of a balance", help));
    }
    Ok(MadeOf {
        balance: base.semi_additive.is_some(),
        window: frame.window.is_some(),
        shift: frame.shift.is_some(),
    })
}

/// What a metric over others is made of. Error: PRJ021, where its frame and theirs cannot be told apart.
pub(super) fn framed_parts<'d>(
    metric: &Metric,
    parts: impl Iterator<Item = &'d Arc<Defined>>,
) -> Result<MadeOf, EngineError> {
    let frame = metric.frame;
    let mut found = MadeOf::default();
    for part in parts {
        let name = &part.metric.name;
        let has = part.made_of;
        if frame.window.is_some() && (has.window || has.shift || has.balance) {
            let text = format!("a window over `{name}`, which is itself of a window, shifted or a balance");
            return Err(no_frame(
                metric,
                &text,
                "write the window where the metric of the table is defined",
            ));
        }
        if frame.shift.is_some() && has.shift {
            let text = format!("a shift of `{name}`, which is shifted already");
            return Err(no_frame(metric, &text, "write the whole shift in one place"));
        }
        found.balance |= has.balance;
        found.window |= has.window;
        found.shift |= has.shift;
    }
    found.window |= frame.window.is_some();
    found.shift |= frame.shift.is_some();
    Ok(found)
}

fn no_frame(metric: &Metric, text: &str, help: &str) -> EngineError {
    EngineError::new(Code::PRJ021, text.to_owned())
        .at(metric.place.clone())
        .help(help.to_owned())
}

/// The type of a metric's values, however it is grouped.
pub(super) fn type_of(state: &SessionState, base: &Base, raw: &DFSchema) -> Result<DataType, EngineError> {
    let name = match base.function {
        Aggregate::Sum => "sum",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
        Aggregate::Average => "avg",
        Aggregate::Count | Aggregate::CountDistinct | Aggregate::CountEntity | Aggregate::ApproxDistinct => {
            // A share of a row is counted as such.
            return Ok(match (base.function, base.rule()) {
                (Aggregate::Count, Some(HoldingRule::EqualShare)) => DataType::Float64,
                _ => DataType::Int64,
            });
        }
    };
    let argument = base.argument.clone().unwrap_or_else(one);
    let call = coerced(state, aggregate(state, name, argument, false)?, raw)?;
    let data_type = call.get_type(raw)?;
    let shared = base.rule() == Some(HoldingRule::EqualShare);
    let averages_floats = base
        .balance
        .as_ref()
        .is_some_and(|balance| matches!(balance.pick, Pick::Average | Pick::TimeWeightedAverage));
    Ok(match base.function {
        Aggregate::Sum | Aggregate::Average if shared => DataType::Float64,
        _ if averages_floats => DataType::Float64,
        _ => data_type,
    })
}

/// The hash of what a base metric means: not of its label, owner or place.
pub(super) fn base_version(metric: &Metric, base: &Base) -> String {
    let written = metric.base.as_ref();
    let text = |sql: Option<&caliber_catalog::grant::SqlText>| sql.map(|sql| sql.text.clone()).unwrap_or_default();
    let steps = base.path.steps.iter().map(|step| {
        let condition = text(step.condition.as_ref());
        format!("{}={}.{} {condition}", step.column, step.table, step.key)
    });
    let balance = base.balance.as_ref().map(|balance| {
        let names = |list: &[(String, Place)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(",");
        format!(
            "per {} {:?} by {} {:?} closed {}",
            names(&balance.per),
            balance.pick,
            names(&balance.order),
            balance.missing,
            balance.closed.as_ref().map_or("", |(name, _)| name.as_str()),
        )
    });
    let mut parts = vec![
        "base".to_owned(),
        base.table.to_string(),
        metric.expr.text.clone(),
        text(written.and_then(|base| base.condition.as_ref())),
        base.time.clone().unwrap_or_default(),
        base.dimensions.join(","),
        balance.unwrap_or_default(),
        format!("{:?}", base.path.held),
        format!("{:?}", metric.frame),
    ];
    parts.extend(steps);
    caliber_catalog::digest_of(parts.iter().map(String::as_str))
}
