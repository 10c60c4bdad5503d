//! What a MariaDB or MySQL database holds, as far as the account may read it.
//!
//! Owns: the mapping of MySQL's types to Arrow, keys, estimates. Never: a row of any table.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::{ConnectorError, ErrorClass, ForeignKey, RemoteColumn, RemoteTable, SourceSchema};
use mysql_async::prelude::{FromRow, Queryable};

use super::dialect::is_unicode;
use super::failure::failure;
use super::session::{Session, Sessions};
use crate::pool::Pool;

const TABLES: &str = "\
SELECT TABLE_NAME, TABLE_TYPE, TABLE_ROWS, TABLE_COMMENT FROM information_schema.TABLES \
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED')";

const COLUMNS: &str = "\
SELECT TABLE_NAME, COLUMN_NAME, IS_NULLABLE = 'YES', DATA_TYPE, COLUMN_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE, \
       CHARACTER_SET_NAME, COLLATION_NAME, COLUMN_COMMENT FROM information_schema.COLUMNS \
WHERE TABLE_SCHEMA = DATABASE() AND FIND_IN_SET('select', LOWER(PRIVILEGES)) > 0 \
ORDER BY TABLE_NAME, ORDINAL_POSITION";

/// The parts of unique indexes, in order. A part has no name where it is an expression, a length where it is a prefix.
const UNIQUE: &str = "\
SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART \
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND NON_UNIQUE = 0 \
ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX";

/// How many values the first column of an index holds.
const DISTINCT: &str = "\
SELECT TABLE_NAME, COLUMN_NAME, MAX(CARDINALITY) FROM information_schema.STATISTICS \
WHERE TABLE_SCHEMA = DATABASE() AND SEQ_IN_INDEX = 1 AND CARDINALITY > 0 AND COLUMN_NAME IS NOT NULL \
GROUP BY TABLE_NAME, COLUMN_NAME";

/// The parts of foreign keys within the database, in order.
const FOREIGN: &str = "\
SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME, COLUMN_NAME, REFERENCED_COLUMN_NAME \
FROM information_schema.KEY_COLUMN_USAGE \
WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_SCHEMA = DATABASE() \
ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION";

type TableRow = (String, String, Option<u64>, Option<String>);
type UniqueRow = (String, String, Option<String>, Option<u64>);
type ForeignRow = (String, String, String, String, String);
type ColumnRow = (
    String,
    String,
    bool,
    String,
    String,
    Option<u32>,
    Option<i32>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// Describes the database the source's address names.
pub async fn introspect(source_name: &str, pool: &Pool<Sessions>) -> Result<SourceSchema, ConnectorError> {
    let mut lease = pool.get().await?;
    let session = lease
        .connection()
        .ok_or_else(|| ConnectorError::new(source_name, ErrorClass::Unavailable, "the connection to it was lost"))?;
    let described = describe(session).await.map_err(|error| failure(source_name, &error))?;
    lease.settled();
    Ok(described)
}

async fn describe(session: &mut Session) -> Result<SourceSchema, mysql_async::Error> {
    let mut found = Found::default();
    for row in rows::<TableRow>(session, TABLES).await? {
        found.table(row);
    }
    for row in rows::<ColumnRow>(session, COLUMNS).await? {
        found.column(row);
    }
    for (table, column, count) in rows::<(String, String, u64)>(session, DISTINCT).await? {
        found.distinct(&table, &column, count);
    }
    let mut unique: BTreeMap<(String, String), Option<Vec<String>>> = BTreeMap::new();
    for (table, index, column, prefix) in rows::<UniqueRow>(session, UNIQUE).await? {
        let columns = unique.entry((table, index)).or_insert_with(|| Some(Vec::new()));
        match (columns.as_mut(), column, prefix) {
            (Some(columns), Some(column), None) => columns.push(column),
            // An expression or a prefix: such an index says nothing of columns.
            _ => *columns = None,
        }
    }
    for ((table, index), columns) in unique {
        found.unique(&table, &index, columns.unwrap_or_default());
    }
    let mut foreign: BTreeMap<(String, String), ForeignKey> = BTreeMap::new();
    for (table, constraint, target, column, target_column) in rows::<ForeignRow>(session, FOREIGN).await? {
        let key = foreign.entry((table, constraint)).or_insert_with(|| ForeignKey {
            columns: Vec::new(),
            target,
            target_columns: Vec::new(),
        });
        key.columns.push(column);
        key.target_columns.push(target_column);
    }
    for ((table, _), key) in foreign {
        found.foreign(&table, key);
    }
    // A table whose columns the account cannot read is not there.
    found.tables.retain(|_, table| !table.columns.is_empty());
    Ok(SourceSchema {
        tables: found.tables.into_values().collect(),
        notices: found.notices,
    })
}

async fn rows<T: FromRow + Send + 'static>(session: &mut Session, sql: &str) -> Result<Vec<T>, mysql_async::Error> {
    session.conn.query(sql).await
}

/// The description as it grows.
#[derive(Default)]
struct Found {
    tables: BTreeMap<String, RemoteTable>,
    notices: Vec<String>,
}

