//! One way to run statements, in this process or at a server.
//!
//! Owns: what both give: rows, a summary, the tables there are. Never: prints.

use std::path::PathBuf;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use caliber_catalog::{Environment, ProcessEnvironment};
use caliber_engine::Session;
use clap::Args;
use secrecy::SecretString;

use super::failure::Failure;
use super::local::LocalRows;
use super::project;
use super::remote::{Remote, RemoteRows};
use crate::workers::Workers;

/// The variable a password may be in.
const PASSWORD_VARIABLE: &str = "CALIBER_PASSWORD";

/// Where statements run.
#[derive(Args, Debug)]
pub struct Target {
    /// The project's folder; by default the nearest upward that holds caliber.yaml
    #[arg(long, value_name = "DIR", conflicts_with = "uri")]
    project: Option<PathBuf>,
    /// The user of the project on whose behalf statements run, in this process
    #[arg(long = "as", value_name = "USER", conflicts_with = "uri")]
    user_here: Option<String>,
    /// A running server: grpc://HOST:PORT, or grpc+tls://HOST:PORT
    #[arg(long, requires = "user")]
    uri: Option<String>,
    /// The user to log in as at --uri; the password comes from CALIBER_PASSWORD or a prompt
    #[arg(long, value_name = "NAME", requires = "uri")]
    user: Option<String>,
    /// The certificate authority of a grpc+tls server, PEM
    #[arg(long, value_name = "FILE", requires = "uri")]
    ca: Option<PathBuf>,
}

/// Somewhere to run statements.
pub enum Client {
    /// In this process.
    Local(Session, Workers),
    /// At a server.
    Remote(Box<Remote>),
}

/// The rows of a statement.
pub enum Rows {
    /// From this process.
    Local(LocalRows),
    /// From a server.
    Remote(Box<RemoteRows>),
}

/// What an answer rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The sources read.
    pub sources: Vec<String>,
    /// Columns masked for this user.
    pub masked_columns: u64,
    /// Whether something was withheld because too few customers stand behind it.
    pub withheld: bool,
}

/// A table as people browse it.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// `TABLE`, `VIEW`, `SYSTEM TABLE`.
    pub kind: String,
    /// What it holds, where that is known.
    pub comment: Option<String>,
    /// Its columns.
    pub columns: SchemaRef,
}

impl Target {
    /// Opens the project or logs in at the server.
    pub async fn open(&self) -> Result<Client, Failure> {
        if let (Some(uri), Some(user)) = (&self.uri, &self.user) {
            let remote = Remote::connect(uri, self.ca.as_deref(), user, password(user)?).await?;
            return Ok(Client::Remote(Box::new(remote)));
        }
        let user = self.user_here.as_deref().ok_or_else(|| {
            Failure::Usage(
                "say who asks: `--as USER` for a project, or `--uri URI --user NAME` for a server".to_owned(),
            )
        })?;
        let engine = project::open(self.project.as_deref()).await?;
        Ok(Client::Local(project::session(&engine, user)?, Workers::start()?))
    }
}

impl Client {
    /// Runs a statement.
    pub async fn run(&mut self, sql: &str) -> Result<Rows, Failure> {
        match self {
            Self::Local(session, workers) => LocalRows::run(workers, session, sql).await.map(Rows::Local),
            Self::Remote(remote) => Ok(Rows::Remote(Box::new(remote.run(sql).await?))),
        }
    }

    /// Every table that exists for this user.
    pub async fn tables(&mut self) -> Result<Vec<Described>, Failure> {
        match self {
            Self::Local(session, _) => {
                let tables = session.listing().tables.into_iter().map(|table| Described {
                    schema: table.name.schema,
                    table: table.name.table,
                    kind: table.kind.to_owned(),
                    comment: table.comment,
                    columns: table.schema,
                });
                Ok(tables.collect())
            }
            Self::Remote(remote) => remote.tables().await,
        }
    }

    /// Ends the session.
    pub async fn close(self) {
        if let Self::Remote(remote) = self {
            remote.close().await;
        }
    }
}

