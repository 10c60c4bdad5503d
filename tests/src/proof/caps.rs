//! Statements past every bound, against a running server: it lives, answers in time, and others do not notice.
//!
//! Owns: the task `caps`, its rounds and its summary. Never: an expectation copied from the output under test.

mod corpus;
mod server;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::flight::{Client, Refusal};
use corpus::{Case, Wanted};
use server::{Bystander, Caps};

/// The longest one statement may take, planning included.
const SECONDS: u64 = 5;
/// Statements of the heavy round, at once.
const AT_ONCE: usize = 16;
/// How long a heavy statement may be at work before its deadline ends it.
const HEAVY_SECONDS_MAX: u64 = 90;
/// What the server may use beyond its configured bound.
const BEYOND_BYTES: u64 = 256 << 20;

/// What the words after `caps` choose.
struct Options {
    seed: u64,
    seconds: u64,
    heavy: bool,
}

impl Options {
    fn of(words: &[String]) -> Result<Self> {
        let mut options = Self {
            seed: 1,
            seconds: SECONDS,
            heavy: true,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let value = words.next().with_context(|| format!("{word} takes a number"))?;
                value.parse().with_context(|| format!("{word} takes a number"))
            };
            match word.as_str() {
                "--seed" => options.seed = number()?,
                "--seconds" => options.seconds = number()?,
                "--no-heavy" => options.heavy = false,
                _ => bail!("`caps` takes --seed S, --seconds N (for one statement, default {SECONDS}), --no-heavy"),
            }
        }
        Ok(options)
    }
}

/// Runs the task: each statement alone in an order drawn from the seed, then the heavy ones at once.
pub async fn run(words: &[String]) -> Result<()> {
    let options = Options::of(words)?;
    let caps = Caps::start().await?;
    let mut failures = Vec::new();
    say("| statement | outcome | code | ms | peak MiB so far |\n|---|---|---|--:|--:|");

    let bystander = Bystander::start(&caps).await?;
    let client = caps.client("ann").await?;
    let mut cases = corpus::cases();
    cases.shuffle(&mut StdRng::seed_from_u64(options.seed));
    let count = cases.len();
    for case in cases {
        let outcome = one(&client, &case).await?;
        say(&format!("{} {} |", outcome.line(&case), caps.peak_bytes()? >> 20));
        failures.extend(outcome.fault(&case, Duration::from_secs(options.seconds)));
        ensure!(caps.lives(), "the server died of: {}", case.name);
    }
    let alone = bystander.stop().await?;
    let peak_alone = caps.peak_bytes()?;

    let mut lines = vec![
        format!(
            "{count} statements, seed {}, {} not as promised",
            options.seed,
            failures.len()
        ),
        format!("bystander meanwhile: {alone}"),
        caps.told(peak_alone),
    ];
    if options.heavy {
        let bystander = Bystander::start(&caps).await?;
        let heavy = heavy(&caps, &mut failures).await?;
        let noticed = bystander.stop().await?;
        lines.push(format!("{AT_ONCE} heavy statements at once: {heavy}"));
        lines.push(format!("bystander meanwhile: {noticed}"));
        failures.extend(noticed.fault());
        lines.push(caps.told(caps.peak_bytes()?));
    }
    failures.extend(alone.fault());
    let (peak, bound) = (caps.peak_bytes()?, caps.memory_bytes() + BEYOND_BYTES);
    if peak > bound {
        failures.push(format!("peak memory {} MiB, more than {} MiB", peak >> 20, bound >> 20));
    }
    let left = caps.spilled()?;
    if left > 0 {
        failures.push(format!("{left} spill files are left"));
    }
    lines.push("spill files left: ".to_owned() + &left.to_string());
    caps.stop()?;
    say(&format!("\n{}", lines.join("\n")));
    ensure!(failures.is_empty(), "not as promised:\n{}", failures.join("\n"));
    say("caps hold");
    Ok(())
}

/// What became of one statement.
struct Outcome {
    answer: std::result::Result<Vec<Vec<String>>, Refusal>,
    took: Duration,
}

