//! Caliber's server and command line: the governed engine over Arrow Flight SQL.
//!
//! Owns: the Flight SQL service, log-in, tickets, the `caliber` program. Never: decides what a principal may see.

mod actions;
mod authenticate;
mod backoff;
pub mod cli;
mod connections;
pub mod demo;
mod encode;
mod front;
mod metadata;
mod oversized;
mod prepared;
mod running;
mod serve;
mod service;
mod session_options;
mod session_store;
mod sql_info;
mod state;
mod statement;
pub mod status;
mod ticket;
mod workers;

pub use serve::{RunningServer, ServeConfig, serve};
