//! The shell of `caliber sql`.
//!
//! Owns: lines, history, completion, the `\` commands. Never: how a statement runs.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use caliber_catalog::{Environment, ProcessEnvironment};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use tokio::runtime::Runtime;

use super::browse;
use super::failure::{Failure, note};
use super::output::Layout;
use super::rows::{Client, Described};
use super::sql::{self, Show};
use super::statement_text;

const HELP: &str = "\
Statements end with `;` and may take several lines. Ctrl-C cancels, Ctrl-D leaves.
  \\d            the tables you may see        \\d TABLE      a table's columns
  \\dt           the sources' tables only      \\d+ [TABLE]  with descriptions
  \\x            a column a line, or back      \\timing      the note under results, or none
  \\q            leave                         \\?           this";

const HISTORY_MAX: usize = 1_000;

/// Reads and runs until the end of input.
pub fn run(runtime: &Runtime, client: &mut Client, mut show: Show) -> Result<(), Failure> {
    let tables = runtime.block_on(client.tables())?;
    let config = Config::builder().max_history_size(HISTORY_MAX).map_err(broken)?.build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config).map_err(broken)?;
    editor.set_helper(Some(Words::of(&tables)));
    let history = history_file();
    if let Some(file) = &history {
        // The first session has none.
        let _ = editor.load_history(file);
    }
    note!("{} tables; \\? for help", tables.len());
    let mut typed = String::new();
    loop {
        match editor.readline(if typed.is_empty() { "caliber> " } else { "      -> " }) {
            Ok(line) if typed.is_empty() && line.trim_start().starts_with('\\') => {
                remember(&mut editor, history.as_ref(), line.trim());
                match command(runtime, client, line.trim(), &mut show) {
                    Ok(Next::Leave) => return Ok(()),
                    Ok(Next::Stay) => {}
                    Err(failure) => said(failure)?,
                }
            }
            Ok(line) => {
                typed.push_str(&line);
                typed.push('\n');
                if statement_text::is_open(&typed) {
                    continue;
                }
                let text = std::mem::take(&mut typed);
                remember(&mut editor, history.as_ref(), text.trim());
                for statement in statement_text::split(&text).0 {
                    if let Err(failure) = runtime.block_on(sql::run_one(client, statement, show)) {
                        said(failure)?;
                        break;
                    }
                }
            }
            Err(ReadlineError::Interrupted) => typed.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(broken(error)),
        }
    }
}

enum Next {
    Stay,
    Leave,
}

fn command(runtime: &Runtime, client: &mut Client, line: &str, show: &mut Show) -> Result<Next, Failure> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let table = rest.trim().trim_end_matches(';');
    let started = Instant::now();
    match word {
        "\\q" => return Ok(Next::Leave),
        "\\?" => note!("{HELP}"),
        "\\x" => {
            let expanded = show.layout == Layout::Rows;
            show.layout = if expanded { Layout::Expanded } else { Layout::Rows };
            note!("expanded display is {}", if expanded { "on" } else { "off" });
        }
        "\\timing" => {
            show.note = !show.note;
            note!("the note under results is {}", if show.note { "on" } else { "off" });
        }
        "\\d" | "\\d+" | "\\dt" | "\\dt+" => {
            let tables = runtime.block_on(client.tables())?;
            let described = word.ends_with('+');
            let text = match table {
                "" => browse::tables(&tables, word.starts_with("\\dt"), described),
                name => browse::columns(&tables, name, described)?,
            };
            let mut out = std::io::stdout();
            write!(out, "{text}")?;
            out.flush()?;
            tracing::debug!(elapsed_ms = started.elapsed().as_millis(), "listed");
        }
        _ => note!("there is no {word}; \\? lists what there is"),
    }
    Ok(Next::Stay)
}

/// Shows why something did not work; only a reader that went away ends the shell.
fn said(failure: Failure) -> Result<(), Failure> {
    if matches!(&failure, Failure::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe) {
        return Err(failure);
    }
    failure.report();
    Ok(())
}

fn remember(editor: &mut Editor<Words, FileHistory>, file: Option<&PathBuf>, entry: &str) {
    // A history that cannot be kept costs nobody an answer.
    let _ = editor.add_history_entry(entry);
    if let Some(file) = file {
        let _ = editor.append_history(file);
    }
}

/// `$XDG_STATE_HOME/caliber/history`, made readable to its owner only.
fn history_file() -> Option<PathBuf> {
    let state = ProcessEnvironment
        .variable("XDG_STATE_HOME")
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(ProcessEnvironment.variable("HOME")?).join(".local/state")))?;
    let folder = state.join("caliber");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

fn broken(error: ReadlineError) -> Failure {
    Failure::Io(std::io::Error::other(error.to_string()))
}

/// What Tab completes: the names there are.
struct Words(Vec<String>);

impl Words {
    fn of(tables: &[Described]) -> Self {
        let mut words = Vec::new();
        for table in tables {
            words.push(format!("{}.{}", table.schema, table.table));
            words.extend(table.columns.fields().iter().map(|field| field.name().clone()));
        }
        words.sort();
        words.dedup();
        Self(words)
    }

    /// Where the word before `position` starts, and what it may become.
    fn complete(&self, line: &str, position: usize) -> (usize, Vec<String>) {
        let before = line.get(..position).unwrap_or_default();
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .map_or(0, |at| {
                at + before
                    .get(at..)
                    .and_then(|rest| rest.chars().next())
                    .map_or(0, char::len_utf8)
            });
        let typed = before.get(start..).unwrap_or_default().to_lowercase();
        let matching = self
            .0
            .iter()
            .filter(|word| !typed.is_empty() && word.to_lowercase().starts_with(&typed));
        (start, matching.cloned().collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(Words::complete(self, line, position))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tab_completes_the_word_before_the_cursor() {
        let words = Words(vec!["amount".into(), "credit.card".into(), "credit.loan".into()]);
        assert_eq!(words.complete("SELECT am FROM", 9), (7, vec!["amount".to_owned()]));
        assert_eq!(words.complete("FROM Credit.", 12).1, ["credit.card", "credit.loan"]);
        assert_eq!(words.complete("SELECT ", 7).1, Vec::<String>::new());
        assert_eq!(words.complete("行", 1).1, Vec::<String>::new());
    }
}