impl Outcome {
    fn line(&self, case: &Case) -> String {
        let (outcome, code) = match &self.answer {
            Ok(rows) => (format!("{} rows", rows.len()), String::new()),
            Err(refusal) => (format!("{:?}", refusal.grpc), refusal.code().to_owned()),
        };
        format!("| {} | {outcome} | {code} | {} |", case.name, self.took.as_millis())
    }

    /// What is not as promised, with the statement that shows it.
    fn fault(&self, case: &Case, within: Duration) -> Option<String> {
        let statement: String = case.sql.chars().take(200).collect();
        let told = |what: String| Some(format!("{}: {what}\n    {statement}", case.name));
        if self.took > within {
            return told(format!("took {:?}", self.took));
        }
        match (&self.answer, &case.wanted) {
            (Ok(rows), Wanted::Answer(cell) | Wanted::Either(cell, _)) => {
                let found = rows.first().and_then(|row| row.first());
                let right = rows.len() == 1 && found.is_some_and(|found| found == cell);
                (!right).then(|| {
                    format!(
                        "{}: answered {found:?} in {} rows, wanted {cell}",
                        case.name,
                        rows.len()
                    )
                })
            }
            (Ok(rows), Wanted::Rows(count)) if rows.len() == *count => None,
            (Err(refusal), Wanted::Refused(codes) | Wanted::Either(_, codes)) => {
                let known = codes.contains(&refusal.code());
                let told_as = matches!(
                    refusal.grpc,
                    tonic::Code::ResourceExhausted | tonic::Code::InvalidArgument | tonic::Code::PermissionDenied
                );
                if known && told_as {
                    None
                } else {
                    told(format!("refused with {:?} {}", refusal.grpc, refusal.message))
                }
            }
            (Ok(rows), _) => told(format!("answered with {} rows", rows.len())),
            (Err(refusal), _) => told(format!("refused with {:?} {}", refusal.grpc, refusal.message)),
        }
    }
}

async fn one(client: &Client, case: &Case) -> Result<Outcome> {
    let started = Instant::now();
    let answer = match client.query(&case.sql).await? {
        Ok(answer) => Ok(crate::rows::texts(&answer.batches)?),
        Err(refusal) => Err(refusal),
    };
    Ok(Outcome {
        answer,
        took: started.elapsed(),
    })
}

/// Runs the heavy statements at once, as two users; gives how they ended.
async fn heavy(caps: &Caps, failures: &mut Vec<String>) -> Result<String> {
    let clients = [caps.client("ann").await?, caps.client("bob").await?];
    let statements = corpus::heavy();
    let runs = (0..AT_ONCE).map(|number| {
        let client = clients[number % clients.len()].clone();
        let sql = statements[number % statements.len()].clone();
        async move {
            let started = Instant::now();
            let limit = Duration::from_secs(HEAVY_SECONDS_MAX);
            let outcome = tokio::time::timeout(limit, client.query(&sql)).await;
            (sql, outcome, started.elapsed())
        }
    });
    let (mut answered, mut refused, mut longest) = (0, 0, Duration::ZERO);
    for (sql, outcome, took) in futures::future::join_all(runs).await {
        longest = longest.max(took);
        match outcome {
            Ok(Ok(Ok(_))) => answered += 1,
            Ok(Ok(Err(refusal))) if ["LIM002", "LIM004", "LIM005"].contains(&refusal.code()) => refused += 1,
            Ok(Ok(Err(refusal))) => failures.push(format!("heavy: {}\n    {sql}", refusal.message)),
            Ok(Err(error)) => failures.push(format!("heavy: {error:#}\n    {sql}")),
            Err(_) => failures.push(format!("heavy: no end after {HEAVY_SECONDS_MAX} s\n    {sql}")),
        }
    }
    ensure!(caps.lives(), "the server died of heavy statements at once");
    Ok(format!(
        "{answered} answered, {refused} refused by a bound, longest {} ms",
        longest.as_millis()
    ))
}

#[expect(clippy::print_stdout, reason = "a proof is what it prints")]
fn say(line: &str) {
    println!("{line}");
}
