//! `caliber policy test`: expectation files, run.
//!
//! Owns: the arguments, running each expectation, comparing, what is printed. Never: the files' format (the catalog's).

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use caliber_catalog::diagnostic::{Code, Diagnostic, did_you_mean};
use caliber_catalog::expectation::{AskedBy, Expectation, Expected, Row};
use caliber_catalog::principal::Principal;
use caliber_catalog::project::Project;
use caliber_catalog::{expectation_files, load_expectations};
use caliber_engine::policy_tools::is_ordered;
use caliber_engine::{Engine, EngineError, Session};
use clap::Args;
use futures::TryStreamExt;

use super::super::failure::{self, Failure};
use super::super::rows::counted;
use super::super::{project, table};
use super::{FOUND, NO_ANSWER};

/// A result with more rows is not compared but fails, so that a slip cannot fill the memory.
const ROWS_MAX: usize = 1_000_000;
/// More rows than this are not shown of a difference.
const ROWS_SHOWN: usize = 20;

/// Run expectation files: who asks what, and what must come back
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber policy test --project bank
  caliber policy test --project bank branches.policy-test")]
pub struct Test {
    /// The project's folder; by default the nearest upward that holds caliber.yaml
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// The files; by default every *.policy-test in the project's folder and below
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print a JSON object for each expectation, a line each
    #[arg(long)]
    json: bool,
}

impl Test {
    /// Runs all; exit code 1 if one does not hold, 2 if a file or the project is wrong.
    pub async fn run(self) -> Result<(), Failure> {
        let folder = project::folder(self.project.as_deref())?;
        let files = if self.files.is_empty() {
            expectation_files(&folder)?
        } else {
            self.files.clone()
        };
        if files.is_empty() {
            let message = format!("`{}` holds no *.policy-test file", folder.display());
            return Err(Failure::Usage(message));
        }
        let engine = project::open(Some(&folder)).await?;
        let loaded = load_all(&files, &engine.snapshot().project)?;
        let (mut held, mut failed) = (0, 0);
        for (file, expectations) in loaded {
            if !self.json {
                writeln!(std::io::stdout(), "{}", file.display())?;
            }
            for expectation in expectations {
                let started = Instant::now();
                let differences = check(&engine, &expectation).await?;
                if differences.is_empty() {
                    held += 1;
                } else {
                    failed += 1;
                }
                self.print(&file, &expectation, &differences, started)?;
            }
        }
        if !self.json {
            let all = counted(held + failed, "expectation");
            let verdict = if failed == 0 {
                format!("{all}: all hold")
            } else {
                let holds = if held == 1 { "holds" } else { "hold" };
                let fails = if failed == 1 { "does not" } else { "do not" };
                format!("{all}: {held} {holds}, {failed} {fails}")
            };
            writeln!(std::io::stdout(), "\n{verdict}")?;
        }
        if failed > 0 { Err(Failure::Said(FOUND)) } else { Ok(()) }
    }

