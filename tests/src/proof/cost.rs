//! What governance costs: instructions of the governed engine over those of the same SQL with filter and masks written by
//! hand, ungoverned.
//!
//! Owns: the task `cost`, its gate and its table. Never: the audit's disk (there is none here), or a time: only counts.
//!
//! Ungoverned is DataFusion's own session over the same connector, with the same predicates pushed. A second column tells
//! what DataFusion's own Parquet reader takes. Instructions are counted by valgrind over a child process that runs a
//! query N times: the difference of two counts leaves the start of the process out.

mod bank;
mod count;
mod queries;
mod ungoverned;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;

use crate::rows;
use bank::{Bank, KINDS};
use queries::{QUERIES, Query};
use ungoverned::Ungoverned;

/// Governed over by hand, at most, as the median of the queries.
const RATIO_MAX: f64 = 1.10;
const ROWS: u64 = 100_000;

/// Who runs a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The engine, as a principal.
    Governed,
    /// DataFusion over the same connector, filter and masks in the SQL.
    ByHand,
    /// The same over DataFusion's own Parquet reader.
    Native,
}

impl Side {
    const ALL: [Self; 3] = [Self::Governed, Self::ByHand, Self::Native];

    fn word(self) -> &'static str {
        match self {
            Self::Governed => "governed",
            Self::ByHand => "by-hand",
            Self::Native => "native",
        }
    }

    fn applies(self, kind: &str) -> bool {
        self != Self::Native || kind == "files"
    }
}

