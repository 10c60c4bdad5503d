//! `caliber sql`: one statement, a script, or a shell.
//!
//! Owns: where the SQL comes from, and the note under each result. Never: how rows are written.

use std::io::{BufWriter, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Instant;

use caliber_catalog::diagnostic::{Code, Diagnostic};
use clap::Args;
use tokio::runtime::Runtime;

use super::failure::{Failure, note};
use super::output::{self, Format, Layout};
use super::rows::{Client, Summary, Target};
use super::{shell, statement_text};

/// Run SQL over a project in this process, or at a server; without SQL, a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber sql --project bank --as anna -c 'SELECT count(*) FROM credit.loan'
  CALIBER_PASSWORD=petr caliber sql --uri grpc://127.0.0.1:50051 --user petr -f report.sql -o csv")]
pub struct Sql {
    #[command(flatten)]
    target: Target,
    /// The statement
    #[arg(short = 'c', long, value_name = "SQL", conflicts_with = "file")]
    command: Option<String>,
    /// A file of statements, each ended by `;`
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The format; by default a table on a terminal, else JSON lines
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// No note under results
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// How rows are written.
    pub format: Format,
    /// How tables look.
    pub layout: Layout,
    /// Whether a note stands under each result.
    pub note: bool,
}

impl Sql {
    /// Runs what is asked for.
    pub fn run(self, runtime: &Runtime) -> Result<(), Failure> {
        let on_terminal = std::io::stdout().is_terminal();
        let format = self
            .output
            .unwrap_or(if on_terminal { Format::Table } else { Format::Jsonl });
        let show = Show {
            format,
            layout: Layout::Rows,
            note: !self.quiet,
        };
        let script = match (self.command, self.file) {
            // One statement as it is: whether it is one is the engine's to say.
            (Some(statement), _) => vec![statement],
            (None, Some(file)) => statements(&read(&file)?),
            (None, None) if std::io::stdin().is_terminal() => {
                let mut client = runtime.block_on(self.target.open())?;
                let outcome = shell::run(runtime, &mut client, show);
                runtime.block_on(client.close());
                return outcome;
            }
            (None, None) => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                statements(&text)
            }
        };
        runtime.block_on(async {
            let mut client = self.target.open().await?;
            let outcome = run_all(&mut client, &script, show).await;
            client.close().await;
            outcome
        })
    }
}

/// Runs one statement and shows its result. Ctrl-C cancels it.
pub async fn run_one(client: &mut Client, sql: &str, show: Show) -> Result<(), Failure> {
    let started = Instant::now();
    let work = async {
        let mut rows = client.run(sql).await?;
        let mut out = BufWriter::new(std::io::stdout());
        let count = output::write(&mut rows, show.format, show.layout, &mut out).await?;
        Ok::<_, Failure>((count, rows.summary()))
    };
    let (count, summary) = tokio::select! {
        outcome = work => outcome?,
        // Dropping the rows cancels the statement at its sources.
        _ = tokio::signal::ctrl_c() => return Err(Failure::of(Diagnostic::error(Code::LIM006, "the statement was cancelled"))),
    };
    if show.note {
        note!("{}", Summary::note(summary.as_ref(), count, started.elapsed()));
    }
    Ok(())
}

async fn run_all(client: &mut Client, script: &[String], show: Show) -> Result<(), Failure> {
    for statement in script {
        run_one(client, statement, show).await?;
    }
    Ok(())
}

fn statements(text: &str) -> Vec<String> {
    statement_text::split(text).0.into_iter().map(str::to_owned).collect()
}

fn read(file: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("`{}` cannot be read: {error}", file.display())))
}
