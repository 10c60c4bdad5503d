//! Metrics as they are computed: read, typed, tied to their entity.
//!
//! Owns: what a definition means, its findings, its hash. Never: what a principal sees of it (`metric_view`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use caliber_catalog::diagnostic::{Code, Diagnostic, Place, did_you_mean};
use caliber_catalog::metric::{BaseMetric, Metric, Missing, SemiAdditive};
use caliber_catalog::name::TableName;
use caliber_catalog::project::{Entity, HoldingRule};
use caliber_catalog::snapshot::EntityPath;
use caliber_connector_spi::RemoteTable;
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::meaning::{MadeOf, base_version, clashes, framed_base, framed_parts, type_of};
use super::metric_sql::{Aggregate, OverTable, divided, parts_of, wrong};
use crate::EngineError;
use crate::engine::OpenSnapshot;
use crate::expand::entity_view::coerced;
use crate::govern::enforcement::raw_schema;
use crate::govern::policy_expr::parse;

/// The metrics of every entity, by its name.
pub(crate) type MetricSets = BTreeMap<String, MetricSet>;

/// The metrics of one entity, by name.
pub(crate) type MetricSet = BTreeMap<String, Arc<Defined>>;

/// A metric that can be computed.
#[derive(Debug)]
pub(crate) struct Defined {
    /// As written.
    pub metric: Metric,
    /// The hash of its meaning.
    pub version: String,
    /// Of its values.
    pub data_type: DataType,
    /// What stands in it somewhere.
    pub made_of: MadeOf,
    pub kind: Kind,
}

/// How it is computed.
#[derive(Debug)]
pub(crate) enum Kind {
    Base(Box<Base>),
    /// From others.
    Derived {
        /// Over columns named as they are.
        expr: Expr,
        parts: Vec<String>,
    },
}

/// A metric of one table.
#[derive(Debug)]
pub(crate) struct Base {
    pub table: TableName,
    pub function: Aggregate,
    /// Over the table's columns.
    pub argument: Option<Expr>,
    pub condition: Option<Expr>,
    pub time: Option<String>,
    /// Columns of the table it may be grouped and filtered by.
    pub dimensions: Vec<String>,
    pub balance: Option<SemiAdditive>,
    /// How a row finds its entity.
    pub path: EntityPath,
    /// Every column of the table it needs.
    pub used: BTreeSet<String>,
}

impl Base {
    /// Whose a held row is, where several may hold it.
    pub fn rule(&self) -> Option<HoldingRule> {
        self.path.held.map(|(_, rule)| rule)
    }

    /// Whether nothing means zero.
    pub fn is_flow(&self) -> bool {
        use Aggregate as A;
        self.balance.is_none()
            && matches!(
                self.function,
                A::Sum | A::Count | A::CountDistinct | A::CountEntity | A::ApproxDistinct
            )
    }
}

impl Defined {
    /// What kind of number it is, for those who add numbers up.
    pub fn additivity(&self) -> &'static str {
        match &self.kind {
            Kind::Derived { .. } => "non-additive",
            Kind::Base(base) if base.rule() == Some(HoldingRule::FullToEach) => "non-additive",
            Kind::Base(base) => match (
                base.function,
                base.balance.is_some() || self.metric.frame.window.is_some(),
            ) {
                (Aggregate::Sum | Aggregate::Count, false) => "additive",
                (Aggregate::Sum | Aggregate::Count, true) => "semi-additive",
                _ => "non-additive",
            },
        }
    }

    /// Its kind in a word.
    pub fn kind_word(&self) -> &'static str {
        match &self.kind {
            Kind::Derived { .. } => "derived",
            Kind::Base(base) if base.balance.is_some() => "balance",
            Kind::Base(base) => match base.function {
                Aggregate::Sum => "sum",
                Aggregate::Count => "count",
                Aggregate::CountDistinct | Aggregate::CountEntity => "count distinct",
                Aggregate::ApproxDistinct => "approximate count distinct",
                Aggregate::Min => "min",
                Aggregate::Max => "max",
                Aggregate::Average => "avg",
            },
        }
    }
}

