//! One session with a MariaDB or MySQL server: opened read-only and pinned, killed, reset.
//!
//! Owns: the settings of a session and the proof that they hold. Never: what a query asks.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use caliber_connector_spi::{ConnectorError, ErrorClass, SourceSpec};
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, SslOpts};
use secrecy::ExposeSecret;

use super::dialect::SORT_LENGTH;
use super::failure::failure;
use crate::password;
use crate::pool::Connect;

/// The longest a request to kill a statement may take, its connection included.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// Prepared statements kept by a session.
const STATEMENTS_MAX: usize = 64;

/// How long a connection may be silent before the server's machine is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);

/// The modes that change what a text or an operator means (ANSI_QUOTES, NO_BACKSLASH_ESCAPES, PIPES_AS_CONCAT,
/// PAD_CHAR_TO_FULL_LENGTH, HIGH_NOT_PRECEDENCE) are off because they are not listed.
const SQL_MODE: &str = "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

/// Which server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// MariaDB, or else MySQL.
    pub is_mariadb: bool,
    /// Whether it has JSON_TABLE: MariaDB 10.6, MySQL 8.
    pub has_json_table: bool,
}

/// Opens sessions of one source. Has no `Debug`: the driver's options would print the password.
pub struct Sessions {
    source_name: String,
    login: Login,
    server: OnceLock<Server>,
}

/// Where the server is and who reads it. Has no `Debug`: the driver's options would print the password.
#[derive(Clone)]
struct Login {
    opts: Opts,
    password_file: Option<PathBuf>,
}

impl Login {
    /// With the password as it is now.
    async fn opts(&self, source_name: &str) -> Result<Opts, ConnectorError> {
        let Some(path) = &self.password_file else {
            return Ok(self.opts.clone());
        };
        let password = password::read(source_name, path).await?;
        let opts = OptsBuilder::from_opts(self.opts.clone()).pass(Some(password.expose_secret()));
        Ok(opts.into())
    }
}

/// An open session.
pub struct Session {
    /// The driver's connection.
    pub conn: Conn,
    /// What it is connected to.
    pub server: Server,
    /// How long a statement may run, once that was said.
    seconds_max: Option<u128>,
    source_name: String,
    login: Login,
}

/// What to kill.
#[derive(Clone, Copy)]
pub enum Kill {
    /// What the session runs now.
    Statement,
    /// The session itself.
    Session,
}

/// Kills what a session runs, over a connection of its own.
pub struct Killer {
    id: u32,
    source_name: String,
    login: Login,
}

impl Sessions {
    /// For the server that `opts` names, secured as the source's options say.
    pub fn new(source: &SourceSpec, opts: Opts) -> Result<Self, ConnectorError> {
        let host = opts.ip_or_hostname();
        let is_this_machine = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let wrong = |message: &str| ConnectorError::new(&source.name, ErrorClass::Options, message);
        let (encrypt, verify) = match source.options.text("tls") {
            Some("verify-full") => (true, true),
            Some("require") => (true, false),
            Some("disable") => (false, false),
            Some(_) => return Err(wrong("option `tls` is `verify-full`, `require` or `disable`")),
            None => {
                let asked = opts.ssl_opts().is_some();
                (asked || !(is_this_machine || opts.socket().is_some()), true)
            }
        };
        let identity = match (source.options.path("certificate"), source.options.path("key")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientIdentity::new(
                certificate.to_owned().into(),
                key.to_owned().into(),
            )),
            _ => return Err(wrong("options `certificate` and `key` go together")),
        };
        let tls = encrypt.then(|| {
            let tls = match source.options.path("ca") {
                Some(path) => SslOpts::default()
                    .with_root_certs(vec![path.to_owned().into()])
                    .with_disable_built_in_roots(true),
                None => SslOpts::default(),
            };
            tls.with_client_identity(identity)
                .with_danger_accept_invalid_certs(!verify)
                .with_danger_skip_domain_validation(!verify)
        });
        let opts = OptsBuilder::from_opts(opts)
            .ssl_opts(tls)
            .prefer_socket(false)
            .tcp_keepalive(Some(KEEPALIVE_AFTER))
            .enable_cleartext_plugin(false)
            .stmt_cache_size(STATEMENTS_MAX)
            .local_infile_handler(None::<mysql_async::WhiteListFsHandler>)
            .setup(Vec::<String>::new())
            .init(Vec::<String>::new());
        Ok(Self {
            source_name: source.name.clone(),
            login: Login {
                opts: opts.into(),
                password_file: source.options.path("password_file").map(Path::to_owned),
            },
            server: OnceLock::new(),
        })
    }

    /// The server, as the last session found it; the most modest one before the first.
    pub fn server(&self) -> Server {
        self.server.get().copied().unwrap_or(Server {
            is_mariadb: false,
            has_json_table: false,
        })
    }

    /// Pins the session, then reads the settings back: a proxy may have kept some for itself.
    async fn pin(&self, conn: &mut Conn) -> Result<Server, ConnectorError> {
        let failed = |error: mysql_async::Error| failure(&self.source_name, &error);
        conn.query_drop("SET NAMES utf8mb4 COLLATE utf8mb4_bin")
            .await
            .map_err(failed)?;
        conn.query_drop(format!(
            "SET SESSION sql_mode = '{SQL_MODE}', time_zone = '+00:00', sql_auto_is_null = 0, \
             sql_select_limit = 18446744073709551615, net_write_timeout = 31536000, \
             max_sort_length = {SORT_LENGTH}"
        ))
        .await
        .map_err(failed)?;
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .await
            .map_err(failed)?;
        let settings: Option<(String, String, String, String, String)> = conn
            .query_first(
                "SELECT @@session.sql_mode, @@session.time_zone, @@session.character_set_client, \
                 @@session.character_set_results, VERSION()",
            )
            .await
            .map_err(failed)?;
        match settings {
            Some((mode, zone, client, results, version))
                if is_same_mode(&mode) && zone == "+00:00" && client == "utf8mb4" && results == "utf8mb4" =>
            {
                let server = server(&version);
                if server.is_mariadb {
                    // Its cache of subqueries takes two texts for one where their column's collation does.
                    conn.query_drop("SET SESSION optimizer_switch = 'subquery_cache=off'")
                        .await
                        .map_err(failed)?;
                }
                Ok(server)
            }
            _ => {
                let message = "it did not keep the session's settings (sql_mode, time_zone, character set)";
                Err(ConnectorError::new(&self.source_name, ErrorClass::Options, message))
            }
        }
    }
}

