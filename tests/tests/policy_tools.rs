//! `caliber policy explain | test | simulate`: what they say is so, counted a second time by SQL over the raw databases.

mod of_the_bank;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use caliber_tests::program::{Finished, run};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

const SHOP: &str = "
    CREATE TABLE branch (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE client (id INTEGER PRIMARY KEY, name TEXT NOT NULL, phone TEXT, branch_id INTEGER REFERENCES branch (id));
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE holder (id INTEGER PRIMARY KEY, client_id INTEGER REFERENCES client (id),
                         account_id INTEGER REFERENCES account (id), role TEXT NOT NULL);
    CREATE TABLE rate (id INTEGER PRIMARY KEY, percent INTEGER);
    INSERT INTO branch VALUES (1, 'north'), (2, 'south'), (3, 'west');
    INSERT INTO rate VALUES (1, 3), (2, 4);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO client SELECT i, 'name ' || i, CASE WHEN i % 7 > 0 THEN 'tel ' || i END,
                              CASE WHEN i % 10 > 0 THEN i % 3 + 1 END FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
    INSERT INTO account SELECT i, i * 10 FROM n;
    -- Some accounts have two owners, often of two branches; some have users who own nothing.
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)
    INSERT INTO holder SELECT i, i % 300 + 1, i * 13 % 400 + 1, CASE WHEN i % 4 > 0 THEN 'OWNER' ELSE 'USER' END FROM n;
";

const CRM: &str = "
    CREATE TABLE visit (id INTEGER PRIMARY KEY, account_id INTEGER, note TEXT NOT NULL);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
    INSERT INTO visit SELECT i, CASE WHEN i % 11 > 0 THEN i * 17 % 450 END, 'note ' || i FROM n;
";

const PROJECT: &str = "
version: 1
name: small
sources:
  shop: { connector: sqlite, path: shop.db }
  crm: { connector: sqlite, path: crm.db }
tables:
  shop.client: { key: id }
  crm.visit: { references: { account_id: shop.account.id } }
entities:
  customer:
    table: shop.client
    key: id
    attributes: { phone: phone, branch: shop.branch.name }
    holdings:
      shop.account: { bridge: shop.holder, where: role = 'OWNER', rule: full_to_each }
";

const POLICIES: &str = "
policies:
  clerks see their branch:
    roles: [clerk]
    tables: [shop.client, shop.account, shop.branch, crm.visit, unified.*]
    rows: { customer: branch_id = principal.branch }
    masks: { shop.client.phone: \"'***'\" }
  callers see telephones of the west:
    roles: [caller]
    tables: [shop.client]
    rows: { shop.client: branch_id = 3 }
  rates for the desk:
    roles: [desk]
    tables: [shop.rate]
    columns: { shop.rate: [id] }
";

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$VRIYgwJigDGBn+Qif9JRrg$aQnMv3i55jRFzaOPfNLc7FgTDfaVuuEVPKDx6nkNNnE";

/// A project in a folder, and the raw databases beside it.
struct Shop {
    folder: TempDir,
}

impl Shop {
    fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (file, script) in [("shop.db", SHOP), ("crm.db", CRM)] {
            Connection::open(folder.path().join(file))?.execute_batch(script)?;
        }
        fs::write(folder.path().join("caliber.yaml"), PROJECT)?;
        fs::create_dir(folder.path().join("policies"))?;
        fs::write(folder.path().join("policies/access.yaml"), POLICIES)?;
        let users = [
            ("ann", "[clerk], attributes: { branch: 1 }"),
            ("ben", "[clerk], attributes: { branch: 1 }"),
            ("cleo", "[clerk], attributes: { branch: 2 }"),
            ("dora", "[caller, clerk], attributes: { branch: 2 }"),
            ("emil", "[clerk]"),
            ("fay", "[desk]"),
        ];
        let lines = users.map(|(name, rest)| format!("  {name}: {{ password: \"{HASH}\", roles: {rest} }}\n"));
        fs::write(folder.path().join("users.yaml"), format!("users:\n{}", lines.concat()))?;
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `caliber policy COMMAND --project …`
    fn policy(&self, arguments: &[&str]) -> Result<Finished> {
        let folder = self.path().to_str().context("a folder that is not UTF-8")?;
        let (command, rest) = arguments.split_first().context("no command")?;
        run(&[&["policy", command, "--project", folder], rest].concat(), [])
    }

    /// A file beside the project's folder's own, never read as a part of it.
    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.path().join(".given").join(name);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(&path, text)?;
        Ok(path.to_str().context("a path that is not UTF-8")?.to_owned())
    }

    /// What a statement over both raw databases counts.
    fn counted(&self, sql: &str) -> Result<u64> {
        let database = Connection::open(self.path().join("shop.db"))?;
        let crm = self.path().join("crm.db");
        database.execute("ATTACH ?1 AS crm", [crm.to_str().context("a path that is not UTF-8")?])?;
        let count: i64 = database.query_row(sql, [], |row| row.get(0)).context(sql.to_owned())?;
        Ok(u64::try_from(count)?)
    }
}

