//! What somebody expects of a project's policies: who asks what, and what must come back.
//!
//! Owns: the model of an expectation file. Never: asks.

use std::collections::BTreeMap;

use crate::diagnostic::{Code, Place};
use crate::principal::AttributeValue;

/// One expectation.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Its name, unique in its file.
    pub name: String,
    /// Where its name stands.
    pub place: Place,
    /// `as`
    pub asked_by: AskedBy,
    /// `sql`
    pub sql: String,
    /// `params`: the values of `$1`, `$2`…, as text; `None` is NULL.
    pub parameters: Vec<Option<String>>,
    /// `expect`
    pub expected: Expected,
}

/// On whose behalf a statement runs.
#[derive(Clone, Debug)]
pub enum AskedBy {
    /// A user of the project, and where the name stands.
    User(String, Place),
    /// Nobody in particular.
    Principal {
        /// The roles, sorted, each once.
        roles: Vec<String>,
        /// The attributes.
        attributes: BTreeMap<String, AttributeValue>,
    },
}

/// A row's values as `caliber sql` prints them; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// What must come back.
#[derive(Clone, Debug)]
pub enum Expected {
    /// The statement is refused with this code.
    Refused(Code),
    /// It gives what is said here, as far as something is said; something is.
    Answer {
        /// The rows; in any order, unless the statement has one.
        rows: Option<Vec<Row>>,
        /// Their number.
        count: Option<u64>,
        /// The names of the columns.
        columns: Option<Vec<String>>,
        /// The same rows as another statement, by whom it is asked.
        same_as: Option<(AskedBy, String)>,
    },
}
