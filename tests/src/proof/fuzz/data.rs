//! The rows that the fuzzer's sources hold: eight tables, drawn from the seed, one set for each source.
//!
//! Owns: columns, values, the rows as Arrow and as a script. Never: who may see a row (`policy`).

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The sources, as schemas in SQL: PostgreSQL, MariaDB, SQLite, Parquet.
pub const SOURCES: [&str; 4] = ["pg", "my", "lite", "parquet"];

/// The source whose tables the clients of `source` hold.
pub fn next_source(source: &str) -> &'static str {
    let at = SOURCES.iter().position(|name| *name == source).unwrap_or_default();
    SOURCES[(at + 1) % SOURCES.len()]
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Cents(i64),
    /// Days since 1970.
    Day(i32),
    Bool(bool),
}

/// What a column holds. The first five are the same in every source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    Int,
    Text,
    Decimal,
    Date,
    Bool,
    /// A whole number of another width in each source.
    Narrow,
}

impl Type {
    /// The Arrow type that a column of it has in `source`.
    pub fn arrow(self, source: &str) -> DataType {
        match (self, source) {
            (Self::Int, _) | (Self::Narrow, "lite") => DataType::Int64,
            (Self::Text, _) => DataType::Utf8,
            (Self::Decimal, _) => DataType::Decimal128(12, 2),
            (Self::Date, _) => DataType::Date32,
            // MariaDB's BOOLEAN is TINYINT.
            (Self::Bool, "my") => DataType::Int8,
            (Self::Bool, _) => DataType::Boolean,
            (Self::Narrow, "pg") => DataType::Int16,
            (Self::Narrow, _) => DataType::Int32,
        }
    }

    fn sql(self, source: &str) -> &'static str {
        match (self, source) {
            (Self::Int, _) => "BIGINT",
            (Self::Text, _) => "VARCHAR(20)",
            (Self::Decimal, _) => "DECIMAL(12,2)",
            (Self::Date, _) => "DATE",
            (Self::Bool, _) => "BOOLEAN",
            (Self::Narrow, "pg") => "SMALLINT",
            (Self::Narrow, _) => "INT",
        }
    }
}

/// A table's columns: name and type. The first is the key.
pub type Columns = &'static [(&'static str, Type)];

const WIDE: Columns = &[
    ("id", Type::Int),
    ("bucket", Type::Int),
    ("owner", Type::Int),
    ("kind", Type::Int),
    ("region", Type::Text),
    ("word", Type::Text),
    ("amount", Type::Decimal),
    ("day", Type::Date),
    ("flag", Type::Bool),
    ("code", Type::Narrow),
];
const HOLDER: Columns = &[
    ("id", Type::Int),
    ("client_id", Type::Int),
    ("account_id", Type::Int),
    ("role", Type::Text),
];
const KINDS: Columns = &[("id", Type::Int), ("label", Type::Text), ("weight", Type::Int)];

/// Every table of a source. `t` and `client` carry the policy's key themselves; `visit` refers to a client and `item`
/// to a visit; `holder` ties clients to the next source's accounts, to which entries refer; `d` is open.
pub const TABLES: [(&str, Columns); 8] = [
    ("client", WIDE),
    ("t", WIDE),
    ("visit", WIDE),
    ("item", WIDE),
    ("holder", HOLDER),
    ("account", WIDE),
    ("entry", WIDE),
    ("d", KINDS),
];

/// One row, its values in the order of its table's columns.
pub type Row = Vec<Value>;

/// Every row of every source, by `source.table`.
pub struct Data {
    pub tables: BTreeMap<(&'static str, &'static str), Vec<Row>>,
}

/// The column's place.
pub fn place(columns: Columns, name: &str) -> usize {
    columns
        .iter()
        .position(|(column, _)| *column == name)
        .unwrap_or_default()
}

/// The columns of a table.
pub fn columns(table: &str) -> Columns {
    TABLES
        .iter()
        .find(|(name, _)| *name == table)
        .map_or(&[], |(_, columns)| columns)
}

