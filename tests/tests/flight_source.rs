//! One Caliber reads another: `connector: flight_sql` over a server that runs (INV-5, INV-8, INV-10).
//!
//! The inner server's own source is Parquet with a column of every plain type, and rows that careless comparisons confuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt16Array, UInt64Array,
};
use caliber_catalog::source::OptionValue;
use caliber_connector_spi::{ConnectorFactory, ErrorClass, Options, SourceSpec};
use caliber_connectors::FACTORIES;
use caliber_engine::EngineOptions;
use caliber_testkit::Authority;
use caliber_testkit::conformance::{Fixture, LATE, LATE_DAY, LATE_NAME, LATE_NUMBER, NUMBERS, TEXTS, conformance};
use caliber_tests::engine::{ask, open, principal};
use caliber_tests::program::{Server, hash_of};
use datafusion::parquet::arrow::ArrowWriter;
use tempfile::TempDir;

/// The password of the account that the outer reads with.
const CANARY: &str = "canary-of-the-inner";

fn write(folder: &Path, name: &str, columns: Vec<(&str, ArrayRef)>) -> Result<()> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))?;
    let file = fs::File::create(folder.join(name))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

/// `values` over and over, with a NULL after each round.
fn cells<T: Clone>(values: &[T], rows: usize) -> Vec<Option<T>> {
    (0..rows)
        .map(|row| values.get(row % (values.len() + 1)).cloned())
        .collect()
}

fn hostile(folder: &Path) -> Result<()> {
    let rows = TEXTS.len() + 3;
    let ids: Vec<i64> = (0..i64::try_from(rows)?).collect();
    let microseconds = [
        -62_135_596_800_000_000,
        -1,
        0,
        1,
        951_782_400_000_000,
        253_402_300_799_999_999,
    ];
    let bytes: [&[u8]; 6] = [b"", b"\0", b"\0\xff'", b"a", b"a\0", b"a "];
    let decimals = [0, 1, -1, 999_999_999_999, -999_999_999_999, 1_000_000];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids))),
        ("truth", Arc::new(BooleanArray::from(cells(&[true, false], rows)))),
        (
            "tiny",
            Arc::new(Int8Array::from(cells(&[i8::MIN, -1, 0, i8::MAX], rows))),
        ),
        (
            "small",
            Arc::new(Int16Array::from(cells(&[i16::MIN, 0, i16::MAX], rows))),
        ),
        (
            "number",
            Arc::new(Int32Array::from(cells(&[i32::MIN, -1, 0, 1, i32::MAX], rows))),
        ),
        (
            "big",
            Arc::new(Int64Array::from(cells(
                &[i64::MIN, -1, 0, (1 << 53) + 1, i64::MAX],
                rows,
            ))),
        ),
        ("usmall", Arc::new(UInt16Array::from(cells(&[0, 1, u16::MAX], rows)))),
        (
            "ubig",
            Arc::new(UInt64Array::from(cells(&[0, 1 << 63, u64::MAX], rows))),
        ),
        (
            "f",
            Arc::new(Float64Array::from(cells(
                &[0.0, -0.0, 0.1, -1e308, 5e-324, f64::INFINITY],
                rows,
            ))),
        ),
        (
            "amount",
            Arc::new(Decimal128Array::from(cells(&decimals, rows)).with_precision_and_scale(12, 2)?),
        ),
        ("name", Arc::new(StringArray::from(cells(TEXTS, rows)))),
        (
            "quo\"te",
            Arc::new(StringArray::from(cells(&["A", "a", "O'Brien", "中", ""], rows))),
        ),
        ("raw", Arc::new(BinaryArray::from(cells(&bytes, rows)))),
        (
            "day",
            Arc::new(Date32Array::from(cells(&[-719_162, -1, 0, 11_016, 2_932_896], rows))),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(cells(&microseconds, rows))),
        ),
        (
            "at_utc",
            Arc::new(TimestampMicrosecondArray::from(cells(&microseconds, rows)).with_timezone("UTC")),
        ),
    ];
    write(folder, "hostile.parquet", columns)
}

