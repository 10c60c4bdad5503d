//! One query: drawn, run pushed and local, compared.
//!
//! Owns: the engines, what agreement means. Never: how many queries there are (`mod.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use caliber_engine::{EngineError, EngineOptions, Session};
use caliber_testkit::{MariaDb, Postgres};
use datafusion::common::ScalarValue;
use futures::StreamExt;
use tempfile::TempDir;

use super::constant::Constant;
use super::data::{Kind, project, script};
use super::generate::{Statement, statement};
use super::pushed::work;
use crate::engine::{open, principal};
use crate::proof::fuzz::ast::{Query, Reader};
use crate::proof::fuzz::outcome::{Class, Outcome};
use crate::proof::fuzz::shrink::simpler;

/// The longest a statement may take before it counts as a difference.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(60);
/// Simplifications that are tried on a statement that came out differently.
const SHRINK_TRIES_MAX: usize = 200;

/// The same sources behind two engines, one of which pushes nothing.
pub struct World {
    seed: u64,
    pushed: Sessions,
    local: Sessions,
    _folder: TempDir,
}

/// One principal who sees everything, one whom policies leave a part of it.
struct Sessions {
    whole: Session,
    part: Session,
}

/// What came of one query.
pub struct Compared {
    pub statement: Statement,
    /// How often it was run.
    pub runs: usize,
    pub has_rows: bool,
    pub failed: BTreeSet<Class>,
    pub work: BTreeSet<&'static str>,
    /// What differed, with everything needed to see it again.
    pub difference: Option<String>,
}

/// How one engine answered, and what it sent.
struct Answer {
    outcome: Outcome,
    statements: Vec<(String, String)>,
}

/// Which of the values is run: a row of parameters, or all rows at once.
type Values<'a> = &'a [Vec<(Kind, Constant)>];

impl World {
    /// Loads the sources, in databases of that name.
    pub async fn open(seed: u64, name: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        rusqlite::Connection::open(folder.path().join("lite.db"))?
            .execute_batch(&script(seed, "lite"))
            .context("SQLite")?;
        let (postgres, mariadb) = (Postgres::shared()?, MariaDb::shared()?);
        let urls = [
            ("PG_URL", postgres.create_database(name).await?),
            ("MY_URL", mariadb.create_database(name).await?),
        ];
        postgres.run(name, &script(seed, "pg")).await.context("PostgreSQL")?;
        mariadb.run(name, &script(seed, "my")).await.context("MariaDB")?;
        std::fs::write(folder.path().join("caliber.yaml"), project())?;
        let sessions = async |pushdown| -> Result<Sessions> {
            let options = EngineOptions {
                pushdown,
                partitions: if pushdown { 2 } else { 1 },
                require_sources: true,
                ..EngineOptions::default()
            };
            let (engine, _) = open(folder.path(), &urls, options).await?;
            Ok(Sessions {
                whole: engine.session(principal(&["whole"], &[])),
                part: engine.session(principal(&["part"], &[])),
            })
        };
        Ok(Self {
            seed,
            pushed: sessions(true).await?,
            local: sessions(false).await?,
            _folder: folder,
        })
    }

