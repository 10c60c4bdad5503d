//! From checked values to the model.
//!
//! Owns: the model's construction, and findings that need more than one value: names that lead to nothing in the
//! project itself. Never: reads a file, or asks a source.

mod entities;
mod identity;
mod metrics;
mod policies;
mod policy_findings;
mod server;
mod sources;
mod tables;
mod users;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::digest;
use super::node::Findings;
use super::value::Fields;
use crate::diagnostic::{Code, Diagnostic, Place, did_you_mean};
use crate::name::TableName;
use crate::project::Project;
use crate::source::ConnectorKind;

/// The project, or `None` with findings. `files` are the names of the project's files.
pub(super) fn build(
    fields: &Fields,
    root: &Path,
    kinds: &[ConnectorKind],
    files: &[&str],
    findings: &mut Findings,
) -> Option<Project> {
    server::check_users_file(fields, files, findings);
    server::check_mask_key(fields, findings);
    let mut scope = Scope {
        sources: fields.map("sources").iter().map(|(key, _)| key.text.clone()).collect(),
        entities: fields.map("entities").iter().map(|(key, _)| key.text.clone()).collect(),
        findings,
    };
    let sources: BTreeMap<_, _> = fields
        .records("sources")
        .filter_map(|(key, fields)| Some((key.text.clone(), sources::source(key, fields, kinds)?)))
        .collect();
    let tables: BTreeMap<_, _> = fields
        .records("tables")
        .filter_map(|(key, fields)| tables::table(key, fields, &mut scope))
        .collect();
    let entities: BTreeMap<_, _> = fields
        .records("entities")
        .filter_map(|(key, fields)| Some((key.text.clone(), entities::entity(key, fields, root, &mut scope)?)))
        .collect();
    let metrics: BTreeMap<_, _> = fields
        .records("metrics")
        .filter_map(|(key, fields)| Some((key.text.clone(), metrics::metric(key, fields, &mut scope)?)))
        .collect();
    metrics::report_case_variants(&metrics, &mut scope);
    let wholes = whole::wholes(fields, &mut scope);
    whole::report_clashes(&wholes, &entities, &metrics, &mut scope);
    let policies: Vec<_> = fields
        .records("policies")
        .map(|(key, fields)| policies::policy(key, fields, &mut scope))
        .collect();
    let users: BTreeMap<_, _> = fields
        .records("users")
        .filter_map(|(key, fields)| Some((key.text.clone(), users::user(key, fields)?)))
        .collect();
    sources::report_case_variants(&sources, &mut scope);
    users::report_unknown_roles(fields, &policies, &mut scope);
    policy_findings::report(&policies, &users, &mut scope);
    Some(Project {
        name: fields.string("name")?,
        root: root.to_path_buf(),
        server: server::settings(fields.fields("server"), root),
        sources,
        tables,
        entities,
        metrics,
        wholes,
        policies,
        users,
        hash: digest::project(fields),
    })
}

/// The names a project defines, for those that refer to them.
struct Scope<'a> {
    sources: BTreeSet<String>,
    entities: BTreeSet<String>,
    findings: &'a mut Findings,
}

impl Scope<'_> {
    fn add(&mut self, finding: Diagnostic) {
        self.findings.add(finding);
    }

    /// Reports a table of a source that the project does not have.
    fn known_source(&mut self, table: &TableName, place: &Place) {
        if self.sources.contains(&table.schema) || self.findings.incomplete {
            return;
        }
        let mut finding = Diagnostic::error(Code::PRJ010, format!("no source `{}`", table.schema)).at(place.clone());
        if let Some(near) = did_you_mean(&table.schema, self.sources.iter().map(String::as_str)) {
            finding = finding.label(format!("did you mean `{near}.{}`?", table.table));
        }
        let names: Vec<&str> = self.sources.iter().map(String::as_str).collect();
        self.findings
            .add(finding.help(format!("the sources are {}", names.join(", "))));
    }

    /// Whether a view of `unified` is some entity's; reports one that is not.
    fn known_view(&mut self, view: &TableName, place: &Place) -> bool {
        let entity = crate::name::entity_of_view(&view.table);
        if entity.is_some_and(|entity| self.entities.contains(entity)) {
            return true;
        }
        if !self.findings.incomplete {
            let mut finding = Diagnostic::error(Code::PRJ010, format!("no view `{view}`")).at(place.clone());
            let views: Vec<String> = self
                .entities
                .iter()
                .flat_map(|entity| crate::name::views_of(entity))
                .collect();
            if let Some(near) = did_you_mean(&view.table, views.iter().map(String::as_str)) {
                finding = finding.label(format!("did you mean `unified.{near}`?"));
            }
            self.findings
                .add(finding.help("each entity NAME has the views `unified.NAME_360` and `unified.NAME_metrics`"));
        }
        false
    }

    /// Reports an entity that the project does not have.
    fn known_entity(&mut self, name: &str, place: &Place) {
        if self.entities.contains(name) || self.findings.incomplete {
            return;
        }
        let mut finding = Diagnostic::error(Code::PRJ010, format!("no entity `{name}`")).at(place.clone());
        if let Some(near) = did_you_mean(name, self.entities.iter().map(String::as_str)) {
            finding = finding.label(format!("did you mean `{near}`?"));
        }
        self.findings
            .add(finding.help("write the name of an entity, or `source.table`"));
    }
}
