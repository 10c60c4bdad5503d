//! `caliber policy simulate`: what a changed project would newly open, and to whom, before it is applied.
//!
//! Owns: the arguments, the order of work, when the answer is "something opens". Never: applies a change; what differs
//! is the engine's to say.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caliber_catalog::ProcessEnvironment;
use caliber_catalog::name::TableName;
use caliber_catalog::project::Project;
use caliber_connectors::FACTORIES;
use caliber_engine::policy_tools::{
    ComparedUsers, Comparison, RowCounts, TableChange, changed_sources, compare, compared_users, count_rows,
};
use caliber_engine::{Engine, EngineOptions, Session, connector_kinds};
use clap::Args;

use super::super::failure::{self, Failure, note};
use super::super::project;
use super::super::rows::counted;
use super::report;
use super::subject::ByHand;
use super::{FOUND, NO_ANSWER};

/// A count that takes longer says how far it is, this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// Say what a changed project would newly open, and to whom, before it is applied
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber policy simulate --project bank --change bank-changed
  caliber policy simulate --project bank --change access.yaml --as petr --no-rows")]
pub struct Simulate {
    /// The project's folder; by default the nearest upward that holds caliber.yaml
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// The changed project's folder; or one changed file, which stands in for the project's file of that name
    #[arg(long, value_name = "DIR|FILE")]
    change: PathBuf,
    /// Only for these users; by default for every user of either project
    #[arg(long = "as", value_name = "USER")]
    users: Vec<String>,
    #[command(flatten)]
    by_hand: ByHand,
    /// Do not count: no source is read, and what may open counts as opened
    #[arg(long)]
    no_rows: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What the change makes of one kind of user.
pub struct Change {
    /// Who.
    pub users: ComparedUsers,
    /// What differs.
    pub comparison: Comparison,
    /// By table, what was counted; a table without an entry was not.
    pub counts: BTreeMap<TableName, RowCounts>,
    before: Option<Session>,
    after: Option<Session>,
}

impl Change {
    /// Whether the change opens something to these users.
    pub fn opens(&self) -> bool {
        self.comparison.becomes_admin || self.comparison.tables.iter().any(|table| self.table_opens(table))
    }

    /// Whether something of the table opens. What was not counted counts as opened.
    pub fn table_opens(&self, table: &TableChange) -> bool {
        let rows = match self.counts.get(&table.table) {
            Some(counts) => {
                let cells = counts.cells.iter().map(|cells| cells.opened + cells.masked_otherwise);
                counts.opened + cells.sum::<u64>() > 0
            }
            None => table.rows_may_differ && table.exists,
        };
        table.opens() || rows
    }
}

impl Simulate {
    /// Prints what opens and what closes; exit code 1 if something opens.
    pub async fn run(self) -> Result<(), Failure> {
        let folder = project::folder(self.project.as_deref())?;
        let (before, warnings) = project::load(&folder)?;
        failure::print(&warnings);
        let after = self.changed(&folder)?;
        let changed = changed_sources(&before, &after);
        if !changed.is_empty() {
            return Err(Failure::Usage(format!(
                "the change defines other sources, not only other policies: {}; simulate compares two projects over the same sources",
                changed.join(", ")
            )));
        }
        let users = self.compared(&before, &after)?;
        // A source that is down would hide what opens there.
        let options = EngineOptions {
            require_sources: true,
            ..EngineOptions::default()
        };
        let opened = Engine::open(Arc::new(before), FACTORIES, options).await;
        let (before, warnings) = opened.map_err(Failure::Findings)?;
        failure::print(&warnings);
        let (after, _) = before.with_project(Arc::new(after)).map_err(Failure::Findings)?;
        let mut changes = Vec::with_capacity(users.len());
        for users in users {
            let old = users.before.clone().map(|principal| before.session(principal));
            let new = users.after.clone().map(|principal| after.session(principal));
            changes.push(Change {
                comparison: compare(old.as_ref(), new.as_ref())?,
                users,
                counts: BTreeMap::new(),
                before: old,
                after: new,
            });
        }
        if !self.no_rows {
            count(&mut changes).await?;
        }
        let text = if self.json {
            let json = serde_json::to_string_pretty(&report::json(&changes)).map_err(std::io::Error::other)?;
            format!("{json}\n")
        } else {
            report::text(&changes)
        };
        std::io::stdout().write_all(text.as_bytes())?;
        if changes.iter().any(Change::opens) {
            Err(Failure::Said(FOUND))
        } else {
            Ok(())
        }
    }

