//! What one may not see does not exist: its name is refused as a name of the same length that never was (INV-4).
//!
//! Owns: the hidden names, the names that never were, everywhere a name can be asked for. Never: an error's text.

use anyhow::{Context, Result, bail};
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, ProstMessageExt,
};
use prost::Message;

use super::canaries::POLICY_NAME;
use super::observe::Observation;
use super::worlds::{World, Worlds};

/// Hidden names, and what was never there: as long, and as near to every visible name (`id`), for a name that is written
/// almost right is told the right one.
const PAIRS: &[(Kind, &str, &str)] = &[
    (Kind::Table, "vault", "qjxzw"),
    (Kind::Table, "customer", "qjxzwkvy"),
    (Kind::Column, "hid", "zid"),
    (Kind::Schema, "cellar", "qjxzwk"),
    (Kind::Schema, "caliber_test", "qjxzwkvybfgh"),
    (Kind::Table, POLICY_NAME, "qjxzwkvybfghqjxz"),
    (Kind::Function, POLICY_NAME, "qjxzwkvybfghqjxz"),
    (Kind::Function, "f_leak", "qjxzwk"),
    (Kind::Function, "pg_sleep", "qjxzwkvy"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    Column,
    Schema,
    Function,
}

/// Statements in which `{x}` is such a name.
fn statements(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Table => &[
            "SELECT * FROM pg.{x}",
            "SELECT {x}.id FROM my.{x}",
            "SELECT 1 FROM lite.t WHERE EXISTS (SELECT 1 FROM pg.{x})",
            "EXPLAIN SELECT * FROM pg.{x}",
            "DESCRIBE pg.{x}",
            "SHOW COLUMNS FROM pg.\"{x}\"",
            "SELECT * FROM {x}",
            "SELECT * FROM information_schema.tables WHERE table_name = '{x}'",
            "SELECT * FROM caliber.tables WHERE table_name LIKE '%{x}%'",
            "SELECT count(*) FROM information_schema.columns WHERE table_name LIKE '{x}'",
        ],
        Kind::Column => &[
            "SELECT {x} FROM pg.t",
            "SELECT t.{x} FROM lite.t AS t",
            "SELECT \"{x}\" FROM my.u",
            "SELECT id FROM csv.t WHERE {x} = '1'",
            "SELECT id FROM parquet.t ORDER BY {x}",
            "SELECT max({x}) FROM pg.t GROUP BY kind",
            "SELECT a.id FROM pg.t AS a JOIN my.t AS b USING ({x})",
            "SELECT column_name FROM information_schema.columns WHERE column_name = '{x}'",
            "SELECT * FROM caliber.columns WHERE column_name LIKE '{x}%'",
        ],
        Kind::Schema => &[
            "SELECT * FROM {x}.chest",
            "SELECT * FROM {x}.t",
            "SHOW TABLES FROM {x}",
            "DESCRIBE {x}.chest",
            "SELECT * FROM information_schema.schemata WHERE schema_name = '{x}'",
            "SELECT * FROM caliber.sources WHERE source LIKE '{x}%'",
        ],
        Kind::Function => &[
            "SELECT {x}(id) FROM pg.t",
            "SELECT id FROM pg.t WHERE {x}(1)",
            "SELECT {x}()",
        ],
    }
}

/// Asks for every pair, as text and by metadata command. Gives how many pairs of answers were equal.
pub async fn check(worlds: &Worlds) -> Result<usize> {
    let world = worlds.all.first().context("there is no world")?;
    let mut equal = 0;
    for (kind, hidden, never) in PAIRS {
        // A name that the statement shows is in the answer, and as long; `first` sees `pg.customer`, the others do not.
        for user in ["half", "some", "nobody"] {
            for statement in statements(*kind) {
                let [one, other] = [hidden, never].map(|name| statement.replace("{x}", name));
                same(world, user, (&one, &other), (hidden, never)).await?;
                equal += 1;
            }
            equal += commands(world, user, (hidden, never)).await?;
        }
    }
    Ok(equal)
}

async fn same(world: &World, user: &str, sql: (&str, &str), names: (&str, &str)) -> Result<()> {
    let client = world.clients.get(user).context("no such user")?;
    let (one, other) = (
        client.statement(sql.0, true).await?,
        client.statement(sql.1, true).await?,
    );
    compare(&one, &other, names).with_context(|| format!("{} as {user}", sql.0))
}

/// The answers are equal but for the name itself, which the asker wrote.
fn compare(hidden: &Observation, never: &Observation, names: (&str, &str)) -> Result<()> {
    let hidden = hidden.with_name(names.0, names.1);
    match hidden.difference(&never.with_name(names.0, names.1)) {
        Some(difference) => bail!("`{}` is told apart from a name that never was:\n{difference}", names.0),
        None => Ok(()),
    }
}

/// Filters and keys, as names and as LIKE patterns.
async fn commands(world: &World, user: &str, names: (&str, &str)) -> Result<usize> {
    let client = world.clients.get(user).context("no such user")?;
    let mut equal = 0;
    let patterns: [fn(&str) -> String; 3] = [
        str::to_owned,
        |name| format!("%{name}%"),
        |name| {
            let mut pattern: String = name.chars().skip(1).collect();
            pattern.insert(0, '_');
            pattern
        },
    ];
    for pattern in patterns {
        let both = [names.0, names.1].map(|name| all_commands(&pattern(name)));
        let [hidden, never] = both;
        for (hidden, never) in hidden.into_iter().zip(never) {
            let hidden = client.command(hidden.into(), true).await?;
            let never = client.command(never.into(), true).await?;
            compare(&hidden, &never, (&pattern(names.0), &pattern(names.1)))
                .with_context(|| format!("a metadata command as {user}"))?;
            equal += 1;
        }
    }
    Ok(equal)
}

fn all_commands(name: &str) -> Vec<Vec<u8>> {
    let some = || Some(name.to_owned());
    let tables = |schema: Option<String>, table: Option<String>| {
        let command = CommandGetTables {
            catalog: None,
            db_schema_filter_pattern: schema,
            table_name_filter_pattern: table,
            table_types: Vec::new(),
            include_schema: true,
        };
        command.as_any().encode_to_vec()
    };
    let schemas = CommandGetDbSchemas {
        catalog: None,
        db_schema_filter_pattern: some(),
    };
    let primary = CommandGetPrimaryKeys {
        catalog: None,
        db_schema: Some("pg".to_owned()),
        table: name.to_owned(),
    };
    let exported = CommandGetExportedKeys {
        catalog: None,
        db_schema: some(),
        table: name.to_owned(),
    };
    let imported = CommandGetImportedKeys {
        catalog: None,
        db_schema: None,
        table: name.to_owned(),
    };
    let crossed = CommandGetCrossReference {
        pk_catalog: None,
        pk_db_schema: None,
        pk_table: name.to_owned(),
        fk_catalog: None,
        fk_db_schema: Some("pg".to_owned()),
        fk_table: "t".to_owned(),
    };
    vec![
        tables(None, some()),
        tables(some(), None),
        schemas.as_any().encode_to_vec(),
        primary.as_any().encode_to_vec(),
        exported.as_any().encode_to_vec(),
        imported.as_any().encode_to_vec(),
        crossed.as_any().encode_to_vec(),
    ]
}
