//! The project format, version 1, as tables: the one source of the reader and of the JSON Schema.
//!
//! Owns: every key there is, its shape and its sentence. Never: reads a file.

mod identity;
mod whole;

use identity::IDENTITY;

use super::shape::{Field, Keys, Record, Shape};

/// The format's own version.
pub(super) const VERSION: i64 = 1;

/// The top of the merged project.
pub(super) static PROJECT: Record = Record {
    what: "a project",
    fields: &[
        Field::required("version", Shape::Version, "The version of the project format: 1."),
        Field::required("name", Shape::Identifier, "The name of the SQL catalog."),
        Field::new(
            "server",
            Shape::Record(&SERVER),
            "Where Caliber listens, and its limits.",
        ),
        Field::new("auth", Shape::Record(&AUTH), "How users prove who they are."),
        Field::new(
            "sources",
            Shape::Map(Keys::Source, &Shape::Source(&SOURCE)),
            "The departments' databases, by the name of their SQL schema.",
        ),
        Field::new(
            "tables",
            Shape::Map(Keys::Table, &Shape::Record(&TABLE)),
            "Meaning laid over discovered tables, by `source.table`.",
        ),
        Field::new(
            "entities",
            Shape::Map(Keys::Identifier, &Shape::Record(&ENTITY)),
            "What the bank speaks about: customers and kin.",
        ),
        Field::new(
            "policies",
            Shape::Map(Keys::Any, &Shape::Record(&POLICY)),
            "Who sees what. What no policy opens does not exist.",
        ),
        Field::new(
            "users",
            Shape::Map(Keys::Any, &Shape::Record(&USER)),
            "Users of this project, by name.",
        ),
        Field::new(
            "metrics",
            Shape::Map(Keys::Identifier, &Shape::Record(&METRIC)),
            "What is measured, defined once for every department.",
        ),
        Field::new(
            "tags",
            whole::TAGS,
            "By entity, what may be said of one: true or false.",
        ),
        Field::new("segments", whole::SEGMENTS, "By entity, groups that are acted upon."),
        Field::new("lifecycles", whole::LIFECYCLES, "By entity, the stages of its life."),
        Field::new("journeys", whole::JOURNEYS, "By entity, steps taken one after another."),
        Field::new(
            "timelines",
            whole::TIMELINES,
            "By entity, the events of every department.",
        ),
    ],
};

static SERVER: Record = Record {
    what: "`server`",
    fields: &[
        Field::new("flight", Shape::Record(&FLIGHT), "The Flight SQL listener."),
        Field::new(
            "http",
            Shape::Record(&HTTP),
            "The HTTP listener for health and metrics.",
        ),
        Field::new("limits", Shape::Record(&LIMITS), "The bounds on what users may ask."),
        Field::new(
            "mask_key",
            Shape::Secret,
            "The secret behind `token` in masks: at least 32 bytes, the same for as long as tokens shall join.",
        ),
        Field::new(
            "audit",
            Shape::Record(&AUDIT),
            "Where the server writes who asked what.",
        ),
    ],
};

static AUDIT: Record = Record {
    what: "`audit`",
    fields: &[
        Field::new(
            "path",
            Shape::Path,
            "The newest file of the log; default audit/audit.jsonl. Its folder is made.",
        ),
        Field::new(
            "rotate",
            Shape::Size,
            "The size at which the log goes on in a new file; default 256MiB.",
        ),
    ],
};

static FLIGHT: Record = Record {
    what: "`flight`",
    fields: &[
        Field::new("listen", Shape::Address, "Host and port; default 127.0.0.1:50051."),
        Field::new(
            "tls",
            Shape::Record(&TLS),
            "PEM files; without them only a loopback address may be listened on.",
        ),
    ],
};

static HTTP: Record = Record {
    what: "`http`",
    fields: &[Field::required(
        "listen",
        Shape::Address,
        "Host and port of the HTTP listener.",
    )],
};

static TLS: Record = Record {
    what: "`tls`",
    fields: &[
        Field::required("cert", Shape::Path, "The certificate chain, PEM."),
        Field::required("key", Shape::Path, "The private key, PEM."),
        Field::new(
            "client_ca",
            Shape::Path,
            "The authority of client certificates, PEM; with it they are asked for.",
        ),
    ],
};

