//! A server killed under load delivered no row without a durable audit record, and a full disk stops it from answering.
//!
//! Owns: the task `crash`. Never: an expectation copied from the output under test; the product's own word for a chain
//! being whole, alone.

mod log;
mod victim;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow_flight::sql::CommandGetTables;
use futures::StreamExt;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use self::log::Log;
use self::victim::{Disk, Victim};
use crate::flight::{Client, Refusal};

/// Users of the demo bank who read payments.
const USERS: [&str; 4] = ["olga", "anna", "petr", "jana"];
/// A refusal while nothing can be recorded takes no longer.
pub const REFUSED_WITHIN: Duration = Duration::from_millis(100);
/// After the disk has room, the server answers again within this.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

/// Runs the task.
pub async fn run(options: &[String]) -> Result<()> {
    let (mut kills, mut seed) = (50, 1);
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64> { Ok(words.next().context("a number is missing")?.parse()?) };
        match word.as_str() {
            "--kills" => kills = number()?,
            "--seed" => seed = number()?,
            _ => bail!("`{word}` is no option of `crash`: --kills N, --seed N"),
        }
    }
    let killed = killed(kills, seed, &say).await?;
    say(&format!(
        "crash: {} kills, {} statements gave a row, each with a durable start record; {} records verify, {} statements unfinished, {} torn ends repaired (seed {seed})",
        killed.kills, killed.received, killed.records, killed.unfinished, killed.repaired
    ));
    let full = full_disk(&say).await?;
    say(&format!(
        "crash: full disk ({}): {} calls refused, the slowest after {:.1} ms; answered again {} ms after there was room",
        full.how,
        full.refused.len(),
        full.slowest().as_secs_f64() * 1e3,
        full.recovered.as_millis()
    ));
    ensure!(
        full.slowest() <= REFUSED_WITHIN,
        "a refusal took longer than {REFUSED_WITHIN:?}"
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the proof says how far it is and what it found")]
fn say(line: &str) {
    println!("{line}");
}

/// What killing showed.
#[derive(Debug, Default)]
pub struct Killed {
    /// Servers killed.
    pub kills: u64,
    /// Statements of which a client had a row.
    pub received: usize,
    /// Records of the log at the end.
    pub records: usize,
    /// Statements without an end.
    pub unfinished: usize,
    /// Starts that found a torn line.
    pub repaired: usize,
}

/// Kills a server under load, `kills` times. After each: every statement of which a row was received has its start record
/// in the file that the dead server left; the next server starts on it; the chain holds.
pub async fn killed(kills: u64, seed: u64, say: &(dyn Fn(&str) + Sync)) -> Result<Killed> {
    let folder = TempDir::new()?;
    let project = victim::bank(&folder.path().join("bank"))?;
    let log = Log::new(folder.path().join("audit/audit.jsonl"));
    let mut random = StdRng::seed_from_u64(seed);
    let mut found = Killed::default();
    for round in 0..kills {
        let server = Victim::start(&project, &log.path)?;
        let shared: Arc<Round> = Arc::default();
        let clients = USERS.map(|user| tokio::spawn(load(server.uri.clone(), user, round, shared.clone())));
        let asked = Instant::now();
        while shared.received.lock().is_empty() {
            ensure!(
                asked.elapsed() < Duration::from_secs(60),
                "no client got a row (seed {seed}, kill {round}): {}",
                shared.trouble.lock()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        server.kill()?;
        shared.over.store(true, Ordering::SeqCst);
        for client in clients {
            client.await?;
        }
        let started = log.started()?;
        let received = std::mem::take(&mut *shared.received.lock());
        for marker in &received {
            ensure!(
                started.contains(marker),
                "a row of `{marker}` was delivered and its start is not in {} (seed {seed}, kill {round})",
                log.keep(folder)?.display()
            );
        }
        found.received += received.len();
        found.kills += 1;
        say(&format!(
            "kill {} of {kills}: {} statements had given a row",
            round + 1,
            received.len()
        ));
    }
    Victim::start(&project, &log.path)?.stop().await?;
    let whole = log.whole()?;
    log.verified()?;
    found.records = whole.records;
    found.unfinished = whole.unfinished;
    found.repaired = whole.repaired;
    Ok(found)
}

/// What the clients of one round share.
#[derive(Default)]
struct Round {
    /// Statements of which a row came.
    received: Mutex<Vec<String>>,
    /// Whether the server was killed.
    over: AtomicBool,
    /// The last thing that went wrong before that.
    trouble: Mutex<String>,
}

/// Streams payments as `user` until the server was killed.
async fn load(uri: String, user: &'static str, round: u64, shared: Arc<Round>) {
    let mut client = None;
    for number in 0.. {
        let marker = format!("m_{round}_{user}_{number}");
        let outcome = match &client {
            None => Client::connect(&uri, user)
                .await
                .map(|connected| client = Some(connected)),
            Some(client) => stream(client, &marker, number, &shared).await,
        };
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = outcome {
            *shared.trouble.lock() = format!("{user}: {error:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Reads a statement to its end, and notes `marker` as soon as it gave a row.
async fn stream(client: &Client, marker: &str, number: u64, shared: &Round) -> Result<()> {
    let sql = format!("SELECT payment_id AS {marker}, * FROM settlement.payment WHERE amount < {number}");
    let mut inner = client.inner.clone();
    let info = inner.execute(sql, None).await?;
    let ticket = info.endpoint.into_iter().find_map(|endpoint| endpoint.ticket);
    let mut stream = inner.do_get(ticket.context("no ticket")?).await?;
    let mut noted = false;
    while let Some(batch) = stream.next().await {
        if batch?.num_rows() > 0 && !noted {
            shared.received.lock().push(marker.to_owned());
            noted = true;
        }
    }
    Ok(())
}

/// What a full disk showed.
#[derive(Debug)]
pub struct Full {
    /// How it was filled.
    pub how: &'static str,
    /// How long each refusal took.
    pub refused: Vec<Duration>,
    /// From there being room to an answer.
    pub recovered: Duration,
}

impl Full {
    /// The longest that a refusal took.
    pub fn slowest(&self) -> Duration {
        self.refused.iter().max().copied().unwrap_or_default()
    }

    /// The one in the middle.
    pub fn median(&self) -> Duration {
        let mut sorted = self.refused.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Fills the disk under a server's log: statements, metadata calls and log-ins are refused at once, what ran goes on to its
/// end, and with room again everything is answered, without a restart.
pub async fn full_disk(say: &(dyn Fn(&str) + Sync)) -> Result<Full> {
    let folder = TempDir::new()?;
    let project = victim::bank(&folder.path().join("bank"))?;
    let mut disk = Disk::new(&folder.path().join("disk"))?;
    let log = Log::new(disk.folder.join("audit.jsonl"));
    let server = Victim::start(&project, &log.path)?;
    let client = Client::connect(&server.uri, "olga").await?;
    ensure!(client.rows("SELECT count(*) FROM credit.loan").await?.len() == 1);
    ensure!(server.is_serving().await?, "a healthy server does not say so");
    let mut running = running(&client).await?;
    disk.fill(&server, &log.path)?;
    say(&format!("the disk is full ({})", disk.how()));
    // The last page may have room for a few records yet.
    for attempt in 0.. {
        match client.query("SELECT 1 AS x").await? {
            Err(refusal) if refusal.code() == "SRV005" => break,
            Err(refusal) => bail!("refused with {refusal}"),
            Ok(_) => ensure!(attempt < 200, "the disk is full and statements are answered"),
        }
    }
    let before = log.whole()?;
    let mut refused = Vec::new();
    for _ in 0..20 {
        let asked = Instant::now();
        let refusal = client.refused("SELECT count(*) FROM credit.loan").await?;
        refused.push(asked.elapsed());
        unavailable(&refusal)?;
        let asked = Instant::now();
        let refusal = metadata(&client).await?.err().context("a metadata call was answered")?;
        refused.push(asked.elapsed());
        unavailable(&refusal)?;
    }
    let login = Client::connect(&server.uri, "anna").await;
    ensure!(
        login.is_err_and(|error| format!("{error:#}").contains("SRV005")),
        "one could log in"
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    ensure!(!server.is_serving().await?, "the server says that it serves");
    while let Some(batch) = running.next().await {
        batch.context("a statement that ran was cut off")?;
    }
    let after = log.whole()?;
    ensure!(after.records == before.records, "records were written to a full disk");
    disk.free(&server)?;
    let asked = Instant::now();
    while client.query("SELECT 1 AS x").await?.is_err() {
        ensure!(asked.elapsed() < RECOVERED_WITHIN, "it does not answer again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let recovered = asked.elapsed();
    ensure!(metadata(&client).await?.is_ok());
    Client::connect(&server.uri, "anna").await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    ensure!(
        server.is_serving().await?,
        "the server does not say that it serves again"
    );
    server.stop().await?;
    let whole = log.whole()?;
    ensure!(whole.unfinished == 0, "{} statements have no end", whole.unfinished);
    log.verified()?;
    Ok(Full {
        how: disk.how(),
        refused,
        recovered,
    })
}

fn unavailable(refusal: &Refusal) -> Result<()> {
    let is = refusal.grpc == tonic::Code::Unavailable && refusal.code() == "SRV005";
    ensure!(is, "refused with {:?}: {refusal}", refusal.grpc);
    Ok(())
}

type Rows = arrow_flight::decode::FlightRecordBatchStream;

/// A statement under way: its first rows were read.
async fn running(client: &Client) -> Result<Rows> {
    let mut inner = client.inner.clone();
    let info = inner
        .execute("SELECT * FROM settlement.payment".to_owned(), None)
        .await?;
    let ticket = info.endpoint.into_iter().find_map(|endpoint| endpoint.ticket);
    let mut stream = inner.do_get(ticket.context("no ticket")?).await?;
    stream.next().await.context("no rows")??;
    Ok(stream)
}

async fn metadata(client: &Client) -> Result<std::result::Result<(), Refusal>> {
    let mut inner = client.inner.clone();
    let info = inner.get_tables(CommandGetTables::default()).await?;
    client.fetch(info).await.map(|answer| answer.map(drop))
}

/// Where a log is kept for whoever looks into a failure.
fn kept(folder: TempDir) -> PathBuf {
    folder.keep()
}
