//! Hostile rows in PostgreSQL, MariaDB and SQLite: the same tables under each source's own types and collations.
//!
//! Owns: columns, the values worth confusing, scripts. Never: a query (`generate`).

use caliber_testkit::conformance::TEXTS;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::constant::Constant;

/// The sources, as schemas in SQL.
pub const SOURCES: [&str; 3] = ["pg", "my", "lite"];

/// What a column holds, as far as a query cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Int,
    Text,
    /// Digits, digits after the point.
    Decimal(u8, i8),
    Float,
    Date,
    Stamp,
    /// A timestamp in UTC.
    Utc,
    Bytes,
    Bool,
}

/// A column: its name, where its values are drawn from, its type in PostgreSQL, MariaDB and SQLite.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pool: Pool,
    types: [&'static str; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    Key,
    /// Some row's key of a table of so many rows, now and then no row's.
    Reference(i64),
    Narrow,
    Big,
    Text,
    /// Short, for columns that pad.
    Short,
    Amount,
    Wide,
    Float,
    Date,
    Stamp,
    Utc,
    Bytes,
    Flag,
}

const fn column(name: &'static str, pool: Pool, types: [&'static str; 3]) -> Column {
    Column { name, pool, types }
}

const KEY: [&str; 3] = [
    "bigint NOT NULL PRIMARY KEY",
    "bigint NOT NULL PRIMARY KEY",
    "INTEGER PRIMARY KEY",
];
const INT: [&str; 3] = ["int", "int", "INT"];
const BIG: [&str; 3] = ["bigint", "bigint", "BIGINT"];
const AMOUNT: [&str; 3] = ["numeric(12,2)", "decimal(12,2)", "DECIMAL(12,2)"];
const WIDE: [&str; 3] = ["numeric(38,10)", "decimal(38,10)", "DECIMAL(15,4)"];
const FLOAT: [&str; 3] = ["float8", "double", "DOUBLE"];
const DATE: [&str; 3] = ["date", "date", "DATE"];
const STAMP: [&str; 3] = ["timestamp", "datetime(6)", "TIMESTAMP"];
const UTC: [&str; 3] = ["timestamptz", "timestamp(6) NULL", "TIMESTAMP"];
const BYTES: [&str; 3] = ["bytea", "varbinary(20)", "BLOB"];
const FLAG: [&str; 3] = ["bool", "tinyint(1)", "BOOLEAN"];

const A: &[Column] = &[
    column("id", Pool::Key, KEY),
    column("n", Pool::Narrow, INT),
    column("big", Pool::Big, BIG),
    column(
        "s",
        Pool::Text,
        ["text", "varchar(60) COLLATE utf8mb4_general_ci", "VARCHAR(60)"],
    ),
    column(
        "u",
        Pool::Text,
        [
            "text COLLATE \"en-x-icu\"",
            "varchar(60) COLLATE utf8mb4_unicode_nopad_ci",
            "TEXT COLLATE NOCASE",
        ],
    ),
    column(
        "p",
        Pool::Short,
        ["char(12)", "char(12) COLLATE utf8mb4_unicode_ci", "TEXT COLLATE RTRIM"],
    ),
    column("d", Pool::Amount, AMOUNT),
    column("w", Pool::Wide, WIDE),
    column("f", Pool::Float, FLOAT),
    column("day", Pool::Date, DATE),
    column("at", Pool::Stamp, STAMP),
    column("z", Pool::Utc, UTC),
    column("raw", Pool::Bytes, BYTES),
    column("flag", Pool::Flag, FLAG),
];
const B: &[Column] = &[
    column("id", Pool::Key, KEY),
    column("n", Pool::Narrow, ["smallint", "bigint", "INT"]),
    column("big", Pool::Big, BIG),
    column(
        "s",
        Pool::Text,
        ["varchar(60)", "varchar(60) COLLATE utf8mb4_bin", "TEXT COLLATE NOCASE"],
    ),
    column(
        "u",
        Pool::Text,
        ["text COLLATE loose", "text COLLATE utf8mb4_unicode_ci", "CLOB"],
    ),
    column(
        "p",
        Pool::Short,
        ["char(14)", "char(14) COLLATE utf8mb4_bin", "VARCHAR(14)"],
    ),
    column("d", Pool::Amount, ["numeric(14,3)", "decimal(14,3)", "DECIMAL(14,3)"]),
    column("f", Pool::Float, FLOAT),
    column("day", Pool::Date, DATE),
    column("at", Pool::Stamp, STAMP),
    column("raw", Pool::Bytes, BYTES),
    column("flag", Pool::Flag, FLAG),
];
const LINK: &[Column] = &[
    column("id", Pool::Key, KEY),
    column("a_id", Pool::Reference(60), BIG),
    column("b_id", Pool::Reference(45), INT),
    column("n", Pool::Narrow, INT),
    column(
        "s",
        Pool::Text,
        ["text", "varchar(60) COLLATE utf8mb4_general_ci", "TEXT"],
    ),
    column("d", Pool::Amount, AMOUNT),
    column("day", Pool::Date, DATE),
];
const SMALL: &[Column] = &[
    column("id", Pool::Key, KEY),
    column("n", Pool::Narrow, INT),
    column(
        "s",
        Pool::Text,
        ["text", "varchar(60) COLLATE utf8mb4_unicode_ci", "TEXT"],
    ),
    column("d", Pool::Amount, AMOUNT),
];

