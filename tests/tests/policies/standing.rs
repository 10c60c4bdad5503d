//! Which policies apply: by role, by a condition over the principal, by the day, anew at each statement.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, ensure};
use caliber_catalog::diagnostic::Diagnostic;
use caliber_catalog::load;
use caliber_catalog::principal::AttributeValue;
use caliber_connectors::FACTORIES;
use caliber_engine::{Engine, EngineOptions, connector_kinds};
use caliber_tests::engine::{Variables, ask, open, principal};
use tempfile::TempDir;

const TABLES: &str = "
    CREATE TABLE client (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE open (id INTEGER PRIMARY KEY);
    INSERT INTO client VALUES (1, 'Ada'), (2, 'Bo');
";

const SOURCE: &str = "version: 1\nname: small\nsources: { s: { connector: sqlite, path: s.db } }\n";

fn folder(policies: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    rusqlite::Connection::open(folder.path().join("s.db"))?.execute_batch(TABLES)?;
    fs::write(
        folder.path().join("caliber.yaml"),
        format!("{SOURCE}policies:\n{policies}"),
    )?;
    Ok(folder)
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::Text(value.to_owned())
}

/// Whether a policy with this `when`, and these roles, opens the table to the principal.
async fn opens(rest: &str, roles: &[&str], attributes: &[(&str, AttributeValue)]) -> Result<bool> {
    let folder = folder(&format!(
        "  p: {{ tables: [s.client], {rest} }}\n  always: {{ roles: [teller, auditor], tables: [s.open] }}\n"
    ))?;
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    let session = engine.session(principal(roles, attributes));
    match ask(&session, "SELECT id FROM s.client").await {
        Ok(rows) => {
            ensure!(rows.len() == 2, "{rows:?}");
            Ok(true)
        }
        // As of a table that never was.
        Err(error) if ["SQL010", "SQL011"].contains(&error.code.as_str()) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What a policy says, whose roles and attributes, and whether it opens its table.
type Case = (
    &'static str,
    Vec<&'static str>,
    Vec<(&'static str, AttributeValue)>,
    bool,
);

async fn check_all(cases: Vec<Case>) -> Result<()> {
    for (rest, roles, attributes, wanted) in cases {
        let found = opens(rest, &roles, &attributes).await?;
        ensure!(found == wanted, "{rest} for {roles:?} with {attributes:?}: {found}");
    }
    Ok(())
}

fn level(value: AttributeValue) -> Vec<(&'static str, AttributeValue)> {
    vec![("level", value)]
}

#[tokio::test]
async fn a_condition_over_the_principal_opens_and_closes() -> Result<()> {
    check_all(vec![
        (
            "when: principal.level >= 2",
            vec![],
            level(AttributeValue::Int(2)),
            true,
        ),
        (
            "when: principal.level >= 2",
            vec![],
            level(AttributeValue::Int(1)),
            false,
        ),
        ("when: principal.level >= 2", vec![], vec![], false),
        ("when: principal.level >= 2", vec![], level(AttributeValue::Null), false),
        ("when: principal.level >= 2", vec![], level(text("2")), false),
        (
            "when: principal.level >= 2",
            vec![],
            level(AttributeValue::List(vec![AttributeValue::Int(2)])),
            false,
        ),
        // With roles, both.
        (
            "roles: [teller], when: principal.level >= 2",
            vec!["teller"],
            level(AttributeValue::Int(2)),
            true,
        ),
        (
            "roles: [teller], when: principal.level >= 2",
            vec!["auditor"],
            level(AttributeValue::Int(2)),
            false,
        ),
        (
            "roles: [teller], when: principal.level >= 2",
            vec!["teller"],
            level(AttributeValue::Int(1)),
            false,
        ),
        // Lists.
        (
            "when: \"'auditor' IN principal.roles\"",
            vec!["auditor", "teller"],
            vec![],
            true,
        ),
        (
            "when: \"'auditor' IN (principal.roles)\"",
            vec!["auditor"],
            vec![],
            true,
        ),
        ("when: \"'auditor' IN principal.roles\"", vec!["teller"], vec![], false),
        ("when: \"'auditor' IN principal.roles\"", vec![], vec![], false),
        (
            "when: \"'auditor' NOT IN principal.roles AND 'teller' IN principal.roles\"",
            vec!["teller"],
            vec![],
            true,
        ),
        ("when: principal.name = 'teller'", vec!["teller"], vec![], true),
        (
            "when: principal.name = 'x'' OR ''1'' = ''1'",
            vec!["teller"],
            vec![],
            false,
        ),
    ])
    .await
}

#[tokio::test]
async fn a_condition_that_is_null_or_fails_does_not_hold() -> Result<()> {
    check_all(vec![
        (
            "when: \"nullif(principal.level, 1) > 0\"",
            vec![],
            level(AttributeValue::Int(1)),
            false,
        ),
        (
            "when: 10 / principal.level > 0",
            vec![],
            level(AttributeValue::Int(0)),
            false,
        ),
        (
            "when: 10 / principal.level > 0",
            vec![],
            level(AttributeValue::Int(5)),
            true,
        ),
        (
            "when: CAST(principal.level AS INT) > 0",
            vec![],
            level(text("five")),
            false,
        ),
        ("when: CAST(principal.level AS INT) > 0", vec![], level(text("5")), true),
        (
            "when: principal.senior",
            vec![],
            vec![("senior", AttributeValue::Bool(true))],
            true,
        ),
        (
            "when: principal.senior",
            vec![],
            vec![("senior", AttributeValue::Bool(false))],
            false,
        ),
        (
            "when: principal.senior",
            vec![],
            vec![("senior", AttributeValue::Int(1))],
            false,
        ),
        ("when: NULL", vec!["teller"], vec![], false),
    ])
    .await
}

/// The findings of a project with one policy that says `rest`, each as its code and the text it points at.
async fn findings(rest: &str) -> Result<Vec<String>> {
    let folder = folder(&format!("  p: {{ roles: [r], tables: [s.client], {rest} }}\n"))?;
    let (project, _) = load(folder.path(), &Variables(&[]), &connector_kinds(FACTORIES))
        .map_err(|found| anyhow::anyhow!("{}", found[0].message))?;
    let told = |finding: Diagnostic| {
        let place = finding.place.map(|place| place.source.text[place.range].to_owned());
        format!("{} {}", finding.code.as_str(), place.unwrap_or_default())
    };
    match Engine::open(Arc::new(project), FACTORIES, EngineOptions::default()).await {
        Ok((_, warnings)) => Ok(warnings.into_iter().map(told).collect()),
        Err(errors) => Ok(errors.into_iter().map(told).collect()),
    }
}

#[tokio::test]
async fn a_condition_is_checked_when_the_project_is_opened() -> Result<()> {
    for (rest, wanted) in [
        ("when: principal.level", vec![]),
        ("when: name = 'Ada'", vec!["PRJ011 name = 'Ada'"]),
        ("when: 1 + 1", vec!["PRJ011 1 + 1"]),
        ("when: principal.name > 5", vec!["PRJ011 principal.name > 5"]),
        ("when: principal.roles = 'r'", vec!["PRJ011 principal.roles = 'r'"]),
        ("when: random() < 0.5", vec!["PRJ011 random() < 0.5"]),
        ("when: nosuch(principal.name)", vec!["PRJ011 nosuch(principal.name)"]),
        ("when: EXISTS (SELECT 1)", vec!["PRJ011 EXISTS (SELECT 1)"]),
        (
            "rows: { s.client: id = principal.name }",
            vec!["PRJ011 id = principal.name"],
        ),
        (
            "rows: { s.client: principal.roles = name }",
            vec!["PRJ011 principal.roles = name"],
        ),
    ] {
        let found = findings(rest).await?;
        ensure!(found == wanted, "{rest}: {found:?}, wanted {wanted:?}");
    }
    Ok(())
}

/// Midnight before 2026-12-31, and a clock that stands there until it is moved.
const LAST_DAY: u64 = 1_798_675_200;

#[tokio::test]
async fn a_policy_ends_with_its_last_day_also_within_a_session() -> Result<()> {
    let folder = folder(
        "  short: { roles: [r], tables: [s.client], expires: 2026-12-31, admin: true }\n  names: { roles: [r], tables: [s.client], columns: { s.client: [id] } }\n",
    )?;
    let now = Arc::new(AtomicU64::new(LAST_DAY));
    let clock = Arc::clone(&now);
    let options = EngineOptions {
        clock: Arc::new(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst))),
        ..EngineOptions::default()
    };
    let (engine, warned) = open(folder.path(), &[], options.clone()).await?;
    ensure!(warned.is_empty(), "{}", warned[0].message);
    let session = engine.session(principal(&["r"], &[]));
    let sql = "SELECT name FROM s.client ORDER BY id";
    ensure!(session.prepare(sql).await?.schema.fields().len() == 1);
    for second in [0, 86_399] {
        now.store(LAST_DAY + second, Ordering::SeqCst);
        ensure!(ask(&session, sql).await?.concat() == ["Ada", "Bo"]);
        ensure!(session.is_admin());
    }
    now.store(LAST_DAY + 86_400, Ordering::SeqCst);
    // The session that was, what it had prepared, and what it lists.
    let error = ask(&session, sql).await.err().map(|error| error.code.as_str());
    ensure!(error == Some("SQL012"), "{error:?}");
    let error = session.prepare(sql).await.err().map(|error| error.code.as_str());
    ensure!(error == Some("SQL012"), "{error:?}");
    ensure!(session.explain(sql, false).await.is_err() && !session.is_admin());
    ensure!(!format!("{:?}", session.listing()).contains("\"name\""));
    let (_, warned) = open(folder.path(), &[], options).await?;
    ensure!(
        warned.len() == 1 && warned[0].code.as_str() == "PRJ019",
        "check says that it is over"
    );
    // The other policy is as it was, and so is a new session.
    for session in [session, engine.session(principal(&["r"], &[]))] {
        ensure!(ask(&session, "SELECT * FROM s.client ORDER BY id").await?.concat() == ["1", "2"]);
    }
    Ok(())
}
