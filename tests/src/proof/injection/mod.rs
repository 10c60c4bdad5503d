//! Hostile text in every place a value or a name can stand, against live sources.
//!
//! Owns: the task `injection`. Never: an expectation copied from the output under test.

mod names;
mod positions;
mod sources;
mod strings;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::options::Words;
use sources::{MODES, Mode, Servers, check_shapes, shapes};

/// Shapes of statements that the proof's own questions can make, in one mode: each has so many parameters, whatever
/// the strings are.
const SHAPES_MAX: usize = 16;

/// How much to prove.
#[derive(Clone, Debug)]
pub struct Options {
    /// Different strings, each in every position and every mode.
    pub strings: usize,
    /// Of the random strings.
    pub seed: u64,
    /// Of so many chunks one is also asked with pushdown off.
    pub local_every: usize,
    /// Told of progress.
    pub progress: bool,
}

/// What was found equal.
#[derive(Debug, Default)]
pub struct Summary {
    /// Statements run.
    pub statements: usize,
    /// Statements whose strings the source itself compared.
    pub sent: usize,
    /// Names of columns in the sources.
    pub names: usize,
    /// Shapes of the statements sent, in the mode now running.
    pub shapes: BTreeSet<String>,
    /// The most shapes that any mode's server logged.
    pub logged_shapes: usize,
    /// Statements that servers logged.
    pub logged: usize,
}

/// Runs the task: `--strings N --seed S`.
pub async fn run(words: &[String]) -> Result<()> {
    let words = Words::read(words, &["strings", "seed"])?;
    let options = Options {
        strings: words.number("strings", 50_000)?,
        seed: words.number("seed", 1)?,
        local_every: 4,
        progress: true,
    };
    let begun = Instant::now();
    let summary = prove(&options).await?;
    super::say(&format!(
        "injection, seed {}: {} strings in {} modes as literal, parameter, pattern, attribute, list and name: every answer equal to plain Rust \
         and to local evaluation. {} statements, {} evaluated by the source; {} names of columns; servers logged {} statements \
         of at most {} shapes in any mode, no payload in them. {:.0} s",
        options.seed,
        options.strings,
        MODES.len(),
        summary.statements,
        summary.sent,
        summary.names,
        summary.logged,
        summary.logged_shapes,
        begun.elapsed().as_secs_f64(),
    ));
    Ok(())
}

/// Puts every string into every position, in every mode. The first wrong answer is the error.
pub async fn prove(options: &Options) -> Result<Summary> {
    let strings = strings::strings(options.strings, options.seed);
    let servers = Servers::start()?;
    let mut summary = Summary::default();
    for (number, mode) in MODES.into_iter().enumerate() {
        let begun = Instant::now();
        one(&servers, mode, number, &strings, options, &mut summary)
            .await
            .with_context(|| format!("{mode:?}, seed {}", options.seed))?;
        if options.progress {
            super::say(&format!(
                "{mode:?}: {} strings, {:.0} s",
                strings.len(),
                begun.elapsed().as_secs_f64()
            ));
        }
    }
    Ok(summary)
}

async fn one(
    servers: &Servers,
    mode: Mode,
    number: usize,
    strings: &[String],
    options: &Options,
    summary: &mut Summary,
) -> Result<()> {
    let source = servers
        .source(mode, number * 2, strings, &[])
        .await
        .context("loading")?;
    summary.shapes.clear();
    positions::check(&source, strings, options.local_every, summary).await?;
    check_log(servers, &source, summary)?;
    drop(source);
    let tables = names::tables(mode, strings);
    let source = servers
        .source(mode, number * 2 + 1, &strings[..1], &tables)
        .await
        .context("loading names")?;
    names::check(&source, &tables, strings, summary).await
}

/// What was sent, as the connector says and as the server logged it: few shapes, the same whatever the strings, none
/// of which holds a piece of a payload.
fn check_log(servers: &Servers, source: &sources::Source, summary: &mut Summary) -> Result<()> {
    check_shapes(&summary.shapes)?;
    ensure!(
        summary.shapes.len() <= SHAPES_MAX,
        "{} shapes were sent: {:#?}",
        summary.shapes.len(),
        summary.shapes
    );
    let Some(taken) = servers.taken(source) else {
        return Ok(());
    };
    let queries: Vec<String> = taken
        .into_iter()
        .filter(|text| text.starts_with("SELECT") && (text.contains("\"t") || text.contains("`t")))
        .collect();
    ensure!(!queries.is_empty(), "the server logged no statement");
    let logged = shapes(&queries);
    check_shapes(&logged)?;
    ensure!(
        logged.is_subset(&summary.shapes) && logged.len() <= SHAPES_MAX,
        "the server took {} shapes, {} were sent; of its own {:#?}",
        logged.len(),
        summary.shapes.len(),
        logged.difference(&summary.shapes).collect::<Vec<_>>()
    );
    summary.logged += queries.len();
    summary.logged_shapes = summary.logged_shapes.max(logged.len());
    Ok(())
}