/// The whole number of a cell.
pub fn whole(row: &Row, at: usize) -> Option<i64> {
    match row.get(at) {
        Some(Value::Int(value)) => Some(*value),
        _ => None,
    }
}

/// From which share on a row is visible, by the key of its table; a row without one is nobody's.
type Ranks = BTreeMap<i64, i64>;

impl Data {
    /// Draws everything from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut tables = BTreeMap::new();
        let mut chance = StdRng::seed_from_u64(seed ^ 0x0da7_a000);
        let mut holders: BTreeMap<&str, Ranks> = BTreeMap::new();
        for source in SOURCES {
            let buckets = buckets(&mut chance);
            let clients = wide(&mut chance, &buckets, anyone);
            let client_ranks = ranks(&clients, |row| whole(row, 1));
            let many: Vec<Option<i64>> = (0..200).map(|at| buckets[at % buckets.len()]).collect();
            let tagged = wide(&mut chance, &many, anyone);
            let free: Vec<Option<i64>> = (0..150).map(|_| Some(chance.random_range(0..100))).collect();
            let visits = referring(&mut chance, &free, &client_ranks, &keys(&clients));
            let visit_ranks = ranks(&visits, |row| {
                whole(row, 2).and_then(|owner| client_ranks.get(&owner).copied())
            });
            let items = referring(&mut chance, &free, &visit_ranks, &keys(&visits));
            let (rows, account_ranks) = holder_rows(&mut chance, &keys(&clients), &client_ranks);
            holders.insert(next_source(source), account_ranks);
            tables.insert((source, "client"), clients);
            tables.insert((source, "t"), tagged);
            tables.insert((source, "visit"), visits);
            tables.insert((source, "item"), items);
            tables.insert((source, "holder"), rows);
            tables.insert((source, "d"), kinds());
        }
        for source in SOURCES {
            let ranks = holders.remove(source).unwrap_or_default();
            let free: Vec<Option<i64>> = (0..ACCOUNTS).map(|_| Some(chance.random_range(0..100))).collect();
            let mut accounts = wide(&mut chance, &free, anyone);
            soil(&mut chance, &mut accounts, |row| {
                whole(row, 0).and_then(|id| ranks.get(&id).copied())
            });
            let entries = referring(&mut chance, &free, &ranks, &keys(&accounts));
            tables.insert((source, "account"), accounts);
            tables.insert((source, "entry"), entries);
        }
        Self { tables }
    }

    /// The rows of a table.
    pub fn rows(&self, source: &str, table: &str) -> &[Row] {
        self.tables
            .iter()
            .find(|((of, name), _)| *of == source && *name == table)
            .map_or(&[], |(_, rows)| rows)
    }
}

/// Accounts of a source, and entries on them.
const ACCOUNTS: usize = 100;

/// Each bucket of a hundred once, and six without one, in a random order.
fn buckets(chance: &mut StdRng) -> Vec<Option<i64>> {
    let mut all: Vec<Option<i64>> = (0..100).map(Some).chain([None; 6]).collect();
    for at in (1..all.len()).rev() {
        all.swap(at, chance.random_range(0..=at));
    }
    all
}

/// A reference that no policy follows.
fn anyone(chance: &mut StdRng) -> Option<i64> {
    Some(chance.random_range(1..60))
}

fn keys(rows: &[Row]) -> Vec<i64> {
    rows.iter().filter_map(|row| whole(row, 0)).collect()
}

fn ranks(rows: &[Row], rank: impl Fn(&Row) -> Option<i64>) -> Ranks {
    rows.iter()
        .filter_map(|row| Some((whole(row, 0)?, rank(row)?)))
        .collect()
}