fn json(finished: &Finished) -> Result<Value> {
    serde_json::from_str(&finished.out).with_context(|| format!("{finished:?}"))
}

/// The change of a table for the principal who stands for this user, if there is one.
pub fn change_of<'a>(simulated: &'a Value, user: &str, table: &str) -> Option<&'a Value> {
    let mut principals = simulated["principals"].as_array()?.iter();
    let principal = principals.find(|principal| {
        let names = principal["users"].as_array();
        names.is_some_and(|names| names.iter().any(|name| name == user))
    })?;
    let mut tables = principal["tables"].as_array()?.iter();
    tables.find(|change| change["change"]["table"] == table)
}

/// Of a table's counts for a user, one number, by its JSON pointer.
pub fn number(simulated: &Value, user: &str, table: &str, pointer: &str) -> Result<u64> {
    let change = change_of(simulated, user, table).with_context(|| format!("{user}: no change of {table}"))?;
    let number = change.pointer(pointer).and_then(Value::as_u64);
    number.with_context(|| format!("{user}: {table}: no {pointer} in {change}"))
}

#[test]
fn a_table_is_explained_with_path_reason_and_columns() -> Result<()> {
    let shop = Shop::make()?;
    let explained = shop.policy(&["explain", "crm.visit", "--as", "ann"])?;
    ensure!(explained.code == Some(0), "{explained:?}");
    let path = "rows of crm.visit belong to customer through account_id → shop.holder (role = 'OWNER') → client_id → \
                shop.client.id; visible where branch_id = principal.branch (branch = 1)";
    ensure!(explained.out.contains(path), "{}", explained.out);
    ensure!(
        explained
            .out
            .contains("no      about other tables: callers see telephones of the west; rates for the desk"),
        "{}",
        explained.out
    );

    let client = json(&shop.policy(&["explain", "shop.client", "--as", "dora", "--json"])?)?;
    let table = &client["table"];
    ensure!(table["exists"] == true, "{client}");
    let state = |column: &str| {
        let mut columns = table["columns"].as_array().into_iter().flatten();
        columns
            .find(|known| known["column"] == column)
            .map(|known| known["state"].clone())
    };
    ensure!(state("phone") == Some("partly".into()), "{client}");
    ensure!(state("name") == Some("clear".into()), "{client}");

    let emil = shop.policy(&["explain", "shop.client", "--as", "emil"])?;
    for part in [
        "It exists, and is empty",
        "attribute `branch` is missing",
        "for role caller",
    ] {
        ensure!(emil.out.contains(part), "`{part}` is not in\n{}", emil.out);
    }
    let wrong = shop.policy(&[
        "explain",
        "shop.client",
        "--role",
        "clerk",
        "--attribute",
        "branch=north",
    ])?;
    ensure!(
        wrong.out.contains("attribute `branch` is of a type that does not fit"),
        "{}",
        wrong.out
    );
    let fay = json(&shop.policy(&["explain", "--as", "fay", "--json"])?)?;
    let exist: Vec<&Value> = fay["tables"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|table| table["exists"] == true)
        .map(|table| &table["table"])
        .collect();
    ensure!(exist == ["shop.rate"], "{exist:?}");
    Ok(())
}

