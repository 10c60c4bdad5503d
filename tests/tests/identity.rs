//! `caliber identity` over files: build, explain, stewards' words, and who may read for it.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use caliber_tests::program::{Finished, run};
use tempfile::TempDir;

const PROJECT: &str = r#"
version: 1
name: bank
sources:
  core: { connector: files, path: ".", tables: { client: { path: client.csv } } }
  card: { connector: files, path: ".", tables: { holder: { path: holder.csv } } }
entities:
  customer:
    table: core.client
    key: client_id
    identity:
      role: builder
      sources:
        core.client: { key: client_id, unique: true, fields: { number: client_id, name: name, birth: born, phone: phone } }
        card.holder: { key: holder_id, unique: true, fields: { number: core_no, name: full_name, birth: birth, phone: tel } }
      fields:
        number: { normalise: number }
        name: { normalise: [fold, case, words], compare: text, frequency: true }
        birth: { normalise: date, formats: ["%Y-%m-%d", "%d.%m.%Y"], compare: date }
        phone: { normalise: phone, country: "420", compare: code }
      exact: { same number: number }
      blocking: [birth, "last(phone, 6)"]
policies:
  the builder reads what identity needs: { roles: [builder], tables: [core.client, card.holder] MORE }
  staff see cards: { roles: [staff], tables: [card.holder] }
"#;

const CLIENTS: &str = "client_id,name,born,phone\n\
    C-001,Jan Novák,1980-02-03,+420 601 111 111\nC-002,Eva Malá,1975-05-06,+420 602 222 222\n\
    C-003,Petr Dvořák,1990-07-08,+420 603 333 333\nC-004,Jana Nová,1966-01-01,+420 604 444 444\n";
const HOLDERS: &str = "holder_id,core_no,full_name,birth,tel\n\
    h1,1.0,J. Novak,,\nh2,,EVA MALA,06.05.1975,602 222 222\nh3,,Karel Veselý,01.12.1950,777 888 999\n\
    h4,,Petr Dvorak,08.07.1990,603 333 333\n";

fn bank(more: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("caliber.yaml"), PROJECT.replace("MORE", more))?;
    fs::write(folder.path().join("client.csv"), CLIENTS)?;
    fs::write(folder.path().join("holder.csv"), HOLDERS)?;
    Ok(folder)
}

fn identity(folder: &Path, words: &[&str]) -> Result<Finished> {
    let folder = folder.to_str().unwrap_or_default();
    run(&[&["identity"], words, &["--project", folder]].concat(), [])
}

/// By record, its customer.
fn ids(folder: &Path) -> Result<Vec<(String, String)>> {
    let exported = identity(folder, &["export"])?;
    ensure!(exported.code == Some(0), "{}", exported.notes);
    let rows = exported.out.lines().skip(1).map(|line| {
        let mut cells = line.split(',');
        let (id, source, key) = (cells.next(), cells.next(), cells.next());
        (
            format!("{}:{}", source.unwrap_or_default(), key.unwrap_or_default()),
            id.unwrap_or_default().to_owned(),
        )
    });
    Ok(rows.collect())
}

fn id(all: &[(String, String)], record: &str) -> String {
    all.iter()
        .find(|(name, _)| name == record)
        .map(|(_, id)| id.clone())
        .unwrap_or_default()
}

#[test]
fn a_crosswalk_is_built_explained_and_corrected() -> Result<()> {
    let bank = bank("")?;
    let folder = bank.path();
    let early = identity(folder, &["export"])?;
    ensure!(early.code == Some(1) && early.notes.contains("PRJ023"), "{early:?}");

    let built = identity(folder, &["build"])?;
    ensure!(built.code == Some(0), "{built:?}");
    ensure!(built.out.contains("8 records are 5 customers"), "{}", built.out);
    let first = ids(folder)?;
    for (one, other) in [("C-001", "h1"), ("C-002", "h2"), ("C-003", "h4")] {
        let pair = (
            id(&first, &format!("core.client:{one}")),
            id(&first, &format!("card.holder:{other}")),
        );
        ensure!(!pair.0.is_empty() && pair.0 == pair.1, "{one} {other}: {first:?}");
    }
    ensure!(
        id(&first, "card.holder:h3") != id(&first, "core.client:C-004"),
        "{first:?}"
    );

    let explained = identity(folder, &["explain", "core.client:C-002", "card.holder:h2"])?;
    for text in [
        "name",
        "equal",
        "a match by score",
        "one customer in the crosswalk",
        "compared by 2 of 2 blocking keys",
    ] {
        ensure!(explained.out.contains(text), "{text}: {}", explained.out);
    }
    let exact = identity(folder, &["explain", "core.client:C-001", "card.holder:h1"])?;
    ensure!(exact.out.contains("exact rule `same number` holds"), "{}", exact.out);
    for value in ["Mal", "1975", "602"] {
        ensure!(
            !explained.out.to_lowercase().contains(&value.to_lowercase()),
            "{value}: {}",
            explained.out
        );
    }

    // A steward's words hold at once and after a rebuild, and change nobody else.
    let split = identity(folder, &["split", "core.client:C-002", "card.holder:h2"])?;
    ensure!(split.out.contains("two customers"), "{split:?}");
    let merged = identity(folder, &["merge", "core.client:C-004", "card.holder:h3"])?;
    ensure!(merged.out.contains("one customer"), "{merged:?}");
    let said = ids(folder)?;
    ensure!(identity(folder, &["build"])?.code == Some(0), "no rebuild");
    let rebuilt = ids(folder)?;
    ensure!(said == rebuilt, "{said:?} {rebuilt:?}");
    ensure!(
        id(&rebuilt, "core.client:C-002") != id(&rebuilt, "card.holder:h2"),
        "{rebuilt:?}"
    );
    ensure!(
        id(&rebuilt, "core.client:C-004") == id(&rebuilt, "card.holder:h3"),
        "{rebuilt:?}"
    );
    for record in [
        "core.client:C-001",
        "card.holder:h1",
        "core.client:C-003",
        "card.holder:h4",
        "core.client:C-002",
    ] {
        ensure!(id(&first, record) == id(&rebuilt, record), "{record}");
    }

    let file = fs::read_to_string(folder.join("identity/customer.csv"))?;
    for value in ["Nov", "Eva", "MALA", "Karel", "1980", "602 222", "601 111"] {
        ensure!(!file.contains(value), "{value} is in the crosswalk's file");
    }
    let unknown = identity(folder, &["merge", "core.client:C-999", "card.holder:h3"])?;
    ensure!(
        unknown.code == Some(1) && unknown.notes.contains("PRJ023"),
        "{unknown:?}"
    );
    ensure!(identity(folder, &["merge", "C-001", "h1"])?.code == Some(2));
    Ok(())
}

/// Records are read under the role's policies: what is masked or hidden for it is not linked by.
#[test]
fn what_the_role_does_not_see_clear_is_not_linked() -> Result<()> {
    let masked = bank(", masks: { core.client.name: \"'x'\" }")?;
    let refused = identity(masked.path(), &["build"])?;
    ensure!(
        refused.code == Some(1) && refused.notes.contains("PRJ023"),
        "{refused:?}"
    );
    ensure!(
        refused.notes.contains("is not shown clear to the role `builder`"),
        "{}",
        refused.notes
    );
    ensure!(
        !masked.path().join("identity/customer.csv").exists(),
        "a crosswalk of masks"
    );
    let closed = bank(", expires: 2000-01-01")?;
    let refused = identity(closed.path(), &["build"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    Ok(())
}
