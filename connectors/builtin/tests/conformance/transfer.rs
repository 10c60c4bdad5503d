//! Large tables of PostgreSQL, read in ranges over several connections: every row once, in one state, to the end or
//! not at all.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use arrow::util::display::array_value_to_string;
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{
    BatchStream, Comparison, Connector, ConnectorError, ErrorClass, Expr, Options, QueryContext, Relation, RemoteQuery,
    RemoteTable, SourceReader, StatementLog, Value,
};
use caliber_testkit::Postgres;
use futures::{StreamExt, TryStreamExt};
use secrecy::SecretString;
use tokio::net::{TcpStream, UnixListener};

use crate::{factory, spec};

/// Rows of `large`, of which every tenth is deleted. They fill some 5,700 blocks; 4,096 are enough to be cut.
const ROWS: i32 = 80_000;
const KEPT: usize = 72_000;

const TABLE: &str = "
CREATE TABLE large AS SELECT n AS id, n AS indexed, repeat(chr(65 + n % 26), 500) AS filler FROM generate_series(1, 80000) n;
CREATE INDEX ON large (indexed);
DELETE FROM large WHERE id % 10 = 0;
UPDATE large SET filler = 'moved' WHERE id % 1000 = 1;
ANALYZE large;";

/// The statements of a query.
#[derive(Default)]
pub(crate) struct Statements(std::sync::Mutex<Vec<String>>);

impl Statements {
    pub(crate) fn ranged(&self) -> usize {
        let all = self.0.lock().expect("no panic");
        all.iter().filter(|text| text.contains("ctid")).count()
    }
}

impl StatementLog for Statements {
    fn sent(&self, statement: &str, _: usize) {
        self.0.lock().expect("no panic").push(statement.to_owned());
    }

    fn received(&self, _: usize, _: usize) {}
}

pub(crate) async fn load(database: &str) -> String {
    let postgres = Postgres::shared().expect("a server");
    let url = postgres.create_database(database).await.expect("a database");
    postgres.run(database, TABLE).await.expect("loads");
    url
}

/// The one database of the tests that only read, and do not ask what else runs there.
async fn shared() -> &'static str {
    static URL: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    URL.get_or_init(|| load("ranges")).await
}

pub(crate) fn open(url: &str, connections_max: usize) -> Arc<dyn Connector> {
    let mut spec = spec(Options::default().with("url", OptionValue::Secret(SecretString::from(url))));
    spec.connections_max = connections_max;
    factory("postgres").open(&spec).expect("opens")
}

pub(crate) fn reader(connector: &dyn Connector, batch_rows_max: usize) -> (Arc<dyn SourceReader>, Arc<Statements>) {
    let log = Arc::new(Statements::default());
    let reader = connector.reader(QueryContext {
        query_id: "transfer".to_owned(),
        deadline: Instant::now() + Duration::from_secs(600),
        batch_rows_max,
        buffer_bytes_max: 64 << 20,
        log: log.clone(),
    });
    (reader, log)
}

pub(crate) async fn table(connector: &dyn Connector, name: &str) -> Arc<RemoteTable> {
    let schema = connector.introspect().await.expect("is described");
    Arc::new(schema.table(name).expect("a table").clone())
}

fn scan(table: &Arc<RemoteTable>) -> RemoteQuery {
    RemoteQuery::new(Relation::Scan { table: table.clone() })
}

/// The rows whose column `column` is `op` to `value`.
pub(crate) fn filtered(table: &Arc<RemoteTable>, column: usize, op: Comparison, value: i64) -> RemoteQuery {
    let predicate = Expr::Compare {
        op,
        left: Box::new(Expr::Column(column)),
        right: Box::new(Expr::Value(Value::Int(value))),
    };
    RemoteQuery::new(Relation::Filter {
        input: Box::new(scan(table).root),
        predicate,
    })
}

/// `id` and the beginning of `filler`, in order.
fn sorted(batches: &[RecordBatch]) -> Vec<(i32, String)> {
    let mut rows: Vec<(i32, String)> = batches
        .iter()
        .flat_map(|batch| {
            let fillers = batch.column(2).as_string::<i32>();
            let ids = batch.column(0).as_primitive::<Int32Type>().values();
            ids.iter()
                .zip(fillers.iter())
                .map(|(id, filler)| (*id, filler.expect("a filler").to_owned()))
        })
        .collect();
    rows.sort();
    rows
}

/// What `sorted` gives for the rows of `large`.
fn expected(keep: impl Fn(i32) -> bool) -> Vec<(i32, String)> {
    let filler = |id: i32| match id % 1000 {
        1 => "moved".to_owned(),
        _ => char::from(65 + u8::try_from(id % 26).expect("a letter"))
            .to_string()
            .repeat(500),
    };
    (1..=ROWS)
        .filter(|id| id % 10 != 0 && keep(*id))
        .map(|id| (id, filler(id)))
        .collect()
}