/// The tables of the suite that have one form.
fn plain_tables(folder: &Path) -> Result<()> {
    let ids: Vec<i64> = (0..i64::try_from(NUMBERS)?).collect();
    let labels: Vec<String> = ids.iter().map(|id| format!("row {id}")).collect();
    let groups: Vec<i64> = ids.iter().map(|id| id % 7).collect();
    let numbers: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids))),
        ("label", Arc::new(StringArray::from(labels))),
        ("part", Arc::new(Int64Array::from(groups))),
    ];
    write(folder, "numbers.parquet", numbers)?;
    let last = |row: usize| row + 1 == LATE;
    let late: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..i64::try_from(LATE)?))),
        (
            "number",
            Arc::new(Int64Array::from_iter(
                (0..LATE).map(|row| last(row).then_some(LATE_NUMBER)),
            )),
        ),
        (
            "name",
            Arc::new(StringArray::from_iter(
                (0..LATE).map(|row| last(row).then_some(LATE_NAME)),
            )),
        ),
        (
            "day",
            Arc::new(Date32Array::from_iter(
                (0..LATE).map(|row| last(row).then_some(LATE_DAY)),
            )),
        ),
    ];
    write(folder, "late.parquet", late)
}

/// A Caliber over those tables, and the folder it lives in.
struct Inner {
    server: Server,
    #[expect(dead_code, reason = "held until the server has ended")]
    folder: TempDir,
}

impl Inner {
    fn start() -> Result<Self> {
        Self::with("")
    }

    /// With more lines of its project.
    fn with(settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        hostile(folder.path())?;
        plain_tables(folder.path())?;
        let project = format!(
            "version: 1\nname: inner\n{settings}sources:\n  files:\n    connector: files\n    path: .\n    tables:\n      \
             hostile: {{ path: hostile.parquet }}\n      numbers: {{ path: numbers.parquet }}\n      \
             late: {{ path: late.parquet }}\npolicies:\n  everything: {{ roles: [all], tables: ['*'] }}\n\
             users:\n  clerk: {{ password: '{}', roles: [all] }}\n",
            hash_of(CANARY)?
        );
        fs::write(folder.path().join("caliber.yaml"), project)?;
        let path = folder.path().to_str().context("a path of text")?;
        let server = Server::start(&["serve", "--project", path, "--listen", "127.0.0.1:0"], [])?;
        Ok(Self { server, folder })
    }

    fn options(&self, password: &str) -> Options {
        let url = OptionValue::Secret(self.server.uri.clone().into());
        Options::default()
            .with("url", url)
            .with("schema", OptionValue::Text("files".to_owned()))
            .with("user", OptionValue::Text("clerk".to_owned()))
            .with("password", OptionValue::Secret(password.into()))
    }

    /// A project of one source that reads it.
    fn outer(&self) -> Result<TempDir> {
        let folder = tempfile::tempdir()?;
        let project = format!(
            "version: 1\nname: outer\nsources:\n  group:\n    connector: flight_sql\n    url: {}\n    schema: files\n    \
             user: clerk\n    password: '${{env:PASSWORD}}'\npolicies:\n  everything: {{ roles: [all], tables: ['*'] }}\n",
            self.server.uri
        );
        fs::write(folder.path().join("caliber.yaml"), project)?;
        Ok(folder)
    }
}

fn factory() -> Result<&'static dyn ConnectorFactory> {
    let found = FACTORIES.iter().find(|factory| factory.kind() == "flight_sql");
    found.copied().context("a kind of this build")
}

