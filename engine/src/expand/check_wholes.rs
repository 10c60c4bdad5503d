//! Tags, segments, stages, journeys and timelines against what the sources hold.
//!
//! Owns: their findings: names that lead nowhere, conditions that are none, circles. Never: what a principal sees of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, Schema};
use caliber_catalog::diagnostic::{Code, Diagnostic, Place, did_you_mean};
use caliber_catalog::grant::SqlText;
use caliber_catalog::project::Entity;
use caliber_catalog::whole::{AS_OF, Class, Event, Whole};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast;

use super::entity_view::{check_attributes, coerced, column_name};
use crate::EngineError;
use crate::engine::OpenSnapshot;
use crate::govern::enforcement::raw_schema;
use crate::govern::policy_expr::parse;
use crate::metrics::definition::is_time;

/// A longer chain of tags over tags is refused.
const CHAIN_MAX: usize = 32;

/// Every finding of what the project declares of its entities. What needs a source that could not be described, or
/// something that has a finding of its own, is not checked.
pub(crate) fn check_wholes(snapshot: &OpenSnapshot, state: &SessionState) -> Vec<Diagnostic> {
    let project = &snapshot.catalog.project;
    let mut findings = Vec::new();
    for (name, whole) in &project.wholes {
        let Some(entity) = project.entities.get(name) else {
            continue;
        };
        let mut check = Check {
            snapshot,
            state,
            entity,
            whole,
            columns: columns(snapshot, state, entity),
            tags: BTreeMap::new(),
            open: Vec::new(),
            findings: Vec::new(),
        };
        for tag in &whole.tags {
            check.tag(tag);
        }
        for segment in &whole.segments {
            check.condition(&segment.condition, false);
        }
        for stage in &whole.stages {
            check.condition(&stage.condition, true);
        }
        for event in whole.journeys.iter().flat_map(|one| &one.steps).chain(&whole.timeline) {
            let checked = check.event(event);
            check.keep(checked);
        }
        findings.append(&mut check.findings);
    }
    findings
}

/// The key, attributes and metrics of an entity, typed; of what cannot be typed now, the name alone.
fn columns(snapshot: &OpenSnapshot, state: &SessionState, entity: &Entity) -> BTreeMap<String, Option<DataType>> {
    let project = &snapshot.catalog.project;
    let metrics = snapshot.metrics.get(&entity.name);
    let all_described = project
        .sources
        .keys()
        .all(|source| snapshot.catalog.schemas.contains_key(source));
    let mut columns: BTreeMap<String, Option<DataType>> = BTreeMap::from([(entity.key.clone(), None)]);
    columns.extend(entity.attributes.iter().map(|one| (one.name.clone(), None)));
    for field in check_attributes(snapshot, state, entity).1 {
        columns.insert(field.name().clone(), Some(field.data_type().clone()));
    }
    for name in project.metrics.keys() {
        match metrics.and_then(|set| set.get(name)) {
            Some(defined) => columns.insert(name.clone(), Some(defined.data_type.clone())),
            // It is another entity's, unless its source is down.
            None if all_described => continue,
            None => columns.insert(name.clone(), None),
        };
    }
    columns
}

struct Check<'a> {
    snapshot: &'a OpenSnapshot,
    state: &'a SessionState,
    entity: &'a Entity,
    whole: &'a Whole,
    columns: BTreeMap<String, Option<DataType>>,
    /// Those done, and whether each could be typed.
    tags: BTreeMap<&'a str, bool>,
    /// Those being checked, outermost first.
    open: Vec<&'a str>,
    findings: Vec<Diagnostic>,
}

