//! Asks the sources whether what a project declares holds: keys are unique, references lead to keys that are.
//!
//! Owns: the checks of `caliber check --online`. Never: keeps a value, or names one in a finding.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef};
use arrow::row::{RowConverter, SortField};
use caliber_catalog::diagnostic::{Code, Diagnostic, Place};
use caliber_catalog::name::TableName;
use futures::TryStreamExt;

use crate::EngineError;
use crate::absorb::raw_read::RawRead;
use crate::engine::Engine;
use crate::run::query_run::QueryRun;

/// More keys than this are not held in memory; the check says so instead of passing.
const KEYS_MAX: usize = 20_000_000;

impl Engine {
    /// Every declared key and reference that does not hold at its source, and every one that could not be checked.
    /// Reads each key's columns once.
    pub async fn verify_online(&self) -> Vec<Diagnostic> {
        let mut keys: BTreeMap<(TableName, Vec<String>), Place> = BTreeMap::new();
        let project = &self.snapshot.catalog.project;
        for (name, meaning) in &project.tables {
            if !meaning.key.is_empty() {
                keys.insert((name.clone(), meaning.key.clone()), meaning.place.clone());
            }
            for reference in meaning.references.values() {
                let target = (reference.target.table.clone(), vec![reference.target.column.clone()]);
                keys.entry(target).or_insert_with(|| reference.place.clone());
            }
        }
        for entity in project.entities.values() {
            keys.entry((entity.table.clone(), vec![entity.key.clone()]))
                .or_insert_with(|| entity.place.clone());
        }
        let mut findings = Vec::new();
        for ((table, columns), place) in keys {
            match self.is_unique(&table, &columns).await {
                Ok(true) => {}
                Ok(false) => findings.push(
                    Diagnostic::error(
                        Code::PRJ015,
                        format!("`{table}` ({}) is not unique", columns.join(", ")),
                    )
                    .at(place)
                    .help("several rows have the same key, or a row has none; declare the columns that identify a row"),
                ),
                Err(error) => {
                    let text = format!(
                        "`{table}` ({}) could not be verified: {}",
                        columns.join(", "),
                        error.message
                    );
                    findings.push(Diagnostic::error(Code::PRJ015, text).at(place));
                }
            }
        }
        findings
    }

    async fn is_unique(&self, table: &TableName, columns: &[String]) -> Result<bool, EngineError> {
        let (source, remote) = self.snapshot.table(table)?;
        let enforced = |key: &Vec<String>| key.as_slice() == columns;
        if enforced(&remote.primary_key) || remote.unique_keys.iter().any(enforced) {
            return Ok(true);
        }
        let indices: Option<Vec<usize>> = columns
            .iter()
            .map(|name| remote.columns.iter().position(|column| column.name == *name))
            .collect();
        let Some(mut indices) = indices else {
            return Err(EngineError::new(Code::PRJ015, "a column of it does not exist"));
        };
        indices.sort_unstable();
        let fields = indices
            .iter()
            .filter_map(|at| remote.columns.get(*at))
            .map(|column| SortField::new(column.data_type.clone()))
            .collect();
        let internal = |error: arrow::error::ArrowError| EngineError::internal("keys could not be compared", &error);
        let converter = RowConverter::new(fields).map_err(internal)?;
        let timeout = source.statement_timeout;
        let deadline = Instant::now() + timeout;
        let run = QueryRun::new(
            "check".to_owned(),
            deadline,
            true,
            8_192,
            64 << 20,
            vec![table.schema.clone()],
        );
        let read = RawRead {
            source,
            table: Arc::clone(&remote),
            columns: indices,
            predicate: None,
            limit: None,
        };
        let mut stream = read.open(&run).await?;
        let mut seen = std::collections::HashSet::new();
        while let Some(batch) = stream.try_next().await? {
            let arrays: Vec<ArrayRef> = batch.columns().to_vec();
            if arrays.iter().any(|array| array.null_count() > 0) {
                return Ok(false);
            }
            for row in &converter.convert_columns(&arrays).map_err(internal)? {
                if !seen.insert(row.owned()) {
                    return Ok(false);
                }
            }
            if seen.len() > KEYS_MAX {
                return Err(EngineError::new(
                    Code::PRJ015,
                    format!("it has more than {KEYS_MAX} rows"),
                ));
            }
        }
        Ok(true)
    }
}
