//! A principal's session: the only place that builds DataFusion's session state (INV-1), and a statement's way from
//! text to rows.
//!
//! Owns: the order of the steps. Never: a step's work; that is `statement`, `resolve`, `expand`, `govern`, `absorb`, `run`.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use caliber_catalog::diagnostic::Code;
use caliber_catalog::name::TableName;
use caliber_catalog::principal::Principal;
use datafusion::execution::TaskContext;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use futures::future::Either;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::OnceCell;

use crate::EngineError;
use crate::absorb::bind_join::Pushdown;
use crate::engine::{Engine, EngineOptions};
use crate::executable::open_plan;
use crate::govern::policy_expr::Reason;
use crate::limits::{on_large_stack, runtime};
use crate::plan::plan_statement;
use crate::resolve::governed_catalog::{GovernedCatalog, GovernedCatalogList, UNIFIED};
use crate::resolve::listing::{Listing, listing};
use crate::rules::{analyzer_rules, optimizer_rules, physical_rules};
use crate::run::audit::{AuditCaller, AuditRefusal, AuditStart, OpenRecord, Origin, columns_read, unavailable};
use crate::run::plan_cache::KeptStatement;
use crate::run::query_run::QueryRun;
use crate::run::result_stream::{QueryStream, ResultBounds, Told};
use crate::run::steps::Steps;
use crate::run::wire_types::{wire_schema, wire_type};
use crate::statement::{StatementText, aggregate_functions, expr_planners, hex, scalar_functions, window_functions};

/// One principal's view of the catalog, and the way to run statements in it. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(crate) engine: Arc<Engine>,
    pub(crate) catalog: Arc<GovernedCatalog>,
    pub(crate) schema: Arc<str>,
    origin: Arc<Origin>,
}

/// What a statement takes and gives.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The result's columns: plain wire types, all nullable (`docs/flight-sql.md`, "Results").
    pub schema: SchemaRef,
    /// One field for each parameter, named `$1`, `$2`…; a parameter that context does not type is Utf8.
    pub parameters: SchemaRef,
}

impl Prepared {
    fn of(kept: &KeptStatement) -> Self {
        let parameters = kept.planned.parameters.iter().enumerate();
        let parameters: Vec<Field> = parameters
            .map(|(at, data_type)| Field::new(format!("${}", at + 1), wire_type(data_type), true))
            .collect();
        Self {
            schema: Arc::clone(&kept.planned.schema),
            parameters: Arc::new(Schema::new(parameters)),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("principal", &self.principal().name)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, principal: Principal) -> Self {
        let catalog = catalog_of(&engine, principal);
        Self {
            engine,
            catalog,
            schema: Arc::from(UNIFIED),
            origin: Arc::default(),
        }
    }

    /// The session as policy stands at this moment: every statement begins with it, so that a policy that has expired
    /// since the log-in gives nothing more.
    fn current(&self) -> Self {
        let mut current = self.clone();
        if self.catalog.standing.today() != self.engine.today() {
            current.catalog = catalog_of(&self.engine, self.principal().clone());
        }
        current
    }

    /// The same session with where it comes from, for its audit records.
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Arc::new(origin);
        self
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        self.catalog.principal()
    }

    /// The policies that open `table` to the principal and give no row of it, each with why. None where the table does not
    /// exist for the principal.
    pub fn closed_policies(&self, table: &TableName) -> Result<Vec<(String, Reason)>, EngineError> {
        let enforcement = self.current().catalog.enforcement(table)?;
        Ok(enforcement.map(|found| found.closed.clone()).unwrap_or_default())
    }

    /// Whether a policy makes the principal an administrator.
    pub fn is_admin(&self) -> bool {
        let current = self.current();
        current.catalog.snapshot.catalog.is_admin(&current.catalog.standing)
    }

