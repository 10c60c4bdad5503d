//! How many rows, cells and entities a change opens and closes, counted over the source's raw rows.
//!
//! Owns: one read of the table under the engine's own authority, both sides' policies evaluated on each row. Never:
//! gives a value out; the counts are for whoever holds the project's files.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{and, and_not, or};
use arrow::datatypes::Schema;
use caliber_catalog::diagnostic::Code;
use caliber_catalog::name::TableName;
use datafusion::logical_expr::Expr;
use futures::TryStreamExt;
use serde::Serialize;

use super::owners::Owners;
use crate::EngineError;
use crate::absorb::key_relation::filtered;
use crate::absorb::raw_read::RawRead;
use crate::govern::enforcement::{Cell, Enforcement, GovernedColumn};
use crate::govern::governed_rows::{Choice, GovernedRows, choose};
use crate::govern::governed_scan::GovernedScanExec;
use crate::govern::source_ask::SourceAsk;
use crate::run::query_run::QueryRun;
use crate::session::Session;

/// What a change makes of the rows of one table for one principal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowCounts {
    /// Rows of the table, seen or not.
    pub rows: u64,
    /// Rows visible before.
    pub before: u64,
    /// Rows visible after.
    pub after: u64,
    /// Rows visible after and not before.
    pub opened: u64,
    /// Rows visible before and not after.
    pub closed: u64,
    /// The columns whose cells change on rows visible before and after, in the source's order.
    pub cells: Vec<CellCounts>,
    /// By entity that rows of the table belong to, the instances whose rows are among those opened.
    pub entities: Vec<EntityCount>,
}

/// What changes in the cells of one column, on rows visible before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CellCounts {
    /// The column.
    pub column: String,
    /// Clear after and not before.
    pub opened: u64,
    /// Clear before and not after.
    pub closed: u64,
    /// Not clear on either side, and shown by another mask than before, which is not NULL.
    pub masked_otherwise: u64,
}

/// How many instances of an entity own rows that are opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntityCount {
    /// The entity.
    pub entity: String,
    /// Distinct instances with at least one opened row.
    pub opened: u64,
}