    fn print(
        &self,
        file: &std::path::Path,
        expectation: &Expectation,
        differences: &[String],
        started: Instant,
    ) -> Result<(), Failure> {
        let mut out = std::io::stdout();
        let line = expectation.place.line_column().0;
        if self.json {
            let json = serde_json::json!({
                "file": file.display().to_string(), "line": line, "name": expectation.name,
                "holds": differences.is_empty(), "differences": differences });
            writeln!(out, "{json}")?;
        } else if differences.is_empty() {
            writeln!(
                out,
                "  holds  {}  ({} ms)",
                expectation.name,
                started.elapsed().as_millis()
            )?;
        } else {
            writeln!(out, "  FAILS  {}  ({}:{line})", expectation.name, file.display())?;
            for difference in differences {
                writeln!(out, "         {difference}")?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

type Loaded = Vec<(PathBuf, Vec<Expectation>)>;

/// Every file, with every finding of all of them at once.
fn load_all(files: &[PathBuf], project: &Project) -> Result<Loaded, Failure> {
    let mut loaded = Vec::with_capacity(files.len());
    let mut findings = Vec::new();
    for file in files {
        match load_expectations(file) {
            Ok(expectations) => {
                for expectation in &expectations {
                    findings.extend(unknown_user(&expectation.asked_by, project));
                    if let Expected::Answer {
                        same_as: Some((other, _)),
                        ..
                    } = &expectation.expected
                    {
                        findings.extend(unknown_user(other, project));
                    }
                }
                loaded.push((file.clone(), expectations));
            }
            Err(found) => findings.extend(found),
        }
    }
    if findings.is_empty() {
        return Ok(loaded);
    }
    failure::print(&findings);
    Err(Failure::Said(NO_ANSWER))
}

fn unknown_user(asked_by: &AskedBy, project: &Project) -> Option<Diagnostic> {
    let AskedBy::User(name, place) = asked_by else {
        return None;
    };
    if project.users.contains_key(name) {
        return None;
    }
    let mut finding = Diagnostic::error(Code::PRJ010, format!("the project has no user `{name}`")).at(place.clone());
    if let Some(near) = did_you_mean(name, project.users.keys().map(String::as_str)) {
        finding = finding.label(format!("did you mean `{near}`?"));
    }
    Some(finding.help("write the name of a user, or `{ roles: […], attributes: {…} }`"))
}

fn session(engine: &Arc<Engine>, asked_by: &AskedBy) -> Result<Session, Failure> {
    let principal = match asked_by {
        AskedBy::User(name, _) => super::subject::user(&engine.snapshot().project, name)?,
        AskedBy::Principal { roles, attributes } => Principal {
            name: "expectation".to_owned(),
            roles: roles.clone(),
            attributes: attributes.clone(),
        },
    };
    Ok(engine.session(principal))
}

/// What came back.
struct Answer {
    columns: Vec<String>,
    rows: Vec<Row>,
}

/// How what came back differs from what was expected; nothing where it does not.
async fn check(engine: &Arc<Engine>, expectation: &Expectation) -> Result<Vec<String>, Failure> {
    let asked = session(engine, &expectation.asked_by)?;
    let answer = ask(asked, &expectation.sql, &expectation.parameters).await?;
    let (rows, count, columns, same_as) = match (&expectation.expected, &answer) {
        (Expected::Refused(code), Err(error)) if error.code == *code => return Ok(Vec::new()),
        (Expected::Refused(code), Err(error)) => {
            return Ok(vec![format!(
                "expected {}, found {}: {error}",
                code.as_str(),
                error.code.as_str()
            )]);
        }
        (Expected::Refused(code), Ok(answer)) => {
            let found = counted(answer.rows.len() as u64, "row");
            return Ok(vec![format!("expected {}, found {found}", code.as_str())]);
        }
        (
            Expected::Answer {
                rows,
                count,
                columns,
                same_as,
            },
            _,
        ) => (rows, count, columns, same_as),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            return Ok(vec![format!(
                "expected an answer, found {}: {error}",
                error.code.as_str()
            )]);
        }
    };
    let mut differences = Vec::new();
    if let Some(columns) = columns
        && *columns != answer.columns
    {
        differences.push(format!("expected columns {}", columns.join(", ")));
        differences.push(format!("found columns    {}", answer.columns.join(", ")));
    }
    if let Some(count) = count
        && *count != answer.rows.len() as u64
    {
        differences.push(format!(
            "expected {}, found {}",
            counted(*count, "row"),
            answer.rows.len()
        ));
    }
    let ordered = is_ordered(&expectation.sql);
    if let Some(rows) = rows {
        differences.extend(compare(rows, &answer.rows, ordered));
    }
    if let Some((other, sql)) = same_as {
        match ask(session(engine, other)?, sql, &[]).await? {
            Ok(wanted) => differences.extend(compare(&wanted.rows, &answer.rows, ordered && is_ordered(sql))),
            Err(error) => differences.push(format!(
                "the other statement (`same_as`) gave {}: {error}",
                error.code.as_str()
            )),
        }
    }
    Ok(differences)
}

/// The answer, or the statement's own error. A failure is ours.
async fn ask(
    session: Session,
    sql: &str,
    parameters: &[Option<String>],
) -> Result<Result<Answer, EngineError>, Failure> {
    let (sql, parameters) = (sql.to_owned(), parameters.to_vec());
    // On a worker, whose stack is large enough for an expression as deep as one may be.
    let asked = tokio::spawn(async move { run(&session, &sql, &parameters).await });
    asked.await.map_err(|error| Failure::Io(std::io::Error::other(error)))
}

async fn run(session: &Session, sql: &str, parameters: &[Option<String>]) -> Result<Answer, EngineError> {
    let bound = if parameters.is_empty() {
        None
    } else {
        Some(bind(&session.prepare(sql).await?.parameters, parameters)?)
    };
    let mut stream = session.execute(sql, bound).await?;
    let columns = stream
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let mut rows = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        if rows.len() + batch.num_rows() > ROWS_MAX {
            let error = EngineError::new(Code::LIM003, format!("the result has more than {ROWS_MAX} rows"));
            return Err(error.help("compare an aggregate"));
        }
        append(&mut rows, &batch)
            .map_err(|_| EngineError::new(Code::INT001, "internal error: a value cannot be written"))?;
    }
    Ok(Answer { columns, rows })
}

fn append(rows: &mut Vec<Row>, batch: &RecordBatch) -> Result<(), arrow::error::ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .map(table::texts)
        .collect::<Result<Vec<_>, _>>()?;
    rows.extend((0..batch.num_rows()).map(|row| {
        let cells = columns.iter().map(|column| column.get(row).cloned().flatten());
        cells.collect()
    }));
    Ok(())
}

/// The parameters in the types that the statement takes.
fn bind(wanted: &SchemaRef, given: &[Option<String>]) -> Result<RecordBatch, EngineError> {
    let unfit = |message: String| EngineError::new(Code::SQL016, message);
    if wanted.fields().len() != given.len() {
        let message = format!(
            "the statement takes {} parameters, not {}",
            wanted.fields().len(),
            given.len()
        );
        return Err(unfit(message));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns: Result<Vec<ArrayRef>, EngineError> = wanted
        .fields()
        .iter()
        .zip(given)
        .map(|(field, text)| {
            let text = StringArray::from(vec![text.as_deref()]);
            cast_with_options(&text, field.data_type(), &options)
                .map_err(|_| unfit(format!("parameter {} is no {}", field.name(), field.data_type())))
        })
        .collect();
    RecordBatch::try_new(wanted.clone(), columns?).map_err(|_| unfit("the parameters do not fit".to_owned()))
}

/// The difference of two sets of rows, or of two orders.
fn compare(wanted: &[Row], found: &[Row], ordered: bool) -> Vec<String> {
    let (mut left, mut right) = (wanted.to_vec(), found.to_vec());
    left.sort();
    right.sort();
    if left == right {
        if !ordered || wanted == found {
            return Vec::new();
        }
        let first = wanted.iter().zip(found).position(|(wanted, found)| wanted != found);
        let at = first.unwrap_or_default();
        let row = |rows: &[Row]| rows.get(at).map(shown).unwrap_or_default();
        return vec![
            format!("the rows come in another order, from row {}:", at + 1),
            format!("- {}", row(wanted)),
            format!("+ {}", row(found)),
        ];
    }
    let (missing, unexpected) = (without(&left, &right), without(&right, &left));
    let mut lines = vec![format!(
        "{} expected, {} found; - is missing, + was not expected:",
        counted(wanted.len() as u64, "row"),
        found.len()
    )];
    for (mark, rows) in [("-", missing), ("+", unexpected)] {
        lines.extend(rows.iter().take(ROWS_SHOWN).map(|row| format!("{mark} {}", shown(row))));
        if rows.len() > ROWS_SHOWN {
            lines.push(format!("{mark} … and {} more", rows.len() - ROWS_SHOWN));
        }
    }
    lines
}

/// What sorted `rows` hold beyond sorted `others`, each as often as it is more often there.
fn without<'a>(rows: &'a [Row], others: &[Row]) -> Vec<&'a Row> {
    let mut others = others.iter().peekable();
    let mut more = Vec::new();
    for row in rows {
        while others.next_if(|other| *other < row).is_some() {}
        if others.next_if(|other| *other == row).is_none() {
            more.push(row);
        }
    }
    more
}

