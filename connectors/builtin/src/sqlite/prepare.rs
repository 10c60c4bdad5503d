//! A `RemoteQuery` ready for SQLite: its statement, what is bound, what comes back.
//!
//! Owns: which of the two ways a query is checked, the form in which values are bound. Never: SQL.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use caliber_connector_spi::{Expr, Parameter, RemoteColumn, RemoteQuery, RemoteTable, TableRead, Value, render};
use rusqlite::types::Value as Bound;

use super::calendar;
use super::dialect::Sqlite;
use super::types::Kind;
use crate::decimal::decimal_text;

/// A statement ready to be sent.
pub(super) struct Prepared {
    /// Its text.
    pub(super) sql: String,
    /// What to bind, in order.
    pub(super) parameters: Vec<Bound>,
    /// What is selected: the columns asked for, then the hidden ones.
    pub(super) columns: Vec<Selected>,
    /// How many of `columns`, at the end, are read only to be checked.
    pub(super) hidden: usize,
    /// The tables as they were described.
    pub(super) described: Vec<Arc<RemoteTable>>,
    /// The tables whose columns the statement checks, by the number it has for each.
    pub(super) checked: Vec<Arc<RemoteTable>>,
}

/// A column of the answer.
pub(super) struct Selected {
    /// What errors call it.
    pub(super) label: String,
    /// Its name in the result.
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) nullable: bool,
    /// What is stored there.
    pub(super) kind: Kind,
}

/// The statement for `query`; `Err` says what in it cannot be bound.
pub(super) fn prepare(query: &RemoteQuery) -> Result<Prepared, &'static str> {
    match query.table_read() {
        Some(read) => of_table(query, &read),
        None => of_relation(query),
    }
}

/// A read of one table: the columns that its predicates compare are read too.
fn of_table(query: &RemoteQuery, read: &TableRead<'_>) -> Result<Prepared, &'static str> {
    let mut compared = Vec::new();
    read.predicates
        .iter()
        .for_each(|predicate| gather(predicate, &mut compared));
    compared.retain(|column| !read.columns.contains(column));
    let mut indices = read.columns.clone();
    indices.extend(&compared);
    let predicate = match read.predicates.as_slice() {
        [] => None,
        [one] => Some((*one).clone()),
        many => Some(Expr::And(many.iter().map(|one| (*one).clone()).collect())),
    };
    let widened = RemoteQuery::of_table(read.table.clone(), &indices, predicate, read.rows);
    let mut columns = indices
        .iter()
        .map(|index| {
            let column = read.table.columns.get(*index);
            stored(read.table, column.ok_or("a column that does not exist")?)
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Two of one name are told apart.
    for (column, field) in columns.iter_mut().zip(query.schema().fields()) {
        column.name.clone_from(field.name());
    }
    finish(&widened, columns, compared.len(), None)
}

/// Anything larger: the statement checks what it compares.
fn of_relation(query: &RemoteQuery) -> Result<Prepared, &'static str> {
    let tables = tables(query);
    let schema = query.schema();
    let outputs = query.root.columns();
    let columns = schema
        .fields()
        .iter()
        .zip(&outputs)
        .enumerate()
        .map(|(at, (field, output))| {
            let mut selected = match (&output.origin, output.described()) {
                (Some((table, _)), Some(column)) => stored(table, column)?,
                _ => Selected {
                    label: format!("column {}", at + 1),
                    name: String::new(),
                    data_type: field.data_type().clone(),
                    nullable: true,
                    kind: Kind::computed(field.data_type()).ok_or("a column of a type that SQLite does not have")?,
                },
            };
            selected.name.clone_from(field.name());
            selected.nullable = field.is_nullable();
            Ok(selected)
        })
        .collect::<Result<Vec<_>, &'static str>>()?;
    finish(query, columns, 0, Some(tables))
}

/// Each table once.
fn tables(query: &RemoteQuery) -> Vec<Arc<RemoteTable>> {
    let mut tables: Vec<Arc<RemoteTable>> = Vec::new();
    for table in query.root.tables() {
        if !tables.iter().any(|known| Arc::ptr_eq(known, table)) {
            tables.push(table.clone());
        }
    }
    tables
}

fn stored(table: &RemoteTable, column: &RemoteColumn) -> Result<Selected, &'static str> {
    let kind = Kind::of(&column.native_type);
    if kind.data_type() != column.data_type {
        return Err("a column asked for in a type that its declared type does not give");
    }
    Ok(Selected {
        label: format!("{}.{}", table.name, column.name),
        name: column.name.clone(),
        data_type: column.data_type.clone(),
        nullable: column.nullable,
        kind,
    })
}

fn finish(
    query: &RemoteQuery,
    columns: Vec<Selected>,
    hidden: usize,
    checked: Option<Vec<Arc<RemoteTable>>>,
) -> Result<Prepared, &'static str> {
    let dialect = Sqlite { tables: checked };
    let rendered = render(query, &dialect);
    Ok(Prepared {
        sql: rendered.sql,
        parameters: rendered.parameters.iter().map(bound).collect::<Result<Vec<_>, _>>()?,
        columns,
        hidden,
        described: tables(query),
        checked: dialect.tables.unwrap_or_default(),
    })
}

/// The columns whose values `predicate` compares. IS NULL compares none.
fn gather(predicate: &Expr, compared: &mut Vec<usize>) {
    match predicate {
        Expr::IsNull(_) => {}
        Expr::Column(column) | Expr::InKeys { column, .. } => {
            if !compared.contains(column) {
                compared.push(*column);
            }
        }
        other => other.children().into_iter().for_each(|part| gather(part, compared)),
    }
}

fn bound(parameter: &Parameter) -> Result<Bound, &'static str> {
    let value = match parameter {
        Parameter::Keys(keys) => return Ok(Bound::Text(json(keys)?)),
        Parameter::Value(value) => value,
    };
    Ok(match value {
        Value::Bool(truth) => Bound::Integer(i64::from(*truth)),
        Value::Int(number) => Bound::Integer(*number),
        Value::UInt(number) => Bound::Integer(i64::try_from(*number).map_err(|_| "an unsigned value beyond 2^63")?),
        Value::Float(number) => Bound::Real(*number),
        Value::Decimal { unscaled, scale, .. } => Bound::Text(decimal_text(*unscaled, *scale)),
        Value::Text(text) => Bound::Text(text.clone()),
        Value::Bytes(bytes) => Bound::Blob(bytes.clone()),
        Value::Date(days) => Bound::Text(calendar::text_of_days(*days)),
        Value::Timestamp(micros) => {
            Bound::Text(calendar::text_of_micros(*micros).ok_or("a timestamp beyond the years 0000 to 9999")?)
        }
        Value::TimestampUtc(_) => return Err("a timestamp in UTC, which this source does not have"),
    })
}

/// The keys as a JSON array of numbers, or of the hexadecimal digits of text.
fn json(keys: &ArrayRef) -> Result<String, &'static str> {
    let mut text = String::from("[");
    let mut separator = "";
    match keys.data_type() {
        DataType::Int64 => {
            for key in keys.as_primitive::<Int64Type>().iter().flatten() {
                let _ = write!(text, "{separator}{key}");
                separator = ",";
            }
        }
        DataType::Utf8 => {
            for key in keys.as_string::<i32>().iter().flatten() {
                let _ = write!(text, "{separator}\"");
                for byte in key.bytes() {
                    let _ = write!(text, "{byte:02x}");
                }
                text.push('"');
                separator = ",";
            }
        }
        _ => return Err("keys of a type this source does not look up"),
    }
    text.push(']');
    Ok(text)
}