pub(crate) async fn all(batches: BatchStream) -> Result<Vec<RecordBatch>, ConnectorError> {
    batches.try_collect().await
}

/// A machine with one core reads everything in one piece.
pub(crate) fn cuts() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F, what: &str) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "never came: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_give_every_row_once() {
    let url = shared().await;
    let large = table(&*open(url, 1), "large").await;
    let check = async |connections: usize, query: RemoteQuery, is_cut: bool, keep: &dyn Fn(i32) -> bool| {
        // A pool of its own, so that no connection of the last query is still on its way back.
        let (reader, log) = reader(&*open(url, connections), 8192);
        let rows = sorted(
            &all(reader.read(&query).await.expect("reads"))
                .await
                .expect("reads to the end"),
        );
        let what = format!("{:?}", log.0.lock().expect("no panic").first());
        assert!(rows == expected(keep), "{what}: {} rows", rows.len());
        assert_eq!(log.ranged() > 1, is_cut && cuts(), "{what}");
    };
    check(4, scan(&large), true, &|_| true).await;
    check(2, scan(&large), false, &|_| true).await;
    let more = filtered(&large, 0, Comparison::Greater, 7_000);
    check(4, more, true, &|id| id > 7_000).await;
    let one = filtered(&large, 0, Comparison::Equal, 7_001);
    check(4, one, false, &|id| id == 7_001).await;
    let few = filtered(&large, 1, Comparison::Less, 100);
    check(4, few, false, &|id| id < 100).await;
    let mut limited = scan(&large);
    limited.root = Relation::Limit {
        input: Box::new(limited.root),
        rows: u64::try_from(ROWS).expect("positive"),
    };
    check(4, limited, false, &|_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_grant_does_not_reach_ctid() {
    let url = shared().await;
    let postgres = Postgres::shared().expect("a server");
    let script = "CREATE ROLE clerk LOGIN PASSWORD 'clerk'; GRANT SELECT (id) ON large TO clerk;";
    postgres.run("ranges", script).await.expect("grants");
    let (_, address) = url.split_once('@').expect("an account");
    let connector = open(&format!("postgres://clerk:clerk@{address}"), 4);
    let large = table(&*connector, "large").await;
    let (reader, log) = reader(&*connector, 8192);
    let batches = all(reader.read(&scan(&large)).await.expect("reads"))
        .await
        .expect("reads to the end");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), KEPT);
    assert_eq!(log.ranged(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heirs_are_read_with_their_parent() {
    let postgres = Postgres::shared().expect("a server");
    let url = load("heirs").await;
    let script = "CREATE TABLE heir () INHERITS (large); INSERT INTO heir VALUES (100000, 0, 'heir'); ANALYZE;";
    postgres.run("heirs", script).await.expect("inherits");
    let connector = open(&url, 4);
    let large = table(&*connector, "large").await;
    let (reader, _) = reader(&*connector, 8192);
    let rows = sorted(
        &all(reader.read(&scan(&large)).await.expect("reads"))
            .await
            .expect("reads to the end"),
    );
    assert_eq!(rows.len(), KEPT + 1);
    assert_eq!(rows.last(), Some(&(100_000, "heir".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_of_one_state_and_block_no_other_read() {
    let postgres = Postgres::shared().expect("a server");
    let connector = open(&load("range_state").await, 4);
    let large = table(&*connector, "large").await;
    let query = scan(&large);
    let (one, _) = reader(&*connector, 64);
    // As many reads as connections, each of which would take several, none consumed.
    let mut held: Vec<BatchStream> = Vec::new();
    for at in 0..4 {
        let mut batches = one.read(&query).await.expect("reads");
        batches.next().await.expect("a batch").expect("a batch");
        held.push(batches);
        let insert = format!("INSERT INTO large SELECT {at}, 0, 'late' FROM generate_series(1, 100)");
        postgres.run("range_state", &insert).await.expect("inserts");
        let moved = "UPDATE large SET filler = 'late' WHERE id % 500 = 2";
        postgres.run("range_state", moved).await.expect("updates");
    }
    for batches in held.into_iter().rev() {
        let rest = all(batches).await.expect("the rest");
        assert!(sorted(&rest).iter().all(|(_, filler)| filler != "late"));
        assert_eq!(rest.iter().map(RecordBatch::num_rows).sum::<usize>(), KEPT - 64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_ranges_are_cancelled_and_leave_the_query_its_snapshot() {
    let postgres = Postgres::shared().expect("a server");
    let connector = open(&load("range_drop").await, 4);
    let large = table(&*connector, "large").await;
    let (one, log) = reader(&*connector, 16);
    for _ in 0..5 {
        let mut batches = one.read(&scan(&large)).await.expect("reads");
        batches.next().await.expect("a batch").expect("a batch");
        drop(batches);
        let idle = || async { postgres.running("range_drop").await.expect("a count") == 0 };
        until(idle, "the dropped statements have ended").await;
    }
    assert_eq!(log.ranged() > 0, cuts());
    let rest = all(one.read(&scan(&large)).await.expect("reads"))
        .await
        .expect("reads to the end");
    assert_eq!(rest.iter().map(RecordBatch::num_rows).sum::<usize>(), KEPT);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_range_is_no_end() {
    let postgres = Postgres::shared().expect("a server");
    let url = load("range_broken").await;
    let large = table(&*open(&url, 1), "large").await;
    let reading = "FROM pg_stat_activity WHERE datname = 'range_broken' AND pid <> pg_backend_pid() \
        AND (query LIKE '%ctid%' OR NOT $cut)"
        .replace("$cut", &cuts().to_string());
    for order in ["ASC", "DESC"] {
        let connector = open(&url, 4);
        let (one, log) = reader(&*connector, 64);
        let mut batches = one.read(&scan(&large)).await.expect("reads");
        batches.next().await.expect("a batch").expect("a batch");
        if cuts() {
            until(|| async { log.ranged() > 1 }, "a second connection").await;
            let begun = format!("SELECT count(*) > 1 {reading}");
            let both = || async { postgres.value("postgres", &begun).await.expect("a count") == "t" };
            until(both, "a second statement").await;
        }
        // The first connection or another: none may be missed.
        let kill = format!("SELECT pg_terminate_backend(pid) {reading} ORDER BY backend_start {order} LIMIT 1");
        assert_eq!(postgres.value("postgres", &kill).await.expect("kills"), "t");
        let error = all(batches).await.expect_err("a truncated result is an error (INV-8)");
        assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
        drop(one);
        let (again, _) = reader(&*connector, 8192);
        let rows = all(again.read(&scan(&large)).await.expect("reads"));
        let rows = rows.await.expect("reads again");
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), KEPT);
    }
}

/// A socket in the file system whose connections go to the server at `port`.
fn listen(folder: &Path, port: u16) {
    let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("listens");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_the_file_system_or_an_address_serves_as_well() {
    let postgres = Postgres::shared().expect("a server");
    let url = shared().await;
    let folder = tempfile::tempdir().expect("a folder");
    listen(folder.path(), postgres.port());
    let (account, _) = url.split_once('@').expect("an account");
    let (_, account) = account.split_once("//").expect("a scheme");
    let (user, password) = account.split_once(':').expect("a password");
    let socket = folder.path().display();
    for place in [
        format!("host={socket}"),
        format!("hostaddr=127.0.0.1 port={}", postgres.port()),
    ] {
        let url = format!("{place} user={user} password={password} dbname=ranges");
        let connector = open(&url, 4);
        let large = table(&*connector, "large").await;
        let (one, _) = reader(&*connector, 1000);
        let mut dropped = one.read(&scan(&large)).await.expect("reads");
        dropped.next().await.expect("a batch").expect("a batch");
        drop(dropped);
        let rows = sorted(
            &all(one.read(&scan(&large)).await.expect("reads"))
                .await
                .expect("reads to the end"),
        );
        assert!(rows == expected(|_| true), "{} rows", rows.len());
    }
}

/// Encrypts with a key and a certificate for 127.0.0.1, made by the server's own account: no other may own the key.
const ENCRYPT: [&str; 5] = [
    "COPY (SELECT 1) TO PROGRAM 'cat > ignored && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=caliber-test \
     -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout tls.key -out tls.pem'",
    "ALTER SYSTEM SET ssl_key_file = 'tls.key'",
    "ALTER SYSTEM SET ssl_cert_file = 'tls.pem'",
    "ALTER SYSTEM SET ssl = on",
    "SELECT pg_reload_conf()",
];

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_taken_out_of_tls_as_well() {
    let postgres = Postgres::start().expect("a server of its own");
    let url = postgres.create_database("secured").await.expect("a database");
    postgres.run("secured", TABLE).await.expect("loads");
    for statement in ENCRYPT {
        postgres
            .run("secured", statement)
            .await
            .expect("needs the program `openssl`");
    }
    let folder = postgres
        .value("secured", "SHOW data_directory")
        .await
        .expect("a folder");
    let options = Options::default()
        .with("url", OptionValue::Secret(SecretString::from(url.as_str())))
        .with("tls", OptionValue::Text("verify-full".to_owned()))
        .with("ca", OptionValue::Path(Path::new(&folder).join("tls.pem")));
    let mut spec = spec(options);
    spec.connections_max = 4;
    let connector = factory("postgres").open(&spec).expect("opens");
    // The server takes notice of its new settings a moment after it was told to.
    until(
        || async { connector.introspect().await.is_ok() },
        "an encrypted session",
    )
    .await;
    let large = table(&*connector, "large").await;
    let (one, log) = reader(&*connector, 1000);
    let mut dropped = one.read(&scan(&large)).await.expect("reads");
    dropped.next().await.expect("a batch").expect("a batch");
    let sessions = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
        WHERE a.application_name LIKE 'caliber %'";
    assert_eq!(postgres.value("secured", sessions).await.expect("sessions"), "t");
    drop(dropped);
    let idle = || async { postgres.running("secured").await.expect("a count") == 0 };
    until(idle, "the dropped statements have ended").await;
    let rows = sorted(
        &all(one.read(&scan(&large)).await.expect("reads"))
            .await
            .expect("reads to the end"),
    );
    assert!(rows == expected(|_| true), "{} rows", rows.len());
    assert_eq!(log.ranged() > 0, cuts());
}

/// Each row's first columns, beside the server's own text of them.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_dates_are_those_the_server_writes() {
    let postgres = Postgres::shared().expect("a server");
    let url = postgres.create_database("digits").await.expect("a database");
    let mut script = String::new();
    for (table, of) in [
        ("money", "15,2"),
        ("whole", "38,0"),
        ("wide", "38,10"),
        ("small", "38,38"),
        ("odd", "9,4"),
        ("tiny", "3,3"),
    ] {
        // Numbers of every length, with gaps of zeros, both signs, none.
        script.push_str(&format!(
            "CREATE TABLE {table} AS SELECT v, v::text AS t FROM (
               SELECT (sign * digits * 10::numeric ^ shift)::numeric({of}) AS v
               FROM unnest(ARRAY[-1, 1]) sign, generate_series(-40, 36) shift, unnest(ARRAY[0, 1, 7, 10000.0001, 9999,
                 99999999.9999, 100000001, 1234567890123456789, 99999999999999999999999999999999999999, 0.05, 5000.5]) digits
               WHERE abs(digits * 10::numeric ^ shift) < 0.99 * 10::numeric ^ (split_part('{of}', ',', 1)::int - split_part('{of}', ',', 2)::int)
             ) x UNION ALL SELECT NULL, NULL;\n"
        ));
    }
    script.push_str(
        "CREATE TABLE days AS SELECT d AS v, (d - date '1970-01-01')::text AS t FROM unnest(ARRAY[date '4713-01-01 BC',
           date '0001-12-31 BC', date '0001-01-01', date '1969-12-31', date '1970-01-01', date '2000-02-29', date '9999-12-31',
           date '5874897-12-31']) d;
         CREATE TABLE times AS SELECT s AS v, trunc(extract(epoch FROM s) * 1000000)::text AS t FROM unnest(ARRAY[
           timestamp '4713-01-01 00:00:00.000001 BC', timestamp '1969-12-31 23:59:59.999999',
           timestamp '2000-01-01', timestamp '294246-12-31 23:59:59.999999']) s;
         CREATE TABLE late AS SELECT timestamp '294276-12-31 23:59:59.999999' AS v;",
    );
    postgres.run("digits", &script).await.expect("loads");
    let connector = open(&url, 2);
    for name in ["money", "whole", "wide", "small", "odd", "tiny", "days", "times"] {
        let table = table(&*connector, name).await;
        let (one, _) = reader(&*connector, 100);
        let batches = all(one.read(&scan(&table)).await.expect("reads")).await.expect(name);
        let mut rows = 0;
        for batch in &batches {
            let value = match name {
                "days" => arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Int32),
                "times" => arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Int64),
                _ => Ok(batch.column(0).clone()),
            };
            let value = value.expect("a number");
            for row in 0..batch.num_rows() {
                let [here, there] = [&value, batch.column(1)].map(|column| array_value_to_string(column, row));
                assert_eq!(here.expect("displays"), there.expect("displays"), "{name}");
                rows += 1;
            }
        }
        let counted = postgres.value("digits", &format!("SELECT count(*) FROM {name}")).await;
        assert_eq!(rows.to_string(), counted.expect("a count"), "{name}");
        assert!(rows >= 4, "{name} has rows");
    }
    let late = table(&*connector, "late").await;
    let (one, _) = reader(&*connector, 100);
    let error = all(one.read(&scan(&late)).await.expect("reads"))
        .await
        .expect_err("beyond Arrow");
    assert_eq!(error.class, ErrorClass::Data, "{error}");
}
