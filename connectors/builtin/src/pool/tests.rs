//! The pool's bounds, over connections that are only numbers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

#[derive(Default)]
struct Counted {
    opened: AtomicUsize,
    open: Arc<AtomicUsize>,
    sick: AtomicBool,
}

struct Session(Arc<AtomicUsize>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Connect for Counted {
    type Connection = Session;

    async fn connect(&self) -> Result<Session, ConnectorError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(Session(self.open.clone()))
    }

    fn is_closed(&self, _: &Session) -> bool {
        self.sick.load(Ordering::SeqCst)
    }

    async fn check(&self, _: &mut Session) -> bool {
        true
    }

    async fn reset(&self, _: &mut Session) -> bool {
        !self.sick.load(Ordering::SeqCst)
    }
}

/// Waits until every permit is back, so that resets in the background are over.
async fn all_back(pool: &Pool<Counted>, permits: u32) {
    let all = pool
        .inner
        .permits
        .clone()
        .acquire_many_owned(permits)
        .await
        .expect("never closed");
    drop(all);
}

#[tokio::test]
async fn a_settled_connection_serves_again_and_another_is_closed() {
    let pool = Pool::new("s", Counted::default(), 2);
    let mut first = pool.get().await.expect("a connection");
    assert!(!first.is_reused());
    first.settled();
    drop(first);
    all_back(&pool, 2).await;
    let mut second = pool.get().await.expect("a connection");
    assert!(second.is_reused());
    second.settled();
    second.in_use();
    drop(second);
    assert_eq!(pool.connect().open.load(Ordering::SeqCst), 0);
    let third = pool.get().await.expect("a connection");
    assert!(!third.is_reused());
    assert_eq!(pool.connect().opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn exhaustion_is_a_clear_error_in_bounded_time() {
    let pool = Pool::new("ledger", Counted::default(), 1);
    let held = pool.get().await.expect("a connection");
    let begun = Instant::now();
    let error = pool.get().await.err().expect("no second connection");
    assert_eq!(error.class, ErrorClass::Busy);
    assert!(begun.elapsed() >= BORROW_TIMEOUT && begun.elapsed() < BORROW_TIMEOUT * 2);
    assert!(error.to_string().starts_with("source `ledger`: "));
    assert!(pool.get_now().await.expect("no error").is_none());
    drop(held);
    assert!(pool.get().await.is_ok());
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_lent() {
    let pool = Pool::new("s", Counted::default(), 1);
    let mut lease = pool.get().await.expect("a connection");
    lease.settled();
    drop(lease);
    all_back(&pool, 1).await;
    pool.connect().sick.store(true, Ordering::SeqCst);
    assert!(!pool.get().await.expect("a new connection").is_reused());
    assert_eq!(
        pool.connect().open.load(Ordering::SeqCst),
        0,
        "the sick one was closed, the new one dropped"
    );
}

#[tokio::test]
async fn a_spare_connection_leaves_half_for_whoever_comes_next() {
    let pool = Pool::new("s", Counted::default(), 3);
    let first = pool.get().await.expect("a connection");
    let spare = pool.get_spare().await.expect("no error").expect("two are left");
    assert!(pool.get_spare().await.expect("no error").is_none());
    let next = pool.get_now().await.expect("no error").expect("one is left");
    assert!(!pool.is_wanted());
    let (waited, ()) = tokio::join!(pool.get(), async {
        assert!(pool.is_wanted());
        drop(spare);
    });
    assert!(waited.is_ok());
    assert!(!pool.is_wanted());
    drop((first, next));
}
