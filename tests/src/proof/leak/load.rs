//! A world's rows in every kind of source.
//!
//! Owns: tables, statistics, files. Never: which rows there are (`data`).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use caliber_testkit::{MariaDb, Postgres};
use datafusion::parquet::arrow::ArrowWriter;

use super::canaries;
use super::data::{Data, Hidden, Row};

/// Loads `data` into a fresh database of each server, and into files under `folder`. Gives the databases' addresses.
pub async fn load(
    folder: &Path,
    hidden: Hidden,
    data: &Data,
    servers: (&Postgres, &MariaDb),
    database: &str,
) -> Result<[(&'static str, String); 2]> {
    let (postgres, mariadb) = servers;
    let own = script(data, hidden);
    let lite = folder.join("lite.db");
    rusqlite::Connection::open(&lite)?.execute_batch(&format!("{own}{}ANALYZE;\n", churn(hidden)))?;
    rusqlite::Connection::open(folder.join("cellar.db"))?.execute_batch(&format!(
        "CREATE TABLE chest (id INTEGER PRIMARY KEY, gold TEXT); INSERT INTO chest VALUES (1, '{}');",
        canaries::VAULT
    ))?;
    let urls = [
        ("PG_URL", postgres.create_database(database).await?),
        ("MY_URL", mariadb.create_database(database).await?),
    ];
    let everything = format!("{own}{}{}", customers(data), churn(hidden));
    postgres
        .run(database, &format!("{everything}ANALYZE;\n"))
        .await
        .context("PostgreSQL")?;
    let analyze: String = ["t", "u", "customer", "orders", "account", "holder"]
        .iter()
        .map(|table| format!("ANALYZE TABLE {table} PERSISTENT FOR ALL;\n"))
        .collect();
    mariadb
        .run(database, &format!("{everything}{analyze}"))
        .await
        .context("MariaDB")?;
    files(folder, hidden, data)?;
    Ok(urls)
}

/// Tables that every SQL source holds.
fn script(data: &Data, hidden: Hidden) -> String {
    let hid = if hidden == Hidden::Many {
        ""
    } else {
        ", hid VARCHAR(40)"
    };
    let mut script = String::new();
    for (table, rows) in [("t", &data.t), ("u", &data.u)] {
        let _ = writeln!(
            script,
            "CREATE TABLE {table} (id INTEGER PRIMARY KEY, bucket INTEGER, region VARCHAR(20), kind INTEGER, \
             word VARCHAR(40), cents BIGINT, amount DECIMAL(12,2), score DOUBLE PRECISION, day DATE, phone VARCHAR(60), \
             pin INTEGER, salary INTEGER{hid});"
        );
        let values = rows.iter().map(|row| row_values(row, hidden));
        insert(&mut script, table, values.collect());
        let _ = writeln!(script, "CREATE INDEX {table}_bucket ON {table} (bucket);");
    }
    script.push_str("CREATE TABLE d (id INTEGER PRIMARY KEY, label VARCHAR(20));\n");
    script.push_str("INSERT INTO d VALUES (0, 'zero'), (1, 'one'), (2, 'two'), (3, 'three');\n");
    script.push_str(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, total INTEGER, memo VARCHAR(40));\n",
    );
    let orders = data.orders.iter().map(|order| {
        format!(
            "({}, {}, {}, '{}')",
            order.id,
            number(order.customer_id),
            order.total,
            order.memo
        )
    });
    insert(&mut script, "orders", orders.collect());
    if hidden != Hidden::Many {
        script.push_str("CREATE TABLE vault (id INTEGER PRIMARY KEY, gold VARCHAR(40));\n");
        let _ = writeln!(script, "INSERT INTO vault VALUES (1, '{}');", canaries::VAULT);
    }
    script
}

/// The entity's tables.
fn customers(data: &Data) -> String {
    let mut script = String::from(
        "CREATE TABLE district (id INTEGER PRIMARY KEY, label VARCHAR(20));
INSERT INTO district VALUES (1, 'first'), (2, 'second'), (3, 'third');
CREATE TABLE customer (id INTEGER PRIMARY KEY, district INTEGER, name VARCHAR(40), phone VARCHAR(60));
CREATE TABLE account (id INTEGER PRIMARY KEY, balance BIGINT);
CREATE TABLE holder (id INTEGER PRIMARY KEY, customer_id INTEGER, account_id INTEGER, role VARCHAR(10));
",
    );
    let customers = data.customers.iter().map(|one| {
        format!(
            "({}, {}, '{}', {})",
            one.id,
            number(one.district),
            one.name,
            text(one.phone.as_deref())
        )
    });
    insert(&mut script, "customer", customers.collect());
    let accounts = data.accounts.iter().map(|one| format!("({}, {})", one.id, one.balance));
    insert(&mut script, "account", accounts.collect());
    let holders = data
        .holders
        .iter()
        .map(|one| format!("({}, {}, {}, '{}')", one.id, one.customer_id, one.account_id, one.role));
    insert(&mut script, "holder", holders.collect());
    script
}

/// Hidden rows that came and went: dead space, other pages, other statistics.
fn churn(hidden: Hidden) -> String {
    if hidden != Hidden::Few {
        return String::new();
    }
    let mut script = String::new();
    for table in ["t", "u"] {
        let _ = write!(
            script,
            "INSERT INTO {table} (id, bucket, word) SELECT id + 100000, 999, 'gone' FROM {table};
DELETE FROM {table} WHERE id > 100000;
UPDATE {table} SET cents = 1 - id, region = '{}' WHERE bucket IS NULL;
",
            canaries::region(1)
        );
    }
    script
}

