//! `connector: files`: Parquet, CSV, JSON and Arrow files in a folder or an object store, each table one file or a pattern of
//! files.
//!
//! Owns: the source's tables, their descriptions, the stream of a scan. Never: leaves the folder, follows a symbolic link,
//! keeps a row.
//!
//! The files of a table are looked at again for each read: a table whose columns are no longer those that the query was
//! planned with is drift, and so is a file that changes between two reads of a query, or while it is read.

mod chosen;
mod cloud;
mod contents;
mod describe;
mod json;
mod options;
mod pattern;
mod pinned;
mod places;
mod plan;
mod scan;
mod spelling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use caliber_connector_spi::{
    BatchStream, Capabilities, Connector, ConnectorError, ConnectorFactory, ErrorClass, OptionSpec, Options,
    QueryContext, RemoteColumn, RemoteQuery, RemoteTable, SourceReader, SourceSchema, SourceSpec, TypeClass, TypeSet,
};
use futures::StreamExt;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use describe::{Described, Why};
use options::TableSpec;
use pinned::{Failure, Pinned};
use places::{Refused, Root, State};
use scan::{Scan, changed, refused};

use crate::breaker::{Breaker, Open};

/// The longest wait for a place among the source's scans.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest wait for a store to say which files there are.
const LISTING_TIMEOUT: Duration = Duration::from_secs(20);

const EXACT: TypeSet = TypeSet::of(&[
    TypeClass::Bool,
    TypeClass::Integer,
    TypeClass::Decimal,
    TypeClass::Text,
    TypeClass::Binary,
    TypeClass::Date,
    TypeClass::Timestamp,
    TypeClass::TimestampUtc,
]);

/// The engine's own expressions evaluate every predicate, but for floats: the planner takes -0 for 0.
static CAPABILITIES: Capabilities = Capabilities {
    equality: EXACT,
    order: EXACT,
    keys: TypeSet::of(&[TypeClass::Integer, TypeClass::Text, TypeClass::Decimal, TypeClass::Date]),
    keys_max: 10_000,
    like: true,
    limit: true,
    parts: true,
    parameters_max: 10_000,
    ..Capabilities::NONE
};

/// Opens sources of files.
pub struct Factory;

#[async_trait]
impl ConnectorFactory for Factory {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn options(&self) -> &'static [OptionSpec] {
        options::OPTIONS
    }

    fn open(&self, source: &SourceSpec) -> Result<Arc<dyn Connector>, ConnectorError> {
        let error = |message: String| ConnectorError::new(&source.name, ErrorClass::Options, message);
        let root = root(&source.options).map_err(error)?;
        let tables = source
            .options
            .tables("tables")
            .ok_or_else(|| error("option `tables` is missing".to_owned()))?;
        let tables = tables
            .iter()
            .map(|(name, settings)| TableSpec::new(name, settings).map(|spec| (name.clone(), spec)))
            .collect::<Result<_, _>>()
            .map_err(error)?;
        Ok(Arc::new(Files {
            source: source.name.clone(),
            root,
            tables: Arc::new(tables),
            scans: Arc::new(Semaphore::new(source.connections_max.clamp(1, Semaphore::MAX_PERMITS))),
            statement_timeout: source.statement_timeout,
            columns: Arc::default(),
            breaker: Arc::default(),
        }))
    }
}

/// Where the source's files are.
fn root(options: &Options) -> Result<Root, String> {
    const URL: &str = "option `url` must be `file:///absolute/path`, `s3://bucket/prefix`, `gs://bucket/prefix` or \
                       `az://container/prefix`";
    let (scheme, place) = match (options.path("path"), options.text("url")) {
        (Some(path), None) => {
            cloud::check_options(options, "file")?;
            return Ok(Root::Folder(path.to_owned()));
        }
        (None, Some(url)) => url.split_once("://").ok_or(URL)?,
        _ => return Err("one of the options `path` and `url` is needed, and not both".to_owned()),
    };
    cloud::check_options(options, scheme)?;
    match scheme {
        "file" if place.starts_with('/') => Ok(Root::Folder(PathBuf::from(place))),
        "s3" | "gs" | "az" => {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            cloud::open(scheme, bucket, prefix, options)
        }
        _ => Err(URL.to_owned()),
    }
}

/// One folder, or one store.
#[derive(Clone, Debug)]
struct Files {
    source: String,
    root: Root,
    tables: Arc<BTreeMap<String, TableSpec>>,
    scans: Arc<Semaphore>,
    statement_timeout: Duration,
    /// The columns of each table in the last state of its files: CSV has to be read whole to know them.
    columns: Arc<Mutex<KnownColumns>>,
    breaker: Arc<Breaker>,
}

