//! `caliber check` shows every mistake of a project, where it is and how to mend it, and no secret.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use caliber_tests::program::{Finished, run};
use tempfile::TempDir;

const CALIBER: &str = "\
version: 1
name: small
auth:
  users: users.yaml
sources:
  shop:
    connector: sqlite
    path: shop.db
";

const MODEL: &str = "\
tables:
  shop.client:
    key: id
    references:
      branch_id: shop.branch.id
entities:
  customer:
    table: shop.client
    key: id
    attributes:
      branch: shop.branch.name
";

const POLICIES: &str = "\
policies:
  clerks see everything:
    roles: [clerk]
    tables: [\"*\"]
    masks:
      shop.client.phone: \"'***'\"
";

const USERS: &str = "\
users:
  ada:
    password: $argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8
    roles: [clerk]
";

/// A project that is right, in a folder of its own.
fn sound() -> Result<TempDir> {
    let folder = TempDir::new()?;
    let database = rusqlite::Connection::open(folder.path().join("shop.db"))?;
    database.execute_batch(
        "CREATE TABLE branch (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         CREATE TABLE client (id INTEGER PRIMARY KEY, phone TEXT, branch_id INTEGER REFERENCES branch (id));",
    )?;
    for (file, text) in [
        ("caliber.yaml", CALIBER),
        ("model.yaml", MODEL),
        ("policies.yaml", POLICIES),
        ("users.yaml", USERS),
    ] {
        fs::write(folder.path().join(file), text)?;
    }
    Ok(folder)
}

/// The same with `from` replaced in `file`.
fn broken(file: &str, from: &str, to: &str) -> Result<TempDir> {
    let folder = sound()?;
    replace(folder.path(), file, from, to)?;
    Ok(folder)
}

fn replace(folder: &Path, file: &str, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(folder.join(file))?;
    ensure!(text.contains(from), "`{from}` is not in {file}");
    fs::write(folder.join(file), text.replace(from, to))?;
    Ok(())
}

fn check(folder: &Path, more: &[&str]) -> Result<(Finished, String)> {
    let folder = folder.to_str().context("a folder that is not UTF-8")?;
    let variables = [("SHOP_URL", "postgres://clerk:canary-in-a-variable@127.0.0.1:1/shop")];
    let finished = run(&[&["check", "--project", folder], more].concat(), variables)?;
    let shown = format!("{}{}", finished.out, finished.notes);
    Ok((finished, shown))
}

/// `check` exits 1, shows `code` and every one of `wanted`.
fn refuses(folder: &Path, code: &str, wanted: &[&str]) -> Result<()> {
    shows(&check(folder, &[])?, code, wanted)
}

/// The same with the sources asked: what a table has, only its source knows.
fn refuses_online(folder: &Path, code: &str, wanted: &[&str]) -> Result<()> {
    shows(&check(folder, &["--online"])?, code, wanted)
}

fn shows((finished, shown): &(Finished, String), code: &str, wanted: &[&str]) -> Result<()> {
    ensure!(finished.code == Some(1), "exit {:?}\n{shown}", finished.code);
    let first = format!("error[{code}]: ");
    for text in [first.as_str()].iter().chain(wanted) {
        ensure!(shown.contains(text), "`{text}` is not in\n{shown}");
    }
    Ok(())
}

#[test]
fn a_sound_project_passes() -> Result<()> {
    let folder = sound()?;
    let (finished, shown) = check(folder.path(), &[])?;
    ensure!(finished.code == Some(0), "exit {:?}\n{shown}", finished.code);
    Ok(())
}

#[test]
fn unknown_key() -> Result<()> {
    let folder = broken("model.yaml", "    references:", "    referencs:")?;
    refuses(
        folder.path(),
        "PRJ003",
        &["referencs", "model.yaml:4:5", "^^^^^^^^^", "references"],
    )
}

#[test]
fn unknown_connector() -> Result<()> {
    let folder = broken("caliber.yaml", "connector: sqlite", "connector: sqlit")?;
    refuses(folder.path(), "PRJ008", &["sqlit", "caliber.yaml:7:", "sqlite"])
}

#[test]
fn missing_variable() -> Result<()> {
    let folder = broken("caliber.yaml", "path: shop.db", "path: ${env:SHOP_DB}")?;
    refuses(folder.path(), "PRJ007", &["SHOP_DB", "caliber.yaml:8:"])
}

#[test]
fn name_defined_twice_in_two_files() -> Result<()> {
    let folder = sound()?;
    fs::write(
        folder.path().join("more.yaml"),
        "entities:\n  customer:\n    table: shop.client\n    key: id\n",
    )?;
    refuses(folder.path(), "PRJ006", &["customer", "model.yaml:7:", "more.yaml:2:"])
}

#[test]
fn bad_reference() -> Result<()> {
    let folder = broken("model.yaml", "shop.branch.id", "shop.branches.id")?;
    refuses_online(folder.path(), "PRJ010", &["shop.branches", "model.yaml:5:", "branch"])
}

#[test]
fn bad_sql() -> Result<()> {
    let folder = broken("policies.yaml", "\"'***'\"", "\"substr(phone,, 1)\"")?;
    refuses(folder.path(), "PRJ011", &["policies.yaml:6:"])
}

#[test]
fn bad_yaml() -> Result<()> {
    let folder = broken("policies.yaml", "roles: [clerk]", "roles: [clerk")?;
    refuses(folder.path(), "PRJ002", &["policies.yaml:"])
}

#[test]
fn mask_on_an_absent_column() -> Result<()> {
    let folder = broken("policies.yaml", "shop.client.phone", "shop.client.fone")?;
    refuses_online(folder.path(), "PRJ013", &["fone", "policies.yaml:6:", "phone"])
}

#[test]
fn binary_file() -> Result<()> {
    let folder = sound()?;
    fs::write(
        folder.path().join("model.yaml"),
        [0xff, 0xfe, 0x00, 0x01, 0x02, b'\n', 0x80],
    )?;
    refuses(folder.path(), "PRJ002", &["model.yaml"])
}

#[test]
fn empty_file() -> Result<()> {
    let folder = sound()?;
    fs::write(folder.path().join("caliber.yaml"), "")?;
    refuses(folder.path(), "PRJ002", &["caliber.yaml:1:1", "empty"])
}

#[test]
fn alias_bomb() -> Result<()> {
    let folder = sound()?;
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for depth in 1..12 {
        let alias = format!("*a{}", depth - 1);
        bomb.push_str(&format!("a{depth}: &a{depth} [{}]\n", [alias.as_str(); 9].join(", ")));
    }
    fs::write(folder.path().join("bomb.yaml"), bomb)?;
    refuses(folder.path(), "PRJ009", &["bomb.yaml"])
}

#[test]
fn three_mistakes_at_once_show_all_three() -> Result<()> {
    let folder = broken("model.yaml", "    references:", "    referencs:")?;
    replace(folder.path(), "caliber.yaml", "path: shop.db", "path: ${env:SHOP_DB}")?;
    replace(folder.path(), "policies.yaml", "roles: [clerk]", "rolls: [clerk]")?;
    let (finished, shown) = check(folder.path(), &[])?;
    ensure!(finished.code == Some(1), "exit {:?}", finished.code);
    for place in ["model.yaml:4:5", "caliber.yaml:8:", "policies.yaml:3:5"] {
        ensure!(shown.contains(place), "{place} is not in\n{shown}");
    }
    Ok(())
}

#[test]
fn no_secret_prints() -> Result<()> {
    let folder = sound()?;
    // One secret from a variable, one written out, both on the lines that a caret would show.
    let sources = "\
sources:
  shop: { connector: postgres, url: \"${env:SHOP_URL}\", urll: 1 }
  other: { connector: postgres, url: \"postgres://clerk:canary-in-the-file@127.0.0.1:1/shop\", tsl: 1 }
users:
  eve: { password: \"canary-not-a-hash\", rolls: [clerk] }
";
    fs::write(
        folder.path().join("caliber.yaml"),
        format!("version: 1\nname: small\n{sources}"),
    )?;
    let (finished, shown) = check(folder.path(), &[])?;
    ensure!(finished.code == Some(1), "exit {:?}\n{shown}", finished.code);
    ensure!(
        shown.contains("urll") && shown.contains("tsl") && shown.contains("rolls"),
        "{shown}"
    );
    ensure!(!shown.contains("canary"), "a secret is in\n{shown}");
    ensure!(!shown.contains("c2FsdHNhbHRzYWx0"), "a password's hash is in\n{shown}");
    Ok(())
}
