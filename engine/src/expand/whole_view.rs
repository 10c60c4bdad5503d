//! `unified.<entity>_360` whole: beside key and attributes every metric of one instance, its tags, stage and segments, and
//! what each department knows of it.
//!
//! Owns: which of these exist for a principal, and their columns. Never: a metric's facts (`metrics`), what policy shows of a
//! column (`view_cells`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use caliber_catalog::grant::SqlText;
use caliber_catalog::metric::Frame;
use caliber_catalog::name::TableName;
use caliber_catalog::project::Entity;
use caliber_catalog::whole::{AS_OF, SEGMENTS, STAGE, Whole};
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit, when};

use super::check_wholes::named;
use super::department_state::Department;
use super::entity_view::coerced;
use super::instance_metrics::joined_metrics;
use super::segment_list::SegmentList;
use super::view_cells::ViewCells;
use crate::EngineError;
use crate::metrics::asked::{AsOf, Asked};
use crate::metrics::branch::Planner;
use crate::metrics::definition::{Defined, MetricSet};
use crate::metrics::metric_view::{MetricView, Visible};
use crate::metrics::plan_parts::{bare, replaced};
use crate::resolve::governed_catalog::GovernedCatalog;

/// A whole view of one entity, as of a day.
pub(crate) struct WholeView<'a> {
    pub catalog: &'a GovernedCatalog,
    pub state: &'a SessionState,
    pub entity: &'a Entity,
    pub as_of: AsOf,
    /// The columns that a statement reads; `None`: all.
    pub wanted: Option<&'a BTreeSet<String>>,
}

/// What can be named in a condition: what it is over the relation, and its type.
pub(crate) type Names = BTreeMap<String, (Expr, DataType)>;

/// A tag, segment or stage, with what its condition names.
struct Said<'a> {
    name: &'a str,
    condition: &'a SqlText,
    uses: BTreeSet<String>,
}

/// What exists of a whole view for its principal, beside key and attributes.
struct Existing<'a> {
    metrics: MetricSet,
    /// Each after those that it names.
    tags: Vec<Said<'a>>,
    /// None where one of them is not known: it would make those after it unknown.
    stages: Vec<Said<'a>>,
    segments: Vec<Said<'a>>,
    departments: Vec<Department>,
}

impl Existing<'_> {
    /// The names of its columns, in order.
    fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metrics.keys().cloned().collect();
        names.extend(self.tags.iter().map(|tag| tag.name.to_owned()));
        names.extend((!self.stages.is_empty()).then(|| STAGE.to_owned()));
        names.extend((!self.segments.is_empty()).then(|| SEGMENTS.to_owned()));
        names.extend(self.departments.iter().map(|one| one.column.clone()));
        names
    }

    /// What is wanted of it, and all that is computed from.
    fn needed(&self, wanted: Option<&BTreeSet<String>>) -> Needed {
        let all = self.columns().into_iter();
        let mut needed = Needed(match wanted {
            Some(wanted) => all.filter(|name| wanted.contains(name)).collect(),
            None => all.collect(),
        });
        let uses =
            |said: &[Said<'_>]| -> Vec<String> { said.iter().flat_map(|one| one.uses.iter().cloned()).collect() };
        if needed.has(STAGE) {
            needed.0.extend(uses(&self.stages));
        }
        if needed.has(SEGMENTS) {
            needed.0.extend(uses(&self.segments));
        }
        for tag in self.tags.iter().rev() {
            if needed.has(tag.name) {
                needed.0.extend(tag.uses.iter().cloned());
            }
        }
        needed
    }
}

/// Names of columns, as somebody wrote them.
struct Needed(BTreeSet<String>);

impl Needed {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|one| one.eq_ignore_ascii_case(name))
    }
}

