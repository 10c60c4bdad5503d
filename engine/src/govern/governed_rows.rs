//! Turns raw batches into governed ones: row filter checked again, masks, the user's leakproof filters, projection.
//!
//! Owns: the evaluation order, and batches whose boundaries depend on visible rows alone. Never: yields a hidden row,
//! or a batch cut where a hidden row stood.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{and, interleave, or};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::physical_plan::PhysicalExpr;
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::enforcement::{Admission, Cell, Enforcement, GovernedColumn, mask_failed};
use super::even_batches::even_batches;
use super::governed_scan::GovernedScanExec;
use super::governed_table::{Output, output_field};
use super::source_ask::SourceAsk;
use crate::EngineError;
use crate::absorb::key_relation::{Keys, column_of, evaluate_mask, filtered};
use crate::absorb::raw_read::RawStream;
use crate::run::query_run::QueryRun;

/// The compiled steps from a raw batch to governed ones.
#[derive(Clone)]
pub(crate) struct GovernedRows {
    enforcement: Arc<Enforcement>,
    admissions: Vec<Vec<Check>>,
    outputs: Vec<Shown>,
    /// How many of `outputs` are projected; the rest serve local filters.
    projected: usize,
    shown_schema: SchemaRef,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    pub schema: SchemaRef,
    /// Rows of a batch, at most.
    pub batch_rows: usize,
    /// Rows that are enough.
    pub limit: Option<usize>,
}

/// One admission, ready to check.
#[derive(Clone)]
enum Check {
    Predicate(Arc<dyn PhysicalExpr>),
    Keys { column: usize, keys: Option<Arc<Keys>> },
}

/// One output column, ready to compute.
#[derive(Clone)]
struct Shown {
    output: Output,
    data_type: DataType,
    raw: Option<String>,
    /// For each policy its mask, where it has one.
    masks: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

impl GovernedRows {
    /// Compiles what `scan` needs over the columns that `ask` fetches.
    pub fn try_new(
        scan: &GovernedScanExec,
        ask: &SourceAsk,
        batch_rows: usize,
        schema: SchemaRef,
    ) -> Result<Self, EngineError> {
        let enforcement = Arc::clone(&scan.enforcement);
        let raw_fields: Vec<_> = ask
            .columns
            .iter()
            .filter_map(|at| enforcement.table.columns.get(*at))
            .map(|column| arrow::datatypes::Field::new(&column.name, column.data_type.clone(), column.nullable))
            .collect();
        let raw = DFSchema::try_from(Schema::new(raw_fields))?;
        let state = Arc::clone(&enforcement.state);
        let mut admissions = Vec::with_capacity(enforcement.policies.len());
        for policy in &enforcement.policies {
            let checks: Result<Vec<Check>, EngineError> = policy
                .admissions
                .iter()
                .map(|admission| match admission {
                    Admission::Predicate(expr) => Ok(Check::Predicate(state.create_physical_expr(expr.clone(), &raw)?)),
                    Admission::Keys { column, .. } => Ok(Check::Keys {
                        column: *column,
                        keys: None,
                    }),
                })
                .collect();
            admissions.push(checks?);
        }
        let needed = scan.needed_outputs(&ask.local_filters);
        let outputs = needed
            .iter()
            .map(|output| shown(&enforcement, *output, &raw))
            .collect::<Result<Vec<_>, EngineError>>()?;
        let fields: Vec<_> = needed
            .iter()
            .map(|output| output_field(&enforcement, *output))
            .collect();
        let shown_schema = Arc::new(Schema::new(fields));
        let shown_df = DFSchema::try_from(shown_schema.as_ref().clone())?;
        let filters = ask
            .local_filters
            .iter()
            .map(|filter| Ok(state.create_physical_expr(filter.clone(), &shown_df)?))
            .collect::<Result<Vec<_>, EngineError>>()?;
        Ok(Self {
            enforcement,
            admissions,
            outputs,
            projected: scan.projection.len(),
            shown_schema,
            filters,
            schema,
            batch_rows: batch_rows.max(1),
            limit: scan.limit,
        })
    }

    /// Resolves every key relation the policies need.
    pub async fn resolve_keys(&mut self, run: &QueryRun) -> Result<(), EngineError> {
        for (policy, checks) in self.enforcement.policies.iter().zip(&mut self.admissions) {
            for (admission, check) in policy.admissions.iter().zip(checks) {
                if let (Admission::Keys { relation, .. }, Check::Keys { keys, .. }) = (admission, check) {
                    *keys = Some(relation.resolve(run).await?);
                }
            }
        }
        Ok(())
    }

