//! Three worlds of one project: the same to everybody of the proof, and different where nobody may look.
//!
//! Owns: the project, its users, the engines and servers over each world. Never: compares.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use caliber_catalog::principal::Principal;
use caliber_engine::{Engine, EngineOptions};
use caliber_server::{RunningServer, ServeConfig, serve};
use caliber_testkit::{MariaDb, Postgres};
use tempfile::TempDir;

use super::canaries;
use super::data::{Data, Hidden};
use super::load::load;
use super::observe::Observer;
use crate::engine;

/// Every user's password.
pub const PASSWORD: &str = "leak";
/// Its hash, at the cost that `caliber hash-password` chooses.
const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$DyQMzzjstHcXT+sAzt8HwQ$iyz2Zody2nPjtsPOVUovWaTQtwlEAjBXMlyZyEID7lc";

/// The users: name, roles, attributes. The shares are those of the rows in `data`.
const USERS: &[(&str, &str, &str)] = &[
    ("none", "part", "share: 0, reach: 1"),
    ("tiny", "part", "share: 1, reach: 21"),
    ("some", "part", "share: 21, reach: 50"),
    ("half", "part", "share: 50, reach: 99"),
    ("first", "staff", "district: 1"),
    ("second", "staff", "district: 2"),
    ("both", "part, staff", "share: 21, reach: 99, district: 1"),
    ("lost", "part, staff", "reach: 50"),
    ("nobody", "guest", ""),
];

/// A user who sees everything: to him the worlds must differ, or nothing was compared.
pub const WHOLE: &str = "whole";
/// A user whose policies fail on every hidden row: for the log only, since such a policy tells of hidden rows by itself.
pub const BROKEN: &str = "broken";

/// One world, served.
pub struct World {
    /// What it is called in a report.
    pub name: &'static str,
    /// Pushdown off, batches of seven.
    pub local: Arc<Engine>,
    /// Who asks over Flight SQL.
    pub clients: BTreeMap<&'static str, Observer>,
    /// The project's folder.
    pub folder: PathBuf,
    /// What the project reads from its environment.
    pub urls: [(&'static str, String); 2],
    _server: RunningServer,
}

/// The worlds. They end with this value.
pub struct Worlds {
    /// The first is what the others are compared with.
    pub all: Vec<World>,
    /// Credentials and addresses that nobody may read.
    pub secrets: Vec<String>,
    _folder: TempDir,
}

impl Worlds {
    /// Loads and serves all three. `prefix` names their databases on the shared servers.
    pub async fn make(prefix: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let (postgres, mariadb) = (Postgres::shared()?, MariaDb::shared()?);
        let mut all = Vec::new();
        for (name, hidden) in [("base", Hidden::Base), ("many", Hidden::Many), ("few", Hidden::Few)] {
            let own = folder.path().join(name);
            fs::create_dir(&own)?;
            let database = format!("{}{prefix}{name}", canaries::DATABASE);
            let urls = load(&own, hidden, &Data::of(hidden), (postgres, mariadb), &database).await?;
            fs::write(own.join("caliber.yaml"), project())?;
            all.push(
                World::open(name, own, urls)
                    .await
                    .with_context(|| format!("world {name}"))?,
            );
        }
        let secrets = vec![
            postgres.password().to_owned(),
            mariadb.password().to_owned(),
            "caliber_test".to_owned(),
            format!("127.0.0.1:{}", postgres.port()),
            format!("127.0.0.1:{}", mariadb.port()),
            PASSWORD_HASH.to_owned(),
            folder.path().display().to_string(),
        ];
        Ok(Self {
            all,
            secrets,
            _folder: folder,
        })
    }

    /// The users' names.
    pub fn users() -> Vec<&'static str> {
        USERS.iter().map(|(name, _, _)| *name).collect()
    }
}

impl World {
    async fn open(name: &'static str, folder: PathBuf, urls: [(&'static str, String); 2]) -> Result<Self> {
        let pushed = opened(&folder, &urls, EngineOptions::default()).await?;
        let options = EngineOptions {
            pushdown: false,
            batch_rows: 7,
            ..EngineOptions::default()
        };
        let local = opened(&folder, &urls, options).await?;
        let snapshot = pushed.snapshot();
        let mut config = ServeConfig::of(&snapshot.project.server);
        config.listen = "127.0.0.1:0".to_owned();
        let server = serve(Arc::clone(&pushed), snapshot.project.users.clone(), config)
            .await
            .map_err(|error| anyhow!("{}", error.message))?;
        let mut clients = BTreeMap::new();
        for user in Worlds::users().into_iter().chain([WHOLE]) {
            clients.insert(user, Observer::connect(&server.uri(), user, PASSWORD).await?);
        }
        Ok(Self {
            name,
            local,
            clients,
            folder,
            urls,
            _server: server,
        })
    }

    /// The principal that logs in as `user`.
    pub fn principal(&self, user: &str) -> Result<Principal> {
        let snapshot = self.local.snapshot();
        let user = snapshot.project.users.get(user).context("no such user")?;
        let mut roles = user.roles.clone();
        roles.sort();
        roles.dedup();
        Ok(Principal {
            name: user.name.clone(),
            roles,
            attributes: user.attributes.clone(),
        })
    }
}

