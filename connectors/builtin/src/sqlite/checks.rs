//! Functions that statements of ours call inside SQLite: checks of stored values, and an exact sum.
//!
//! Owns: what a check lets through, the words in which its failure comes back. Never: a value in an error.
//!
//! A check has the value and the place of its column: `caliber_integer(value, table, column)`. It gives the value as it
//! is, or fails.

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result};

use super::calendar;
use super::fault::storage;

/// How the text of a failed check begins.
const CHECK: &str = "caliber check";
/// The text of a sum out of range.
const RANGE: &str = "caliber sum out of range";

/// What one of our functions failed for.
pub(super) enum Failed {
    /// A value that its column cannot hold: table, column, what was stored.
    Check(usize, usize, &'static str),
    /// A sum that its type has no room for.
    Range,
}

/// Makes the functions known to `connection`.
pub(super) fn register(connection: &Connection) -> Result<()> {
    let check = |name: &str, fits: fn(ValueRef<'_>) -> bool| {
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        connection.create_scalar_function(name, 3, flags, move |context: &Context<'_>| {
            let value = context.get_raw(0);
            if matches!(value, ValueRef::Null) || fits(value) {
                return Ok(context.get_arg(0));
            }
            let (table, column): (i64, i64) = (context.get(1)?, context.get(2)?);
            let text = format!("{CHECK} {table} {column} {}", storage(value));
            Err(Error::UserFunctionError(text.into()))
        })
    };
    check("caliber_integer", |value| matches!(value, ValueRef::Integer(_)))?;
    check("caliber_text", |value| text(value).is_some())?;
    check("caliber_date", |value| {
        text(value).is_some_and(|text| calendar::days_of_text(text).is_some())
    })?;
    check("caliber_binary", |value| matches!(value, ValueRef::Blob(_)))?;
    untyped(connection)?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_aggregate_function("caliber_sum", 1, flags, Sum)
}

fn text(value: ValueRef<'_>) -> Option<&str> {
    match value {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// A column without a type, as the text it is read as.
fn untyped(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("caliber_untyped", 3, flags, |context: &Context<'_>| {
        let value = context.get_raw(0);
        match value {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number.to_string())),
            ValueRef::Real(number) => Ok(Some(format!("{number:?}"))),
            ValueRef::Text(_) | ValueRef::Blob(_) => match text(value) {
                Some(text) => Ok(Some(text.to_owned())),
                None => {
                    let (table, column): (i64, i64) = (context.get(1)?, context.get(2)?);
                    let text = format!("{CHECK} {table} {column} {}", storage(value));
                    Err(Error::UserFunctionError(text.into()))
                }
            },
        }
    })
}

/// What the text of a driver's error says of our functions, if it is theirs.
pub(super) fn failed(text: &str) -> Option<Failed> {
    if text == RANGE {
        return Some(Failed::Range);
    }
    let mut words = text.strip_prefix(CHECK)?.split_ascii_whitespace();
    let table = words.next()?.parse().ok()?;
    let column = words.next()?.parse().ok()?;
    let stored = words.collect::<Vec<_>>().join(" ");
    let known = [
        ValueRef::Integer(0),
        ValueRef::Real(0.0),
        ValueRef::Text(b""),
        ValueRef::Blob(b""),
    ];
    let stored = known.into_iter().map(storage).find(|known| *known == stored)?;
    Some(Failed::Check(table, column, stored))
}

/// The sum of integers, out of range only where the whole is.
struct Sum;

impl Aggregate<Option<i128>, Option<i64>> for Sum {
    fn init(&self, _: &mut Context<'_>) -> Result<Option<i128>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut Option<i128>) -> Result<()> {
        if let Some(number) = context.get::<Option<i64>>(0)? {
            // No table has the rows that would overflow this.
            *sum = sum.unwrap_or(0).checked_add(i128::from(number));
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Option<i128>>) -> Result<Option<i64>> {
        match sum.flatten() {
            None => Ok(None),
            Some(sum) => i64::try_from(sum)
                .map(Some)
                .map_err(|_| Error::UserFunctionError(RANGE.into())),
        }
    }
}
