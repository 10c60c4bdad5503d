//! Where statements are planned and run.
//!
//! Owns: threads of their own for them. An operator may compute for seconds without pause; on the threads that serve
//! connections and signals, everybody else would wait for it. Never: how many statements run.

use std::fmt;
use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// More threads than processors: a statement that computes without pause keeps as many as it has partitions, and the
/// others must still find one. The operating system shares the processors between them.
const THREADS_FOR_EACH_PROCESSOR: usize = 4;
const THREADS_MIN: usize = 16;

/// The threads for statements.
pub struct Workers(Option<Runtime>);

impl Workers {
    /// Starts the threads.
    pub fn start() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (processors * THREADS_FOR_EACH_PROCESSOR).max(THREADS_MIN);
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("caliber-work").enable_all();
        builder.build().map(|runtime| Self(Some(runtime)))
    }

    /// Runs `work` to its end, whether or not somebody waits.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(work);
        }
    }

    /// Runs `work` and gives its result; `None` if it panicked. Dropping the future ends the work.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let mut task = Ending(self.0.as_ref()?.spawn(work));
        (&mut task.0).await.ok()
    }
}

/// What runs is given up: it may compute for long yet, and nobody waits for it.
impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workers")
    }
}

/// A task that ends when nobody waits for it any more.
struct Ending<T>(JoinHandle<T>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_computes_keeps_nobody_else_waiting() {
        let workers = Workers::start().unwrap();
        let (finish, may_finish) = std::sync::mpsc::channel::<()>();
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        workers.spawn(async move {
            // Blocks its thread, as an operator in a long loop does.
            let _ = may_finish.recv();
            let _ = ended.send(());
        });
        // The test's own single thread goes on meanwhile.
        finish.send(()).unwrap();
        has_ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_no_result_and_dropping_ends_the_work() {
        let workers = Workers::start().unwrap();
        assert_eq!(workers.run(async { 7 }).await, Some(7));
        assert_eq!(workers.run(async { panic!("on purpose") }).await, None::<u8>);
        let (dropped, was_dropped) = tokio::sync::oneshot::channel::<()>();
        let waiting = workers.run(async move {
            let _held = dropped;
            std::future::pending::<()>().await;
        });
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(1), waiting)
                .await
                .is_err()
        );
        assert!(was_dropped.await.is_err());
    }
}
