//! What tests of Caliber run against: private database servers, the real bank's data, and the suite that every
//! connector passes.
//!
//! Owns: servers that live as long as the test process, never as root, with data in a temporary folder. Never:
//! shipped; a server that somebody else runs.

mod authority;
mod bank;
mod checkout;
pub mod conformance;
mod mariadb;
mod postgres;
mod proxy;
mod s3;
mod server;
pub mod torture;

pub use authority::{Authority, Identity};
pub use bank::{Bank, bank};
pub use checkout::checkout;
pub use mariadb::MariaDb;
pub use postgres::Postgres;
pub use proxy::{Fault, Proxy, Rule, Toward};
pub use s3::S3Server;