static LIMITS: Record = Record {
    what: "`limits`",
    fields: &[
        Field::new(
            "query_timeout",
            Shape::Duration,
            "The longest a query may take; default 60s.",
        ),
        Field::new("memory", Shape::Size, "Memory of all queries together; default 2GiB."),
        Field::new("query_memory", Shape::Size, "Memory of one query; default 256MiB."),
        Field::new(
            "result_rows",
            Shape::Integer(1, i64::MAX),
            "The most rows of a result; default 10000000.",
        ),
        Field::new("result_bytes", Shape::Size, "The most bytes of a result; default 1GiB."),
        Field::new(
            "concurrent_per_user",
            Shape::Integer(1, 10_000),
            "Queries of one user at once; default 8.",
        ),
        Field::new(
            "sessions_per_user",
            Shape::Integer(1, 100_000),
            "Sessions of one user at once; default 16.",
        ),
    ],
};

static AUTH: Record = Record {
    what: "`auth`",
    fields: &[
        Field::new("users", Shape::Path, "The file of this project that holds `users`."),
        Field::later("jwt"),
    ],
};

/// What every source may say; its connector adds its own options.
static SOURCE: Record = Record {
    what: "a source",
    fields: &[
        Field::required("connector", Shape::Text, "The kind of connector."),
        Field::new("owner", Shape::Text, "The department that owns the data."),
        Field::new("label", Shape::Label, "What people call it."),
        Field::new(
            "limits",
            Shape::Record(&SOURCE_LIMITS),
            "The load the source may be put under.",
        ),
        Field::later("freshness"),
    ],
};

static SOURCE_LIMITS: Record = Record {
    what: "a source's `limits`",
    fields: &[
        Field::new(
            "connections",
            Shape::Integer(1, 1_000),
            "The most connections held open at once; default 8.",
        ),
        Field::new(
            "timeout",
            Shape::Duration,
            "The longest a statement may run at the source; default the server's query_timeout.",
        ),
    ],
};

static TABLE: Record = Record {
    what: "a table",
    fields: &[
        Field::new("description", Shape::Text, "What a row is."),
        Field::new("label", Shape::Label, "What people call it."),
        Field::new(
            "key",
            Shape::OneOrMany(&Shape::Text),
            "The column or columns that identify a row.",
        ),
        Field::new(
            "columns",
            Shape::Map(Keys::Any, &Shape::Record(&COLUMN)),
            "Meaning laid over columns.",
        ),
        Field::new(
            "references",
            Shape::Map(Keys::Any, &Shape::Column),
            "By column, the key of another table it holds (to-one), in any source.",
        ),
    ],
};

static COLUMN: Record = Record {
    what: "a column",
    fields: &[
        Field::new("description", Shape::Text, "What it says."),
        Field::new("label", Shape::Label, "What people call it."),
        Field::new("unit", Shape::Text, "The unit of its numbers."),
        Field::new("classification", Shape::Text, "How sensitive it is: `personal`, say."),
        Field::new(
            "values",
            Shape::Map(Keys::Any, &Shape::Label),
            "The meaning of its codes.",
        ),
    ],
};

static ENTITY: Record = Record {
    what: "an entity",
    fields: &[
        Field::new("label", Shape::Label, "What people call it."),
        Field::new("description", Shape::Text, "What one is."),
        Field::required("table", Shape::Table, "The table with one row for each."),
        Field::required("key", Shape::Text, "The column of that table that identifies one."),
        Field::new("time", Shape::Text, "The column that says when it began to exist."),
        Field::new(
            "attributes",
            Shape::Map(Keys::Identifier, &Shape::SqlOr(&ATTRIBUTE)),
            "SQL over its table and what that references.",
        ),
        Field::new(
            "holdings",
            Shape::Map(Keys::Table, &Shape::Record(&HOLDING)),
            "Tables whose rows may belong to several of them.",
        ),
        Field::new(
            "identity",
            Shape::Record(&IDENTITY),
            "How records of several tables are found to be one of them.",
        ),
    ],
};

static ATTRIBUTE: Record = Record {
    what: "an attribute",
    fields: &[
        Field::required("expr", Shape::Sql, "Its SQL."),
        Field::new("label", Shape::Label, "What people call it."),
        Field::new("description", Shape::Text, "What it says."),
    ],
};

static HOLDING: Record = Record {
    what: "a holding",
    fields: &[
        Field::required("bridge", Shape::Table, "The table that says who holds it."),
        Field::new("where", Shape::Sql, "The rows of the bridge that count."),
        Field::required(
            "rule",
            Shape::Choice(&["primary_holder", "equal_share", "full_to_each"]),
            "Whose a held row is, for sums.",
        ),
    ],
};

