//! Engines in this process, over projects in a folder.
//!
//! Owns: opening, asking, principals by hand. Never: an expectation.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use caliber_catalog::diagnostic::Diagnostic;
use caliber_catalog::principal::{AttributeValue, Principal};
use caliber_catalog::{Environment, load};
use caliber_connectors::FACTORIES;
use caliber_engine::{Engine, EngineError, EngineOptions, Session, connector_kinds};
use futures::TryStreamExt;

use crate::rows;

/// Variables that a project names, and no others.
pub struct Variables<'a>(pub &'a [(&'static str, String)]);

impl Environment for Variables<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| value.clone())
    }
}

/// An engine over the project in `folder`, and what it was warned of.
pub async fn open(
    folder: &Path,
    variables: &[(&'static str, String)],
    options: EngineOptions,
) -> Result<(Arc<Engine>, Vec<Diagnostic>)> {
    let (project, mut warnings) = load(folder, &Variables(variables), &connector_kinds(FACTORIES)).map_err(shown)?;
    let (engine, more) = Engine::open(Arc::new(project), FACTORIES, options)
        .await
        .map_err(shown)?;
    warnings.extend(more);
    Ok((engine, warnings))
}

fn shown(findings: Vec<Diagnostic>) -> anyhow::Error {
    let lines: Vec<String> = findings
        .iter()
        .map(|found| format!("{}: {}", found.code.as_str(), found.message))
        .collect();
    anyhow!(lines.join("; "))
}

/// A principal with these roles and attributes.
pub fn principal(roles: &[&str], attributes: &[(&str, AttributeValue)]) -> Principal {
    let mut roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    roles.sort();
    let attributes: BTreeMap<_, _> = attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    Principal {
        name: roles.join("+"),
        roles,
        attributes,
    }
}

/// The rows of a statement, or its error.
pub async fn ask(session: &Session, sql: &str) -> std::result::Result<Vec<Vec<String>>, EngineError> {
    let batches: Vec<_> = session.execute(sql, None).await?.try_collect().await?;
    rows::texts(&batches).map_err(|error| EngineError {
        code: caliber_catalog::diagnostic::Code::INT001,
        message: error.to_string(),
        place: None,
        label: None,
        help: None,
    })
}
