//! The governed engine: one SQL over every source of a project, for one principal at a time.
//!
//! Owns: governed planning, pushdown, enforcement, limits. Never: knows gRPC, a driver, or how anyone logged in.
//!
//! The life of a query, folder by folder: `statement` reads the text, `resolve` finds its names in the principal's
//! catalog, `expand` opens unified views and `metrics` queries over metrics, `plan` and `rules` plan and optimise, `govern` holds policy below all of it,
//! `absorb` turns scans into remote queries, `evaluate` makes local evaluation exact, `run` delivers the rows. `session` is their order.

mod absorb;
mod engine;
mod error;
mod evaluate;
mod executable;
mod expand;
mod explain;
mod govern;
mod limits;
mod metrics;
mod plan;
pub mod policy_tools;
mod resolve;
mod rules;
mod run;
mod session;
mod statement;
#[cfg(test)]
mod tests;
mod verify_online;

pub use engine::{Clock, Engine, EngineOptions};
pub use error::EngineError;
pub use govern::check_syntax::check_syntax;
pub use govern::policy_expr::{AttributeFault, Reason};
pub use metrics::compare::{ComparedBy, Comparison};
pub use resolve::listing::{Listing, TableListing};
pub use run::audit::{AuditCaller, AuditEnd, AuditEntry, AuditRefusal, AuditSink, AuditStart, NoAudit, Origin};
pub use run::receipt::{MetricUsed, Receipt, SourceReceipt};
pub use run::result_stream::QueryStream;
pub use session::{Prepared, Session};
pub use statement::StatementText;

use caliber_connector_spi::{ConnectorFactory, ConnectorKind};

/// The connectors' declarations, for `caliber_catalog::load`.
pub fn connector_kinds(factories: &[&'static dyn ConnectorFactory]) -> Vec<ConnectorKind> {
    factories
        .iter()
        .map(|factory| ConnectorKind {
            kind: factory.kind(),
            options: factory.options(),
        })
        .collect()
}
