//! `caliber check`: is the project right?
//!
//! Owns: which findings are shown, and the summary line. Never: a finding of its own.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use caliber_catalog::diagnostic::{Code, Diagnostic, Severity};
use caliber_catalog::project::Project;
use caliber_connectors::FACTORIES;
use caliber_engine::{Engine, EngineOptions};
use clap::Args;

use super::failure::{self, Failure};
use super::project;

/// Check a project: every finding at once, with its place and a fix
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber check
  caliber check --project bank --online")]
pub struct Check {
    /// The project's folder; by default the nearest upward that holds caliber.yaml
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// Every source must be reached; declared keys are unique, references lead to one row
    #[arg(long)]
    online: bool,
    /// Print the JSON Schema of project files, for an editor, and check nothing
    #[arg(long, conflicts_with_all = ["project", "online"])]
    json_schema: bool,
}

impl Check {
    /// Prints every finding; fails if one is an error.
    pub async fn run(self) -> Result<(), Failure> {
        if self.json_schema {
            let schema = caliber_catalog::json_schema(&caliber_engine::connector_kinds(FACTORIES));
            writeln!(std::io::stdout(), "{schema}")?;
            return Ok(());
        }
        let folder = project::folder(self.project.as_deref())?;
        let (name, findings) = match project::load(&folder) {
            Ok((project, mut findings)) => {
                let name = project.name.clone();
                findings.extend(self.beyond_the_files(Arc::new(project)).await);
                (Some(name), findings)
            }
            Err(Failure::Findings(findings)) => (None, findings),
            Err(other) => return Err(other),
        };
        failure::print(&findings);
        let (errors, warnings) = counts(&findings);
        let verdict = if errors > 0 { "failed" } else { "ok" };
        let what = name.map_or_else(|| folder.display().to_string(), |name| format!("project `{name}`"));
        let how = if self.online {
            "checked with its keys at the sources"
        } else {
            "checked"
        };
        writeln!(
            std::io::stdout(),
            "{what}: {how}, {verdict}: {errors} error{}, {warnings} warning{}",
            plural(errors),
            plural(warnings)
        )?;
        if errors > 0 { Err(Failure::Said(1)) } else { Ok(()) }
    }

    /// Every source that can be reached is described, so that names and types are checked against what is there; the
    /// expressions over one that cannot are parsed at least.
    async fn beyond_the_files(&self, project: Arc<Project>) -> Vec<Diagnostic> {
        let syntax = caliber_engine::check_syntax(&project);
        let (opened, mut findings) = match Engine::open(project, FACTORIES, EngineOptions::default()).await {
            Ok((engine, findings)) => (Some(engine), findings),
            Err(findings) => (None, findings),
        };
        for finding in syntax {
            if !findings
                .iter()
                .any(|known| known.code == finding.code && known.place == finding.place)
            {
                findings.push(finding);
            }
        }
        if self.online {
            findings.iter_mut().for_each(unreachable_is_an_error);
            if let Some(engine) = opened {
                findings.extend(engine.verify_online().await);
            }
        }
        findings
    }
}

/// A server goes on without a source that is down, and so does a plain check; one that was to verify keys there did not.
fn unreachable_is_an_error(finding: &mut Diagnostic) {
    if finding.code == Code::PRJ014 {
        finding.severity = Severity::Error;
    }
}

fn counts(findings: &[Diagnostic]) -> (usize, usize) {
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    (errors, findings.len() - errors)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
