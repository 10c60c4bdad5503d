//! Statements that were planned before.
//!
//! Owns: finding them again, for the same principal under the same policies, and how many there are. Never: a result; a
//! statement of one principal for another.

use std::collections::HashMap;
use std::sync::Arc;

use caliber_catalog::standing::Standing;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::plan_template::PlanTemplate;
use crate::plan::Planned;

/// More statements than this are not kept: the one longest unused goes.
const STATEMENTS_MAX: usize = 256;
/// A longer statement is not kept.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The statements kept by one engine, which serves one snapshot.
#[derive(Debug, Default)]
pub(crate) struct PlanCache {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    all: HashMap<Key, Entry>,
    uses: u64,
}

/// Who asks what, with names looked up where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    principal: String,
    schema: String,
    sql: String,
}

#[derive(Debug)]
struct Entry {
    /// Under which policies it was planned: roles, attributes, the day, what each policy said.
    standing: Standing,
    kept: Arc<KeptStatement>,
    used: u64,
}

/// A planned statement, and its plan once it ran.
#[derive(Debug)]
pub(crate) struct KeptStatement {
    /// What it takes, gives and reads.
    pub planned: Planned,
    /// Its plan; `None` where it cannot be kept.
    pub template: OnceCell<Option<PlanTemplate>>,
}

impl PlanCache {
    /// The statement `sql`, if it was planned under just this standing.
    pub fn find(&self, standing: &Standing, schema: &str, sql: &str) -> Option<Arc<KeptStatement>> {
        let key = key(standing, schema, sql);
        let mut entries = self.entries.lock();
        entries.uses += 1;
        let now = entries.uses;
        let entry = entries.all.get_mut(&key).filter(|entry| entry.standing == *standing)?;
        entry.used = now;
        Some(Arc::clone(&entry.kept))
    }

    /// Keeps a statement for its next run.
    pub fn keep(&self, standing: &Standing, schema: &str, sql: &str, kept: &Arc<KeptStatement>) {
        if sql.len() > TEXT_BYTES_MAX {
            return;
        }
        let mut entries = self.entries.lock();
        entries.uses += 1;
        let entry = Entry {
            standing: standing.clone(),
            kept: Arc::clone(kept),
            used: entries.uses,
        };
        entries.all.insert(key(standing, schema, sql), entry);
        if entries.all.len() > STATEMENTS_MAX {
            let oldest = entries.all.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                entries.all.remove(&oldest);
            }
        }
    }
}

fn key(standing: &Standing, schema: &str, sql: &str) -> Key {
    Key {
        principal: standing.principal().name.clone(),
        schema: schema.to_owned(),
        sql: sql.to_owned(),
    }
}
