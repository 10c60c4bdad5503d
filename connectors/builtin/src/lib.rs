//! The connectors that Caliber is built with, one module for each kind of source.
//!
//! Owns: the list of kinds. Never: applies policy, keeps rows, names the engine.
//! Adding a connector is its own module and its line in `FACTORIES`.

mod batch;
mod breaker;
mod decimal;
mod files;
mod flight_sql;
mod mysql;
mod outlet;
mod password;
mod pool;
mod postgres;
mod serial;
mod sqlite;

use caliber_connector_spi::ConnectorFactory;

/// Every kind of source this build can read, in the order documentation lists them.
pub static FACTORIES: &[&dyn ConnectorFactory] = &[
    &postgres::Factory,
    &mysql::Factory,
    &sqlite::Factory,
    &files::Factory,
    &flight_sql::Factory,
];
