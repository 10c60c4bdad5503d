//! Random queries over hostile rows: what sources evaluate beside what the engine does with nothing pushed (INV-5).
//!
//! Owns: the task `differential`, its counts and what they must reach. Never: an expectation copied from the output
//! under test.
//!
//! `data` draws the rows, `constant` spells values, `generate`, `grouping` and `expressions` draw a query as the fuzzer's `ast`,
//! `world` runs it both ways and compares, `pushed` sees what was sent.

mod constant;
mod data;
mod expressions;
mod generate;
mod grouping;
mod pushed;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;

use self::pushed::is_more_than_a_read;
use self::world::{Compared, World};
use super::fuzz::outcome::Class;
use super::options::Words;

/// Queries that run at once.
const TASKS: u64 = 3;
/// The run ends early after so many differences.
const DIFFERENCES_MAX: u64 = 5;
/// From so many queries on, every feature of the generator and every kind of work must have been met.
const QUERIES_FOR_FEATURES: u64 = 1_000;

/// Every feature that a run must have met.
const FEATURES: &[&str] = &[
    "aggregate",
    "anti join",
    "avg",
    "bare limit",
    "between",
    "case",
    "cast",
    "char_length",
    "count distinct",
    "date_part",
    "date_trunc",
    "decimal arithmetic",
    "derived table",
    "distinct",
    "exists",
    "failing",
    "filter",
    "full join",
    "group by",
    "having",
    "in list",
    "in subquery",
    "inner join",
    "integer arithmetic",
    "intersect or except",
    "key bytes",
    "key date",
    "key decimal",
    "key number",
    "key text",
    "key timestamp",
    "left join",
    "like",
    "limit",
    "limit inside",
    "min or max",
    "not exists",
    "not in",
    "order with ties",
    "parameters",
    "right join",
    "scalar subquery",
    "semi join",
    "substring",
    "sum",
    "total order",
    "two sources",
    "union",
    "union all",
];

/// Every kind of work that sources must have done, and the least share of queries in which they do.
const WORK: &[(&str, f64)] = &[
    ("joins", 10.0),
    ("aggregates", 10.0),
    ("orders", 3.0),
    ("limits", 3.0),
    ("unions", 0.1),
    ("keys", 3.0),
    ("subqueries", 0.1),
    ("conditions", 30.0),
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
            queries: 50_000,
            seed: 1,
            from: 0,
            differences: DIFFERENCES_MAX,
        }
    }
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let words = Words::read(words, &["queries", "seed", "from", "differences"])?;
        let usual = Self::default();
        Ok(Self {
            queries: words.number("queries", usual.queries)?,
            seed: words.number("seed", usual.seed)?,
            from: words.number("from", usual.from)?,
            differences: words.number("differences", usual.differences)?,
        })
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// How many queries were compared.
    pub queries: u64,
    /// What differed, with everything needed to see it again.
    pub differences: Vec<String>,
    /// Executions: a statement with parameters is run with several values.
    runs: u64,
    /// Queries of which a source did more than to filter a table.
    pushed: u64,
    with_rows: u64,
    failed: u64,
    /// Queries that are not planned, and compare nothing.
    unplanned: u64,
    /// Queries that break off inside DataFusion both ways.
    broken: u64,
    work: BTreeMap<&'static str, u64>,
    features: BTreeMap<&'static str, u64>,
    seed: u64,
    time: Duration,
}

impl Report {
    fn add(&mut self, compared: Compared) {
        self.queries += 1;
        self.runs += compared.runs as u64;
        self.with_rows += u64::from(compared.has_rows);
        self.failed += u64::from(!compared.failed.is_empty());
        self.unplanned += u64::from(compared.failed.contains(&Class::Planning));
        self.broken += u64::from(compared.failed.contains(&Class::Defect));
        self.pushed += u64::from(is_more_than_a_read(&compared.work));
        for kind in compared.work {
            *self.work.entry(kind).or_default() += 1;
        }
        for feature in compared.statement.features {
            *self.features.entry(feature).or_default() += 1;
        }
        self.differences.extend(compared.difference);
    }

    fn percent(&self, count: u64) -> f64 {
        100.0 * count as f64 / self.queries.max(1) as f64
    }

    /// No difference, and enough pushed and compared that this means something.
    pub fn holds(&self) -> Result<()> {
        ensure!(
            self.differences.is_empty(),
            "{} of {} queries differ",
            self.differences.len(),
            self.queries
        );
        let pushed = self.percent(self.pushed);
        ensure!(
            pushed >= 60.0,
            "only {pushed:.1} % of the queries push more than the read of a table"
        );
        let with_rows = self.percent(self.with_rows);
        ensure!(with_rows >= 50.0, "only {with_rows:.1} % of the queries return rows");
        let unplanned = self.percent(self.unplanned);
        ensure!(
            unplanned <= 3.0,
            "{unplanned:.1} % of the queries are not planned, and compare nothing"
        );
        let broken = self.percent(self.broken);
        ensure!(broken <= 0.2, "{broken:.2} % of the queries break off both ways");
        if self.queries >= QUERIES_FOR_FEATURES {
            let missing: Vec<&str> = FEATURES
                .iter()
                .filter(|feature| !self.features.contains_key(**feature))
                .copied()
                .collect();
            ensure!(missing.is_empty(), "no query had: {}", missing.join(", "));
            for (kind, least) in WORK {
                let share = self.percent(self.work.get(kind).copied().unwrap_or_default());
                ensure!(
                    share >= *least,
                    "only {share:.1} % of the queries pushed {kind}, not {least} %"
                );
            }
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
        let work: Vec<String> = self
            .work
            .iter()
            .map(|(kind, count)| format!("{kind} {:.1} %", self.percent(*count)))
            .collect();
        write!(
            f,
            "features: {}\ndifferential: {} queries, {} runs, {} differences, {:.1} % push more than a read ({}), \
             {:.1} % return rows, {:.1} % fail, {:.2} % not planned, {:.2} % break off, {} s, seed {}",
            features.join(", "),
            self.queries,
            self.runs,
            self.differences.len(),
            self.percent(self.pushed),
            work.join(", "),
            self.percent(self.with_rows),
            self.percent(self.failed),
            self.percent(self.unplanned),
            self.percent(self.broken),
            self.time.as_secs(),
            self.seed
        )
    }
}

/// Runs the task.
pub async fn run(words: &[String]) -> Result<()> {
    if let [seed, number, sql, statement] = words
        && (seed.as_str(), sql.as_str()) == ("--seed", "--sql")
    {
        let world = World::open(number.parse()?, "differential").await?;
        say(&world.show(statement).await?);
        return Ok(());
    }
    let options = Options::parse(words)?;
    differential(&options, "differential").await?.holds()
}

/// Runs the queries over sources in databases of that name; an error is one of the test's own, not a difference.
pub async fn differential(options: &Options, name: &str) -> Result<Report> {
    let start = Instant::now();
    let world = Arc::new(World::open(options.seed, name).await?);
    let next = Arc::new(AtomicU64::new(options.from));
    let end = options.from.saturating_add(options.queries);
    let report = Arc::new(Mutex::new((Report::default(), Instant::now())));
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
    let report = Report {
        seed: options.seed,
        time: start.elapsed(),
        ..std::mem::take(&mut report.lock().0)
    };
    say(&report.to_string());
    Ok(report)
}

#[expect(clippy::print_stderr, reason = "a long run shows that it goes on, and what it found")]
fn say(line: &str) {
    eprintln!("{line}");
}
