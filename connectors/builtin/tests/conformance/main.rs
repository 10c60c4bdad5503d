//! Every connector passes the one behaviour suite, over a source of its kind that this file's modules load.

#![expect(clippy::expect_used, reason = "a test program: what fails here is the test")]

mod alone;
mod edges;
mod exact;
mod files;
mod mysql;
mod parts;
mod planted;
mod postgres;
mod refusals;
mod sqlite;
mod tls;
mod transfer;

use std::time::Duration;

use caliber_connector_spi::{ConnectorFactory, Options, SourceSpec};
use caliber_testkit::conformance::{LATE, LATE_NAME, LATE_NUMBER};

/// The factory of `kind`.
fn factory(kind: &str) -> &'static dyn ConnectorFactory {
    *caliber_connectors::FACTORIES
        .iter()
        .find(|factory| factory.kind() == kind)
        .expect("a kind of this build")
}

/// A source named `ledger` with these options and two connections.
fn spec(options: Options) -> SourceSpec {
    SourceSpec {
        name: "ledger".to_owned(),
        options,
        connections_max: 2,
        statement_timeout: Duration::from_secs(120),
    }
}

/// Row `row` of a column that runs through `values`, the last place of each round being NULL.
fn literal(values: &[String], row: usize) -> &str {
    values.get(row % (values.len() + 1)).map_or("NULL", String::as_str)
}

/// Fills the table `late` of a database: `ids` inserts the numbers up to the one that stands for `{}`.
fn late(ids: &str) -> String {
    let last = (LATE - 1).to_string();
    let insert = ids.replace("{}", &last);
    format!(
        "{insert};\nUPDATE late SET number = {LATE_NUMBER}, name = '{LATE_NAME}', day = '9999-12-31' WHERE id = {last};\n"
    )
}
