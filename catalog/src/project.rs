//! A project: its files merged, each name once, every value checked as far as it can be without a source.
//!
//! Owns: the model of the project format, version 1. Never: connects, decides what a principal sees.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::date::Date;
use crate::diagnostic::Place;
use crate::grant::{MinGroup, SqlText};
use crate::identity::Identity;
pub use crate::metric::{BaseMetric, Metric, Missing, Pick, SemiAdditive};
use crate::name::{ColumnName, TableName};
use crate::principal::{AttributeValue, Principal};
use crate::source::Options;
use crate::whole::Whole;

/// A checked project. Immutable once loaded.
#[derive(Clone, Debug)]
pub struct Project {
    /// The SQL catalog's name.
    pub name: String,
    /// The folder that holds `caliber.yaml`, absolute.
    pub root: PathBuf,
    /// `server`
    pub server: ServerSettings,
    /// `sources`, by name.
    pub sources: BTreeMap<String, Source>,
    /// `tables`: the meaning laid over discovered tables.
    pub tables: BTreeMap<TableName, TableMeaning>,
    /// `entities`, by name.
    pub entities: BTreeMap<String, Entity>,
    /// `metrics`, by name.
    pub metrics: BTreeMap<String, Metric>,
    /// `tags`, `segments`, `lifecycles`, `journeys` and `timelines`, by entity.
    pub wholes: BTreeMap<String, Whole>,
    /// `policies`, in the order of file path, then place.
    pub policies: Vec<Policy>,
    /// `users`, by name.
    pub users: BTreeMap<String, User>,
    /// A hash of everything the project says, for the snapshot's version (hexadecimal). Of a secret it holds the
    /// reference (`${env:NAME}`), never what that resolves to: a reload must not be skipped because it is equal.
    pub hash: String,
}

/// `server`: listeners and limits, with the defaults of the documentation where the project is silent.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// `flight.listen`; default `127.0.0.1:50051`.
    pub flight_listen: String,
    /// `flight.tls`
    pub flight_tls: Option<TlsSettings>,
    /// `http.listen`
    pub http_listen: Option<String>,
    /// `limits`
    pub limits: Limits,
    /// `mask_key`: the secret behind the tokens of masks, at least 32 bytes.
    pub mask_key: Option<SecretString>,
    /// `audit`
    pub audit: AuditSettings,
}

/// `server.audit`: the log of who asked what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// `path`: the newest file; default `audit/audit.jsonl` in the project folder.
    pub path: PathBuf,
    /// `rotate`: the bytes at which the log goes on in a new file; default 256 MiB.
    pub rotate_bytes: u64,
}

/// `server.flight.tls`: PEM files.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authority of client certificates, where they are asked for.
    pub client_ca: Option<PathBuf>,
}

/// `server.limits`. Everything has a bound (INV-6).
#[derive(Clone, Debug)]
pub struct Limits {
    /// `query_timeout`, default 60 s.
    pub query_timeout: Duration,
    /// `memory`: of all queries together, in bytes; default 2 GiB.
    pub memory_bytes: u64,
    /// `query_memory`: of one query, in bytes; default 256 MiB.
    pub query_memory_bytes: u64,
    /// `result_rows`, default 10,000,000.
    pub result_rows: u64,
    /// `result_bytes`, default 1 GiB.
    pub result_bytes: u64,
    /// `concurrent_per_user`, default 8.
    pub concurrent_per_user: usize,
    /// `sessions_per_user`, default 16.
    pub sessions_per_user: usize,
}

/// One entry of `sources`.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, the SQL schema.
    pub name: String,
    /// The kind of connector.
    pub connector: String,
    /// The connector's options.
    pub options: Options,
    /// Who owns the data.
    pub owner: Option<String>,
    /// Its label.
    pub label: Label,
    /// `limits.connections`, default 8.
    pub connections_max: usize,
    /// `limits.timeout`, default the server's `query_timeout`.
    pub statement_timeout: Option<Duration>,
    /// Where the source's name stands.
    pub place: Place,
}

/// Text, or a text for each language. Without languages the key is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Label(pub BTreeMap<String, String>);

impl Label {
    /// The text in `language`, else the one without language, else English, else the first.
    pub fn text(&self, language: &str) -> Option<&str> {
        [language, "", "en"]
            .iter()
            .find_map(|key| self.0.get(*key))
            .or_else(|| self.0.values().next())
            .map(String::as_str)
    }
}

/// `tables.SOURCE.TABLE`
#[derive(Clone, Debug)]
pub struct TableMeaning {
    /// The table.
    pub table: TableName,
    /// `description`
    pub description: Option<String>,
    /// `label`
    pub label: Label,
    /// `key`: the columns the steward says identify a row; does not count as enforced until verified.
    pub key: Vec<String>,
    /// `columns`
    pub columns: BTreeMap<String, ColumnMeaning>,
    /// `references`, by column: to-one.
    pub references: BTreeMap<String, Reference>,
    /// Where the table's name stands.
    pub place: Place,
}

