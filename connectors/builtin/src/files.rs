//! `connector: files`: Parquet and CSV files in a local folder, each table one file or a pattern of files.
//!
//! Owns: the source's options, its tables' descriptions, the stream of a scan. Never: leaves the folder, follows a symbolic
//! link, keeps a row.
//!
//! The files of a table are looked at again for each read: a table whose columns are no longer those that the query was
//! planned with is drift, and so is a file that changes between two reads of a query, or while it is read.

mod describe;
mod places;
mod plan;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use caliber_connector_spi::{
    BatchStream, Capabilities, Connector, ConnectorError, ConnectorFactory, ErrorClass, OptionKind, OptionSpec,
    QueryContext, RemoteColumn, RemoteQuery, RemoteTable, SourceReader, SourceSchema, SourceSpec, TypeClass, TypeSet,
};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use describe::Described;
use places::{Refused, State};
use scan::{Scan, changed, refused};

/// The longest wait for a place among the source's scans.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);

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

/// How a table's files are written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Parquet,
    Csv { delimiter: u8, header: bool },
}

/// One table of the project.
#[derive(Clone, Debug)]
struct TableSpec {
    name: String,
    path: String,
    shape: Shape,
}

/// Opens sources of files.
pub struct Factory;

#[async_trait]
impl ConnectorFactory for Factory {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[
            OptionSpec {
                name: "path",
                kind: OptionKind::Path,
                required: false,
                description: "The folder that holds the files. This or `url`.",
            },
            OptionSpec {
                name: "url",
                kind: OptionKind::Text,
                required: false,
                description: "The folder that holds the files, as `file:///absolute/path`. This or `path`.",
            },
            OptionSpec {
                name: "tables",
                kind: OptionKind::Tables,
                required: true,
                description: "By table: `path` within the folder (`*` and `?` in its last part), `format` (parquet or csv), \
                              and for csv `delimiter` and `header`.",
            },
        ]
    }

    fn open(&self, source: &SourceSpec) -> Result<Arc<dyn Connector>, ConnectorError> {
        let error = |message: String| ConnectorError::new(&source.name, ErrorClass::Options, message);
        let folder = match (source.options.path("path"), source.options.text("url")) {
            (Some(path), None) => path.to_owned(),
            (None, Some(url)) => match url.strip_prefix("file://").filter(|path| path.starts_with('/')) {
                Some(path) => PathBuf::from(path),
                None => {
                    return Err(error(
                        "option `url` must be `file:///absolute/path`; or say `path`".to_owned(),
                    ));
                }
            },
            _ => {
                return Err(error(
                    "one of the options `path` and `url` is needed, and not both".to_owned(),
                ));
            }
        };
        let tables = source
            .options
            .tables("tables")
            .ok_or_else(|| error("option `tables` is missing".to_owned()))?;
        let tables = tables
            .iter()
            .map(|(name, settings)| table(name, settings).map(|spec| (name.clone(), spec)))
            .collect::<Result<_, _>>()
            .map_err(error)?;
        Ok(Arc::new(Files {
            source: source.name.clone(),
            folder,
            tables: Arc::new(tables),
            scans: Arc::new(Semaphore::new(source.connections_max.clamp(1, Semaphore::MAX_PERMITS))),
            statement_timeout: source.statement_timeout,
            columns: Arc::default(),
        }))
    }
}

fn table(name: &str, settings: &BTreeMap<String, String>) -> Result<TableSpec, String> {
    if let Some(unknown) = settings
        .keys()
        .find(|key| !["path", "format", "delimiter", "header"].contains(&key.as_str()))
    {
        return Err(format!(
            "table `{name}` has an unknown setting `{unknown}`; there are path, format, delimiter, header"
        ));
    }
    let path = settings
        .get("path")
        .ok_or_else(|| format!("table `{name}` has no `path`"))?;
    if let Err(Refused::Path(why)) = places::check(path) {
        return Err(format!("the path of table `{name}` {why}"));
    }
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    let shape = match settings.get("format").map(String::as_str).or(extension) {
        Some("parquet") if settings.contains_key("delimiter") || settings.contains_key("header") => {
            return Err(format!(
                "table `{name}` is parquet and cannot have `delimiter` or `header`"
            ));
        }
        Some("parquet") => Shape::Parquet,
        Some("csv") => Shape::Csv {
            delimiter: delimiter(name, settings)?,
            header: header(name, settings)?,
        },
        _ => return Err(format!("table `{name}` needs `format: parquet` or `format: csv`")),
    };
    Ok(TableSpec {
        name: name.to_owned(),
        path: path.clone(),
        shape,
    })
}