/// Runs the task, or one counted child of it.
pub async fn run(words: &[String]) -> Result<()> {
    if words.first().is_some_and(|word| word == "--child") {
        return child(words.get(1..).unwrap_or_default()).await;
    }
    let (mut rows, mut seed, mut only, mut planning) = (ROWS, 1, None, false);
    let mut left = words.iter();
    while let Some(word) = left.next() {
        if word == "--planning" {
            planning = true;
            continue;
        }
        let value = left.next().with_context(|| format!("{word} takes a value"))?;
        match word.as_str() {
            "--rows" => rows = value.parse().context("--rows takes a number")?,
            "--seed" => seed = value.parse().context("--seed takes a number")?,
            "--query" => only = Some(value.clone()),
            _ => bail!("`cost` takes --rows N (default {ROWS}), --seed S, --query NAME, --planning"),
        }
    }
    let chosen: Vec<&Query> = QUERIES
        .iter()
        .filter(|query| only.as_ref().is_none_or(|only| query.name == only))
        .collect();
    ensure!(!chosen.is_empty(), "no query has this name");
    let (full, empty) = (Bank::make(rows, seed)?, Bank::make(0, seed)?);
    for query in &chosen {
        agree(&full, query).await?;
    }
    say(&format!(
        "{rows} rows, seed {seed}; millions of instructions for one run, planning in brackets where it was asked for (--planning)\n\n\
         | query | source | governed | by hand | ratio | DataFusion's own reader |\n|---|---|--:|--:|--:|--:|"
    ));
    let mut ratios = Vec::new();
    for query in &chosen {
        for kind in KINDS {
            let measured = measure(&full, planning.then_some(&empty), query, kind)?;
            let ratio = measured.ratio()?;
            ratios.push(ratio);
            say(&measured.line(query, kind, ratio));
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = median(&ratios);
    say(&format!(
        "\n{} measurements, governed over by hand: median {median:.3}, lowest {:.3}, highest {:.3}; at most {RATIO_MAX}",
        ratios.len(),
        ratios.first().copied().unwrap_or(f64::NAN),
        ratios.last().copied().unwrap_or(f64::NAN),
    ));
    ensure!(
        median <= RATIO_MAX,
        "governance costs more than it may: {median:.3}, at most {RATIO_MAX}"
    );
    Ok(())
}

fn median(sorted: &[f64]) -> f64 {
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

/// A query's counts by side: with rows, and over the same tables without any, which is what planning takes.
struct Measured(Vec<(Side, u64, Option<u64>)>);

impl Measured {
    fn of(&self, side: Side) -> Option<(u64, Option<u64>)> {
        let found = self.0.iter().find(|(of, _, _)| *of == side)?;
        Some((found.1, found.2))
    }

    fn ratio(&self) -> Result<f64> {
        let (governed, by_hand) = self
            .of(Side::Governed)
            .zip(self.of(Side::ByHand))
            .context("a side was not measured")?;
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts, to three digits")]
        Ok(governed.0 as f64 / by_hand.0 as f64)
    }

    fn line(&self, query: &Query, kind: &str, ratio: f64) -> String {
        let told = |side| {
            self.of(side).map_or_else(String::new, |(all, planning)| {
                let planning = planning.map_or_else(String::new, |planning| format!(" ({})", planning / 1_000_000));
                format!("{}{planning}", all / 1_000_000)
            })
        };
        let [governed, by_hand, native] = Side::ALL.map(told);
        format!(
            "| {} | {kind} | {governed} | {by_hand} | {ratio:.3} | {native} |",
            query.name
        )
    }
}

fn measure(full: &Bank, empty: Option<&Bank>, query: &Query, kind: &str) -> Result<Measured> {
    let mut all = Vec::new();
    for side in Side::ALL.into_iter().filter(|side| side.applies(kind)) {
        let of = |bank: &Bank, times| count::instructions(&bank.folder(kind), kind, side.word(), query.name, times);
        let planning = empty.map(|empty| of(empty, 3)).transpose()?;
        all.push((side, of(full, 3)?, planning));
    }
    Ok(Measured(all))
}

/// All sides give the same rows; otherwise a comparison of their cost says nothing.
async fn agree(bank: &Bank, query: &Query) -> Result<()> {
    for kind in KINDS {
        let mut found: Vec<(Side, Vec<Vec<String>>)> = Vec::new();
        for side in Side::ALL.into_iter().filter(|side| side.applies(kind)) {
            let batches = Runner::open(&bank.folder(kind), side).await?.once(query).await?;
            found.push((side, rows::sorted(rows::texts(&batches)?)));
        }
        let Some((first, others)) = found.split_first() else {
            bail!("no side");
        };
        ensure!(!first.1.is_empty(), "{} over {kind} has no rows", query.name);
        for other in others {
            ensure!(
                first.1 == other.1,
                "{} over {kind}: {:?} and {:?} differ: {} and {} rows, {:?} and {:?}",
                query.name,
                first.0,
                other.0,
                first.1.len(),
                other.1.len(),
                first.1.first(),
                other.1.first()
            );
        }
    }
    Ok(())
}

/// One side, open.
enum Runner {
    Governed(std::sync::Arc<caliber_engine::Engine>),
    Ungoverned(Ungoverned),
}

impl Runner {
    async fn open(folder: &Path, side: Side) -> Result<Self> {
        Ok(match side {
            Side::Governed => Self::Governed(bank::engine(folder).await?),
            Side::ByHand => Self::Ungoverned(Ungoverned::over_connector(folder).await?),
            Side::Native => Self::Ungoverned(Ungoverned::over_files(folder).await?),
        })
    }

    async fn once(&self, query: &Query) -> Result<Vec<arrow::array::RecordBatch>> {
        match self {
            Self::Governed(engine) => {
                let session = engine.session(bank::principal(query.role));
                let stream = session.execute(query.governed, None).await?;
                Ok(stream.try_collect().await?)
            }
            Self::Ungoverned(session) => session.run(query.by_hand).await,
        }
    }
}

/// `FOLDER SIDE QUERY TIMES`: what is counted.
async fn child(words: &[String]) -> Result<()> {
    let [folder, side, query, times] = words else {
        bail!("a child takes a folder, a side, a query and a number");
    };
    let side = Side::ALL.into_iter().find(|known| known.word() == side);
    let query = QUERIES.iter().find(|known| known.name == query).context("no query")?;
    let runner = Runner::open(Path::new(folder), side.context("no side")?).await?;
    for _ in 0..times.parse::<u32>()? {
        runner.once(query).await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a proof is what it prints")]
fn say(line: &str) {
    println!("{line}");
}