#[test]
fn a_statement_is_explained_or_why_it_is_refused() -> Result<()> {
    let shop = Shop::make()?;
    let sql = "SELECT c.branch, a.balance FROM customer_360 c JOIN shop.account a ON a.id = c.id WHERE c.phone IS NULL";
    let explained = json(&shop.policy(&["explain", "--as", "ann", "--json", "-c", sql])?)?;
    let statement = &explained["statement"];
    let tables: Vec<&Value> = statement["tables"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|table| &table["table"])
        .collect();
    ensure!(tables == ["shop.account", "shop.branch", "shop.client"], "{tables:?}");
    ensure!(
        statement["views"][0]["always_null"] == serde_json::json!(["phone"]),
        "{statement}"
    );
    ensure!(statement["refused"].is_null(), "{statement}");
    let phone = shop.policy(&["explain", "--as", "ann", "-c", "SELECT phone FROM shop.client"])?;
    ensure!(
        phone.code == Some(0) && phone.out.contains("masked columns used  shop.client.phone"),
        "{phone:?}"
    );

    let refused = shop.policy(&[
        "explain",
        "--as",
        "fay",
        "-c",
        "SELECT percent FROM shop.rate, crm.visit",
    ])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    for part in [
        "error[SQL011]",
        "crm.visit\n  It does not exist: no policy opens it.",
        "clerks see their branch: it is for role clerk",
        "absent   percent",
    ] {
        ensure!(refused.out.contains(part), "`{part}` is not in\n{}", refused.out);
    }
    Ok(())
}

#[test]
fn without_an_answer_the_exit_code_is_2() -> Result<()> {
    let shop = Shop::make()?;
    let near = shop.policy(&["explain", "shop.clint", "--as", "ann"])?;
    ensure!(
        near.code == Some(2) && near.notes.contains("did you mean `shop.client`?"),
        "{near:?}"
    );
    for arguments in [
        &["explain", "shop.client", "--as", "nobody"][..],
        &["explain", "shop.client"],
        &["test"],
        &["test", "no such file"],
        &["simulate", "--change", "/nowhere"],
        &["simulate", "--change", ".", "--as", "nobody"],
    ] {
        let finished = shop.policy(arguments)?;
        ensure!(finished.code == Some(2), "{arguments:?}: {finished:?}");
    }
    Ok(())
}

