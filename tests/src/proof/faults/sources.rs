//! Sources that send for as long as one likes, and what runs at them.
//!
//! Owns: their tables, an engine over them. Never: a connection of the engine's.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{ConnectorFactory, Options, SourceSpec};
use caliber_connectors::FACTORIES;
use caliber_engine::{Engine, EngineError, EngineOptions, Session};
use caliber_testkit::conformance::NUMBERS;
use caliber_testkit::conformance::faults::{Networked, http2_frames, mysql_messages, postgres_messages};
use caliber_testkit::{MariaDb, Postgres};
use mysql_async::prelude::Queryable;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::engine::{open, principal};
use crate::program::{Server, hash_of};

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL
    Postgres,
    /// MariaDB
    MariaDb,
    /// SQLite
    Sqlite,
    /// A Caliber over that PostgreSQL.
    FlightSql,
}

impl Kind {
    /// Those that are reached over a network.
    pub const NETWORKED: [Self; 3] = [Self::Postgres, Self::MariaDb, Self::FlightSql];
    /// All.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::MariaDb, Self::Sqlite, Self::FlightSql];
}

/// The password of the account that reads the Caliber.
const CLERK: &str = "clerk-Secret";

/// The database of these tests on the servers that the whole program shares.
const DATABASE: &str = "faults";

/// `stream` has rows without end, `slow` none for a minute, `numbers` a few.
const OF_POSTGRES: &str =
    "CREATE TABLE numbers AS SELECT n AS id, 'row ' || n AS label FROM generate_series(0, 49999) n;
     CREATE VIEW stream AS SELECT generate_series(1, 2000000000) AS id, repeat('x', 200) AS label;
     CREATE VIEW slow AS SELECT 1 AS id FROM pg_sleep(60);";
const OF_MARIADB: &str = "CREATE TABLE numbers (id INT PRIMARY KEY, label VARCHAR(40) NOT NULL);
INSERT INTO numbers SELECT seq, CONCAT('row ', seq) FROM seq_0_to_49999;
CREATE VIEW stream AS SELECT seq AS id, REPEAT('x', 200) AS label FROM seq_1_to_2000000000;
CREATE VIEW slow AS SELECT SLEEP(60) AS id;
";
const OF_SQLITE: &str = "CREATE TABLE numbers (id INTEGER PRIMARY KEY, label TEXT NOT NULL);
     INSERT INTO numbers WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 49999)
         SELECT i, 'row ' || i FROM c;
     CREATE VIEW stream AS SELECT a.id AS id, b.label AS label FROM numbers a, numbers b;
     CREATE VIEW slow AS SELECT a.id AS id FROM numbers a, numbers b WHERE a.id + b.id < -1;";

/// An engine over one source, named `ledger`.
pub struct World {
    /// The engine.
    pub engine: Arc<Engine>,
    _folder: TempDir,
}

impl World {
    /// Over a source with so many connections.
    pub async fn over(kind: Kind, connections: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (source, url) = match kind {
            Kind::Postgres => ("{ connector: postgres, url: '${env:URL}'", postgres().await?),
            Kind::MariaDb => ("{ connector: mysql, url: '${env:URL}'", mariadb().await?),
            Kind::FlightSql => (
                "{ connector: flight_sql, url: '${env:URL}', schema: inner, user: clerk, password: '${env:CLERK}'",
                inner().await?.uri.clone(),
            ),
            Kind::Sqlite => {
                rusqlite::Connection::open(folder.path().join("ledger.db"))?.execute_batch(OF_SQLITE)?;
                ("{ connector: sqlite, path: ledger.db", String::new())
            }
        };
        let text = format!(
            "version: 1\nname: faults\nsources:\n  ledger: {source}, limits: {{ connections: {connections} }} }}\n\
             policies:\n  everything: {{ roles: [all], tables: ['*'] }}\n"
        );
        std::fs::write(folder.path().join("caliber.yaml"), text)?;
        let (engine, warnings) = open(
            folder.path(),
            &[("URL", url), ("CLERK", CLERK.to_owned())],
            EngineOptions::default(),
        )
        .await?;
        ensure!(
            warnings.iter().all(|warning| warning.code.as_str() != "PRJ014"),
            "{warnings:?}"
        );
        Ok(Self {
            engine,
            _folder: folder,
        })
    }

    /// Somebody who reads everything.
    pub fn session(&self) -> Session {
        self.engine.session(principal(&["all"], &[]))
    }
}

async fn postgres() -> Result<String> {
    static URL: OnceCell<String> = OnceCell::const_new();
    let made = async {
        let url = Postgres::shared()?.create_database(DATABASE).await?;
        Postgres::shared()?.run(DATABASE, OF_POSTGRES).await?;
        anyhow::Ok(url)
    };
    URL.get_or_try_init(|| made).await.cloned()
}

async fn mariadb() -> Result<String> {
    static URL: OnceCell<String> = OnceCell::const_new();
    let made = async {
        let url = MariaDb::shared()?.create_database(DATABASE).await?;
        MariaDb::shared()?.run(DATABASE, OF_MARIADB).await?;
        anyhow::Ok(url)
    };
    URL.get_or_try_init(|| made).await.cloned()
}

