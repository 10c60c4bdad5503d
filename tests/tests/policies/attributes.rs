//! An attribute is compared with columns of its own class only; anything else closes that policy and no other.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use caliber_catalog::name::TableName;
use caliber_catalog::principal::AttributeValue;
use caliber_engine::{AttributeFault, Engine, EngineOptions};
use caliber_tests::engine::{ask, open, principal};
use tempfile::TempDir;

use AttributeFault::{Missing, Null, WrongType};
use AttributeValue::{Bool, Float, Int, List};

/// One row; every number in it is one, every text `1`.
const VALUES: &str = "
    CREATE TABLE v (id INTEGER PRIMARY KEY, n INTEGER, d DECIMAL(10,2), f DOUBLE, t TEXT, yes BOOLEAN, day DATE, at TIMESTAMP);
    INSERT INTO v VALUES (1, 1, 1, 1.0, '1', 1, '2020-01-02', '2020-01-02 00:00:00');
";

/// Conditions by role. All but the last admit the row for an attribute that is the column's value.
const CONDITIONS: &[(&str, &str)] = &[
    ("n", "n = principal.a"),
    ("n turned", "principal.a >= n"),
    ("n between", "n BETWEEN principal.a AND 5"),
    ("n in", "n IN (principal.a)"),
    ("n in bare", "n IN principal.a"),
    ("n sum", "n + 1 = principal.a + 1"),
    ("n not", "NOT (n <> principal.a)"),
    ("d", "d = principal.a"),
    ("f", "f = principal.a"),
    ("t", "t = principal.a"),
    ("t in", "t IN (principal.a)"),
    ("t in more", "t IN ('7', principal.a)"),
    ("t like", "t LIKE principal.a"),
    ("t function", "lower(t) = lower(principal.a)"),
    ("t coalesce", "t = coalesce(principal.a, 'none')"),
    ("t case", "CASE principal.a WHEN t THEN true ELSE false END"),
    ("t distinct", "t IS NOT DISTINCT FROM principal.a"),
    ("yes", "yes = principal.a"),
    ("yes alone", "principal.a AND yes"),
    ("day", "day = principal.a"),
    ("day in", "day IN (principal.a)"),
    ("at", "at = principal.a"),
    ("cast", "n = CAST(principal.a AS BIGINT)"),
    ("two", "t = principal.b AND n = principal.a"),
];

fn text(value: &str) -> AttributeValue {
    AttributeValue::Text(value.to_owned())
}

struct Values {
    _folder: TempDir,
    engines: Vec<Arc<Engine>>,
}

