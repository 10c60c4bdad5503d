//! A source's table as one principal sees it: the only table of a source that a name can resolve to.
//!
//! Owns: which of the user's filters go below the barrier, and making the one scan operator. Never: exposes the raw
//! table, statistics, or a logical plan that an optimizer could open.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Constraint, Constraints, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::enforcement::Enforcement;
use super::governed_scan::GovernedScanExec;
use super::leakproof::is_leakproof;

/// One output column of a governed table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The column of `Enforcement::columns` at that index, as policy shows it.
    Shown(usize),
    /// The same, but NULL wherever policy does not show it clear.
    ClearOrNull(usize),
    /// Whether policy shows that column clear on the row.
    IsClear(usize),
    /// Whether the policy of `Enforcement::policies` at that index admits the row.
    Admits(usize),
    /// Who stands behind the row, for `Enforcement::groups` at that index. Counted, never shown (`guard_groups`).
    Contributor(usize),
}

/// A smaller table is read in one stream.
const PARTED_ROWS_MIN: u64 = 50_000;

/// A table of a source under policy.
pub(crate) struct GovernedTable {
    pub enforcement: Arc<Enforcement>,
    outputs: Arc<Vec<Output>>,
    schema: SchemaRef,
    df_schema: DFSchema,
    constraints: Constraints,
}

impl std::fmt::Debug for GovernedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GovernedTable({})", self.enforcement.name)
    }
}

impl GovernedTable {
    /// The table as its principal names it.
    pub fn new(enforcement: Arc<Enforcement>) -> Result<Self> {
        let outputs = (0..enforcement.columns.len()).map(Output::Shown).collect();
        Self::with_outputs(enforcement, outputs)
    }

    /// The table for an entity's attributes: masked cells are NULL, and beside each column that some policy masks
    /// stands `clear_flag(column)`. With `admissions`, `admits_flag` tells for each policy whether it admits the row.
    pub fn for_attributes(enforcement: Arc<Enforcement>, admissions: bool) -> Result<Self> {
        let mut outputs: Vec<Output> = (0..enforcement.columns.len()).map(Output::ClearOrNull).collect();
        outputs.extend(
            enforcement
                .columns
                .iter()
                .enumerate()
                .filter(|(_, column)| !column.is_clear())
                .map(|(at, _)| Output::IsClear(at)),
        );
        if admissions {
            outputs.extend((0..enforcement.policies.len()).map(Output::Admits));
        }
        Self::with_outputs(enforcement, outputs)
    }

    /// The same table with `contributor_name` columns beside its own.
    pub fn with_contributors(&self) -> Result<Self> {
        let mut outputs = self.outputs.as_ref().clone();
        outputs.extend((0..self.enforcement.groups.len()).map(Output::Contributor));
        Self::with_outputs(Arc::clone(&self.enforcement), outputs)
    }

    /// Its columns.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Whether it was made for an entity's attributes.
    pub fn is_for_attributes(&self) -> bool {
        self.outputs
            .iter()
            .any(|output| matches!(output, Output::ClearOrNull(_)))
    }

    /// In how many streams a scan gives its rows.
    fn parts(&self, state: &dyn Session, limit: Option<usize>) -> usize {
        let has_parts = self.enforcement.source.connector.capabilities().parts;
        let is_large = self
            .enforcement
            .table
            .rows_estimate
            .is_some_and(|rows| rows >= PARTED_ROWS_MIN);
        if has_parts && is_large && limit.is_none() && self.enforcement.shows_all_rows() {
            state.config().target_partitions()
        } else {
            1
        }
    }

    fn with_outputs(enforcement: Arc<Enforcement>, outputs: Vec<Output>) -> Result<Self> {
        let fields: Vec<Field> = outputs
            .iter()
            .map(|output| output_field(&enforcement, *output))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let df_schema = DFSchema::try_from(schema.as_ref().clone())?;
        let constraints = key_constraints(&enforcement, &outputs);
        Ok(Self {
            enforcement,
            outputs: Arc::new(outputs),
            schema,
            df_schema,
            constraints,
        })
    }
}

/// The name of the column that says whether `column` is clear on a row. Holds a character no source's column may have.
pub(crate) fn clear_flag(column: &str) -> String {
    format!("{column}\u{1}clear")
}

/// The name of the column that says whether `Enforcement::policies[at]` admits a row.
pub(crate) fn admits_flag(at: usize) -> String {
    format!("{at}\u{1}admits")
}

/// The name of the column that says who stands behind a row, for `Enforcement::groups[at]`.
pub(crate) fn contributor(at: usize) -> String {
    format!("{at}\u{1}contributor")
}

/// The field of one output.
pub(crate) fn output_field(enforcement: &Enforcement, output: Output) -> Field {
    let field = |at: usize| {
        enforcement.columns.get(at).map_or_else(
            || Field::new("", DataType::Null, true),
            |column| enforcement.field(column),
        )
    };
    match output {
        Output::Shown(at) | Output::ClearOrNull(at) => field(at),
        Output::IsClear(at) => Field::new(clear_flag(field(at).name()), DataType::Boolean, false),
        Output::Admits(at) => Field::new(admits_flag(at), DataType::Boolean, false),
        Output::Contributor(at) => {
            let data_type = enforcement
                .groups
                .get(at)
                .and_then(|floor| enforcement.table.columns.get(floor.column))
                .map_or(DataType::Null, |column| column.data_type.clone());
            Field::new(contributor(at), data_type, true)
        }
    }
}

/// The keys the source enforces, where every column of them is visible and clear: a subset of rows keeps them.
fn key_constraints(enforcement: &Enforcement, outputs: &[Output]) -> Constraints {
    let position = |name: &String| {
        outputs.iter().position(|output| match output {
            Output::Shown(at) | Output::ClearOrNull(at) => enforcement.columns.get(*at).is_some_and(|column| {
                column.is_clear()
                    && enforcement
                        .table
                        .columns
                        .get(column.index)
                        .is_some_and(|remote| remote.name == *name)
            }),
            Output::IsClear(_) | Output::Admits(_) | Output::Contributor(_) => false,
        })
    };
    let indices = |key: &Vec<String>| {
        let found: Option<Vec<usize>> = key.iter().map(&position).collect();
        found.filter(|key| !key.is_empty())
    };
    let mut all = Vec::new();
    all.extend(indices(&enforcement.table.primary_key).map(Constraint::PrimaryKey));
    all.extend(
        enforcement
            .table
            .unique_keys
            .iter()
            .filter_map(indices)
            .map(Constraint::Unique),
    );
    Constraints::new_unverified(all)
}

#[async_trait]
impl TableProvider for GovernedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Leakproof predicates go below the barrier, all others stay above it, on visible rows only.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| {
                let plain = super::governed_scan::unqualified((*filter).clone());
                if plain.as_ref().is_ok_and(|plain| is_leakproof(plain, &self.df_schema)) {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Unsupported
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.outputs.len()).collect());
        // The planner may only hand back what was accepted; anything else would be evaluated on the wrong side.
        for filter in filters {
            if !is_leakproof(filter, &self.df_schema) {
                return Err(crate::EngineError::internal("a filter crossed the barrier", &"not leakproof").into());
            }
        }
        let scan = GovernedScanExec::try_new(
            Arc::clone(&self.enforcement),
            Arc::clone(&self.outputs),
            projection,
            filters.to_vec(),
            limit,
        )?;
        Ok(Arc::new(scan.in_parts(self.parts(state, limit))))
    }
}