/// By table, the state of its files and the columns found in it.
type KnownColumns = BTreeMap<String, (State, Vec<RemoteColumn>)>;

impl Files {
    fn error(&self, class: ErrorClass, message: impl Into<String>) -> ConnectorError {
        ConnectorError::new(&self.source, class, message)
    }

    async fn place(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, ConnectorError> {
        let now = Instant::now();
        if deadline <= now {
            return Err(self.error(ErrorClass::Deadline, "the deadline passed"));
        }
        let patience = (deadline - now).min(CONNECTION_WAIT_MAX);
        match tokio::time::timeout(patience, self.scans.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(self.error(ErrorClass::Unavailable, "the source is closed")),
            Err(_) => Err(self.error(
                ErrorClass::Busy,
                "all connections are in use; try again, or raise `limits.connections`",
            )),
        }
    }

    /// The files of a read.
    fn pinned(&self, spec: &TableSpec, files: &State) -> Result<Arc<Pinned>, ConnectorError> {
        let store = self.root.store().map_err(|refused| self.refused(spec, &refused))?;
        Ok(Arc::new(Pinned::new(store, files)))
    }

    /// What a refusal means. The words of a store are not told: they may hold addresses and keys.
    fn refused(&self, spec: &TableSpec, refused: &Refused) -> ConnectorError {
        match refused {
            Refused::Path(why) => self.error(ErrorClass::Denied, format!("the path of table `{}` {why}", spec.name)),
            Refused::Missing => self.error(
                ErrorClass::Unavailable,
                format!("table `{}` has no file, or it may not be read", spec.name),
            ),
            Refused::Limit => self.error(ErrorClass::Limit, format!("table `{}` has too many files", spec.name)),
            Refused::Store(error) => self.failed(spec, error.into()),
        }
    }

    fn failed(&self, spec: &TableSpec, failure: Failure) -> ConnectorError {
        match failure {
            Failure::Changed => changed(self, spec),
            Failure::Refused => self.error(ErrorClass::Denied, "the store refuses the account"),
            Failure::Down => self.error(
                ErrorClass::Unavailable,
                format!(
                    "the files of table `{}` cannot be read: the store fails or does not answer",
                    spec.name
                ),
            ),
        }
    }

    /// The files of a table. A store that is down is not asked by everybody again and again.
    async fn find(&self, spec: &TableSpec) -> Result<State, ConnectorError> {
        if let Root::Folder(_) = self.root {
            let found = self.root.find(&spec.path).await;
            return found.map_err(|refused| self.refused(spec, &refused));
        }
        let attempt = self.breaker.attempt().await.map_err(|Open| {
            let message = "it could not be reached a moment ago, and is tried at most twice a second";
            self.error(ErrorClass::Unavailable, message)
        })?;
        let found = tokio::time::timeout(LISTING_TIMEOUT, self.root.find(&spec.path)).await;
        let found = match found {
            Ok(found) => found.map_err(|refused| self.refused(spec, &refused)),
            Err(_) => Err(self.error(ErrorClass::Unavailable, "the store does not answer")),
        };
        match &found {
            Err(error) if error.class == ErrorClass::Unavailable => attempt.failed(),
            // One that refuses is there.
            _ => attempt.succeeded(),
        }
        found
    }

    async fn describe(&self, spec: &TableSpec, files: &State) -> Result<Described, ConnectorError> {
        let pinned = self.pinned(spec, files)?;
        let store = Arc::clone(&pinned) as Arc<dyn ObjectStore>;
        let described = describe::describe(&store, spec, files).await;
        let described = described.map_err(|Why(why)| match pinned.failure() {
            Some(failure) => self.failed(spec, failure),
            None => self.error(ErrorClass::Data, format!("table `{}` cannot be read: {why}", spec.name)),
        })?;
        self.columns
            .lock()
            .insert(spec.name.clone(), (files.clone(), described.columns.clone()));
        Ok(described)
    }

    async fn has_columns(
        &self,
        spec: &TableSpec,
        files: &State,
        columns: &[RemoteColumn],
    ) -> Result<bool, ConnectorError> {
        if let Some((state, known)) = self.columns.lock().get(&spec.name)
            && state == files
        {
            return Ok(same_columns(known, columns));
        }
        Ok(same_columns(&self.describe(spec, files).await?.columns, columns))
    }

    async fn introspect_now(&self) -> Result<SourceSchema, ConnectorError> {
        let mut schema = SourceSchema::default();
        for spec in self.tables.values() {
            let described = self.describe(spec, &self.find(spec).await?).await?;
            schema.notices.extend(described.notices);
            schema.tables.push(RemoteTable {
                name: spec.name.clone(),
                namespace: None,
                is_view: false,
                columns: described.columns,
                primary_key: Vec::new(),
                unique_keys: Vec::new(),
                foreign_keys: Vec::new(),
                comment: None,
                rows_estimate: described.rows,
            });
        }
        Ok(schema)
    }

    /// The files to read, if the table's columns are still those of `table`.
    async fn current(&self, table: &RemoteTable) -> Result<(TableSpec, State), ConnectorError> {
        let gone = || self.error(ErrorClass::Drift, format!("table `{}` is no longer there", table.name));
        let spec = self.tables.get(&table.name).ok_or_else(gone)?;
        let files = self.find(spec).await?;
        if !self.has_columns(spec, &files, &table.columns).await? {
            return Err(self.error(
                ErrorClass::Drift,
                format!("the columns of table `{}` have changed", table.name),
            ));
        }
        Ok((spec.clone(), files))
    }
}

/// Whether these are the same columns, whatever is guessed of their values.
fn same_columns(known: &[RemoteColumn], columns: &[RemoteColumn]) -> bool {
    let plain = |column: &RemoteColumn| RemoteColumn {
        distinct_estimate: None,
        ..column.clone()
    };
    known.iter().map(plain).eq(columns.iter().map(plain))
}

#[async_trait]
impl Connector for Files {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    async fn introspect(&self) -> Result<SourceSchema, ConnectorError> {
        let deadline = Instant::now() + self.statement_timeout;
        let _place = self.place(deadline).await?;
        match tokio::time::timeout_at(deadline.into(), self.introspect_now()).await {
            Ok(schema) => schema,
            Err(_) => Err(self.error(ErrorClass::Deadline, "the deadline passed")),
        }
    }

