//! Policies that name `unified.customer_360` itself: columns and masks of a view, cell by cell.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use caliber_catalog::diagnostic::Diagnostic;
use caliber_catalog::load;
use caliber_catalog::principal::AttributeValue;
use caliber_connectors::FACTORIES;
use caliber_engine::{Engine, EngineOptions, connector_kinds};
use caliber_tests::engine::{Variables, ask, open, principal};
use tempfile::TempDir;

const SHOP: &str = "
    CREATE TABLE branch (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE client (id INTEGER PRIMARY KEY, phone TEXT, born INTEGER, branch_id INTEGER REFERENCES branch (id));
    INSERT INTO branch VALUES (1, 'north'), (2, 'south');
    INSERT INTO client VALUES (1, '1000', 1970, 1), (2, NULL, 1980, 1), (3, '3000', 1990, 2), (4, '4000', 2000, NULL);
";

const MODEL: &str = "version: 1
name: small
sources: { shop: { connector: sqlite, path: shop.db } }
tables: { shop.client: { key: id } }
entities:
  customer:
    table: shop.client
    key: id
    attributes: { code: \"concat('+', phone)\", born: born, branch: shop.branch.name }
policies:
";

const POLICIES: &str = "  few columns:
    roles: [few]
    tables: ['*']
    columns: { unified.customer_360: [id, branch] }
  without the key:
    roles: [keyless]
    tables: ['*']
    columns: { unified.customer_360: [born] }
  masked north:
    roles: [north]
    tables: ['*']
    rows: { customer: branch_id = 1 }
    masks:
      unified.customer_360.code: \"concat('x', CAST(born - 1900 AS VARCHAR))\"
      unified.customer_360.born: born - born % 100
  masked by another:
    roles: [other]
    tables: ['*']
    masks: { unified.customer_360.code: \"partial(code, 1, 1)\", unified.customer_360.born: \"NULL\" }
  clear south:
    roles: [south]
    tables: ['*']
    rows: { customer: branch_id = 2 }
  few columns of the south:
    roles: [fewsouth]
    tables: ['*']
    rows: { customer: branch_id = 2 }
    columns: { unified.customer_360: [id, branch] }
  the view alone:
    roles: [view]
    tables: ['unified.*']
    masks: { unified.customer_360.code: \"'hidden-word'\" }
  the tables alone:
    roles: [tables]
    tables: ['shop.*']
  the telephone is masked below:
    roles: [below]
    tables: ['*']
    masks: { shop.client.phone: \"'***'\", unified.customer_360.code: \"concat('<', coalesce(code, 'none'), '>')\" }
  own branch:
    roles: [own]
    tables: ['*']
    rows: { customer: branch_id = principal.branch }
    masks: { unified.customer_360.code: principal.nick }
  everything:
    roles: [all]
    tables: ['*']
";

fn folder(policies: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    rusqlite::Connection::open(folder.path().join("shop.db"))?.execute_batch(SHOP)?;
    fs::write(folder.path().join("caliber.yaml"), format!("{MODEL}{policies}"))?;
    Ok(folder)
}

/// `sql` over `{v}`, the view, as these roles gives these rows, pushed and local.
async fn check(roles: &[&str], sql: &str, wanted: &[&str]) -> Result<()> {
    check_for(roles, &[], sql, wanted).await
}

async fn check_for(roles: &[&str], attributes: &[(&str, AttributeValue)], sql: &str, wanted: &[&str]) -> Result<()> {
    let folder = folder(POLICIES)?;
    for pushdown in [true, false] {
        let options = EngineOptions {
            pushdown,
            ..EngineOptions::default()
        };
        let (engine, _) = open(folder.path(), &[], options).await?;
        let session = engine.session(principal(roles, attributes));
        let found = ask(&session, &sql.replace("{v}", "unified.customer_360")).await;
        let found = found.with_context(|| format!("{roles:?}: {sql}"))?;
        let found: Vec<String> = found.iter().map(|row| row.join(" ")).collect();
        ensure!(
            found == wanted,
            "{roles:?}, pushdown {pushdown}: {sql}\nfound {found:?}\nwanted {wanted:?}"
        );
    }
    Ok(())
}

async fn code_of(roles: &[&str], sql: &str) -> Result<&'static str> {
    let folder = folder(POLICIES)?;
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    let answer = ask(
        &engine.session(principal(roles, &[])),
        &sql.replace("{v}", "unified.customer_360"),
    )
    .await;
    Ok(answer.err().context("an error")?.code.as_str())
}

const ALL: &str = "SELECT id, code, born, branch FROM {v} ORDER BY id";

#[tokio::test]
async fn a_column_list_of_a_view_narrows_it() -> Result<()> {
    check(
        &["few"],
        "SELECT * FROM {v} ORDER BY id",
        &["1 north", "2 north", "3 south", "4 NULL"],
    )
    .await?;
    ensure!(code_of(&["few"], "SELECT code FROM {v}").await? == "SQL012");
    ensure!(code_of(&["few"], "SELECT id FROM {v} ORDER BY born").await? == "SQL012");
    ensure!(code_of(&["few"], "SELECT id FROM {v} WHERE never_was = 1").await? == "SQL012");
    check(
        &["keyless"],
        "SELECT * FROM {v} ORDER BY 1",
        &["1970", "1980", "1990", "2000"],
    )
    .await?;
    ensure!(code_of(&["keyless"], "SELECT id FROM {v}").await? == "SQL012");
    check(
        &["few", "all"],
        ALL,
        &[
            "1 +1000 1970 north",
            "2 + 1980 north",
            "3 +3000 1990 south",
            "4 +4000 2000 NULL",
        ],
    )
    .await
}

#[tokio::test]
async fn inv3_a_mask_of_a_view_stands_below_everything() -> Result<()> {
    check(&["north"], ALL, &["1 x70 1900 north", "2 x80 1900 north"]).await?;
    check(
        &["other"],
        ALL,
        &[
            "1 +***0 NULL north",
            "2 * NULL north",
            "3 +***0 NULL south",
            "4 +***0 NULL NULL",
        ],
    )
    .await?;
    for (sql, wanted) in [
        ("SELECT id FROM {v} WHERE code = '+1000'", vec![]),
        ("SELECT id FROM {v} WHERE code IN ('+1000', 'x80')", vec!["2"]),
        ("SELECT id FROM {v} WHERE code LIKE '+%' OR born > 1969", vec![]),
        ("SELECT born, count(*) FROM {v} GROUP BY born", vec!["1900 2"]),
        ("SELECT max(code), min(born) FROM {v}", vec!["x80 1900"]),
        ("SELECT id FROM {v} ORDER BY code DESC", vec!["2", "1"]),
        (
            "SELECT a.id FROM {v} AS a JOIN shop.client AS c ON a.born = c.born",
            vec![],
        ),
        ("SELECT DISTINCT length(code) FROM {v}", vec!["3"]),
        (
            "WITH w AS (SELECT code AS phone FROM {v}) SELECT phone FROM w WHERE phone < 'x75'",
            vec!["x70"],
        ),
        // Of the true values, one of each would divide by zero.
        (
            "SELECT id FROM {v} WHERE 1 / (length(code) - 5) = 0 AND 1 / (born - 1970) = 0 ORDER BY id",
            vec!["1", "2"],
        ),
    ] {
        // Integer division of 1 by -2 and by -70 gives 0.
        check(&["north"], sql, &wanted).await?;
    }
    Ok(())
}

#[tokio::test]
async fn cells_of_a_view_add_up_row_by_row() -> Result<()> {
    check(
        &["north", "south"],
        ALL,
        &["1 x70 1900 north", "2 x80 1900 north", "3 +3000 1990 south"],
    )
    .await?;
    // Two masks of one row: the first in the order of the file.
    check(
        &["north", "other"],
        ALL,
        &[
            "1 x70 1900 north",
            "2 x80 1900 north",
            "3 +***0 NULL south",
            "4 +***0 NULL NULL",
        ],
    )
    .await?;
    // A column is NULL on rows that only policies without it admit.
    check(
        &["fewsouth", "north"],
        ALL,
        &["1 x70 1900 north", "2 x80 1900 north", "3 NULL NULL south"],
    )
    .await?;
    check(
        &["few", "south"],
        ALL,
        &[
            "1 NULL NULL north",
            "2 NULL NULL north",
            "3 +3000 1990 south",
            "4 NULL NULL NULL",
        ],
    )
    .await?;
    check(&["fewsouth", "south"], ALL, &["3 +3000 1990 south"]).await?;
    check(
        &["north", "all"],
        ALL,
        &[
            "1 +1000 1970 north",
            "2 + 1980 north",
            "3 +3000 1990 south",
            "4 +4000 2000 NULL",
        ],
    )
    .await
}

#[tokio::test]
async fn a_view_is_opened_by_its_own_policies() -> Result<()> {
    ensure!(code_of(&["tables"], "SELECT id FROM {v}").await? == "SQL011");
    ensure!(code_of(&["view"], "SELECT id FROM {v}").await? == "SQL011");
    check(
        &["view", "tables"],
        "SELECT id, code FROM {v} ORDER BY id",
        &["1 hidden-word", "2 hidden-word", "3 hidden-word", "4 hidden-word"],
    )
    .await?;
    // Of what other policies open of the tables, a policy that opens the view shows the rows it admits itself.
    check(&["south", "tables"], ALL, &["3 +3000 1990 south"]).await?;
    check(
        &["south", "tables"],
        "SELECT id FROM shop.client ORDER BY id",
        &["1", "2", "3", "4"],
    )
    .await
}

#[tokio::test]
async fn a_mask_of_a_view_is_laid_over_governed_values() -> Result<()> {
    check(
        &["below"],
        "SELECT id, code FROM {v} ORDER BY id LIMIT 1",
        &["1 <none>"],
    )
    .await?;
    let branch = ("branch", AttributeValue::Int(2));
    let nick = ("nick", AttributeValue::Text("nick".into()));
    check_for(&["own"], &[branch.clone(), nick.clone()], ALL, &["3 nick 1990 south"]).await?;
    // Without its attribute a mask shows nothing, and a policy admits nothing.
    check_for(&["own"], &[branch], ALL, &["3 NULL 1990 south"]).await?;
    check_for(&["own"], std::slice::from_ref(&nick), ALL, &[]).await?;
    check_for(
        &["own", "north"],
        &[nick],
        ALL,
        &["1 x70 1900 north", "2 x80 1900 north"],
    )
    .await
}

#[tokio::test]
async fn the_order_of_roles_never_matters_to_a_view_and_more_never_show_less() -> Result<()> {
    let folder = folder(POLICIES)?;
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    let roles = [
        "few", "north", "other", "south", "fewsouth", "below", "tables", "view", "all",
    ];
    // Masks differ from NULL and from each other, so only whether a row is there can be compared over all of them.
    let rows = |roles: Vec<&'static str>| {
        let mut asking = principal(&[], &[]);
        asking.roles = roles.into_iter().map(str::to_owned).collect();
        let session = engine.session(asking);
        async move {
            ask(&session, "SELECT * FROM unified.customer_360 ORDER BY id")
                .await
                .unwrap_or_default()
        }
    };
    for first in roles {
        for second in roles {
            let (one, other) = (rows(vec![first, second]).await, rows(vec![second, first]).await);
            ensure!(one == other, "{first}, {second}: {one:?} but {other:?}");
            let ids = |rows: &[Vec<String>]| rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>();
            let both = ids(&one);
            ensure!(
                ids(&rows(vec![first]).await).iter().all(|id| both.contains(id)),
                "{first}, {second}: {both:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_plan_tells_nothing_of_a_views_masks() -> Result<()> {
    let folder = folder(POLICIES)?;
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    for (roles, hidden) in [(["north", "south"], "1900"), (["other", "north"], "partial")] {
        let session = engine.session(principal(&roles, &[]));
        let sql = "SELECT code, born FROM unified.customer_360";
        let plans = [
            session.explain(sql, false).await?,
            ask(&session, &format!("EXPLAIN {sql}")).await?.concat().concat(),
        ];
        for plan in plans {
            ensure!(
                plan.contains("masked") && !plan.contains(hidden) && !plan.contains("100"),
                "{plan}"
            );
        }
    }
    Ok(())
}

/// The findings of a project with one policy that says `rest`, each as its code and the text it points at.
async fn findings(rest: &str) -> Result<Vec<String>> {
    let folder = folder(&format!("  p: {{ roles: [r], tables: ['*'], {rest} }}\n"))?;
    let told = |finding: Diagnostic| {
        let place = finding.place.map(|place| place.source.text[place.range].to_owned());
        format!("{} {}", finding.code.as_str(), place.unwrap_or_default())
    };
    let project = match load(folder.path(), &Variables(&[]), &connector_kinds(FACTORIES)) {
        Ok((project, _)) => project,
        Err(errors) => return Ok(errors.into_iter().map(told).collect()),
    };
    match Engine::open(Arc::new(project), FACTORIES, EngineOptions::default()).await {
        Ok((_, warnings)) => Ok(warnings.into_iter().map(told).collect()),
        Err(errors) => Ok(errors.into_iter().map(told).collect()),
    }
}

#[tokio::test]
async fn what_a_policy_says_of_a_view_is_checked() -> Result<()> {
    for (rest, wanted) in [
        ("columns: { unified.customer_360: [id, code] }", vec![]),
        ("masks: { unified.customer_360.born: 'NULL' }", vec![]),
        ("columns: { unified.customer_360: [id, cod] }", vec!["PRJ013 cod"]),
        (
            "masks: { unified.customer_360.phone: 'NULL' }",
            vec!["PRJ013 unified.customer_360.phone"],
        ),
        (
            "masks: { unified.custmer_360.code: 'NULL' }",
            vec!["PRJ010 unified.custmer_360.code"],
        ),
        (
            "masks: { unified.customer_360.born: \"'no number'\" }",
            vec!["PRJ011 'no number'"],
        ),
        ("masks: { unified.customer_360.code: phone }", vec!["PRJ011 phone"]),
        ("masks: { unified.customer_360.code: principal.name }", vec![]),
        (
            "masks: { unified.customer_360.born: principal.name }",
            vec!["PRJ011 principal.name"],
        ),
        (
            "rows: { unified.customer_360: born > 1 }",
            vec!["PRJ017 unified.customer_360"],
        ),
    ] {
        let found = findings(rest).await?;
        ensure!(found == wanted, "{rest}: {found:?}, wanted {wanted:?}");
    }
    Ok(())
}
