//! A project on disk, opened for a command.
//!
//! Owns: finding the project folder, loading, opening the engine, who `--as` names. Never: checks a password: who
//! holds the project's files may be anybody in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use caliber_catalog::ProcessEnvironment;
use caliber_catalog::diagnostic::{Code, Diagnostic, did_you_mean};
use caliber_catalog::project::Project;
use caliber_connectors::FACTORIES;
use caliber_engine::{Engine, EngineOptions, Session, connector_kinds};

use super::failure::{self, Failure};
use crate::audit::AuditLog;

/// The file every project has.
const MAIN_FILE: &str = "caliber.yaml";

/// `--project`, or the nearest folder upward that holds a project.
pub fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|folder| folder.join(MAIN_FILE).is_file());
    found.map(Path::to_owned).ok_or_else(|| {
        let message = format!("no `{MAIN_FILE}` here or in any folder above");
        Failure::of(Diagnostic::error(Code::PRJ001, message).help("name the project's folder with `--project DIR`"))
    })
}

/// Loads the project in `folder`; gives its warnings.
pub fn load(folder: &Path) -> Result<(Project, Vec<Diagnostic>), Failure> {
    caliber_catalog::load(folder, &ProcessEnvironment, &connector_kinds(FACTORIES)).map_err(Failure::Findings)
}

/// Loads and opens a project. Warnings go to standard error. Nothing is recorded: who runs this holds the project's files
/// and credentials, and the log with them.
pub async fn open(given: Option<&Path>) -> Result<Arc<Engine>, Failure> {
    let (project, warnings) = load(&folder(given)?)?;
    failure::print(&warnings);
    open_engine(project, EngineOptions::default()).await
}

/// The same; a source that cannot be described is an error.
pub async fn open_whole(given: Option<&Path>) -> Result<Arc<Engine>, Failure> {
    let (project, _) = load(&folder(given)?)?;
    let options = EngineOptions {
        require_sources: true,
        ..EngineOptions::default()
    };
    open_engine(project, options).await
}

/// Loads and opens a project for a server, with its audit log, or the one in `file`.
pub async fn open_audited(
    given: Option<&Path>,
    file: Option<PathBuf>,
) -> Result<(Arc<Engine>, Arc<AuditLog>), Failure> {
    let (project, warnings) = load(&folder(given)?)?;
    failure::print(&warnings);
    let mut settings = project.server.audit.clone();
    if let Some(file) = file {
        settings.path = std::path::absolute(file)?;
    }
    let audit = AuditLog::open(&settings, &project.name).map_err(Failure::of)?;
    let options = EngineOptions {
        audit: audit.clone(),
        own_process: true,
        ..EngineOptions::default()
    };
    let engine = open_engine(project, options).await?;
    Ok((engine, audit))
}

async fn open_engine(project: Project, options: EngineOptions) -> Result<Arc<Engine>, Failure> {
    let opened = Engine::open(Arc::new(project), FACTORIES, options).await;
    let (engine, warnings) = opened.map_err(Failure::Findings)?;
    failure::print(&warnings);
    Ok(engine)
}

/// A session of `user` of the project.
pub fn session(engine: &Arc<Engine>, user: &str) -> Result<Session, Failure> {
    let project = &engine.snapshot().project;
    if let Some(user) = project.users.get(user) {
        return Ok(engine.session(user.principal()));
    }
    let mut unknown = Diagnostic::error(Code::SRV001, format!("the project has no user `{user}`"));
    let names = project.users.keys().map(String::as_str);
    unknown.help = Some(match did_you_mean(user, names) {
        Some(name) => format!("did you mean `--as {name}`?"),
        None => format!(
            "its users are {}",
            project.users.keys().cloned().collect::<Vec<_>>().join(", ")
        ),
    });
    Err(Failure::connect(unknown))
}
