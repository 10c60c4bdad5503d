//! A server that may be killed, and a disk that may be filled under it.
//!
//! Owns: the process and the disk. Never: what either should do.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use caliber_server::demo::{self, Progress};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{program, root};

/// Customers of the bank: enough payments that a statement delivers for a while.
const CUSTOMERS: u32 = 300;
/// The disk that is filled.
const DISK_BYTES: u64 = 1 << 20;
/// The longest a server may take to end in good order.
const STOP_MAX: Duration = Duration::from_secs(45);

struct Silent;

impl Progress for Silent {
    fn step(&self, _: &'static str, _: u64, _: u64) {}
}

/// A small bank's project in `folder`.
pub(super) fn bank(folder: &Path) -> Result<PathBuf> {
    let bank = demo::generate(folder, CUSTOMERS, 1, &Silent).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(bank.folder)
}

/// A server of a process of its own. It dies with this value.
pub(super) struct Victim {
    pub uri: String,
    child: Child,
    _out: BufReader<ChildStdout>,
}

impl Victim {
    /// Serves `project`, recording in `log`.
    pub fn start(project: &Path, log: &Path) -> Result<Self> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
        let (project, log) = (text(project)?, text(log)?);
        let arguments = [
            "serve",
            "--project",
            &project,
            "--listen",
            "127.0.0.1:0",
            "--audit-file",
            &log,
        ];
        let plain = program::command(&root(), &arguments, [])?;
        // A write beyond the limit on a file's size must be an error, not the end of the process.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "caliber"])
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(root())
            .env_clear();
        let variables = plain
            .get_envs()
            .filter_map(|(name, value)| value.map(|value| (name, value)));
        command.envs(variables);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start sh")?;
        let mut out = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let uri = line.trim().strip_prefix("flight-sql listening on ").map(str::to_owned);
        let mut victim = Self {
            uri: uri.clone().unwrap_or_default(),
            child,
            _out: out,
        };
        if uri.is_none() {
            victim.child.kill()?;
            anyhow::bail!("it did not serve: `{}`", line.trim());
        }
        Ok(victim)
    }

    /// SIGKILL, and waits.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for a good end.
    pub async fn stop(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &id]).status()?.success());
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "it ended with {status}");
                return Ok(());
            }
            ensure!(asked.elapsed() < STOP_MAX, "it did not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What its health service says of the whole server.
    pub async fn is_serving(&self) -> Result<bool> {
        let address = self.uri.replace("grpc://", "http://");
        let mut client = HealthClient::new(Channel::from_shared(address)?.connect().await?);
        let asked = HealthCheckRequest { service: String::new() };
        let answer = client.check(asked).await?.into_inner();
        Ok(answer.status() == ServingStatus::Serving)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A disk of its own where one may be mounted, else a limit on the size of the server's files.
pub(super) struct Disk {
    pub folder: PathBuf,
    mounted: bool,
}

impl Disk {
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"])
            .arg(folder)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        Ok(Self {
            folder: folder.to_owned(),
            mounted,
        })
    }

    pub fn how(&self) -> &'static str {
        if self.mounted {
            "a tmpfs of 1 MiB"
        } else {
            "a limit on the file's size"
        }
    }

    /// Leaves no room.
    pub fn fill(&mut self, server: &Victim, log: &Path) -> Result<()> {
        if !self.mounted {
            return limit(server, &format!("{}:unlimited", std::fs::metadata(log)?.len() + 100));
        }
        let mut filler = File::create(self.folder.join("filler"))?;
        let page = [0; 4_096];
        let mut written = 0;
        while filler.write_all(&page).is_ok() {
            written += page.len() as u64;
            ensure!(written <= DISK_BYTES, "the disk takes more than its size");
        }
        Ok(())
    }

    /// Makes room again.
    pub fn free(&mut self, server: &Victim) -> Result<()> {
        if !self.mounted {
            return limit(server, "unlimited:unlimited");
        }
        std::fs::remove_file(self.folder.join("filler"))?;
        Ok(())
    }
}

fn limit(server: &Victim, fsize: &str) -> Result<()> {
    let status = Command::new("prlimit")
        .args(["--pid", &server.child.id().to_string(), &format!("--fsize={fsize}")])
        .status()
        .context("neither may a disk be mounted nor is there prlimit")?;
    ensure!(status.success(), "prlimit failed");
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg(&self.folder).status();
        }
    }
}
