//! What is asked of the worlds: templates with random constants, on every source, in every form a client may use.
//!
//! Owns: the statements, and whether their order is total. Never: an answer.
//!
//! Nothing here depends on the order in which equal rows come: no LIMIT without a total order, no sum of floats. A
//! statement that can fail has one way to.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    ProstMessageExt,
};
use bytes::Bytes;
use prost::Message;
use rand::RngExt;
use rand::rngs::StdRng;

use super::observe::Parameters;
use super::worlds::SOURCES;

/// How it is asked.
#[derive(Clone, Debug)]
pub enum Form {
    /// As text.
    Text,
    /// Prepared, with these parameters.
    Prepared(Parameters),
    /// A metadata command.
    Command(Bytes),
}

/// One thing to ask.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Its text; of a command, what it is.
    pub sql: String,
    /// Whether its order is total, so that every byte must be equal.
    pub ordered: bool,
    /// How it is asked.
    pub form: Form,
    /// What it is, for the count.
    pub kind: &'static str,
    /// Who asks.
    pub user: &'static str,
}

/// The next statement.
pub fn random(random: &mut StdRng) -> Statement {
    match random.random_range(0..100) {
        0..48 => rows(random),
        48..60 => customers(random),
        60..72 => explain(random),
        72..82 => prepared(random),
        82..90 => about(random),
        90..95 => hidden(random),
        _ => command(random),
    }
}

fn one<T: Copy>(random: &mut StdRng, all: &[T]) -> T {
    // No list here is empty.
    all[random.random_range(0..all.len())]
}

/// Who sees `t`, `u` and `d`; one who sees nothing; one whose attribute is missing.
fn reader(random: &mut StdRng) -> &'static str {
    one(
        random,
        &[
            "none", "tiny", "some", "some", "half", "half", "both", "both", "lost", "nobody", "first",
        ],
    )
}

fn filled(random: &mut StdRng, template: &str) -> String {
    let source = one(random, &SOURCES);
    let table = one(random, &["t", "u"]);
    let other = one(random, &SOURCES);
    // A number that divides by zero on one row, visible or not, or on none.
    let (n, m) = (random.random_range(0..430), random.random_range(0..100));
    let k = random.random_range(0..3);
    let word = one(random, &["1", "7", "x", "", "9", "12"]);
    let region = one(random, &["north", "North", "west", "südwest", "no"]);
    let predicate = one(random, PREDICATES);
    template
        .replace("{p}", predicate)
        .replace("{t}", &format!("{source}.{table}"))
        .replace("{o}", &format!("{other}.u"))
        .replace("{d}", &format!("{source}.d"))
        .replace("{n}", &n.to_string())
        .replace("{m}", &m.to_string())
        .replace("{k}", &k.to_string())
        .replace("{w}", word)
        .replace("{r}", region)
        .replace("{op}", one(random, &["=", "<>", "<", "<=", ">", ">="]))
}

fn text(random: &mut StdRng, kind: &'static str, template: (&str, bool), user: &'static str) -> Statement {
    Statement {
        sql: filled(random, template.0),
        ordered: template.1,
        form: Form::Text,
        kind,
        user,
    }
}

fn rows(random: &mut StdRng) -> Statement {
    let template = one(random, ROWS);
    let user = reader(random);
    text(random, "rows", template, user)
}

/// Predicates that may pass below the barrier, and some that must not.
const PREDICATES: &[&str] = &[
    "id {op} {n}",
    "kind = {k}",
    "bucket {op} {m}",
    "bucket IS NULL",
    "bucket >= 50 OR bucket IS NULL",
    "region = '{r}'",
    "region > '{r}' AND kind <> {k}",
    "word LIKE '{w}%'",
    "word IN ('{w}', '3', 'none')",
    "NOT (cents {op} {n})",
    "amount BETWEEN {m}.50 AND {n}00.25",
    "day {op} DATE '2012-06-15'",
    "phone = '***'",
    "phone LIKE '%1%' OR phone <> '***'",
    "pin IS NULL",
    "pin = {n}",
    "salary = 0",
    "salary > {n}",
    "length(region) > {k}",
    "upper(word) = '{w}' OR kind = {k}",
    "id % 7 = {k}",
];

