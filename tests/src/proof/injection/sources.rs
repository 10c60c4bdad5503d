//! The sources of the proof in every mode, loaded with the strings through their own drivers.
//!
//! Owns: servers, modes, tables, engines, the servers' logs. Never: a statement of the user's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use caliber_engine::{Engine, EngineOptions};
use caliber_testkit::{MariaDb, Postgres};
use mysql_async::prelude::Queryable;
use tempfile::TempDir;

use super::strings::quoted;
use crate::engine;

/// Strings of one chunk: what one statement looks among.
pub const CHUNK: usize = 250;
/// Chunks of one table.
const CHUNKS: usize = 8;
/// Attributes that a principal's policy compares one by one.
pub const ATTRIBUTES: usize = CHUNK / 2;

/// A kind of source in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// PostgreSQL, with `standard_conforming_strings` as the database has it.
    Postgres {
        /// Whether a backslash in a plain literal is one.
        standard: bool,
    },
    /// MariaDB under this global `sql_mode`.
    MariaDb(&'static str),
    /// SQLite.
    Sqlite,
}

/// Every mode.
pub const MODES: [Mode; 7] = [
    Mode::Postgres { standard: true },
    Mode::Postgres { standard: false },
    Mode::MariaDb("STRICT_TRANS_TABLES"),
    Mode::MariaDb("NO_BACKSLASH_ESCAPES"),
    Mode::MariaDb("ANSI_QUOTES"),
    Mode::MariaDb("ANSI,NO_BACKSLASH_ESCAPES"),
    Mode::Sqlite,
];

impl Mode {
    /// Whether the source can hold the text in a row.
    pub fn holds(self, text: &str) -> bool {
        !text.contains('\0') || !matches!(self, Mode::Postgres { .. })
    }

    /// Whether the source can have a column of that name.
    pub fn names(self, name: &str) -> bool {
        let plain = !name.is_empty() && !name.contains('\0');
        match self {
            Mode::Postgres { .. } => plain && name.len() <= 63,
            // utf8mb3, at most 64 characters, no blank at the end.
            Mode::MariaDb(_) => {
                plain
                    && name.chars().count() <= 64
                    && name.chars().all(|c| u32::from(c) < 0x1_0000)
                    && !name.ends_with(char::is_whitespace)
            }
            Mode::Sqlite => plain,
        }
    }

    /// Whether the source takes two names of columns for one.
    pub fn folded(self, name: &str) -> String {
        match self {
            Mode::Postgres { .. } => name.to_owned(),
            Mode::MariaDb(_) => name.to_lowercase().replace('é', "e"),
            Mode::Sqlite => name.to_ascii_lowercase(),
        }
    }
}

/// The servers of the proof: its own, so that modes and logs are nobody else's.
pub struct Servers {
    postgres: Postgres,
    mariadb: MariaDb,
}

impl Servers {
    /// Starts both.
    pub fn start() -> Result<Self> {
        Ok(Self {
            postgres: Postgres::start()?,
            mariadb: MariaDb::start()?,
        })
    }

    /// Loads `strings` and `names` into a fresh source in `mode`.
    pub async fn source(&self, mode: Mode, number: usize, strings: &[String], tables: &[NamedTable]) -> Result<Source> {
        let folder = TempDir::new()?;
        let database = format!("inj{number}");
        let rows = Rows::of(mode, strings);
        let url = match mode {
            Mode::Postgres { standard } => {
                let url = self.postgres.create_database(&database).await?;
                let setting = if standard { "on" } else { "off" };
                let sql = format!("ALTER DATABASE {database} SET standard_conforming_strings = {setting}");
                self.postgres.run("postgres", &sql).await?;
                self.fill_postgres(&database, &rows, tables)
                    .await
                    .context("PostgreSQL")?;
                url
            }
            Mode::MariaDb(sql_mode) => {
                let url = self.mariadb.create_database(&database).await?;
                let sql = format!("SET GLOBAL sql_mode = '{sql_mode}'");
                self.mariadb.run("mysql", &sql).await?;
                self.fill_mariadb(&database, &rows, tables).await.context("MariaDB")?;
                url
            }
            Mode::Sqlite => {
                fill_sqlite(&folder.path().join("inj.db"), &rows, tables)?;
                String::new()
            }
        };
        fs::write(folder.path().join("caliber.yaml"), project(mode, rows.tables()))?;
        let urls = [("URL", url)];
        let mark = self.mark(mode);
        let pushed = opened(folder.path(), &urls, true).await?;
        let local = opened(folder.path(), &urls, false).await?;
        Ok(Source {
            mode,
            pushed,
            local,
            mark,
            _folder: folder,
        })
    }

