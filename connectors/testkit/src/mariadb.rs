//! A private MariaDB server.
//!
//! Owns: its data folder, its databases, its general log. Never: durability; nothing here outlives the tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

use crate::authority::{Authority, Identity};
use crate::server::{Home, Server, output, program};

/// The account that owns every test database.
const USER: &str = "caliber_test";
/// A word that no error, log or `Debug` may ever show.
const PASSWORD: &str = "my-Secret-0815";

/// A running MariaDB server on a loopback port.
pub struct MariaDb {
    server: Server,
}

impl MariaDb {
    /// The one server of this test process.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<MariaDb, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }

    /// Starts a server of its own. It ends when the value is dropped, or with the process.
    pub fn start() -> Result<Self> {
        Self::begin(None)
    }

    /// Starts a server of its own that shows `identity` to who asks for TLS, and knows certificates of `authority`.
    pub fn start_secured(authority: &Authority, identity: &Identity) -> Result<Self> {
        Self::begin(Some((authority, identity)))
    }

    fn begin(secured: Option<(&Authority, &Identity)>) -> Result<Self> {
        let folders = [PathBuf::from("/usr/local/sbin"), PathBuf::from("/usr/sbin")];
        let install = program("mariadb-install-db", &folders, "mariadb-server")?;
        let mariadbd = program("mariadbd", &folders, "mariadb-server")?;
        let home = Home::new("caliber-mariadb-", &["mysql"])?;
        let data = home.folder().join("data");
        let data = data.to_str().context("a folder whose name is not UTF-8")?.to_owned();
        home.run(
            &install,
            &[
                "--no-defaults",
                &format!("--datadir={data}"),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-log-file-size=16M",
            ],
        )?;
        let first = home.write(
            "first.sql",
            &format!(
                "CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
                 GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;\n\
                 ALTER USER 'root'@'localhost' ACCOUNT LOCK;\n"
            ),
        )?;
        let mut more = Vec::new();
        if let Some((authority, identity)) = secured {
            let kept = [
                ("cert", home.keep("server.pem", &identity.certificate)?),
                ("key", home.keep("server.key", &identity.key)?),
                ("ca", home.keep("ca.pem", &authority.certificate())?),
            ];
            more.extend(kept.map(|(setting, path)| format!("--ssl-{setting}={}", path.display())));
        }
        let server = Server::start(home, &mariadbd, "KILL", "ready for connections", |port, folder| {
            let mut arguments = vec![
                "--no-defaults".to_owned(),
                format!("--datadir={data}"),
                format!("--port={port}"),
                format!("--socket={}", folder.join("s").display()),
                format!("--pid-file={}", folder.join("pid").display()),
                format!("--tmpdir={}", folder.display()),
                format!("--init-file={}", first.display()),
                format!("--general-log-file={}", folder.join("general.log").display()),
            ];
            arguments.extend(SETTINGS.iter().map(|setting| (*setting).to_owned()));
            arguments.extend(more.clone());
            arguments
        })?;
        Ok(Self { server })
    }

    /// The address of `database`, for its owner.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.server.port())
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

    /// Makes an empty database, and gives its address.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        self.run("mysql", &format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4"))
            .await?;
        Ok(self.url(name))
    }

    /// Runs the statements of a script in `database`, each ended by a semicolon at the end of a line.
    pub async fn run(&self, database: &str, sql: &str) -> Result<()> {
        let mut connection = self.connection(database).await?;
        for statement in sql.split(";\n") {
            let statement = statement.trim();
            if !statement.is_empty() {
                connection
                    .query_drop(statement.strip_suffix(';').unwrap_or(statement))
                    .await?;
            }
        }
        Ok(connection.disconnect().await?)
    }

    /// The first column of the first row of a query, as text.
    pub async fn value(&self, database: &str, sql: &str) -> Result<String> {
        let mut connection = self.connection(database).await?;
        let value: Option<String> = connection.query_first(sql).await?;
        connection.disconnect().await?;
        value.with_context(|| format!("no value: {sql}"))
    }

    /// The rows of a query as `mariadb` prints them, in UTC, binary columns in hexadecimal; NULL is `None`.
    pub fn printed(&self, database: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let folders = [PathBuf::from("/usr/local/bin"), PathBuf::from("/usr/bin")];
        let mut command = Command::new(program("mariadb", &folders, "mariadb-client")?);
        command
            .args([
                "--no-defaults",
                "--xml",
                "--binary-as-hex",
                "--protocol=tcp",
                "--host=127.0.0.1",
            ])
            .arg(format!("--port={}", self.port()))
            .args(["--user", USER, "--default-character-set=utf8mb4"])
            .arg("--init-command=SET time_zone = '+00:00'")
            .args(["--execute", sql, database])
            .env("MYSQL_PWD", PASSWORD);
        let printed = output(command)?;
        let rows = printed.split("<row>").skip(1);
        Ok(rows
            .map(|row| row.split("<field name=").skip(1).map(field).collect())
            .collect())
    }

    /// A connection to `database`.
    pub async fn connection(&self, database: &str) -> Result<Conn> {
        Ok(Conn::new(Opts::from_url(&self.url(database))?).await?)
    }

    /// A point in the statement log.
    pub fn mark(&self) -> usize {
        self.general_log().len()
    }

    /// The statements logged since `mark`, each as the server ran it, values in place.
    pub fn statements_since(&self, mark: usize) -> Vec<String> {
        let log = self.general_log();
        let taken = log.get(mark..).unwrap_or_default().lines().filter_map(|line| {
            ["Execute\t", "Query\t"]
                .iter()
                .find_map(|verb| Some(line.split_once(verb)?.1.to_owned()))
        });
        taken.collect()
    }

    /// The statements prepared since `mark`, with `?` for their parameters.
    pub fn prepared_since(&self, mark: usize) -> Vec<String> {
        let log = self.general_log();
        let lines = log.get(mark..).unwrap_or_default().lines();
        lines
            .filter_map(|line| Some(line.split_once("Prepare\t")?.1.to_owned()))
            .collect()
    }

    /// How many statements run now in `database`.
    pub async fn running(&self, database: &str) -> Result<usize> {
        let sql = format!(
            "SELECT count(*) FROM information_schema.processlist WHERE db = '{database}' AND command <> 'Sleep' \
             AND id <> connection_id()"
        );
        Ok(self.value("mysql", &sql).await?.parse()?)
    }

    fn general_log(&self) -> String {
        let log = std::fs::read(self.server.folder().join("general.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

/// What follows `<field name=`: the name, then the end of the tag, or of an element of nothing for NULL.
fn field(text: &str) -> Option<String> {
    let (tag, rest) = text.split_once('>').unwrap_or((text, ""));
    if tag.ends_with("xsi:nil=\"true\" /") {
        return None;
    }
    let (value, _) = rest.split_once("</field>").unwrap_or((rest, ""));
    let plain = value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    Some(plain.replace("&amp;", "&"))
}

const SETTINGS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--general-log=1",
    "--performance-schema=0",
    "--character-set-server=utf8mb4",
    "--max-connections=60",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-flush-method=nosync",
];
