//! Worlds that differ in invisible rows only give equal bytes in everything observable.
//!
//! Owns: the task `leak`. Never: an expectation copied from the output under test.

mod absent;
mod canaries;
mod data;
mod load;
mod observe;
mod statements;
mod trace;
mod worlds;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use canaries::Search;
use observe::Observation;
use statements::{Form, Statement};
use worlds::{World, Worlds};

use crate::proof::options::Words;

/// Of a hundred statements, those that go over Flight SQL; the rest go to a session without pushdown, in batches of seven.
const OVER_FLIGHT: u32 = 70;
/// Statements by one who sees everything.
const UNGOVERNED: usize = 100;
/// Time between two lines of progress.
const EVERY: Duration = Duration::from_secs(5);

/// How much to prove.
#[derive(Clone, Debug)]
pub struct Options {
    /// Statements, each in every world.
    pub queries: usize,
    /// Of the random statements.
    pub seed: u64,
    /// Statements put to a server whose log is at `trace`.
    pub traced: usize,
    /// Told of progress.
    pub progress: bool,
}

/// What was found equal.
#[derive(Debug, Default)]
pub struct Summary {
    /// Statements by kind.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Statements over Flight SQL.
    pub flight: usize,
    /// Statements that failed, in every world alike.
    pub failed: usize,
    /// Statements that gave rows.
    pub answered: usize,
    /// Rows of the first world.
    pub rows: usize,
    /// Bytes searched for canaries.
    pub searched: usize,
    /// Of `UNGOVERNED` statements by one who sees everything, those that the worlds answer differently.
    pub different: usize,
    /// Answers about hidden names that were equal to those about names that never were.
    pub absent: usize,
    /// Canaries.
    pub canaries: usize,
    /// Bytes of the log at `trace`, searched too.
    pub logged: usize,
}

/// Runs the task: `--queries N --seed S`.
pub async fn run(words: &[String]) -> Result<()> {
    let words = Words::read(words, &["queries", "seed"])?;
    let options = Options {
        queries: words.number("queries", 5_000)?,
        seed: words.number("seed", 1)?,
        traced: 500,
        progress: true,
    };
    let begun = Instant::now();
    let summary = prove(&options).await?;
    crate::proof::say(&format!(
        "leak, seed {}: {} statements in 3 worlds, {} over Flight SQL: 0 differences. {} gave rows ({} rows), {} failed alike; {:?}. \
         To one who sees everything {} of {UNGOVERNED} differ. {} answers about hidden names equal those about names that never were. \
         {} canaries in {} bytes of output and {} bytes of log at trace: 0 hits. {:.0} s",
        options.seed,
        options.queries,
        summary.flight,
        summary.answered,
        summary.rows,
        summary.failed,
        summary.kinds,
        summary.different,
        summary.absent,
        summary.canaries,
        summary.searched,
        summary.logged,
        begun.elapsed().as_secs_f64(),
    ));
    Ok(())
}

/// Puts `options.queries` random statements to every world. The first difference, or canary, is the error.
pub async fn prove(options: &Options) -> Result<Summary> {
    let worlds = Worlds::make(&format!("s{}q{}", options.seed, options.queries)).await?;
    let search = Search::new(worlds.secrets.clone());
    let mut summary = Summary {
        canaries: search.words,
        ..Summary::default()
    };
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut told = Instant::now();
    for number in 0..options.queries {
        let statement = statements::random(&mut random);
        let over_flight = random.random_ratio(OVER_FLIGHT, 100) || matches!(statement.form, Form::Command(_));
        compare(&worlds, &statement, over_flight, &search, &mut summary)
            .await
            .with_context(|| format!("statement {number} of seed {}", options.seed))?;
        if options.progress && told.elapsed() > EVERY {
            told = Instant::now();
            crate::proof::say(&format!("{number} of {} statements, no difference", options.queries));
        }
    }
    ensure!(
        summary.answered * 3 > options.queries,
        "only {} of {} statements gave rows: little was compared",
        summary.answered,
        options.queries
    );
    summary.absent = absent::check(&worlds).await?;
    summary.different = different(&worlds, &mut random).await?;
    ensure!(
        summary.different * 3 > UNGOVERNED,
        "to one who sees everything only {} of {UNGOVERNED} statements differ: the worlds are too much alike",
        summary.different
    );
    summary.logged = trace::search_log(&worlds, &search, options).await?;
    Ok(summary)
}

/// How many of `UNGOVERNED` statements the worlds answer differently to one who sees everything.
async fn different(worlds: &Worlds, random: &mut StdRng) -> Result<usize> {
    let mut different = 0;
    for _ in 0..UNGOVERNED {
        let statement = Statement {
            user: worlds::WHOLE,
            ..statements::random(random)
        };
        let mut seen = Vec::new();
        for world in &worlds.all {
            seen.push(observe(world, &statement, true).await?);
        }
        different += usize::from(seen.windows(2).any(|pair| pair[0].difference(&pair[1]).is_some()));
    }
    Ok(different)
}

async fn compare(
    worlds: &Worlds,
    statement: &Statement,
    over_flight: bool,
    search: &Search,
    summary: &mut Summary,
) -> Result<()> {
    let seen = futures::future::join_all(worlds.all.iter().map(|world| observe(world, statement, over_flight))).await;
    let seen = seen
        .into_iter()
        .collect::<Result<Vec<_>>>()
        .with_context(|| statement.sql.clone())?;
    for (world, observed) in worlds.all.iter().zip(&seen) {
        for (part, bytes) in observed.parts() {
            summary.searched += bytes.len();
            if let Some(found) = search.find(bytes) {
                bail!(
                    "{} in world {}, as {}: {part} shows `{found}`",
                    statement.sql,
                    world.name,
                    statement.user
                );
            }
        }
    }
    let (Some(first), Some(world)) = (seen.first(), worlds.all.first()) else {
        bail!("there is no world");
    };
    for (other, observed) in worlds.all.iter().zip(&seen).skip(1) {
        if let Some(difference) = first.difference(observed) {
            let way = if over_flight {
                "over Flight SQL"
            } else {
                "in a session, pushdown off"
            };
            bail!(
                "{} and {} differ {way}, as {}, {:?}:\n{}\n{difference}",
                world.name,
                other.name,
                statement.user,
                statement.form,
                statement.sql
            );
        }
    }
    *summary.kinds.entry(statement.kind).or_default() += 1;
    summary.flight += usize::from(over_flight);
    summary.failed += usize::from(first.failed);
    summary.answered += usize::from(first.rows > 0);
    summary.rows += first.rows;
    Ok(())
}

async fn observe(world: &World, statement: &Statement, over_flight: bool) -> Result<Observation> {
    let parameters = match &statement.form {
        Form::Prepared(parameters) => parameters.clone(),
        _ => None,
    };
    if !over_flight {
        let session = world.local.session(world.principal(statement.user)?);
        return observe::session(&session, &statement.sql, parameters, statement.ordered).await;
    }
    let client = world.clients.get(statement.user).context("no such user")?;
    match &statement.form {
        Form::Text => client.statement(&statement.sql, statement.ordered).await,
        Form::Prepared(_) => client.prepared(&statement.sql, parameters, statement.ordered).await,
        Form::Command(command) => client.command(command.clone(), statement.ordered).await,
    }
}
