//! The bounds of memory, disk and stack within which a statement plans and runs (INV-6).
//!
//! Owns: the memory pools, the closed object-store registry, the large planning stack. Never: raises a bound.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use caliber_catalog::diagnostic::Code;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::object_store::ObjectStore;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use crate::EngineError;

/// Spill files of one statement, at most. Temporary and the only rows that touch a disk (INV-9).
const SPILL_BYTES_MAX: u64 = 2 << 30;
/// Deep plans are walked recursively; their depth is bounded before, this covers the bound amply.
const PLANNING_STACK_BYTES: usize = 64 << 20;
/// The longest a statement may plan, the wait for a thread included.
const PLANNING_TIME_MAX: Duration = Duration::from_secs(5);
/// Statements planned at once in this process. A thread that plans cannot be stopped from outside: one that is past its
/// time keeps its place until it ends, so that such threads are bounded too.
const PLANNING_THREADS: usize = 32;

static PLANNING: Semaphore = Semaphore::const_new(PLANNING_THREADS);

/// A bound shared by all statements.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    limit: usize,
    used: AtomicUsize,
}

impl SharedMemory {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    fn try_grow(&self, additional: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(additional).filter(|sum| *sum <= self.limit)
            })
            .is_ok()
    }
}

/// One statement's memory: within its own bound, and within the bound of all.
#[derive(Debug)]
struct StatementPool {
    shared: Arc<SharedMemory>,
    limit: usize,
    used: AtomicUsize,
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement memory of {} bytes", self.limit)
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &'static str {
        "statement"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
        self.shared.used.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        self.shared.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let exhausted = |what: &str| {
            Err(DataFusionError::ResourcesExhausted(format!(
                "the memory of {what} is used up"
            )))
        };
        let own = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(additional).filter(|sum| *sum <= self.limit)
        });
        if own.is_err() {
            return exhausted("this statement");
        }
        if !self.shared.try_grow(additional) {
            self.used.fetch_sub(additional, Ordering::Relaxed);
            let _ = reservation;
            return exhausted("the server");
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

impl Drop for StatementPool {
    fn drop(&mut self) {
        // Reservations give back what they hold; should one leak, the server must not stay poorer for it.
        self.shared
            .used
            .fetch_sub(self.used.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// No URL leads anywhere: sources read through their connectors alone.
#[derive(Debug)]
struct ClosedObjectStores;

impl ObjectStoreRegistry for ClosedObjectStores {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, _: &Url) -> Result<Arc<dyn ObjectStore>> {
        Err(EngineError::new(Code::SQL002, "files and addresses cannot be read by a statement").into())
    }
}

/// The runtime of one statement.
pub(crate) fn runtime(shared: &Arc<SharedMemory>, statement_bytes: usize) -> Result<Arc<RuntimeEnv>> {
    let pool = StatementPool {
        shared: Arc::clone(shared),
        limit: statement_bytes,
        used: AtomicUsize::new(0),
    };
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::OsTmpDirectory)
        .with_max_temp_directory_size(SPILL_BYTES_MAX);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .with_object_store_registry(Arc::new(ClosedObjectStores))
        .build_arc()
}

/// Runs `work` on a thread with a large stack, within the planning time.
pub(crate) async fn on_large_stack<T, F>(work: F) -> Result<T, EngineError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, EngineError>> + Send + 'static,
{
    let deadline = Instant::now() + PLANNING_TIME_MAX;
    let Ok(Ok(place)) = tokio::time::timeout_at(deadline, PLANNING.acquire()).await else {
        return Err(EngineError::new(Code::LIM005, "too many statements are being planned")
            .help("try again when the server has less to do"));
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let handle = tokio::runtime::Handle::current();
    let spawned = std::thread::Builder::new()
        .name("caliber-plan".to_owned())
        .stack_size(PLANNING_STACK_BYTES)
        .spawn(move || {
            let _place = place;
            // The receiver may have given up on the time; then the result is nobody's.
            let _ = sender.send(handle.block_on(work));
        });
    if let Err(error) = spawned {
        return Err(
            EngineError::new(Code::LIM005, "no thread could be started to plan the statement")
                .help(format!("try again when the server has less to do ({})", error.kind())),
        );
    }
    match tokio::time::timeout_at(deadline, receiver).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(EngineError::internal(
            "planning broke off",
            &"the planning thread ended",
        )),
        Err(_) => Err(EngineError::new(Code::LIM001, "the statement takes too long to plan").help("split it up")),
    }
}
