//! One run of one statement: its readers, its key relations, its counts.
//!
//! Owns: what lives exactly as long as the run and is shared by all its scans. Never: outlives the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use caliber_catalog::diagnostic::Code;
use caliber_connector_spi::{BatchStream, QueryContext, RemoteQuery, SourceReader, StatementLog};
use datafusion::execution::TaskContext;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::EngineError;
use crate::absorb::key_relation::Keys;
use crate::engine::OpenSource;

/// What the scans of one run share. Reached through the task context's session configuration.
pub(crate) struct QueryRun {
    /// Names the run in logs, receipts and at sources.
    pub query_id: String,
    /// When everything must have ended.
    pub deadline: Instant,
    /// Whether sources evaluate what they can (INV-5).
    pub pushdown: bool,
    /// Rows of a batch, at most.
    pub batch_rows: usize,
    /// Bytes a source may buffer where reads share a connection.
    pub buffer_bytes: usize,
    /// The sources that exist for the principal. Policies may read others, which are never named to it (INV-4).
    pub visible_sources: Vec<String>,
    readers: Arc<Mutex<BTreeMap<String, Arc<dyn SourceReader>>>>,
    keys: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Keys>>>>>,
    counts: Arc<Mutex<BTreeMap<String, Arc<SourceCounts>>>>,
    /// How many reads of each source the plans of the run name.
    expected: Mutex<BTreeMap<String, usize>>,
    /// Whether the run may hold plans that are not noted.
    is_open: AtomicBool,
}

/// What one source was asked and gave in a run.
#[derive(Debug, Default)]
pub(crate) struct SourceCounts {
    pub statements: AtomicU64,
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
    /// The statements' texts (placeholders, no values), for those who may see them.
    pub texts: Mutex<Vec<String>>,
}

/// More texts than this are counted, not kept.
const TEXTS_MAX: usize = 1_000;

impl StatementLog for SourceCounts {
    fn sent(&self, statement: &str, parameters: usize) {
        let _ = parameters;
        self.statements.fetch_add(1, Ordering::Relaxed);
        let mut texts = self.texts.lock();
        if texts.len() < TEXTS_MAX {
            texts.push(statement.to_owned());
        }
    }

    fn received(&self, rows: usize, bytes: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for QueryRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryRun")
            .field("query_id", &self.query_id)
            .finish_non_exhaustive()
    }
}

impl QueryRun {
    /// A run that has asked nothing yet.
    pub fn new(
        query_id: String,
        deadline: Instant,
        pushdown: bool,
        batch_rows: usize,
        buffer_bytes: usize,
        visible_sources: Vec<String>,
    ) -> Self {
        Self {
            query_id,
            deadline,
            pushdown,
            batch_rows,
            buffer_bytes,
            visible_sources,
            readers: Arc::default(),
            keys: Mutex::default(),
            counts: Arc::default(),
            expected: Mutex::default(),
            is_open: AtomicBool::new(false),
        }
    }

    /// A run that reads each source through this one's reader, in its snapshot, with key relations of its own: those
    /// are named for one principal alone.
    pub fn beside(&self) -> Self {
        Self {
            query_id: self.query_id.clone(),
            visible_sources: self.visible_sources.clone(),
            readers: Arc::clone(&self.readers),
            keys: Mutex::default(),
            counts: Arc::clone(&self.counts),
            expected: Mutex::default(),
            is_open: AtomicBool::new(true),
            ..*self
        }
    }

    /// The run a scan belongs to. A plan executed outside a run is refused.
    pub fn of(context: &TaskContext) -> Result<Arc<Self>, EngineError> {
        context
            .session_config()
            .get_extension::<Self>()
            .ok_or_else(|| EngineError::internal("a governed scan ran outside a query", &"no QueryRun"))
    }

    /// The run's one reader of `source`: everything it reads there is one snapshot.
    fn reader(&self, source: &OpenSource) -> Arc<dyn SourceReader> {
        let counts = self.counts_of(&source.name);
        let mut readers = self.readers.lock();
        let reader = readers.entry(source.name.clone()).or_insert_with(|| {
            source.connector.reader(QueryContext {
                query_id: self.query_id.clone(),
                deadline: self.deadline.min(Instant::now() + source.statement_timeout),
                batch_rows_max: self.batch_rows,
                buffer_bytes_max: self.buffer_bytes,
                log: counts,
            })
        });
        Arc::clone(reader)
    }

    /// Asks `source` for the rows of `query`, in at most `parts` streams. Whoever asked may be gone before they begin: the
    /// connection is opened to the end all the same, and given back in order, as other reads of the run share its snapshot.
    pub async fn read(
        &self,
        source: &OpenSource,
        query: &RemoteQuery,
        parts: usize,
    ) -> Result<Vec<BatchStream>, EngineError> {
        let (reader, query) = (self.reader(source), query.clone());
        let is_alone = parts <= 1 && self.reads_once(&source.name);
        let opened = tokio::spawn(async move {
            if is_alone {
                Ok(vec![reader.read_alone(&query).await?])
            } else {
                reader.read_parts(&query, parts).await
            }
        });
        match opened.await {
            Ok(streams) => streams.map_err(|error| EngineError::from_source(&error)),
            Err(error) => Err(EngineError::internal("a read broke off", &error)),
        }
    }

    /// The error of reading `source` for a policy, without a name that does not exist for the principal: that of a source
    /// may, those of its tables and columns need not.
    pub fn of_policy(&self, error: EngineError, source: &str) -> EngineError {
        let is_visible = self.visible_sources.iter().any(|visible| visible == source);
        let names_columns = matches!(error.code, Code::SRC003 | Code::SRC004 | Code::SRC006 | Code::SQL022);
        if is_visible && !names_columns {
            return error;
        }
        tracing::warn!(query_id = %self.query_id, %error, "a policy's source failed");
        EngineError::new(error.code, "what a policy of this statement needs cannot be read now")
            .help("try again later, or ask the data steward")
    }

    /// The cell that holds the keys of the relation `id` once it is resolved.
    pub fn key_cell(&self, id: &str) -> Arc<OnceCell<Arc<Keys>>> {
        Arc::clone(self.keys.lock().entry(id.to_owned()).or_default())
    }

    /// The counts of every source asked so far, by name.
    pub fn counts(&self) -> BTreeMap<String, Arc<SourceCounts>> {
        self.counts.lock().clone()
    }

    /// Counts `source` among those of the run, asked or not: whether one is asked may depend on how many rows others hide.
    /// `reads` more reads of it are expected.
    pub fn note(&self, source: &str, reads: usize) {
        let _ = self.counts_of(source);
        *self.expected.lock().entry(source.to_owned()).or_default() += reads;
    }

    /// More plans follow than the one that is noted.
    pub fn expect_more(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Whether one read of `source` is all that is expected in the run.
    fn reads_once(&self, source: &str) -> bool {
        !self.is_open.load(Ordering::Relaxed) && self.expected.lock().get(source) == Some(&1)
    }

    fn counts_of(&self, source: &str) -> Arc<SourceCounts> {
        Arc::clone(self.counts.lock().entry(source.to_owned()).or_default())
    }
}
