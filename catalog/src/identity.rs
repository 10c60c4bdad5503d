//! The identity of an entity as the project writes it.
//!
//! Owns: the model of `entities.NAME.identity`. Never: links a record (`engine/identity`), reads a source.

use std::path::PathBuf;

use crate::diagnostic::Place;
use crate::name::TableName;

/// `identity`: how records of several tables are found to be one of the entity.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `role`: as whom the tables are read.
    pub role: String,
    /// `file`: the crosswalk.
    pub file: PathBuf,
    /// `sources`, in the order written.
    pub sources: Vec<IdentitySource>,
    /// `fields`, in the order written.
    pub fields: Vec<IdentityField>,
    /// `exact`: names of rules and their fields by position, the strongest first.
    pub exact: Vec<(String, Vec<usize>)>,
    /// `blocking`
    pub blocking: Vec<Vec<BlockingPart>>,
    /// `match`, in percent.
    pub match_percent: u8,
    /// `review`, in percent.
    pub review_percent: u8,
    /// Where it stands.
    pub place: Place,
}

/// `identity.sources.TABLE`
#[derive(Clone, Debug)]
pub struct IdentitySource {
    /// The table.
    pub table: TableName,
    /// `key`: the column that names a record.
    pub key: String,
    /// `unique`: whether it has each instance of the entity once.
    pub unique: bool,
    /// `fields`: by field, the column; `None` where the table has none.
    pub columns: Vec<Option<String>>,
}

/// `identity.fields.NAME`
#[derive(Clone, Debug)]
pub struct IdentityField {
    /// Its name.
    pub name: String,
    /// `normalise`: words of [`NORMALISERS`], in order.
    pub normalise: Vec<String>,
    /// `compare`: a word of [`COMPARISONS`].
    pub compare: Option<String>,
    /// `frequency`: whether agreement on a rare value counts for more.
    pub frequency: bool,
    /// `formats` of `date`.
    pub formats: Vec<String>,
    /// `country` of `phone`: its calling code.
    pub country: String,
}

/// A part of a blocking key: `NAME`, `first(NAME, N)`, `last(NAME, N)`, `soundex(NAME)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockingPart {
    /// The whole value of a field, by position.
    Whole(usize),
    /// Its first characters.
    First(usize, usize),
    /// Its last characters.
    Last(usize, usize),
    /// Its Soundex code.
    Soundex(usize),
}

/// The words of `normalise`.
pub const NORMALISERS: &[&str] = &[
    "trim", "case", "fold", "words", "digits", "number", "date", "phone", "email", "company", "pinyin",
];
/// The words of `compare`.
pub const COMPARISONS: &[&str] = &["equal", "text", "code", "date"];