async fn opened(folder: &Path, urls: &[(&'static str, String)], options: EngineOptions) -> Result<Arc<Engine>> {
    Ok(engine::open(folder, urls, options).await?.0)
}

/// The sources of `t`, `u` and `d`.
pub const SOURCES: [&str; 5] = ["lite", "parquet", "csv", "pg", "my"];

const COLUMNS: &str = "id, bucket, region, kind, word, cents, amount, score, day, phone, pin, salary";

fn project() -> String {
    let folder = canaries::FOLDER;
    let tables = |format: &str, names: &[&str]| -> String {
        let line = |name: &&str| format!("      {name}: {{ path: {name}.{format}, format: {format} }}\n");
        names.iter().map(line).collect()
    };
    let (parquet, csv) = (
        tables("parquet", &["t", "u", "d", "orders"]),
        tables("csv", &["t", "u", "d"]),
    );
    let mut columns = String::new();
    let mut rows = String::new();
    let mut masks = String::new();
    let mut broken = String::new();
    for source in SOURCES {
        let granted = if source == "csv" {
            COLUMNS.replace(" score,", "")
        } else {
            COLUMNS.to_owned()
        };
        for (table, attribute) in [("t", "share"), ("u", "reach")] {
            let name = format!("{source}.{table}");
            let _ = writeln!(columns, "      {name}: [{granted}]");
            let literal = canaries::POLICY;
            let _ = writeln!(
                rows,
                "      {name}: \"bucket < principal.{attribute} AND (region IS NULL OR region <> '{literal}')\""
            );
            let mask = canaries::MASK;
            let _ = writeln!(
                masks,
                "      {name}.phone: \"CASE WHEN id < 0 THEN '{mask}' ELSE '***' END\""
            );
            let _ = writeln!(masks, "      {name}.pin: \"NULL\"");
            let _ = writeln!(masks, "      {name}.salary: \"0\"");
            let _ = writeln!(broken, "      {name}: CAST(word AS INT) < 5");
        }
    }
    let users = users();
    let policy = canaries::POLICY_NAME;
    let references = ["lite", "parquet", "pg", "my"]
        .map(|source| format!("  {source}.orders: {{ key: id, references: {{ customer_id: pg.customer.id }} }}\n"))
        .concat();
    format!(
        "version: 1
name: worlds
sources:
  lite: {{ connector: sqlite, path: lite.db }}
  cellar: {{ connector: sqlite, path: cellar.db }}
  pg: {{ connector: postgres, url: \"${{env:PG_URL}}\" }}
  my: {{ connector: mysql, url: \"${{env:MY_URL}}\" }}
  parquet:
    connector: files
    path: {folder}
    tables:
{parquet}  csv:
    connector: files
    path: {folder}
    tables:
{csv}tables:
  pg.customer: {{ key: id, references: {{ district: pg.district.id }} }}
  my.holder: {{ key: id, references: {{ customer_id: pg.customer.id, account_id: my.account.id }} }}
{references}entities:
  customer:
    table: pg.customer
    key: id
    attributes:
      name: name
      phone: phone
      district: pg.district.label
    holdings:
      my.account: {{ bridge: my.holder, where: role = 'OWNER', rule: full_to_each }}
policies:
  {policy}:
    roles: [part]
    tables: [\"*.t\", \"*.u\", \"*.d\"]
    columns:
{columns}    rows:
{rows}    masks:
{masks}  the customers of a district:
    roles: [staff]
    tables: [\"*.orders\", pg.customer, pg.district, my.account, my.holder, \"unified.*\"]
    rows: {{ customer: district = principal.district }}
    masks: {{ pg.customer.phone: \"'***'\" }}
  everything:
    roles: [whole]
    tables: [\"*\"]
  what fails on hidden rows:
    roles: [{BROKEN}]
    tables: [\"*.t\", \"*.u\"]
    rows:
{broken}users:
{users}"
    )
}

/// The project's `users`.
fn users() -> String {
    let mut users = String::new();
    for (name, roles, attributes) in USERS
        .iter()
        .copied()
        .chain([(WHOLE, "whole", ""), (BROKEN, "broken", "")])
    {
        let _ = writeln!(
            users,
            "  {name}: {{ password: \"{PASSWORD_HASH}\", roles: [{roles}], attributes: {{ {attributes} }} }}"
        );
    }
    users
}
