//! A governed table as part of a source's statement, where policy can be part of it too.
//!
//! Owns: policy as predicates of the statement, columns as policy shows them. Never: a table any part of whose policy the
//! source does not evaluate exactly: that one is read by its own governed scan.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::new_empty_array;
use caliber_connector_spi::{Expr as Remote, Relation};
use datafusion::common::Constraint;
use datafusion::datasource::TableProvider;
use datafusion::logical_expr::{LogicalPlan, TableScan};

use super::estimate;
use super::key_relation::comparable;
use super::raw_read::{all_of, any_of};
use super::remote_plan::{GovernedRead, LateKeys, RemotePlan};
use super::translate::{Why, is_small, table_columns, translate_over_table};
use crate::govern::enforcement::{Admission, Cell, Enforcement, GovernedColumn};
use crate::govern::governed_table::{GovernedTable, Output};

/// `scan` of `table` as a relation of its source.
pub(crate) fn governed_relation(scan: &TableScan, table: &GovernedTable) -> Result<RemotePlan, Why> {
    let enforcement = &table.enforcement;
    if !enforcement.shows_rows() {
        return Err("its rows are open in groups only, or not at all".to_owned());
    }
    let mut late = Vec::new();
    let policy = policy_predicate(enforcement, &mut late)?;
    let capabilities = enforcement.source.connector.capabilities();
    let below = table_columns(&enforcement.table);
    let mut read = GovernedRead {
        enforcement: Arc::clone(enforcement),
        columns: BTreeSet::new(),
    };
    let mut predicates: Vec<Remote> = policy.into_iter().collect();
    for filter in &scan.filters {
        for used in filter.column_refs() {
            let column = enforcement
                .column(&used.name)
                .filter(|column| column.is_clear())
                .ok_or("policy changes a column it filters by")?;
            read.note(column);
        }
        let filter = translate_over_table(filter, &enforcement.table)
            .filter(|remote| is_small(remote) && capabilities.evaluates(remote, &below))
            .ok_or("one of its filters is evaluated here")?;
        predicates.push(filter);
    }
    let outputs = table.outputs();
    let projection = match &scan.projection {
        Some(projection) => projection.clone(),
        None => (0..outputs.len()).collect(),
    };
    let mut columns = Vec::with_capacity(projection.len());
    for at in &projection {
        let output = outputs.get(*at).ok_or("a column of it is not there")?;
        columns.push(shown(&mut read, *output, &below)?);
    }
    let mut estimate = estimate::of_table(&enforcement.table);
    let mut relation = Relation::Scan {
        table: Arc::clone(&enforcement.table),
    };
    if let Some(predicate) = all_of(predicates) {
        estimate.rows = estimate.filtered(&predicate);
        relation = Relation::Filter {
            input: Box::new(relation),
            predicate,
        };
    }
    estimate.distinct = columns
        .iter()
        .map(|column| {
            let known = column.as_column().and_then(|at| estimate.distinct.get(at));
            known.copied().unwrap_or(1.0)
        })
        .collect();
    relation = Relation::Project {
        input: Box::new(relation),
        columns,
    };
    if let Some(rows) = scan.fetch {
        if !capabilities.limit {
            return Err("the source has no LIMIT".to_owned());
        }
        relation = Relation::Limit {
            input: Box::new(relation),
            rows: rows as u64,
        };
        estimate.rows = estimate.rows.min(rows as f64);
    }
    Ok(RemotePlan {
        source: Arc::clone(&enforcement.source),
        relation,
        schema: Arc::clone(&scan.projected_schema),
        reads: vec![read],
        late,
        keys: keys(table, &projection),
        estimate,
        is_plain: true,
        in_parts: false,
        original: LogicalPlan::TableScan(scan.clone()),
    })
}

impl GovernedRead {
    fn note(&mut self, column: &GovernedColumn) {
        let columns = &self.enforcement.columns;
        self.columns
            .extend(columns.iter().position(|known| known.index == column.index));
    }
}

/// One output column over the raw row, where that is the same on every row.
fn shown(
    read: &mut GovernedRead,
    output: Output,
    below: &[caliber_connector_spi::OutputColumn],
) -> Result<Remote, Why> {
    let (Output::Shown(at) | Output::ClearOrNull(at)) = output else {
        return Err("policy decides row by row what it shows of a column".to_owned());
    };
    let column = read.enforcement.columns.get(at).ok_or("a column of it is not there")?;
    let is_hidden = column.cells.iter().all(|cell| match (cell, output) {
        (Cell::Absent, _) | (Cell::Mask(_), Output::ClearOrNull(_)) => true,
        (Cell::Mask(_) | Cell::Clear, _) => false,
    });
    let remote = if column.is_clear() {
        Remote::Column(column.index)
    } else if is_hidden {
        let data_type = below.get(column.index).map(|column| column.data_type.clone());
        Remote::Null(data_type.ok_or("a column of it is not there")?)
    } else {
        return Err("policy masks a column of it".to_owned());
    };
    read.columns.insert(at);
    Ok(remote)
}

/// What a row must satisfy under some policy; `None` where one of them admits every row. Keys stand in as tokens.
fn policy_predicate(enforcement: &Enforcement, late: &mut Vec<LateKeys>) -> Result<Option<Remote>, Why> {
    let capabilities = enforcement.source.connector.capabilities();
    let below = table_columns(&enforcement.table);
    let here = || "a policy of it is evaluated here".to_owned();
    let mut alternatives = Vec::with_capacity(enforcement.policies.len());
    for policy in &enforcement.policies {
        let mut conditions = Vec::with_capacity(policy.admissions.len());
        for admission in &policy.admissions {
            conditions.push(match admission {
                Admission::Predicate(expr) => translate_over_table(expr, &enforcement.table)
                    .filter(|remote| is_small(remote) && capabilities.evaluates(remote, &below))
                    .ok_or_else(here)?,
                Admission::Keys { column, relation } => {
                    let data_type = below.get(*column).map(|column| &column.data_type).ok_or_else(here)?;
                    let key_type = relation.key_type().ok_or_else(here)?;
                    let token = new_empty_array(data_type);
                    let keys = Remote::InKeys {
                        column: *column,
                        keys: Arc::clone(&token),
                    };
                    if !comparable(key_type, data_type) || !capabilities.evaluates(&keys, &below) {
                        return Err(here());
                    }
                    late.push(LateKeys {
                        token,
                        relation: Arc::clone(relation),
                    });
                    keys
                }
            });
        }
        match all_of(conditions) {
            Some(condition) => alternatives.push(condition),
            None => {
                late.clear();
                return Ok(None);
            }
        }
    }
    Ok(any_of(alternatives))
}

/// The keys the source enforces, by position in the projection.
fn keys(table: &GovernedTable, projection: &[usize]) -> Vec<Vec<usize>> {
    let Some(constraints) = table.constraints() else {
        return Vec::new();
    };
    constraints
        .iter()
        .filter_map(|constraint| {
            let (Constraint::PrimaryKey(columns) | Constraint::Unique(columns)) = constraint;
            let places = columns
                .iter()
                .map(|column| projection.iter().position(|at| at == column));
            places.collect()
        })
        .collect()
}
