//! The server under test, who watches it, and what it uses.
//!
//! Owns: its small project, its process, the bystander. Never: a statement of the corpus.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::flight::Client;
use crate::program::{self, Server};

/// `server.limits.memory` of the project.
const MEMORY_MIB: u64 = 256;
/// Rows of `shop.n`.
pub(super) const ROWS: usize = 1_000;
/// The bystander asks this often at least.
const PAUSE: Duration = Duration::from_millis(20);

const PROJECT: &str = "
version: 1
name: caps
server:
  limits: { query_timeout: 60s, memory: MEMORYMiB, query_memory: 64MiB }
sources:
  shop: { connector: sqlite, path: shop.db }
policies:
  everything: { roles: [all], tables: ['*'] }
users:
";

/// A `caliber serve` over a small shop.
pub(super) struct Caps {
    server: Server,
    process: u32,
    folder: TempDir,
}

impl Caps {
    /// Makes the project and serves it.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let database = rusqlite::Connection::open(folder.path().join("shop.db"))?;
        database.execute_batch(&format!(
            "CREATE TABLE n (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
             INSERT INTO n WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {ROWS})
                 SELECT i, 'text ' || i FROM c;"
        ))?;
        let mut project = PROJECT.replace("MEMORY", &MEMORY_MIB.to_string());
        for user in ["ann", "bob", "eve"] {
            project += &format!(
                "  {user}: {{ password: '{}', roles: [all] }}\n",
                hash(folder.path(), user)?
            );
        }
        fs::write(folder.path().join("caliber.yaml"), project)?;
        fs::create_dir(folder.path().join("spill"))?;
        let path = folder.path().to_str().context("a folder that is not UTF-8")?;
        let spill = format!("{path}/spill");
        let arguments = ["serve", "--project", path, "--listen", "127.0.0.1:0"];
        let server = Server::start(&arguments, [("TMPDIR", spill.as_str())])?;
        let process = process_of(path)?;
        Ok(Self {
            server,
            process,
            folder,
        })
    }

    /// A connection as one of the users.
    pub async fn client(&self, user: &str) -> Result<Client> {
        Client::connect(&self.server.uri, user).await
    }

    /// Whether the process is still there.
    pub fn lives(&self) -> bool {
        self.status("VmHWM").is_ok()
    }

    /// The most memory the process ever held.
    pub fn peak_bytes(&self) -> Result<u64> {
        self.status("VmHWM")
    }

    /// `server.limits.memory`.
    pub fn memory_bytes(&self) -> u64 {
        MEMORY_MIB << 20
    }

    /// The peak in words.
    pub fn told(&self, peak: u64) -> String {
        format!(
            "peak memory of the server: {} MiB; configured bound {MEMORY_MIB} MiB",
            peak >> 20
        )
    }

    /// Spill files that are there now.
    pub fn spilled(&self) -> Result<usize> {
        let mut files = 0;
        let mut folders = vec![self.folder.path().join("spill")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    files += 1;
                }
            }
        }
        Ok(files)
    }

    /// Ends the server in good order.
    pub fn stop(self) -> Result<()> {
        let (status, _) = self.server.stop(Duration::from_secs(30))?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    fn status(&self, field: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .with_context(|| format!("no {field}"))?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes << 10)
    }
}

/// The process that serves the project in `path`, which nobody else does.
fn process_of(path: &str) -> Result<u32> {
    for entry in fs::read_dir("/proc")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let read = |file: &str| fs::read_to_string(format!("/proc/{number}/{file}")).unwrap_or_default();
        if read("comm").trim() == "caliber" && read("cmdline").contains(path) {
            return Ok(number);
        }
    }
    anyhow::bail!("the server's process is not found")
}

/// What goes into a project's `users`.
fn hash(folder: &Path, password: &str) -> Result<String> {
    let mut child = program::command(folder, &["hash-password"], [])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("no standard input")?;
    writeln!(input, "{password}")?;
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "hash-password failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A session that asks a small question all along and compares every answer.
pub(super) struct Bystander {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Noticed>,
}

/// What a bystander noticed.
#[derive(Default)]
pub(super) struct Noticed {
    latencies: Vec<Duration>,
    failures: Vec<String>,
}

impl Bystander {
    /// Starts asking, as a user who asks nothing else.
    pub async fn start(caps: &Caps) -> Result<Self> {
        let client = caps.client("eve").await?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut noticed = Noticed::default();
            let mut number = 0;
            while !asked.load(Ordering::Relaxed) {
                number = number % ROWS + 1;
                let started = Instant::now();
                let sql = format!("SELECT text FROM shop.n WHERE id = {number}");
                match client.rows(&sql).await {
                    Ok(rows) if rows == [[format!("text {number}")]] => noticed.latencies.push(started.elapsed()),
                    Ok(rows) => noticed.failures.push(format!("{sql}: {rows:?}")),
                    Err(error) => noticed.failures.push(format!("{sql}: {error:#}")),
                }
                tokio::time::sleep(PAUSE).await;
            }
            noticed.latencies.sort();
            noticed
        });
        Ok(Self { stop, task })
    }

    /// Ends asking.
    pub async fn stop(self) -> Result<Noticed> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.context("the bystander broke off")
    }
}

impl Noticed {
    /// The first failure, if there is one.
    pub fn fault(&self) -> Option<String> {
        let first = self.failures.first()?;
        Some(format!("a bystander noticed {} failures: {first}", self.failures.len()))
    }
}

impl fmt::Display for Noticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: usize| {
            let place = (self.latencies.len() * share / 100).min(self.latencies.len().saturating_sub(1));
            self.latencies.get(place).map_or(0, Duration::as_millis)
        };
        write!(
            f,
            "{} questions, {} failures, p50 {} ms, p99 {} ms, longest {} ms",
            self.latencies.len() + self.failures.len(),
            self.failures.len(),
            at(50),
            at(99),
            at(100)
        )
    }
}