    /// The resolved keys of an admission.
    pub fn keys(&self, policy: usize, admission: usize) -> Result<&Keys, EngineError> {
        match self.admissions.get(policy).and_then(|checks| checks.get(admission)) {
            Some(Check::Keys { keys: Some(keys), .. }) => Ok(keys),
            _ => Err(EngineError::internal("keys are not resolved", &policy)),
        }
    }

    /// The column those keys are of.
    pub fn key_column(&self, policy: usize, admission: usize) -> Result<usize, EngineError> {
        match self.admissions.get(policy).and_then(|checks| checks.get(admission)) {
            Some(Check::Keys { column, .. }) => Ok(*column),
            _ => Err(EngineError::internal("an admission has no keys", &policy)),
        }
    }

    /// Governed batches of exactly `batch_rows` visible rows, but for the last.
    ///
    /// What an operator above does with a batch (short-circuits an AND, fails on a row) may depend on which rows stand
    /// together in it; so hidden rows must not decide that.
    pub fn stream(self, raw: RawStream) -> BoxStream<'static, Result<RecordBatch, EngineError>> {
        if self.enforcement.shows_all_rows() && self.limit.is_none() {
            // There are none: batches stay as they come.
            let governed = raw.and_then(move |raw| std::future::ready(self.govern(&raw)));
            return Box::pin(governed.try_filter(|batch| std::future::ready(batch.num_rows() > 0)));
        }
        even_batches(self, raw)
    }

    /// The visible, masked, filtered rows of one raw batch.
    pub fn govern(&self, raw: &RecordBatch) -> Result<RecordBatch, EngineError> {
        let admits = self.admits(raw)?;
        let (raw, admits) = self.visible(raw, admits)?;
        let columns = self
            .outputs
            .iter()
            .map(|shown| self.show(shown, &raw, &admits))
            .collect::<Result<Vec<_>, _>>()?;
        let mut batch = batch_of(&self.shown_schema, columns, raw.num_rows())?;
        for filter in &self.filters {
            let mask = evaluate_mask(filter.as_ref(), &batch)?;
            batch = filtered(&batch, &mask)?;
        }
        let rows = batch.num_rows();
        let projected = batch.columns().iter().take(self.projected).cloned().collect();
        batch_of(&self.schema, projected, rows)
    }

    /// For each policy, which rows of a raw batch it admits. The batch has the columns that `ask` fetches.
    pub fn admits(&self, raw: &RecordBatch) -> Result<Vec<BooleanArray>, EngineError> {
        self.admissions
            .iter()
            .map(|checks| self.admitted(checks, raw))
            .collect()
    }

