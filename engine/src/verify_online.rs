//! Asks the sources whether what a project declares holds: keys are unique, references lead to keys that are, one row of a
//! bridge says who the primary holder is.
//!
//! Owns: the checks of `caliber check --online`. Never: keeps a value, or names one in a finding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{filter_record_batch, is_not_null};
use arrow::row::{RowConverter, SortField};
use caliber_catalog::diagnostic::{Code, Diagnostic, Place};
use caliber_catalog::grant::KeyStep;
use caliber_catalog::name::TableName;
use caliber_catalog::project::{Entity, Holding, HoldingRule};

use datafusion::common::DFSchema;
use futures::TryStreamExt;

use crate::EngineError;
use crate::absorb::raw_read::RawRead;
use crate::engine::Engine;
use crate::govern::enforcement::raw_schema;
use crate::govern::policy_expr::parse;
use crate::metrics::metric_sql::OverTable;
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
            match self.is_unique(&table, &columns, None).await {
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
        for entity in project.entities.values() {
            for holding in &entity.holdings {
                findings.extend(self.several_primary(entity, holding).await);
            }
        }
        findings
    }

    /// A finding where a holding has more than one primary holder of something.
    async fn several_primary(&self, entity: &Entity, holding: &Holding) -> Option<Diagnostic> {
        let path = self.snapshot.catalog.way_to_entity(&entity.name, &holding.table);
        let path = path.ok().flatten()?;
        let (at, rule) = path.held?;
        let step = path.steps.get(at).filter(|_| rule == HoldingRule::PrimaryHolder)?;
        let columns = std::slice::from_ref(&step.key);
        let finding = match self.is_unique(&step.table, columns, Some(step)).await {
            Ok(true) => return None,
            Ok(false) => Diagnostic::error(
                Code::PRJ015,
                format!("`{}` names several primary holders of one `{}`", step.table, step.key),
            )
            .help(
                "say with `where` which row counts, or what becomes of several: `rule: equal_share` or `full_to_each`",
            ),
            Err(error) => Diagnostic::error(
                Code::PRJ015,
                format!(
                    "the primary holders of `{}` could not be verified: {}",
                    holding.table, error.message
                ),
            ),
        };
        Some(finding.at(holding.bridge_place.clone()))
    }

    /// Whether each row has a value of its own in `columns`. Of `holders` only the rows that count must, and have one at all.
    async fn is_unique(
        &self,
        table: &TableName,
        columns: &[String],
        holders: Option<&KeyStep>,
    ) -> Result<bool, EngineError> {
        let (source, remote) = self.snapshot.table(table)?;
        let enforced = |key: &Vec<String>| key.as_slice() == columns;
        if enforced(&remote.primary_key) || remote.unique_keys.iter().any(enforced) {
            return Ok(true);
        }
        let mut needed: BTreeSet<String> = columns.iter().cloned().collect();
        let condition = match holders.and_then(|step| step.condition.as_ref()) {
            Some(sql) => {
                let raw = raw_schema(&remote)?;
                let over = OverTable {
                    snapshot: &self.snapshot,
                    state: &self.state,
                    table,
                    schema: &raw,
                };
                Some(over.expression(sql, parse(sql)?, &mut needed)?)
            }
            None => None,
        };
        let indices: Option<Vec<usize>> = needed
            .iter()
            .map(|name| remote.columns.iter().position(|column| column.name == *name))
            .collect();
        let Some(mut indices) = indices else {
            return Err(EngineError::new(Code::PRJ015, "a column of it does not exist"));
        };
        indices.sort_unstable();
        let read_columns: Vec<_> = indices.iter().filter_map(|at| remote.columns.get(*at)).collect();
        let is_key = |name: &String| columns.contains(name);
        let keys: Vec<usize> = (0..read_columns.len())
            .filter(|at| read_columns.get(*at).is_some_and(|column| is_key(&column.name)))
            .collect();
        let fields = keys
            .iter()
            .filter_map(|at| read_columns.get(*at))
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
        while let Some(mut batch) = stream.try_next().await? {
            if let Some(condition) = &condition {
                let schema = DFSchema::try_from(batch.schema().as_ref().clone())?;
                let condition = self.state.create_physical_expr(condition.clone(), &schema)?;
                let kept = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
                batch = filter_record_batch(&batch, kept.as_boolean()).map_err(internal)?;
            }
            if holders.is_some() {
                for at in &keys {
                    let valued = is_not_null(batch.column(*at)).map_err(internal)?;
                    batch = filter_record_batch(&batch, &valued).map_err(internal)?;
                }
            }
            let arrays: Vec<ArrayRef> = keys.iter().map(|at| Arc::clone(batch.column(*at))).collect();
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
