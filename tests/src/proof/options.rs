//! The options of a task: `--name VALUE`.
//!
//! Owns: reading them. Never: what they mean.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};

/// The options given.
#[derive(Debug)]
pub struct Words(BTreeMap<String, String>);

impl Words {
    /// Reads `words`; an option that is not `known` is an error.
    pub fn read(words: &[String], known: &[&str]) -> Result<Self> {
        let mut options = BTreeMap::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            let Some(name) = name else {
                bail!("`{word}` is not an option; known are {}", known.join(", "));
            };
            let value = words.next().with_context(|| format!("`{word}` has no value"))?;
            options.insert(name.to_owned(), value.clone());
        }
        Ok(Self(options))
    }

    /// The number given for `name`, or `otherwise`.
    pub fn number<N: FromStr>(&self, name: &str, otherwise: N) -> Result<N> {
        match self.0.get(name) {
            None => Ok(otherwise),
            Some(text) => text.parse().map_err(|_| anyhow!("`--{name} {text}` is no number")),
        }
    }
}
