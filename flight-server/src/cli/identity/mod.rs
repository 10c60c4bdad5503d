//! `caliber identity`: which records are one customer, and what stewards say of it.
//!
//! Owns: the arguments, what is printed, that two of these commands do not write one crosswalk at once. Never: links a
//! record (`engine/identity`); prints a value of one: who has one looks at it where it is.

mod gather;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use caliber_catalog::identity::Identity as Declared;
use caliber_identity::{Crosswalk, Explanation, Linker, RecordKey, Report};
use chrono::{NaiveDate, Utc};
use clap::{Args, Subcommand};

use self::gather::{cannot, failure};
use super::failure::{self as failures, Failure};
use super::project;
use super::rows::counted;

/// Find which records of several departments are one customer, and keep what stewards say
#[derive(Args, Debug)]
#[command(after_help = "\
Records are written as source.table:key.

Examples:
  caliber identity build --project bank
  caliber identity explain core.client:C-000123 card.holder:77 --project bank")]
pub struct Identity {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Read the records as the identity's role, link them, and write the crosswalk
    Build(Of),
    /// Say why two records are one customer, or not
    Explain {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        of: Of,
    },
    /// Say that two records are one customer: at once, and in every later build
    Merge {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        of: Of,
    },
    /// Say that two records are two customers: at once, and in every later build
    Split {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        of: Of,
    },
    /// The pairs that wait for a steward, as CSV, the likeliest first
    Review(Of),
    /// The records with their customers' ids, as CSV
    Export(Of),
}

#[derive(Args, Debug)]
struct Pair {
    /// A record: source.table:key
    left: String,
    /// Another
    right: String,
}

#[derive(Args, Debug)]
struct Of {
    /// The project's folder; by default the nearest upward that holds caliber.yaml
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// The entity; needed where several have an identity
    #[arg(long, value_name = "NAME")]
    entity: Option<String>,
}

impl Identity {
    /// Does what is asked for.
    pub async fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Build(of) => build(&of).await,
            What::Explain { pair, of } => explain(&of, &pair).await,
            What::Merge { pair, of } => say(&of, &pair, true),
            What::Split { pair, of } => say(&of, &pair, false),
            What::Review(of) => {
                let crosswalk = existing(&of.declared()?.file)?;
                Ok(crosswalk.write_reviews(std::io::stdout())?)
            }
            What::Export(of) => {
                let crosswalk = existing(&of.declared()?.file)?;
                Ok(crosswalk.write_members(std::io::stdout())?)
            }
        }
    }
}

impl Of {
    /// The entity's identity.
    fn declared(&self) -> Result<Declared, Failure> {
        let (project, warnings) = project::load(&project::folder(self.project.as_deref())?)?;
        failures::print(&warnings);
        let declared = project
            .entities
            .values()
            .filter_map(|entity| Some((&entity.name, entity.identity.as_ref()?)));
        let all: Vec<_> = declared
            .filter(|(name, _)| self.entity.as_ref().is_none_or(|wanted| wanted == *name))
            .collect();
        match all.as_slice() {
            [(_, one)] => Ok((*one).clone()),
            [] => Err(Failure::Usage(
                "no such entity of the project has an `identity`".to_owned(),
            )),
            several => {
                let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
                Err(Failure::Usage(format!(
                    "say which with `--entity`: {} have an identity",
                    names.join(", ")
                )))
            }
        }
    }
}

impl Pair {
    fn keys(&self) -> Result<(RecordKey, RecordKey), Failure> {
        let key = |text: &str| {
            let parts = text
                .split_once(':')
                .filter(|(source, key)| source.contains('.') && !key.is_empty());
            parts
                .map(|(source, key)| RecordKey::new(source, key))
                .ok_or_else(|| Failure::Usage(format!("write a record as source.table:key, not `{text}`")))
        };
        Ok((key(&self.left)?, key(&self.right)?))
    }
}

async fn build(of: &Of) -> Result<(), Failure> {
    let declared = of.declared()?;
    let start = Instant::now();
    let _held = hold(&declared.file)?;
    let last = Crosswalk::load(&declared.file).map_err(failure)?.unwrap_or_default();
    let config = gather::config(&declared);
    let engine = project::open_whole(of.project.as_deref()).await?;
    let records = gather::records(&engine, &declared, &config).await?;
    let linker = Linker::new(&config, records).map_err(failure)?;
    let outcome = linker.build(&linker.learn(), &last, None, today()).map_err(failure)?;
    outcome.crosswalk.save(&declared.file).map_err(failure)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", summary(&outcome.report))?;
    for (field, unreadable) in declared
        .fields
        .iter()
        .zip(&outcome.report.unreadable)
        .filter(|(_, count)| **count > 0)
    {
        writeln!(
            out,
            "{} of `{}` could not be normalised and count as missing",
            counted(*unreadable, "value"),
            field.name
        )?;
    }
    writeln!(
        out,
        "{}, {:.1} s",
        declared.file.display(),
        start.elapsed().as_secs_f64()
    )?;
    Ok(())
}

fn summary(report: &Report) -> String {
    let mut text = format!(
        "{} are {}; {} compared, {} for review",
        counted(report.records as u64, "record"),
        counted(report.customers as u64, "customer"),
        counted(report.compared, "pair"),
        counted(report.reviews as u64, "pair"),
    );
    if report.left_out.0 > 0 {
        let (blocks, pairs) = report.left_out;
        text.push_str(&format!(
            "\n{} left out, too large: {pairs} pairs; block by more",
            counted(blocks, "block")
        ));
    }
    if report.shared > 0 {
        let values = counted(report.shared, "value");
        text.push_str(&format!(
            "\n{values} of exact rules shared by too many records to be a key"
        ));
    }
    text
}

