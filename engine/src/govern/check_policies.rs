//! Compiles every policy, holding and attribute of a project against its tables, so that none fails at its first use.
//!
//! Owns: turning what the compiler says into findings with places. Never: decides for a principal.

use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema};
use caliber_catalog::date::Date;
use caliber_catalog::diagnostic::{Code, Diagnostic};
use caliber_catalog::grant::SqlText;
use caliber_catalog::name::TableName;
use caliber_catalog::project::Policy;
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;

use super::enforcement::raw_schema;
use super::policy_expr::{Attributes, Wanted, compile};
use crate::EngineError;
use crate::engine::OpenSnapshot;
use crate::expand::entity_view::check_attributes;
use crate::resolve::governed_catalog::UNIFIED;

/// Every expression of the project that does not fit its table.
/// `state` is the one policies are compiled in, `plain` what users' statements are planned in.
pub(crate) fn check_policies(
    snapshot: &OpenSnapshot,
    state: &SessionState,
    plain: &SessionState,
    today: Date,
) -> Vec<Diagnostic> {
    let project = &snapshot.catalog.project;
    let mut check = Check {
        snapshot,
        state,
        findings: Vec::new(),
    };
    let mut views: BTreeMap<TableName, Vec<Field>> = BTreeMap::new();
    for entity in project.entities.values() {
        let (findings, columns) = check_attributes(snapshot, plain, entity);
        check.findings.extend(findings);
        views.insert(TableName::new(UNIFIED, format!("{}_360", entity.name)), columns);
    }
    for policy in &project.policies {
        check.expired(policy, today);
        if let Some(when) = &policy.when {
            check.compiles(when, &DFSchema::empty(), &Wanted::Predicate);
        }
        for (table, sql) in &policy.table_rows {
            check.expression(table, sql, &Wanted::Predicate);
        }
        for (entity, sql) in &policy.entity_rows {
            if let Some(entity) = project.entities.get(entity) {
                check.expression(&entity.table, sql, &Wanted::Predicate);
            }
        }
        for (column, sql) in &policy.masks {
            if let Some(columns) = views.get(&column.table) {
                check.view_mask(columns, &column.column, sql);
            }
            let described = snapshot
                .remote_table(&column.table)
                .and_then(|table| table.column(&column.column));
            if let Some(described) = described {
                check.expression(&column.table, sql, &Wanted::Value(&described.data_type));
            }
        }
    }
    for entity in project.entities.values() {
        for holding in &entity.holdings {
            if let Some(sql) = &holding.condition {
                check.expression(&holding.bridge, sql, &Wanted::Predicate);
            }
        }
    }
    check.findings
}

struct Check<'a> {
    snapshot: &'a OpenSnapshot,
    state: &'a SessionState,
    findings: Vec<Diagnostic>,
}

impl Check<'_> {
    fn expired(&mut self, policy: &Policy, today: Date) {
        if let Some((last, place)) = policy.expires.as_ref().filter(|_| policy.expired(today)) {
            let finding = Diagnostic::warning(Code::PRJ019, format!("this policy expired on {last}"));
            self.findings.push(
                finding
                    .at(place.clone())
                    .help("take the policy out, or give it another day"),
            );
        }
    }

    /// A table that was not described is the catalog's finding, or its source is down.
    fn expression(&mut self, table: &TableName, sql: &SqlText, wanted: &Wanted<'_>) {
        let Some(table) = self.snapshot.remote_table(table) else {
            return;
        };
        match raw_schema(table) {
            Ok(schema) => self.compiles(sql, &schema, wanted),
            Err(error) => self.wrong(sql, error),
        }
    }

    /// A mask of a view's column, over the view's columns. One that cannot be typed because its source is down is not
    /// checked.
    fn view_mask(&mut self, columns: &[Field], column: &str, sql: &SqlText) {
        let Some(masked) = columns.iter().find(|known| known.name() == column) else {
            return;
        };
        match DFSchema::try_from(Schema::new(columns.to_vec())) {
            Ok(schema) => self.compiles(sql, &schema, &Wanted::Value(masked.data_type())),
            Err(error) => self.wrong(sql, error.into()),
        }
    }

    fn compiles(&mut self, sql: &SqlText, schema: &DFSchema, wanted: &Wanted<'_>) {
        if let Err(error) = compile(self.state, sql, schema, Attributes::Unknown, wanted) {
            self.wrong(sql, error);
        }
    }

    fn wrong(&mut self, sql: &SqlText, error: EngineError) {
        let mut finding =
            Diagnostic::error(Code::PRJ011, error.message).at(error.place.unwrap_or_else(|| sql.place.clone()));
        finding.help = error.help;
        self.findings.push(finding);
    }
}