    /// The same session with another schema in which names without one are looked up (default `unified`).
    /// Error: SQL011 where no such schema exists for the principal.
    pub fn with_schema(mut self, schema: &str) -> Result<Self, EngineError> {
        let schemas = self.current().catalog.schemas();
        if !schemas.iter().any(|known| known == schema) {
            let error = EngineError::new(Code::SQL011, format!("schema `{schema}` not found"));
            let near = caliber_catalog::diagnostic::did_you_mean(schema, schemas.iter().map(String::as_str));
            return Err(match near {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error,
            });
        }
        self.schema = Arc::from(schema);
        Ok(self)
    }

    /// Everything that exists for the principal, from memory: no source is asked.
    pub fn listing(&self) -> Listing {
        listing(&self.current().catalog)
    }

    /// What a statement takes and gives, if it was planned before and its plan is kept: at once, without planning.
    pub fn prepared(&self, sql: &str) -> Option<Prepared> {
        let current = self.current();
        let kept = self.engine.plans.find(&current.catalog.standing, &self.schema, sql)?;
        Some(Prepared::of(&kept))
    }

    /// Parses, admits and plans a statement, and says what it takes and gives. Asks no source for rows. A refusal is
    /// audited.
    pub async fn prepare(&self, sql: &str) -> Result<Prepared, EngineError> {
        match self.current().kept(sql).await {
            Ok(kept) => Ok(Prepared::of(&kept)),
            Err(error) => Err(self.refused(sql, error).await),
        }
    }

    /// Records that `sql` was refused with `error`, and gives what the caller may be told: `error`, or SRV005 where it
    /// could not be recorded. For refusals that a server makes before it asks the engine.
    pub async fn refused(&self, sql: &str, error: EngineError) -> EngineError {
        let record = AuditRefusal {
            caller: self.audit_caller(),
            statement: StatementText::new(sql),
            code: error.code,
        };
        match self.engine.options.audit.refused(record).await {
            Ok(()) => error,
            Err(reason) => unavailable(&reason),
        }
    }

    /// Runs a statement. With `parameters`, once for each of its rows, results one after the other in one run (one
    /// snapshot of each source). Column `i` of the batch is parameter `$i+1`. Batches have exactly `Prepared::schema`.
    /// Its audit record is durable before the first row; a refusal is audited.
    pub async fn execute(&self, sql: &str, parameters: Option<RecordBatch>) -> Result<QueryStream, EngineError> {
        let started = Instant::now();
        let (run, steps) = match self.current().plan_run(sql, parameters, started).await {
            Ok(planned) => planned,
            Err(error) => return Err(self.refused(sql, error).await),
        };
        let start = self.audit_start(&run.query_id, sql, &steps)?;
        let planned = &steps.kept.planned;
        let schema = Arc::clone(&planned.schema);
        let told = Told {
            masked_columns: planned.masked.len(),
            metrics: planned.metrics.clone(),
            withheld: Arc::clone(&planned.withheld),
        };
        let audit = Arc::clone(&self.engine.options.audit);
        let (record, rows) = meanwhile(OpenRecord::start(audit, start, started), steps.stream()?).await;
        let record = record?;
        let limits = &self.engine.snapshot.catalog.project.server.limits;
        let bounds = ResultBounds {
            rows_max: limits.result_rows,
            bytes_max: limits.result_bytes,
        };
        Ok(QueryStream::new(rows, schema, run, record, started, bounds, told))
    }

    /// The statement, planned for the principal: now, or when it was asked before.
    async fn kept(&self, sql: &str) -> Result<Arc<KeptStatement>, EngineError> {
        let (plans, standing) = (&self.engine.plans, &self.catalog.standing);
        if let Some(kept) = plans.find(standing, &self.schema, sql) {
            return Ok(kept);
        }
        let (session, text) = (self.clone(), sql.to_owned());
        let planned = on_large_stack(async move {
            let state = session.state(None)?;
            plan_statement(&session, &state, &text).await
        })
        .await?;
        let kept = Arc::new(KeptStatement {
            planned,
            template: OnceCell::new(),
        });
        if kept.planned.is_kept {
            plans.keep(standing, &self.schema, sql, &kept);
        }
        Ok(kept)
    }

