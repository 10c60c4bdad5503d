//! What policies mean: entity rows that reach into another department, several policies at once, masks, hidden columns.

mod attributes;
mod masks;
mod standing;
mod views;

use std::fs;

use anyhow::{Result, ensure};
use caliber_catalog::principal::AttributeValue;
use caliber_engine::{EngineOptions, Session};
use caliber_tests::engine::{ask, open, principal};
use tempfile::TempDir;

const SHOP: &str = "
    CREATE TABLE branch (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE client (id INTEGER PRIMARY KEY, name TEXT NOT NULL, phone TEXT, branch_id INTEGER REFERENCES branch (id));
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE holder (id INTEGER PRIMARY KEY, client_id INTEGER REFERENCES client (id),
                         account_id INTEGER REFERENCES account (id), role TEXT NOT NULL);
    INSERT INTO branch VALUES (1, 'north'), (2, 'south');
    INSERT INTO client VALUES (1, 'Ada', '100', 1), (2, 'Bo', '200', 1), (3, 'Cy', '300', 2), (4, 'Di', '400', NULL);
    INSERT INTO account VALUES (11, 10), (12, 20), (13, 40), (14, 80);
    -- 13 is Cy's, and Ada may use it; 14 has two owners, one in each branch.
    INSERT INTO holder VALUES (1, 1, 11, 'OWNER'), (2, 2, 12, 'OWNER'), (3, 3, 13, 'OWNER'), (4, 1, 13, 'USER'),
                              (5, 2, 14, 'OWNER'), (6, 3, 14, 'OWNER');
";

const CRM: &str = "
    CREATE TABLE visit (id INTEGER PRIMARY KEY, client_id INTEGER, note TEXT NOT NULL);
    CREATE TABLE rate (id INTEGER PRIMARY KEY, percent INTEGER);
    INSERT INTO visit VALUES (1, 1, 'loan'), (2, 3, 'card'), (3, 4, 'lost'), (4, NULL, 'nobody');
    INSERT INTO rate VALUES (1, 3);
";

const PROJECT: &str = "
version: 1
name: small
sources:
  shop: { connector: sqlite, path: shop.db }
  crm: { connector: sqlite, path: crm.db }
tables:
  shop.client: { key: id }
  crm.visit: { references: { client_id: shop.client.id } }
entities:
  customer:
    table: shop.client
    key: id
    attributes:
      branch: shop.branch.name
      code: concat('+', phone)
    holdings:
      shop.account: { bridge: shop.holder, where: role = 'OWNER', rule: full_to_each }
policies:
  north, telephones hidden:
    roles: [north]
    tables: ['*']
    rows: { customer: branch_id = 1 }
    masks: { shop.client.phone: \"'***'\" }
  south in the clear:
    roles: [south]
    tables: ['*']
    rows: { customer: branch_id = 2 }
  names only:
    roles: [names]
    tables: [shop.client]
    columns: { shop.client: [id, name] }
  a branch by attribute:
    roles: [branch]
    tables: [shop.client]
    rows: { shop.client: branch_id = principal.branch }
  several branches by attribute:
    roles: [branches]
    tables: [shop.client]
    rows: { shop.client: branch_id IN (principal.branches) }
  everything:
    roles: [all]
    tables: ['*']
";

/// The project, and what is asked of it.
struct Shop {
    _folder: TempDir,
    engine: std::sync::Arc<caliber_engine::Engine>,
}

impl Shop {
    async fn open(pushdown: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (file, script) in [("shop.db", SHOP), ("crm.db", CRM)] {
            rusqlite::Connection::open(folder.path().join(file))?.execute_batch(script)?;
        }
        fs::write(folder.path().join("caliber.yaml"), PROJECT)?;
        let options = EngineOptions {
            pushdown,
            ..EngineOptions::default()
        };
        let (engine, _) = open(folder.path(), &[], options).await?;
        Ok(Self {
            _folder: folder,
            engine,
        })
    }

    fn session(&self, roles: &[&str]) -> Session {
        self.engine.session(principal(roles, &[]))
    }
}

/// `sql` as these roles gives exactly these rows, each written with its values separated by a space, pushed and local.
async fn check(roles: &[&str], sql: &str, wanted: &[&str]) -> Result<()> {
    for pushdown in [true, false] {
        let shop = Shop::open(pushdown).await?;
        let found = ask(&shop.session(roles), sql).await?;
        let found: Vec<String> = found.iter().map(|row| row.join(" ")).collect();
        ensure!(
            found == wanted,
            "{roles:?}, pushdown {pushdown}: {sql}\nfound {found:?}\nwanted {wanted:?}"
        );
    }
    Ok(())
}

/// `sql` as these roles fails with this code.
async fn refused(roles: &[&str], sql: &str, code: &str) -> Result<()> {
    let shop = Shop::open(true).await?;
    match ask(&shop.session(roles), sql).await {
        Err(error) => ensure!(
            error.code.as_str() == code,
            "{roles:?}: {sql}: {}: {error}, wanted {code}",
            error.code.as_str()
        ),
        Ok(rows) => anyhow::bail!("{roles:?}: {sql}: {rows:?}, wanted {code}"),
    }
    Ok(())
}

#[tokio::test]
async fn entity_rows_reach_every_table_of_the_customer() -> Result<()> {
    check(
        &["north"],
        "SELECT id, name FROM shop.client ORDER BY id",
        &["1 Ada", "2 Bo"],
    )
    .await?;
    check(&["north"], "SELECT id, note FROM crm.visit ORDER BY id", &["1 loan"]).await?;
    // By ownership, not by use; of two owners one is enough.
    check(
        &["north"],
        "SELECT id FROM shop.account ORDER BY id",
        &["11", "12", "14"],
    )
    .await?;
    check(&["south"], "SELECT id FROM shop.account ORDER BY id", &["13", "14"]).await?;
    // What the customer's table references is open as a whole.
    check(
        &["north"],
        "SELECT id, name FROM shop.branch ORDER BY id",
        &["1 north", "2 south"],
    )
    .await
}

#[tokio::test]
async fn a_table_that_no_path_reaches_does_not_exist() -> Result<()> {
    refused(&["north"], "SELECT * FROM crm.rate", "SQL010").await?;
    check(&["all"], "SELECT percent FROM crm.rate", &["3"]).await
}

#[tokio::test]
async fn inv3_a_mask_stands_below_everything() -> Result<()> {
    check(&["north"], "SELECT DISTINCT phone FROM shop.client", &["***"]).await?;
    check(&["north"], "SELECT id FROM shop.client WHERE phone = '100'", &[]).await?;
    check(
        &["north"],
        "SELECT id FROM shop.client WHERE phone LIKE '1%' OR phone IN ('200')",
        &[],
    )
    .await?;
    check(
        &["north"],
        "SELECT phone, count(*) FROM shop.client GROUP BY phone ORDER BY phone",
        &["*** 2"],
    )
    .await?;
    check(
        &["north"],
        "SELECT max(CAST(id AS VARCHAR) || phone) FROM shop.client",
        &["2***"],
    )
    .await
}

#[tokio::test]
async fn an_attribute_of_a_masked_column_is_null() -> Result<()> {
    let sql = "SELECT id, branch, code FROM unified.customer_360 ORDER BY id";
    check(&["north"], sql, &["1 north NULL", "2 north NULL"]).await?;
    check(&["south"], sql, &["3 south +300"]).await?;
    check(
        &["north", "south"],
        sql,
        &["1 north NULL", "2 north NULL", "3 south +300"],
    )
    .await
}

/// A cell is clear where a policy that admits *that row* shows it clear.
#[tokio::test]
async fn several_policies_add_up_row_by_row() -> Result<()> {
    let sql = "SELECT id, phone FROM shop.client ORDER BY id";
    check(&["north", "south"], sql, &["1 ***", "2 ***", "3 300"]).await?;
    check(
        &["north", "south"],
        "SELECT id FROM shop.account ORDER BY id",
        &["11", "12", "13", "14"],
    )
    .await?;
    check(&["all", "north"], sql, &["1 100", "2 200", "3 300", "4 400"]).await
}

#[tokio::test]
async fn inv4_a_column_that_no_policy_grants_does_not_exist() -> Result<()> {
    check(
        &["names"],
        "SELECT * FROM shop.client ORDER BY id",
        &["1 Ada", "2 Bo", "3 Cy", "4 Di"],
    )
    .await?;
    refused(&["names"], "SELECT phone FROM shop.client", "SQL012").await?;
    refused(&["names"], "SELECT id FROM shop.client ORDER BY branch_id", "SQL012").await?;
    refused(&["names"], "SELECT * FROM shop.branch", "SQL010").await?;
    refused(&["names"], "SELECT * FROM crm.visit", "SQL011").await?;
    refused(&["stranger"], "SELECT * FROM shop.client", "SQL011").await
}

#[tokio::test]
async fn a_column_is_null_on_rows_that_only_other_policies_admit() -> Result<()> {
    let sql = "SELECT id, name, phone, branch_id FROM shop.client ORDER BY id";
    check(
        &["names", "south"],
        sql,
        &["1 Ada NULL NULL", "2 Bo NULL NULL", "3 Cy 300 2", "4 Di NULL NULL"],
    )
    .await
}

#[tokio::test]
async fn attributes_of_the_principal_are_values() -> Result<()> {
    let shop = Shop::open(true).await?;
    let sql = "SELECT id FROM shop.client ORDER BY id";
    let list = AttributeValue::List(vec![AttributeValue::Int(2), AttributeValue::Int(7)]);
    for (role, name, value, wanted) in [
        ("branch", "branch", AttributeValue::Int(2), vec!["3"]),
        ("branch", "branch", AttributeValue::Int(9), vec![]),
        // Missing, NULL or of the wrong type: the policy is closed, the table is there and empty.
        ("branch", "branch", AttributeValue::Null, vec![]),
        ("branch", "other", AttributeValue::Int(2), vec![]),
        ("branch", "branch", AttributeValue::Text("2 OR 1=1".to_owned()), vec![]),
        ("branches", "branches", list, vec!["3"]),
    ] {
        let session = shop.engine.session(principal(&[role], &[(name, value.clone())]));
        let found = ask(&session, sql).await?.concat();
        ensure!(
            found == wanted,
            "{role}, {name} = {value:?}: {found:?}, wanted {wanted:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_order_of_roles_never_matters() -> Result<()> {
    let shop = Shop::open(true).await?;
    let roles = ["north", "south", "names", "all"];
    for (first, second) in roles
        .iter()
        .flat_map(|first| roles.iter().map(move |second| (*first, *second)))
    {
        let mut one = principal(&[first, second], &[]);
        let mut other = one.clone();
        one.roles = vec![first.to_owned(), second.to_owned()];
        other.roles = vec![second.to_owned(), first.to_owned()];
        let sql = "SELECT * FROM shop.client ORDER BY id";
        let (one, other) = (
            ask(&shop.engine.session(one), sql).await?,
            ask(&shop.engine.session(other), sql).await?,
        );
        ensure!(one == other, "{first}, {second}: {one:?} but {other:?}");
    }
    Ok(())
}
