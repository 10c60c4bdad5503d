//! SQLite's SQL for a `RemoteQuery`, exact over any stored value.
//!
//! Owns: what SQLite compares exactly, the guard that keeps odd dates from being skipped, the columns read only to be
//! checked. Never: a value in the text.
//!
//! SQLite compares what is stored, not what the column was declared to hold. So every column a predicate compares is
//! also read, and a row it let through with a value that does not fit is an error (`Prepared::hidden`); and since a
//! date that is not spelt `YYYY-MM-DD` sorts anywhere, such rows are let through by every comparison of dates, to be
//! that error.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use caliber_connector_spi::{
    Binder, Capabilities, Comparison, Dialect, Expr, Operand, Parameter, RemoteQuery, RemoteTable, Side, TypeClass,
    TypeSet, Value, operator, render,
};
use rusqlite::types::Value as Bound;

use super::calendar;

/// What SQLite evaluates exactly. Its LIKE ignores case; decimals, booleans and timestamps have several spellings.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    equality: TypeSet::of(&[TypeClass::Integer, TypeClass::Text, TypeClass::Binary, TypeClass::Date]),
    order: TypeSet::of(&[TypeClass::Integer, TypeClass::Text, TypeClass::Date]),
    keys: TypeSet::of(&[TypeClass::Integer, TypeClass::Text]),
    keys_max: 100_000,
    like: false,
    limit: true,
    // A list of values becomes a chain of OR, and SQLite's expressions are at most 1,000 deep.
    parameters_max: 500,
    ..Capabilities::NONE
};

/// A statement ready to be sent.
pub(super) struct Prepared {
    /// Its text.
    pub(super) sql: String,
    /// What to bind, in order.
    pub(super) parameters: Vec<Bound>,
    /// The table read.
    pub(super) table: Arc<RemoteTable>,
    /// The columns selected, as indices into the table's: those asked for, then the hidden ones.
    pub(super) columns: Vec<usize>,
    /// How many of `columns`, at the end, are read only to be checked.
    pub(super) hidden: usize,
}

/// The statement for `query`; `Err` says what in it cannot be bound.
pub(super) fn prepare(query: &RemoteQuery) -> Result<Prepared, &'static str> {
    let read = query.table_read().ok_or("more than a read of one table")?;
    let predicates: Vec<Expr> = read
        .predicates
        .iter()
        .map(|predicate| without_not(predicate, false))
        .collect();
    let mut compared = Vec::new();
    predicates.iter().for_each(|predicate| gather(predicate, &mut compared));
    compared.retain(|column| !read.columns.contains(column));
    let hidden = compared.len();
    let mut columns = read.columns;
    columns.extend(compared);
    let predicate = match predicates.len() {
        0 | 1 => predicates.into_iter().next(),
        _ => Some(Expr::And(predicates)),
    };
    let rewritten = RemoteQuery::of_table(read.table.clone(), &columns, predicate, read.rows);
    let rendered = render(&rewritten, &Sqlite);
    let parameters = rendered.parameters.iter().map(bound).collect::<Result<Vec<_>, _>>()?;
    Ok(Prepared {
        sql: rendered.sql,
        parameters,
        table: read.table.clone(),
        columns,
        hidden,
    })
}

/// `predicate`, or its negation, with NOT only above IS NULL and keys: then a comparison that is TRUE for an odd value
/// can only let more rows through. De Morgan's laws hold in three-valued logic.
fn without_not(predicate: &Expr, negate: bool) -> Expr {
    let each = |parts: &[Expr]| parts.iter().map(|part| without_not(part, negate)).collect();
    match predicate {
        Expr::Not(part) => without_not(part, !negate),
        Expr::And(parts) if negate => Expr::Or(each(parts)),
        Expr::And(parts) => Expr::And(each(parts)),
        Expr::Or(parts) if negate => Expr::And(each(parts)),
        Expr::Or(parts) => Expr::Or(each(parts)),
        Expr::Compare { op, left, right } if negate => Expr::Compare {
            op: inverse(*op),
            left: left.clone(),
            right: right.clone(),
        },
        Expr::InList { expr, list } if negate => {
            let differs = |value: &Value| Expr::Compare {
                op: Comparison::NotEqual,
                left: expr.clone(),
                right: Box::new(Expr::Value(value.clone())),
            };
            Expr::And(list.iter().map(differs).collect())
        }
        other if negate => Expr::Not(Box::new(other.clone())),
        other => other.clone(),
    }
}

