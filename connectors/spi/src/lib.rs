//! The contract a source fulfils, and the relational sub-language it may be asked to run.
//!
//! Owns: `ConnectorFactory`, `Connector`, `SourceReader`, `Capabilities`, `RemoteQuery`, `ConnectorError`.
//! Never: names an engine type, applies policy, opens a connection.

mod capabilities;
mod connector;
mod error;
mod expr;
mod query;
mod render;

pub use capabilities::{Capabilities, Function, Refusal, TypeClass, TypeSet};
pub use connector::{BatchStream, Connector, ConnectorFactory, QueryContext, SourceReader, SourceSpec, StatementLog};
pub use error::{ConnectorError, ErrorClass};
pub use expr::{Arithmetic, Comparison, DatePart, Expr, Value};
pub use query::{Aggregate, AggregateFunction, JoinKind, OutputColumn, Relation, RemoteQuery, SortKey, TableRead};
pub use render::{Call, Dialect, Form, Operand, Parameter, RenderedQuery, Sql, Subquery, operator, render};

pub use caliber_catalog::source::{ConnectorKind, OptionKind, OptionSpec, Options};
pub use caliber_catalog::source_schema::{ForeignKey, RemoteColumn, RemoteTable, SourceSchema};