#[test]
fn expectations_hold_or_show_their_difference() -> Result<()> {
    let shop = Shop::make()?;
    let sound = "
- name: a clerk sees one branch
  as: ann
  sql: SELECT DISTINCT branch_id FROM shop.client
  expect: { rows: [[1]], columns: [branch_id] }
- name: telephones are masked
  as: { roles: [clerk], attributes: { branch: 2 } }
  sql: SELECT DISTINCT phone FROM shop.client WHERE id > $1
  params: [10]
  expect: { rows: [['***']] }
- name: nothing without an attribute
  as: emil
  sql: SELECT * FROM shop.client
  expect: { count: 0 }
- name: the desk knows no percent
  as: fay
  sql: SELECT percent FROM shop.rate
  expect: { refused: SQL012 }
- name: two clerks of one branch see the same
  as: ann
  sql: SELECT id, phone FROM shop.client ORDER BY id
  expect:
    same_as: { as: ben, sql: 'SELECT id, phone FROM shop.client ORDER BY id' }
- name: NULL is no text
  as: dora
  sql: SELECT phone FROM shop.client WHERE id = 14
  expect: { rows: [[~]] }
";
    fs::write(shop.path().join("policies/branches.policy-test"), sound)?;
    let held = shop.policy(&["test"])?;
    ensure!(held.code == Some(0), "{held:?}");
    ensure!(held.out.ends_with("6 expectations: all hold\n"), "{}", held.out);
    // Beside the project's own files it is none of them.
    let folder = shop.path().to_str().context("a folder that is not UTF-8")?;
    ensure!(run(&["check", "--project", folder], [])?.code == Some(0));

    let failing = shop.file(
        "failing.policy-test",
        "
- name: one row is wrong
  as: fay
  sql: SELECT id FROM shop.rate
  expect: { rows: [[1], [7]] }
- name: another code
  as: fay
  sql: SELECT percent FROM shop.rate
  expect: { refused: SQL010 }
- name: the order counts
  as: fay
  sql: SELECT id FROM shop.rate ORDER BY id DESC
  expect: { rows: [[1], [2]] }
- name: not the same
  as: ann
  sql: SELECT id FROM shop.client
  expect:
    same_as: { as: cleo, sql: SELECT id FROM shop.client }
",
    )?;
    let failed = shop.policy(&["test", &failing])?;
    ensure!(failed.code == Some(1), "{failed:?}");
    for part in [
        "- 7\n         + 2\n",
        "expected SQL010, found SQL012",
        "another order, from row 1",
        "failing.policy-test:2)",
        "4 expectations: 0 hold, 4 do not",
    ] {
        ensure!(failed.out.contains(part), "`{part}` is not in\n{}", failed.out);
    }

    let broken = shop.file(
        "broken.policy-test",
        "- name: a\n  as: nobody\n  sql: SELECT 1\n  expect: { count: 1 }\n- name: b\n  as: ann\n  expect: { cuont: 1 }\n",
    )?;
    let refused = shop.policy(&["test", &broken])?;
    ensure!(refused.code == Some(2) && refused.out.is_empty(), "{refused:?}");
    for part in ["broken.policy-test:5:3", "needs `sql`", "did you mean `count`?"] {
        ensure!(refused.notes.contains(part), "`{part}` is not in\n{}", refused.notes);
    }
    let unknown = "- name: a\n  as: nobody\n  sql: SELECT 1\n  expect: { count: 1 }\n";
    let unknown = shop.policy(&["test", &shop.file("unknown.policy-test", unknown)?])?;
    ensure!(
        unknown.code == Some(2) && unknown.notes.contains("no user `nobody`"),
        "{unknown:?}"
    );
    Ok(())
}

/// Accounts that a client of such a branch owns.
fn owned(branches: &str) -> String {
    format!(
        "SELECT h.account_id FROM holder h JOIN client c ON c.id = h.client_id
         WHERE h.role = 'OWNER' AND c.branch_id IN ({branches})"
    )
}

