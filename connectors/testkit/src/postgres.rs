//! A private PostgreSQL server.
//!
//! Owns: its cluster, its databases, its statement log. Never: durability; nothing here outlives the tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use tokio_postgres::{Client, NoTls};

use crate::authority::{Authority, Identity};
use crate::server::{Home, Server, output, program};

/// The account that owns every test database.
const USER: &str = "caliber_test";
/// A word that no error, log or `Debug` may ever show.
const PASSWORD: &str = "pg-Secret-4711";

/// A running PostgreSQL server on a loopback port.
pub struct Postgres {
    server: Server,
    counts_statements: bool,
}

impl Postgres {
    /// The one server of this test process.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }

    /// Starts a server of its own. It ends when the value is dropped, or with the process.
    pub fn start() -> Result<Self> {
        Self::begin(None)
    }

    /// Starts a server of its own that shows `identity` to who asks for TLS. The accounts `over_tls` and `by_certificate`
    /// get in over TLS alone, the second only with a certificate of `authority`.
    pub fn start_secured(authority: &Authority, identity: &Identity) -> Result<Self> {
        Self::begin(Some((authority, identity)))
    }

    fn begin(secured: Option<(&Authority, &Identity)>) -> Result<Self> {
        let folders = versions();
        let initdb = program("initdb", &folders, "postgresql")?;
        let postgres = program("postgres", &folders, "postgresql")?;
        let home = Home::new("caliber-postgres-", &["postgres"])?;
        let password = home.write("password", PASSWORD)?;
        let data = home.folder().join("data");
        let text = |path: &PathBuf| {
            path.to_str()
                .map(str::to_owned)
                .context("a folder whose name is not UTF-8")
        };
        let (password, data) = (text(&password)?, text(&data)?);
        home.run(
            &initdb,
            &[
                "--pgdata",
                &data,
                "--username",
                USER,
                "--pwfile",
                &password,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
                "--no-sync",
            ],
        )?;
        // Some distributions put it into a package of its own.
        let library = postgres
            .ancestors()
            .nth(2)
            .map(|folder| folder.join("lib/pg_stat_statements.so"));
        let counts_statements = library.is_some_and(|library| library.exists());
        let mut more = Vec::new();
        if let Some((authority, identity)) = secured {
            let kept = [
                ("ssl_cert_file", home.keep("server.pem", &identity.certificate)?),
                ("ssl_key_file", home.keep("server.key", &identity.key)?),
                ("ssl_ca_file", home.keep("ca.pem", &authority.certificate())?),
                ("hba_file", home.write("hba", SECURED)?),
            ];
            more.extend(kept.map(|(setting, path)| format!("{setting}={}", path.display())));
            more.push("ssl=on".to_owned());
        }
        if counts_statements {
            more.push("shared_preload_libraries=pg_stat_statements".to_owned());
        }
        let server = Server::start(
            home,
            &postgres,
            "QUIT",
            "database system is ready to accept",
            |port, _| {
                let mut arguments = vec!["-D".to_owned(), data.clone(), "-p".to_owned(), port.to_string()];
                for setting in SETTINGS.iter().map(|setting| (*setting).to_owned()).chain(more.clone()) {
                    arguments.extend(["-c".to_owned(), setting]);
                }
                arguments
            },
        )?;
        Ok(Self {
            server,
            counts_statements,
        })
    }

    /// Whether `pg_stat_statements` can be asked what statements gave.
    pub fn counts_statements(&self) -> bool {
        self.counts_statements
    }

    /// The address of `database`, for its owner.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.server.port()
        )
    }

    /// Kills it at once (`kill -9`), with every process it began.
    pub fn kill(&self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it again after `kill`, at its port, with its data.
    pub fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The password in `url`, which must never print.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// A folder that is removed with the server.
    pub fn scratch(&self) -> PathBuf {
        self.server.folder().to_owned()
    }

    /// Makes an empty database, and gives its address.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        self.run("postgres", &format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(self.url(name))
    }

    /// Runs a script in `database`.
    pub async fn run(&self, database: &str, sql: &str) -> Result<()> {
        Ok(self.client(database).await?.batch_execute(sql).await?)
    }

    /// The first column of the first row of a query, as text.
    pub async fn value(&self, database: &str, sql: &str) -> Result<String> {
        let rows = self.client(database).await?.simple_query(sql).await?;
        let value = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        value.with_context(|| format!("no value: {sql}"))
    }

    /// The rows of a query as `psql` prints them, in UTC, names of other schemas than `pg_catalog` spelt out; NULL is `None`.
    pub fn printed(&self, database: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        const NULL: &str = "\u{1a}";
        let psql = program("psql", &versions(), "postgresql-client")?;
        let mut command = Command::new(psql);
        command
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-F",
                "\u{1f}",
                "-R",
                "\u{1e}",
            ])
            .args(["-P", &format!("null={NULL}"), "-c", sql])
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port().to_string())
            .env("PGDATABASE", database)
            .env("PGUSER", USER)
            .env("PGPASSWORD", PASSWORD)
            .env("PGCLIENTENCODING", "UTF8")
            .env("PGTZ", "UTC")
            .env("PGOPTIONS", "-c search_path=pg_catalog");
        let printed = output(command)?;
        let printed = printed.strip_suffix('\n').unwrap_or(&printed);
        let cell = |cell: &str| (cell != NULL).then(|| cell.to_owned());
        Ok(printed
            .split('\u{1e}')
            .map(|row| row.split('\u{1f}').map(cell).collect())
            .collect())
    }

    /// A client of `database`.
    pub async fn client(&self, database: &str) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A point in the statement log.
    pub fn mark(&self) -> usize {
        self.server.log().len()
    }

    /// The statements logged since `mark`, each as the server took it (`$1` for parameters).
    pub fn statements_since(&self, mark: usize) -> Vec<String> {
        let log = self.server.log();
        let mut statements: Vec<String> = Vec::new();
        let mut within = false;
        for line in log.get(mark..).unwrap_or_default().lines() {
            let taken = line.split_once("LOG:  ").and_then(|(_, said)| {
                let said = said.strip_prefix("statement: ").map(str::to_owned);
                said.or_else(|| Some(line.split_once("LOG:  execute ")?.1.split_once(": ")?.1.to_owned()))
            });
            match taken {
                Some(statement) => {
                    statements.push(statement);
                    within = true;
                }
                // A statement of several lines goes on behind a tab.
                None if within && line.starts_with('\t') => {
                    if let Some(last) = statements.last_mut() {
                        last.push('\n');
                        last.push_str(line.trim_start_matches('\t'));
                    }
                }
                None => within = false,
            }
        }
        statements
    }

    /// How many statements run now in `database`, but the one that asks.
    pub async fn running(&self, database: &str) -> Result<usize> {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state = 'active' \
             AND pid <> pg_backend_pid()"
        );
        Ok(self.value("postgres", &sql).await?.parse()?)
    }
}

/// Who gets in, and how, where the server has a certificate.
const SECURED: &str = "hostssl all by_certificate 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostssl all over_tls 127.0.0.1/32 scram-sha-256
host all by_certificate,over_tls 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
";

const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "shared_buffers=32MB",
    "max_connections=60",
    "log_statement=all",
    "log_line_prefix=%a ",
];

/// Where distributions keep the programs of each version, oldest first.
fn versions() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    found.sort();
    found.into_iter().map(|(_, folder)| folder).collect()
}
