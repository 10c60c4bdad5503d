//! What a SQLite file holds: tables, views, columns, keys.
//!
//! Owns: reading the schema through SQLite's own table-valued pragmas. Never: reads a row of a table.

use caliber_connector_spi::{ForeignKey, RemoteColumn, RemoteTable, SourceSchema};
use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use super::types::{Kind, ROW_NUMBER, STRICT};
use arrow::datatypes::DataType;

/// Describes everything readable in the file.
pub(super) fn introspect(connection: &Connection) -> Result<SourceSchema, Fault> {
    let utf8 = connection.query_row("PRAGMA encoding", [], |row| row.get::<_, String>(0))? == "UTF-8";
    let mut schema = SourceSchema::default();
    let mut statement = connection.prepare(
        "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let listed = statement
        .query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, bool>(2)?,
                row.get::<_, bool>(3)?,
            ))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for (name, kind, without_rowid, is_strict) in listed {
        match kind.as_str() {
            "table" | "view" => match table(
                connection,
                &name,
                kind == "view",
                without_rowid,
                utf8,
                &mut schema.notices,
            ) {
                Ok(mut table) => {
                    if is_strict {
                        table.columns.iter_mut().for_each(mark_strict);
                    }
                    schema.tables.push(table);
                }
                Err(_) if kind == "view" => schema
                    .notices
                    .push(format!("view `{name}` does not compile and is left out")),
                Err(fault) => return Err(fault),
            },
            "virtual" => schema.notices.push(format!("virtual table `{name}` is left out")),
            _ => {}
        }
    }
    schema.tables.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(schema)
}

/// Fails where a column is not as it was described: its values would be taken for something else. Of one that is gone the
/// statement itself tells, if it asks for it.
pub(super) fn check(connection: &Connection, described: &RemoteTable) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT l.type = 'view', l.wr, l.strict, x.name, x.type, x.\"notnull\", x.pk > 0 \
         FROM pragma_table_list(?1) AS l, pragma_table_xinfo(?1) AS x WHERE l.schema = 'main'",
    )?;
    let mut rows = statement.query([&described.name])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(3)?;
        let Some(column) = described.column(&name) else {
            continue;
        };
        let declared = row.get::<_, Option<String>>(4)?.unwrap_or_default();
        let marked = [ROW_NUMBER, STRICT].into_iter().find_map(|mark| {
            let rest = column.native_type.strip_suffix(mark)?;
            Some((rest, mark))
        });
        let is_same = match marked {
            // A row's number stays one as long as the key and its table are of that kind.
            Some((rest, ROW_NUMBER)) => rest == declared && row.get(6)? && !row.get::<_, bool>(1)?,
            Some((rest, _)) => rest == declared && row.get(2)?,
            None => column.native_type == declared,
        };
        let may_be_null = row.get::<_, bool>(0)? || !row.get::<_, bool>(5)?;
        let keeps_null_out = column.nullable || !may_be_null || matches!(marked, Some((_, ROW_NUMBER)));
        if !is_same || !keeps_null_out {
            return Err(Fault::Drift);
        }
    }
    Ok(())
}

/// Notes that SQLite keeps values of another type out of the column. It does not look at what a text is made of, which is
/// seen when it is read.
fn mark_strict(column: &mut RemoteColumn) {
    let kind = Kind::of(&column.native_type);
    if matches!(kind, Kind::Integer | Kind::Text | Kind::Binary) && !column.native_type.ends_with(ROW_NUMBER) {
        column.native_type.push_str(STRICT);
    }
}

/// A column, and its place in the declared primary key from 1 (0 if none).
struct Described {
    column: RemoteColumn,
    key_place: i64,
}

fn table(
    connection: &Connection,
    name: &str,
    is_view: bool,
    without_rowid: bool,
    utf8: bool,
    notices: &mut Vec<String>,
) -> Result<RemoteTable, Fault> {
    let indexes = if is_view {
        Vec::new()
    } else {
        indexes(connection, name)?
    };
    let mut described = columns(connection, name, is_view, utf8, notices)?;
    // A lone INTEGER key without an index of its own is the row's number: never NULL, whatever was declared.
    let is_rowid = !without_rowid && !indexes.iter().any(|index| index.is_primary);
    let mut key: Vec<(i64, String)> = Vec::new();
    for column in described.iter_mut().filter(|column| column.key_place > 0) {
        if is_rowid {
            column.column.nullable = false;
            column.column.native_type.push_str(ROW_NUMBER);
        }
        key.push((column.key_place, column.column.name.clone()));
    }
    key.sort();
    let columns: Vec<RemoteColumn> = described.into_iter().map(|described| described.column).collect();
    let enforced = |names: &[String]| {
        !names.is_empty()
            && names.iter().all(|name| {
                let column = columns.iter().find(|column| column.name == *name);
                column.is_some_and(|column| !column.nullable && Kind::of(&column.native_type).keeps_keys())
            })
    };
    let primary_key: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
    let primary_key = if enforced(&primary_key) {
        primary_key
    } else {
        Vec::new()
    };
    let unique_keys = indexes
        .into_iter()
        .filter(|index| !index.is_primary)
        .map(|index| index.columns)
        .filter(|names| enforced(names))
        .collect();
    let rows_estimate = if is_view || without_rowid {
        None
    } else {
        rows_estimate(connection, name)?
    };
    let foreign_keys = if is_view {
        Vec::new()
    } else {
        foreign_keys(connection, name, &primary_key_of(connection))?
    };
    Ok(RemoteTable {
        name: name.to_owned(),
        namespace: None,
        is_view,
        columns,
        primary_key,
        unique_keys,
        foreign_keys,
        comment: None,
        rows_estimate,
    })
}

