//! The `caliber` program as people run it: to its end, or as a server for as long as a test holds it.
//!
//! Owns: finding the program, its environment, its end. Never: reads what it printed beyond the port.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::root;

/// The longest a program may take until it serves: the demo makes its bank first.
const START_MAX: Duration = Duration::from_secs(120);

/// What a run left.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub notes: String,
}

/// Runs `caliber` with `arguments`, and only `variables` beside the paths a process needs, to its end.
pub fn run<'a>(arguments: &[&str], variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Finished> {
    let output = command(&root(), arguments, variables)?
        .stdin(Stdio::null())
        .output()
        .context("cannot run caliber")?;
    Ok(Finished {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).context("standard output is not UTF-8")?,
        notes: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// What goes into a project's `users` for `password`.
pub fn hash_of(password: &str) -> Result<String> {
    let mut hashing = command(&root(), &["hash-password"], [])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run caliber")?;
    let mut input = hashing.stdin.take().context("no standard input")?;
    input.write_all(format!("{password}\n").as_bytes())?;
    drop(input);
    let output = hashing.wait_with_output()?;
    ensure!(output.status.success(), "hash-password failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The program, in `folder`, with an environment that holds nothing of the caller's but what every process needs.
pub fn command<'a>(
    folder: &Path,
    arguments: &[&str],
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Command> {
    let mut command = Command::new(program()?);
    command.args(arguments).current_dir(folder).env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(variables);
    Ok(command)
}

/// The program's file, built as it now is.
pub fn program() -> Result<PathBuf> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING
        .lock()
        .map_err(|_| anyhow::anyhow!("building caliber failed"))?;
    if let Some(program) = PROGRAM.get() {
        return Ok(program.clone());
    }
    let program = match crate::variable("CALIBER_PROGRAM") {
        Some(program) => PathBuf::from(program),
        None => build()?,
    };
    Ok(PROGRAM.get_or_init(|| program).clone())
}

/// `cargo test` alone does not build another package's program. What it set for this one must not reach build scripts.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let of_this_package = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if of_this_package || name == "CARGO_CRATE_NAME" || name == "CARGO_PRIMARY_PACKAGE" {
            cargo.env_remove(&name);
        }
    }
    let output = cargo
        .args(["build", "--quiet", "--bin", "caliber", "--message-format", "json"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "caliber does not build");
    let text = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let executable = text.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_ours = message["target"]["name"] == "caliber";
        message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
    });
    executable.context("cargo built no program")
}

/// A `caliber` that serves. It ends with this value, and with the test program if that dies first.
pub struct Server {
    /// `grpc://127.0.0.1:PORT`
    pub uri: String,
    guard: Child,
    /// While it is open, the server lives.
    leash: Option<ChildStdin>,
    out: Arc<Printed>,
    notes: Arc<Printed>,
}

/// What a running program has printed so far. A thread reads it to its end, so that the program never waits for a reader.
#[derive(Default)]
struct Printed {
    /// The text, and whether it has ended.
    text: Mutex<(String, bool)>,
    more: Condvar,
}

impl Printed {
    fn of(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let printed = Arc::new(Self::default());
        let writer = printed.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                writer.add(&String::from_utf8_lossy(&line), false);
                line.clear();
            }
            writer.add("", true);
        });
        printed
    }

    fn add(&self, line: &str, ended: bool) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.0.push_str(line);
        text.1 = ended;
        self.more.notify_all();
    }

    /// The text, once it is what `enough` wants or has ended, and at the latest after `within`.
    fn until(&self, within: Duration, enough: impl Fn(&str) -> bool) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |(text, ended): &mut (String, bool)| !*ended && !enough(text);
        let (text, _) = self
            .more
            .wait_timeout_while(text, within, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        text.0.clone()
    }
}

/// Starts the program, and ends it in good order once standard input closes. Its exit code becomes this shell's.
const LEASH: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
exec 1>&- 2>&-
(read -r _ <&3; kill -TERM "$server" 2>/dev/null) &
reader=$!
wait "$server"; code=$?
kill "$reader" 2>/dev/null
exit "$code"
"#;

impl Server {
    /// Starts `caliber` with `arguments` (a serving command on port 0) and waits for the line that tells its port.
    pub fn start<'a>(arguments: &[&str], variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let plain = command(&root(), arguments, variables)?;
        let mut guard = Command::new("sh");
        guard
            .args(["-c", LEASH, "caliber-leash"])
            .arg(plain.get_program())
            .args(plain.get_args());
        guard.current_dir(root()).env_clear();
        guard.envs(
            plain
                .get_envs()
                .filter_map(|(name, value)| value.map(|value| (name, value))),
        );
        guard
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut guard = guard.spawn().context("cannot start sh")?;
        let leash = guard.stdin.take();
        let out = Printed::of(guard.stdout.take().context("no standard output")?);
        let notes = Printed::of(guard.stderr.take().context("no standard error")?);
        let first = out.until(START_MAX, |text| text.contains('\n'));
        let uri = first
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("flight-sql listening on "))
            .map(str::to_owned);
        let server = Self {
            uri: uri.clone().unwrap_or_default(),
            guard,
            leash,
            out,
            notes,
        };
        if uri.is_none() {
            let notes = server.notes.until(Duration::from_secs(1), |_| false);
            bail!(
                "caliber {} did not serve; it printed `{}`\n{notes}",
                arguments.join(" "),
                first.trim_end()
            );
        }
        Ok(server)
    }

    /// What it has printed, notes and data, once that is what `enough` wants.
    pub fn printed(&self, enough: impl Fn(&str) -> bool) -> Result<String> {
        let both = || {
            [&self.out, &self.notes]
                .map(|printed| printed.until(Duration::ZERO, |_| true))
                .concat()
        };
        let asked = Instant::now();
        loop {
            let text = both();
            if enough(&text) {
                return Ok(text);
            }
            ensure!(asked.elapsed() < START_MAX, "it printed\n{text}");
            self.notes.until(Duration::from_millis(50), |_| false);
        }
    }

    /// Asks it to end (SIGTERM), waits, and gives its exit and all it printed on standard output.
    pub fn stop(mut self, within: Duration) -> Result<(ExitStatus, String)> {
        let asked = Instant::now();
        self.pull();
        let printed = self.out.until(within, |_| false);
        while asked.elapsed() < within {
            if let Some(status) = self.guard.try_wait()? {
                return Ok((status, printed));
            }
            std::thread::yield_now();
        }
        bail!("the server did not end within {within:?}");
    }

    fn pull(&mut self) {
        if let Some(mut leash) = self.leash.take() {
            let _ = leash.write_all(b"\n");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.pull();
        let _ = self.guard.wait();
    }
}