    fn mark(&self, mode: Mode) -> usize {
        match mode {
            Mode::Postgres { .. } => self.postgres.mark(),
            Mode::MariaDb(_) => self.mariadb.mark(),
            Mode::Sqlite => 0,
        }
    }

    /// The texts of the statements that the server took since `source` was opened; `None` where it keeps no log.
    pub fn taken(&self, source: &Source) -> Option<Vec<String>> {
        match source.mode {
            Mode::Postgres { .. } => Some(self.postgres.statements_since(source.mark)),
            Mode::MariaDb(_) => Some(self.mariadb.prepared_since(source.mark)),
            Mode::Sqlite => None,
        }
    }

    async fn fill_postgres(&self, database: &str, rows: &Rows<'_>, tables: &[NamedTable]) -> Result<()> {
        let client = self.postgres.client(database).await?;
        for table in 0..rows.tables() {
            client
                .batch_execute(&format!(
                    "CREATE TABLE t{table} (id BIGINT PRIMARY KEY, b INTEGER, v TEXT)"
                ))
                .await?;
            let (ids, chunks, texts) = rows.of_table(table);
            let sql = format!("INSERT INTO t{table} SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[])");
            client.execute(&sql, &[&ids, &chunks, &texts]).await?;
            client.batch_execute(&format!("CREATE INDEX ON t{table} (b)")).await?;
        }
        for table in tables {
            for sql in table.script(quoted) {
                client.batch_execute(&sql).await.with_context(|| format!("{table:?}"))?;
            }
        }
        Ok(())
    }

    async fn fill_mariadb(&self, database: &str, rows: &Rows<'_>, tables: &[NamedTable]) -> Result<()> {
        let mut connection = self.mariadb.connection(database).await?;
        for table in 0..rows.tables() {
            connection
                .query_drop(format!(
                    "CREATE TABLE t{table} (id BIGINT PRIMARY KEY, b INTEGER, v VARCHAR(500), KEY (b))"
                ))
                .await?;
            let (ids, chunks, texts) = rows.of_table(table);
            for some in (0..ids.len()).collect::<Vec<_>>().chunks(200) {
                let places = vec!["(?, ?, ?)"; some.len()].join(", ");
                let values: Vec<mysql_async::Value> = some
                    .iter()
                    .flat_map(|at| [ids[*at].into(), chunks[*at].into(), texts[*at].into()])
                    .collect();
                connection
                    .exec_drop(format!("INSERT INTO t{table} VALUES {places}"), values)
                    .await?;
            }
        }
        for table in tables {
            for sql in table.script(|name| format!("`{}`", name.replace('`', "``"))) {
                connection.query_drop(sql).await.with_context(|| format!("{table:?}"))?;
            }
        }
        Ok(connection.disconnect().await?)
    }
}

fn fill_sqlite(file: &Path, rows: &Rows<'_>, tables: &[NamedTable]) -> Result<()> {
    let mut connection = rusqlite::Connection::open(file)?;
    let transaction = connection.transaction()?;
    for table in 0..rows.tables() {
        transaction.execute_batch(&format!(
            "CREATE TABLE t{table} (id BIGINT PRIMARY KEY, b INTEGER, v TEXT); CREATE INDEX i{table} ON t{table} (b);"
        ))?;
        let mut insert = transaction.prepare(&format!("INSERT INTO t{table} VALUES (?1, ?2, ?3)"))?;
        let (ids, chunks, texts) = rows.of_table(table);
        for ((id, chunk), text) in ids.iter().zip(chunks).zip(texts) {
            insert.execute((id, chunk, text))?;
        }
    }
    for table in tables {
        for sql in table.script(quoted) {
            transaction.execute(&sql, ()).with_context(|| format!("{table:?}"))?;
        }
    }
    Ok(transaction.commit()?)
}

/// The strings that a source can hold, over its tables.
struct Rows<'a> {
    mode: Mode,
    strings: &'a [String],
}

impl<'a> Rows<'a> {
    fn of(mode: Mode, strings: &'a [String]) -> Self {
        Self { mode, strings }
    }

    fn tables(&self) -> usize {
        self.strings.len().div_ceil(CHUNK * CHUNKS)
    }

