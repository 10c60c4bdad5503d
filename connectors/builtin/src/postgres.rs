//! The `postgres` connector: PostgreSQL and what speaks its protocol and its dialect.
//!
//! Owns: its options and how its parts fit together. Never: applies policy, keeps rows.

mod cancel;
mod decoder;
mod dialect;
mod failure;
mod introspect;
mod ranges;
mod read;
mod reader;
mod session;
mod tap;
mod tls;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caliber_connector_spi::{
    Capabilities, Connector, ConnectorError, ConnectorFactory, ErrorClass, OptionKind, OptionSpec, QueryContext,
    RemoteQuery, SourceReader, SourceSchema, SourceSpec, render,
};

use crate::password;
use crate::pool::Pool;
use session::Sessions;

/// Opens `postgres` sources.
pub struct Factory;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "url",
        kind: OptionKind::Secret,
        required: true,
        description: "Where the database is and who reads it: postgres://user:password@host:port/database.",
    },
    OptionSpec {
        name: "schema",
        kind: OptionKind::Text,
        required: false,
        description: "The schema whose tables and views are read; `public` unless given.",
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
        "postgres"
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
        let config: tokio_postgres::Config = url
            .parse()
            .map_err(|_| wrong("option `url` is not an address such as postgres://user:password@host:port/database"))?;
        let tls = tls::choose(source, &config)?;
        let sessions = Sessions::new(source, config, tls);
        Ok(Arc::new(Postgres {
            source_name: source.name.clone(),
            schema: source.options.text("schema").unwrap_or("public").to_owned(),
            statement_timeout: source.statement_timeout,
            pool: Pool::new(&source.name, sessions, source.connections_max),
        }))
    }
}

/// One PostgreSQL database.
struct Postgres {
    source_name: String,
    schema: String,
    statement_timeout: Duration,
    pool: Pool<Sessions>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("source", &self.source_name)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Connector for Postgres {
    fn capabilities(&self) -> &Capabilities {
        &dialect::CAPABILITIES
    }

    async fn introspect(&self) -> Result<SourceSchema, ConnectorError> {
        introspect::introspect(&self.source_name, &self.schema, &self.pool).await
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
        Some(render(query, &dialect::Postgres::default()).sql)
    }
}
