//! `caliber.metrics`: the metrics that exist for a principal, with what they mean and where they come from.
//!
//! Owns: its rows. Never: a metric that the principal's own view does not have.

use super::definition::{Defined, Kind};
use super::metric_view::MetricView;
use crate::resolve::governed_catalog::GovernedCatalog;

/// One row.
pub(crate) struct MetricRow {
    pub entity: String,
    pub metric: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub unit: Option<String>,
    pub kind: &'static str,
    pub additivity: &'static str,
    pub data_type: arrow::datatypes::DataType,
    pub source_table: Option<String>,
    pub expression: String,
    pub condition: Option<String>,
    pub time: Option<String>,
    pub window: Option<String>,
    pub shift: Option<String>,
    pub dimensions: String,
    pub columns: String,
    pub version: Option<String>,
    pub definition: String,
}

/// Every metric of every metric view, sorted.
pub(crate) fn metric_rows(catalog: &GovernedCatalog) -> Vec<MetricRow> {
    let mut rows = Vec::new();
    for (_, view) in catalog.metric_views() {
        rows.extend(view.metrics.values().map(|defined| row(&view, defined)));
    }
    rows
}

fn row(view: &MetricView, defined: &Defined) -> MetricRow {
    let metric = &defined.metric;
    let written = metric.base.as_ref();
    let mut columns = Vec::new();
    lineage(view, defined, &mut columns);
    MetricRow {
        entity: view.entity.clone(),
        metric: metric.name.clone(),
        label: metric.label.text("en").map(str::to_owned),
        description: metric.description.clone(),
        owner: metric.owner.clone(),
        unit: metric.unit.clone(),
        kind: defined.kind_word(),
        additivity: defined.additivity(),
        data_type: defined.data_type.clone(),
        source_table: written.map(|base| base.table.to_string()),
        expression: metric.expr.text.clone(),
        condition: written
            .and_then(|base| base.condition.as_ref())
            .map(|sql| sql.text.clone()),
        time: written
            .and_then(|base| base.time.as_ref())
            .map(|(name, _)| name.clone()),
        window: metric.frame.window.map(|window| window.to_string()),
        shift: metric.frame.shift.map(|shift| shift.to_string()),
        dimensions: match &defined.kind {
            Kind::Base(base) => base.dimensions.join(", "),
            Kind::Derived { .. } => String::new(),
        },
        columns: columns.join(", "),
        version: metric.version.clone(),
        definition: defined.version.clone(),
    }
}

/// The columns of sources that a metric comes from, its parts' too, each once.
fn lineage(view: &MetricView, defined: &Defined, columns: &mut Vec<String>) {
    match &defined.kind {
        Kind::Base(base) => {
            for column in &base.used {
                let name = format!("{}.{column}", base.table);
                if !columns.contains(&name) {
                    columns.push(name);
                }
            }
        }
        Kind::Derived { parts, .. } => {
            for part in parts.iter().filter_map(|part| view.known.get(part)) {
                lineage(view, part, columns);
            }
        }
    }
}