/// (template, whether its order is total). 1..400 are ids of visible and of hidden rows.
const ROWS: &[(&str, bool)] = &[
    ("SELECT * FROM {t} ORDER BY id", true),
    ("SELECT * FROM {t} WHERE {p} ORDER BY id", true),
    ("SELECT id, word, phone, pin, salary FROM {t} WHERE {p}", false),
    (
        "SELECT count(*), count(bucket), count(pin), min(id), max(id), min(word), max(word), sum(cents), sum(amount) FROM {t}",
        true,
    ),
    (
        "SELECT count(*), min(day), max(day), min(cents), max(cents), min(phone), max(salary) FROM {t} WHERE {p}",
        true,
    ),
    (
        "SELECT region, count(*), sum(amount), avg(amount) FROM {t} GROUP BY region ORDER BY region",
        true,
    ),
    (
        "SELECT kind, region, count(DISTINCT word) FROM {t} WHERE {p} GROUP BY kind, region",
        false,
    ),
    (
        "SELECT kind, count(*) FROM {t} GROUP BY kind HAVING count(*) > {n} ORDER BY kind",
        true,
    ),
    ("SELECT DISTINCT region, kind FROM {t} WHERE {p}", false),
    ("SELECT approx_distinct(word), median(cents) FROM {t}", true),
    ("SELECT phone, count(*) FROM {t} GROUP BY phone", false),
    ("SELECT id FROM {t} ORDER BY phone, salary, id LIMIT {k}", true),
    (
        "SELECT id, pin FROM {t} ORDER BY pin NULLS FIRST, id DESC LIMIT 9 OFFSET {k}",
        true,
    ),
    ("SELECT id FROM {t} WHERE {p} ORDER BY id DESC LIMIT 5", true),
    (
        "SELECT word, id FROM {t} ORDER BY word DESC NULLS LAST, id LIMIT {m}",
        true,
    ),
    // Fallible
    ("SELECT id, CAST(word AS INT) FROM {t} ORDER BY id", true),
    ("SELECT id FROM {t} WHERE CAST(word AS INT) = {k} ORDER BY id", true),
    ("SELECT 1 / (id - {n}) FROM {t} ORDER BY id", true),
    ("SELECT id FROM {t} WHERE 1 / (id - {n}) = 0 ORDER BY id", true),
    ("SELECT id FROM {t} WHERE region = '{r}' AND 1 / (id - {n}) >= 0", false),
    ("SELECT sum(1 / (id - {n})) FROM {t}", true),
    ("SELECT count(*) FROM {t} WHERE cents * 4611686018427387904 > 0", true),
    ("SELECT sum(cents * 1000) FROM {t}", true),
    ("SELECT id, CAST(cents AS SMALLINT) FROM {t} ORDER BY id", true),
    ("SELECT CAST(region AS DATE) FROM {t}", false),
    (
        "SELECT id FROM {t} WHERE arrow_cast(word, 'Int8') < 5 ORDER BY id",
        true,
    ),
    (
        "SELECT CASE WHEN kind = {k} THEN CAST(word AS INT) END FROM {t} ORDER BY id",
        true,
    ),
    ("SELECT id FROM {t} ORDER BY CAST(word AS INT), id LIMIT 3", true),
    (
        "SELECT kind FROM {t} GROUP BY kind HAVING max(CAST(word AS INT)) > 0 ORDER BY kind",
        true,
    ),
    ("SELECT 1 / (kind - {k}) FROM {t} WHERE kind = {k}", false),
    ("SELECT id FROM {t} WHERE 1 / 0 = {k}", false),
    ("SELECT CAST(phone AS INT) FROM {t}", false),
    ("SELECT 10 / salary FROM {t} WHERE {p}", false),
    // Joins
    (
        "SELECT t.id, d.label FROM {t} AS t JOIN {d} AS d ON d.id = t.kind ORDER BY t.id",
        true,
    ),
    (
        "SELECT d.label, count(t.id) FROM {d} AS d LEFT JOIN {t} AS t ON t.kind = d.id GROUP BY d.label ORDER BY d.label",
        true,
    ),
    (
        "SELECT count(*) FROM {t} AS a JOIN {o} AS b ON a.id = b.id WHERE a.kind = {k}",
        true,
    ),
    (
        "SELECT a.id, b.word FROM {t} AS a JOIN {o} AS b ON a.id = b.id + {k} ORDER BY a.id",
        true,
    ),
    (
        "SELECT count(*) FROM {t} AS a FULL JOIN {o} AS b ON a.id = b.id AND a.kind = {k}",
        true,
    ),
    ("SELECT count(*) FROM {t} AS a JOIN {o} AS b ON a.phone = b.phone", true),
    ("SELECT count(*) FROM {t} AS a JOIN {o} AS b USING (word)", true),
    (
        "SELECT d.id FROM {d} AS d WHERE EXISTS (SELECT 1 FROM {t} AS t WHERE t.kind = d.id AND CAST(t.word AS INT) > {k})",
        false,
    ),
    (
        "SELECT d.id FROM {d} AS d WHERE NOT EXISTS (SELECT 1 FROM {t} AS t WHERE t.kind = d.id) ORDER BY d.id",
        true,
    ),
    (
        "SELECT a.id FROM {t} AS a JOIN {o} AS b ON a.id = b.id AND 1 / (b.id - {n}) = 0 ORDER BY a.id",
        true,
    ),
    (
        "SELECT t.id FROM {t} AS t, {d} AS d WHERE d.id = {k} AND t.id < {m} ORDER BY t.id",
        true,
    ),
    // Subqueries, CTEs, sets
    (
        "SELECT id FROM {t} WHERE id IN (SELECT id FROM {o} WHERE kind = {k}) ORDER BY id",
        true,
    ),
    (
        "SELECT id FROM {t} WHERE id NOT IN (SELECT pin FROM {o}) ORDER BY id",
        true,
    ),
    ("SELECT (SELECT max(cents) FROM {t}), (SELECT min(day) FROM {o})", true),
    (
        "SELECT d.id, (SELECT count(*) FROM {t} AS t WHERE t.kind = d.id) FROM {d} AS d ORDER BY d.id",
        true,
    ),
    (
        "WITH c AS (SELECT kind, sum(cents) AS s FROM {t} GROUP BY kind) SELECT a.kind, b.s FROM c AS a JOIN c AS b ON a.s = b.s ORDER BY a.kind",
        true,
    ),
    (
        "SELECT id FROM {t} WHERE {p} UNION SELECT id FROM {o} WHERE kind = {k} ORDER BY id",
        true,
    ),
    ("SELECT kind FROM {t} EXCEPT SELECT kind FROM {o} ORDER BY kind", true),
    (
        "SELECT word FROM {t} INTERSECT SELECT word FROM {o} WHERE id > {n} ORDER BY word",
        true,
    ),
    ("SELECT count(*) FROM (SELECT DISTINCT phone, pin FROM {t}) AS x", true),
    (
        "SELECT id FROM {t} WHERE cents > (SELECT avg(cents) FROM {t}) ORDER BY id",
        true,
    ),
    (
        "SELECT id FROM {t} WHERE kind > ALL (SELECT id FROM {d} WHERE id < {k})",
        false,
    ),
    // Windows
    ("SELECT id, row_number() OVER (ORDER BY id) FROM {t} ORDER BY id", true),
    (
        "SELECT id, rank() OVER (PARTITION BY kind ORDER BY phone) FROM {t} WHERE {p} ORDER BY id",
        true,
    ),
    (
        "SELECT id, lag(word) OVER (ORDER BY id), sum(cents) OVER (PARTITION BY region ORDER BY id) FROM {t} ORDER BY id",
        true,
    ),
    (
        "SELECT id, ntile(4) OVER (ORDER BY id), count(*) OVER () FROM {t} ORDER BY id",
        true,
    ),
    (
        "SELECT id, first_value(pin) OVER (PARTITION BY kind ORDER BY id) FROM {t} ORDER BY id LIMIT {m}",
        true,
    ),
    // Functions over what is masked
    (
        "SELECT id, length(phone), coalesce(pin, {n}), md5(phone) FROM {t} ORDER BY id",
        true,
    ),
    ("SELECT id FROM {t} WHERE sha256(phone) = sha256('1') OR pin > 0", false),
    (
        "SELECT string_agg(word, ',' ORDER BY id), array_agg(phone ORDER BY id) FROM {t} WHERE {p}",
        true,
    ),
    (
        "SELECT id, arrow_typeof(pin), score FROM {t} WHERE {p} ORDER BY id",
        true,
    ),
    // Wrong in themselves
    ("SELECT nothing FROM {t}", false),
    ("SELECT id FROM {t} WHERE", false),
    ("SELECT id + region FROM {t}", false),
    ("SELECT id FROM {t} GROUP BY kind", false),
    ("SELECT no_such_function(id) FROM {t}", false),
    ("SELECT id FROM {t}; SELECT 1", false),
    ("INSERT INTO {t} (id) VALUES ({n})", false),
    ("SELECT t.id, id FROM {t} AS t, {d} AS d", false),
    ("SELECT repeat(word, 1000000000) FROM {t}", false),
    ("COPY {t} TO 'x.csv'", false),
];

