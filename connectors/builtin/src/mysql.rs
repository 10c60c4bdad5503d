//! The `mysql` connector: MariaDB and MySQL.
//!
//! Owns: its options and how its parts fit together. Never: applies policy, keeps rows.

mod dialect;
mod failure;
mod introspect;
mod reader;
mod session;
mod value;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caliber_connector_spi::{
    Capabilities, Connector, ConnectorError, ConnectorFactory, ErrorClass, OptionKind, OptionSpec, QueryContext,
    RemoteQuery, SourceReader, SourceSchema, SourceSpec, render,
};
use mysql_async::Opts;

use crate::password;
use crate::pool::Pool;
use session::Sessions;

/// Opens `mysql` sources.
pub struct Factory;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "url",
        kind: OptionKind::Secret,
        required: true,
        description: "Where the database is and who reads it: mysql://user:password@host:port/database.",
    },
    OptionSpec {
        name: "tls",
        kind: OptionKind::Text,
        required: false,
        description: "`verify-full` (the rule for any host but this machine), `require` (encrypted, whoever answers) or `disable`.",
    },
    OptionSpec {
        name: "ca",
        kind: OptionKind::Path,
        required: false,
        description: "A PEM file of the authorities to trust instead of the public ones.",
    },
    OptionSpec {
        name: "certificate",
        kind: OptionKind::Path,
        required: false,
        description: "A PEM file of the certificate that Caliber shows the server; `key` is its key.",
    },
    OptionSpec {
        name: "key",
        kind: OptionKind::Path,
        required: false,
        description: "A PEM file of the private key of `certificate`.",
    },
    password::OPTION,
];

impl ConnectorFactory for Factory {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn open(&self, source: &SourceSpec) -> Result<Arc<dyn Connector>, ConnectorError> {
        let wrong = |message: &str| ConnectorError::new(&source.name, ErrorClass::Options, message);
        let url = source
            .options
            .secret("url")
            .ok_or_else(|| wrong("option `url` is missing"))?;
        // The driver's own error may quote the address, so it is not passed on.
        let opts = Opts::from_url(url)
            .map_err(|_| wrong("option `url` is not an address such as mysql://user:password@host:port/database"))?;
        if opts.db_name().is_none_or(str::is_empty) {
            return Err(wrong("option `url` names no database"));
        }
        let sessions = Sessions::new(source, opts)?;
        Ok(Arc::new(Mysql {
            source_name: source.name.clone(),
            statement_timeout: source.statement_timeout,
            pool: Pool::new(&source.name, sessions, source.connections_max),
        }))
    }
}

/// One database of a MariaDB or MySQL server.
struct Mysql {
    source_name: String,
    statement_timeout: Duration,
    pool: Pool<Sessions>,
}

impl fmt::Debug for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mysql")
            .field("source", &self.source_name)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Connector for Mysql {
    fn capabilities(&self) -> &Capabilities {
        &dialect::CAPABILITIES
    }

    async fn introspect(&self) -> Result<SourceSchema, ConnectorError> {
        introspect::introspect(&self.source_name, &self.pool).await
    }

    fn reader(&self, context: QueryContext) -> Arc<dyn SourceReader> {
        Arc::new(reader::Reader::new(
            &self.source_name,
            self.pool.clone(),
            self.statement_timeout,
            context,
        ))
    }

    fn statement(&self, query: &RemoteQuery) -> Option<String> {
        Some(render(query, &dialect::Mysql::of(self.pool.connect().server())).sql)
    }
}