    /// The project as changed.
    fn changed(&self, folder: &Path) -> Result<Project, Failure> {
        if self.change.is_dir() {
            let loaded = project::load(&self.change);
            let (project, warnings) = loaded.map_err(|failure| of_the_change(&self.change, failure))?;
            failure::print(&warnings);
            return Ok(project);
        }
        let kinds = connector_kinds(FACTORIES);
        let loaded = caliber_catalog::load_changed(folder, &self.change, &ProcessEnvironment, &kinds);
        let (project, _, changed) =
            loaded.map_err(|findings| of_the_change(&self.change, Failure::Findings(findings)))?;
        if let Some(changed) = changed {
            let what = if changed.replaces {
                format!("stands in for `{}`", changed.name)
            } else {
                "is added to the project".to_owned()
            };
            note!("`{}` {what}", self.change.display());
        }
        Ok(project)
    }

    fn compared(&self, before: &Project, after: &Project) -> Result<Vec<ComparedUsers>, Failure> {
        for name in &self.users {
            if !before.users.contains_key(name) && !after.users.contains_key(name) {
                return Err(Failure::Usage(format!("neither project has a user `{name}`")));
            }
        }
        let given = self.by_hand.principal()?;
        let mut all = match (&given, self.users.as_slice()) {
            (Some(_), []) => Vec::new(),
            (_, names) => compared_users(before, after, names),
        };
        if let Some(principal) = given {
            all.push(ComparedUsers {
                names: vec![principal.name.clone()],
                before: Some(principal.clone()),
                after: Some(principal),
            });
        }
        if all.is_empty() {
            let message = "neither project has a user; say for whom with `--role` and `--attribute`";
            return Err(Failure::Usage(message.to_owned()));
        }
        Ok(all)
    }
}

/// A finding in the change must not be taken for one in the project as it is.
fn of_the_change(change: &Path, failure: Failure) -> Failure {
    match failure {
        Failure::Findings(findings) => {
            note!("the change `{}` is no sound project:", change.display());
            failure::print(&findings);
            Failure::Said(NO_ANSWER)
        }
        other => other,
    }
}

/// Counts each table that may differ for somebody, reading it once for all.
async fn count(changes: &mut [Change]) -> Result<(), Failure> {
    let mut tables: BTreeMap<TableName, Vec<usize>> = BTreeMap::new();
    for (at, change) in changes.iter().enumerate() {
        for table in change.comparison.tables.iter().filter(|table| table.rows_may_differ) {
            tables.entry(table.table.clone()).or_default().push(at);
        }
    }
    for (table, places) in tables {
        let pairs: Vec<(Option<Session>, Option<Session>)> = places
            .iter()
            .filter_map(|at| changes.get(*at))
            .map(|change| (change.before.clone(), change.after.clone()))
            .collect();
        let started = Instant::now();
        let task = {
            let (table, started) = (table.clone(), started);
            // On a worker, whose stack is large enough for a condition as deep as one may be.
            tokio::spawn(async move {
                let said = AtomicU64::new(0);
                let progress = |rows: u64| say(&table, rows, started, &said);
                count_rows(&table, &pairs, &progress).await
            })
        };
        let all = task.await.map_err(std::io::Error::other)??;
        let rows = all.first().map_or(0, |counts| counts.rows);
        let took = started.elapsed().as_secs_f64();
        note!("counted {table}: {}, {took:.1} s", counted(rows, "row"));
        for (at, counts) in places.into_iter().zip(all) {
            if let Some(change) = changes.get_mut(at) {
                change.counts.insert(table.clone(), counts);
            }
        }
    }
    Ok(())
}

fn say(table: &TableName, rows: u64, started: Instant, said: &AtomicU64) {
    let due = started.elapsed().as_secs() / PROGRESS_EVERY.as_secs();
    if said.swap(due, Ordering::Relaxed) < due {
        note!("counting {table}: {} so far", counted(rows, "row"));
    }
}
