//! What a PostgreSQL schema holds, as far as the account may read it.
//!
//! Owns: the mapping of PostgreSQL's types to Arrow, keys, estimates. Never: a row of any table.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::{ConnectorError, ErrorClass, ForeignKey, RemoteColumn, RemoteTable, SourceSchema};
use tokio_postgres::{Row, Transaction};

use super::failure::failure;
use super::session::Sessions;
use crate::pool::Pool;

/// Tables, views and their columns. Partitions are read through their parent. A domain is what it is over in the end.
const COLUMNS: &str = "\
SELECT c.oid::int8, c.relname::text, c.relkind::text, c.reltuples::float8, obj_description(c.oid, 'pg_class'), \
       a.attname::text, a.attnotnull AND c.relkind IN ('r', 'p'), col_description(c.oid, a.attnum), \
       b.typname::text, b.typtype::text, b.typnamespace = 'pg_catalog'::regnamespace, m.typmod, \
       format_type(b.oid, m.typmod) || CASE WHEN a.attcollation IN (0, b.typcollation) \
         THEN '' ELSE ' collate ' || l.collname END, coalesce(l.collisdeterministic, true), \
       c.relkind = 'r' AND c.relhassubclass, s.n_distinct::float8 \
FROM pg_class c \
JOIN pg_namespace n ON n.oid = c.relnamespace \
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
JOIN pg_type t ON t.oid = a.atttypid \
LEFT JOIN LATERAL ( \
  WITH RECURSIVE chain(base, typmod, step) AS ( \
    SELECT t.typbasetype, t.typtypmod, 1 WHERE t.typtype = 'd' \
    UNION ALL SELECT d.typbasetype, d.typtypmod, step + 1 FROM chain \
      JOIN pg_type d ON d.oid = chain.base AND d.typtype = 'd') \
  SELECT base, typmod FROM chain ORDER BY step DESC LIMIT 1) e ON true \
JOIN pg_type b ON b.oid = coalesce(e.base, t.oid) \
CROSS JOIN LATERAL (SELECT coalesce(e.typmod, a.atttypmod) AS typmod) m \
LEFT JOIN pg_collation l ON l.oid = a.attcollation \
LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname \
  AND s.inherited = (c.relkind = 'p') \
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
  AND (has_table_privilege(c.oid, 'SELECT') OR has_column_privilege(c.oid, a.attnum, 'SELECT')) \
ORDER BY c.relname COLLATE \"C\", a.attnum";

/// Unique indexes over plain columns and whole tables.
const UNIQUE: &str = "\
SELECT i.indrelid::int8, i.indisprimary, \
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY k(number, at) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
             WHERE k.at <= i.indnkeyatts ORDER BY k.at) \
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
WHERE n.nspname = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
ORDER BY i.indrelid, i.indexrelid";

/// Foreign keys within the schema that hold for every row.
const FOREIGN: &str = "\
SELECT k.conrelid::int8, f.relname::text, \
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(number, at) \
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.at), \
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(number, at) \
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.at) \
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
JOIN pg_class f ON f.oid = k.confrelid AND f.relnamespace = c.relnamespace \
WHERE n.nspname = $1 AND k.contype = 'f' AND k.convalidated AND k.conparentid = 0 \
ORDER BY k.conrelid, k.oid";

/// Describes `schema`.
pub async fn introspect(
    source_name: &str,
    schema: &str,
    pool: &Pool<Sessions>,
) -> Result<SourceSchema, ConnectorError> {
    let failed = |error: tokio_postgres::Error| failure(source_name, &error);
    let mut lease = pool.get().await?;
    let session = lease
        .connection()
        .ok_or_else(|| ConnectorError::new(source_name, ErrorClass::Unavailable, "the connection to it was lost"))?;
    let transaction = session
        .client
        .build_transaction()
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    let described = describe(&transaction, schema).await.map_err(failed);
    transaction.rollback().await.map_err(failed)?;
    lease.settled();
    let (is_utf8, [columns, unique, foreign]) = described?;
    let mut found = Found {
        schema,
        is_utf8,
        ..Found::default()
    };
    for row in &columns {
        found.column(row).map_err(failed)?;
    }
    for row in &unique {
        found.unique(row).map_err(failed)?;
    }
    for row in &foreign {
        found.foreign(row).map_err(failed)?;
    }
    Ok(found.finish())
}