fn spec(options: Options) -> SourceSpec {
    SourceSpec {
        name: "ledger".to_owned(),
        options,
        connections_max: 2,
        statement_timeout: std::time::Duration::from_secs(120),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_of_flight_sql() -> Result<()> {
    let inner = Inner::start()?;
    let with = |name: &'static str, value: &str| inner.options(CANARY).with(name, OptionValue::Secret(value.into()));
    conformance(&Fixture {
        factory: factory()?,
        spec: spec(inner.options(CANARY)),
        slow: None,
        writes: None,
        broken: vec![
            spec(with("password", "wrong")),
            spec(with("url", "grpc://127.0.0.1:1")),
            spec(with("url", "grpc+tls://127.0.0.1:1")),
        ],
        secrets: vec![CANARY.to_owned(), inner.server.uri.clone()],
    })
    .await;
    Ok(())
}

/// Statements, and how many rows of the inner an answer may need.
const STATEMENTS: &[(&str, u64)] = &[
    ("SELECT part, count(*), sum(id) FROM \"group\".numbers GROUP BY part", 7),
    ("SELECT count(*) FROM \"group\".numbers WHERE label LIKE 'row 1%'", 1),
    ("SELECT id FROM \"group\".numbers ORDER BY id DESC LIMIT 5", 5),
    (
        "SELECT h.name, n.label FROM \"group\".hostile h JOIN \"group\".numbers n ON n.id = h.id WHERE n.part = 3",
        7,
    ),
    (
        "SELECT count(*) FROM \"group\".numbers n WHERE EXISTS (SELECT 1 FROM \"group\".hostile h WHERE h.id = n.id)",
        1,
    ),
    (
        "SELECT date_trunc('month', day) AS month, count(*) FILTER (WHERE truth) FROM \"group\".hostile GROUP BY 1",
        6,
    ),
    (
        "SELECT CASE WHEN amount > 0 THEN 'in' ELSE 'out' END AS way, sum(amount), max(at_utc) FROM \"group\".hostile GROUP BY 1",
        2,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn inv5_one_caliber_over_another_gives_the_same_pushed_and_local() -> Result<()> {
    let inner = Inner::start()?;
    let outer = inner.outer()?;
    let variables = [("PASSWORD", CANARY.to_owned())];
    let mut sessions = Vec::new();
    for pushdown in [true, false] {
        let options = EngineOptions {
            pushdown,
            ..EngineOptions::default()
        };
        let (engine, warnings) = open(outer.path(), &variables, options).await?;
        ensure!(warnings.is_empty(), "{warnings:?}");
        sessions.push(engine.session(principal(&["all"], &[])));
    }
    for (sql, most) in STATEMENTS {
        let sorted = |mut rows: Vec<Vec<String>>| {
            rows.sort();
            rows
        };
        let found = sorted(ask(&sessions[0], sql).await.with_context(|| (*sql).to_owned())?);
        let wanted = sorted(ask(&sessions[1], sql).await.with_context(|| (*sql).to_owned())?);
        ensure!(
            found == wanted && !found.is_empty(),
            "{sql}: {found:?}, locally {wanted:?}"
        );
        let mut stream = sessions[0].execute(sql, None).await?;
        while let Some(batch) = futures::StreamExt::next(&mut stream).await {
            batch?;
        }
        let moved: u64 = stream.receipt().sources.iter().map(|source| source.rows).sum();
        ensure!(moved <= *most, "{sql}: {moved} rows left the inner server");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_server_that_ends_is_said_by_its_alias_alone() -> Result<()> {
    let inner = Inner::start()?;
    let outer = inner.outer()?;
    let variables = [("PASSWORD", CANARY.to_owned())];
    let (engine, _) = open(outer.path(), &variables, EngineOptions::default()).await?;
    let session = engine.session(principal(&["all"], &[]));
    ask(&session, "SELECT count(*) FROM \"group\".numbers").await?;
    let uri = inner.server.uri.clone();
    drop(inner);
    let begun = std::time::Instant::now();
    let refused = ask(&session, "SELECT count(*) FROM \"group\".numbers").await.err();
    let refused = refused.context("an answer of a server that is gone")?;
    ensure!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
    let said = format!("{refused} {refused:?}");
    ensure!(refused.code.as_str() == "SRC001" && said.contains("group"), "{said}");
    for hidden in [CANARY, uri.trim_start_matches("grpc://"), "numbers.parquet"] {
        ensure!(!said.contains(hidden), "{said}");
    }
    Ok(())
}

/// The class that a source which cannot be described is refused with; the error says nothing of where and who.
async fn refused(options: Options) -> Result<ErrorClass> {
    let introspected = match factory()?.open(&spec(options)) {
        Ok(connector) => connector.introspect().await.map(drop),
        Err(error) => Err(error),
    };
    let error = introspected.err().context("it was described")?;
    let shown = format!("{error} {error:?}");
    ensure!(error.to_string().starts_with("source `ledger`: "), "{shown}");
    for hidden in [CANARY, "other-canary", "127.0.0.1", "localhost", "clerk"] {
        ensure!(!shown.contains(hidden), "`{hidden}` in {shown}");
    }
    Ok(error.class)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_that_an_authority_vouches_for_is_asked() -> Result<()> {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let identity = authority.issue("localhost")?;
    let settings = format!(
        "server: {{ flight: {{ tls: {{ cert: {}, key: {} }} }} }}\n",
        identity.certificate.display(),
        identity.key.display()
    );
    let inner = Inner::with(&settings)?;
    let port = inner.server.uri.rsplit_once(':').context("no port")?.1.to_owned();
    let at = |address: &str, ca: Option<PathBuf>| {
        let url = OptionValue::Secret(format!("{address}:{port}").into());
        let options = inner.options(CANARY).with("url", url);
        match ca {
            Some(ca) => options.with("ca", OptionValue::Path(ca)),
            None => options,
        }
    };
    let trusted = at("grpc+tls://localhost", Some(authority.certificate()));
    factory()?.open(&spec(trusted))?.introspect().await?;
    for untrusted in [
        // Its certificate names another host; an authority that is not its own; those that everybody knows; in the clear.
        at("grpc+tls://127.0.0.1", Some(authority.certificate())),
        at("grpc+tls://localhost", Some(other.certificate())),
        at("grpc+tls://localhost", None),
        at("grpc://localhost", None),
    ] {
        ensure!(refused(untrusted).await? == ErrorClass::Unavailable);
    }
    let none = at("grpc+tls://localhost", Some("/no-such-file.pem".into()));
    ensure!(refused(none).await? == ErrorClass::Options);
    Ok(())
}

#[tokio::test]
async fn who_is_not_known_or_cannot_be_meant_is_refused() -> Result<()> {
    let inner = Inner::start()?;
    let secret = |text: &str| OptionValue::Secret(text.to_owned().into());
    let text = |text: &str| OptionValue::Text(text.to_owned());
    let here = |name: &'static str, value: OptionValue| inner.options(CANARY).with(name, value);
    for denied in [here("password", secret("other-canary")), here("user", text("nobody"))] {
        ensure!(refused(denied).await? == ErrorClass::Denied);
    }
    let token = Options::default()
        .with("url", secret(&inner.server.uri))
        .with("schema", text("files"))
        .with("token", secret("other-canary"));
    ensure!(refused(token).await? == ErrorClass::Denied);
    for wrong in [
        here("dialect", text("postgresql")),
        here("schema", text("")),
        here("tls", text("require")),
        here("token", secret("other-canary")),
        here("user", text("a:b")),
        here("url", secret("grpc://127.0.0.1")),
        here("url", secret("grpc://127.0.0.1:1/path")),
        here("url", secret("grpc://clerk:other-canary@127.0.0.1:1")),
        here("url", secret("postgres://127.0.0.1:1")),
        // Another machine, in the clear.
        here("url", secret("grpc://192.0.2.1:1")),
    ] {
        ensure!(refused(wrong).await? == ErrorClass::Options);
    }
    Ok(())
}
