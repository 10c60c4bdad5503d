//! Who asks.
//!
//! Owns: a principal's name, roles and attributes. Never: how it logged in, what it may see.

use std::collections::BTreeMap;

/// The one on whose behalf a statement runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// The user's name.
    pub name: String,
    /// The roles, sorted, each once.
    pub roles: Vec<String>,
    /// Values that policies compare with: `principal.district_id`.
    pub attributes: BTreeMap<String, AttributeValue>,
}

/// The value of a principal's attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// Present but NULL: closes every policy that uses it.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// Several values, for `IN`.
    List(Vec<AttributeValue>),
}