/// Every table of a source: name, columns, how many rows.
pub const TABLES: [(&str, &[Column], usize); 5] = [
    ("a", A, 60),
    ("b", B, 45),
    ("link", LINK, 110),
    ("small", SMALL, 9),
    ("empty", SMALL, 0),
];

impl Column {
    /// What it holds in that source.
    pub fn kind(&self, source: &str) -> Kind {
        match (self.pool, source) {
            (Pool::Key | Pool::Reference(_) | Pool::Narrow | Pool::Big, _) | (Pool::Flag, "my") => Kind::Int,
            (Pool::Text | Pool::Short, _) => Kind::Text,
            (Pool::Amount, _) if self.types[0].contains("14") => Kind::Decimal(14, 3),
            (Pool::Amount, _) => Kind::Decimal(12, 2),
            (Pool::Wide, "lite") => Kind::Decimal(15, 4),
            (Pool::Wide, _) => Kind::Decimal(38, 10),
            (Pool::Float, _) => Kind::Float,
            (Pool::Date, _) => Kind::Date,
            (Pool::Stamp, _) | (Pool::Utc, "lite") => Kind::Stamp,
            (Pool::Utc, _) => Kind::Utc,
            (Pool::Bytes, _) => Kind::Bytes,
            (Pool::Flag, _) => Kind::Bool,
        }
    }
}

/// Texts that PostgreSQL, MariaDB and a pattern may confuse, beside those of the conformance suite.
const MORE_TEXTS: &[&str] = &[
    "7",
    "12",
    "-3",
    "abc  ",
    "aBc",
    "null",
    "''",
    "e",
    "E",
    "\u{1F469}\u{200D}\u{1F4BB}",
    "\u{FEFF}abc",
    "abc\u{0}",
];

/// Texts of at most `longest` characters, without NUL: not every source holds one.
pub fn texts(longest: usize) -> Vec<&'static str> {
    let all = TEXTS.iter().chain(MORE_TEXTS).copied();
    all.filter(|text| text.chars().count() <= longest && !text.contains('\0'))
        .collect()
}

/// The days that calendars end on, and ordinary ones, as days since 1970.
pub const DAYS: &[i32] = &[-719_162, -1, 0, 1, 11_016, 19_782, 19_783, 19_813, 19_874, 2_932_896];

/// Timestamps in microseconds since 1970.
pub const STAMPS: &[i64] = &[
    -62_135_596_800_000_000,
    -1,
    0,
    1,
    951_782_400_000_000,
    1_717_243_200_000_000,
    1_717_243_200_000_001,
    1_709_164_800_000_000,
    253_402_300_799_999_999,
];

/// Those that MariaDB's TIMESTAMP holds.
pub const UTC_STAMPS: &[i64] = &[
    1_000_000,
    951_782_400_000_000,
    1_717_243_200_000_001,
    2_147_483_647_999_999,
];

/// Whole numbers with few values, for keys of joins.
pub const NARROW: &[i64] = &[0, 1, 2, 3, 5, 7, 12, -3, 32_767, -32_768];

/// Whole numbers at both ends.
pub const BIGS: &[i64] = &[i64::MIN, i64::MAX, -1, 0, 1, 2, 7, 12, 9_007_199_254_740_993];

/// Amounts, in units of the last digit of DECIMAL(12,2).
pub const AMOUNTS: &[i128] = &[
    0,
    1,
    -1,
    110,
    1_100,
    999_999_999_999,
    -999_999_999_999,
    250,
    12_345,
    700,
];

/// Bytes.
pub const BYTE_STRINGS: &[&[u8]] = &[b"", b"\0", b"\0\xff'", b"a", b"a\0", b"a ", b"A"];

/// Floats; NaN and infinity only where a source has them.
pub const FLOATS: &[f64] = &[0.0, -0.0, 0.1, 1.5, -2.25, 1e308, 5e-324, 7.0];

