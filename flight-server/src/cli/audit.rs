//! `caliber audit`: is the log whole, and what did it last record?
//!
//! Owns: how records and findings are shown. Never: writes to a log.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::failure::Failure;
use super::project;
use crate::audit::newest;
use crate::audit::verify::{Report, verify};

/// The newest records kept in view while following; more than this between two looks are not shown.
const FOLLOW_MAX: usize = 10_000;
/// How often following looks.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);
/// How long a last line without its end may be one that is being written.
const WRITING_MAX: Duration = Duration::from_millis(300);
/// With `--user`, how many records are looked through.
const LOOKED_THROUGH: usize = 100_000;

/// Verify the audit log's chain, or show its newest records
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber audit verify --project bank
  caliber audit tail --project bank -n 50")]
pub struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand, Debug)]
enum AuditCommand {
    /// Check every record of every file against the chain of hashes
    Verify(Verify),
    /// Show the newest records
    Tail(Tail),
}

/// Which log.
#[derive(Args, Debug)]
struct Log {
    /// The newest file of the log; by default the project's
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The project's folder; by default the nearest upward that holds caliber.yaml
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    project: Option<PathBuf>,
}

/// Check every record of every file against the chain of hashes
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber audit verify
  caliber audit verify audit/audit.jsonl")]
struct Verify {
    #[command(flatten)]
    log: Log,
}

/// Show the newest records
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber audit tail -f --user anna
  caliber audit tail audit/audit.jsonl -n 100 --json")]
struct Tail {
    #[command(flatten)]
    log: Log,
    /// How many records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
    /// Go on showing records as they are written
    #[arg(short = 'f', long)]
    follow: bool,
    /// Only records of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// As JSON lines
    #[arg(long)]
    json: bool,
}

impl Audit {
    /// Does what is asked. A broken chain fails with exit code 1.
    pub async fn run(self) -> Result<(), Failure> {
        match self.command {
            AuditCommand::Verify(command) => command.run().await,
            AuditCommand::Tail(command) => command.run().await,
        }
    }
}

impl Log {
    fn path(&self) -> Result<PathBuf, Failure> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => {
                let (project, _) = project::load(&project::folder(self.project.as_deref())?)?;
                Ok(project.server.audit.path)
            }
        }
    }
}

impl Verify {
    async fn run(self) -> Result<(), Failure> {
        let path = self.log.path()?;
        let unreadable = |error| Failure::Usage(format!("`{}` cannot be read: {error}", path.display()));
        let mut report = verify(&path).map_err(unreadable)?;
        if report.is_torn() {
            // A running server may have been writing it.
            tokio::time::sleep(WRITING_MAX).await;
            report = verify(&path).map_err(unreadable)?;
        }
        let mut out = std::io::stdout();
        out.write_all(told(&path.display().to_string(), &report).as_bytes())?;
        if report.broken.is_some() {
            Err(Failure::Said(1))
        } else {
            Ok(())
        }
    }
}

fn told(path: &str, report: &Report) -> String {
    let mut text = match &report.broken {
        None => format!("{path}: the chain holds\n"),
        Some(broken) => format!(
            "{path}: the chain is broken\n  first break {}:{}: {}\n",
            broken.file.display(),
            broken.line,
            broken.damage
        ),
    };
    let upto = if report.broken.is_some() {
        " before the break"
    } else {
        ""
    };
    text.push_str(&format!("  files       {}\n", report.files));
    if let Some(before) = &report.before {
        text.push_str(&format!("  begins      after `{before}`, which is not here\n"));
    }
    text.push_str(&format!("  records     {}{upto}", report.records));
    if report.records > 0 {
        text.push_str(&format!(", from {} to {}", report.first, report.last));
    }
    text.push_str(&format!(
        "\n  statements  {}, {} unfinished (the server ended first), {} not ended yet\n",
        report.statements, report.unfinished, report.running
    ));
    if let Some(newest) = &report.newest {
        text.push_str(&format!("  newest      record {}, hash {}\n", newest.seq, newest.hash));
    }
    text
}

impl Tail {
    async fn run(self) -> Result<(), Failure> {
        let path = self.log.path()?;
        let unreadable = |error| Failure::Usage(format!("`{}` cannot be read: {error}", path.display()));
        let looked = if self.user.is_some() {
            LOOKED_THROUGH
        } else {
            self.lines
        };
        let mut records = newest(&path, looked).map_err(unreadable)?;
        let mut seen = records.last().map_or(0, seq);
        records.retain(|record| self.wanted(record));
        let first = records.len().saturating_sub(self.lines);
        self.show(records.get(first..).unwrap_or_default())?;
        if !self.follow {
            return Ok(());
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
            let mut records = newest(&path, FOLLOW_MAX).map_err(unreadable)?;
            records.retain(|record| seq(record) > seen);
            seen = records.last().map_or(seen, seq);
            records.retain(|record| self.wanted(record));
            self.show(&records)?;
        }
    }

    fn wanted(&self, record: &Value) -> bool {
        self.user
            .as_deref()
            .is_none_or(|user| text(record, "principal") == user)
    }

    fn show(&self, records: &[Value]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        for record in records {
            if self.json {
                writeln!(out, "{record}")?;
            } else {
                writeln!(out, "{}", line(record))?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

fn seq(record: &Value) -> u64 {
    record.get("seq").and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A record on one line, with nothing in it that could steer a terminal.
fn line(record: &Value) -> String {
    let list = |name: &str| {
        let names = record.get(name).and_then(Value::as_array);
        let names: Vec<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
        names.join(",")
    };
    let number = |name: &str| record.get(name).and_then(Value::as_u64).unwrap_or_default();
    let query: String = text(record, "query_id").chars().take(8).collect();
    let detail = match text(record, "kind") {
        "start" => format!("{query}  [{}] {}", list("tables"), text(record, "statement")),
        "end" => format!(
            "{query}  {}, {} rows, {} bytes, {} ms",
            text(record, "outcome"),
            number("rows"),
            number("bytes"),
            number("ms")
        ),
        "refused" => format!("{}  {}", text(record, "outcome"), text(record, "statement")),
        "login" => format!("{} from {}", text(record, "outcome"), text(record, "address")),
        "metadata" | "session" | "cancel" => format!("{}: {}", text(record, "call"), text(record, "outcome")),
        "recovered" => format!(
            "{} bytes cut, {} lines damaged",
            number("cut_bytes"),
            number("damaged_lines")
        ),
        "resumed" => format!(
            "after {} ms, {} refused: {}",
            number("failed_ms"),
            number("refused"),
            text(record, "reason")
        ),
        "file" => format!(
            "after {}",
            record.get("previous").and_then(Value::as_str).unwrap_or("nothing")
        ),
        _ => String::new(),
    };
    let line = format!(
        "{}  {:>6}  {:<12}  {:<12}  {detail}",
        text(record, "time"),
        seq(record),
        text(record, "kind"),
        text(record, "principal"),
    );
    line.chars()
        .map(|character| if is_plain(character) { character } else { '\u{fffd}' })
        .collect()
}

/// Neither a control character nor one that turns the direction of writing.
fn is_plain(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !turns
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_cannot_steer_a_terminal() {
        let record = json!({"seq": 7, "kind": "login", "principal": "x\u{1b}[2J\r\u{202e}y", "outcome": "SRV001"});
        let line = line(&record);
        assert!(line.chars().all(is_plain), "{line:?}");
        assert!(line.contains("login") && line.contains("SRV001"), "{line}");
    }
}
