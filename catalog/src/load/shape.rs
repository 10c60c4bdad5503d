//! How a part of the project format may look: the vocabulary of the format's tables.
//!
//! Owns: shapes as data, which both the reader and the JSON Schema walk. Never: the format itself (`format`).

use crate::source::OptionKind;

/// What a value must look like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// The version of the format: 1.
    Version,
    /// Text that may be shown.
    Text,
    /// Text that is never shown.
    Secret,
    /// An argon2id hash in PHC text form; never shown.
    PasswordHash,
    /// A piece of SQL.
    Sql,
    /// A name usable in SQL without quotes.
    Identifier,
    /// A path, relative to the project folder.
    Path,
    /// A host and a port.
    Address,
    /// `30s`
    Duration,
    /// `256MiB`
    Size,
    /// `2026-12-31`
    Date,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text, or a map of language to text.
    Label,
    /// A value of a principal: one, or a list.
    Attribute,
    /// `source.table`
    Table,
    /// `source.table.column`
    Column,
    /// `*`, `source.*`, `source.table`
    Pattern,
    /// A list.
    List(&'static Shape),
    /// One, or a list.
    OneOrMany(&'static Shape),
    /// Any number of named values.
    Map(Keys, &'static Shape),
    /// The keys of a table.
    Record(&'static Record),
    /// A piece of SQL, or a record whose `expr` it is.
    SqlOr(&'static Record),
    /// One entry of `sources`: a record to which the connector's kind adds its options.
    Source(&'static Record),
    /// The tables of a connector's option: a map of names to maps of text.
    OptionTables,
    /// Of the format, but not of this build.
    Unsupported,
}

/// What the names of a map must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// Any text but none.
    Any,
    /// A name usable in SQL without quotes.
    Identifier,
    /// The name of a source: as an identifier, and not one of Caliber's own schemas.
    Source,
    /// `source.table`
    Table,
    /// `source.table.column`
    Column,
    /// `source.table`, or the name of an entity.
    TableOrEntity,
}

/// The keys one may write at some point.
#[derive(Debug)]
pub(super) struct Record {
    /// What it is, for messages: "a source".
    pub what: &'static str,
    pub fields: &'static [Field],
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// One sentence for the JSON Schema.
    pub description: &'static str,
}

impl Field {
    pub const fn new(name: &'static str, shape: Shape, description: &'static str) -> Self {
        Self {
            name,
            shape,
            required: false,
            description,
        }
    }

    pub const fn required(name: &'static str, shape: Shape, description: &'static str) -> Self {
        Self {
            name,
            shape,
            required: true,
            description,
        }
    }

    /// A key that the format has and this build does not.
    pub const fn later(name: &'static str) -> Self {
        Self {
            name,
            shape: Shape::Unsupported,
            required: false,
            description: "",
        }
    }
}

impl Record {
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// The shape of a connector's option.
pub(super) fn option_shape(kind: OptionKind) -> Shape {
    match kind {
        OptionKind::Text => Shape::Text,
        OptionKind::Secret => Shape::Secret,
        OptionKind::Path => Shape::Path,
        OptionKind::Integer => Shape::Integer(i64::MIN, i64::MAX),
        OptionKind::Bool => Shape::Bool,
        OptionKind::Tables => Shape::OptionTables,
    }
}