    /// Plans a statement and the execution of its first row of parameters.
    async fn plan_run(
        &self,
        sql: &str,
        parameters: Option<RecordBatch>,
        started: Instant,
    ) -> Result<(Arc<QueryRun>, Steps), EngineError> {
        let limits = &self.engine.snapshot.catalog.project.server.limits;
        let run = Arc::new(QueryRun::new(
            query_id()?,
            started + limits.query_timeout,
            self.engine.options.pushdown,
            self.engine.options.batch_rows.max(1),
            usize::try_from(limits.query_memory_bytes).unwrap_or(usize::MAX),
            self.catalog.schemas(),
        ));
        let kept = self.kept(sql).await?;
        let steps = Steps::begin(self, Arc::clone(&run), kept, parameters).await?;
        Ok((run, steps))
    }

    /// What operators find of the run they are part of.
    pub(crate) fn context(&self, run: &Arc<QueryRun>) -> Result<Arc<TaskContext>, EngineError> {
        let config = self.engine.state.config().clone().with_extension(Arc::clone(run));
        let limits = &self.engine.snapshot.catalog.project.server.limits;
        let bytes = usize::try_from(limits.query_memory_bytes).unwrap_or(usize::MAX);
        // Plans hold their functions themselves.
        Ok(Arc::new(TaskContext::new(
            None,
            run.query_id.clone(),
            config,
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            runtime(&self.engine.memory, bytes)?,
        )))
    }

    /// How a statement would run, in words. An `operator` holds the project's files and its credentials, so it sees
    /// the statements sent to sources; others see them under a policy with `admin: true` only.
    pub async fn explain(&self, sql: &str, operator: bool) -> Result<String, EngineError> {
        let session = self.current();
        let sql = sql.to_owned();
        let full = operator || session.is_admin();
        let pushdown = self.engine.options.pushdown;
        on_large_stack(async move {
            let state = session.state(None)?;
            let planned = plan_statement(&session, &state, &sql).await?;
            let (logical, physical) = open_plan(&state, &planned).await?;
            crate::explain::explain(&logical, &physical.plan, &physical.kept, full, pushdown)
        })
        .await
    }

    /// The state of one statement; with `run`, one that can execute.
    pub(crate) fn state(&self, run: Option<Arc<QueryRun>>) -> Result<SessionState, EngineError> {
        let base = self.engine.state.as_ref();
        let mut config = base
            .config()
            .clone()
            .with_default_catalog_and_schema(self.catalog.name(), self.schema.as_ref());
        if let Some(run) = run {
            config = config.with_extension(run);
        }
        let limits = &self.engine.snapshot.catalog.project.server.limits;
        let bytes = usize::try_from(limits.query_memory_bytes).unwrap_or(usize::MAX);
        let mut state = SessionStateBuilder::new_from_existing(base.clone())
            .with_config(config)
            .with_catalog_list(Arc::new(GovernedCatalogList(Arc::clone(&self.catalog))))
            .with_runtime_env(runtime(&self.engine.memory, bytes)?)
            .build();
        // What `now()` and `current_date` are for the whole statement.
        state.mark_start_execution();
        Ok(state)
    }

    /// The write-ahead record: without it no row leaves.
    fn audit_start(&self, query_id: &str, sql: &str, steps: &Steps) -> Result<AuditStart, EngineError> {
        let planned = &steps.kept.planned;
        let columns = match &steps.first {
            Some(plan) if planned.parameters.is_empty() => columns_read(plan)?.into_iter().collect(),
            _ => planned.columns.clone(),
        };
        Ok(AuditStart {
            query_id: query_id.to_owned(),
            caller: self.audit_caller(),
            statement: StatementText::new(sql),
            tables: planned.tables.iter().map(ToString::to_string).collect(),
            masked: planned
                .masked
                .iter()
                .filter(|column| columns.contains(*column))
                .cloned()
                .collect(),
            columns,
            policies: planned.policies.clone(),
            sources: planned.sources.clone(),
            snapshot: self.catalog.snapshot.catalog.version.clone(),
        })
    }