impl Pool {
    fn draw(self, chance: &mut StdRng, source: &str, row: usize) -> Constant {
        if self != Self::Key && chance.random_range(0..9) == 0 {
            return Constant::Null;
        }
        match self {
            Self::Key => Constant::Int(i64::try_from(row).unwrap_or_default() + 1),
            Self::Reference(rows) => Constant::Int(chance.random_range(1..rows + 8)),
            Self::Narrow => Constant::Int(pick(chance, NARROW)),
            Self::Big => Constant::Int(pick(chance, BIGS)),
            Self::Text => Constant::Text(pick(chance, &texts(60)).to_owned()),
            Self::Short => Constant::Text(pick(chance, &texts(6)).to_owned()),
            Self::Amount => Constant::Decimal(pick(chance, AMOUNTS), 12, 2),
            Self::Wide => wide(chance, source),
            Self::Float => float(chance, source),
            Self::Date => Constant::Date(pick(chance, DAYS)),
            Self::Stamp => Constant::Stamp(pick(chance, STAMPS)),
            Self::Utc => Constant::Utc(pick(chance, UTC_STAMPS)),
            Self::Bytes => Constant::Bytes(pick(chance, BYTE_STRINGS).to_vec()),
            Self::Flag => Constant::Bool(chance.random_range(0..3) > 0),
        }
    }
}

fn wide(chance: &mut StdRng, source: &str) -> Constant {
    if source == "lite" {
        let all = [0, 1, -1, 11_000, 99_999_999_999_999, -99_999_999_999_999];
        return Constant::Decimal(pick(chance, &all), 15, 4);
    }
    let most = 10_i128.pow(38) - 1;
    let all = [0, 1, -1, 11_000_000_000, most, -most, 10_i128.pow(27)];
    Constant::Decimal(pick(chance, &all), 38, 10)
}

fn float(chance: &mut StdRng, source: &str) -> Constant {
    let odd = match source {
        "pg" => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
        // SQLite stores NaN as NULL.
        "lite" => [f64::INFINITY, f64::NEG_INFINITY, -1e308],
        _ => [-1e308, 0.5, 2.0],
    };
    let at = chance.random_range(0..FLOATS.len() + odd.len());
    Constant::Float(FLOATS.get(at).copied().unwrap_or_else(|| odd[at - FLOATS.len()]))
}

/// One of the choices.
pub fn pick<T: Copy>(chance: &mut StdRng, from: &[T]) -> T {
    from[chance.random_range(0..from.len())]
}

/// `CREATE TABLE` and `INSERT`s of a source, its rows drawn from `seed`.
pub fn script(seed: u64, source: &str) -> String {
    let place = SOURCES.iter().position(|known| *known == source).unwrap_or_default();
    let mut chance = StdRng::seed_from_u64(seed ^ (0x5eed_0000 + place as u64));
    let mut script = match source {
        "pg" => "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);\n",
        "my" => "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES';\n",
        _ => "",
    }
    .to_owned();
    for (table, columns, rows) in TABLES {
        let described: Vec<String> = columns
            .iter()
            .map(|column| format!("{} {}", column.name, column.types[place]))
            .collect();
        let end = if source == "my" { " CHARACTER SET utf8mb4" } else { "" };
        script.push_str(&format!("CREATE TABLE {table} ({}){end};\n", described.join(", ")));
        let rows: Vec<String> = (0..rows)
            .map(|row| {
                let cells = columns
                    .iter()
                    .map(|column| column.pool.draw(&mut chance, source, row).stored(source));
                format!("({})", cells.collect::<Vec<_>>().join(", "))
            })
            .collect();
        if !rows.is_empty() {
            script.push_str(&format!("INSERT INTO {table} VALUES {};\n", rows.join(",\n")));
        }
    }
    if source == "pg" {
        script.push_str("ANALYZE;\n");
    }
    script
}

/// The project: a principal of the role `part` sees rows by policies that reach into every source.
pub fn project() -> String {
    "version: 1
name: differential
sources:
  pg: { connector: postgres, url: \"${env:PG_URL}\", limits: { connections: 8 } }
  my: { connector: mysql, url: \"${env:MY_URL}\", limits: { connections: 8 } }
  lite: { connector: sqlite, path: lite.db, limits: { connections: 4 } }
tables:
  pg.link: { references: { a_id: pg.a.id } }
  my.link: { references: { a_id: pg.a.id } }
  lite.link: { references: { a_id: pg.a.id } }
entities:
  person: { table: pg.a, key: id }
policies:
  everything: { roles: [whole], tables: ['*'] }
  some persons:
    roles: [part]
    tables: [pg.a, pg.link, my.link, lite.link]
    rows: { person: n > 0 }
  some rows:
    roles: [part]
    tables: [my.a, lite.a, pg.b, my.b, lite.b, pg.small, my.small, lite.small, pg.empty, my.empty, lite.empty]
    rows: { my.a: id < 40, lite.a: n <> 3, pg.b: day > '1970-01-01', my.b: d >= 0 }
"
    .to_owned()
}