    /// The rows that some policy admits, and which policies admit each. A source that filters as policy does sends no
    /// others; then nothing is copied.
    fn visible(
        &self,
        raw: &RecordBatch,
        admits: Vec<BooleanArray>,
    ) -> Result<(RecordBatch, Vec<BooleanArray>), EngineError> {
        let (first, others) = admits
            .split_first()
            .ok_or_else(|| EngineError::internal("no policy admits", &self.enforcement.name))?;
        let visible = others.iter().try_fold(first.clone(), |all, one| {
            or(&all, one).map_err(|error| EngineError::internal("policies could not be joined", &error))
        })?;
        if visible.true_count() == raw.num_rows() {
            return Ok((raw.clone(), admits));
        }
        let kept = filtered(raw, &visible)?;
        let admits = admits
            .iter()
            .map(|one| {
                Ok(boolean(arrow::compute::filter(one, &visible).map_err(|e| {
                    EngineError::internal("rows could not be filtered", &e)
                })?))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        Ok((kept, admits))
    }

    fn admitted(&self, checks: &[Check], raw: &RecordBatch) -> Result<BooleanArray, EngineError> {
        let mut admitted: Option<BooleanArray> = None;
        for check in checks {
            let one = match check {
                Check::Predicate(predicate) => evaluate_mask(predicate.as_ref(), raw)?,
                Check::Keys {
                    column,
                    keys: Some(keys),
                } => {
                    let name = self
                        .enforcement
                        .table
                        .columns
                        .get(*column)
                        .map(|c| c.name.as_str())
                        .unwrap_or_default();
                    keys.contain(&column_of(raw, name)?)?
                }
                Check::Keys { keys: None, .. } => {
                    return Err(EngineError::internal("keys are not resolved", &self.enforcement.name));
                }
            };
            admitted = Some(match admitted {
                None => one,
                Some(all) => and(&all, &one).map_err(|e| EngineError::internal("policies could not be joined", &e))?,
            });
        }
        Ok(admitted.unwrap_or_else(|| BooleanArray::from(vec![true; raw.num_rows()])))
    }

    fn show(&self, shown: &Shown, raw: &RecordBatch, admits: &[BooleanArray]) -> Result<ArrayRef, EngineError> {
        let at = match shown.output {
            Output::Shown(at) | Output::ClearOrNull(at) | Output::IsClear(at) => at,
            Output::Admits(at) => {
                let admitted = admits.get(at).cloned();
                let admitted = admitted.ok_or_else(|| EngineError::internal("a policy is missing", &at))?;
                return Ok(Arc::new(admitted));
            }
            Output::Contributor(_) => return column_of(raw, shown.raw.as_deref().unwrap_or_default()),
        };
        let column = self
            .enforcement
            .columns
            .get(at)
            .ok_or_else(|| EngineError::internal("a column is missing", &self.enforcement.name))?;
        if matches!(shown.output, Output::IsClear(_)) {
            return Ok(Arc::new(clear_rows(column, admits, raw.num_rows())?));
        }
        if column.is_clear() {
            return column_of(raw, shown.raw.as_deref().unwrap_or_default());
        }
        let hide = matches!(shown.output, Output::ClearOrNull(_));
        if let Some(choice) = the_one_choice(column, admits, hide) {
            return self.uniform(shown, raw, choice);
        }
        let choices = choose(column, admits, raw.num_rows(), hide);
        self.assemble(shown, raw, &choices)
    }

    /// The column where all rows are shown alike.
    fn uniform(&self, shown: &Shown, raw: &RecordBatch, choice: Choice) -> Result<ArrayRef, EngineError> {
        let rows = raw.num_rows();
        match choice {
            Choice::Null => Ok(new_null_array(&shown.data_type, rows)),
            Choice::Raw => column_of(raw, shown.raw.as_deref().unwrap_or_default()),
            Choice::Mask(policy) => match shown.masks.get(policy).and_then(Option::as_ref) {
                // No row, no evaluation: a mask that fails must not fail a batch in which it masks nothing.
                Some(mask) if rows > 0 => {
                    let values = mask.evaluate(raw).and_then(|value| value.into_array(rows));
                    values.map_err(|error| mask_failed(&error))
                }
                _ => Ok(new_null_array(&shown.data_type, rows)),
            },
        }
    }

    /// Takes for each row NULL, the raw value or a policy's mask, evaluating each mask on its own rows only.
    fn assemble(&self, shown: &Shown, raw: &RecordBatch, choices: &[Choice]) -> Result<ArrayRef, EngineError> {
        let internal = |error: arrow::error::ArrowError| EngineError::internal("a mask could not be laid", &error);
        let mut arrays: Vec<ArrayRef> = vec![new_null_array(&shown.data_type, 1)];
        let raw_at = match &shown.raw {
            Some(name) if choices.contains(&Choice::Raw) => {
                arrays.push(column_of(raw, name)?);
                Some(arrays.len() - 1)
            }
            _ => None,
        };
        let mut mask_at = vec![None; shown.masks.len()];
        for (policy, mask) in shown.masks.iter().enumerate() {
            let rows: BooleanArray = choices
                .iter()
                .map(|choice| Some(*choice == Choice::Mask(policy)))
                .collect();
            if let Some(mask) = mask
                && rows.true_count() > 0
            {
                let part = filtered(raw, &rows)?;
                let values = mask.evaluate(&part).and_then(|value| value.into_array(part.num_rows()));
                arrays.push(values.map_err(|error| mask_failed(&error))?);
                if let Some(place) = mask_at.get_mut(policy) {
                    *place = Some((arrays.len() - 1, 0_usize));
                }
            }
        }
        let mut places = Vec::with_capacity(choices.len());
        for (row, choice) in choices.iter().enumerate() {
            places.push(match choice {
                Choice::Null => (0, 0),
                Choice::Raw => raw_at.map_or((0, 0), |array| (array, row)),
                Choice::Mask(policy) => match mask_at.get_mut(*policy).and_then(Option::as_mut) {
                    Some((array, next)) => {
                        let place = (*array, *next);
                        *next += 1;
                        place
                    }
                    None => (0, 0),
                },
            });
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        interleave(&arrays, &places).map_err(internal)
    }
}

/// What a cell shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// NULL: no policy that admits the row grants the column.
    Null,
    /// The value.
    Raw,
    /// The mask of the policy of that index.
    Mask(usize),
}

/// What every row of the batch shows, where that is the same: what the first policy says, if it admits all rows and no
/// other policy shows one of them clear.
fn the_one_choice(column: &GovernedColumn, admits: &[BooleanArray], hide_masked: bool) -> Option<Choice> {
    let all = |admitted: &BooleanArray| admitted.null_count() == 0 && admitted.true_count() == admitted.len();
    let mut policies = column.cells.iter().zip(admits);
    let (first, admitted) = policies.next()?;
    if !all(admitted) {
        return None;
    }
    match first {
        Cell::Clear => Some(Choice::Raw),
        _ if policies.any(|(cell, admitted)| !matches!(cell, Cell::Absent) && admitted.true_count() > 0) => None,
        Cell::Mask(_) if !hide_masked => Some(Choice::Mask(0)),
        Cell::Mask(_) | Cell::Absent => Some(Choice::Null),
    }
}

/// For each row: clear if any policy that admits it shows it clear, else the first applicable mask, else NULL.
pub(crate) fn choose(column: &GovernedColumn, admits: &[BooleanArray], rows: usize, hide_masked: bool) -> Vec<Choice> {
    (0..rows)
        .map(|row| {
            let mut masked = Choice::Null;
            for (policy, (cell, admitted)) in column.cells.iter().zip(admits).enumerate() {
                if !admitted.value(row) {
                    continue;
                }
                match cell {
                    Cell::Clear => return Choice::Raw,
                    Cell::Mask(_) if masked == Choice::Null && !hide_masked => masked = Choice::Mask(policy),
                    Cell::Mask(_) | Cell::Absent => {}
                }
            }
            masked
        })
        .collect()
}

fn clear_rows(column: &GovernedColumn, admits: &[BooleanArray], rows: usize) -> Result<BooleanArray, EngineError> {
    let clear = choose(column, admits, rows, true);
    Ok(clear.iter().map(|choice| Some(*choice == Choice::Raw)).collect())
}

fn shown(enforcement: &Enforcement, output: Output, raw: &DFSchema) -> Result<Shown, EngineError> {
    let at = match output {
        Output::Shown(at) | Output::ClearOrNull(at) | Output::IsClear(at) => at,
        Output::Admits(_) => {
            return Ok(Shown {
                output,
                data_type: DataType::Boolean,
                raw: None,
                masks: Vec::new(),
            });
        }
        Output::Contributor(at) => {
            let floor = enforcement.groups.get(at);
            let remote = floor.and_then(|floor| enforcement.table.columns.get(floor.column));
            return Ok(Shown {
                output,
                data_type: output_field(enforcement, output).data_type().clone(),
                raw: remote.map(|remote| remote.name.clone()),
                masks: Vec::new(),
            });
        }
    };
    let column = enforcement
        .columns
        .get(at)
        .ok_or_else(|| EngineError::internal("a column is missing", &enforcement.name))?;
    let masks = column
        .cells
        .iter()
        .map(|cell| match (cell, output) {
            (Cell::Mask(mask), Output::Shown(_)) => {
                Ok(Some(enforcement.state.create_physical_expr(mask.clone(), raw)?))
            }
            _ => Ok(None),
        })
        .collect::<Result<Vec<_>, EngineError>>()?;
    let remote = enforcement.table.columns.get(column.index);
    Ok(Shown {
        output,
        data_type: output_field(enforcement, output).data_type().clone(),
        raw: remote.map(|remote| remote.name.clone()),
        masks,
    })
}

fn boolean(array: ArrayRef) -> BooleanArray {
    array
        .as_any()
        .downcast_ref::<BooleanArray>()
        .cloned()
        .unwrap_or_else(|| BooleanArray::from(vec![false; array.len()]))
}

fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, EngineError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| EngineError::internal("a governed batch could not be built", &error))
}
