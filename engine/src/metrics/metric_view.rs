//! `unified.<entity>_metrics`: the entity's key and attributes, `metric_time`, dimensions, and a column for each metric.
//!
//! Owns: which metrics exist for a principal: those whose every column it sees in the clear, row by row. Never: a value; a
//! query over the view is expanded before it is planned (`expand_measures`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use caliber_catalog::grant::ViewGrant;
use caliber_catalog::name::TableName;
use caliber_catalog::project::Entity;
use datafusion::catalog::TableProvider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;

use super::definition::{Base, Defined, Kind, MetricSet};
use super::metric_sql::OverTable;
use crate::EngineError;
use crate::engine::OpenSnapshot;
use crate::expand::entity_view::{EntityView, Lookup};
use crate::govern::enforcement::{Enforcement, raw_schema};
use crate::govern::policy_expr::parse;

/// The column that says when.
pub(crate) const METRIC_TIME: &str = "metric_time";

/// The metrics of an entity, for one principal.
pub(crate) struct MetricView {
    /// The entity's name.
    pub entity: String,
    /// The entity's table.
    pub table: TableName,
    /// The entity's key.
    pub key: String,
    /// The key and the attributes, one row for each visible one.
    pub customers: LogicalPlan,
    /// The columns of `customers` that the view has.
    pub attributes: Vec<String>,
    /// Columns of homes that some metrics may be grouped by.
    pub dimensions: BTreeMap<String, DataType>,
    /// The metrics that exist.
    pub metrics: MetricSet,
    /// Those too that other metrics are made of and no policy lists.
    pub known: MetricSet,
    schema: SchemaRef,
}

impl std::fmt::Debug for MetricView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MetricView({})", self.entity)
    }
}

/// What a metric view is made from.
pub(crate) struct ViewParts<'a> {
    pub snapshot: &'a OpenSnapshot,
    pub state: &'a SessionState,
    pub entity: &'a Entity,
    /// The policies that open the metric view.
    pub grant: &'a ViewGrant,
    /// `unified.<entity>_360` as the principal sees it.
    pub customers: &'a EntityView,
    /// Every metric of the entity.
    pub metrics: &'a MetricSet,
}

/// The view; `None` where the principal sees no metric of the entity.
pub(crate) fn metric_view(parts: &ViewParts<'_>, lookup: Lookup<'_>) -> Result<Option<MetricView>, EngineError> {
    let customers = parts.customers.schema();
    let granted = |name: &str| {
        let listed = |columns: &Vec<String>| columns.iter().any(|column| column == name);
        // What a policy does not list another may: more roles never show less. The rows behind are governed on their own.
        let mut policies = parts.grant.policies.iter();
        policies.any(|policy| policy.columns.as_ref().is_none_or(listed))
    };
    if customers.column_with_name(&parts.entity.key).is_none() {
        return Ok(None);
    }
    let visible = Visible {
        snapshot: parts.snapshot,
        state: parts.state,
        metrics: parts.metrics,
        lookup,
    };
    let known = visible.metrics()?;
    let mut metrics = known.clone();
    metrics.retain(|name, _| granted(name));
    if metrics.is_empty() {
        return Ok(None);
    }
    let mut fields: Vec<Field> = customers
        .fields()
        .iter()
        .filter(|field| granted(field.name()))
        .map(|field| {
            let kind = if *field.name() == parts.entity.key {
                "entity"
            } else {
                "dimension"
            };
            described(
                Field::new(field.name(), field.data_type().clone(), true),
                &[("caliber:kind", kind)],
            )
        })
        .collect();
    let attributes = fields.iter().map(|field| field.name().clone()).collect();
    let dimensions = dimensions(parts.snapshot, &metrics);
    fields.extend(dimensions.iter().map(|(name, data_type)| {
        described(
            Field::new(name, data_type.clone(), true),
            &[("caliber:kind", "dimension")],
        )
    }));
    fields.push(described(
        Field::new(METRIC_TIME, DataType::Date32, true),
        &[("caliber:kind", "time")],
    ));
    fields.extend(metrics.values().map(|defined| metric_field(defined)));
    Ok(Some(MetricView {
        entity: parts.entity.name.clone(),
        table: parts.entity.table.clone(),
        key: parts.entity.key.clone(),
        customers: parts.customers.plan().clone(),
        attributes,
        dimensions,
        metrics,
        known,
        schema: Arc::new(Schema::new(fields)),
    }))
}

fn described(field: Field, told: &[(&str, &str)]) -> Field {
    let metadata: HashMap<String, String> = told
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    field.with_metadata(metadata)
}