fn shown(row: &Row) -> String {
    let cells: Vec<String> = row
        .iter()
        .map(|cell| match cell {
            None => "NULL".to_owned(),
            Some(text) => table::visible(text),
        })
        .collect();
    cells.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[&str]) -> Vec<Row> {
        texts
            .iter()
            .map(|text| {
                text.split(' ')
                    .map(|cell| (cell != "NULL").then(|| cell.to_owned()))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn rows_are_compared_as_a_bag_unless_they_have_an_order() {
        let (one, other) = (rows(&["1 a", "2 NULL", "2 NULL"]), rows(&["2 NULL", "1 a", "2 NULL"]));
        assert!(compare(&one, &other, false).is_empty());
        let differences = compare(&one, &other, true);
        assert!(differences[0].contains("another order, from row 1"), "{differences:?}");
    }

    #[test]
    fn a_difference_shows_each_row_as_often_as_it_is_missing() {
        let (wanted, found) = (rows(&["1", "1", "2", "3"]), rows(&["1", "3", "4"]));
        assert_eq!(
            compare(&wanted, &found, false),
            [
                "4 rows expected, 3 found; - is missing, + was not expected:",
                "- 1",
                "- 2",
                "+ 4"
            ]
        );
        // A text that reads like NULL is none.
        let text = vec![vec![Some("NULL".to_owned())]];
        assert!(!compare(&rows(&["NULL"]), &text, false).is_empty());
    }
}