/// `tables.SOURCE.TABLE.columns.COLUMN`
#[derive(Clone, Debug)]
pub struct ColumnMeaning {
    /// `description`
    pub description: Option<String>,
    /// `label`
    pub label: Label,
    /// `unit`
    pub unit: Option<String>,
    /// `classification`
    pub classification: Option<String>,
    /// `values`: the meaning of codes.
    pub values: BTreeMap<String, Label>,
    /// Where the column's name stands.
    pub place: Place,
}

/// One reference of a column to a key of another table, of any source.
#[derive(Clone, Debug)]
pub struct Reference {
    /// What it points at.
    pub target: ColumnName,
    /// Where it stands.
    pub place: Place,
}

/// `entities.NAME`
#[derive(Clone, Debug)]
pub struct Entity {
    /// Its name; its views are `unified.<name>_360` and kin.
    pub name: String,
    /// `label`
    pub label: Label,
    /// `description`
    pub description: Option<String>,
    /// `table`
    pub table: TableName,
    /// `key`
    pub key: String,
    /// `time`: the column that says when it began to exist.
    pub time: Option<String>,
    /// `attributes`, in the order written.
    pub attributes: Vec<Attribute>,
    /// `holdings`
    pub holdings: Vec<Holding>,
    /// `identity`
    pub identity: Option<Identity>,
    /// Where `table`'s value stands.
    pub table_place: Place,
    /// Where `key`'s value stands.
    pub key_place: Place,
    /// Where `time`'s value stands.
    pub time_place: Option<Place>,
    /// Where its name stands.
    pub place: Place,
}

/// One attribute of an entity: SQL over the entity's table and what it references (`source.table.column`).
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its name, a column of the entity's views.
    pub name: String,
    /// Its expression.
    pub expr: SqlText,
    /// `label`
    pub label: Label,
    /// `description`
    pub description: Option<String>,
}

/// `holdings.TABLE`: a table whose rows belong to several instances of the entity through a bridge.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The table held.
    pub table: TableName,
    /// The table that says who holds it.
    pub bridge: TableName,
    /// `where`: the bridge rows that count.
    pub condition: Option<SqlText>,
    /// `rule`
    pub rule: HoldingRule,
    /// Where the bridge's name stands.
    pub bridge_place: Place,
    /// Where it stands.
    pub place: Place,
}

/// Whose a held row is, for sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldingRule {
    /// One holder has it whole.
    PrimaryHolder,
    /// The holders share it equally.
    EqualShare,
    /// Each holder has it whole; not additive over holders.
    FullToEach,
}

/// `policies.NAME`
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// `roles` it applies to. Empty: `when` alone says to whom, and without that it applies to nobody.
    pub roles: Vec<String>,
    /// `when`: a condition over `principal.*` that must hold as well.
    pub when: Option<SqlText>,
    /// `expires`: the last day on which it applies, in UTC.
    pub expires: Option<(Date, Place)>,
    /// `min_group`: what it opens is for aggregates over groups of at least so many only.
    pub min_group: Option<MinGroup>,
    /// `tables`: patterns with `*`.
    pub tables: Vec<(String, Place)>,
    /// `columns`, by table.
    pub columns: BTreeMap<TableName, (Vec<(String, Place)>, Place)>,
    /// `rows` keyed by a table.
    pub table_rows: BTreeMap<TableName, SqlText>,
    /// `rows` keyed by an entity.
    pub entity_rows: BTreeMap<String, SqlText>,
    /// Where the keys of `rows` stand, by the key as written.
    pub row_places: BTreeMap<String, Place>,
    /// `masks`, by column.
    pub masks: BTreeMap<ColumnName, SqlText>,
    /// Where the names of masked columns stand.
    pub mask_places: BTreeMap<ColumnName, Place>,
    /// `admin`
    pub admin: bool,
    /// Where its name stands.
    pub place: Place,
}

impl Policy {
    /// Whether its last day is over.
    pub fn expired(&self, today: Date) -> bool {
        self.expires.as_ref().is_some_and(|(last, _)| today > *last)
    }
}

/// `users.NAME`
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// An argon2id hash in PHC text form.
    pub password: SecretString,
    /// `roles`, sorted, each once.
    pub roles: Vec<String>,
    /// `attributes`
    pub attributes: BTreeMap<String, AttributeValue>,
}

impl User {
    /// The principal this user is once logged in.
    pub fn principal(&self) -> Principal {
        Principal {
            name: self.name.clone(),
            roles: self.roles.clone(),
            attributes: self.attributes.clone(),
        }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            flight_listen: "127.0.0.1:50051".into(),
            flight_tls: None,
            http_listen: None,
            limits: Limits::default(),
            mask_key: None,
            audit: AuditSettings::default(),
        }
    }
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("audit/audit.jsonl"),
            rotate_bytes: 256 << 20,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            query_timeout: Duration::from_secs(60),
            memory_bytes: 2 << 30,
            query_memory_bytes: 256 << 20,
            result_rows: 10_000_000,
            result_bytes: 1 << 30,
            concurrent_per_user: 8,
            sessions_per_user: 16,
        }
    }
}
