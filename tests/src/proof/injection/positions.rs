//! Every string as literal, pattern, parameter and attribute: the source's answer, the engine's own, and plain Rust's.
//!
//! Owns: the statements and what they must give. Never: an escape but the user's own doubling of a quote.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use caliber_catalog::principal::{AttributeValue, Principal};
use caliber_engine::{QueryStream, Session};
use futures::TryStreamExt;

use super::Summary;
use super::sources::{ATTRIBUTES, CHUNK, Mode, Source, table_of};
use super::strings::{like, literal, may_travel, pattern};
use crate::{engine, rows};

/// Values in one IN list that travels as so many parameters.
const LIST: usize = 16;
/// Pairs of a row and a pattern in one statement.
const PAIRS: usize = 84;

/// One statement, and the ids that it must give.
struct Question {
    position: &'static str,
    sql: String,
    parameters: Option<RecordBatch>,
    principal: Principal,
    wanted: BTreeSet<usize>,
    /// Whether the source must have answered alone: as many rows came from it as the result has.
    travels: bool,
}

/// The strings of one chunk, with their ids.
struct Chunk<'a> {
    number: usize,
    first: usize,
    strings: &'a [String],
    source: &'a Source,
}

/// Asks everything of every chunk, with pushdown and without.
pub async fn check(source: &Source, strings: &[String], local_every: usize, summary: &mut Summary) -> Result<()> {
    for (number, some) in strings.chunks(CHUNK).enumerate() {
        let chunk = Chunk {
            number,
            first: number * CHUNK,
            strings: some,
            source,
        };
        let mut questions = Vec::new();
        for parity in 0..2 {
            questions.extend(chunk.equalities(parity)?);
            questions.extend(chunk.attributes(parity));
        }
        for part in 0..CHUNK.div_ceil(PAIRS) {
            questions.extend(chunk.patterns(part)?);
        }
        questions.push(chunk.one_by_one()?);
        for question in &questions {
            ask(
                &source.pushed.session(question.principal.clone()),
                question,
                true,
                summary,
            )
            .await?;
            if number % local_every == 0 {
                ask(
                    &source.local.session(question.principal.clone()),
                    question,
                    false,
                    summary,
                )
                .await?;
            }
        }
    }
    Ok(())
}

async fn ask(session: &Session, question: &Question, pushed: bool, summary: &mut Summary) -> Result<()> {
    let about = || {
        format!(
            "{}, pushdown {pushed}: {}",
            question.position,
            question.sql.escape_debug()
        )
    };
    let stream = session.execute(&question.sql, question.parameters.clone()).await;
    let mut stream = stream.with_context(about)?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await.with_context(about)? {
        batches.push(batch);
    }
    let mut found = BTreeSet::new();
    let mut count = 0;
    for row in rows::texts(&batches)? {
        count += 1;
        found.insert(row.first().context("a row without a column")?.parse::<usize>()?);
    }
    ensure!(
        found == question.wanted,
        "{}\nfound {found:?}\nwanted {:?}",
        about(),
        question.wanted
    );
    summary.statements += 1;
    if pushed {
        let received = received(&stream, count, question.travels).await;
        ensure!(
            !question.travels || received == count,
            "{}\n{received} rows came from the source for {count}: it did not evaluate the strings",
            about()
        );
        summary.sent += usize::from(question.travels);
    }
    for (_, text) in stream.statements() {
        summary.shapes.insert(super::sources::shape(&text));
    }
    Ok(())
}