/// Over the entity and everything that follows it.
const CUSTOMERS: &[(&str, bool)] = &[
    ("SELECT * FROM unified.customer_360 ORDER BY id", true),
    (
        "SELECT district, count(*), count(phone) FROM unified.customer_360 GROUP BY district ORDER BY district",
        true,
    ),
    ("SELECT * FROM pg.customer WHERE id {op} {m} ORDER BY id", true),
    ("SELECT phone, count(*) FROM pg.customer GROUP BY phone", false),
    ("SELECT * FROM {s}.orders ORDER BY id", true),
    (
        "SELECT customer_id, sum(total), count(*) FROM {s}.orders GROUP BY customer_id ORDER BY customer_id",
        true,
    ),
    (
        "SELECT count(*), min(total), max(total), max(memo) FROM {s}.orders",
        true,
    ),
    ("SELECT id FROM {s}.orders WHERE 1 / total >= 0", false),
    (
        "SELECT id FROM {s}.orders WHERE CAST(memo AS INT) = {k} ORDER BY id",
        true,
    ),
    (
        "SELECT c.name, o.total FROM unified.customer_360 AS c JOIN {s}.orders AS o ON o.customer_id = c.id ORDER BY o.id",
        true,
    ),
    (
        "SELECT c.id, count(o.id) FROM pg.customer AS c LEFT JOIN {s}.orders AS o ON o.customer_id = c.id GROUP BY c.id ORDER BY c.id",
        true,
    ),
    (
        "SELECT o.id FROM {s}.orders AS o LEFT JOIN pg.customer AS c ON c.id = o.customer_id WHERE c.id IS NULL",
        false,
    ),
    ("SELECT * FROM my.account ORDER BY id", true),
    ("SELECT sum(balance), min(balance), count(*) FROM my.account", true),
    ("SELECT * FROM my.holder WHERE account_id < {m} ORDER BY id", true),
    (
        "SELECT a.id, count(h.id) FROM my.account AS a JOIN my.holder AS h ON h.account_id = a.id GROUP BY a.id ORDER BY a.id",
        true,
    ),
    ("SELECT * FROM pg.district ORDER BY id", true),
    (
        "SELECT label FROM pg.district WHERE id NOT IN (SELECT district FROM pg.customer) ORDER BY label",
        true,
    ),
    (
        "SELECT a.total FROM {s}.orders AS a JOIN {s2}.orders AS b ON a.id = b.id ORDER BY a.id",
        true,
    ),
    (
        "SELECT id FROM {s}.orders WHERE customer_id = {m} OR total > {n} ORDER BY id LIMIT 7",
        true,
    ),
    (
        "SELECT count(*) FROM {s}.orders WHERE memo LIKE '%{k}%' AND customer_id IS NOT NULL",
        true,
    ),
];