fn is_same_mode(mode: &str) -> bool {
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split(',').map(str::to_owned).collect();
        words.sort();
        words
    };
    sorted(mode) == sorted(SQL_MODE)
}

fn server(version: &str) -> Server {
    let is_mariadb = version.contains("MariaDB");
    // MariaDB may put a version of MySQL's before its own.
    let own = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut numbers = own
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Server {
        is_mariadb,
        has_json_table: if is_mariadb {
            version >= (10, 6)
        } else {
            version >= (8, 0)
        },
    }
}

#[async_trait]
impl Connect for Sessions {
    type Connection = Session;

    async fn connect(&self) -> Result<Session, ConnectorError> {
        let conn = Conn::new(self.login.opts(&self.source_name).await?).await;
        let mut conn = conn.map_err(|error| failure(&self.source_name, &error))?;
        let server = self.pin(&mut conn).await?;
        let _ = self.server.set(server);
        Ok(Session {
            conn,
            server,
            seconds_max: None,
            source_name: self.source_name.clone(),
            login: self.login.clone(),
        })
    }

    fn is_closed(&self, _: &Session) -> bool {
        // Only an exchange tells; `check` and the first statement are one.
        false
    }

    async fn check(&self, session: &mut Session) -> bool {
        session.conn.ping().await.is_ok()
    }

    async fn reset(&self, session: &mut Session) -> bool {
        session.conn.query_drop("ROLLBACK").await.is_ok()
    }
}

impl Session {
    /// Begins the snapshot; no statement in it may run longer than `left`.
    pub async fn begin(&mut self, left: Duration) -> Result<(), ConnectorError> {
        // In whole seconds, so that it is mostly what the session has already; a deadline in between kills the statement itself.
        let seconds = (left.as_millis().div_ceil(1_000)).clamp(1, 31_536_000);
        if self.seconds_max != Some(seconds) {
            let bound = if self.server.is_mariadb {
                format!("SET SESSION max_statement_time = {seconds}")
            } else {
                format!("SET SESSION max_execution_time = {}", seconds * 1_000)
            };
            self.seconds_max = None;
            self.run(&bound).await?;
            self.seconds_max = Some(seconds);
        }
        self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await
    }

    async fn run(&mut self, sql: &str) -> Result<(), ConnectorError> {
        let ran = self.conn.query_drop(sql).await;
        ran.map_err(|error| failure(&self.source_name, &error))
    }

    /// What can kill this session's statement while it runs.
    pub fn killer(&self) -> Killer {
        Killer {
            id: self.conn.id(),
            source_name: self.source_name.clone(),
            login: self.login.clone(),
        }
    }
}

impl Killer {
    /// Returns when the server has taken the request, or not in time; whether nothing of the request is left that could
    /// be carried out later.
    pub async fn kill(&self, what: Kill) -> bool {
        let request = async {
            let Ok(opts) = self.login.opts(&self.source_name).await else {
                return true;
            };
            let Ok(mut conn) = Conn::new(opts).await else {
                return true;
            };
            let what = match what {
                Kill::Statement => "QUERY",
                Kill::Session => "CONNECTION",
            };
            let answer = conn.query_drop(format!("KILL {what} {}", self.id)).await;
            let is_answered = matches!(answer, Ok(()) | Err(mysql_async::Error::Server(_)));
            let _ = conn.disconnect().await;
            is_answered
        };
        tokio::time::timeout(KILL_TIMEOUT, request).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    //! Which server a version means.

    use super::*;

    #[test]
    fn versions() {
        let check = |version, is_mariadb, has_json_table| {
            assert_eq!(
                server(version),
                Server {
                    is_mariadb,
                    has_json_table
                },
                "{version}"
            );
        };
        check("10.11.19-MariaDB-0+deb12u1", true, true);
        check("5.5.5-10.5.8-MariaDB", true, false);
        check("8.0.36", false, true);
        check("5.7.44-log", false, false);
    }
}