    /// Draws query `number`, runs and compares it.
    pub async fn compare(&self, number: u64) -> Result<Compared> {
        let drawn = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd129_0d3f_6c85_1ad3);
        let statement = statement(drawn);
        let is_part = number % 8 == 7;
        let all = &statement.runs;
        let runs: Vec<Values<'_>> = match (all.is_empty(), statement.at_once) {
            (true, _) => vec![&[]],
            (false, true) => vec![all],
            (false, false) => all.chunks(1).collect(),
        };
        let mut compared = Compared {
            runs: runs.len(),
            has_rows: false,
            failed: BTreeSet::new(),
            work: BTreeSet::new(),
            difference: None,
            statement: statement.clone(),
        };
        for values in runs {
            let found = self.both(is_part, &statement, &statement.query, values).await?;
            compared.has_rows |= found.pushed.outcome.has_rows();
            compared.failed.extend(found.pushed.outcome.class());
            compared.work.extend(work(&found.pushed.statements));
            if !found.agree(&statement, &statement.query) {
                let text = self.describe(number, is_part, &statement, values, &found).await?;
                compared.difference = Some(text);
                break;
            }
        }
        Ok(compared)
    }

    /// One statement both ways, as one who sees everything: the answers, what was sent, the plans.
    pub async fn show(&self, sql: &str) -> Result<String> {
        let both = Both {
            pushed: run(&self.pushed.whole, sql, &[]).await?,
            local: run(&self.local.whole, sql, &[]).await?,
            is_whole: false,
        };
        let mut text = both.to_string();
        for session in [&self.pushed.whole, &self.local.whole] {
            let plan = session.explain(sql, true).await;
            text.push_str(&format!("\n{}", plan.unwrap_or_else(|error| error.message)));
        }
        Ok(text)
    }

    async fn both(&self, is_part: bool, statement: &Statement, asked: &Query, values: Values<'_>) -> Result<Both> {
        let mut whole = asked.clone();
        // What a limit leaves open is decided with all rows at hand.
        if is_open(statement, asked) {
            (whole.limit, whole.offset) = (None, None);
        }
        let (pushed, local) = match is_part {
            true => (&self.pushed.part, &self.local.part),
            false => (&self.pushed.whole, &self.local.whole),
        };
        let (pushed_sql, local_sql) = (asked.text(Reader::Governed), whole.text(Reader::Governed));
        let (found, wanted) = tokio::join!(run(pushed, &pushed_sql, values), run(local, &local_sql, values));
        let (pushed, mut wanted) = (found?, wanted?);
        let is_whole = wanted.outcome.class().is_none();
        // What fails beyond the limit need not fail within it.
        if !is_whole && pushed_sql != local_sql {
            wanted = run(local, &pushed_sql, values).await?;
        }
        Ok(Both {
            pushed,
            local: wanted,
            is_whole,
        })
    }

    async fn describe(
        &self,
        number: u64,
        is_part: bool,
        statement: &Statement,
        values: Values<'_>,
        found: &Both,
    ) -> Result<String> {
        let who = if is_part { "part" } else { "whole" };
        let mut text = format!(
            "query {number} of seed {} as {who}\n  {}\n",
            self.seed,
            statement.query.text(Reader::Governed)
        );
        if !values.is_empty() {
            text.push_str(&format!("  parameters {values:?}\n"));
        }
        text.push_str(&found.to_string());
        let (smallest, found) = self.shrunk(is_part, statement, values).await?;
        if let Some(found) = found {
            text.push_str(&format!(
                "\n  as short as it gets: {}\n{found}",
                smallest.text(Reader::Governed)
            ));
        }
        Ok(text)
    }

    /// The shortest statement found that still differs.
    async fn shrunk(&self, is_part: bool, statement: &Statement, values: Values<'_>) -> Result<(Query, Option<Both>)> {
        let mut smallest = (statement.query.clone(), None);
        let mut tries = 0;
        'smaller: loop {
            for candidate in simpler(&smallest.0) {
                tries += 1;
                if tries > SHRINK_TRIES_MAX {
                    break 'smaller;
                }
                let found = self.both(is_part, statement, &candidate, values).await?;
                if found.is_planned() && !found.agree(statement, &candidate) {
                    smallest = (candidate, Some(found));
                    continue 'smaller;
                }
            }
            break;
        }
        Ok(smallest)
    }
}

/// Whether ORDER BY leaves open which rows its limit lets through.
fn is_open(statement: &Statement, asked: &Query) -> bool {
    asked.limit.is_some() && !statement.features.contains("total order")
}

/// Both answers.
struct Both {
    pushed: Answer,
    local: Answer,
    /// Whether the local answer is that without the limit, where that matters.
    is_whole: bool,
}

impl Both {
    fn is_planned(&self) -> bool {
        [&self.pushed, &self.local]
            .iter()
            .all(|answer| answer.outcome.class() != Some(Class::Planning))
    }