/// All metrics of the project over what its sources hold, with every finding. A metric over a table whose source could
/// not be described is left out.
pub(crate) fn define_metrics(snapshot: &OpenSnapshot, state: &SessionState) -> (MetricSets, Vec<Diagnostic>) {
    let mut findings = Vec::new();
    let mut sets = MetricSets::new();
    let project = &snapshot.catalog.project;
    let mut homeless: BTreeMap<&str, &Metric> = project
        .metrics
        .iter()
        .map(|(name, metric)| (name.as_str(), metric))
        .collect();
    for entity in project.entities.values() {
        let mut definer = Definer {
            snapshot,
            state,
            entity,
            done: BTreeMap::new(),
            open: Vec::new(),
            findings: Vec::new(),
        };
        for metric in project.metrics.values() {
            definer.define(&metric.name);
        }
        let set: MetricSet = definer
            .done
            .into_iter()
            .filter_map(|(name, defined)| Some((name, defined?)))
            .collect();
        for finding in definer.findings {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        homeless.retain(|name, _| !set.contains_key(*name));
        findings.extend(clashes(entity, &set));
        sets.insert(entity.name.clone(), set);
    }
    let described = |metric: &Metric| {
        metric
            .base
            .as_ref()
            .is_none_or(|base| snapshot.catalog.schemas.contains_key(&base.table.schema))
    };
    if findings.is_empty() {
        for metric in homeless
            .values()
            .filter(|metric| metric.base.is_some() && described(metric))
        {
            let base_table = metric
                .base
                .as_ref()
                .map(|base| base.table.to_string())
                .unwrap_or_default();
            findings.push(
                Diagnostic::error(Code::PRJ021, format!("nothing ties `{base_table}` to an entity"))
                    .at(metric.place.clone())
                    .help(format!(
                        "declare under `tables`, `{base_table}`, `references` how a row finds its entity"
                    )),
            );
        }
        for metric in homeless.values().filter(|metric| metric.base.is_none()) {
            if project.metrics.values().all(described) {
                findings.push(
                    Diagnostic::error(Code::PRJ021, "its metrics are not all of one entity").at(metric.place.clone()),
                );
            }
        }
    }
    (sets, findings)
}

/// Defines the metrics of one entity, each after those it is made of.
struct Definer<'a> {
    snapshot: &'a OpenSnapshot,
    state: &'a SessionState,
    entity: &'a Entity,
    done: BTreeMap<String, Option<Arc<Defined>>>,
    /// Those being defined, outermost first.
    open: Vec<String>,
    findings: Vec<Diagnostic>,
}

/// A longer chain of metrics over metrics is refused.
const CHAIN_MAX: usize = 32;

