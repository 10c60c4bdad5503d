//! `Engine`: a project opened over its sources, and the way to sessions.
//!
//! Owns: opening and describing sources, the snapshot served, what all statements share. Never: runs a statement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use caliber_catalog::date::Date;
use caliber_catalog::diagnostic::{Code, Diagnostic, Severity};
use caliber_catalog::name::TableName;
use caliber_catalog::principal::Principal;
use caliber_catalog::project::{Project, Source};
use caliber_catalog::snapshot::CatalogSnapshot;
use caliber_catalog::standing::Standing;
use caliber_connector_spi::{
    Connector, ConnectorError, ConnectorFactory, ErrorClass, RemoteTable, SourceSchema, SourceSpec,
};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use secrecy::ExposeSecret;

use crate::EngineError;
use crate::expand::check_wholes::check_wholes;
use crate::govern::check_policies::check_policies;
use crate::govern::mask_functions::mask_functions;
use crate::govern::standing::standing;
use crate::limits::{SharedMemory, allow_process};
use crate::metrics::definition::{MetricSets, define_metrics};
use crate::resolve::catalog_cache::CatalogCache;
use crate::run::audit::{AuditSink, NoAudit};
use crate::run::plan_cache::PlanCache;
use crate::session::{Session, base_state};

/// The longest a source may take to be described.
const DESCRIBE_TIME_MAX: Duration = Duration::from_secs(15);

/// What an embedding program may choose. `Default` is what ships.
#[derive(Clone)]
pub struct EngineOptions {
    /// Whether sources evaluate what they can. Off changes cost, never an answer (INV-5).
    pub pushdown: bool,
    /// Rows of a batch, at most; at least 1.
    pub batch_rows: usize,
    /// Partitions of local work; at least 1.
    pub partitions: usize,
    /// Told of every statement before its first row; an error refuses the statement.
    pub audit: Arc<dyn AuditSink>,
    /// Whether the process is there for this engine: then what no memory pool counts is refused once the process holds
    /// `server.limits.memory` more than it did at the start (Linux). Off where the engine is a guest.
    pub own_process: bool,
    /// Whether a source that cannot be described is an error. Otherwise it is a warning and its tables are absent.
    pub require_sources: bool,
    /// What time it is, where a policy depends on the day. A clock of another's makes a test of that possible.
    pub clock: Clock,
}

/// Gives the time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            pushdown: true,
            batch_rows: 8_192,
            partitions: std::thread::available_parallelism().map_or(2, usize::from),
            audit: Arc::new(NoAudit),
            own_process: false,
            require_sources: false,
            clock: Arc::new(SystemTime::now),
        }
    }
}

/// One source, open.
pub(crate) struct OpenSource {
    pub name: String,
    pub connector: Arc<dyn Connector>,
    pub statement_timeout: Duration,
}

/// The snapshot with its open sources.
pub(crate) struct OpenSnapshot {
    pub catalog: Arc<CatalogSnapshot>,
    sources: BTreeMap<String, Arc<OpenSource>>,
    tables: BTreeMap<TableName, Arc<RemoteTable>>,
    /// What is measured, by entity.
    pub metrics: MetricSets,
}

impl OpenSnapshot {
    /// The source and description of a table.
    pub fn table(&self, name: &TableName) -> Result<(Arc<OpenSource>, Arc<RemoteTable>), EngineError> {
        let source = self.sources.get(&name.schema);
        let table = self.tables.get(name);
        source
            .zip(table)
            .map(|(source, table)| (Arc::clone(source), Arc::clone(table)))
            .ok_or_else(|| EngineError::internal("a table of the catalog is not open", name))
    }

    /// The description of a table, if there is one.
    pub fn remote_table(&self, name: &TableName) -> Option<&Arc<RemoteTable>> {
        self.tables.get(name)
    }
}