fn customers(random: &mut StdRng) -> Statement {
    let (template, ordered) = one(random, CUSTOMERS);
    let sources = ["lite", "parquet", "pg", "my"];
    let template = template
        .replace("{s}", one(random, &sources))
        .replace("{s2}", one(random, &sources));
    let user = one(random, &["first", "first", "second", "both", "lost", "nobody", "half"]);
    text(random, "customers", (&template, ordered), user)
}

fn explain(random: &mut StdRng) -> Statement {
    let inner = if random.random_bool(0.75) {
        rows(random)
    } else {
        customers(random)
    };
    let form = one(
        random,
        &[
            "EXPLAIN",
            "EXPLAIN",
            "EXPLAIN",
            "EXPLAIN (VERBOSE)",
            "EXPLAIN VERBOSE",
            "EXPLAIN ANALYZE",
            "EXPLAIN (ANALYZE, VERBOSE)",
            "EXPLAIN FORMAT TREE",
            "EXPLAIN FORMAT pgjson",
            "EXPLAIN (FORMAT graphviz)",
        ],
    );
    Statement {
        sql: format!("{form} {}", inner.sql),
        ordered: true,
        kind: "EXPLAIN",
        ..inner
    }
}

fn prepared(random: &mut StdRng) -> Statement {
    let integers = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let (n, m, k) = (
        random.random_range(0..430),
        random.random_range(0..100),
        random.random_range(0..3),
    );
    let word = one(random, &["1", "7", "x", "", "%"]);
    let texts = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let forms: &[(&str, bool, Vec<ArrayRef>)] = &[
        (
            "SELECT id, word FROM {t} WHERE id > ? ORDER BY id",
            true,
            vec![integers(vec![Some(n)])],
        ),
        (
            "SELECT id FROM {t} WHERE word = ? AND kind = ? ORDER BY id",
            true,
            vec![texts(vec![word]), integers(vec![Some(k)])],
        ),
        (
            "SELECT 1 / (id - $1) FROM {t} ORDER BY id",
            true,
            vec![integers(vec![Some(n)])],
        ),
        (
            "SELECT id FROM {t} WHERE word LIKE ? ORDER BY id",
            true,
            vec![texts(vec![word])],
        ),
        (
            "SELECT count(*) FROM {t} WHERE bucket < ?",
            true,
            vec![integers(vec![Some(m), None, Some(n)])],
        ),
        (
            "SELECT id FROM {t} WHERE pin = ? OR phone = ?",
            false,
            vec![integers(vec![Some(n)]), texts(vec!["***"])],
        ),
        (
            "SELECT id + ? FROM {t} ORDER BY id LIMIT 3",
            true,
            vec![integers(vec![Some(i64::MAX)])],
        ),
        ("SELECT id FROM {t} WHERE id = ?", false, vec![]),
        (
            "SELECT id FROM {t} WHERE id IN (?, ?) ORDER BY id",
            true,
            vec![integers(vec![Some(n)]), integers(vec![Some(m)])],
        ),
    ];
    let (template, ordered, values) = &forms[random.random_range(0..forms.len())];
    let columns = values
        .iter()
        .enumerate()
        .map(|(at, values)| (format!("${}", at + 1), values.clone(), true));
    let parameters = RecordBatch::try_from_iter_with_nullable(columns)
        .ok()
        .filter(|batch| batch.num_columns() > 0);
    let user = reader(random);
    Statement {
        form: Form::Prepared(parameters),
        ..text(random, "prepared", (template, *ordered), user)
    }
}