async fn explain(of: &Of, pair: &Pair) -> Result<(), Failure> {
    let declared = of.declared()?;
    let (left, right) = pair.keys()?;
    let config = gather::config(&declared);
    let engine = project::open_whole(of.project.as_deref()).await?;
    let records = gather::records(&engine, &declared, &config).await?;
    let find = |wanted: &RecordKey| {
        let source = config.sources.iter().position(|source| source.name == wanted.source);
        let mut all = 0..records.len() as u32;
        let found = source.and_then(|source| {
            all.find(|record| records.source(*record) == source && records.key(*record) == wanted.key)
        });
        found.ok_or_else(|| {
            cannot(
                format!("no record `{}:{}`", wanted.source, wanted.key),
                "records are written as source.table:key",
            )
        })
    };
    let (one, other) = (find(&left)?, find(&right)?);
    let linker = Linker::new(&config, records).map_err(failure)?;
    let explanation = linker.explain(&linker.learn(), one, other);
    let mut out = std::io::stdout();
    print(&mut out, &explanation, &declared)?;
    if let Some(crosswalk) = Crosswalk::load(&declared.file).map_err(failure)? {
        let verdict = crosswalk.verdicts.iter().find(|verdict| {
            let places = (&verdict.left, &verdict.right);
            places == (&left, &right) || places == (&right, &left)
        });
        if let Some(verdict) = verdict {
            let word = if verdict.same { "one customer" } else { "two customers" };
            writeln!(out, "a steward said on {}: {word}", verdict.date)?;
        }
        let ids = (crosswalk.id(&left), crosswalk.id(&right));
        let text = match ids {
            (Some(one), Some(other)) if one == other => format!("one customer in the crosswalk: {one}"),
            (Some(one), Some(other)) => format!("two customers in the crosswalk: {one} and {other}"),
            _ => "not both in the crosswalk: build it again".to_owned(),
        };
        writeln!(out, "{text}")?;
    }
    Ok(())
}

fn print(out: &mut impl Write, explanation: &Explanation, declared: &Declared) -> std::io::Result<()> {
    for rule in &explanation.exact {
        writeln!(out, "exact rule `{rule}` holds")?;
    }
    writeln!(
        out,
        "{:<20} {:<22} {:>9} {:>11} {:>8}",
        "field", "agreement", "matches", "strangers", "bits"
    )?;
    writeln!(
        out,
        "{:<20} {:<22} {:>9} {:>11} {:>8.2}",
        "(before any)", "", "", "", explanation.prior_bits
    )?;
    for part in &explanation.evidence {
        let (field, level) = (&part.field, part.level);
        if part.m == 0.0 {
            writeln!(out, "{field:<20} {level:<22} {:>9} {:>11} {:>8.2}", "", "", part.bits)?;
        } else {
            writeln!(
                out,
                "{field:<20} {level:<22} {:>9.4} {:>11.6} {:>8.2}",
                part.m, part.u, part.bits
            )?;
        }
    }
    let keys = explanation.blocking.len();
    let verdict = match explanation.probability * 100.0 {
        _ if explanation.same_unique_source => "of one table that has each customer once: no match",
        percent if percent >= f64::from(declared.match_percent) => "a match by score",
        percent if percent >= f64::from(declared.review_percent) => "for review by score",
        _ => "no match by score",
    };
    let compared = if keys == 0 {
        "never compared: they share no blocking key".to_owned()
    } else {
        format!("compared by {keys} of {} blocking keys", declared.blocking.len())
    };
    writeln!(out, "probability {:.4}: {verdict}; {compared}", explanation.probability)
}

fn say(of: &Of, pair: &Pair, same: bool) -> Result<(), Failure> {
    let declared = of.declared()?;
    let (left, right) = pair.keys()?;
    let _held = hold(&declared.file)?;
    let mut crosswalk = existing(&declared.file)?;
    let said = if same {
        crosswalk.merge(&left, &right, today())
    } else {
        crosswalk.split(&left, &right, today())
    };
    said.map_err(failure)?;
    crosswalk.save(&declared.file).map_err(failure)?;
    let ids = (
        crosswalk.id(&left).unwrap_or_default(),
        crosswalk.id(&right).unwrap_or_default(),
    );
    let text = if ids.0 == ids.1 {
        format!("one customer: {}", ids.0)
    } else {
        format!("two customers: {} and {}", ids.0, ids.1)
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

fn existing(file: &Path) -> Result<Crosswalk, Failure> {
    let found = Crosswalk::load(file).map_err(failure)?;
    found.ok_or_else(|| {
        cannot(
            format!("there is no crosswalk `{}` yet", file.display()),
            "make it with `caliber identity build`",
        )
    })
}

/// Keeps another command from writing the crosswalk; until the file is dropped.
fn hold(file: &Path) -> Result<File, Failure> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let lock = File::create(file.with_extension("lock"))?;
    lock.try_lock().map_err(|_| {
        cannot(
            "another command is writing the crosswalk".to_owned(),
            "try again when it has ended",
        )
    })?;
    Ok(lock)
}

fn today() -> NaiveDate {
    Utc::now().date_naive()
}