/// Rows of the wide table, one for each bucket, their words soiled by the bucket; `owner` gives the reference.
fn wide(chance: &mut StdRng, buckets: &[Option<i64>], owner: impl Fn(&mut StdRng) -> Option<i64>) -> Vec<Row> {
    let mut rows = Vec::with_capacity(buckets.len());
    for (at, bucket) in buckets.iter().enumerate() {
        let id = at as i64 * 3 + 1;
        let reference = owner(chance);
        let or_null = |chance: &mut StdRng, value: Value| {
            if chance.random_range(0..25) == 0 {
                Value::Null
            } else {
                value
            }
        };
        let region = ["north", "North", "südwest", "west", "o'hara", "100%"][chance.random_range(0..6)];
        let kind = Value::Int(chance.random_range(0..7));
        let cents = Value::Cents(chance.random_range(-500..5000));
        let day = Value::Day(chance.random_range(19_000..19_400));
        let flag = Value::Bool(chance.random_range(0..3) > 0);
        let code = Value::Int(chance.random_range(-3..12));
        rows.push(vec![
            Value::Int(id),
            bucket.map_or(Value::Null, Value::Int),
            reference.map_or(Value::Null, Value::Int),
            or_null(chance, kind),
            Value::Text(region.to_owned()),
            Value::Null,
            or_null(chance, cents),
            or_null(chance, day),
            or_null(chance, flag),
            or_null(chance, code),
        ]);
    }
    soil(chance, &mut rows, |row| whole(row, 1));
    rows
}

/// Rows of the wide table whose `owner` refers to one of `targets`, now and then to nothing; their words are soiled by
/// their owner's rank.
fn referring(chance: &mut StdRng, buckets: &[Option<i64>], ranks: &Ranks, targets: &[i64]) -> Vec<Row> {
    let mut rows = wide(chance, buckets, |chance| match chance.random_range(0..20) {
        0 => None,
        1 => Some(9_999),
        _ => targets.get(chance.random_range(0..targets.len().max(1))).copied(),
    });
    soil(chance, &mut rows, |row| {
        whole(row, 2).and_then(|owner| ranks.get(&owner).copied())
    });
    rows
}

/// Gives every row its word. Those that nobody sees, and those that only nearly everybody sees, hold no number: a cast of
/// them fails.
fn soil(chance: &mut StdRng, rows: &mut [Row], rank: impl Fn(&Row) -> Option<i64>) {
    for row in rows {
        let bad = match rank(row) {
            None | Some(99..) => true,
            Some(50..) => chance.random_range(0..40) == 0,
            Some(21..) => chance.random_range(0..80) == 0,
            Some(_) => false,
        };
        let digit = chance.random_range(1..10);
        let word = if bad {
            Value::Text(format!("x{digit}"))
        } else if chance.random_range(0..30) == 0 {
            Value::Null
        } else {
            Value::Text(digit.to_string())
        };
        if let Some(cell) = row.get_mut(place(WIDE, "word")) {
            *cell = word;
        }
    }
}

/// Who holds which of the next source's accounts, and each account's rank: the least of its owners'.
fn holder_rows(chance: &mut StdRng, clients: &[i64], client_ranks: &Ranks) -> (Vec<Row>, Ranks) {
    let mut ranks = Ranks::new();
    let mut rows = Vec::new();
    for at in 0..130 {
        let client = match chance.random_range(0..25) {
            0 => None,
            _ => clients.get(chance.random_range(0..clients.len().max(1))).copied(),
        };
        let account = chance.random_range(0..ACCOUNTS as i64) * 3 + 1;
        let owns = chance.random_range(0..3) > 0;
        if let Some(rank) = client.filter(|_| owns).and_then(|client| client_ranks.get(&client)) {
            let least = ranks.entry(account).or_insert(*rank);
            *least = (*least).min(*rank);
        }
        rows.push(vec![
            Value::Int(at + 1),
            client.map_or(Value::Null, Value::Int),
            Value::Int(account),
            Value::Text(if owns { "OWNER" } else { "USER" }.to_owned()),
        ]);
    }
    (rows, ranks)
}

fn kinds() -> Vec<Row> {
    ["zero", "one", "two", "three", "four", "five"]
        .iter()
        .zip(0_i64..)
        .map(|(label, id)| vec![Value::Int(id), Value::Text((*label).to_owned()), Value::Int(id * 7 % 5)])
        .collect()
}