/// Reads `table` once and counts for each pair of sessions (before, after) what the second sees and the first does not.
///
/// A side that is `None` sees nothing. `progress` is told the rows read so far. Errors: LIM004 past the project's
/// `query_timeout`, LIM002 past its `query_memory`, those of the sources and of a policy that cannot be evaluated.
pub async fn count_rows(
    table: &TableName,
    pairs: &[(Option<Session>, Option<Session>)],
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Vec<RowCounts>, EngineError> {
    let Some(session) = pairs
        .iter()
        .find_map(|(before, after)| after.as_ref().or(before.as_ref()))
    else {
        return Ok(Vec::new());
    };
    let (source, remote) = session.engine.snapshot.table(table)?;
    let run = run_for(session)?;
    let mut counting = pairs
        .iter()
        .map(|(before, after)| Pair::new(table, before.as_ref(), after.as_ref()))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let mut columns: Vec<usize> = counting.iter().flat_map(Pair::columns).collect();
    columns.sort_unstable();
    columns.dedup();
    for pair in &mut counting {
        pair.ready(&columns, &run).await?;
    }
    let read = RawRead {
        source,
        table: Arc::clone(&remote),
        columns,
        predicate: None,
        limit: None,
    };
    let mut stream = read.open(&run).await?;
    let mut rows = 0_u64;
    while let Some(batch) = stream.try_next().await? {
        rows += batch.num_rows() as u64;
        for pair in &mut counting {
            pair.add(&batch, run.buffer_bytes)?;
        }
        if Instant::now() > run.deadline {
            let error = EngineError::new(Code::LIM004, format!("`{table}` was not counted before its deadline"));
            return Err(error.help("raise `server.limits.query_timeout`, or leave the counts out"));
        }
        progress(rows);
    }
    let mut all = Vec::with_capacity(counting.len());
    for pair in counting {
        all.push(pair.finish(rows, &run).await?);
    }
    Ok(all)
}

/// A run under the engine's own authority, within the bounds of a statement.
fn run_for(session: &Session) -> Result<QueryRun, EngineError> {
    let catalog = &session.engine.snapshot.catalog;
    let limits = &catalog.project.server.limits;
    Ok(QueryRun::new(
        crate::session::query_id()?,
        Instant::now() + limits.query_timeout,
        session.engine.options.pushdown,
        session.engine.options.batch_rows.max(1),
        usize::try_from(limits.query_memory_bytes).unwrap_or(usize::MAX),
        catalog.project.sources.keys().cloned().collect(),
    ))
}

/// One principal's two sides, and what was counted so far.
struct Pair {
    before: Option<Side>,
    after: Option<Side>,
    owners: Vec<Owners>,
    /// Columns that exist after and are not simply clear on both sides: the cells to compare.
    compared: Vec<Compared>,
    counts: RowCounts,
}

/// One column whose cells may differ.
struct Compared {
    name: String,
    /// `None` where it did not exist.
    before: Option<GovernedColumn>,
    after: GovernedColumn,
}

/// What one side sees of the table.
struct Side {
    enforcement: Arc<Enforcement>,
    rows: Option<GovernedRows>,
}

impl Pair {
    fn new(table: &TableName, before: Option<&Session>, after: Option<&Session>) -> Result<Self, EngineError> {
        let owners = match after {
            Some(after) => Owners::of(after, table)?,
            None => Vec::new(),
        };
        let (before, after) = (Side::of(before, table)?, Side::of(after, table)?);
        // Rows that only stood behind numbers were never shown: as rows they are all new.
        let rows_now = after.as_ref().is_some_and(|after| after.enforcement.shows_rows());
        let before = before.filter(|before| before.enforcement.groups.is_empty() || !rows_now);
        let compared = match (&before, &after) {
            (Some(before), Some(after)) => compared(&before.enforcement, &after.enforcement),
            _ => Vec::new(),
        };
        let cells = compared.iter().map(|column| CellCounts {
            column: column.name.clone(),
            ..CellCounts::default()
        });
        let counts = RowCounts {
            cells: cells.collect(),
            ..RowCounts::default()
        };
        Ok(Self {
            before,
            after,
            owners,
            compared,
            counts,
        })
    }

    /// The raw columns that policies and owners need.
    fn columns(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = self.owners.iter().map(|owners| owners.column).collect();
        for side in [&self.before, &self.after].into_iter().flatten() {
            columns.extend(side.scan().map(|scan| scan.ask(false).columns).unwrap_or_default());
        }
        columns
    }

    async fn ready(&mut self, columns: &[usize], run: &QueryRun) -> Result<(), EngineError> {
        for side in [&mut self.before, &mut self.after].into_iter().flatten() {
            side.ready(columns, run).await?;
        }
        Ok(())
    }

    fn add(&mut self, batch: &RecordBatch, memory: usize) -> Result<(), EngineError> {
        let none = || BooleanArray::from(vec![false; batch.num_rows()]);
        let before = Side::admits(self.before.as_ref(), batch)?;
        let after = Side::admits(self.after.as_ref(), batch)?;
        let seen_before = any(&before, none())?;
        let seen_after = any(&after, none())?;
        let opened = and_not(&seen_after, &seen_before).map_err(internal)?;
        let both = and(&seen_after, &seen_before).map_err(internal)?;
        self.counts.before += seen_before.true_count() as u64;
        self.counts.after += seen_after.true_count() as u64;
        self.counts.opened += opened.true_count() as u64;
        self.counts.closed += (seen_before.true_count() - both.true_count()) as u64;
        for (column, cells) in self.compared.iter().zip(&mut self.counts.cells) {
            let rows = batch.num_rows();
            let was = column.before.as_ref().map(|old| choose(old, &before, rows, false));
            let was = was.unwrap_or_else(|| vec![Choice::Null; rows]);
            let is = choose(&column.after, &after, rows, false);
            for (row, (was, is)) in was.into_iter().zip(is).enumerate() {
                if both.value(row) {
                    cells.count(was, is, column);
                }
            }
        }
        if opened.true_count() > 0 && !self.owners.is_empty() {
            let opened = filtered(batch, &opened)?;
            for owners in &mut self.owners {
                owners.add(&opened, memory)?;
            }
        }
        Ok(())
    }

    async fn finish(mut self, rows: u64, run: &QueryRun) -> Result<RowCounts, EngineError> {
        self.counts.rows = rows;
        for owners in self.owners {
            let entity = owners.entity.clone();
            let opened = owners.count(run).await?;
            self.counts.entities.push(EntityCount { entity, opened });
        }
        self.counts
            .cells
            .retain(|cells| cells.opened + cells.closed + cells.masked_otherwise > 0);
        Ok(self.counts)
    }
}

impl CellCounts {
    fn count(&mut self, was: Choice, is: Choice, column: &Compared) {
        let old = column.before.as_ref().and_then(|before| mask(before, was));
        match (was, is) {
            (Choice::Raw, Choice::Raw) => {}
            (_, Choice::Raw) => self.opened += 1,
            (Choice::Raw, _) => self.closed += 1,
            // NULL shows nothing, so to come to it opens nothing.
            (_, Choice::Null) => {}
            (_, is) => {
                let new = mask(&column.after, is);
                if new != old && !new.is_some_and(is_null) {
                    self.masked_otherwise += 1;
                }
            }
        }
    }
}

/// Whether a mask shows nothing, whatever the row.
fn is_null(cell: &Cell) -> bool {
    matches!(cell, Cell::Mask(Expr::Literal(value, _)) if value.is_null())
}

fn mask(column: &GovernedColumn, choice: Choice) -> Option<&Cell> {
    match choice {
        Choice::Mask(policy) => column.cells.get(policy),
        Choice::Null | Choice::Raw => None,
    }
}

/// The columns whose cells may differ on rows visible before and after.
fn compared(before: &Enforcement, after: &Enforcement) -> Vec<Compared> {
    after
        .columns
        .iter()
        .filter_map(|new| {
            let old = before.columns.iter().find(|old| old.index == new.index);
            let clear = new.is_clear() && old.is_some_and(GovernedColumn::is_clear);
            (!clear).then(|| Compared {
                name: after.field(new).name().clone(),
                before: old.cloned(),
                after: new.clone(),
            })
        })
        .collect()
}

impl Side {
    fn of(session: Option<&Session>, table: &TableName) -> Result<Option<Self>, EngineError> {
        let enforcement = match session {
            Some(session) => session.catalog.enforcement(table)?,
            None => None,
        };
        Ok(enforcement
            // Rows that stand behind numbers only are counted too: a change may let further ones in.
            .filter(|enforcement| !enforcement.policies.is_empty())
            .map(|enforcement| Self {
                enforcement,
                rows: None,
            }))
    }

    /// A scan of no output: what remains is what its policies need.
    fn scan(&self) -> Result<GovernedScanExec, EngineError> {
        let outputs = Arc::new(Vec::new());
        Ok(GovernedScanExec::try_new(
            Arc::clone(&self.enforcement),
            outputs,
            Vec::new(),
            Vec::new(),
            None,
        )?)
    }

    async fn ready(&mut self, columns: &[usize], run: &QueryRun) -> Result<(), EngineError> {
        let ask = SourceAsk {
            columns: columns.to_vec(),
            policies: Vec::new(),
            filters: Vec::new(),
            local_filters: Vec::new(),
            complete: false,
        };
        let schema = Arc::new(Schema::empty());
        let mut rows = GovernedRows::try_new(&self.scan()?, &ask, run.batch_rows, schema)?;
        // Key relations are named for one principal alone, so each side has its own.
        rows.resolve_keys(&run.beside()).await?;
        self.rows = Some(rows);
        Ok(())
    }

    /// For each policy of the side, the rows it admits.
    fn admits(side: Option<&Self>, batch: &RecordBatch) -> Result<Vec<BooleanArray>, EngineError> {
        match side.and_then(|side| side.rows.as_ref()) {
            Some(rows) => rows.admits(batch),
            None => Ok(Vec::new()),
        }
    }
}

fn any(admits: &[BooleanArray], none: BooleanArray) -> Result<BooleanArray, EngineError> {
    admits.iter().try_fold(none, |all, one| or(&all, one).map_err(internal))
}

fn internal(error: arrow::error::ArrowError) -> EngineError {
    EngineError::internal("rows could not be counted", &error)
}