async fn describe(transaction: &Transaction<'_>, schema: &str) -> Result<(bool, [Vec<Row>; 3]), tokio_postgres::Error> {
    let of_schema: [&(dyn postgres_types::ToSql + Sync); 1] = [&schema];
    // Sent together, answered in one round trip or two.
    let (encoding, columns, unique, foreign) = futures::try_join!(
        transaction.query_one("SELECT current_setting('server_encoding')", &[]),
        transaction.query(COLUMNS, &of_schema),
        transaction.query(UNIQUE, &of_schema),
        transaction.query(FOREIGN, &of_schema),
    )?;
    let is_utf8 = encoding.try_get::<_, &str>(0)? == "UTF8";
    Ok((is_utf8, [columns, unique, foreign]))
}

/// The description as it grows.
#[derive(Default)]
struct Found<'a> {
    schema: &'a str,
    is_utf8: bool,
    tables: BTreeMap<String, RemoteTable>,
    names: HashMap<i64, String>,
    /// Tables whose rows also come from inheriting tables, which its keys do not bind.
    inherited: Vec<i64>,
    notices: Vec<String>,
}

/// The number of values that `pg_stats` tells: itself, or below 0 as a fraction of the rows.
fn distinct(statistic: Option<f64>, rows: f64) -> Option<u64> {
    let count = match statistic? {
        fraction if fraction < 0.0 => -fraction * rows.max(0.0),
        count => count,
    };
    (count >= 1.0).then(|| count.round() as u64)
}

impl Found<'_> {
    fn column(&mut self, row: &Row) -> Result<(), tokio_postgres::Error> {
        let oid: i64 = row.try_get(0)?;
        let table_name: String = row.try_get(1)?;
        let kind: String = row.try_get(2)?;
        let tuples: f64 = row.try_get(3)?;
        let table_comment: Option<String> = row.try_get(4)?;
        let name: String = row.try_get(5)?;
        let native: String = row.try_get(12)?;
        let typname: String = row.try_get(8)?;
        let typmod: i32 = row.try_get(11)?;
        let (typtype, is_builtin): (String, bool) = (row.try_get(9)?, row.try_get(10)?);
        let is_deterministic: bool = row.try_get(13)?;
        if row.try_get(14)? {
            self.inherited.push(oid);
        }
        let mapped = map(&typname, &typtype, is_builtin, typmod);
        if let Some(why) = mapped.notice {
            self.notices
                .push(format!("`{table_name}.{name}` ({native}) is read as text: {why}"));
        }
        let is_text = mapped.data_type == DataType::Utf8;
        let column = RemoteColumn {
            nullable: !row.try_get::<_, bool>(6)?,
            comment: row.try_get(7)?,
            comparable: mapped.comparable && (!is_text || (is_deterministic && self.is_utf8)),
            data_type: mapped.data_type,
            native_type: native,
            name,
            distinct_estimate: distinct(row.try_get(15)?, tuples),
        };
        self.names.insert(oid, table_name.clone());
        let namespace = self.schema.to_owned();
        let table = self.tables.entry(table_name.clone()).or_insert_with(|| RemoteTable {
            name: table_name,
            namespace: Some(namespace),
            is_view: kind == "v" || kind == "m",
            columns: Vec::new(),
            primary_key: Vec::new(),
            unique_keys: Vec::new(),
            foreign_keys: Vec::new(),
            comment: table_comment,
            rows_estimate: estimate(tuples, &kind),
        });
        table.columns.push(column);
        Ok(())
    }

    fn unique(&mut self, row: &Row) -> Result<(), tokio_postgres::Error> {
        let oid: i64 = row.try_get(0)?;
        let columns: Vec<String> = row.try_get(2)?;
        let Some(table) = self.names.get(&oid).and_then(|name| self.tables.get_mut(name)) else {
            return Ok(());
        };
        // A key with a column that may be NULL, or that the account cannot see, identifies nothing here.
        let binds = |name: &String| table.column(name).is_some_and(|column| !column.nullable);
        if self.inherited.contains(&oid) || columns.is_empty() || !columns.iter().all(binds) {
            return Ok(());
        }
        if row.try_get(1)? {
            table.primary_key = columns;
        } else {
            table.unique_keys.push(columns);
        }
        Ok(())
    }

    fn foreign(&mut self, row: &Row) -> Result<(), tokio_postgres::Error> {
        let oid: i64 = row.try_get(0)?;
        let key = ForeignKey {
            target: row.try_get(1)?,
            columns: row.try_get(2)?,
            target_columns: row.try_get(3)?,
        };
        // Equal for the source must be equal here, or the key does not hold here.
        let seen = |table: &RemoteTable, names: &[String]| {
            names
                .iter()
                .all(|name| table.column(name).is_some_and(|column| column.comparable))
        };
        let target_seen = self
            .tables
            .get(&key.target)
            .is_some_and(|target| seen(target, &key.target_columns));
        let table = self.names.get(&oid).and_then(|name| self.tables.get_mut(name));
        if let Some(table) = table
            && target_seen
            && seen(table, &key.columns)
            && !self.inherited.contains(&oid)
        {
            table.foreign_keys.push(key);
        }
        Ok(())
    }

    fn finish(mut self) -> SourceSchema {
        if !self.is_utf8 {
            let notice = "the database is not encoded in UTF-8, so text is compared here and not there";
            self.notices.push(notice.to_owned());
        }
        SourceSchema {
            tables: self.tables.into_values().collect(),
            notices: self.notices,
        }
    }
}