fn columns(
    connection: &Connection,
    table: &str,
    is_view: bool,
    utf8: bool,
    notices: &mut Vec<String>,
) -> Result<Vec<Described>, Fault> {
    let mut statement =
        connection.prepare("SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
    let mut rows = statement.query([table])?;
    let mut columns = Vec::new();
    while let Some(row) = rows.next()? {
        // 1 is a hidden column of a virtual table; 2 and 3 are generated columns.
        if row.get::<_, i64>(4)? == 1 {
            continue;
        }
        let name: String = row.get(0)?;
        let native_type: String = row.get::<_, Option<String>>(1)?.unwrap_or_default();
        let kind = Kind::of(&native_type);
        if kind == Kind::Untyped && !native_type.is_empty() {
            notices.push(format!("column `{table}.{name}` of type {native_type} is read as text"));
        }
        // BINARY compares the bytes of the file's encoding: only in UTF-8 are they in our order. A view's column has
        // the affinity of whichever of its SELECTs SQLite chooses.
        let comparable = kind.comparable() && !is_view && (utf8 || kind.data_type() != DataType::Utf8);
        columns.push(Described {
            column: RemoteColumn {
                name,
                data_type: kind.data_type(),
                nullable: is_view || !row.get::<_, bool>(2)?,
                native_type,
                comment: None,
                comparable,
                distinct_estimate: None,
            },
            key_place: row.get(3)?,
        });
    }
    Ok(columns)
}

struct Index {
    columns: Vec<String>,
    is_primary: bool,
}

/// The unique indexes over columns alone, for every row.
fn indexes(connection: &Connection, table: &str) -> Result<Vec<Index>, Fault> {
    let mut list = connection
        .prepare("SELECT name, origin FROM pragma_index_list(?1) WHERE \"unique\" AND NOT partial ORDER BY name")?;
    let listed = list
        .query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    let mut indexes = Vec::new();
    for (name, origin) in listed {
        let mut parts = connection.prepare("SELECT name FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
        let names = parts
            .query_map([&name], |row| row.get::<_, Option<String>>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        // An expression has no name: such an index says nothing of columns.
        let columns = names.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default();
        indexes.push(Index {
            columns,
            is_primary: origin == "pk",
        });
    }
    Ok(indexes)
}

/// The rows SQLite's own statistics counted, or else the highest row number: cheap, and seldom far off.
fn rows_estimate(connection: &Connection, table: &str) -> Result<Option<u64>, Fault> {
    let analysed = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'",
        [],
        |row| row.get::<_, i64>(0),
    )?;
    if analysed > 0 {
        let statistics: Option<String> = connection
            .query_row(
                "SELECT stat FROM sqlite_stat1 WHERE tbl = ?1 AND stat IS NOT NULL LIMIT 1",
                [table],
                |row| row.get(0),
            )
            .optional()?;
        let rows = statistics
            .as_deref()
            .and_then(|text| text.split(' ').next())
            .and_then(|number| number.parse().ok());
        if rows.is_some() {
            return Ok(rows);
        }
    }
    let sql = format!("SELECT max(rowid) FROM \"{}\"", table.replace('"', "\"\""));
    let highest: Option<i64> = connection
        .query_row(&sql, [], |row| row.get(0))
        .optional()
        .ok()
        .flatten()
        .flatten();
    Ok(highest.and_then(|rows| u64::try_from(rows).ok()))
}

/// Looks up the primary key of a referenced table, which a foreign key may leave unsaid.
fn primary_key_of(connection: &Connection) -> impl Fn(&str) -> Result<Vec<String>, Fault> {
    move |table| {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?;
        Ok(statement
            .query_map([table], |row| row.get(0))?
            .collect::<Result<Vec<_>, _>>()?)
    }
}

fn foreign_keys(
    connection: &Connection,
    table: &str,
    primary_key_of: &dyn Fn(&str) -> Result<Vec<String>, Fault>,
) -> Result<Vec<ForeignKey>, Fault> {
    let mut statement = connection
        .prepare("SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq")?;
    let mut rows = statement.query([table])?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let (target, from, to): (String, String, Option<String>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        match keys.last_mut().filter(|(known, _)| *known == id) {
            Some((_, key)) => {
                key.columns.push(from);
                key.target_columns.extend(to);
            }
            None => {
                let key = ForeignKey {
                    columns: vec![from],
                    target,
                    target_columns: to.into_iter().collect(),
                };
                keys.push((id, key));
            }
        }
    }
    for (_, key) in &mut keys {
        if key.target_columns.is_empty() {
            key.target_columns = primary_key_of(&key.target)?;
        }
    }
    Ok(keys
        .into_iter()
        .map(|(_, key)| key)
        .filter(|key| key.columns.len() == key.target_columns.len())
        .collect())
}
