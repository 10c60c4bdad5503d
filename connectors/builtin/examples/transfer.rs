//! How fast one read brings rows of PostgreSQL or MariaDB into Arrow: seven columns of TPC-H's `lineitem`.
//!
//!     cargo run --release -p caliber-connectors --example transfer -- [postgres|mysql] [ROWS] [ROUNDS]
//!     cargo run --release -p caliber-connectors --example transfer -- postgres 6000000 hold
//!     cargo run --release -p caliber-connectors --example transfer -- postgres URL [ROUNDS]
//!
//! The first form starts a private server, generates the table there and reads it. `hold` leaves the server up until
//! standard input ends, so that something else can read the same rows; the third form reads a table that is there.
//!
//! Owns: the table, the clock, what is printed. Never: a claim over anything it did not measure in this run.

#![expect(clippy::print_stdout, reason = "a measurement's result is what it prints")]

use std::any::Any;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{Connector, Options, QueryContext, RemoteQuery, RemoteTable, SourceSpec, StatementLog};
use caliber_connectors::FACTORIES;
use caliber_testkit::{MariaDb, Postgres};
use futures::TryStreamExt;
use secrecy::SecretString;

const ROWS: u64 = 6_000_000;
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 8;
const COLUMNS: [&str; 7] = [
    "l_orderkey",
    "l_partkey",
    "l_suppkey",
    "l_quantity",
    "l_extendedprice",
    "l_discount",
    "l_shipdate",
];

/// The table as TPC-H declares it.
const TABLE: &str = "CREATE TABLE lineitem (l_orderkey integer NOT NULL, l_partkey integer NOT NULL, \
    l_suppkey integer NOT NULL, l_linenumber integer NOT NULL, l_quantity numeric(15,2) NOT NULL, \
    l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL, \
    l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, \
    l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct char(25) NOT NULL, \
    l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL)";

struct Silent;

impl StatementLog for Silent {
    fn sent(&self, _: &str, _: usize) {}
    fn received(&self, _: usize, _: usize) {}
}

/// A server of this process, which ends when it is dropped.
type Server = Box<dyn Any>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = arguments.first().map_or("postgres", String::as_str);
    let second = arguments.get(1).map(String::as_str);
    let third = arguments.get(2).map(String::as_str);
    let (server, url) = match second.filter(|text| text.contains("://")) {
        Some(url) => (Box::new(()) as Server, url.to_owned()),
        None => {
            let rows = second.map_or(Ok(ROWS), str::parse).context("ROWS is a number")?;
            start(kind, rows).await?
        }
    };
    if third == Some("hold") {
        println!("{url}");
        std::io::stdin().read_to_end(&mut Vec::new())?;
    } else {
        let rounds = third.map_or(Ok(ROUNDS), str::parse).context("ROUNDS is a number")?;
        measure(kind, &url, rounds).await?;
    }
    drop(server);
    Ok(())
}

async fn start(kind: &str, rows: u64) -> Result<(Server, String)> {
    if kind == "mysql" {
        let server = MariaDb::start()?;
        let url = server.create_database("transfer").await?;
        server.run("transfer", TABLE).await?;
        let line = "seq, 1 + seq * 7919 % 200000, 1 + seq * 104729 % 10000, 1 + seq % 7, 1 + seq % 50, \
            900 + seq * 6151 % 10400000 / 100, seq % 11 / 100, seq % 9 / 100, 'N', 'O', \
            DATE '1992-01-02' + INTERVAL seq % 2526 DAY, DATE '1992-02-01' + INTERVAL seq % 2526 DAY, \
            DATE '1992-01-12' + INTERVAL seq % 2526 DAY, 'DELIVER IN PERSON', 'TRUCK', 'carefully final deposits above'";
        server
            .run(
                "transfer",
                &format!("INSERT INTO lineitem SELECT {line} FROM seq_1_to_{rows}"),
            )
            .await?;
        server.run("transfer", "ANALYZE TABLE lineitem").await?;
        return Ok((Box::new(server), url));
    }
    let server = Postgres::start()?;
    let url = server.create_database("transfer").await?;
    server.run("transfer", TABLE).await?;
    let line = "n / 4, 1 + n * 7919 % 200000, 1 + n * 104729 % 10000, 1 + n % 7, 1 + n % 50, \
        (90000 + n * 6151 % 10400000)::numeric / 100, (n % 11)::numeric / 100, (n % 9)::numeric / 100, 'N', 'O', \
        date '1992-01-02' + (n % 2526)::int, date '1992-02-01' + (n % 2526)::int, date '1992-01-12' + (n % 2526)::int, \
        'DELIVER IN PERSON', 'TRUCK', 'carefully final deposits above'";
    server
        .run(
            "transfer",
            &format!("INSERT INTO lineitem SELECT {line} FROM generate_series(1::bigint, {rows}) n"),
        )
        .await?;
    server.run("transfer", "VACUUM ANALYZE lineitem").await?;
    Ok((Box::new(server), url))
}

