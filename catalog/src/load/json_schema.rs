//! The JSON Schema of the project format, for editors.
//!
//! Owns: the walk over the format's tables and the connectors' options. Never: a key of its own.

use serde_json::{Map, Value, json};

use super::format::{PROJECT, VERSION};
use super::shape::{Field, Keys, Record, Shape, option_shape};
use crate::source::ConnectorKind;

const IDENTIFIER: &str = "^[A-Za-z_][A-Za-z0-9_]{0,63}$";
const TABLE: &str = "^[^.]+\\.[^.]+$";
const COLUMN: &str = "^[^.]+\\.[^.]+\\.[^.]+$";
/// A value that a variable or a file brings in is text until it is resolved.
const REFERENCE: &str = "\\$\\{(env|file):";

/// The JSON Schema (draft 2020-12) of a project's file, with the options of `kinds`.
///
/// What it refuses, `load` refuses too; `load` knows more.
pub fn json_schema(kinds: &[ConnectorKind]) -> String {
    let mut schema = record(&PROJECT, &[], kinds);
    if let Value::Object(object) = &mut schema {
        // A project has its version and name once, in one of its files.
        object.remove("required");
        object.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        object.insert("title".into(), format!("Caliber project, version {VERSION}").into());
    }
    format!("{schema:#}\n")
}

fn record(record: &Record, more: &[Field], kinds: &[ConnectorKind]) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    for field in record
        .fields
        .iter()
        .chain(more)
        .filter(|field| !matches!(field.shape, Shape::Unsupported))
    {
        let mut property = shape(&field.shape, kinds);
        if let Value::Object(object) = &mut property {
            object.insert("description".into(), field.description.into());
        }
        properties.insert(field.name.into(), property);
        if field.required {
            required.push(field.name);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn shape(of: &Shape, kinds: &[ConnectorKind]) -> Value {
    match of {
        Shape::Version => json!({ "const": VERSION }),
        Shape::Text | Shape::Secret | Shape::Sql => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Path | Shape::PasswordHash => json!({ "type": "string", "minLength": 1 }),
        Shape::Identifier => text(IDENTIFIER),
        Shape::Address => text("^.+:[0-9]{1,5}$"),
        Shape::Duration => text("^[0-9]+ *(ms|s|m|min|h|d)$"),
        Shape::Date => text("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
        Shape::Size => text("^[0-9]+ *([KMGT]i|[kKMGT])?B$"),
        Shape::Table => text(TABLE),
        Shape::Column => text(COLUMN),
        Shape::Pattern => text("^(\\*|[^.\\s]+\\.\\S+)$"),
        Shape::Integer(i64::MIN, i64::MAX) => or_reference(json!({ "type": "integer" })),
        Shape::Integer(least, i64::MAX) => or_reference(json!({ "type": "integer", "minimum": least })),
        Shape::Integer(least, most) => or_reference(json!({ "type": "integer", "minimum": least, "maximum": most })),
        Shape::Bool => or_reference(json!({ "type": "boolean" })),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Label => json!({ "anyOf": [{ "type": "string" }, map(Keys::Any, json!({ "type": "string" }))] }),
        Shape::Attribute => {
            let one = json!({ "type": ["string", "number", "boolean", "null"] });
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::List(item) => json!({ "type": "array", "items": shape(item, kinds) }),
        Shape::OneOrMany(item) => {
            let one = shape(item, kinds);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::Map(keys, value) => map(*keys, shape(value, kinds)),
        Shape::Record(fields) => record(fields, &[], kinds),
        Shape::SqlOr(fields) => json!({ "anyOf": [{ "type": "string" }, record(fields, &[], kinds)] }),
        Shape::Source(fields) => source(fields, kinds),
        Shape::OptionTables => json!({ "type": "object", "additionalProperties": { "type": "object" } }),
        Shape::Unsupported => json!(false),
    }
}

fn text(pattern: &str) -> Value {
    json!({ "type": "string", "anyOf": [{ "pattern": pattern }, { "pattern": REFERENCE }] })
}

fn or_reference(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": REFERENCE }] })
}

fn map(keys: Keys, value: Value) -> Value {
    let mut schema = json!({ "type": "object", "additionalProperties": value });
    let pattern = match keys {
        Keys::Any => None,
        Keys::Identifier | Keys::Source => Some(IDENTIFIER.to_string()),
        Keys::Table => Some(TABLE.to_string()),
        Keys::Column => Some(COLUMN.to_string()),
        Keys::TableOrEntity => Some(format!("({IDENTIFIER})|({TABLE})")),
    };
    if let (Some(pattern), Value::Object(object)) = (pattern, &mut schema) {
        object.insert("propertyNames".into(), json!({ "pattern": pattern }));
    }
    schema
}

/// One alternative for each kind of connector, told apart by its word.
fn source(fields: &Record, kinds: &[ConnectorKind]) -> Value {
    let alternatives: Vec<Value> = kinds
        .iter()
        .map(|kind| {
            let options: Vec<Field> = kind
                .options
                .iter()
                .map(|option| Field {
                    name: option.name,
                    shape: option_shape(option.kind),
                    required: option.required,
                    description: option.description,
                })
                .collect();
            let mut schema = record(fields, &options, kinds);
            if let Some(connector) = schema.pointer_mut("/properties/connector") {
                *connector = json!({ "const": kind.kind });
            }
            schema
        })
        .collect();
    json!({ "oneOf": alternatives })
}