/// `rows` in Arrow, as `source` delivers them: every column nullable but those in `required`.
pub fn batch(columns: &[(String, DataType)], required: &dyn Fn(&str) -> bool, rows: &[Row]) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays = Vec::with_capacity(columns.len());
    for (at, (name, data_type)) in columns.iter().enumerate() {
        fields.push(Field::new(name, data_type.clone(), !required(name)));
        arrays.push(array(rows, at, data_type)?);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn array(rows: &[Row], at: usize, data_type: &DataType) -> Result<ArrayRef> {
    let integers = || rows.iter().map(|row| whole(row, at));
    let booleans = || {
        rows.iter().map(|row| match row.get(at) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        })
    };
    Ok(match data_type {
        DataType::Int64 => Arc::new(integers().collect::<Int64Array>()),
        DataType::Int32 => Arc::new(
            integers()
                .map(|value| value.map(i32::try_from).transpose())
                .collect::<std::result::Result<Int32Array, _>>()?,
        ),
        DataType::Int16 => Arc::new(
            integers()
                .map(|value| value.map(i16::try_from).transpose())
                .collect::<std::result::Result<Int16Array, _>>()?,
        ),
        DataType::Int8 => Arc::new(booleans().map(|value| value.map(i8::from)).collect::<Int8Array>()),
        DataType::Boolean => Arc::new(booleans().collect::<BooleanArray>()),
        DataType::Utf8 => Arc::new(
            rows.iter()
                .map(|row| match row.get(at) {
                    Some(Value::Text(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
        DataType::Date32 => Arc::new(
            rows.iter()
                .map(|row| match row.get(at) {
                    Some(Value::Day(day)) => Some(*day),
                    _ => None,
                })
                .collect::<Date32Array>(),
        ),
        DataType::Decimal128(precision, scale) => Arc::new(
            rows.iter()
                .map(|row| match row.get(at) {
                    Some(Value::Cents(cents)) => Some(i128::from(*cents)),
                    _ => None,
                })
                .collect::<Decimal128Array>()
                .with_precision_and_scale(*precision, *scale)?,
        ),
        other => bail!("no column is {other}"),
    })
}

/// The columns of a source's table, as Arrow.
pub fn arrow_columns(source: &str, table: &str) -> Vec<(String, DataType)> {
    columns(table)
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), kind.arrow(source)))
        .collect()
}

/// `CREATE TABLE` and `INSERT`s for a source.
pub fn script(data: &Data, source: &str) -> String {
    let mut script = String::new();
    for (table, columns) in TABLES {
        let described: Vec<String> = columns
            .iter()
            .map(|(name, kind)| {
                let key = if *name == "id" { " NOT NULL PRIMARY KEY" } else { "" };
                format!("{name} {}{key}", kind.sql(source))
            })
            .collect();
        script.push_str(&format!("CREATE TABLE {table} ({});\n", described.join(", ")));
        let rows: Vec<String> = data
            .rows(source, table)
            .iter()
            .map(|row| format!("({})", row.iter().map(literal).collect::<Vec<_>>().join(", ")))
            .collect();
        script.push_str(&format!("INSERT INTO {table} VALUES {};\n", rows.join(", ")));
    }
    script
}

/// A cell as a literal that every source here reads.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Cents(cents) => cents_text(*cents),
        Value::Day(day) => format!("'{}'", day_text(*day)),
        Value::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
    }
}

/// Cents with two decimal places.
pub fn cents_text(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let size = cents.unsigned_abs();
    format!("{sign}{}.{:02}", size / 100, size % 100)
}

/// A day as `YYYY-MM-DD` (Howard Hinnant, `civil_from_days`).
pub fn day_text(days: i32) -> String {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day_text(0), "1970-01-01");
        assert_eq!(day_text(19_782), "2024-02-29");
        assert_eq!(cents_text(-5), "-0.05");
    }
}