/// The Caliber, which serves until this program ends.
async fn inner() -> Result<&'static Server> {
    static INNER: OnceCell<(Server, TempDir)> = OnceCell::const_new();
    let made = async {
        let url = postgres().await?;
        let folder = tempfile::tempdir()?;
        let project = format!(
            "version: 1\nname: inner\nserver: {{ limits: {{ concurrent_per_user: 64, sessions_per_user: 1000 }} }}\nsources:\n  inner: {{ connector: postgres, url: '${{env:URL}}' }}\n\
             policies:\n  everything: {{ roles: [all], tables: ['*'] }}\n\
             users:\n  clerk: {{ password: '{}', roles: [all] }}\n",
            hash_of(CLERK)?
        );
        std::fs::write(folder.path().join("caliber.yaml"), project)?;
        let path = folder.path().to_str().context("a folder that is not UTF-8")?;
        let arguments = ["serve", "--project", path, "--listen", "127.0.0.1:0"];
        anyhow::Ok((Server::start(&arguments, [("URL", url.as_str())])?, folder))
    };
    INNER.get_or_try_init(|| made).await.map(|(server, _)| server)
}

/// Where the messages of a stream end.
type Messages = fn(&[u8]) -> Vec<usize>;

/// The source by itself, for results broken off.
pub async fn broken_off(kind: Kind) -> Result<Networked> {
    ensure!(NUMBERS == 50_000, "`numbers` has another number of rows");
    let (name, url, port, password, messages): (_, _, _, _, Messages) = match kind {
        Kind::Postgres => {
            let server = Postgres::shared()?;
            let password = server.password();
            (
                "postgres",
                postgres().await?,
                server.port(),
                password,
                postgres_messages,
            )
        }
        Kind::FlightSql => {
            let url = inner().await?.uri.clone();
            let port = url.rsplit_once(':').context("no port")?.1.parse()?;
            ("flight_sql", url, port, CLERK, http2_frames)
        }
        _ => {
            let server = MariaDb::shared()?;
            (
                "mysql",
                mariadb().await?,
                server.port(),
                server.password(),
                mysql_messages,
            )
        }
    };
    let at = move |to: u16| SourceSpec {
        name: "ledger".to_owned(),
        options: options(kind, url.replace(&format!(":{port}"), &format!(":{to}"))),
        connections_max: 2,
        statement_timeout: std::time::Duration::from_secs(120),
    };
    Ok(Networked {
        factory: factory(name)?,
        port,
        at: Box::new(at),
        messages,
        secrets: vec![password.to_owned()],
    })
}

fn options(kind: Kind, url: String) -> Options {
    let options = Options::default().with("url", OptionValue::Secret(url.into()));
    if kind != Kind::FlightSql {
        return options;
    }
    options
        .with("schema", OptionValue::Text("inner".to_owned()))
        .with("user", OptionValue::Text("clerk".to_owned()))
        .with("password", OptionValue::Secret(CLERK.into()))
}

fn factory(kind: &str) -> Result<&'static dyn ConnectorFactory> {
    let found = FACTORIES.iter().find(|factory| factory.kind() == kind);
    found.copied().context("no such kind")
}

/// How many statements run at the source. Of SQLite, whose threads are the engine's own, nothing can be seen.
pub async fn running(kind: Kind) -> Result<usize> {
    match kind {
        Kind::Postgres | Kind::FlightSql => Postgres::shared()?.running(DATABASE).await,
        Kind::MariaDb => MariaDb::shared()?.running(DATABASE).await,
        Kind::Sqlite => Ok(0),
    }
}

/// Ends every session that runs a statement, as an administrator does; how many there were.
pub async fn end_sessions(kind: Kind) -> Result<usize> {
    match kind {
        Kind::Postgres | Kind::FlightSql => {
            let sql = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{DATABASE}' \
                 AND state = 'active' AND pid <> pg_backend_pid()"
            );
            Ok(Postgres::shared()?.value("postgres", &sql).await?.parse()?)
        }
        Kind::MariaDb => {
            let mut connection = MariaDb::shared()?.connection("mysql").await?;
            let sql = format!(
                "SELECT id FROM information_schema.processlist WHERE db = '{DATABASE}' AND command <> 'Sleep' \
                 AND id <> connection_id()"
            );
            let sessions: Vec<u64> = connection.query(sql).await?;
            for session in &sessions {
                connection.query_drop(format!("KILL CONNECTION {session}")).await?;
            }
            connection.disconnect().await?;
            Ok(sessions.len())
        }
        Kind::Sqlite => Ok(0),
    }
}

/// An error names the source, and says neither where it is nor how it is reached.
pub fn ensure_safe(error: &EngineError) -> Result<()> {
    let shown = format!("{error:?}");
    ensure!(error.code.as_str() == "SRC001" && shown.contains("`ledger`"), "{shown}");
    for hidden in [
        "127.0.0.1",
        "pg-Secret",
        "my-Secret",
        CLERK,
        "caliber_test",
        "terminating",
        DATABASE,
    ] {
        ensure!(!shown.contains(hidden), "`{hidden}` in {shown}");
    }
    Ok(())
}