    fn reader(&self, context: QueryContext) -> Arc<dyn SourceReader> {
        Arc::new(Reader {
            files: self.clone(),
            context,
            place: OnceCell::new(),
            seen: Mutex::new(BTreeMap::new()),
        })
    }

    fn statement(&self, _: &RemoteQuery) -> Option<String> {
        None
    }
}

/// The reads of one query.
struct Reader {
    files: Files,
    context: QueryContext,
    /// One place for all reads of the query, so that none waits for another.
    place: OnceCell<Arc<OwnedSemaphorePermit>>,
    /// The state of each table's files when the query first read them.
    seen: Mutex<BTreeMap<String, State>>,
}

#[async_trait]
impl SourceReader for Reader {
    async fn read(&self, query: &RemoteQuery) -> Result<BatchStream, ConnectorError> {
        let parts = self.read_parts(query, 1).await?;
        Ok(futures::stream::iter(parts).flatten().boxed())
    }

    async fn read_parts(&self, query: &RemoteQuery, parts: usize) -> Result<Vec<BatchStream>, ConnectorError> {
        let files = &self.files;
        let deadline = self.context.deadline.min(Instant::now() + files.statement_timeout);
        let place = self
            .place
            .get_or_try_init(|| async { files.place(self.context.deadline).await.map(Arc::new) })
            .await?
            .clone();
        let asked = query.table_read().ok_or_else(|| {
            let message = "files are read table by table, and the query asks for more";
            files.error(ErrorClass::Statement, message)
        })?;
        let table = asked.table.clone();
        let (spec, state) = match tokio::time::timeout_at(deadline.into(), files.current(&table)).await {
            Ok(found) => found?,
            Err(_) => return Err(files.error(ErrorClass::Deadline, "the deadline passed")),
        };
        let first = self
            .seen
            .lock()
            .entry(spec.name.clone())
            .or_insert_with(|| state.clone())
            .clone();
        if first != state {
            return Err(changed(files, &spec));
        }
        self.context.log.sent(&format!("scan {}", spec.name), 0);
        let bounds = plan::Bounds {
            batch_rows_max: self.context.batch_rows_max,
            parts,
        };
        let store = files.pinned(&spec, &state)?;
        let streams = plan::scan(Arc::clone(&store), &spec, &state, &asked, bounds)
            .await
            .map_err(|error| refused(files, &spec, &store, &error))?;
        let started = streams.into_iter().map(|stream| Scan {
            files: files.clone(),
            spec: spec.clone(),
            state: state.clone(),
            store: Arc::clone(&store),
            stream,
            schema: query.schema(),
            deadline,
            pending: Vec::new(),
            received: (0, 0),
            log: self.context.log.clone(),
            place: Arc::clone(&place),
        });
        Ok(started
            .map(|scan| futures::stream::try_unfold(Some(scan), scan::next).boxed())
            .collect())
    }
}