    fn audit_caller(&self) -> AuditCaller {
        let principal = self.principal();
        AuditCaller {
            principal: principal.name.clone(),
            roles: principal.roles.clone(),
            attributes: principal.attributes.keys().cloned().collect(),
            origin: self.origin.as_ref().clone(),
        }
    }
}

/// What `record` gives, and the rows, whose first batch is made while the record is written: sources are asked meanwhile, and
/// no row leaves before the record is durable.
async fn meanwhile<T>(
    record: impl Future<Output = T>,
    mut rows: BoxStream<'static, Result<RecordBatch, EngineError>>,
) -> (T, BoxStream<'static, Result<RecordBatch, EngineError>>) {
    let first = async move { (rows.next().await, rows) }.boxed();
    match futures::future::select(pin!(record), first).await {
        Either::Left((record, first)) => {
            let rest = first.map(|(first, rest)| futures::stream::iter(first).chain(rest));
            (record, rest.flatten_stream().boxed())
        }
        Either::Right(((first, rest), record)) => (record.await, futures::stream::iter(first).chain(rest).boxed()),
    }
}

/// What exists for `principal` now.
fn catalog_of(engine: &Engine, principal: Principal) -> Arc<GovernedCatalog> {
    let (catalogs, today) = (&engine.catalogs, engine.today());
    if let Some(known) = catalogs.find(&principal, today) {
        return known;
    }
    let catalog = GovernedCatalog::new(engine, engine.standing(principal));
    catalogs.keep(&catalog);
    catalog
}

/// The state every session starts from: functions, rules, settings, and no catalog.
pub(crate) fn base_state(catalog: &str, options: &EngineOptions) -> SessionState {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(catalog, UNIFIED)
        .with_information_schema(false)
        .with_batch_size(options.batch_rows.max(1))
        .with_target_partitions(options.partitions.max(1))
        .with_extension(Arc::new(Pushdown(options.pushdown)));
    let settings = config.options_mut();
    // Decimal literals are exact, as a bank's amounts are.
    settings.sql_parser.parse_float_as_decimal = true;
    settings.sql_parser.map_string_types_to_utf8view = false;
    settings.sql_parser.collect_spans = true;
    settings.explain.show_statistics = false;
    // Keys travel to sources (`absorb/bind_join.rs`). A filter that changes while a plan runs would outlive the run in a plan
    // that is kept.
    settings.optimizer.enable_dynamic_filter_pushdown = false;
    settings.optimizer.enable_join_dynamic_filter_pushdown = false;
    settings.optimizer.enable_topk_dynamic_filter_pushdown = false;
    settings.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    settings.execution.time_zone = Some("+00:00".to_owned());
    settings.execution.enable_recursive_ctes = false;
    // DataFusion's two ideas of what may be NULL differ (`DISTINCT flag IS TRUE`); on the wire every column may be.
    settings.execution.skip_physical_aggregate_schema_check = true;
    SessionStateBuilder::new()
        .with_config(config)
        .with_scalar_functions(scalar_functions())
        .with_aggregate_functions(aggregate_functions())
        .with_window_functions(window_functions())
        .with_expr_planners(expr_planners())
        .with_analyzer_rules(analyzer_rules())
        .with_optimizer_rules(optimizer_rules())
        .with_physical_optimizer_rules(physical_rules(options.pushdown))
        .build()
}

/// The schema of a result on the wire.
pub(crate) fn result_schema(plan: &LogicalPlan) -> SchemaRef {
    wire_schema(plan.schema().as_arrow())
}

/// A name for a run that nobody can guess.
pub(crate) fn query_id() -> Result<String, EngineError> {
    use ring::rand::SecureRandom;
    let mut bytes = [0_u8; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|error| EngineError::internal("no random number could be drawn", &error))?;
    Ok(hex(&bytes))
}

/// How long a statement of this session may take, for callers that wait.
impl Session {
    /// The project's `server.limits.query_timeout`.
    pub fn query_timeout(&self) -> Duration {
        self.engine.snapshot.catalog.project.server.limits.query_timeout
    }
}