static METRIC: Record = Record {
    what: "a metric",
    fields: &[
        Field::new("label", Shape::Label, "What people call it."),
        Field::new("description", Shape::Text, "What it says."),
        Field::new("owner", Shape::Text, "The department that answers for it."),
        Field::new(
            "version",
            Shape::Text,
            "The steward's name for this state of the definition.",
        ),
        Field::new("unit", Shape::Text, "The unit of its numbers."),
        Field::new(
            "table",
            Shape::Table,
            "The table it is counted from; without one it is computed from other metrics.",
        ),
        Field::required(
            "expr",
            Shape::Sql,
            "One aggregate over the table, or SQL over other metrics.",
        ),
        Field::new("where", Shape::Sql, "The rows of the table that count."),
        Field::new("time", Shape::Text, "The column of the table that says when."),
        Field::new(
            "dimensions",
            Shape::List(&Shape::Text),
            "Columns of its own table that it may be grouped and filtered by.",
        ),
        Field::new(
            "semi_additive",
            Shape::Record(&SEMI_ADDITIVE),
            "For a balance: which row counts, and what stands where there is none.",
        ),
        Field::new(
            "window",
            Shape::SqlOr(&WINDOW),
            "The rows up to the last day of a period: `cumulative`, or those of some time before.",
        ),
        Field::new(
            "shift",
            Shape::Text,
            "Each row counts so much later: `1 year`, `3 months`, `7 days`.",
        ),
    ],
};

static WINDOW: Record = Record {
    what: "`window`",
    fields: &[
        Field::new("trailing", Shape::Text, "So long before the day's end: `3 months`."),
        Field::new(
            "to_date",
            Shape::Choice(&["week", "month", "quarter", "year"]),
            "Since its beginning.",
        ),
    ],
};

static SEMI_ADDITIVE: Record = Record {
    what: "`semi_additive`",
    fields: &[
        Field::required(
            "per",
            Shape::OneOrMany(&Shape::Text),
            "The column or columns that name what has one value at a time: an account.",
        ),
        Field::required(
            "pick",
            Shape::Choice(&["last", "first", "min", "max", "average", "time_weighted_average"]),
            "The value of a period.",
        ),
        Field::new(
            "order",
            Shape::OneOrMany(&Shape::Text),
            "The columns that order the rows of one; default its time.",
        ),
        Field::new(
            "missing",
            Shape::Text,
            "Without a row in the period: `strict` (nothing, the default), `carry`, or `carry(N days)`.",
        ),
        Field::new(
            "closed",
            Shape::Text,
            "`zero_from(COLUMN)`: from that day on it is nothing.",
        ),
    ],
};

static POLICY: Record = Record {
    what: "a policy",
    fields: &[
        Field::new("roles", Shape::List(&Shape::Text), "The roles it applies to."),
        Field::new(
            "when",
            Shape::Sql,
            "A condition over `principal.*` that must hold, beside `roles` or in their place.",
        ),
        Field::new("expires", Shape::Date, "The last day on which it applies, in UTC."),
        Field::new("description", Shape::Text, "Why it is."),
        Field::new(
            "tables",
            Shape::List(&Shape::Pattern),
            "The tables it opens: `*`, `source.*`, `source.table`.",
        ),
        Field::new(
            "columns",
            Shape::Map(Keys::Table, &Shape::List(&Shape::Text)),
            "By table, the only columns it opens.",
        ),
        Field::new(
            "rows",
            Shape::Map(Keys::TableOrEntity, &Shape::Sql),
            "By table or entity, the rows it opens.",
        ),
        Field::new(
            "masks",
            Shape::Map(Keys::Column, &Shape::Sql),
            "By column, the SQL shown in its place.",
        ),
        Field::new(
            "admin",
            Shape::Bool,
            "Opens plans, statements and the audit of everyone.",
        ),
        Field::new(
            "min_group",
            Shape::Map(Keys::Identifier, &Shape::Integer(2, 1_000_000)),
            "By entity, the fewest instances that may stand behind a number: opens aggregates only.",
        ),
    ],
};

static USER: Record = Record {
    what: "a user",
    fields: &[
        Field::required(
            "password",
            Shape::PasswordHash,
            "An argon2id hash: caliber hash-password.",
        ),
        Field::new("roles", Shape::List(&Shape::Text), "The user's roles."),
        Field::new(
            "attributes",
            Shape::Map(Keys::Identifier, &Shape::Attribute),
            "Values that policies compare with, as `principal.NAME`.",
        ),
    ],
};
