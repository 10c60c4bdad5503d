//! The records of a build, normalised, each distinct value once.
//!
//! Owns: the columns and their dictionaries. Never: keeps a value as the source wrote it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::normalise::normalise;
use crate::{Config, Error, Result};

/// At most so many records in one build: positions are 32 bits wide, one word of them is kept free.
pub const MAX_RECORDS: usize = 1 << 31;

/// One field of every record: codes into the distinct values; code 0 is a missing value.
#[derive(Debug, Default)]
pub struct Column {
    codes: Vec<u32>,
    values: Vec<Arc<str>>,
    counts: Vec<u32>,
    index: HashMap<Arc<str>, u32>,
    present: u64,
    unreadable: u64,
}

impl Column {
    fn push(&mut self, value: Option<String>, given: bool) {
        if self.values.is_empty() {
            self.values.push(Arc::from(""));
            self.counts.push(0);
        }
        let Some(value) = value else {
            self.unreadable += u64::from(given);
            self.counts[0] += 1;
            self.codes.push(0);
            return;
        };
        self.present += 1;
        let code = match self.index.get(value.as_str()) {
            Some(code) => *code,
            None => {
                let code = self.values.len() as u32;
                let value: Arc<str> = Arc::from(value);
                self.values.push(Arc::clone(&value));
                self.counts.push(0);
                self.index.insert(value, code);
                code
            }
        };
        self.counts[code as usize] += 1;
        self.codes.push(code);
    }

    /// The code of a record's value; 0 is missing.
    pub fn code(&self, record: u32) -> u32 {
        self.codes[record as usize]
    }

    /// The value of a code.
    pub fn value(&self, code: u32) -> &str {
        &self.values[code as usize]
    }

    /// Every distinct value by code; the first stands for a missing one.
    pub fn values(&self) -> &[Arc<str>] {
        &self.values
    }

    /// The part of present values that a code has.
    pub fn frequency(&self, code: u32) -> f64 {
        f64::from(self.counts[code as usize]) / self.present.max(1) as f64
    }
}

/// The records of a build.
#[derive(Debug)]
pub struct Records {
    pub(crate) columns: Vec<Column>,
    keys: Vec<Box<str>>,
    sources: Vec<u8>,
}

impl Records {
    /// None yet.
    pub fn new(config: &Config) -> Self {
        Self {
            columns: config.fields.iter().map(|_| Column::default()).collect(),
            keys: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Adds a record: its source by position, its key there, and its raw values in the order of the fields.
    pub fn push(&mut self, config: &Config, source: usize, key: &str, values: &[Option<&str>]) -> Result<u32> {
        if source >= config.sources.len() || values.len() != config.fields.len() {
            return Err(Error::Config(
                "a record has another source or other fields than declared".to_owned(),
            ));
        }
        if self.keys.len() >= MAX_RECORDS {
            return Err(Error::Limit {
                what: "records",
                limit: MAX_RECORDS as u64,
                advice: "link fewer sources at a time",
            });
        }
        for ((column, field), value) in self.columns.iter_mut().zip(&config.fields).zip(values) {
            let normal = value.and_then(|value| normalise(&field.normalise, value));
            column.push(normal, value.is_some_and(|value| !value.is_empty()));
        }
        self.keys.push(Box::from(key));
        self.sources.push(source as u8);
        Ok(self.keys.len() as u32 - 1)
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key of a record in its source.
    pub fn key(&self, record: u32) -> &str {
        &self.keys[record as usize]
    }

    /// The position of a record's source.
    pub fn source(&self, record: u32) -> usize {
        usize::from(self.sources[record as usize])
    }

    /// For each field, the values that a normaliser could not read.
    pub fn unreadable(&self) -> Vec<u64> {
        self.columns.iter().map(|column| column.unreadable).collect()
    }

    /// Frees what only adding needs.
    pub(crate) fn finish(&mut self) {
        for column in &mut self.columns {
            column.index = HashMap::new();
            column.codes.shrink_to_fit();
            column.values.shrink_to_fit();
        }
    }
}