impl Found {
    fn table(&mut self, (name, kind, rows, comment): TableRow) {
        let is_view = kind == "VIEW";
        let table = RemoteTable {
            name: name.clone(),
            namespace: None,
            is_view,
            columns: Vec::new(),
            primary_key: Vec::new(),
            unique_keys: Vec::new(),
            foreign_keys: Vec::new(),
            comment: comment.filter(|text| !text.is_empty() && !is_view),
            rows_estimate: rows.filter(|_| !is_view),
        };
        self.tables.insert(name, table);
    }

    fn column(&mut self, row: ColumnRow) {
        let (table, name, nullable, data_type, native, precision, scale, character_set, collation, comment) = row;
        let Some(known) = self.tables.get_mut(&table) else {
            return;
        };
        let mapped = match map(&data_type, &native, precision, scale) {
            Ok(mapped) => mapped,
            Err(why) => {
                self.notices
                    .push(format!("`{table}.{name}` ({native}) is left out: {why}"));
                return;
            }
        };
        if let Some(why) = mapped.notice {
            self.notices
                .push(format!("`{table}.{name}` ({native}) is read as text: {why}"));
        }
        // Two texts that the server makes a `?` of are not one.
        let is_unicode = character_set.as_deref().is_none_or(is_unicode);
        let native_type = match (character_set, collation) {
            (Some(character_set), Some(collation)) => {
                format!("{native} character set {character_set} collate {collation}")
            }
            _ => native,
        };
        known.columns.push(RemoteColumn {
            name,
            data_type: mapped.data_type,
            nullable,
            comment: comment.filter(|text| !text.is_empty()),
            comparable: mapped.comparable && is_unicode,
            native_type,
            distinct_estimate: None,
        });
    }

    fn distinct(&mut self, table: &str, column: &str, count: u64) {
        let columns = self.tables.get_mut(table).map(|table| &mut table.columns);
        let found = columns.and_then(|columns| columns.iter_mut().find(|known| known.name == column));
        if let Some(found) = found {
            found.distinct_estimate = Some(count);
        }
    }

    fn unique(&mut self, table: &str, index: &str, columns: Vec<String>) {
        let Some(table) = self.tables.get_mut(table).filter(|_| !columns.is_empty()) else {
            return;
        };
        // A key with a column that may be NULL, or that the account cannot see, identifies nothing here.
        if !columns
            .iter()
            .all(|name| table.column(name).is_some_and(|column| !column.nullable))
        {
            return;
        }
        if index == "PRIMARY" {
            table.primary_key = columns;
        } else {
            table.unique_keys.push(columns);
        }
    }

    fn foreign(&mut self, table: &str, key: ForeignKey) {
        // A text may reference one that only its collation holds equal: then the key does not hold here.
        let holds = |table: Option<&RemoteTable>, names: &[String]| {
            let exact = |column: &RemoteColumn| column.comparable && column.data_type != DataType::Utf8;
            table.is_some_and(|table| names.iter().all(|name| table.column(name).is_some_and(exact)))
        };
        if holds(self.tables.get(table), &key.columns)
            && holds(self.tables.get(&key.target), &key.target_columns)
            && let Some(table) = self.tables.get_mut(table)
        {
            table.foreign_keys.push(key);
        }
    }
}

/// What a type becomes.
struct Mapped {
    data_type: DataType,
    comparable: bool,
    notice: Option<&'static str>,
}

fn map(name: &str, native: &str, precision: Option<u32>, scale: Option<i32>) -> Result<Mapped, &'static str> {
    let exact = |data_type| {
        Ok(Mapped {
            data_type,
            comparable: true,
            notice: None,
        })
    };
    let text = |comparable, notice| {
        Ok(Mapped {
            data_type: DataType::Utf8,
            comparable,
            notice,
        })
    };
    let is_unsigned = native.contains("unsigned");
    let integer = |signed, unsigned| exact(if is_unsigned { unsigned } else { signed });
    match name {
        "tinyint" => integer(DataType::Int8, DataType::UInt8),
        "smallint" => integer(DataType::Int16, DataType::UInt16),
        "mediumint" | "int" => integer(DataType::Int32, DataType::UInt32),
        "bigint" => integer(DataType::Int64, DataType::UInt64),
        "float" => exact(DataType::Float32),
        "double" => exact(DataType::Float64),
        "decimal" => match (precision.map(u8::try_from), scale.map(i8::try_from)) {
            (Some(Ok(precision @ 1..=38)), Some(Ok(scale))) => exact(DataType::Decimal128(precision, scale)),
            _ => text(false, Some("it has more than 38 digits")),
        },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => text(true, None),
        "json" | "time" | "uuid" | "inet4" | "inet6" => text(false, None),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => exact(DataType::Binary),
        "date" => exact(DataType::Date32),
        "datetime" => exact(DataType::Timestamp(TimeUnit::Microsecond, None)),
        "timestamp" => exact(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        "year" => exact(DataType::Int16),
        "bit" => exact(DataType::UInt64),
        _ => Err("its type has no counterpart here"),
    }
}
