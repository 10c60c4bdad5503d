//! Statements that run again: what is kept of them, for whom, and that it answers as a new plan would.
//!
//! Owns: its engine, the statements. Never: the time a run takes.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use caliber_catalog::principal::{AttributeValue, Principal};
use caliber_catalog::{Environment, load};
use futures::TryStreamExt;

use super::memory_source::{MemoryFactory, ROWS, bucket};
use crate::run::plan_cache::KeptStatement;
use crate::{Engine, EngineOptions, Session, connector_kinds};

const FACTORIES: &[&dyn caliber_connector_spi::ConnectorFactory] = &[&MemoryFactory];

const PROJECT: &str = "
version: 1
name: templates
sources:
  mem: { connector: memory }
policies:
  a share:
    roles: [part]
    tables: [mem.t]
    rows: { mem.t: bucket < principal.share }
  everything:
    roles: [whole]
    tables: ['*']
  stewards:
    roles: [steward]
    tables: ['*']
    admin: true
";

pub async fn engine() -> Arc<Engine> {
    struct Nothing;
    impl Environment for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("caliber.yaml"), PROJECT).unwrap();
    let (project, _) = load(folder.path(), &Nothing, &connector_kinds(FACTORIES)).unwrap();
    let opened = Engine::open(Arc::new(project), FACTORIES, EngineOptions::default()).await;
    opened.unwrap().0
}

pub fn principal(role: &str, share: i64) -> Principal {
    Principal {
        name: "somebody".to_owned(),
        roles: vec![role.to_owned()],
        attributes: [("share".to_owned(), AttributeValue::Int(share))].into(),
    }
}

/// The ids that a statement gives for one row of parameters.
async fn ids(session: &Session, sql: &str, parameters: Vec<ArrayRef>) -> Vec<i64> {
    let fields = parameters.into_iter().enumerate();
    let parameters =
        RecordBatch::try_from_iter_with_nullable(fields.map(|(at, one)| (format!("{}", at + 1), one, true)));
    let stream = session.execute(sql, parameters.ok()).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let columns = batches.iter().map(|batch| batch.column(0).as_primitive::<Int64Type>());
    let mut ids: Vec<i64> = columns.flat_map(|column| column.values().to_vec()).collect();
    ids.sort_unstable();
    ids
}

fn number(value: impl Into<Option<i64>>) -> Vec<ArrayRef> {
    vec![Arc::new(Int64Array::from(vec![value.into()]))]
}

fn kept(engine: &Engine, session: &Session, sql: &str) -> Option<Arc<KeptStatement>> {
    engine.plans.find(&session.catalog.standing, &session.schema, sql)
}

fn has_template(engine: &Engine, session: &Session, sql: &str) -> bool {
    let kept = kept(engine, session, sql);
    kept.is_some_and(|kept| kept.template.get().is_some_and(Option::is_some))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_plans_nothing_and_answers_its_own_question() {
    let engine = engine().await;
    let session = engine.session(principal("whole", 0));
    let sql = "SELECT id FROM mem.t WHERE id = $1";
    assert_eq!(ids(&session, sql, number(5)).await, [5]);
    assert!(has_template(&engine, &session, sql));
    let first = kept(&engine, &session, sql).unwrap();
    for value in [7, ROWS, 1] {
        assert_eq!(ids(&session, sql, number(value)).await, [value]);
    }
    // Values for which a plan would have been another.
    assert_eq!(ids(&session, sql, number(None)).await, [0_i64; 0]);
    assert_eq!(ids(&session, sql, number(i64::MAX)).await, [0_i64; 0]);
    assert_eq!(ids(&session, sql, number(5)).await, [5]);
    assert!(Arc::ptr_eq(&first, &kept(&engine, &session, sql).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_groups_and_orders_are_kept_too_and_may_run_at_once() {
    let engine = engine().await;
    let session = engine.session(principal("whole", 0));
    let joined =
        "SELECT v.person_id FROM mem.person p JOIN mem.visit v ON v.person_id = p.id WHERE p.id < $1 ORDER BY 1";
    let grouped = "SELECT max(id) FROM mem.t WHERE kind = $1 GROUP BY kind";
    let runs = (1..20_i64).map(|bound| {
        let session = session.clone();
        async move { (bound, ids(&session, joined, number(bound)).await) }
    });
    for (bound, found) in futures::future::join_all(runs).await {
        assert_eq!(found, (1..bound).collect::<Vec<_>>());
    }
    assert!(has_template(&engine, &session, joined));
    for kind in [-1, -2, -3, -1] {
        let last = (1..=ROWS).filter(|row| -1 - row % 3 == kind).max();
        assert_eq!(ids(&session, grouped, number(kind)).await, Vec::from_iter(last));
    }
    assert!(has_template(&engine, &session, grouped));
}

#[tokio::test(flavor = "multi_thread")]
async fn inv4_what_is_kept_for_one_standing_is_not_for_another() {
    let engine = engine().await;
    let sql = "SELECT id FROM mem.t WHERE id <= $1";
    for share in [100, 0, 50, 100] {
        let visible = |row: &i64| bucket(*row).is_some_and(|bucket| bucket < share);
        let wanted: Vec<i64> = (1..=40).filter(visible).collect();
        let session = engine.session(principal("part", share));
        assert_eq!(ids(&session, sql, number(40)).await, wanted, "share {share}");
    }
    let all = engine.session(principal("whole", 0));
    assert_eq!(ids(&all, sql, number(40)).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_the_moment_or_on_the_value_is_planned_each_time() {
    let engine = engine().await;
    let session = engine.session(principal("whole", 0));
    let of_the_moment = "SELECT id FROM mem.t WHERE now() > TIMESTAMP '2020-01-01 00:00:00' AND id = $1";
    assert_eq!(ids(&session, of_the_moment, number(5)).await, [5]);
    assert!(!has_template(&engine, &session, of_the_moment));
    let limited = "SELECT id FROM mem.t ORDER BY id LIMIT $1";
    for count in [3, 1, 0] {
        assert_eq!(
            ids(&session, limited, number(count)).await,
            (1..=count).collect::<Vec<_>>()
        );
    }
    let local = "SELECT id FROM mem.t WHERE word = 'w' || $1";
    for (text, id) in [("7", 7), ("12", 12)] {
        let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
        assert_eq!(ids(&session, local, vec![text]).await, [id]);
    }
}