async fn measure(kind: &str, url: &str, rounds: usize) -> Result<()> {
    let factory = FACTORIES
        .iter()
        .find(|factory| factory.kind() == kind)
        .with_context(|| format!("no connector `{kind}`"))?;
    let options = Options::default().with("url", OptionValue::Secret(SecretString::from(url)));
    let connector = factory.open(&SourceSpec {
        name: "transfer".to_owned(),
        options,
        connections_max: CONNECTIONS,
        statement_timeout: Duration::from_secs(600),
    })?;
    let schema = connector.introspect().await?;
    let table = schema.table("lineitem").context("no table `lineitem`")?;
    let query = query(table)?;
    println!("| round | rows | seconds | rows/s | MB/s of Arrow | own CPU s | peak MiB over idle |");
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for round in 1..=rounds {
        let idle = memory("VmRSS:")?;
        let busy = processor()?;
        let begun = Instant::now();
        let (rows, bytes) = read(&*connector, &query).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let busy = processor()? - busy;
        let peak = memory("VmHWM:")?.saturating_sub(idle);
        println!(
            "| {round} | {rows} | {seconds:.2} | {:.0} | {:.0} | {busy:.2} | {} |",
            share(rows, seconds),
            share(bytes, seconds) / 1e6,
            peak / 1024,
        );
    }
    Ok(())
}

/// Seven columns of the table, all of its rows.
fn query(table: &RemoteTable) -> Result<RemoteQuery> {
    let column = |name: &&str| table.columns.iter().position(|column| column.name == **name);
    let columns: Option<Vec<usize>> = COLUMNS.iter().map(column).collect();
    let columns = columns.context("a column of lineitem is missing")?;
    Ok(RemoteQuery::of_table(Arc::new(table.clone()), &columns, None, None))
}

/// Reads to the end and keeps nothing; rows and bytes of values (not of what arrow reserved).
async fn read(connector: &dyn Connector, query: &RemoteQuery) -> Result<(u64, u64)> {
    let reader = connector.reader(QueryContext {
        query_id: "transfer".to_owned(),
        deadline: Instant::now() + Duration::from_secs(600),
        batch_rows_max: 8192,
        buffer_bytes_max: 64 << 20,
        log: Arc::new(Silent),
    });
    let mut batches = reader.read(query).await?;
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows() as u64;
        for column in batch.columns() {
            bytes += column.to_data().get_slice_memory_size()? as u64;
        }
    }
    ensure!(rows > 0, "the table is empty");
    Ok((rows, bytes))
}

#[expect(clippy::cast_precision_loss, reason = "a rate to print")]
fn share(amount: u64, seconds: f64) -> f64 {
    amount as f64 / seconds
}

/// A line of this process's status, in KiB.
fn memory(line: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    let number = found.and_then(|text| text.split_whitespace().next());
    number
        .with_context(|| format!("no {line}"))?
        .parse()
        .map_err(|error| anyhow!("{error}"))
}

/// Processor time this process has used, in seconds.
fn processor() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, after) = stat.rsplit_once(')').context("no process name")?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("a short line")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
