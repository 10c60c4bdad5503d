//! A project, open for measuring.
//!
//! Owns: opening it as the server does, but without an audit log. Never: a time.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use caliber_catalog::ProcessEnvironment;
use caliber_catalog::diagnostic::{Diagnostic, render};
use caliber_connectors::FACTORIES;
use caliber_engine::{Engine, EngineOptions, Session, connector_kinds};

/// The engine over the project in `folder`.
pub async fn open(folder: &Path, pushdown: bool) -> Result<Arc<Engine>> {
    let kinds = connector_kinds(FACTORIES);
    let (project, _) = caliber_catalog::load(folder, &ProcessEnvironment, &kinds).map_err(shown)?;
    let options = EngineOptions {
        pushdown,
        require_sources: true,
        ..EngineOptions::default()
    };
    let (engine, _) = Engine::open(Arc::new(project), FACTORIES, options)
        .await
        .map_err(shown)?;
    Ok(engine)
}

/// A session of one of the project's users.
pub fn session(engine: &Arc<Engine>, user: &str) -> Result<Session> {
    let project = &engine.snapshot().project;
    let user = project
        .users
        .get(user)
        .with_context(|| format!("the project has no user {user}"))?;
    Ok(engine.session(user.principal()))
}

fn shown(findings: Vec<Diagnostic>) -> anyhow::Error {
    anyhow!("{}", findings.iter().map(render).collect::<String>())
}
