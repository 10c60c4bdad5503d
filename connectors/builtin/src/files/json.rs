//! The columns of a file of JSON objects, one a line.
//!
//! Owns: the type of each key. Never: a number that does not fit its column; nested values, which are left out.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema;

use super::contents::Contents;
use super::describe::{Why, declared_type, unfit};
use super::options::TableSpec;
use super::spelling::Spelling;

/// The columns: text is text, truth values are such, and numbers the narrowest type that holds them all exactly. What is
/// nested keeps the type that says so.
pub(super) fn schema(spec: &TableSpec, contents: &Contents) -> Result<Schema, Why> {
    let shape = |_: ArrowError| Why::from("a file is not of JSON objects, one a line, each key of one type");
    let (found, _) = infer_json_schema(contents.read(), None).map_err(shape)?;
    let is_number = |field: &Field| matches!(field.data_type(), DataType::Int64 | DataType::Float64);
    // Strings and truth values: a reader of exactly these types finds no other value in them.
    let strict: Vec<Field> = found
        .fields()
        .iter()
        .filter(|field| matches!(field.data_type(), DataType::Utf8 | DataType::Boolean))
        .map(|field| field.as_ref().clone())
        .collect();
    let texts = columns(contents, &strict, false, spec)?;
    // Numbers as they are written.
    let written: Vec<Field> = found
        .fields()
        .iter()
        .filter(|field| is_number(field))
        .map(|field| Field::new(field.name(), DataType::Utf8, true))
        .collect();
    let numbers = columns(contents, &written, true, spec)?;
    let typed = found.fields().iter().map(|field| {
        let seen = texts.iter().chain(&numbers).find(|(name, _)| name == field.name());
        let data_type = match (field.data_type(), seen) {
            (_, None) => field.data_type().clone(),
            (DataType::Boolean, _) => match declared_type(spec, field.name()) {
                None | Some(DataType::Boolean) => DataType::Boolean,
                Some(_) => return Err(unfit(field.name())),
            },
            (DataType::Utf8, Some((_, spelling))) => match declared_type(spec, field.name()) {
                None => DataType::Utf8,
                Some(_) => spelling.data_type().ok_or_else(|| unfit(field.name()))?,
            },
            (_, Some((_, spelling))) => match spelling.data_type().ok_or_else(|| unfit(field.name()))? {
                // A number as JSON may write it, 1e3, is a double.
                DataType::Utf8 if declared_type(spec, field.name()).is_none() => DataType::Float64,
                DataType::Utf8 => return Err(unfit(field.name())),
                data_type => data_type,
            },
        };
        Ok(Field::new(field.name(), data_type, true))
    });
    Ok(Schema::new(typed.collect::<Result<Vec<_>, Why>>()?))
}

/// What each of these columns is spelt as.
fn columns(
    contents: &Contents,
    fields: &[Field],
    as_written: bool,
    spec: &TableSpec,
) -> Result<Vec<(String, Spelling)>, Why> {
    let shape = |_: ArrowError| Why::from("a column holds strings in one line and other values in another");
    let mut found: Vec<(String, Spelling)> = fields
        .iter()
        .map(|field| {
            let declared = declared_type(spec, field.name());
            (field.name().clone(), Spelling::new(declared))
        })
        .collect();
    if fields.is_empty() {
        return Ok(found);
    }
    let rows = ReaderBuilder::new(Arc::new(Schema::new(fields.to_vec())))
        .with_coerce_primitive(as_written)
        .build(contents.read())
        .map_err(shape)?;
    for batch in rows {
        let batch = batch.map_err(shape)?;
        for (column, (_, spelling)) in batch.columns().iter().zip(&mut found) {
            if let Some(text) = column.as_string_opt::<i32>() {
                text.iter().flatten().for_each(|text| spelling.take(text));
            }
        }
    }
    Ok(found)
}
