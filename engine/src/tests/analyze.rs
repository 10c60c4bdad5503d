//! EXPLAIN ANALYZE: what came from each source, for those who may know.
//!
//! Owns: its statements. Never: a plan's whole text.

use arrow::array::{AsArray, RecordBatch};
use caliber_catalog::diagnostic::Code;
use futures::TryStreamExt;

use super::templates::{engine, principal};
use crate::{EngineError, Session};

async fn explained(session: &Session, sql: &str) -> Result<String, EngineError> {
    let batches: Vec<RecordBatch> = session.execute(sql, None).await?.try_collect().await?;
    let lines = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_was_guessed_and_what_came() {
    let engine = engine().await;
    let session = engine.session(principal("steward", 0));
    let text = explained(&session, "EXPLAIN ANALYZE SELECT id FROM mem.t WHERE id <= 5")
        .await
        .unwrap();
    assert!(text.contains("received: 5 rows"), "{text}");
    assert!(text.contains("estimated: "), "{text}");
    assert!(text.contains("Received\n  mem: "), "{text}");
    assert!(text.contains("Gave 5 rows"), "{text}");
    let joined =
        "EXPLAIN ANALYZE SELECT v.note FROM mem.person p JOIN mem.visit v ON v.person_id = p.id WHERE p.id = 7";
    let text = explained(&session, joined).await.unwrap();
    assert!(text.contains("mem.visit") && text.contains("Gave 1 rows"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn inv4_it_is_for_administrators_and_fails_as_the_statement_does() {
    let engine = engine().await;
    let refused = |role: &'static str, sql: &'static str| {
        let session = engine.session(principal(role, 50));
        async move { explained(&session, sql).await.map_err(|error| error.code) }
    };
    let sql = "EXPLAIN ANALYZE SELECT id FROM mem.t";
    assert_eq!(refused("whole", sql).await, Err(Code::SQL002));
    assert_eq!(refused("part", sql).await, Err(Code::SQL002));
    let absent = "EXPLAIN ANALYZE SELECT id FROM mem.nothing";
    assert_eq!(refused("steward", absent).await, Err(Code::SQL010));
    let failing = "EXPLAIN ANALYZE SELECT 1 / (id - 7) FROM mem.t";
    assert!(refused("steward", failing).await.is_err());
}
