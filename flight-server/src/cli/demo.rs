//! `caliber demo`: a whole bank to try, made and served.
//!
//! Owns: where the bank goes, progress, what to type next. Never: the bank itself.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use caliber_catalog::{Environment, ProcessEnvironment};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use super::failure::{Failure, note};
use super::{project, serve};
use crate::RunningServer;
use crate::demo::{self, DemoBank, Progress};

/// What both printed samples ask: two departments in one question.
const QUESTION: &str = "SELECT status, count(*) AS loans, sum(outstanding) AS outstanding FROM credit.loan GROUP BY status ORDER BY status";
/// Work that ends sooner shows no bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// Make a demo bank of three departments and serve it
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber demo
  caliber demo --customers 100000 --dir bank --listen 127.0.0.1:0")]
pub struct Demo {
    /// The folder to make the bank in; by default a temporary one, removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many customers the bank has
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    customers: u32,
    /// What the bank is drawn from: equal seeds make equal banks
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Address and port; by default 127.0.0.1:50051, or a free port if that is taken
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Demo {
    /// Makes the bank, serves it, says what to type next; drains on a signal.
    pub async fn run(self) -> Result<(), Failure> {
        let temporary = if self.dir.is_none() {
            Some(Temporary::make()?)
        } else {
            None
        };
        let folder = match (&self.dir, &temporary) {
            (Some(folder), _) => std::path::absolute(folder)?,
            (None, Some(temporary)) => temporary.0.clone(),
            (None, None) => return Err(Failure::Usage("no folder for the bank".to_owned())),
        };
        let bank = self.make(folder).await?;
        let (engine, audit) = project::open_audited(Some(&bank.folder), None).await?;
        let server = match serve::start(engine.clone(), audit.clone(), self.listen.clone()).await {
            Err(_) if self.listen.is_none() => {
                let server = serve::start(engine, audit.clone(), Some("127.0.0.1:0".to_owned())).await?;
                note!("port 50051 is taken; using {}", server.address().port());
                server
            }
            other => other?,
        };
        let signals = serve::Signals::hear()?;
        serve::announce(&server)?;
        let mut out = std::io::stdout();
        out.write_all(what_next(&bank, &server).as_bytes())?;
        out.flush()?;
        serve::until_signal(server, signals).await;
        audit.close();
        Ok(())
    }

    async fn make(&self, folder: PathBuf) -> Result<DemoBank, Failure> {
        let (customers, seed) = (self.customers, self.seed);
        let started = Instant::now();
        let made = tokio::task::spawn_blocking(move || {
            let bar = Bar::new();
            let bank = demo::generate(&folder, customers, seed, &bar);
            bar.clear();
            bank
        });
        let made = made.await.map_err(std::io::Error::other)?;
        let bank = made.map_err(|error| Failure::Io(std::io::Error::other(error.to_string())))?;
        let rows = bank.rows.iter().map(|(_, rows)| rows).sum::<u64>();
        note!(
            "made a bank of {customers} customers, {rows} rows in three departments, in {:.1} s: {}",
            started.elapsed().as_secs_f64(),
            bank.folder.display()
        );
        Ok(bank)
    }
}

/// A folder of ours alone, gone when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn make() -> Result<Self, Failure> {
        let mut random = [0; 8];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| std::io::Error::other("the system gives no randomness"))?;
        let folder = std::env::temp_dir().join(format!("caliber-demo-{:016x}", u64::from_le_bytes(random)));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // Fails where the name exists: whoever made it does not get to watch.
        builder.create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "the demo's folder stays");
        }
    }
}

/// A bar on a terminal, for work that takes its time.
struct Bar {
    started: Instant,
    bar: Option<Mutex<ProgressBar>>,
}

impl Bar {
    fn new() -> Self {
        let bar = std::io::stderr()
            .is_terminal()
            .then(|| Mutex::new(ProgressBar::hidden()));
        Self {
            started: Instant::now(),
            bar,
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.lock().finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn step(&self, phase: &'static str, done: u64, total: u64) {
        let Some(bar) = self.bar.as_ref().filter(|_| self.started.elapsed() >= BAR_AFTER) else {
            return;
        };
        let mut bar = bar.lock();
        if bar.is_hidden() {
            *bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("{msg:>10} {wide_bar} {human_pos}/{human_len}") {
                bar.set_style(style);
            }
        }
        bar.set_message(phase);
        bar.set_length(total);
        bar.set_position(done);
    }
}

fn what_next(bank: &DemoBank, server: &RunningServer) -> String {
    let (uri, program) = (server.uri(), program(&ProcessEnvironment));
    let mut text = String::from("\nUsers, each with their name as password:\n");
    for user in &bank.users {
        let _ = writeln!(text, "  {:<6} {}", user.name, user.sees);
    }
    let _ = write!(
        text,
        "
In another terminal:
  CALIBER_PASSWORD=anna {program} sql --uri {uri} --user anna -o table -c \"{QUESTION}\"
  CALIBER_PASSWORD=petr {program} sql --uri {uri} --user petr -o table -f {}
  CALIBER_PASSWORD=anna {program} sql --uri {uri} --user anna

From Python (pip install adbc-driver-flightsql pyarrow):
  import adbc_driver_flightsql.dbapi
  login = {{\"username\": \"anna\", \"password\": \"anna\"}}
  with adbc_driver_flightsql.dbapi.connect(\"{uri}\", db_kwargs=login, autocommit=True) as bank:
      with bank.cursor() as cursor:
          cursor.execute(\"{QUESTION}\")
          print(cursor.fetch_arrow_table().to_pylist())

Ctrl-C ends the demo.
",
        quoted(
            &bank
                .folder
                .join("queries")
                .join("branch-overview.sql")
                .display()
                .to_string()
        ),
    );
    text
}

/// How this program is called again: through cargo, by its name, or by its path.
fn program(environment: &dyn Environment) -> String {
    if environment.variable("CARGO").is_some() {
        return "cargo run --quiet --".to_owned();
    }
    let Ok(path) = std::env::current_exe() else {
        return "caliber".to_owned();
    };
    let on_path = path.parent().is_some_and(|folder| {
        environment
            .variable("PATH")
            .is_some_and(|all| std::env::split_paths(&all).any(|one| one == folder))
    });
    match path.file_name().filter(|_| on_path) {
        Some(name) => quoted(&name.to_string_lossy()),
        None => quoted(&path.display().to_string()),
    }
}

/// As a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if Path::new(word).as_os_str().is_empty() || !word.chars().all(plain) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Variables(&'static [(&'static str, &'static str)]);

    impl Environment for Variables {
        fn variable(&self, name: &str) -> Option<String> {
            self.0
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn the_program_is_called_as_it_was() {
        assert_eq!(
            program(&Variables(&[("CARGO", "/usr/bin/cargo")])),
            "cargo run --quiet --"
        );
        assert!(program(&Variables(&[])).contains('/'));
    }

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted("/tmp/bank"), "/tmp/bank");
        assert_eq!(quoted("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn a_temporary_folder_goes_when_dropped() {
        let temporary = Temporary::make().unwrap();
        let folder = temporary.0.clone();
        assert!(folder.is_dir());
        drop(temporary);
        assert!(!folder.exists());
    }
}