fn inverse(op: Comparison) -> Comparison {
    match op {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}

/// The columns whose values `predicate` compares. IS NULL compares none.
fn gather(predicate: &Expr, compared: &mut Vec<usize>) {
    match predicate {
        Expr::Column(column) | Expr::InKeys { column, .. } => {
            if !compared.contains(column) {
                compared.push(*column);
            }
        }
        Expr::Compare { left, right, .. } => {
            gather(left, compared);
            gather(right, compared);
        }
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| gather(part, compared)),
        Expr::Not(part) => gather(part, compared),
        Expr::InList { expr, .. } | Expr::Like { expr, .. } => gather(expr, compared),
        // The rest is not declared.
        _ => {}
    }
}

struct Sqlite;

impl Dialect for Sqlite {
    fn identifier(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn placeholder(&self, number: usize, _: &Value) -> String {
        format!("?{number}")
    }

    fn compare(
        &self,
        left: Side<'_>,
        op: Comparison,
        right: Side<'_>,
        operand: Operand<'_>,
        binder: &mut Binder<'_>,
    ) -> String {
        let (left, right) = (binder.side(left), binder.side(right));
        // On the left: SQLite turns a chain of OR into IN, which forgets a collation on the right.
        let mut text = format!("({left} COLLATE BINARY {} {right}", operator(op));
        if compares_dates(operand) {
            // Placeholders start with `?`, identifiers with a quotation mark. `+0 days` makes date() normalise
            // 30 February instead of giving it back; a year before 0 is canonical to date() and not to us. The text it
            // is compared to must not look like a number, or the column's affinity would make it one.
            for side in [&left, &right].into_iter().filter(|side| side.starts_with('"')) {
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    " OR date({side}, '+0 days') IS NOT {side} OR {side} COLLATE BINARY < '0000-00-00'"
                );
            }
        }
        text.push(')');
        text
    }

    fn in_keys(&self, column: &str, keys: &ArrayRef, _: Operand<'_>, binder: &mut Binder<'_>) -> String {
        let number = binder.keys(keys);
        // Text travels as hexadecimal digits: JSON text ends at its first NUL in SQLite.
        let value = if *keys.data_type() == DataType::Int64 {
            "value"
        } else {
            "CAST(unhex(value) AS TEXT)"
        };
        format!("({column} COLLATE BINARY IN (SELECT {value} FROM json_each(?{number})))")
    }

    fn like(&self, text: Side<'_>, pattern: &Value, _: Operand<'_>, binder: &mut Binder<'_>) -> String {
        let (text, placeholder) = (binder.side(text), binder.value(pattern));
        // Never asked for, since it is not declared: SQLite's LIKE ignores the case of ASCII letters.
        format!("({text} LIKE {placeholder} ESCAPE '\\')")
    }
}

fn compares_dates(operand: Operand<'_>) -> bool {
    let column = operand.column.and_then(|column| operand.table.columns.get(column));
    column.is_some_and(|column| column.data_type == DataType::Date32)
}

fn bound(parameter: &Parameter) -> Result<Bound, &'static str> {
    Ok(match parameter {
        Parameter::Value(Value::Int(number)) => Bound::Integer(*number),
        Parameter::Value(Value::UInt(number)) => {
            Bound::Integer(i64::try_from(*number).map_err(|_| "an unsigned value beyond 2^63")?)
        }
        Parameter::Value(Value::Text(text)) => Bound::Text(text.clone()),
        Parameter::Value(Value::Bytes(bytes)) => Bound::Blob(bytes.clone()),
        Parameter::Value(Value::Date(days)) => Bound::Text(calendar::text_of_days(*days)),
        Parameter::Value(_) => return Err("a value of a type this source does not compare"),
        Parameter::Keys(keys) => Bound::Text(json(keys)?),
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