impl WholeView<'_> {
    /// The relation with all that is wanted joined to it, and the columns.
    pub fn more(
        &self,
        plan: LogicalPlan,
        columns: &[(String, Expr)],
        cells: &ViewCells<'_>,
    ) -> Result<(LogicalPlan, Vec<(String, Expr)>), EngineError> {
        let none = Whole::default();
        let wholes = &self.catalog.snapshot.catalog.project.wholes;
        let whole = wholes.get(&self.entity.name).unwrap_or(&none);
        let existing = self.existing(whole, columns, cells)?;
        let needed = existing.needed(self.wanted);
        let mut names: Names = BTreeMap::new();
        for (name, expr) in columns {
            let data_type = expr.get_type(plan.schema())?;
            names.insert(name.clone(), (expr.clone(), data_type));
        }
        names.insert(AS_OF.to_owned(), (self.as_of.day.clone(), DataType::Date32));
        let key = columns.first().map(|(_, key)| key.clone());
        let key = key.ok_or_else(|| EngineError::internal("a view has no key", &self.entity.name))?;
        let builder = self.with_metrics(plan, &key, &existing, &needed, &mut names)?;
        let plan = self.with_conditions(builder, &existing, &needed, names)?;
        let is_there = |name: &String| plan.schema().has_column_with_unqualified_name(&seen(name));
        let there = existing.columns().into_iter().filter(is_there);
        let added = there.map(|name| {
            let column = bare(&seen(&name));
            (name, column)
        });
        let added = added.collect();
        Ok((plan, added))
    }

    fn existing<'w>(
        &self,
        whole: &'w Whole,
        columns: &[(String, Expr)],
        cells: &ViewCells<'_>,
    ) -> Result<Existing<'w>, EngineError> {
        let snapshot = &self.catalog.snapshot;
        let lookup = |table: &TableName| self.catalog.enforcement(table);
        let none = MetricSet::new();
        let visible = Visible {
            snapshot,
            state: self.state,
            metrics: snapshot.metrics.get(&self.entity.name).unwrap_or(&none),
            lookup: &lookup,
        };
        let metrics = visible.metrics()?;
        let attributes: BTreeSet<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let can_be_named = |name: &str| known_name(name, &attributes, &metrics).is_some_and(|name| !cells.masks(&name));
        let tags = existing_tags(whole, &can_be_named)?;
        let exists = |name: &String| {
            let tag = tags.iter().any(|tag| tag.name.eq_ignore_ascii_case(name)) && !cells.masks(name);
            tag || can_be_named(name)
        };
        let mut stages = Vec::new();
        for stage in &whole.stages {
            stages.extend(said(&stage.name, &stage.condition, &exists)?);
        }
        if stages.len() < whole.stages.len() {
            stages.clear();
        }
        let mut segments = Vec::new();
        for segment in &whole.segments {
            segments.extend(said(&segment.name, &segment.condition, &exists)?);
        }
        let departments = self.departments(&visible)?;
        Ok(Existing {
            metrics,
            tags,
            stages,
            segments,
            departments,
        })
    }

    /// The relation with the metrics that are needed, and the counts of each department's rows; `names` learns them.
    fn with_metrics(
        &self,
        plan: LogicalPlan,
        key: &Expr,
        existing: &Existing<'_>,
        needed: &Needed,
        names: &mut Names,
    ) -> Result<LogicalPlanBuilder, EngineError> {
        let mut known = existing.metrics.clone();
        let mut asked_for: Vec<Arc<Defined>> = known
            .values()
            .filter(|one| needed.has(&one.metric.name))
            .cloned()
            .collect();
        let departments = existing.departments.iter().filter(|one| needed.has(&one.column));
        for rows in departments.flat_map(|one| &one.rows) {
            asked_for.push(Arc::clone(rows));
            known.insert(rows.metric.name.clone(), Arc::clone(rows));
        }
        let view = MetricView::beside(self.entity, plan.clone(), known);
        let ask = |asked_for: &[Arc<Defined>]| {
            let measures = asked_for.iter().map(|defined| (Arc::clone(defined), None)).collect();
            Asked::new(&view, vec![bare(&self.entity.key)], Vec::new(), measures)
        };
        let mut asked = ask(&asked_for)?;
        let beside = self.beside_balances(&asked)?;
        if !beside.is_empty() {
            asked = ask(&[asked_for.clone(), beside].concat())?;
        }
        asked.as_of = Some(self.as_of.clone());
        let planner = Planner {
            catalog: self.catalog,
            state: self.state,
            asked: &asked,
        };
        let builder = LogicalPlanBuilder::from(joined_metrics(&planner, plan, key)?);
        let mut layer = Vec::new();
        for defined in &asked_for {
            let name = &defined.metric.name;
            layer.push(planner.value(defined, None, Frame::default())?.alias(seen(name)));
            names.insert(name.clone(), (bare(&seen(name)), defined.data_type.clone()));
        }
        with(builder, layer)
    }

    /// The relation with the tags, the stage, the segments and the states that are needed.
    fn with_conditions(
        &self,
        mut builder: LogicalPlanBuilder,
        existing: &Existing<'_>,
        needed: &Needed,
        mut names: Names,
    ) -> Result<LogicalPlan, EngineError> {
        for tag in existing.tags.iter().filter(|tag| needed.has(tag.name)) {
            let condition = self.condition(tag.condition, &names)?;
            builder = with(builder, vec![condition.is_true().alias(seen(tag.name))])?;
            names.insert(tag.name.to_owned(), (bare(&seen(tag.name)), DataType::Boolean));
        }
        let mut layer = Vec::new();
        let mut stages = existing.stages.iter().filter(|_| needed.has(STAGE));
        if let Some(first) = stages.next() {
            let mut cases = when(self.condition(first.condition, &names)?.is_true(), lit(first.name));
            for stage in stages {
                cases.when(self.condition(stage.condition, &names)?.is_true(), lit(stage.name));
            }
            layer.push(cases.end()?.alias(seen(STAGE)));
        }
        if needed.has(SEGMENTS) && !existing.segments.is_empty() {
            let mut holds = Vec::new();
            for segment in &existing.segments {
                holds.push(self.condition(segment.condition, &names)?.is_true());
            }
            let all = existing
                .segments
                .iter()
                .map(|segment| segment.name.to_owned())
                .collect();
            layer.push(ScalarUDF::from(SegmentList::new(all)).call(holds).alias(seen(SEGMENTS)));
        }
        for department in existing.departments.iter().filter(|one| needed.has(&one.column)) {
            layer.push(department.state(&names)?.alias(seen(&department.column)));
        }
        Ok(with(builder, layer)?.build()?)
    }

    /// A condition over the relation.
    fn condition(&self, sql: &SqlText, names: &Names) -> Result<Expr, EngineError> {
        let same =
            |name: &str, written: &str, quoted: bool| name == written || !quoted && name.eq_ignore_ascii_case(written);
        let mut fields: BTreeMap<String, Field> = BTreeMap::new();
        let parsed = named(sql, |ident| {
            let found = names
                .iter()
                .find(|(name, _)| same(name, &ident.value, ident.quote_style.is_some()));
            let (name, (_, data_type)) =
                found.ok_or_else(|| EngineError::internal("a name of a condition is missing", &ident.value))?;
            fields.insert(name.clone(), Field::new(name, data_type.clone(), true));
            Ok(name.clone())
        })?;
        let schema = DFSchema::try_from(Schema::new(fields.into_values().collect::<Vec<_>>()))?;
        let expr = self.state.create_logical_expr_from_sql_expr(parsed, &schema)?;
        let expr = coerced(self.state, expr, &schema)?;
        replaced(&expr, &|name| Ok(names.get(name).map(|(expr, _)| expr.clone())))
    }
}

