//! Random queries by random principals: the governed engine against plain DataFusion over what the principal may see.
//!
//! Owns: the task `fuzz`, its counts and what they must reach. Never: an expectation copied from the output under test.
//!
//! `data` draws the rows, `policy` and `view` say by hand what a principal sees of them, `sources` loads them, `config` chooses how
//! a query is run, `generate`, `grouping` and `expressions` draw it as an `ast`, `reference` answers it without us, `outcome`
//! compares, `world` joins all of it for one query, `shrink` makes a difference readable.

pub(crate) mod ast;
pub(crate) mod config;
pub(crate) mod data;
mod exact;
mod expressions;
mod generate;
mod grouping;
pub(crate) mod outcome;
mod policy;
mod reference;
pub(crate) mod shrink;
mod sources;
mod view;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;

use config::Coverage;
use outcome::Class;
use world::{Compared, World};

/// Queries that run at once.
const TASKS: u64 = 2;

/// The run ends early after so many differences, if nothing else is asked for.
const DIFFERENCES_MAX: u64 = 5;

/// From so many queries on, every feature of the generator must have been met.
const QUERIES_FOR_FEATURES: u64 = 500;

/// Every feature that a long run must have met.
const FEATURES: &[&str] = &[
    "aggregate",
    "anti join",
    "bare limit",
    "correlated scalar",
    "count",
    "cross join",
    "derived table",
    "distinct",
    "exists",
    "full join",
    "group by",
    "having",
    "in subquery",
    "inner join",
    "left join",
    "limit",
    "offset",
    "order by",
    "other source",
    "parameters",
    "prepared",
    "right join",
    "scalar subquery",
    "self join",
    "semi join",
    "set operation",
    "star",
    "two sources",
    "unified",
    "window",
    "with",
];

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many queries.
    pub queries: u64,
    /// What everything is drawn from.
    pub seed: u64,
    /// The number of the first query: with `queries` 1, one alone is seen again.
    pub from: u64,
    /// The run ends after so many differences.
    pub differences: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queries: 20_000,
            seed: 1,
            from: 0,
            differences: DIFFERENCES_MAX,
        }
    }
}

impl Options {
    /// Reads `--queries N`, `--seed S`, `--from N`, `--differences N`.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let place = match word.as_str() {
                "--queries" => &mut options.queries,
                "--seed" => &mut options.seed,
                "--from" => &mut options.from,
                "--differences" => &mut options.differences,
                other => {
                    bail!("`{other}` is not an option of `fuzz`; it takes --queries, --seed, --from, --differences")
                }
            };
            let value = words.next().with_context(|| format!("{word} takes a number"))?;
            *place = value
                .parse()
                .with_context(|| format!("{word} takes a number, not `{value}`"))?;
        }
        Ok(options)
    }
}

/// What a run came to.
pub struct Report {
    /// How many queries were compared.
    pub queries: u64,
    /// What differed, with everything needed to see it again.
    pub differences: Vec<String>,
    fallible: u64,
    with_rows: u64,
    errors: u64,
    refused: u64,
    /// Queries that agreed only with another member of the reference than the one that runs as the engine does.
    other_member: u64,
    features: BTreeMap<&'static str, u64>,
    classes: BTreeMap<Class, u64>,
    coverage: Coverage,
    seed: u64,
    time: Duration,
}

impl Report {
    fn new(seed: u64) -> Self {
        Self {
            queries: 0,
            differences: Vec::new(),
            fallible: 0,
            with_rows: 0,
            errors: 0,
            refused: 0,
            other_member: 0,
            features: BTreeMap::new(),
            classes: BTreeMap::new(),
            coverage: Coverage::new(),
            seed,
            time: Duration::ZERO,
        }
    }

    fn add(&mut self, compared: Compared) {
        self.queries += 1;
        self.fallible += u64::from(compared.statement.fallible);
        self.with_rows += u64::from(compared.found.has_rows());
        if let Some(class) = compared.found.class() {
            self.errors += 1;
            self.refused += u64::from(class == Class::Planning);
            *self.classes.entry(class).or_default() += 1;
        }
        self.other_member += u64::from(compared.member.is_some_and(|member| member > 0));
        for feature in compared.statement.features {
            *self.features.entry(feature).or_default() += 1;
        }
        // A statement that neither side plans compares nothing.
        if compared.found.class() != Some(Class::Planning) {
            self.coverage.cover(&compared.config);
        }
        self.differences.extend(compared.difference);
    }