#[test]
fn a_change_is_counted_as_sql_over_the_raw_tables_counts_it() -> Result<()> {
    let shop = Shop::make()?;
    let wider = POLICIES
        .replace(
            "branch_id = principal.branch }",
            "branch_id = principal.branch OR branch_id = 3 }",
        )
        .replace("    masks: { shop.client.phone: \"'***'\" }\n", "")
        .replace("columns: { shop.rate: [id] }", "columns: { shop.rate: [id, percent] }")
        .replace("tables: [shop.rate]", "tables: [shop.rate, shop.account]");
    let change = shop.file("access.yaml", &wider)?;
    let finished = shop.policy(&["simulate", "--change", &change, "--json"])?;
    ensure!(finished.code == Some(1), "{finished:?}");
    let simulated = json(&finished)?;
    let rows = |user: &str, table: &str| number(&simulated, user, table, "/counts/opened");
    let owners = |user: &str, table: &str| number(&simulated, user, table, "/counts/entities/0/opened");

    for (user, branch) in [("ann", 1), ("ben", 1), ("cleo", 2)] {
        ensure!(rows(user, "shop.client")? == shop.counted("SELECT count(*) FROM client WHERE branch_id = 3")?);
        let (new, old) = (owned("3"), owned(&branch.to_string()));
        let fresh = format!("IN ({new}) AND account_id NOT IN ({old})");
        let visits = format!("SELECT count(*) FROM crm.visit WHERE account_id {fresh}");
        ensure!(rows(user, "crm.visit")? == shop.counted(&visits)?, "{user}: visits");
        let accounts = format!("SELECT count(*) FROM account WHERE id IN ({new}) AND id NOT IN ({old})");
        ensure!(
            rows(user, "shop.account")? == shop.counted(&accounts)?,
            "{user}: accounts"
        );
        // Whose they are: every owner of an opened row, of whatever branch.
        let owner = |accounts: &str| {
            format!("SELECT count(DISTINCT client_id) FROM holder WHERE role = 'OWNER' AND account_id IN ({accounts})")
        };
        let fresh_accounts = format!("SELECT id FROM account WHERE id IN ({new}) AND id NOT IN ({old})");
        ensure!(
            owners(user, "shop.account")? == shop.counted(&owner(&fresh_accounts))?,
            "{user}: owners"
        );
        let visited = format!("SELECT account_id FROM crm.visit WHERE account_id {fresh}");
        ensure!(
            owners(user, "crm.visit")? == shop.counted(&owner(&visited))?,
            "{user}: visitors"
        );
        ensure!(
            owners(user, "shop.client")? == rows(user, "shop.client")?,
            "{user}: clients"
        );
        // The mask is gone from every row seen before, NULL or not: the cell is clear.
        let cells = number(&simulated, user, "shop.client", "/counts/cells/0/opened")?;
        let seen = format!("SELECT count(*) FROM client WHERE branch_id = {branch}");
        ensure!(cells == shop.counted(&seen)?, "{user}: {cells} cells");
    }
    // Who saw the west in the clear by another policy gains no row of it, and no cell there.
    ensure!(rows("dora", "shop.client")? == 0);
    let dora = number(&simulated, "dora", "shop.client", "/counts/cells/0/opened")?;
    ensure!(
        dora == shop.counted("SELECT count(*) FROM client WHERE branch_id = 2")?,
        "{dora}"
    );
    // Without the attribute the policy stays closed.
    ensure!(change_of(&simulated, "emil", "shop.client").is_none_or(|change| change["opens"] == false));
    ensure!(rows("fay", "shop.account")? == shop.counted("SELECT count(*) FROM account")?);
    let percent = number(&simulated, "fay", "shop.rate", "/counts/cells/0/opened")?;
    ensure!(percent == shop.counted("SELECT count(*) FROM rate")?, "{percent}");
    // Two users who see alike are compared once.
    ensure!(
        simulated["principals"].as_array().map(Vec::len) == Some(5),
        "{simulated}"
    );
    Ok(())
}

