//! A column of every type, read through the connector and printed as the database's own client prints it.
//!
//! Owns: the sources, the comparison cell by cell. Never: an expectation; the client is asked.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: what fails here is the test"
)]

mod described;
mod drift;
mod mysql;
mod pages;
mod postgres;
mod print;
mod sqlite;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use caliber_connector_spi::{
    Connector, ConnectorError, ErrorClass, Options, QueryContext, RemoteColumn, RemoteQuery, RemoteTable, SourceSpec,
    StatementLog,
};
use caliber_testkit::torture::Torture;
use futures::TryStreamExt;

struct Silent;

impl StatementLog for Silent {
    fn sent(&self, _: &str, _: usize) {}
    fn received(&self, _: usize, _: usize) {}
}

/// The source of `kind` with these options.
fn open(kind: &str, options: Options) -> Arc<dyn Connector> {
    let factory = caliber_connectors::FACTORIES
        .iter()
        .find(|factory| factory.kind() == kind);
    let spec = SourceSpec {
        name: "ledger".to_owned(),
        options,
        connections_max: 2,
        statement_timeout: Duration::from_secs(120),
    };
    factory.expect("a kind of this build").open(&spec).expect("opens")
}

async fn table(connector: &dyn Connector, name: &str) -> RemoteTable {
    let schema = connector.introspect().await.expect("is described");
    schema.table(name).expect("a table").clone()
}

/// Every row and column of a table, in batches of that many rows.
async fn whole(
    connector: &dyn Connector,
    table: &RemoteTable,
    batch_rows_max: usize,
) -> Result<RecordBatch, ConnectorError> {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    let query = RemoteQuery::of_table(Arc::new(table.clone()), &columns, None, None);
    read(connector, &query, batch_rows_max).await
}

/// What the query gives, which is nothing of it where anything fails.
async fn read(
    connector: &dyn Connector,
    query: &RemoteQuery,
    batch_rows_max: usize,
) -> Result<RecordBatch, ConnectorError> {
    let context = QueryContext {
        query_id: "torture".to_owned(),
        deadline: Instant::now() + Duration::from_secs(600),
        batch_rows_max,
        buffer_bytes_max: 64 << 20,
        log: Arc::new(Silent),
    };
    let mut stream = connector.reader(context).read(query).await?;
    let mut batches: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = stream.try_next().await.inspect_err(|error| {
        let is_first = batches.is_empty() || error.class != ErrorClass::Drift;
        assert!(is_first, "a table that changed is told before the first row");
    })? {
        batches.push(batch);
    }
    Ok(concat_batches(&query.schema(), &batches).expect("batches of one schema"))
}

/// Compares every cell with what the client printed, the first column being the row's number.
///
/// `print` spells a value of ours as the client does; it is told what the client printed, for what only that shows.
async fn check_printed(
    connector: &dyn Connector,
    torture: &Torture,
    printed: &[Vec<Option<String>>],
    print: impl Fn(&RemoteColumn, &RecordBatch, usize, usize, &str) -> String,
) {
    let table = table(connector, "torture").await;
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let wanted: Vec<&str> = std::iter::once("id")
        .chain(torture.columns.iter().map(|column| column.name))
        .collect();
    assert_eq!(names, wanted, "no column is left out");
    // One row at a time too: a type is the column's, not the first row's.
    for batch_rows_max in [1, 8_192] {
        let rows = whole(connector, &table, batch_rows_max)
            .await
            .expect("reads everything");
        assert_eq!(rows.num_rows(), printed.len());
        let mut wrong = Vec::new();
        for (row, expected) in printed.iter().enumerate() {
            assert_eq!(expected.len(), names.len());
            for (index, column) in table.columns.iter().enumerate() {
                let client = expected[index].as_deref();
                let is_null = rows.column(index).is_null(row);
                let ours = (!is_null).then(|| print(column, &rows, index, row, client.unwrap_or_default()));
                if ours.as_deref() != client {
                    wrong.push(format!(
                        "row {row}, `{}` ({}): {ours:?} for {client:?}",
                        column.name, column.native_type
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "{} cells differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// Each refused value is an error that names its column.
async fn check_refused(connector: &dyn Connector, torture: &Torture) {
    for refused in torture.refused {
        let name = refused.table;
        let error = whole(connector, &table(connector, name).await, 8_192)
            .await
            .expect_err(name);
        assert_eq!(error.class, ErrorClass::Data, "{name}: {error}");
        assert!(error.message.contains(&format!("`{name}.c`")), "{name}: {error}");
    }
}
