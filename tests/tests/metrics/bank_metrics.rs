//! The bank's project with `later/metrics.yaml` copied into it, unchanged.
//!
//! Owns: the copy, two engines over it (pushed, and nothing pushed), asking both. Never: a figure.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use caliber_catalog::diagnostic::Diagnostic;
use caliber_engine::{Clock, Engine, EngineOptions, Session};
use caliber_tests::engine::{ask, open};
use futures::TryStreamExt;
use tempfile::TempDir;

/// The bank with its metrics.
pub struct Metrics {
    pub pushed: Arc<Engine>,
    pub local: Arc<Engine>,
    _folder: TempDir,
}

/// Rows as text.
pub type Rows = Vec<Vec<String>>;

impl Metrics {
    /// `None` where the bank's data is not beside the checkout.
    pub async fn open() -> Result<Option<Self>> {
        Self::with("").await
    }

    /// The same with a further file of the project.
    pub async fn with(further: &str) -> Result<Option<Self>> {
        let opened = Self::opened(further, EngineOptions::default().clock).await?;
        if let Some((_, warnings)) = &opened {
            ensure!(warnings.is_empty(), "{warnings:?}");
        }
        Ok(opened.map(|(bank, _)| bank))
    }

    /// The bank with all that is declared of its customers, on a day.
    pub async fn whole(day: SystemTime) -> Result<Option<Self>> {
        let Some(bank) = caliber_testkit::bank().await? else {
            return Ok(None);
        };
        let whole = fs::read_to_string(bank.project.join("../later/customer-360.yaml"))?;
        let opened = Self::opened(&whole, Arc::new(move || day)).await?;
        Ok(opened.map(|(bank, _)| bank))
    }

    /// The bank with a further file and a clock, and what the project warns of.
    pub async fn opened(further: &str, clock: Clock) -> Result<Option<(Self, Vec<Diagnostic>)>> {
        let Some(bank) = caliber_testkit::bank().await? else {
            return Ok(None);
        };
        let folder = TempDir::new()?;
        copied(&bank.project, folder.path())?;
        let later = bank.project.join("../later/metrics.yaml");
        fs::copy(&later, folder.path().join("model/metrics.yaml"))?;
        if !further.is_empty() {
            fs::write(folder.path().join("model/further.yaml"), further)?;
        }
        let accounting = bank.accounting_db.to_str().context("a path that is not UTF-8")?;
        let variables = [
            ("SETTLEMENT_URL", bank.settlement_url.clone()),
            ("CREDIT_URL", bank.credit_url.clone()),
            ("ACCOUNTING_DB", accounting.to_owned()),
        ];
        let engine = |pushdown: bool| {
            let options = EngineOptions {
                pushdown,
                clock: Arc::clone(&clock),
                ..EngineOptions::default()
            };
            open(folder.path(), &variables, options)
        };
        let (pushed, warnings) = engine(true).await?;
        let (local, _) = engine(false).await?;
        let bank = Self {
            pushed,
            local,
            _folder: folder,
        };
        Ok(Some((bank, warnings)))
    }

    pub fn session(engine: &Arc<Engine>, user: &str) -> Result<Session> {
        let snapshot = engine.snapshot();
        let user = snapshot.project.users.get(user).context("a user of the bank")?;
        Ok(engine.session(user.principal()))
    }

    /// The answer of both engines, which agree; rows in no order but that of their text.
    pub async fn ask(&self, user: &str, sql: &str) -> Result<Rows> {
        let of = |engine| async move {
            let mut rows = ask(&Self::session(engine, user)?, sql).await?;
            rows.sort();
            anyhow::Ok(rows)
        };
        let (pushed, local) = (of(&self.pushed).await?, of(&self.local).await?);
        ensure!(pushed == local, "{sql}\npushed {pushed:?}\nlocal {local:?}");
        Ok(pushed)
    }

    /// `CODE: message` of a statement that is refused.
    pub async fn refused(&self, user: &str, sql: &str) -> Result<String> {
        match ask(&Self::session(&self.pushed, user)?, sql).await {
            Ok(rows) => anyhow::bail!("{sql} gave {rows:?}"),
            Err(error) => Ok(format!("{}: {}", error.code.as_str(), error.message)),
        }
    }

    /// For each source, its statements and rows.
    pub async fn received(&self, user: &str, sql: &str) -> Result<Vec<(String, u64, u64)>> {
        let mut stream = Self::session(&self.pushed, user)?.execute(sql, None).await?;
        while stream.try_next().await?.is_some() {}
        let sources = stream.receipt().sources.into_iter();
        Ok(sources
            .map(|source| (source.source, source.statements, source.rows))
            .collect())
    }
}

/// The answer is `wanted`, pushed and local. Numbers with a point are equal as far as `wanted` says.
pub async fn check(bank: &Metrics, user: &str, sql: &str, wanted: &[&[&str]]) -> Result<()> {
    let found = bank.ask(user, sql).await?;
    let same = found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(row, wanted)| {
            row.len() == wanted.len() && row.iter().zip(*wanted).all(|(one, other)| alike(one, other))
        });
    ensure!(same, "{user}: {found:?}, wanted {wanted:?}");
    Ok(())
}

/// Whether a value is what was wanted; a floating point number to its last digit written.
pub fn alike(found: &str, wanted: &str) -> bool {
    found == wanted || wanted.len() > 8 && wanted.starts_with("0.") && found.starts_with(wanted)
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copied(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
