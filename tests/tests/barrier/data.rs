//! The rows under policy, once for every source.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};

/// Shares of the rows that a principal sees, in percent of those that anybody sees.
pub const SHARES: [i64; 6] = [0, 1, 21, 50, 80, 99];

/// One row. `id` counts from 1; the policy compares `bucket`.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    pub bucket: Option<i64>,
    pub region: &'static str,
    pub kind: i64,
    pub word: String,
    pub cents: i64,
}

/// Every row: 20 for each hundred of ids, with the two ids that the corpus divides by among them.
pub fn rows() -> Vec<Row> {
    let ids = (1..=200).map(|at| at * 4 + 1).chain([333, 777]);
    let mut rows: Vec<Row> = ids.map(row).collect();
    rows.sort_by_key(|row| row.id);
    rows.dedup_by_key(|row| row.id);
    rows
}

/// A row that 80 % and 99 % see holds no number, and so do all that nobody sees: a cast of them fails.
fn row(id: i64) -> Row {
    let bucket = match id {
        777 => Some(99),
        333 => Some(60),
        _ if id % 20 == 1 => None,
        _ => Some(id * 7 % 100),
    };
    let number = match bucket {
        None | Some(99) => format!("x{}", id % 10),
        Some(60) => "sixty".to_owned(),
        Some(_) => (id % 10).to_string(),
    };
    let region = ["north", "North", "südwest", "west"][usize::try_from(id % 4).unwrap_or_default()];
    Row {
        id,
        bucket,
        region,
        kind: id % 3,
        word: number,
        cents: id * 37 % 5000,
    }
}

/// The rows that the share sees.
pub fn visible(share: i64) -> Vec<Row> {
    rows()
        .into_iter()
        .filter(|row| row.bucket.is_some_and(|bucket| bucket < share))
        .collect()
}

/// The rows in Arrow.
pub fn batch(rows: &[Row]) -> Result<RecordBatch> {
    let integers =
        |value: fn(&Row) -> Option<i64>| Arc::new(rows.iter().map(value).collect::<Int64Array>()) as ArrayRef;
    let cents: Decimal128Array = rows.iter().map(|row| Some(i128::from(row.cents))).collect();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("id", integers(|row| Some(row.id)), true),
        ("bucket", integers(|row| row.bucket), true),
        (
            "region",
            Arc::new(rows.iter().map(|row| Some(row.region)).collect::<StringArray>()) as ArrayRef,
            true,
        ),
        ("kind", integers(|row| Some(row.kind)), true),
        (
            "word",
            Arc::new(rows.iter().map(|row| Some(row.word.as_str())).collect::<StringArray>()) as ArrayRef,
            true,
        ),
        (
            "amount",
            Arc::new(cents.with_precision_and_scale(12, 2)?) as ArrayRef,
            true,
        ),
    ])?)
}

/// A table that everybody sees.
pub fn kinds() -> Result<RecordBatch> {
    let labels = StringArray::from(vec!["zero", "one", "two", "three"]);
    let ids = Int64Array::from(vec![0, 1, 2, 3]);
    Ok(RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("label", Arc::new(labels) as ArrayRef),
    ])?)
}

/// `CREATE TABLE` and `INSERT`s that every SQL source here understands.
pub fn script() -> String {
    let columns = "(id INTEGER PRIMARY KEY, bucket INTEGER, region VARCHAR(20), kind INTEGER, word VARCHAR(20), amount DECIMAL(12,2))";
    let mut script = String::new();
    let shares = SHARES.map(|share| (format!("v{share}"), visible(share)));
    for (table, rows) in [("t".to_owned(), rows())].into_iter().chain(shares) {
        script.push_str(&format!("CREATE TABLE {table} {columns};\n"));
        let values: Vec<String> = rows.iter().map(values).collect();
        if !values.is_empty() {
            script.push_str(&format!("INSERT INTO {table} VALUES {};\n", values.join(", ")));
        }
    }
    script.push_str("CREATE TABLE d (id INTEGER PRIMARY KEY, label VARCHAR(20));\n");
    script.push_str("INSERT INTO d VALUES (0, 'zero'), (1, 'one'), (2, 'two'), (3, 'three');\n");
    script
}

fn values(row: &Row) -> String {
    let bucket = row.bucket.map_or("NULL".to_owned(), |bucket| bucket.to_string());
    let Row {
        id,
        region,
        kind,
        word,
        cents,
        ..
    } = row;
    format!(
        "({id}, {bucket}, '{region}', {kind}, '{word}', {}.{:02})",
        cents / 100,
        cents % 100
    )
}