/// The planner's estimate; there is none before the first ANALYZE, nor for a view.
fn estimate(tuples: f64, kind: &str) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, and not negative here"
    )]
    let rows = tuples as u64;
    (tuples >= 0.0 && kind != "v").then_some(rows)
}

/// What a type becomes.
struct Mapped {
    data_type: DataType,
    comparable: bool,
    notice: Option<&'static str>,
}

fn map(name: &str, kind: &str, is_builtin: bool, typmod: i32) -> Mapped {
    let exact = |data_type| Mapped {
        data_type,
        comparable: true,
        notice: None,
    };
    let text = |comparable| Mapped {
        data_type: DataType::Utf8,
        comparable,
        notice: None,
    };
    if kind == "e" {
        return text(true);
    }
    if !is_builtin || kind != "b" {
        return text(false);
    }
    match name {
        "bool" => exact(DataType::Boolean),
        "int2" => exact(DataType::Int16),
        "int4" => exact(DataType::Int32),
        "int8" => exact(DataType::Int64),
        "float4" => exact(DataType::Float32),
        "float8" => exact(DataType::Float64),
        "numeric" => numeric(typmod),
        "text" | "varchar" | "bpchar" | "name" | "uuid" => text(true),
        "bytea" => exact(DataType::Binary),
        "date" => exact(DataType::Date32),
        "timestamp" => exact(DataType::Timestamp(TimeUnit::Microsecond, None)),
        "timestamptz" => exact(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        "time" => exact(DataType::Time64(TimeUnit::Microsecond)),
        _ => text(false),
    }
}

/// `numeric(p,s)`: the type modifier holds the precision above an 11-bit signed scale, plus four.
fn numeric(typmod: i32) -> Mapped {
    let as_text = |why| Mapped {
        data_type: DataType::Utf8,
        comparable: false,
        notice: Some(why),
    };
    if typmod < 4 {
        return as_text("a numeric without precision has no fixed number of decimals");
    }
    let precision = ((typmod - 4) >> 16) & 0xFFFF;
    let scale = (((typmod - 4) & 0x7FF) ^ 1024) - 1024;
    // A negative scale only rounds, and a scale beyond the precision only bounds: both have a plain equivalent.
    let (precision, scale) = if scale < 0 {
        (precision - scale, 0)
    } else {
        (precision.max(scale), scale)
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) => Mapped {
            data_type: DataType::Decimal128(precision, scale),
            comparable: true,
            notice: None,
        },
        _ => as_text("it has more than 38 digits"),
    }
}

#[cfg(test)]
mod tests {
    //! The type modifier of `numeric`.

    use super::*;

    fn check(precision: i32, scale: i32, expected: DataType) {
        let typmod = ((precision << 16) | (scale & 0x7FF)) + 4;
        assert_eq!(numeric(typmod).data_type, expected, "numeric({precision},{scale})");
    }

    #[test]
    fn numeric_modifiers() {
        check(12, 2, DataType::Decimal128(12, 2));
        check(38, 10, DataType::Decimal128(38, 10));
        check(38, 38, DataType::Decimal128(38, 38));
        check(39, 0, DataType::Utf8);
        check(5, -2, DataType::Decimal128(7, 0));
        check(3, 5, DataType::Decimal128(5, 5));
        assert_eq!(numeric(-1).data_type, DataType::Utf8);
    }
}