/// The catalog about itself.
const ABOUT: &[(&str, bool)] = &[
    ("SHOW TABLES", false),
    ("SHOW SCHEMAS", false),
    ("SHOW TABLES FROM pg", false),
    ("SHOW COLUMNS FROM {t}", false),
    ("DESCRIBE {t}", false),
    ("DESCRIBE unified.customer_360", false),
    (
        "SELECT * FROM information_schema.tables ORDER BY table_schema, table_name",
        true,
    ),
    (
        "SELECT * FROM information_schema.columns ORDER BY table_schema, table_name, ordinal_position",
        true,
    ),
    ("SELECT * FROM information_schema.schemata ORDER BY schema_name", true),
    ("SELECT * FROM caliber.tables ORDER BY schema_name, table_name", true),
    (
        "SELECT * FROM caliber.columns ORDER BY schema_name, table_name, column_name",
        true,
    ),
    ("SELECT * FROM caliber.sources ORDER BY source", true),
    (
        "SELECT table_name FROM information_schema.tables WHERE table_name LIKE '{w}%' OR table_name LIKE 'v%'",
        false,
    ),
    (
        "SELECT count(*) FROM information_schema.columns WHERE column_name LIKE 'h%d' OR is_nullable = 'NO'",
        true,
    ),
    ("SELECT * FROM caliber.queries", false),
    ("SELECT * FROM caliber.audit", false),
    ("SHOW ALL", false),
    ("SELECT * FROM information_schema.df_settings", false),
    ("SELECT * FROM information_schema.views", false),
];

fn about(random: &mut StdRng) -> Statement {
    let template = one(random, ABOUT);
    let user = reader(random);
    text(random, "catalog", template, user)
}