fn metric_field(defined: &Defined) -> Field {
    let metric = &defined.metric;
    let mut told = vec![
        ("caliber:kind", "measure"),
        ("caliber:metric", defined.kind_word()),
        ("caliber:additivity", defined.additivity()),
        ("caliber:definition", defined.version.as_str()),
    ];
    told.extend(metric.unit.as_deref().map(|unit| ("caliber:unit", unit)));
    told.extend(metric.owner.as_deref().map(|owner| ("caliber:owner", owner)));
    described(Field::new(&metric.name, defined.data_type.clone(), true), &told)
}

/// The dimensions of these metrics; one that two tables have under different types is left out.
fn dimensions(snapshot: &OpenSnapshot, metrics: &MetricSet) -> BTreeMap<String, DataType> {
    let mut found: BTreeMap<String, Option<DataType>> = BTreeMap::new();
    for defined in metrics.values() {
        let Kind::Base(base) = &defined.kind else { continue };
        let Some(table) = snapshot.remote_table(&base.table) else {
            continue;
        };
        for name in &base.dimensions {
            let Some(column) = table.column(name) else { continue };
            let data_type = found
                .entry(name.clone())
                .or_insert_with(|| Some(column.data_type.clone()));
            if data_type.as_ref() != Some(&column.data_type) {
                *data_type = None;
            }
        }
    }
    found
        .into_iter()
        .filter_map(|(name, data_type)| Some((name, data_type?)))
        .collect()
}

/// What decides whether a metric exists for a principal.
pub(crate) struct Visible<'a> {
    pub snapshot: &'a OpenSnapshot,
    pub state: &'a SessionState,
    /// Every metric of the entity.
    pub metrics: &'a MetricSet,
    pub lookup: Lookup<'a>,
}

impl Visible<'_> {
    /// The metrics of which the principal sees all that they are made of.
    pub fn metrics(&self) -> Result<MetricSet, EngineError> {
        let mut seen = MetricSet::new();
        for (name, defined) in self.metrics {
            if self.sees(defined)? {
                seen.insert(name.clone(), Arc::clone(defined));
            }
        }
        Ok(seen)
    }

    fn sees(&self, defined: &Defined) -> Result<bool, EngineError> {
        match &defined.kind {
            Kind::Base(base) => self.sees_base(base),
            Kind::Derived { parts, .. } => {
                for name in parts {
                    let part = self.metrics.get(name);
                    if !part.map_or(Ok(false), |part| self.sees(part))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Whether every column that it reads is there, and clear in every row.
    pub fn sees_base(&self, base: &Base) -> Result<bool, EngineError> {
        for (table, columns) in self.needs(base)? {
            if !(self.lookup)(&table)?.is_some_and(|enforcement| shows(&enforcement, &columns)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every column that a metric reads, but for the entity's own table.
    fn needs(&self, base: &Base) -> Result<BTreeMap<TableName, BTreeSet<String>>, EngineError> {
        let mut all: BTreeMap<TableName, BTreeSet<String>> = BTreeMap::new();
        all.entry(base.table.clone())
            .or_default()
            .extend(base.used.iter().cloned());
        let steps = &base.path.steps;
        for (at, step) in steps.iter().enumerate() {
            let columns = all.entry(step.table.clone()).or_default();
            columns.insert(step.key.clone());
            columns.extend(steps.get(at + 1).map(|next| next.column.clone()));
            if let Some(sql) = &step.condition
                && let Some(remote) = self.snapshot.remote_table(&step.table)
            {
                let raw = raw_schema(remote)?;
                let over = OverTable {
                    snapshot: self.snapshot,
                    state: self.state,
                    table: &step.table,
                    schema: &raw,
                };
                over.expression(sql, parse(sql)?, columns)?;
            }
        }
        Ok(all)
    }
}

fn shows(table: &Enforcement, columns: &BTreeSet<String>) -> bool {
    let clear = |name: &String| table.column(name).is_some_and(|column| column.is_clear());
    table.groups.is_empty() && columns.iter().all(clear)
}

impl MetricView {
    /// Metrics that another view shows beside its own columns, one row for each of its rows.
    pub fn beside(entity: &Entity, customers: LogicalPlan, known: MetricSet) -> Self {
        Self {
            entity: entity.name.clone(),
            table: entity.table.clone(),
            key: entity.key.clone(),
            customers,
            attributes: vec![entity.key.clone()],
            dimensions: BTreeMap::new(),
            metrics: known.clone(),
            known,
            schema: Arc::new(Schema::empty()),
        }
    }

    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