impl<'a> Check<'a> {
    fn keep(&mut self, checked: Result<(), EngineError>) {
        let Err(error) = checked else { return };
        let code = match error.code {
            Code::PRJ012 => Code::PRJ012,
            _ => Code::PRJ022,
        };
        let mut finding = Diagnostic::error(code, error.message);
        finding.place = error.place;
        finding.help = error.help;
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Whether the tag can be typed.
    fn tag(&mut self, tag: &'a Class) -> bool {
        let name = tag.name.as_str();
        if let Some(done) = self.tags.get(name) {
            return *done;
        }
        if self.open.contains(&name) || self.open.len() >= CHAIN_MAX {
            let chain = self.open.join("` → `");
            let message = format!("a tag depends on itself, or on too many others: `{chain}` → `{name}`");
            let error = wrong(&tag.condition.place, message).help("say it over attributes and metrics");
            self.keep(Err(error));
            return false;
        }
        self.open.push(name);
        let typed = self.condition(&tag.condition, false);
        self.open.pop();
        self.tags.insert(name, typed);
        typed
    }

    /// Checks a condition over attributes, metrics and tags, and `as_of` if `dated`; whether it could be typed.
    fn condition(&mut self, sql: &SqlText, dated: bool) -> bool {
        match self.typed_condition(sql, dated) {
            Ok(typed) => typed,
            Err(error) => {
                self.keep(Err(error));
                false
            }
        }
    }

    fn typed_condition(&mut self, sql: &SqlText, dated: bool) -> Result<bool, EngineError> {
        let mut fields: BTreeMap<String, Option<DataType>> = BTreeMap::new();
        let mut tags: Vec<&'a Class> = Vec::new();
        let parsed = named(sql, |ident| {
            let same = |name: &str| {
                name == ident.value || ident.quote_style.is_none() && name.eq_ignore_ascii_case(&ident.value)
            };
            if let Some(tag) = self.whole.tags.iter().find(|tag| same(&tag.name)) {
                tags.push(tag);
                fields.insert(tag.name.clone(), Some(DataType::Boolean));
                return Ok(tag.name.clone());
            }
            if let Some((name, data_type)) = self.columns.iter().find(|(name, _)| same(name)) {
                fields.insert(name.clone(), data_type.clone());
                return Ok(name.clone());
            }
            if dated && same(AS_OF) {
                fields.insert(AS_OF.to_owned(), Some(DataType::Date32));
                return Ok(AS_OF.to_owned());
            }
            Err(self.unknown(&ident.value))
        })?;
        let mut known = true;
        for tag in tags {
            known &= self.tag(tag);
        }
        let typed: Option<Vec<Field>> = fields
            .into_iter()
            .map(|(name, data_type)| Some(Field::new(name, data_type?, true)))
            .collect();
        let Some(typed) = typed.filter(|_| known) else {
            return Ok(false);
        };
        let schema = DFSchema::try_from(Schema::new(typed))?;
        if self.expression(sql, parsed, &schema)? != DataType::Boolean {
            return Err(wrong(&sql.place, "this condition is neither true nor false".into())
                .help("compare it with something: `loan_count > 0`"));
        }
        Ok(true)
    }

    fn unknown(&self, name: &str) -> EngineError {
        let entity = &self.entity.name;
        let error = EngineError::new(
            Code::PRJ022,
            format!("`{entity}` has no attribute, metric or tag `{name}`"),
        );
        let tags = self.whole.tags.iter().map(|tag| tag.name.as_str());
        match did_you_mean(name, self.columns.keys().map(String::as_str).chain(tags)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("declare it under `tags`, `{entity}`, or under `metrics`")),
        }
    }

    /// The type of one row's expression.
    fn expression(
        &self,
        sql: &SqlText,
        parsed: ast::ExprWithAlias,
        schema: &DFSchema,
    ) -> Result<DataType, EngineError> {
        let placed = |error: EngineError| wrong(&sql.place, error.message);
        let planned = self.state.create_logical_expr_from_sql_expr(parsed, schema);
        let expr = coerced(self.state, planned.map_err(|error| placed(error.into()))?, schema).map_err(placed)?;
        let many_rows = expr.exists(|part| {
            Ok(matches!(
                part,
                Expr::AggregateFunction(_) | Expr::WindowFunction(_) | Expr::Unnest(_)
            ))
        })?;
        if many_rows {
            let error = wrong(&sql.place, "an aggregate of many rows cannot stand here".into());
            return Err(error.help("declare it under `metrics`, and name that"));
        }
        if expr.is_volatile() {
            return Err(wrong(&sql.place, "a volatile function cannot stand here".into()));
        }
        Ok(expr.get_type(schema)?)
    }