/// The column of the relation that holds what the view calls `name`.
fn seen(name: &str) -> String {
    format!("seen {name}")
}

/// The relation with more columns.
fn with(builder: LogicalPlanBuilder, more: Vec<Expr>) -> Result<LogicalPlanBuilder, EngineError> {
    if more.is_empty() {
        return Ok(builder);
    }
    let columns: Vec<Expr> = builder
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .chain(more)
        .collect();
    Ok(builder.project(columns)?)
}

/// The names in a condition, as written.
fn names_in(sql: &SqlText) -> Result<BTreeSet<String>, EngineError> {
    let mut names = BTreeSet::new();
    named(sql, |ident| {
        names.insert(ident.value.clone());
        Ok(ident.value.clone())
    })?;
    Ok(names)
}

/// A condition all of whose names exist.
fn said<'a>(
    name: &'a str,
    condition: &'a SqlText,
    exists: &dyn Fn(&String) -> bool,
) -> Result<Option<Said<'a>>, EngineError> {
    let uses = names_in(condition)?;
    Ok(uses.iter().all(exists).then_some(Said { name, condition, uses }))
}

fn known_name(name: &str, attributes: &BTreeSet<&str>, metrics: &MetricSet) -> Option<String> {
    let mut all = attributes
        .iter()
        .copied()
        .chain(metrics.keys().map(String::as_str))
        .chain([AS_OF]);
    all.find(|known| known.eq_ignore_ascii_case(name)).map(str::to_owned)
}

/// The tags all of whose names exist, each after those that it names.
fn existing_tags<'a>(whole: &'a Whole, can_be_named: &dyn Fn(&str) -> bool) -> Result<Vec<Said<'a>>, EngineError> {
    let mut open: Vec<Said<'a>> = Vec::new();
    for tag in &whole.tags {
        open.push(Said {
            name: &tag.name,
            condition: &tag.condition,
            uses: names_in(&tag.condition)?,
        });
    }
    let mut done: Vec<Said<'a>> = Vec::new();
    loop {
        let ready = |tag: &Said<'_>, done: &[Said<'_>]| {
            let known =
                |name: &String| can_be_named(name) || done.iter().any(|other| other.name.eq_ignore_ascii_case(name));
            tag.uses.iter().all(known)
        };
        let Some(at) = open.iter().position(|tag| ready(tag, &done)) else {
            return Ok(done);
        };
        done.push(open.remove(at));
    }
}
