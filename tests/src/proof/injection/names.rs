//! Every string as the name of a table or column in the source, and as a name in the user's SQL.
//!
//! Owns: which string names what, the statements, what they must give. Never: a name the source cannot have.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use caliber_catalog::diagnostic::Code;
use futures::TryStreamExt;

use super::Summary;
use super::sources::{CHUNK, Mode, NamedTable, Source};
use super::strings::quoted;
use crate::{engine, rows};

/// Columns compared in one statement.
const COMPARED: usize = 120;
/// Names that are nothing, in each chunk, asked for one by one.
const UNKNOWN: usize = 5;

/// Tables named by the strings that `mode` can have as names, the first of each chunk the table's.
pub fn tables(mode: Mode, strings: &[String]) -> Vec<NamedTable> {
    let possible: Vec<&String> = strings.iter().filter(|name| mode.names(name)).collect();
    let mut names = BTreeSet::new();
    let mut tables = Vec::new();
    let mut rest = possible.iter().copied().peekable();
    while rest.peek().is_some() {
        let mut taken = BTreeSet::new();
        let mut columns = Vec::new();
        let mut repeated = Vec::new();
        for name in rest.by_ref() {
            // Two names that the source takes for one stand in different tables.
            if taken.insert(mode.folded(name)) {
                columns.push(name.clone());
            } else {
                repeated.push(name.clone());
            }
            if columns.len() == CHUNK {
                break;
            }
        }
        for columns in [columns, repeated] {
            let name = columns.iter().find(|name| names.insert(mode.folded(name))).cloned();
            if let Some(name) = name {
                tables.push(NamedTable { name, columns });
            }
        }
    }
    tables
}

/// Reads every named table by its names, and asks for names that are nothing.
pub async fn check(source: &Source, tables: &[NamedTable], strings: &[String], summary: &mut Summary) -> Result<()> {
    for table in tables {
        read(source, table, summary).await?;
        summary.names += table.columns.len();
    }
    for chunk in strings.chunks(CHUNK) {
        aliases(source, chunk, summary).await?;
        for name in chunk.iter().take(UNKNOWN) {
            unknown(source, name, summary).await?;
        }
    }
    Ok(())
}

/// Every column by name, and by name in conditions that hold, then in one that does not.
async fn read(source: &Source, table: &NamedTable, summary: &mut Summary) -> Result<()> {
    let session = source.pushed.session(engine::principal(&["whole"], &[]));
    let columns: Vec<String> = table.columns.iter().map(|name| quoted(name)).collect();
    let from = format!("src.{}", quoted(&table.name));
    let all: Vec<String> = (0..columns.len()).map(|at| at.to_string()).collect();
    for (first, some) in columns.chunks(COMPARED).enumerate() {
        let compared = |wrong: usize| {
            let one =
                |(at, name): (usize, &String)| format!("{name} = {}", first * COMPARED + at + usize::from(at == wrong));
            some.iter().enumerate().map(one).collect::<Vec<_>>().join(" AND ")
        };
        for (wrong, wanted) in [(usize::MAX, vec![all.clone()]), (some.len() / 2, Vec::new())] {
            let sql = format!("SELECT {} FROM {from} WHERE {}", columns.join(", "), compared(wrong));
            let stream = session.execute(&sql, None).await.with_context(|| sql.clone())?;
            let names: Vec<String> = stream
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            let batches: Vec<_> = stream.try_collect().await.with_context(|| sql.clone())?;
            let found = rows::texts(&batches)?;
            ensure!(found == wanted, "name: {}\nfound {found:?}", sql.escape_debug());
            ensure!(
                names == table.columns,
                "name: {}\ncolumns {names:?}",
                sql.escape_debug()
            );
            summary.statements += 1;
        }
    }
    Ok(())
}

/// The strings as names of results, which are the user's own and reach no source.
async fn aliases(source: &Source, chunk: &[String], summary: &mut Summary) -> Result<()> {
    let session = source.pushed.session(engine::principal(&["whole"], &[]));
    let named: Vec<&String> = chunk.iter().filter(|name| !name.is_empty()).collect();
    let columns: Vec<String> = named.iter().map(|name| format!("id AS {}", quoted(name))).collect();
    let sql = format!("SELECT {} FROM src.t0 WHERE b = -1", columns.join(", "));
    let mut stream = session
        .execute(&sql, None)
        .await
        .with_context(|| sql.escape_debug().to_string())?;
    let schema = stream.schema();
    let found = schema.fields().iter().map(|field| field.name());
    ensure!(found.eq(named.iter().copied()), "alias: {}", sql.escape_debug());
    let rows = stream.try_next().await?.map_or(0, |batch| batch.num_rows());
    ensure!(rows == 0, "alias: {rows} rows: {}", sql.escape_debug());
    for (_, text) in stream.statements() {
        summary.shapes.insert(super::sources::shape(&text));
    }
    summary.statements += 1;
    Ok(())
}

/// A name that is nothing: told so, by its code, and nothing is sent.
async fn unknown(source: &Source, name: &str, summary: &mut Summary) -> Result<()> {
    let session = source.pushed.session(engine::principal(&["whole"], &[]));
    let name = quoted(&format!("{name}?"));
    for (sql, code) in [
        (format!("SELECT {name} FROM src.t0"), Code::SQL012),
        (format!("SELECT id FROM src.{name}"), Code::SQL010),
        (format!("SELECT id FROM {name}.t0"), Code::SQL011),
    ] {
        match session.execute(&sql, None).await {
            Ok(_) => anyhow::bail!("a name that is nothing was found: {}", sql.escape_debug()),
            Err(error) => ensure!(
                error.code == code,
                "{}: {}: {error}",
                sql.escape_debug(),
                error.code.as_str()
            ),
        }
        summary.statements += 1;
    }
    Ok(())
}
