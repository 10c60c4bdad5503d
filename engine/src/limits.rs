//! The bounds of memory, disk and stack within which a statement plans and runs (INV-6).
//!
//! Owns: the memory pools, the closed object-store registry, the large planning stack. Never: raises a bound.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
/// The longest a statement may plan, the wait for a thread included: so long that its client has an answer within 5 s.
const PLANNING_TIME_MAX: Duration = Duration::from_millis(4_500);
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

/// What this process may hold: the largest `server.limits.memory` of its engines, beyond what it held when that engine
/// opened. 0 before there is one.
static PROCESS_BOUND: AtomicU64 = AtomicU64::new(0);
/// What a process comes to hold beside its statements.
const PROCESS_OWN_BYTES: u64 = 96 << 20;
/// An allocation of fewer bytes is not worth a look at the process.
const LARGE_BYTES: u64 = 4 << 20;

/// Lets this process hold `limit` bytes for statements, as an engine that opens in it says.
pub(crate) fn allow_process(limit: usize) {
    let bound = resident_bytes()
        .unwrap_or(0)
        .saturating_add(PROCESS_OWN_BYTES)
        .saturating_add(limit as u64);
    PROCESS_BOUND.fetch_max(bound, Ordering::Relaxed);
}

/// Refuses a large allocation that no memory pool counts while the process already holds all it may. Only where the
/// system tells what a process holds (Linux).
pub(crate) fn within_process_bound(bytes: u64) -> Result<Announced> {
    let bound = PROCESS_BOUND.load(Ordering::Relaxed);
    if bytes < LARGE_BYTES || bound == 0 {
        return Ok(Announced(0));
    }
    // Announced first: of two that allocate at once, each sees the other.
    let announced = Announced(bytes);
    let all = ANNOUNCED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    if resident_bytes().is_some_and(|held| held.saturating_add(all) > bound) {
        return Err(DataFusionError::ResourcesExhausted(
            "the memory of the server is used up".to_owned(),
        ));
    }
    Ok(announced)
}

/// Bytes about to be allocated by calls that run now.
static ANNOUNCED: AtomicU64 = AtomicU64::new(0);

/// An allocation that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Announced(u64);

impl Drop for Announced {
    fn drop(&mut self) {
        ANNOUNCED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// What the process holds, by `statm`: pages of 4 KiB, or larger ones, which makes it an underestimate.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(4_096))
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

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::MemoryConsumer;

    use super::*;

    #[test]
    fn no_address_leads_to_a_store_and_none_can_be_added() {
        let runtime = runtime(&SharedMemory::new(1 << 20), 1 << 20).unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(datafusion::object_store::memory::InMemory::new());
        for address in [
            "file:///",
            "file:///etc/passwd",
            "http://localhost/x",
            "https://example.org/",
            "s3://bucket/key",
            "gs://bucket/key",
            "az://container/key",
            "memory:///x",
            "data:text/plain,x",
        ] {
            let url = Url::parse(address).unwrap();
            runtime.register_object_store(&url, Arc::clone(&store));
            let error = EngineError::from(runtime.object_store_registry.get_store(&url).unwrap_err());
            assert_eq!(error.code, Code::SQL002, "{address}");
        }
    }

    #[test]
    fn a_statement_takes_its_own_bound_and_not_a_byte_more() {
        let runtime = runtime(&SharedMemory::new(1_000), 600).unwrap();
        let one = MemoryConsumer::new("one").register(&runtime.memory_pool);
        one.try_grow(600).unwrap();
        assert!(matches!(one.try_grow(1), Err(DataFusionError::ResourcesExhausted(_))));
        one.shrink(600);
        one.try_grow(600).unwrap();
    }

    #[test]
    fn statements_together_take_the_server_s_bound_and_give_it_back() {
        let shared = SharedMemory::new(1_000);
        let (first, second) = (runtime(&shared, 600).unwrap(), runtime(&shared, 600).unwrap());
        let one = MemoryConsumer::new("one").register(&first.memory_pool);
        let other = MemoryConsumer::new("other").register(&second.memory_pool);
        one.try_grow(600).unwrap();
        other.try_grow(400).unwrap();
        assert!(other.try_grow(1).is_err());
        drop(one);
        other.try_grow(200).unwrap();
        drop((other, first, second));
        assert_eq!(shared.used.load(Ordering::Relaxed), 0);
    }
}