    fn percent(&self, count: u64) -> f64 {
        100.0 * count as f64 / self.queries.max(1) as f64
    }

    /// No difference, and enough compared that this means something.
    pub fn holds(&self) -> Result<()> {
        ensure!(
            self.differences.is_empty(),
            "{} of {} queries differ",
            self.differences.len(),
            self.queries
        );
        let (covered, pairs) = self.coverage.count();
        ensure!(
            covered == pairs,
            "only {covered} of {pairs} pairs of settings are covered"
        );
        let fallible = self.percent(self.fallible);
        ensure!(
            fallible >= 30.0,
            "only {fallible:.1} % of the queries can fail on some row"
        );
        let with_rows = self.percent(self.with_rows);
        ensure!(with_rows >= 40.0, "only {with_rows:.1} % of the queries return rows");
        let refused = self.percent(self.refused);
        ensure!(
            refused <= 2.0,
            "{refused:.1} % of the queries are not planned, and compare nothing"
        );
        let other = self.percent(self.other_member);
        ensure!(
            other <= 5.0,
            "{other:.1} % of the queries agree only with another order of evaluation"
        );
        if self.queries >= QUERIES_FOR_FEATURES {
            let missing: Vec<&str> = FEATURES
                .iter()
                .filter(|feature| !self.features.contains_key(**feature))
                .copied()
                .collect();
            ensure!(missing.is_empty(), "no query had: {}", missing.join(", "));
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features: Vec<String> = self
            .features
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let classes: Vec<String> = self
            .classes
            .iter()
            .map(|(class, count)| format!("{class:?} {count}"))
            .collect();
        let (covered, pairs) = self.coverage.count();
        write!(
            f,
            "features: {}\nerrors: {}\nfuzz: {} queries, {} differences, {:.1} % can fail on some row, {:.1} % return \
             rows, {:.1} % fail, {:.2} % in another order of evaluation, {:.2} % not planned, pairs of settings \
             {covered}/{pairs}, {} s, seed {}",
            features.join(", "),
            classes.join(", "),
            self.queries,
            self.differences.len(),
            self.percent(self.fallible),
            self.percent(self.with_rows),
            self.percent(self.errors),
            self.percent(self.other_member),
            self.percent(self.refused),
            self.time.as_secs(),
            self.seed
        )
    }
}

/// Runs the task.
pub async fn run(words: &[String]) -> Result<()> {
    let options = Options::parse(words)?;
    let report = fuzz(&options).await?;
    say(&report.to_string());
    report.holds()
}

/// Runs the queries; an error is one of the test's own, not a difference.
pub async fn fuzz(options: &Options) -> Result<Report> {
    let start = Instant::now();
    let world = Arc::new(World::open(options.seed, "fuzz").await?);
    let next = Arc::new(AtomicU64::new(options.from));
    let end = options.from.saturating_add(options.queries);
    let report = Arc::new(Mutex::new((Report::new(options.seed), Instant::now())));
    let most = options.differences;
    let tasks = (0..TASKS).map(|_| {
        let (world, next, report) = (Arc::clone(&world), Arc::clone(&next), Arc::clone(&report));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return Ok::<_, anyhow::Error>(());
                }
                let compared = world.compare(number).await.with_context(|| format!("query {number}"))?;
                let mut shared = report.lock();
                if let Some(difference) = &compared.difference {
                    say(difference);
                }
                shared.0.add(compared);
                if shared.0.differences.len() as u64 >= most {
                    next.store(end, Ordering::Relaxed);
                }
                if shared.1.elapsed() > Duration::from_secs(10) {
                    shared.1 = Instant::now();
                    let (queries, differences) = (shared.0.queries, shared.0.differences.len());
                    say(&format!(
                        "{queries} queries, {differences} differences, {} s",
                        start.elapsed().as_secs()
                    ));
                }
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.context("a task broke off")??;
    }
    let report = std::mem::replace(&mut report.lock().0, Report::new(options.seed));
    Ok(Report {
        time: start.elapsed(),
        ..report
    })
}

#[expect(clippy::print_stderr, reason = "a long run shows that it goes on, and what it found")]
fn say(line: &str) {
    eprintln!("{line}");
}
