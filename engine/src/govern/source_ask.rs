//! What a governed scan asks its source for.
//!
//! Owns: which conditions the source evaluates, which columns are fetched. Never: reads; leaves out a condition of policy that
//! is not checked again here.

use caliber_connector_spi::Expr as Remote;
use datafusion::logical_expr::Expr;

use super::enforcement::{Admission, Cell};
use super::governed_scan::GovernedScanExec;
use super::governed_table::{Output, output_field};
use crate::absorb::key_relation::columns_of;
use crate::absorb::translate::{is_small, table_columns, translate_over_table};

/// What a scan asks its source for, as far as it is known before the keys are.
pub(crate) struct SourceAsk {
    /// The raw columns fetched.
    pub columns: Vec<usize>,
    /// The policies' part: for each policy its parts, of which a missing one widens the ask, never the answer.
    pub policies: Vec<Vec<PolicyPart>>,
    /// The user's filters the source evaluates.
    pub filters: Vec<Remote>,
    /// The user's filters that stay here.
    pub local_filters: Vec<Expr>,
    /// Whether policies and filters are evaluated by the source whole, keys apart.
    pub complete: bool,
}

/// One condition of a policy that the source can evaluate.
pub(crate) enum PolicyPart {
    /// Known now.
    Predicate(Remote),
    /// Known once the relation at that place (policy, admission) is resolved.
    Keys(usize, usize),
}

impl GovernedScanExec {
    /// What would be asked of the source.
    pub fn ask(&self, pushdown: bool) -> SourceAsk {
        let enforcement = &self.enforcement;
        let capabilities = enforcement.source.connector.capabilities();
        let table = &enforcement.table;
        let below = table_columns(table);
        let can = |remote: &Remote| pushdown && is_small(remote) && capabilities.evaluates(remote, &below);
        let mut complete = pushdown;
        let mut policies = Vec::new();
        for (at, policy) in enforcement.policies.iter().enumerate() {
            let mut parts = Vec::new();
            for (place, admission) in policy.admissions.iter().enumerate() {
                match admission {
                    Admission::Predicate(expr) => match translate_over_table(expr, table).filter(can) {
                        Some(remote) => parts.push(PolicyPart::Predicate(remote)),
                        None => complete = false,
                    },
                    Admission::Keys { .. } if pushdown => parts.push(PolicyPart::Keys(at, place)),
                    Admission::Keys { .. } => complete = false,
                }
            }
            policies.push(parts);
        }
        let mut filters = Vec::new();
        let mut local_filters = Vec::new();
        for filter in &self.filters {
            match self.raw_translation(filter).filter(can) {
                Some(remote) => filters.push(remote),
                None => {
                    local_filters.push(filter.clone());
                    complete = false;
                }
            }
        }
        let columns = self.raw_columns(&local_filters);
        SourceAsk {
            columns,
            policies,
            filters,
            local_filters,
            complete,
        }
    }

    /// The filter over raw columns, where governed and raw values are the same for every column it uses.
    pub fn raw_translation(&self, filter: &Expr) -> Option<Remote> {
        let clear = filter.column_refs().iter().all(|used| {
            self.enforcement
                .column(&used.name)
                .is_some_and(super::enforcement::GovernedColumn::is_clear)
        });
        if clear {
            translate_over_table(filter, &self.enforcement.table)
        } else {
            None
        }
    }

    /// The raw columns that rows, policies, masks and local filters need.
    fn raw_columns(&self, local_filters: &[Expr]) -> Vec<usize> {
        let table = &self.enforcement.table;
        let mut columns = Vec::new();
        for policy in &self.enforcement.policies {
            for admission in &policy.admissions {
                match admission {
                    Admission::Predicate(expr) => columns.extend(columns_of(expr, table)),
                    Admission::Keys { column, .. } => columns.push(*column),
                }
            }
        }
        for output in self.needed_outputs(local_filters) {
            let at = match output {
                Output::Shown(at) | Output::ClearOrNull(at) | Output::IsClear(at) => at,
                // What its policies need is fetched above.
                Output::Admits(_) => continue,
                Output::Contributor(at) => {
                    columns.extend(self.enforcement.groups.get(at).map(|floor| floor.column));
                    continue;
                }
            };
            let Some(column) = self.enforcement.columns.get(at) else {
                continue;
            };
            // A column that is never shown clear is not fetched for its own sake.
            if !matches!(output, Output::IsClear(_)) && !column.is_never_clear() {
                columns.push(column.index);
            }
            if matches!(output, Output::Shown(_)) {
                for cell in &column.cells {
                    if let Cell::Mask(mask) = cell {
                        columns.extend(columns_of(mask, table));
                    }
                }
            }
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The projected outputs, then those only local filters use.
    pub fn needed_outputs(&self, local_filters: &[Expr]) -> Vec<Output> {
        let mut needed: Vec<Output> = self
            .projection
            .iter()
            .filter_map(|at| self.outputs.get(*at))
            .copied()
            .collect();
        for filter in local_filters {
            for used in filter.column_refs() {
                let found = self
                    .outputs
                    .iter()
                    .find(|output| *output_field(&self.enforcement, **output).name() == used.name);
                if let Some(output) = found
                    && !needed.contains(output)
                {
                    needed.push(*output);
                }
            }
        }
        needed
    }
}