impl Rows {
    /// The result's columns.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Local(rows) => rows.schema(),
            Self::Remote(rows) => rows.schema(),
        }
    }

    /// The next batch with rows.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, Failure>> {
        match self {
            Self::Local(rows) => rows.next().await,
            Self::Remote(rows) => rows.next().await,
        }
    }

    /// What the answer rests on, once the rows have ended.
    pub fn summary(&self) -> Option<Summary> {
        match self {
            Self::Local(rows) => rows.summary(),
            Self::Remote(rows) => rows.summary(),
        }
    }
}

impl Summary {
    /// The receipt a Caliber server ends its stream with; `None` for any other text.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let json: serde_json::Value = serde_json::from_slice(json).ok()?;
        let sources = json
            .get("sources")?
            .as_array()?
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned));
        Some(Self {
            sources: sources.collect(),
            masked_columns: json.get("masked_columns")?.as_u64()?,
            withheld: json
                .get("withheld")
                .and_then(serde_json::Value::as_bool)
                .unwrap_or_default(),
        })
    }

    /// The note under a result: `42 rows, 118 ms · settlement live, credit live · 1 column masked`.
    pub fn note(summary: Option<&Self>, rows: u64, elapsed: Duration) -> String {
        let mut parts = vec![format!("{}, {}", counted(rows, "row"), human(elapsed))];
        if let Some(summary) = summary {
            if !summary.sources.is_empty() {
                parts.push(
                    summary
                        .sources
                        .iter()
                        .map(|source| format!("{source} live"))
                        .collect::<Vec<_>>()
                        .join(", "),
                );
            }
            if summary.masked_columns > 0 {
                parts.push(format!("{} masked", counted(summary.masked_columns, "column")));
            }
            if summary.withheld {
                parts.push("small groups withheld".to_owned());
            }
        }
        parts.join(" · ")
    }
}

/// `1,056,320 rows`
pub(super) fn counted(count: u64, noun: &str) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {noun}{}", if count == 1 { "" } else { "s" })
}

fn human(elapsed: Duration) -> String {
    match elapsed.as_millis() {
        milliseconds @ 0..10_000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", elapsed.as_secs_f64()),
    }
}

fn password(user: &str) -> Result<SecretString, Failure> {
    if let Some(password) = ProcessEnvironment.variable(PASSWORD_VARIABLE) {
        return Ok(password.into());
    }
    let typed = rpassword::prompt_password(format!("Password of {user}: "));
    typed
        .map(SecretString::from)
        .map_err(|_| Failure::Usage(format!("no terminal to ask for a password: set {PASSWORD_VARIABLE}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_says_rows_time_sources_and_masks() {
        let summary = Summary {
            sources: vec!["settlement".into(), "credit".into()],
            masked_columns: 1,
            withheld: false,
        };
        let note = |rows, ms| Summary::note(Some(&summary), rows, Duration::from_millis(ms));
        assert_eq!(
            note(42, 118),
            "42 rows, 118 ms · settlement live, credit live · 1 column masked"
        );
        assert_eq!(
            note(1, 12_340),
            "1 row, 12.3 s · settlement live, credit live · 1 column masked"
        );
        let withheld = Summary {
            sources: vec!["credit".into()],
            masked_columns: 0,
            withheld: true,
        };
        assert_eq!(
            Summary::note(Some(&withheld), 2, Duration::from_millis(5)),
            "2 rows, 5 ms · credit live · small groups withheld"
        );
        assert_eq!(
            Summary::note(None, 1_056_320, Duration::from_millis(7)),
            "1,056,320 rows, 7 ms"
        );
    }

    #[test]
    fn a_receipt_is_read_and_other_text_is_not() {
        let json = br#"{"query_id":"q","rows":3,"sources":["credit"],"masked_columns":2,"withheld":true}"#;
        assert_eq!(
            Summary::from_json(json),
            Some(Summary {
                sources: vec!["credit".into()],
                masked_columns: 2,
                withheld: true,
            })
        );
        assert_eq!(Summary::from_json(b"\xff"), None);
        assert_eq!(Summary::from_json(b"{}"), None);
    }
}