/// An opened project. Cheap to share; sessions come from it.
pub struct Engine {
    pub(crate) snapshot: Arc<OpenSnapshot>,
    pub(crate) options: EngineOptions,
    pub(crate) memory: Arc<SharedMemory>,
    pub(crate) state: Arc<SessionState>,
    /// The same, with the functions that only policies may call.
    pub(crate) policy_state: Arc<SessionState>,
    /// What exists for each principal that asked lately.
    pub(crate) catalogs: CatalogCache,
    /// Statements planned lately.
    pub(crate) plans: PlanCache,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("project", &self.snapshot.catalog.project.name)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens every source, describes it, lays the project over what was found, compiles every policy and attribute.
    ///
    /// Errors: all findings at once, at least one of them an error. Success: the engine, and warnings (a source that
    /// cannot be described is PRJ014 and its tables are absent).
    pub async fn open(
        project: Arc<Project>,
        factories: &[&'static dyn ConnectorFactory],
        options: EngineOptions,
    ) -> Result<(Arc<Self>, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut findings = Vec::new();
        let mut sources = BTreeMap::new();
        for (name, source) in &project.sources {
            match open_source(&project, source, factories) {
                Ok(open) => {
                    sources.insert(name.clone(), Arc::new(open));
                }
                Err(error) => findings.push(source_finding(source, &error, true)),
            }
        }
        let schemas = describe(&project, &sources, options.require_sources, &mut findings).await;
        let (catalog, resolved) = CatalogSnapshot::resolve(Arc::clone(&project), schemas.clone());
        findings.extend(resolved);
        let snapshot = OpenSnapshot {
            tables: tables_of(&catalog),
            catalog: Arc::new(catalog),
            sources,
            metrics: MetricSets::new(),
        };
        let limit = usize::try_from(project.server.limits.memory_bytes).unwrap_or(usize::MAX);
        if options.own_process {
            allow_process(limit);
        }
        Self::govern(snapshot, options, SharedMemory::new(limit), findings)
    }

    /// The same open sources, as they were described, under another project: nothing is opened or asked.
    ///
    /// `project` must define the same sources (`policy_tools::changed_sources` tells). Errors: all findings at once, at
    /// least one of them an error. Success: the engine, and warnings.
    pub fn with_project(&self, project: Arc<Project>) -> Result<(Arc<Self>, Vec<Diagnostic>), Vec<Diagnostic>> {
        let schemas = self.snapshot.catalog.schemas.clone();
        let (catalog, findings) = CatalogSnapshot::resolve(project, schemas);
        let snapshot = OpenSnapshot {
            catalog: Arc::new(catalog),
            tables: self.snapshot.tables.clone(),
            sources: self.snapshot.sources.clone(),
            metrics: MetricSets::new(),
        };
        Self::govern(snapshot, self.options.clone(), Arc::clone(&self.memory), findings)
    }

    /// The engine over a snapshot, once every policy and attribute of it was compiled.
    fn govern(
        mut snapshot: OpenSnapshot,
        options: EngineOptions,
        memory: Arc<SharedMemory>,
        mut findings: Vec<Diagnostic>,
    ) -> Result<(Arc<Self>, Vec<Diagnostic>), Vec<Diagnostic>> {
        let project = Arc::clone(&snapshot.catalog.project);
        let state = Arc::new(base_state(&project.name, &options));
        let policy_state = Arc::new(policy_state(&state, &project)?);
        let today = Date::of((options.clock)());
        findings.extend(check_policies(&snapshot, &policy_state, &state, today));
        let (metrics, wrong) = define_metrics(&snapshot, &state);
        snapshot.metrics = metrics;
        findings.extend(wrong);
        if !findings.iter().any(|finding| finding.severity == Severity::Error) {
            findings.extend(check_wholes(&snapshot, &state));
        }
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(findings);
        }
        let engine = Self {
            snapshot: Arc::new(snapshot),
            options,
            memory,
            state,
            policy_state,
            catalogs: CatalogCache::default(),
            plans: PlanCache::default(),
        };
        Ok((Arc::new(engine), findings))
    }