/// How many rows came from the source. A reader counts when it is put away, which may be just after the last row.
async fn received(stream: &QueryStream, expected: u64, wait: bool) -> u64 {
    let received = || stream.receipt().sources.iter().map(|source| source.rows).sum();
    for _ in 0..5_000 {
        if !wait || received() == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    received()
}

impl Chunk<'_> {
    fn table(&self) -> String {
        format!("src.t{}", table_of(self.number))
    }

    /// The strings of one parity with their ids. Those of the other stand beside them in the table.
    fn half(&self, parity: usize) -> Vec<(usize, &str)> {
        let all = self
            .strings
            .iter()
            .enumerate()
            .map(|(at, text)| (self.first + at, text.as_str()));
        all.filter(|(id, _)| id % 2 == parity).collect()
    }

    /// Those that the source holds.
    fn wanted(&self, half: &[(usize, &str)]) -> BTreeSet<usize> {
        let held = half.iter().filter(|(_, text)| self.source.mode.holds(text));
        held.map(|(id, _)| *id).collect()
    }

    /// As literal and parameter, compared one by one and as one list.
    fn equalities(&self, parity: usize) -> Result<Vec<Question>> {
        let half = self.half(parity);
        let wanted = self.wanted(&half);
        let travels = half.iter().all(|(_, text)| !text.contains('\0'));
        // Always as many values, so that the statement has one shape. No string holds these.
        let mut values: Vec<String> = half.iter().map(|(_, text)| (*text).to_owned()).collect();
        values.extend((values.len()..ATTRIBUTES.next_multiple_of(LIST)).map(|at| format!("no such string {at}")));
        let literals: Vec<String> = values.iter().map(|text| literal(text)).collect();
        let places: Vec<String> = (1..=values.len()).map(|number| format!("${number}")).collect();
        let parameters = parameters(&values)?;
        let mut questions = Vec::new();
        for (position, parts, parameters) in [("literal", &literals, None), ("parameter", &places, Some(parameters))] {
            let lists: Vec<String> = parts
                .chunks(LIST)
                .enumerate()
                .map(|(at, some)| {
                    format!(
                        "(id >= {} AND v IN ({}))",
                        -1 - i64::try_from(at).unwrap_or(0),
                        some.join(", ")
                    )
                })
                .collect();
            let (table, number) = (self.table(), self.number);
            for condition in [lists.join(" OR "), format!("v IN ({})", parts.join(", "))] {
                questions.push(Question {
                    position,
                    sql: format!("SELECT id FROM {table} WHERE b = {number} AND ({condition})"),
                    parameters: parameters.clone(),
                    principal: engine::principal(&["whole"], &[]),
                    wanted: wanted.clone(),
                    travels,
                });
            }
        }
        Ok(questions)
    }

    /// As values of a principal's attributes, one by one and as a list.
    fn attributes(&self, parity: usize) -> Vec<Question> {
        let half = self.half(parity);
        let travels = half.iter().all(|(_, text)| !text.contains('\0'));
        let text = |text: &str| AttributeValue::Text(text.to_owned());
        let b = (
            "b".to_owned(),
            AttributeValue::Int(i64::try_from(self.number).unwrap_or_default()),
        );
        let mut single = engine::principal(&["single"], &[]);
        single.attributes = (0..ATTRIBUTES)
            .map(|at| {
                let value = half
                    .get(at)
                    .map_or_else(|| text("no such string"), |(_, value)| text(value));
                (format!("a{at}"), value)
            })
            .chain([b.clone()])
            .collect();
        let mut list = engine::principal(&["list"], &[]);
        let words = half.iter().map(|(_, value)| text(value)).collect();
        list.attributes = [("words".to_owned(), AttributeValue::List(words)), b].into();
        [("attribute", single), ("list of attributes", list)]
            .into_iter()
            .map(|(position, principal)| Question {
                position,
                sql: format!("SELECT id FROM {}", self.table()),
                parameters: None,
                principal,
                wanted: self.wanted(&half),
                travels,
            })
            .collect()
    }

    /// Each string as a pattern for its own row, and for the row of another string; as literal and parameter.
    fn patterns(&self, part: usize) -> Result<Vec<Question>> {
        let count = self.strings.len();
        let mut questions = Vec::new();
        for shift in [0, 1 + part * 7 % count.max(1)] {
            let mut pairs: Vec<(usize, &str, String)> = (0..count)
                .skip(part * PAIRS)
                .take(PAIRS)
                .filter_map(|at| {
                    let pattern = pattern(self.strings.get(at)?);
                    let row = (at + shift) % count;
                    Some((self.first + row, self.strings.get(row)?.as_str(), pattern))
                })
                .collect();
            let none = (pairs.len()..PAIRS).map(|at| (usize::MAX >> 8 | at, "", "no such string%".to_owned()));
            pairs.extend(none);
            let matches =
                |(_, text, pattern): &&(usize, &str, String)| self.source.mode.holds(text) && like(text, pattern);
            let wanted: BTreeSet<usize> = pairs.iter().filter(matches).map(|(id, _, _)| *id).collect();
            // SQLite's own LIKE takes letters of either case for one, so none is sent there.
            let travels = self.source.mode != Mode::Sqlite && pairs.iter().all(|(_, _, pattern)| may_travel(pattern));
            let sql = |written: &dyn Fn(usize, &str) -> String| {
                let mut sql = format!("SELECT id FROM {} WHERE b = {} AND (", self.table(), self.number);
                for (at, (id, _, text)) in pairs.iter().enumerate() {
                    let or = if at > 0 { " OR " } else { "" };
                    // Writing to a String cannot fail.
                    let _ = write!(sql, "{or}(id = {id} AND v LIKE {})", written(at, text));
                }
                sql + ")"
            };
            let question = |position, sql, parameters| Question {
                position,
                sql,
                parameters,
                principal: engine::principal(&["whole"], &[]),
                wanted: wanted.clone(),
                travels,
            };
            questions.push(question("pattern", sql(&|_, text| literal(text)), None));
            if shift == 0 {
                let values: Vec<String> = pairs.iter().map(|(_, _, pattern)| pattern.clone()).collect();
                let sql = sql(&|at, _| format!("${}", at + 1));
                questions.push(question("pattern as parameter", sql, Some(parameters(&values)?)));
            }
        }
        Ok(questions)
    }

    /// A few strings as the one parameter of a statement that runs once for each.
    fn one_by_one(&self) -> Result<Question> {
        let some: Vec<(usize, &str)> = self.half(0).into_iter().take(10).collect();
        let texts: ArrayRef = Arc::new(StringArray::from(
            some.iter().map(|(_, text)| *text).collect::<Vec<_>>(),
        ));
        Ok(Question {
            position: "parameter, row by row",
            sql: format!("SELECT id FROM {} WHERE b = {} AND v = ?", self.table(), self.number),
            parameters: Some(RecordBatch::try_from_iter([("$1", texts)])?),
            principal: engine::principal(&["whole"], &[]),
            wanted: self.wanted(&some),
            travels: some.iter().all(|(_, text)| !text.contains('\0')),
        })
    }
}

/// One row of text parameters.
fn parameters(values: &[String]) -> Result<RecordBatch> {
    let columns = values.iter().enumerate().map(|(at, value)| {
        let array: ArrayRef = Arc::new(StringArray::from(vec![value.as_str()]));
        (format!("${}", at + 1), array)
    });
    Ok(RecordBatch::try_from_iter(columns)?)
}