    fn event(&self, event: &Event) -> Result<(), EngineError> {
        let catalog = &self.snapshot.catalog;
        let Some(described) = catalog.schemas.get(&event.table.schema) else {
            return Ok(());
        };
        let Some(remote) = described.table(&event.table.table) else {
            let error = wrong(&event.table_place, format!("no table `{}`", event.table));
            let names = described.tables.iter().map(|table| table.name.as_str());
            return Err(match did_you_mean(&event.table.table, names) {
                Some(near) => error.help(format!("did you mean `{}.{near}`?", event.table.schema)),
                None => error.help("name a table of the source"),
            });
        };
        let entity = &self.entity.name;
        match catalog.way_to_entity(entity, &event.table) {
            Ok(Some(_)) => {}
            Ok(None) => {
                let error = wrong(
                    &event.table_place,
                    format!("nothing ties `{}` to `{entity}`", event.table),
                );
                let help = format!(
                    "declare under `tables`, `{}`, `references` how a row finds its {entity}",
                    event.table
                );
                return Err(error.help(help));
            }
            Err(_) => {
                let message = format!("two chains of one length lead from `{}` to `{entity}`", event.table);
                let help = "declare under `tables`, `references`, only the column that says whose the row is";
                return Err(EngineError::new(Code::PRJ012, message)
                    .at(event.table_place.clone())
                    .help(help));
            }
        }
        let Some(time) = remote.column(&event.time) else {
            let error = wrong(
                &event.time_place,
                format!("no column `{}` in `{}`", event.time, event.table),
            );
            let names = remote.columns.iter().map(|column| column.name.as_str());
            return Err(match did_you_mean(&event.time, names) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("name a DATE or TIMESTAMP column"),
            });
        };
        if !is_time(&time.data_type) {
            let error = wrong(
                &event.time_place,
                format!("`{}` is neither a date nor a time", event.time),
            );
            return Err(error.help("name a DATE or TIMESTAMP column"));
        }
        let schema = raw_schema(remote)?;
        let typed = |sql: &SqlText| {
            let parsed = named(sql, |ident| column_name(self.snapshot, &event.table, ident))?;
            self.expression(sql, parsed, &schema)
        };
        if let Some(sql) = &event.condition
            && typed(sql)? != DataType::Boolean
        {
            return Err(wrong(&sql.place, "this condition is neither true nor false".into())
                .help("compare a column with something"));
        }
        if let Some(sql) = &event.amount
            && !typed(sql)?.is_numeric()
        {
            return Err(wrong(&sql.place, "an amount is a number".into()).help("name a column of numbers"));
        }
        event.detail.iter().try_for_each(|sql| typed(sql).map(|_| ()))
    }
}

/// A piece of SQL with each of its names replaced by what it means.
pub(super) fn named(
    sql: &SqlText,
    mut meaning: impl FnMut(&ast::Ident) -> Result<String, EngineError>,
) -> Result<ast::ExprWithAlias, EngineError> {
    let mut parsed = parse(sql)?;
    let walked = ast::visit_expressions_mut(&mut parsed.expr, |node| match node {
        ast::Expr::Identifier(ident) => match meaning(ident) {
            Ok(name) => {
                *ident = ast::Ident::with_quote('"', &name);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error.at(sql.place.clone())),
        },
        ast::Expr::CompoundIdentifier(_) => ControlFlow::Break(
            wrong(&sql.place, "a name with a point cannot stand here".into()).help("write the name alone"),
        ),
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => ControlFlow::Break(
            wrong(&sql.place, "a subquery cannot stand here".into()).help("declare what it asks under `metrics`"),
        ),
        ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => {
            ControlFlow::Break(wrong(&sql.place, "a placeholder cannot stand here".into()).help("write the value"))
        }
        _ => ControlFlow::Continue(()),
    });
    match walked {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(parsed),
    }
}

fn wrong(place: &Place, message: String) -> EngineError {
    EngineError::new(Code::PRJ022, message).at(place.clone())
}
