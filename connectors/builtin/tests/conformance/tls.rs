//! Who is trusted over TLS, by whom, and passwords that change: PostgreSQL and MariaDB, with an authority of the test's own.

use std::fs;
use std::path::{Path, PathBuf};

use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Connector, ConnectorError, ErrorClass, Options, SourceSpec};
use caliber_testkit::{Authority, MariaDb, Postgres};
use secrecy::SecretString;

use crate::{factory, spec};

/// The first password of both accounts, and the second of `over_tls`.
const PASSWORDS: [&str; 2] = ["First-Secret-1", "Second-Secret-2"];

/// One server, asked in many ways.
struct Asked {
    kind: &'static str,
    port: u16,
    folder: PathBuf,
}

impl Asked {
    fn source(&self, host: &str, user: &str, password: &str, tls: &str, files: &[(&'static str, &Path)]) -> SourceSpec {
        let kind = self.kind;
        let url = format!("{kind}://{user}{password}@{host}:{}/secured", self.port);
        let mut options = Options::default().with("url", OptionValue::Secret(SecretString::from(url)));
        options = options.with("tls", OptionValue::Text(tls.to_owned()));
        for (option, path) in files {
            options = options.with(option, OptionValue::Path((*path).to_owned()));
        }
        spec(options)
    }

    async fn answer(&self, source: &SourceSpec) -> Result<(), ConnectorError> {
        let connector = factory(self.kind).open(source)?;
        described(&*connector).await
    }

    /// Asks in a way that must be refused; the class of the refusal.
    async fn refused(&self, source: &SourceSpec) -> ErrorClass {
        let error = self.answer(source).await.expect_err("refused");
        let shown = format!("{error:?}");
        for hidden in PASSWORDS.iter().chain(&["127.0.0.1", "localhost", "over_tls"]) {
            assert!(!shown.contains(hidden), "{shown}");
        }
        error.class
    }

    async fn who_is_trusted(&self, authority: &Authority, other: &Authority) {
        let ca = authority.certificate();
        let password = format!(":{}", PASSWORDS[0]);
        let ask = |host, tls, files: &[(&'static str, &Path)]| self.source(host, "over_tls", &password, tls, files);
        let known: &[(&'static str, &Path)] = &[("ca", &ca)];
        self.answer(&ask("localhost", "verify-full", known))
            .await
            .expect("answers");
        // Its certificate names another host.
        let refused = self.refused(&ask("127.0.0.1", "verify-full", known)).await;
        assert_eq!(refused, ErrorClass::Unavailable);
        // An authority that is not the server's; those that everybody knows.
        let unknown = other.certificate();
        for files in [&[("ca", unknown.as_path())][..], &[]] {
            let refused = self.refused(&ask("localhost", "verify-full", files)).await;
            assert_eq!(refused, ErrorClass::Unavailable);
        }
        // Whoever answers, where the project says so; and not in the clear, where the server does not want it.
        self.answer(&ask("127.0.0.1", "require", &[])).await.expect("answers");
        assert_eq!(
            self.refused(&ask("127.0.0.1", "disable", &[])).await,
            ErrorClass::Denied
        );
        assert_eq!(
            self.refused(&ask("127.0.0.1", "prefer", &[])).await,
            ErrorClass::Options
        );
        // With a certificate of ours, and not without.
        let own = authority.issue("reader").expect("a certificate");
        let by = |files: &[(&'static str, &Path)]| {
            self.source("localhost", "by_certificate", &password, "verify-full", files)
        };
        let with = [
            ("ca", ca.as_path()),
            ("certificate", &own.certificate),
            ("key", &own.key),
        ];
        self.answer(&by(&with)).await.expect("answers");
        let refused = self.refused(&by(known)).await;
        assert!(
            matches!(refused, ErrorClass::Denied | ErrorClass::Unavailable),
            "{refused:?}"
        );
        let foreign = other.issue("reader").expect("a certificate");
        let with = [
            ("ca", ca.as_path()),
            ("certificate", &foreign.certificate),
            ("key", &foreign.key),
        ];
        let refused = self.refused(&by(&with)).await;
        assert!(
            matches!(refused, ErrorClass::Denied | ErrorClass::Unavailable),
            "{refused:?}"
        );
        let half = [("ca", ca.as_path()), ("certificate", own.certificate.as_path())];
        assert_eq!(self.refused(&by(&half)).await, ErrorClass::Options);
    }

    /// One connector lives through a change of its password, which `change` makes at the server.
    async fn a_password_changes(&self, authority: &Authority, change: impl AsyncFn()) {
        let (ca, file) = (authority.certificate(), self.folder.join("password"));
        fs::write(&file, format!("{}\n", PASSWORDS[0])).expect("writes");
        let files = [("ca", ca.as_path()), ("password_file", file.as_path())];
        let source = self.source("localhost", "over_tls", "", "verify-full", &files);
        let connector = factory(self.kind).open(&source).expect("opens");
        described(&*connector).await.expect("answers");
        // Its sessions are ended with it.
        change().await;
        let error = described(&*connector).await.expect_err("the old password");
        assert_eq!(error.class, ErrorClass::Denied, "{error}");
        fs::write(&file, PASSWORDS[1]).expect("writes");
        described(&*connector).await.expect("answers with the new one");
        let shown = format!("{connector:?} {source:?}");
        assert!(!PASSWORDS.iter().any(|password| shown.contains(password)), "{shown}");
        fs::remove_file(&file).expect("removes");
        let gone = self.refused(&source).await;
        assert_eq!(gone, ErrorClass::Options);
    }
}

/// Describes a source; a connection that was ended meanwhile is noticed once.
async fn described(connector: &dyn Connector) -> Result<(), ConnectorError> {
    match connector.introspect().await {
        Err(error) if error.class == ErrorClass::Unavailable => connector.introspect().await.map(drop),
        other => other.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_over_tls() {
    let (authority, other) = (
        Authority::new().expect("an authority"),
        Authority::new().expect("another"),
    );
    let identity = authority.issue("localhost").expect("a certificate");
    let server = Postgres::start_secured(&authority, &identity).expect("a server");
    server.create_database("secured").await.expect("a database");
    for user in ["over_tls", "by_certificate"] {
        let sql = format!("CREATE USER {user} PASSWORD '{}'", PASSWORDS[0]);
        server.run("secured", &sql).await.expect("a user");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let asked = Asked {
        kind: "postgres",
        port: server.port(),
        folder: folder.path().to_owned(),
    };
    asked.who_is_trusted(&authority, &other).await;
    let change = async || {
        let changed = format!(
            "ALTER USER over_tls PASSWORD '{}';
             SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'over_tls'",
            PASSWORDS[1]
        );
        server.run("secured", &changed).await.expect("changes");
    };
    asked.a_password_changes(&authority, change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_over_tls() {
    let (authority, other) = (
        Authority::new().expect("an authority"),
        Authority::new().expect("another"),
    );
    let identity = authority.issue("localhost").expect("a certificate");
    let server = MariaDb::start_secured(&authority, &identity).expect("a server");
    server.create_database("secured").await.expect("a database");
    for (user, way) in [("over_tls", "SSL"), ("by_certificate", "X509")] {
        let sql = format!(
            "CREATE USER '{user}'@'127.0.0.1' IDENTIFIED BY '{}' REQUIRE {way};\nGRANT SELECT ON secured.* TO '{user}'@'127.0.0.1';\n",
            PASSWORDS[0]
        );
        server.run("secured", &sql).await.expect("a user");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let asked = Asked {
        kind: "mysql",
        port: server.port(),
        folder: folder.path().to_owned(),
    };
    asked.who_is_trusted(&authority, &other).await;
    let change = async || {
        let sql = format!(
            "ALTER USER 'over_tls'@'127.0.0.1' IDENTIFIED BY '{}';\nKILL USER 'over_tls'@'127.0.0.1';\n",
            PASSWORDS[1]
        );
        server.run("secured", &sql).await.expect("changes");
    };
    asked.a_password_changes(&authority, change).await;
}