fn insert(script: &mut String, table: &str, values: Vec<String>) {
    for some in values.chunks(500) {
        let _ = writeln!(script, "INSERT INTO {table} VALUES {};", some.join(", "));
    }
}

fn row_values(row: &Row, hidden: Hidden) -> String {
    let mut values = vec![
        row.id.to_string(),
        number(row.bucket),
        text(row.region.as_deref()),
        number(row.kind),
        text(row.word.as_deref()),
        number(row.cents),
        row.amount.map_or("NULL".to_owned(), hundredths),
        row.score.map_or("NULL".to_owned(), |score| format!("{score:e}")),
        text(row.day.as_deref()),
        text(row.phone.as_deref()),
        number(row.pin),
        number(row.salary),
    ];
    if hidden != Hidden::Many {
        values.push(text(Some(&row.hid)));
    }
    format!("({})", values.join(", "))
}

fn number(value: Option<i64>) -> String {
    value.map_or("NULL".to_owned(), |value| value.to_string())
}

fn text(value: Option<&str>) -> String {
    value.map_or("NULL".to_owned(), |value| format!("'{value}'"))
}

fn hundredths(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", value.abs() / 100, value.abs() % 100)
}

fn files(folder: &Path, hidden: Hidden, data: &Data) -> Result<()> {
    let folder = folder.join(canaries::FOLDER);
    fs::create_dir(&folder)?;
    for (table, rows) in [("t", &data.t), ("u", &data.u)] {
        parquet(&folder.join(format!("{table}.parquet")), &batch(rows, hidden)?)?;
        fs::write(folder.join(format!("{table}.csv")), csv(rows, hidden))?;
    }
    let labels = StringArray::from(vec!["zero", "one", "two", "three"]);
    let kinds = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![0, 1, 2, 3])) as ArrayRef),
        ("label", Arc::new(labels) as ArrayRef),
    ])?;
    parquet(&folder.join("d.parquet"), &kinds)?;
    fs::write(folder.join("d.csv"), "id,label\n0,zero\n1,one\n2,two\n3,three\n")?;
    let orders = &data.orders;
    let orders = RecordBatch::try_from_iter_with_nullable([
        ("id", integers(orders, |one| Some(one.id)), true),
        ("customer_id", integers(orders, |one| one.customer_id), true),
        ("total", integers(orders, |one| Some(one.total)), true),
        ("memo", texts(orders, |one| Some(one.memo.as_str())), true),
    ])?;
    parquet(&folder.join("orders.parquet"), &orders)
}

fn integers<T>(rows: &[T], value: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Int64Array>())
}

fn texts<'a, T>(rows: &'a [T], value: impl Fn(&'a T) -> Option<&'a str>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringArray>())
}

fn batch(rows: &[Row], hidden: Hidden) -> Result<RecordBatch> {
    let amount: Decimal128Array = rows.iter().map(|row| row.amount.map(i128::from)).collect();
    let score: Float64Array = rows.iter().map(|row| row.score).collect();
    let day = cast(&texts(rows, |row| row.day.as_deref()), &DataType::Date32)?;
    let day = day.as_any().downcast_ref::<Date32Array>().context("dates")?.clone();
    let mut columns = vec![
        ("id", integers(rows, |row| Some(row.id)), true),
        ("bucket", integers(rows, |row| row.bucket), true),
        ("region", texts(rows, |row| row.region.as_deref()), true),
        ("kind", integers(rows, |row| row.kind), true),
        ("word", texts(rows, |row| row.word.as_deref()), true),
        ("cents", integers(rows, |row| row.cents), true),
        (
            "amount",
            Arc::new(amount.with_precision_and_scale(12, 2)?) as ArrayRef,
            true,
        ),
        ("score", Arc::new(score) as ArrayRef, true),
        ("day", Arc::new(day) as ArrayRef, true),
        ("phone", texts(rows, |row| row.phone.as_deref()), true),
        ("pin", integers(rows, |row| row.pin), true),
        ("salary", integers(rows, |row| row.salary), true),
    ];
    if hidden != Hidden::Many {
        columns.push(("hid", texts(rows, |row| Some(row.hid.as_str())), true));
    }
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn parquet(file: &Path, batch: &RecordBatch) -> Result<()> {
    let file = File::create(file).with_context(|| format!("cannot create {}", file.display()))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
    writer.write(batch)?;
    writer.close()?;
    Ok(())
}

/// The types of CSV are found in its values, in those that policy hides too, so here they are spelt alike in every world:
/// a last row, which nobody sees, holds a word in each column of text.
fn csv(rows: &[Row], hidden: Hidden) -> String {
    let hid = if hidden == Hidden::Many { "" } else { ",hid" };
    let mut file = format!("id,bucket,region,kind,word,cents,amount,day,phone,pin,salary{hid}\n");
    let whole = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    for row in rows {
        let mut cells = vec![
            row.id.to_string(),
            whole(row.bucket),
            row.region.clone().unwrap_or_default(),
            whole(row.kind),
            row.word.clone().unwrap_or_default(),
            whole(row.cents),
            row.amount.map(hundredths).unwrap_or_default(),
            row.day.clone().unwrap_or_default(),
            row.phone.clone().unwrap_or_default(),
            whole(row.pin.or(Some(0))),
            whole(row.salary),
        ];
        if hidden != Hidden::Many {
            cells.push(row.hid.clone());
        }
        let _ = writeln!(file, "{}", cells.join(","));
    }
    let last = format!(
        "900000,,{},,{},,,,{},,",
        canaries::region(0),
        canaries::word(0),
        canaries::phone(0)
    );
    let hid = if hidden == Hidden::Many { "" } else { "," };
    let _ = writeln!(file, "{last}{hid}");
    file
}