impl Definer<'_> {
    fn define(&mut self, name: &str) -> Option<Arc<Defined>> {
        if let Some(known) = self.done.get(name) {
            return known.clone();
        }
        let metric = self.snapshot.catalog.project.metrics.get(name)?;
        if self.open.iter().any(|one| one == name) || self.open.len() >= CHAIN_MAX {
            let chain = self.open.join("` → `");
            let error = wrong(
                &metric.expr,
                &format!("a metric is computed from itself: `{chain}` → `{name}`"),
            );
            self.report(error);
            return None;
        }
        self.open.push(name.to_owned());
        let defined = match &metric.base {
            Some(base) => self.base(metric, base),
            None => self.derived(metric),
        };
        self.open.pop();
        let defined = match defined {
            Ok(found) => found.map(Arc::new),
            Err(error) => {
                self.report(error);
                None
            }
        };
        self.done.insert(name.to_owned(), defined.clone());
        defined
    }

    fn report(&mut self, error: EngineError) {
        let code = if error.code == Code::PRJ012 {
            error.code
        } else {
            Code::PRJ021
        };
        let mut finding = Diagnostic::error(code, error.message);
        finding.place = error.place;
        finding.help = error.help;
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// `None` where the table is not this entity's, or its source was not described.
    fn base(&self, metric: &Metric, base: &BaseMetric) -> Result<Option<Defined>, EngineError> {
        let place = &base.table_place;
        let catalog = &self.snapshot.catalog;
        let Some(schema) = catalog.schemas.get(&base.table.schema) else {
            return Ok(None);
        };
        let Some(remote) = schema.table(&base.table.table) else {
            let error = EngineError::new(Code::PRJ021, format!("no table `{}`", base.table)).at(place.clone());
            let names = schema.tables.iter().map(|table| table.name.as_str());
            return Err(match did_you_mean(&base.table.table, names) {
                Some(near) => error.help(format!("did you mean `{}.{near}`?", base.table.schema)),
                None => error,
            });
        };
        let path = match catalog.way_to_entity(&self.entity.name, &base.table) {
            Ok(Some(path)) => path,
            Ok(None) => return Ok(None),
            Err(_) => {
                let text = format!(
                    "two chains of one length lead from `{}` to `{}`",
                    base.table, self.entity.name
                );
                let help = "declare under `tables`, `references`, only the column that says whose the row is";
                return Err(EngineError::new(Code::PRJ012, text).at(place.clone()).help(help));
            }
        };
        let raw = raw_schema(remote)?;
        let mut used = BTreeSet::new();
        let over = OverTable {
            snapshot: self.snapshot,
            state: self.state,
            table: &base.table,
            schema: &raw,
        };
        let written = over.aggregate(&metric.expr, &self.entity.name, &mut used)?;
        let condition = match &base.condition {
            Some(sql) => {
                let condition = over.expression(sql, parse(sql)?, &mut used)?;
                if condition.get_type(&raw)? != DataType::Boolean {
                    return Err(wrong(sql, "the condition of a metric is true or false"));
                }
                Some(condition)
            }
            None => None,
        };
        let column = |name: &str, place: &Place| known_column(remote, &base.table, name, place);
        let time = match &base.time {
            Some((name, place)) => {
                column(name, place)?;
                let data_type = remote.column(name).map(|column| &column.data_type);
                if !data_type.is_some_and(is_time) {
                    let error = EngineError::new(Code::PRJ021, format!("`{name}` is neither a date nor a time"));
                    return Err(error.at(place.clone()).help("`time` names a DATE or TIMESTAMP column"));
                }
                used.insert(name.clone());
                Some(name.clone())
            }
            None => None,
        };
        let dimensions: Vec<String> = base.dimensions.iter().map(|(name, _)| name.clone()).collect();
        for (name, place) in &base.dimensions {
            column(name, place)?;
            used.insert(name.clone());
        }
        let made_of = framed_base(metric, base)?;
        if let Some(balance) = &base.semi_additive {
            self.balance(balance, base, remote, written.function, &mut used)?;
        }
        let first = path.steps.first().map_or(&self.entity.key, |step| &step.column);
        used.insert(first.clone());
        let result = Base {
            table: base.table.clone(),
            function: written.function,
            argument: written.argument,
            condition,
            time,
            dimensions,
            balance: base.semi_additive.clone(),
            path,
            used,
        };
        let data_type = type_of(self.state, &result, &raw).map_err(|error| wrong(&metric.expr, &error.message))?;
        if result.function == Aggregate::Sum && !data_type.is_numeric() {
            return Err(wrong(&metric.expr, "a sum is of numbers"));
        }
        let version = base_version(metric, &result);
        Ok(Some(Defined {
            metric: metric.clone(),
            version,
            data_type,
            made_of,
            kind: Kind::Base(Box::new(result)),
        }))
    }

    /// The columns of a balance are there, and its order leaves no two rows equal.
    fn balance(
        &self,
        balance: &SemiAdditive,
        base: &BaseMetric,
        remote: &RemoteTable,
        function: Aggregate,
        used: &mut BTreeSet<String>,
    ) -> Result<(), EngineError> {
        let named = balance.per.iter().chain(&balance.order).chain(&balance.closed);
        for (name, place) in named {
            known_column(remote, &base.table, name, place)?;
            used.insert(name.clone());
        }
        let refuse = |text: &str, help: &str| {
            let error = EngineError::new(Code::PRJ021, text.to_owned()).at(balance.place.clone());
            Err(error.help(help.to_owned()))
        };
        if let Some((closed, _)) = &balance.closed
            && !remote.column(closed).is_some_and(|column| is_time(&column.data_type))
        {
            return refuse(
                "`closed` names a column that is neither a date nor a time",
                "write `zero_from(DATE COLUMN)`",
            );
        }
        let carried = balance.missing != Missing::Strict;
        if carried
            && !matches!(
                function,
                Aggregate::Sum | Aggregate::Count | Aggregate::Min | Aggregate::Max
            )
        {
            return refuse(
                "this aggregate of balances that are carried is not supported by this version",
                "write `sum`, `count`, `min` or `max`, or `missing: strict`",
            );
        }
        if !balance.is_ordered() {
            return Ok(());
        }
        let order = order_of(balance, base);
        for name in order.iter().skip(1) {
            if remote.column(name).is_some_and(|column| column.nullable) {
                return refuse(
                    "a column of `order` may be NULL",
                    "order by the time, then by columns that are never NULL",
                );
            }
        }
        let telling: Vec<&String> = balance.per.iter().map(|(name, _)| name).chain(&order).collect();
        let declared = self
            .snapshot
            .catalog
            .project
            .tables
            .get(&base.table)
            .map(|meaning| &meaning.key);
        let mut keys = remote.unique_keys.iter().chain([&remote.primary_key]).chain(declared);
        if !keys.any(|key| !key.is_empty() && key.iter().all(|column| telling.contains(&column))) {
            return refuse(
                "two rows of one may come in one place of its order",
                "end `order` with the table's key, and declare that under `tables`",
            );
        }
        Ok(())
    }

    fn derived(&mut self, metric: &Metric) -> Result<Option<Defined>, EngineError> {
        let project = Arc::clone(&self.snapshot.catalog.project);
        let known = |name: &str| {
            let exact = project.metrics.get_key_value(name);
            let near = || {
                project
                    .metrics
                    .iter()
                    .find(|(known, _)| known.eq_ignore_ascii_case(name))
            };
            exact.or_else(near).map(|(known, _)| known.clone())
        };
        let (parsed, parts) = parts_of(&metric.expr, &known)?;
        let mut fields = Vec::new();
        let mut digest = vec!["derived".to_owned(), metric.expr.text.clone()];
        for part in &parts {
            let Some(defined) = self.define(part) else {
                return Ok(None);
            };
            fields.push(Field::new(part, defined.data_type.clone(), true));
            digest.push(part.clone());
            digest.push(defined.version.clone());
        }
        let made_of = framed_parts(metric, parts.iter().filter_map(|part| self.done.get(part)?.as_ref()))?;
        digest.push(format!("{:?}", metric.frame));
        let schema = DFSchema::try_from(Schema::new(fields))?;
        let placed = |error: EngineError| wrong(&metric.expr, &error.message);
        let planned = self.state.create_logical_expr_from_sql_expr(parsed, &schema);
        let expr = divided(planned.map_err(|error| placed(error.into()))?)?;
        let expr = coerced(self.state, expr, &schema).map_err(placed)?;
        if expr.is_volatile() {
            return Err(wrong(&metric.expr, "a volatile function cannot stand in a metric"));
        }
        let data_type = expr.get_type(&schema)?;
        Ok(Some(Defined {
            metric: metric.clone(),
            version: caliber_catalog::digest_of(digest.iter().map(String::as_str)),
            data_type,
            made_of,
            kind: Kind::Derived { expr, parts },
        }))
    }
}

/// The columns by which the rows of one are ordered.
pub(crate) fn order_of(balance: &SemiAdditive, base: &BaseMetric) -> Vec<String> {
    if balance.order.is_empty() {
        base.time.iter().map(|(name, _)| name.clone()).collect()
    } else {
        balance.order.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn known_column(remote: &RemoteTable, table: &TableName, name: &str, place: &Place) -> Result<(), EngineError> {
    if remote.column(name).is_some() {
        return Ok(());
    }
    let error = EngineError::new(Code::PRJ021, format!("no column `{name}` in `{table}`")).at(place.clone());
    let names = remote.columns.iter().map(|column| column.name.as_str());
    Err(match did_you_mean(name, names) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    })
}

/// Whether a column says when.
pub(crate) fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32
            | DataType::Timestamp(
                TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
                _
            )
    )
}
