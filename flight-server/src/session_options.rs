//! The session actions: SetSessionOptions, GetSessionOptions, CloseSession.
//!
//! Owns: their messages (Flight.proto; arrow-flight has none) and the options `catalog` and `schema`. Never: what exists.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use tonic::Status;

use crate::state::Caller;
use crate::status;

/// Names without a schema are looked up here unless a client chooses otherwise.
const DEFAULT_SCHEMA: &str = "unified";

/// `SessionOptionValue`
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionOptionValue {
    /// Absent: the option goes back to its default.
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    pub value: Option<OptionValue>,
}

/// `SessionOptionValue.option_value`
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OptionValue {
    /// `string_value`
    #[prost(string, tag = "1")]
    Text(String),
    /// `bool_value`
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// `int64_value`
    #[prost(sfixed64, tag = "3")]
    Int(i64),
    /// `double_value`
    #[prost(double, tag = "4")]
    Double(f64),
    /// `string_list_value`
    #[prost(message, tag = "5")]
    Texts(StringListValue),
}

/// `SessionOptionValue.StringListValue`
#[derive(Clone, PartialEq, prost::Message)]
pub struct StringListValue {
    /// `values`
    #[prost(string, repeated, tag = "1")]
    pub values: Vec<String>,
}

/// `SetSessionOptionsRequest` and `GetSessionOptionsResult`, which have one shape.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SessionOptions {
    /// `session_options`
    #[prost(map = "string, message", tag = "1")]
    pub session_options: HashMap<String, SessionOptionValue>,
}

/// `SetSessionOptionsResult`
#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSessionOptionsResult {
    /// By option, why it was not set.
    #[prost(map = "string, message", tag = "1")]
    pub errors: HashMap<String, OptionError>,
}

/// `SetSessionOptionsResult.Error`
#[derive(Clone, PartialEq, prost::Message)]
pub struct OptionError {
    /// `ErrorValue`
    #[prost(enumeration = "OptionErrorValue", tag = "1")]
    pub value: i32,
}

/// `SetSessionOptionsResult.ErrorValue`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum OptionErrorValue {
    /// Never sent.
    Unspecified = 0,
    /// There is no such option.
    InvalidName = 1,
    /// There is no such value for it.
    InvalidValue = 2,
    /// It could not be set.
    Error = 3,
}

/// `CloseSessionResult`
#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseSessionResult {
    /// `Status`: 1 is closed, 3 not closeable.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// Sets `catalog` and `schema`; what cannot be set is named in the result.
pub fn set(caller: &Caller, body: &[u8]) -> Result<Bytes, Status> {
    let request =
        SessionOptions::decode(body).map_err(|_| status::malformed("the session options cannot be decoded"))?;
    let mut errors = HashMap::new();
    for (name, value) in request.session_options {
        if let Err(error) = set_one(caller, &name, value.value) {
            errors.insert(name, OptionError { value: error.into() });
        }
    }
    Ok(SetSessionOptionsResult { errors }.encode_to_vec().into())
}

/// The options as they stand.
pub fn get(caller: &Caller) -> Bytes {
    let schema = caller
        .client
        .default_schema
        .lock()
        .clone()
        .unwrap_or_else(|| DEFAULT_SCHEMA.to_owned());
    let text = |text: String| SessionOptionValue {
        value: Some(OptionValue::Text(text)),
    };
    let options = [
        ("catalog".to_owned(), text(caller.session.listing().catalog)),
        ("schema".to_owned(), text(schema)),
    ];
    SessionOptions {
        session_options: options.into(),
    }
    .encode_to_vec()
    .into()
}

/// The answer to CloseSession.
pub fn closed(was_open: bool) -> Bytes {
    CloseSessionResult {
        status: if was_open { 1 } else { 3 },
    }
    .encode_to_vec()
    .into()
}

fn set_one(caller: &Caller, name: &str, value: Option<OptionValue>) -> Result<(), OptionErrorValue> {
    let value = match value {
        None => None,
        Some(OptionValue::Text(text)) => Some(text),
        Some(_) => return Err(OptionErrorValue::InvalidValue),
    };
    match (name, value) {
        ("catalog", None) => Ok(()),
        ("catalog", Some(catalog)) if catalog == caller.session.listing().catalog => Ok(()),
        ("schema", None) => {
            *caller.client.default_schema.lock() = None;
            Ok(())
        }
        ("schema", Some(schema)) if schema_exists(caller, &schema) => {
            *caller.client.default_schema.lock() = Some(schema);
            Ok(())
        }
        ("catalog" | "schema", Some(_)) => Err(OptionErrorValue::InvalidValue),
        _ => Err(OptionErrorValue::InvalidName),
    }
}

fn schema_exists(caller: &Caller, schema: &str) -> bool {
    schema == DEFAULT_SCHEMA
        || caller
            .session
            .listing()
            .tables
            .iter()
            .any(|table| table.name.schema == schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as another implementation writes them: field 1, map entry {1: "schema", 2: {1: "credit"}}.
    #[test]
    fn messages_have_the_protocols_bytes() {
        let value = SessionOptionValue {
            value: Some(OptionValue::Text("credit".into())),
        };
        let options = SessionOptions {
            session_options: HashMap::from([("schema".to_owned(), value)]),
        };
        let expected = b"\x0a\x12\x0a\x06schema\x12\x08\x0a\x06credit";
        assert_eq!(options.encode_to_vec(), expected);
        assert_eq!(SessionOptions::decode(&expected[..]).unwrap(), options);
        assert_eq!(&closed(true)[..], b"\x08\x01");
        assert_eq!(&closed(false)[..], b"\x08\x03");
        let errors = HashMap::from([(
            "x".to_owned(),
            OptionError {
                value: OptionErrorValue::InvalidName.into(),
            },
        )]);
        assert_eq!(
            SetSessionOptionsResult { errors }.encode_to_vec(),
            b"\x0a\x07\x0a\x01x\x12\x02\x08\x01"
        );
    }
}