#[test]
fn only_what_opens_is_a_finding() -> Result<()> {
    let shop = Shop::make()?;
    let project = shop.path().to_str().context("a folder that is not UTF-8")?;
    let same = shop.policy(&["simulate", "--change", project])?;
    ensure!(
        same.code == Some(0) && same.out.contains("The change opens nothing."),
        "{same:?}"
    );

    // Written otherwise, with the same meaning: nothing to count.
    let renamed = POLICIES.replace("clerks see their branch", "clerks and their branch");
    let renamed = shop.policy(&["simulate", "--change", &shop.file("access.yaml", &renamed)?])?;
    ensure!(
        renamed.code == Some(0) && !renamed.notes.contains("counted"),
        "{renamed:?}"
    );

    let narrower = POLICIES
        .replace(
            "branch_id = principal.branch }",
            "branch_id = principal.branch AND id > 100 }",
        )
        .replace("roles: [desk]", "roles: [nobody]");
    let change = shop.file("access.yaml", &narrower)?;
    let closing = shop.policy(&["simulate", "--change", &change, "--json"])?;
    ensure!(closing.code == Some(0), "{closing:?}");
    let closed = number(&json(&closing)?, "ann", "shop.client", "/counts/closed")?;
    let wanted = shop.counted("SELECT count(*) FROM client WHERE branch_id = 1 AND id <= 100")?;
    ensure!(closed == wanted, "{closed}, wanted {wanted}");
    // What is not counted may open.
    let uncounted = shop.policy(&["simulate", "--change", &change, "--no-rows"])?;
    ensure!(
        uncounted.code == Some(1) && uncounted.out.contains("(not counted)"),
        "{uncounted:?}"
    );
    // For fay alone it only closes, which needs no count.
    let fay = shop.policy(&["simulate", "--change", &change, "--no-rows", "--as", "fay"])?;
    ensure!(
        fay.code == Some(0) && fay.out.contains("shop.rate: exists no more"),
        "{fay:?}"
    );

    let admin = format!("{POLICIES}  heads:\n    roles: [desk]\n    admin: true\n");
    let admin = shop.policy(&["simulate", "--change", &shop.file("access.yaml", &admin)?])?;
    ensure!(
        admin.code == Some(1) && admin.out.contains("becomes administrator"),
        "{admin:?}"
    );

    // The user's own attributes are part of the project: a clerk who moves sees another branch.
    let users = fs::read_to_string(shop.path().join("users.yaml"))?.replace("branch: 2 }", "branch: 3 }");
    let moved = shop.policy(&[
        "simulate",
        "--change",
        &shop.file("users.yaml", &users)?,
        "--as",
        "cleo",
        "--json",
    ])?;
    let opened = number(&json(&moved)?, "cleo", "shop.client", "/counts/opened")?;
    ensure!(
        opened == shop.counted("SELECT count(*) FROM client WHERE branch_id = 3")?,
        "{opened}"
    );
    Ok(())
}

#[test]
fn another_mask_is_a_finding_and_null_is_none() -> Result<()> {
    let shop = Shop::make()?;
    let mask = |sql: &str| POLICIES.replace("\"'***'\"", &format!("\"{sql}\""));
    let seen = shop.counted("SELECT count(*) FROM client WHERE branch_id = 1")?;
    let weaker = shop.file("access.yaml", &mask("substr(phone, 1, 6)"))?;
    let weaker = shop.policy(&["simulate", "--change", &weaker, "--as", "ann", "--json"])?;
    ensure!(weaker.code == Some(1), "{weaker:?}");
    let otherwise = number(
        &json(&weaker)?,
        "ann",
        "shop.client",
        "/counts/cells/0/masked_otherwise",
    )?;
    ensure!(otherwise == seen, "{otherwise}, wanted {seen}");
    let nothing = shop.file("access.yaml", &mask("NULL"))?;
    let nothing = shop.policy(&["simulate", "--change", &nothing, "--as", "ann"])?;
    ensure!(
        nothing.code == Some(0) && nothing.out.contains("decided otherwise"),
        "{nothing:?}"
    );
    Ok(())
}

#[test]
fn other_sources_and_sources_that_are_down_give_no_answer() -> Result<()> {
    let shop = Shop::make()?;
    let other = PROJECT.replace("path: crm.db", "path: other.db");
    let other = shop.policy(&["simulate", "--change", &shop.file("caliber.yaml", &other)?])?;
    ensure!(
        other.code == Some(2) && other.notes.contains("other sources") && other.notes.contains("crm"),
        "{other:?}"
    );
    let broken = shop.file(
        "access.yaml",
        &POLICIES.replace("branch_id = principal", "brunch_id = principal"),
    )?;
    let broken = shop.policy(&["simulate", "--change", &broken])?;
    ensure!(
        broken.code == Some(2) && broken.notes.contains("brunch_id"),
        "{broken:?}"
    );
    fs::remove_file(shop.path().join("crm.db"))?;
    let project = shop.path().to_str().context("a folder that is not UTF-8")?;
    let down = shop.policy(&["simulate", "--change", project])?;
    ensure!(down.code == Some(2) && down.out.is_empty(), "{down:?}");
    Ok(())
}
