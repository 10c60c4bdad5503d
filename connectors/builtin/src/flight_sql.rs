//! The `flight_sql` connector: a schema of another Caliber, read over Arrow Flight SQL.
//!
//! Owns: its options and how its parts fit together. Never: applies policy (the other server does, for the account it is read
//! with), keeps rows.
//!
//! What one server is asked is what the other admits, so nearly everything is pushed, and evaluated there by the same
//! rules as here. Two reads of a query see two states: Flight SQL has no snapshot that they could share.

mod dialect;
mod failure;
mod introspect;
mod options;
mod parameters;
mod read;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use caliber_connector_spi::{
    Capabilities, Connector, ConnectorError, ConnectorFactory, OptionKind, OptionSpec, QueryContext, RemoteQuery,
    SourceReader, SourceSchema, SourceSpec, render,
};

use crate::password;
use crate::pool::Pool;
use session::Sessions;

/// Opens `flight_sql` sources.
pub struct Factory;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "url",
        kind: OptionKind::Secret,
        required: true,
        description: "Where the server is: grpc+tls://host:port, or grpc://host:port without encryption.",
    },
    OptionSpec {
        name: "schema",
        kind: OptionKind::Text,
        required: true,
        description: "The schema there whose tables and views are read.",
    },
    OptionSpec {
        name: "dialect",
        kind: OptionKind::Text,
        required: false,
        description: "What SQL the server speaks; `caliber` is the one there is.",
    },
    OptionSpec {
        name: "user",
        kind: OptionKind::Text,
        required: false,
        description: "Who reads it, with `password` or `password_file`.",
    },
    OptionSpec {
        name: "password",
        kind: OptionKind::Secret,
        required: false,
        description: "The password of `user`.",
    },
    password::OPTION,
    OptionSpec {
        name: "token",
        kind: OptionKind::Secret,
        required: false,
        description: "A bearer token, instead of `user` and a password.",
    },
    OptionSpec {
        name: "tls",
        kind: OptionKind::Text,
        required: false,
        description: "`disable` lets a `grpc://` address be another machine's: everything then crosses the network readable.",
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
];

impl ConnectorFactory for Factory {
    fn kind(&self) -> &'static str {
        "flight_sql"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn open(&self, source: &SourceSpec) -> Result<Arc<dyn Connector>, ConnectorError> {
        let schema = options::schema(source)?;
        let sessions = Sessions::new(source, options::endpoint(source)?, options::login(source)?);
        Ok(Arc::new(FlightSql {
            source_name: source.name.clone(),
            schema,
            statement_timeout: source.statement_timeout,
            pool: Pool::new(&source.name, sessions, source.connections_max),
        }))
    }
}

/// One schema of one server.
struct FlightSql {
    source_name: String,
    schema: String,
    statement_timeout: Duration,
    pool: Pool<Sessions>,
}

impl fmt::Debug for FlightSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightSql")
            .field("source", &self.source_name)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Connector for FlightSql {
    fn capabilities(&self) -> &Capabilities {
        &dialect::CAPABILITIES
    }

    async fn introspect(&self) -> Result<SourceSchema, ConnectorError> {
        introspect::introspect(&self.source_name, &self.schema, &self.pool, self.statement_timeout).await
    }

    fn reader(&self, context: QueryContext) -> Arc<dyn SourceReader> {
        Arc::new(read::Reader::new(
            &self.source_name,
            self.pool.clone(),
            self.statement_timeout,
            context,
        ))
    }

    fn statement(&self, query: &RemoteQuery) -> Option<String> {
        Some(render(query, &dialect::Caliber).sql)
    }
}