    fn of_table(&self, table: usize) -> (Vec<i64>, Vec<i32>, Vec<&'a str>) {
        let (mut ids, mut chunks, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let all = self
            .strings
            .iter()
            .enumerate()
            .skip(table * CHUNK * CHUNKS)
            .take(CHUNK * CHUNKS);
        for (at, text) in all.filter(|(_, text)| self.mode.holds(text)) {
            ids.push(i64::try_from(at).unwrap_or_default());
            chunks.push(i32::try_from(at / CHUNK).unwrap_or_default());
            texts.push(text.as_str());
        }
        (ids, chunks, texts)
    }
}

/// The table that holds a chunk.
pub fn table_of(chunk: usize) -> usize {
    chunk / CHUNKS
}

/// A table whose own name and whose columns' names are hostile. Column `at` holds `at` in the one row.
#[derive(Clone, Debug)]
pub struct NamedTable {
    pub name: String,
    pub columns: Vec<String>,
}

impl NamedTable {
    /// The table, and its row.
    fn script(&self, quote: impl Fn(&str) -> String) -> [String; 2] {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} INTEGER", quote(column)))
            .collect();
        let values: Vec<String> = (0..self.columns.len()).map(|at| at.to_string()).collect();
        let name = quote(&self.name);
        [
            format!("CREATE TABLE {name} ({})", columns.join(", ")),
            format!("INSERT INTO {name} VALUES ({})", values.join(", ")),
        ]
    }
}

/// A loaded source, open with pushdown and without.
pub struct Source {
    pub mode: Mode,
    pub pushed: Arc<Engine>,
    pub local: Arc<Engine>,
    mark: usize,
    _folder: TempDir,
}

async fn opened(folder: &Path, urls: &[(&'static str, String)], pushdown: bool) -> Result<Arc<Engine>> {
    let options = EngineOptions {
        pushdown,
        partitions: 1,
        ..EngineOptions::default()
    };
    Ok(engine::open(folder, urls, options).await?.0)
}

/// `single` compares with attributes one by one, `list` with one list of them.
fn project(mode: Mode, tables: usize) -> String {
    let source = match mode {
        Mode::Postgres { .. } => "connector: postgres, url: \"${env:URL}\"",
        Mode::MariaDb(_) => "connector: mysql, url: \"${env:URL}\"",
        Mode::Sqlite => "connector: sqlite, path: inj.db",
    };
    let equal: Vec<String> = (0..ATTRIBUTES).map(|at| format!("v = principal.a{at}")).collect();
    let equal = equal.join(" OR ");
    let (mut single, mut list) = (String::new(), String::new());
    for table in 0..tables {
        let _ = writeln!(single, "      src.t{table}: b = principal.b AND ({equal})");
        let _ = writeln!(list, "      src.t{table}: b = principal.b AND v IN (principal.words)");
    }
    format!(
        "version: 1
name: injection
sources:
  src: {{ {source} }}
policies:
  everything:
    roles: [whole]
    tables: [\"*\"]
  one by one:
    roles: [single]
    tables: [\"src.t*\"]
    rows:
{single}  a list:
    roles: [list]
    tables: [\"src.t*\"]
    rows:
{list}"
    )
}

/// The shapes of statements: numbers of tables left out.
pub fn shapes(statements: &[String]) -> BTreeSet<String> {
    statements.iter().map(|text| shape(text)).collect()
}

pub fn shape(statement: &str) -> String {
    let mut shape = String::with_capacity(statement.len());
    let mut characters = statement.chars().peekable();
    while let Some(character) = characters.next() {
        shape.push(character);
        let opens = matches!(character, '"' | '`');
        if opens && characters.peek() == Some(&'t') {
            characters.next();
            shape.push('t');
            while characters.peek().is_some_and(char::is_ascii_digit) {
                characters.next();
            }
        }
    }
    shape
}

/// Characters that no statement of ours may hold: they could only come out of a payload.
pub fn check_shapes(shapes: &BTreeSet<String>) -> Result<()> {
    for shape in shapes {
        let foreign = [
            "\\", "%", "#", "--", "/*", "or 1=1", "¥", "\u{2bc}", "\u{2019}", "¿", "縗", "😀", "\n", "\0",
        ];
        let found = foreign.iter().find(|piece| shape.contains(**piece));
        ensure!(found.is_none(), "a payload's {found:?} stands in a statement: {shape}");
    }
    Ok(())
}