impl Values {
    async fn open() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        rusqlite::Connection::open(folder.path().join("s.db"))?.execute_batch(VALUES)?;
        let mut project =
            String::from("version: 1\nname: small\nsources: { s: { connector: sqlite, path: s.db } }\npolicies:\n");
        for (role, condition) in CONDITIONS {
            writeln!(
                project,
                "  {role}: {{ roles: [{role}], tables: [s.v], rows: {{ s.v: \"{condition}\" }} }}"
            )?;
        }
        fs::write(folder.path().join("caliber.yaml"), project)?;
        let mut engines = Vec::new();
        for pushdown in [true, false] {
            let options = EngineOptions {
                pushdown,
                ..EngineOptions::default()
            };
            engines.push(open(folder.path(), &[], options).await?.0);
        }
        Ok(Self {
            _folder: folder,
            engines,
        })
    }

    /// Under the role's condition `principal.a = value` shows the row, or closes the policy for this fault.
    async fn check(&self, role: &str, value: AttributeValue, wanted: Option<AttributeFault>) -> Result<()> {
        for engine in &self.engines {
            let session = engine.session(principal(&[role], &[("a", value.clone()), ("b", text("1"))]));
            let rows = ask(&session, "SELECT id FROM s.v").await;
            let rows = rows.with_context(|| format!("{role}, {value:?}"))?;
            let closed = session.closed_policies(&TableName::new("s", "v"))?;
            let found: Vec<_> = closed
                .iter()
                .map(|(policy, reason)| (policy.as_str(), reason.fault))
                .collect();
            match wanted {
                None => ensure!(
                    rows.len() == 1 && found.is_empty(),
                    "{role}, {value:?}: {rows:?}, {found:?}"
                ),
                Some(fault) => ensure!(
                    rows.is_empty() && found == [(role, fault)] && closed[0].1.attribute == "a",
                    "{role}, {value:?}: {rows:?}, {closed:?}"
                ),
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_attribute_meets_columns_of_its_own_class_only() -> Result<()> {
    let values = Values::open().await?;
    let of_class = |class: char| {
        CONDITIONS
            .iter()
            .map(|(role, _)| *role)
            .filter(move |role| role.starts_with(class))
    };
    for role in of_class('n').chain(["d", "f"]) {
        values.check(role, Int(1), None).await?;
        values.check(role, Float(1.0), None).await?;
        for wrong in [text("1"), text("1 OR 1=1"), text("2020-01-02"), Bool(true)] {
            values.check(role, wrong, Some(WrongType)).await?;
        }
    }
    for role in of_class('t').filter(|role| *role != "two") {
        values.check(role, text("1"), None).await?;
        for wrong in [Int(1), Float(1.0), Bool(true)] {
            values.check(role, wrong, Some(WrongType)).await?;
        }
    }
    for role in of_class('y') {
        values.check(role, Bool(true), None).await?;
        for wrong in [Int(1), Float(1.0), text("true"), text("1")] {
            values.check(role, wrong, Some(WrongType)).await?;
        }
    }
    for role in ["day", "day in", "at"] {
        values.check(role, text("2020-01-02"), None).await?;
        for wrong in [
            Int(18_263),
            text("yesterday"),
            text("1"),
            text("2020-02-30"),
            text("20200102"),
            Bool(true),
        ] {
            values.check(role, wrong, Some(WrongType)).await?;
        }
    }
    values.check("at", text("2020-01-02T00:00:00"), None).await?;
    values.check("day", text("2020-01-02T00:00:00"), Some(WrongType)).await
}

#[tokio::test]
async fn a_list_is_of_one_class_and_stands_after_in() -> Result<()> {
    let values = Values::open().await?;
    for role in ["n in", "n in bare"] {
        values.check(role, List(vec![Int(5), Int(1)]), None).await?;
        values
            .check(role, List(vec![Int(1), text("1")]), Some(WrongType))
            .await?;
        values
            .check(role, List(vec![text("1"), text("2")]), Some(WrongType))
            .await?;
    }
    for role in ["t in", "t in more"] {
        values.check(role, List(vec![text("5"), text("1")]), None).await?;
        values
            .check(role, List(vec![text("1"), Int(1)]), Some(WrongType))
            .await?;
    }
    values
        .check("day in", List(vec![text("1999-12-31"), text("2020-01-02")]), None)
        .await?;
    values
        .check("day in", List(vec![text("2020-01-02"), text("x")]), Some(WrongType))
        .await?;
    for empty in [
        List(vec![]),
        List(vec![AttributeValue::Null]),
        List(vec![Int(1), AttributeValue::Null]),
    ] {
        values.check("n in", empty, Some(Null)).await?;
    }
    // Of one element too: what a list opens must not depend on how long it is.
    for role in ["n", "n turned", "n between", "n sum", "d"] {
        values.check(role, List(vec![Int(1)]), Some(WrongType)).await?;
        values.check(role, List(vec![Int(1), Int(2)]), Some(WrongType)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_attribute_closes_its_policy_alone() -> Result<()> {
    let values = Values::open().await?;
    for (role, _) in CONDITIONS {
        values.check(role, AttributeValue::Null, Some(Null)).await?;
        for engine in &values.engines {
            let session = engine.session(principal(&[role], &[("b", text("1")), ("A", Int(1))]));
            ensure!(ask(&session, "SELECT id FROM s.v").await?.is_empty(), "{role}");
            let closed = session.closed_policies(&TableName::new("s", "v"))?;
            ensure!(
                closed.len() == 1 && closed[0].1.fault == Missing && closed[0].1.attribute == "a",
                "{role}: {closed:?}"
            );
        }
    }
    // A cast that the steward wrote is his word; what it cannot carry closes.
    values.check("cast", text("1"), None).await?;
    values.check("two", Int(1), None).await?;
    values.check("two", text("1"), Some(WrongType)).await?;
    // Another policy still opens the row.
    for engine in &values.engines {
        let session = engine.session(principal(&["n", "t"], &[("a", text("1"))]));
        ensure!(ask(&session, "SELECT id FROM s.v").await?.len() == 1);
        let closed = session.closed_policies(&TableName::new("s", "v"))?;
        ensure!(closed.len() == 1 && closed[0].0 == "n", "{closed:?}");
    }
    Ok(())
}