fn delimiter(name: &str, settings: &BTreeMap<String, String>) -> Result<u8, String> {
    match settings.get("delimiter").map(String::as_bytes) {
        None => Ok(b','),
        Some(b"\\t") => Ok(b'\t'),
        Some([byte]) if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'"' | b'\n' | b'\r') => {
            Ok(*byte)
        }
        Some(_) => Err(format!(
            "the `delimiter` of table `{name}` must be one character of punctuation, or a tab"
        )),
    }
}

fn header(name: &str, settings: &BTreeMap<String, String>) -> Result<bool, String> {
    match settings.get("header").map(String::as_str) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(format!("the `header` of table `{name}` must be true or false")),
    }
}

/// One folder.
#[derive(Clone, Debug)]
struct Files {
    source: String,
    folder: PathBuf,
    tables: Arc<BTreeMap<String, TableSpec>>,
    scans: Arc<Semaphore>,
    statement_timeout: Duration,
    /// The columns of each table in the last state of its files: CSV has to be read whole to know them.
    columns: Arc<Mutex<KnownColumns>>,
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

    /// The folder without symbolic links on the way to it: the wall that every path is held against.
    fn root(&self) -> Result<PathBuf, ConnectorError> {
        self.folder
            .canonicalize()
            .map_err(|_| self.error(ErrorClass::Unavailable, "the folder is not there, or may not be read"))
    }

    fn find(&self, spec: &TableSpec) -> Result<State, ConnectorError> {
        places::find(&self.root()?, &spec.path).map_err(|refused| match refused {
            Refused::Path(why) => self.error(ErrorClass::Denied, format!("the path of table `{}` {why}", spec.name)),
            Refused::Missing => self.error(
                ErrorClass::Unavailable,
                format!("table `{}` has no file, or it may not be read", spec.name),
            ),
            Refused::Limit => self.error(ErrorClass::Limit, format!("table `{}` has too many files", spec.name)),
        })
    }

    fn describe(&self, spec: &TableSpec, files: &State) -> Result<Described, ConnectorError> {
        let described = describe::describe(&self.root()?, spec, files)
            .map_err(|why| self.error(ErrorClass::Data, format!("table `{}` cannot be read: {why}", spec.name)))?;
        self.columns
            .lock()
            .insert(spec.name.clone(), (files.clone(), described.columns.clone()));
        Ok(described)
    }

    fn has_columns(&self, spec: &TableSpec, files: &State, columns: &[RemoteColumn]) -> Result<bool, ConnectorError> {
        if let Some((state, known)) = self.columns.lock().get(&spec.name)
            && state == files
        {
            return Ok(known == columns);
        }
        Ok(self.describe(spec, files)?.columns == columns)
    }

    fn introspect_now(&self) -> Result<SourceSchema, ConnectorError> {
        let mut schema = SourceSchema::default();
        for spec in self.tables.values() {
            let described = self.describe(spec, &self.find(spec)?)?;
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
    fn current(&self, table: &RemoteTable) -> Result<(TableSpec, State), ConnectorError> {
        let gone = || self.error(ErrorClass::Drift, format!("table `{}` is no longer there", table.name));
        let spec = self.tables.get(&table.name).ok_or_else(gone)?;
        let files = self.find(spec)?;
        if !self.has_columns(spec, &files, &table.columns)? {
            return Err(self.error(
                ErrorClass::Drift,
                format!("the columns of table `{}` have changed", table.name),
            ));
        }
        Ok((spec.clone(), files))
    }
}

#[async_trait]
impl Connector for Files {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    async fn introspect(&self) -> Result<SourceSchema, ConnectorError> {
        let deadline = Instant::now() + self.statement_timeout;
        let permit = self.place(deadline).await?;
        let files = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            files.introspect_now()
        });
        match tokio::time::timeout(self.statement_timeout, work).await {
            Ok(Ok(schema)) => schema,
            Ok(Err(_)) => Err(self.error(ErrorClass::Unavailable, "the source's thread ended early")),
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
        let looking = files.clone();
        let looked = tokio::task::spawn_blocking(move || looking.current(&table));
        let (spec, state) = match tokio::time::timeout_at(deadline.into(), looked).await {
            Ok(Ok(found)) => found?,
            Ok(Err(_)) => return Err(files.error(ErrorClass::Unavailable, "the source's thread ended early")),
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
        let streams = plan::scan(&files.root()?, &spec, &state, &asked, bounds)
            .await
            .map_err(|error| refused(files, &spec, &error))?;
        let started = streams.into_iter().map(|stream| Scan {
            files: files.clone(),
            spec: spec.clone(),
            state: state.clone(),
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