    /// Whether both came to the same, as far as the statement says what that is.
    fn agree(&self, statement: &Statement, asked: &Query) -> bool {
        let (
            Outcome::Rows { columns, rows },
            Outcome::Rows {
                columns: wanted_columns,
                rows: wanted,
            },
        ) = (&self.pushed.outcome, &self.local.outcome)
        else {
            return same_error(&self.pushed.outcome, &self.local.outcome);
        };
        if columns != wanted_columns {
            return false;
        }
        let keys: &[usize] = if asked.order.is_empty() { &[] } else { &statement.keys };
        if !is_open(statement, asked) {
            return same_order(rows, wanted, keys) && rows.len() == wanted.len() && is_within(rows, wanted);
        }
        if !self.is_whole {
            return same_order(rows, wanted, keys) && rows.len() == wanted.len();
        }
        let offset = asked.offset.unwrap_or_default().min(wanted.len());
        let limit = asked.limit.unwrap_or(usize::MAX);
        let first = wanted.get(offset..).unwrap_or_default();
        rows.len() == first.len().min(limit) && same_order(rows, first, keys) && is_within(rows, wanted)
    }
}

/// Whether both failed with one code.
fn same_error(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Failed(_, one), Outcome::Failed(_, other)) => {
            let code = |text: &str| text.split(':').next().map(str::to_owned);
            code(one) == code(other)
        }
        _ => false,
    }
}

/// Whether the rows have the wanted values of `keys`, in their order.
fn same_order(rows: &[Vec<String>], wanted: &[Vec<String>], keys: &[usize]) -> bool {
    let same = |(row, other): (&Vec<String>, &Vec<String>)| keys.iter().all(|at| row.get(*at) == other.get(*at));
    rows.iter().zip(wanted).all(same)
}

/// Whether each row is wanted, as often as it is there.
fn is_within(rows: &[Vec<String>], wanted: &[Vec<String>]) -> bool {
    let mut left: BTreeMap<&Vec<String>, usize> = BTreeMap::new();
    wanted.iter().for_each(|row| *left.entry(row).or_default() += 1);
    rows.iter().all(|row| match left.get_mut(row) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    })
}

impl std::fmt::Display for Both {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pushed, local, .. } = self;
        write!(f, "  pushed {}\n  local {}", pushed.outcome, local.outcome)?;
        for (source, text) in &pushed.statements {
            write!(f, "\n  sent to {source}: {text}")?;
        }
        Ok(())
    }
}

async fn run(session: &Session, sql: &str, values: Values<'_>) -> Result<Answer> {
    let mut statements = Vec::new();
    let ran = execute(session, sql, parameters(values)?, &mut statements);
    let outcome = match tokio::time::timeout(STATEMENT_TIME_MAX, ran).await {
        Ok(Ok((schema, batches))) => Outcome::rows(&schema, &batches)?,
        Ok(Err(error)) => Outcome::governed(&error),
        Err(_) => Outcome::Failed(Class::Defect, format!("no end after {STATEMENT_TIME_MAX:?}")),
    };
    Ok(Answer { outcome, statements })
}

async fn execute(
    session: &Session,
    sql: &str,
    parameters: Option<RecordBatch>,
    statements: &mut Vec<(String, String)>,
) -> std::result::Result<(Arc<Schema>, Vec<RecordBatch>), EngineError> {
    let mut stream = session.execute(sql, parameters).await?;
    let schema = stream.schema();
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(error) => {
                *statements = stream.statements();
                return Err(error);
            }
        }
    }
    *statements = stream.statements();
    Ok((schema, batches))
}

/// A row of parameters for each of `values`.
fn parameters(values: Values<'_>) -> Result<Option<RecordBatch>> {
    let Some(first) = values.first() else {
        return Ok(None);
    };
    let mut fields = Vec::with_capacity(first.len());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(first.len());
    for at in 0..first.len() {
        let scalars: Vec<ScalarValue> = values
            .iter()
            .filter_map(|row| row.get(at))
            .map(|(kind, constant)| widest(constant, *kind))
            .collect();
        let array = ScalarValue::iter_to_array(scalars)?;
        fields.push(Field::new(format!("${}", at + 1), array.data_type().clone(), true));
        arrays.push(array);
    }
    Ok(Some(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?))
}

/// The value, a decimal with all digits of its kind, so that those of a column are of one type.
fn widest(constant: &Constant, kind: Kind) -> ScalarValue {
    match (constant, kind) {
        (Constant::Decimal(unscaled, _, scale), Kind::Decimal(precision, wanted)) => {
            let more = u32::try_from(wanted - scale).unwrap_or_default();
            ScalarValue::Decimal128(Some(unscaled * 10_i128.pow(more)), precision, wanted)
        }
        _ => constant.scalar(kind),
    }
}
