//! The process of a private server: who runs it, where, and how surely it ends.
//!
//! Owns: programs, the unprivileged account, the folder, the port, the watchdog. Never: SQL.
//!
//! A shell between the tests and the server reads a pipe that the tests hold. When they end, however they end,
//! the pipe closes; the shell then kills the server and removes its folder.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The longest a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Kills its child and removes the folder once its input ends. `$1` signal, `$2` folder, `$3` log, then the command.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
signal=$1 folder=$2 log=$3
shift 3
"$@" >"$log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -s "$signal" "$server" 2>/dev/null
wait "$server" 2>/dev/null
cd /
rm -rf "$folder"
"#;

/// A folder of its own, owned by an account that is not root.
pub struct Home {
    folder: PathBuf,
    account: Option<(u32, u32)>,
}

/// A running server. Dropped, or with its process gone, it is killed and its folder removed.
pub struct Server {
    /// One for each time it was started; only the last one's server runs.
    watchdogs: Vec<Child>,
    home: Home,
    port: u16,
    start: Start,
}

/// How a server is started, again and again.
struct Start {
    program: PathBuf,
    signal: String,
    ready: String,
    arguments: Vec<String>,
}

/// The program `name`: in PATH, or in one of `folders` (the last by name wins: the newest version).
pub fn program(name: &str, folders: &[PathBuf], package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = folders
        .iter()
        .rev()
        .cloned()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name));
    found
        .into_iter()
        .find(|program| {
            program
                .metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
        .with_context(|| format!("`{name}` is not installed; install the package `{package}` (cargo xtask test does)"))
}

/// What a program says, to its end.
pub fn output(mut command: Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("a client did not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "a client failed: {}", said.trim());
    String::from_utf8(output.stdout).context("a client printed what is not UTF-8")
}

impl Home {
    /// An empty folder. Where the tests run as root, it belongs to the first of `accounts` that exists.
    pub fn new(prefix: &str, accounts: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .context("no temporary folder")?
            .keep();
        let is_root = folder.metadata()?.uid() == 0;
        let account = if is_root { Some(account(accounts)?) } else { None };
        if let Some((user, group)) = account {
            chown(&folder, Some(user), Some(group))?;
        }
        Ok(Self { folder, account })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file that the server may read.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let mut file = File::create(&path)?;
        file.write_all(text.as_bytes())?;
        if let Some((user, group)) = self.account {
            chown(&path, Some(user), Some(group))?;
        }
        Ok(path)
    }

    /// Copies a file that the server alone may read.
    pub fn keep(&self, name: &str, from: &Path) -> Result<PathBuf> {
        let path = self.write(name, &std::fs::read_to_string(from)?)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// A command that runs as the folder's owner, in the folder, with nothing of the caller's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env_clear()
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder);
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C");
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<()> {
        let output = self.command(program).args(arguments).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed: {}", program.display(), said.trim());
        Ok(())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The watchdog removes it too, where this process gets no chance to.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// User and group of an account that is not root.
fn account(names: &[&str]) -> Result<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    let of = |name: &&str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found: Option<(u32, u32)> = names.iter().chain(&["nobody"]).find_map(of);
    found
        .filter(|(user, _)| *user != 0)
        .context("the tests run as root, and there is no account to run a server as")
}

impl Server {
    /// Starts what `arguments` says for a free port, and waits until its log holds `ready`.
    pub fn start(
        home: Home,
        program: &Path,
        signal: &str,
        ready: &str,
        arguments: impl Fn(u16, &Path) -> Vec<String>,
    ) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let start = Start {
            program: program.to_owned(),
            signal: signal.to_owned(),
            ready: ready.to_owned(),
            arguments: arguments(port, &home.folder),
        };
        let mut server = Self {
            watchdogs: Vec::new(),
            home,
            port,
            start,
        };
        server.run()?;
        Ok(server)
    }

    fn run(&mut self) -> Result<()> {
        let log = self.home.folder.join("server.log");
        let _ = std::fs::remove_file(&log);
        let watchdog = self
            .home
            .command(Path::new("/bin/sh"))
            .args(["-c", WATCHDOG, "watchdog", &self.start.signal])
            .arg(&self.home.folder)
            .arg(&log)
            .arg(&self.start.program)
            .args(&self.start.arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("no shell to watch the server")?;
        self.watchdogs.push(watchdog);
        let begun = Instant::now();
        while !self.log().contains(&self.start.ready) {
            if begun.elapsed() > START_TIMEOUT {
                bail!("{} did not start:\n{}", self.start.program.display(), self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills the server at once, with every process it began (`kill -9`): nothing of it says goodbye.
    pub fn kill(&self) -> Result<()> {
        let watchdog = self.watchdogs.last().context("it was never started")?.id();
        let server = children(watchdog)
            .into_iter()
            .find(|child| command_of(*child).is_some_and(|command| self.start.program.ends_with(command)))
            .context("it does not run")?;
        // Stopped, it begins no other while the list is made.
        signal("STOP", &[server])?;
        let mut all = children(server);
        all.push(server);
        signal("KILL", &all)?;
        let begun = Instant::now();
        while all.iter().any(|process| is_alive(*process)) {
            ensure!(begun.elapsed() < START_TIMEOUT, "a killed process lives on");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Starts a killed server again, at its port, with its data.
    pub fn restart(&mut self) -> Result<()> {
        self.run()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.home.folder()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder().join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The last one first: the others' servers are dead, and all that they do is to remove the folder.
        while let Some(mut watchdog) = self.watchdogs.pop() {
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        }
    }
}

/// The processes that `process` began.
fn children(process: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|number| status(*number).is_some_and(|(_, parent)| parent == process))
        .collect()
}

/// The state of a process and who began it.
fn status(process: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name stands in parentheses, and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn command_of(process: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(name.trim().to_owned())
}

/// Whether it is there, and not only not yet waited for.
fn is_alive(process: u32) -> bool {
    status(process).is_some_and(|(state, _)| state != 'Z')
}

fn signal(name: &str, processes: &[u32]) -> Result<()> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "kill -s \"$0\" \"$@\" 2>/dev/null", name]);
    command.args(processes.iter().map(u32::to_string));
    // One that is gone already is as good as killed.
    command.status().context("no shell to kill the server")?;
    Ok(())
}