    /// The snapshot now served.
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        Arc::clone(&self.snapshot.catalog)
    }

    /// The day it is, in UTC.
    pub(crate) fn today(&self) -> Date {
        Date::of((self.options.clock)())
    }

    /// The standing of a principal now: which policies apply to it.
    pub fn standing(&self, principal: Principal) -> Standing {
        standing(
            &self.snapshot.catalog.project,
            &self.policy_state,
            principal,
            self.today(),
        )
    }

    /// A session for a principal that has proven who it is.
    pub fn session(self: &Arc<Self>, principal: Principal) -> Session {
        Session::new(Arc::clone(self), principal)
    }
}

/// The state that policies are compiled in.
fn policy_state(state: &SessionState, project: &Project) -> Result<SessionState, Vec<Diagnostic>> {
    let mut state = state.clone();
    let key = project.server.mask_key.as_ref();
    for function in mask_functions(key.map(|key| key.expose_secret().as_bytes())) {
        state.register_udf(function).map_err(|error| {
            let error = EngineError::internal("a function of masks could not be registered", &error);
            vec![Diagnostic::error(error.code, error.message)]
        })?;
    }
    Ok(state)
}

fn open_source(
    project: &Project,
    source: &Source,
    factories: &[&'static dyn ConnectorFactory],
) -> Result<OpenSource, ConnectorError> {
    let factory = factories
        .iter()
        .find(|factory| factory.kind() == source.connector)
        .ok_or_else(|| {
            let message = format!("connector `{}` is not in this build", source.connector);
            ConnectorError::new(&source.name, ErrorClass::Options, message)
        })?;
    let statement_timeout = source.statement_timeout.unwrap_or(project.server.limits.query_timeout);
    let connector = factory.open(&SourceSpec {
        name: source.name.clone(),
        options: source.options.clone(),
        connections_max: source.connections_max.max(1),
        statement_timeout,
    })?;
    Ok(OpenSource {
        name: source.name.clone(),
        connector,
        statement_timeout,
    })
}

/// Describes all sources at once.
async fn describe(
    project: &Project,
    sources: &BTreeMap<String, Arc<OpenSource>>,
    required: bool,
    findings: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Arc<SourceSchema>> {
    let asked = sources.values().map(|source| async move {
        let described = tokio::time::timeout(DESCRIBE_TIME_MAX, source.connector.introspect()).await;
        let late = || {
            ConnectorError::new(
                &source.name,
                ErrorClass::Deadline,
                "describing its tables took too long",
            )
        };
        (source.name.clone(), described.unwrap_or_else(|_| Err(late())))
    });
    let mut schemas = BTreeMap::new();
    for (name, described) in futures::future::join_all(asked).await {
        let Some(source) = project.sources.get(&name) else {
            continue;
        };
        match described {
            Ok(schema) => {
                for notice in &schema.notices {
                    let text = format!("source `{name}`: {notice}");
                    findings.push(Diagnostic::warning(Code::PRJ014, text).at(source.place.clone()));
                }
                schemas.insert(name, Arc::new(schema));
            }
            Err(error) => findings.push(source_finding(source, &error, required)),
        }
    }
    schemas
}

fn source_finding(source: &Source, error: &ConnectorError, is_error: bool) -> Diagnostic {
    let text = error.to_string();
    let finding = if is_error {
        Diagnostic::error(Code::PRJ014, text)
    } else {
        Diagnostic::warning(Code::PRJ014, text)
    };
    finding
        .at(source.place.clone())
        .help("its tables are absent until it can be described; check its options and that it runs")
}

/// Every table as it was described. A column that the project says references another table, and of which its source
/// knows nothing more, is taken to have as many values as one that the source itself says so of (`absorb::estimate`).
fn tables_of(catalog: &CatalogSnapshot) -> BTreeMap<TableName, Arc<RemoteTable>> {
    let mut tables = BTreeMap::new();
    for (source, schema) in &catalog.schemas {
        for table in &schema.tables {
            let name = TableName::new(source, &table.name);
            let mut table = table.clone();
            let declared = catalog.references(&name);
            let values = table.rows_estimate.map(|rows| (rows / 10).max(1));
            for column in &mut table.columns {
                if declared.contains_key(&column.name) {
                    column.distinct_estimate = column.distinct_estimate.or(values);
                }
            }
            tables.insert(name, Arc::new(table));
        }
    }
    tables
}