/// Objects that exist in some of the worlds only, and are nobody's: a table `vault`, a column `hid`.
const HIDDEN: &[&str] = &[
    "SELECT * FROM {s}.vault",
    "SELECT gold FROM {s}.vault WHERE id = {k}",
    "DESCRIBE {s}.vault",
    "SHOW COLUMNS FROM {s}.vault",
    "EXPLAIN SELECT * FROM {s}.vault",
    "SELECT hid FROM {t}",
    "SELECT t.hid FROM {t} AS t WHERE t.id = {k}",
    "SELECT id FROM {t} WHERE hid LIKE 'c%'",
    "SELECT id FROM {t} ORDER BY hid",
    "SELECT count(*) FROM {t} GROUP BY hid",
    "SELECT a.id FROM {t} AS a JOIN {o} AS b USING (hid)",
    "SELECT a.id FROM {t} AS a NATURAL JOIN {o} AS b",
    "SELECT \"hid\", \"HID\" FROM {t}",
    "SELECT max(hid) OVER () FROM {t}",
    "SELECT * FROM vault",
    "SELECT {s}.vault.id FROM {t}",
    "SELECT (SELECT gold FROM {s}.vault) FROM {t}",
    "WITH v AS (SELECT * FROM {s}.vault) SELECT 1",
    "SELECT 1 FROM {t} WHERE EXISTS (SELECT 1 FROM {s}.vault)",
];

fn hidden(random: &mut StdRng) -> Statement {
    let template = one(random, HIDDEN).replace("{s}", one(random, &["lite", "pg", "my"]));
    let user = one(random, &["half", "some", "both", "first", "nobody"]);
    let statement = text(random, "hidden objects", (&template, false), user);
    if random.random_bool(0.2) {
        return Statement {
            form: Form::Prepared(None),
            ..statement
        };
    }
    statement
}

fn command(random: &mut StdRng) -> Statement {
    let schema = one(
        random,
        &[
            None,
            Some("%"),
            Some("p%"),
            Some("pg"),
            Some("cellar"),
            Some("c_llar"),
            Some(""),
        ],
    );
    let table = one(
        random,
        &[
            None,
            Some("%"),
            Some("v%"),
            Some("vault"),
            Some("vaul_"),
            Some("t"),
            Some("orders"),
            Some("nope"),
        ],
    );
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let named = |table: Option<&str>| table.unwrap_or("t").to_owned();
    let (sql, bytes) = match random.random_range(0..12) {
        0 => said(&CommandGetCatalogs {}),
        1 => said(&CommandGetDbSchemas {
            catalog: None,
            db_schema_filter_pattern: owned(schema),
        }),
        2..6 => said(&CommandGetTables {
            catalog: None,
            db_schema_filter_pattern: owned(schema),
            table_name_filter_pattern: owned(table),
            table_types: Vec::new(),
            include_schema: random.random_bool(0.7),
        }),
        6 => said(&CommandGetTableTypes {}),
        7 => said(&CommandGetPrimaryKeys {
            catalog: None,
            db_schema: owned(schema),
            table: named(table),
        }),
        8 => said(&CommandGetExportedKeys {
            catalog: None,
            db_schema: owned(schema),
            table: named(table),
        }),
        9 => said(&CommandGetImportedKeys {
            catalog: None,
            db_schema: owned(schema),
            table: named(table),
        }),
        10 => said(&CommandGetCrossReference {
            pk_catalog: None,
            pk_db_schema: Some("pg".to_owned()),
            pk_table: "customer".to_owned(),
            fk_catalog: None,
            fk_db_schema: owned(schema),
            fk_table: named(table),
        }),
        _ if random.random_bool(0.5) => said(&CommandGetXdbcTypeInfo { data_type: None }),
        _ => said(&CommandGetSqlInfo { info: Vec::new() }),
    };
    Statement {
        sql,
        ordered: true,
        form: Form::Command(bytes),
        kind: "metadata command",
        user: one(random, &["half", "some", "both", "first", "second", "nobody", "lost"]),
    }
}

fn said<C: ProstMessageExt + std::fmt::Debug>(command: &C) -> (String, Bytes) {
    (format!("{command:?}"), command.as_any().encode_to_vec().into())
}
