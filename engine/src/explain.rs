//! A plan as people read it: what each source does, what stays here and why.
//!
//! Owns: the text. Never: shows policy, statements or estimates to those who may not see them.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::DataType;
use caliber_connector_spi::{Expr as Remote, RemoteQuery};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use crate::EngineError;
use crate::absorb::absorb_plan::Kept;
use crate::absorb::absorbed_scan::AbsorbedScanExec;
use crate::absorb::estimate;
use crate::absorb::translate::value;
use crate::govern::enforcement::Admission;
use crate::govern::governed_scan::GovernedScanExec;
use crate::govern::source_ask::PolicyPart;
use crate::run::query_run::QueryRun;

/// The explanation. `full` adds what policy adds: statements, policies and their key relations.
pub(crate) fn explain(
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
    kept: &[Kept],
    full: bool,
    pushdown: bool,
) -> Result<String, EngineError> {
    explained(
        logical,
        physical,
        kept,
        &Shown {
            full,
            pushdown,
            analyzed: false,
        },
    )
}

/// The explanation of a plan that has run, for those who may see all of it: also what came from each source.
pub(crate) fn explain_analyzed(
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
    kept: &[Kept],
    run: &QueryRun,
    rows: u64,
) -> Result<String, EngineError> {
    let shown = Shown {
        full: true,
        pushdown: run.pushdown,
        analyzed: true,
    };
    let mut text = explained(logical, physical, kept, &shown)?;
    text.push_str("Received\n");
    for (source, counts) in run.counts() {
        let _ = writeln!(
            text,
            "  {source}: {} statements, {} rows, {} bytes",
            counts.statements.load(Ordering::Relaxed),
            counts.rows.load(Ordering::Relaxed),
            counts.bytes.load(Ordering::Relaxed),
        );
    }
    let _ = writeln!(text, "Gave {rows} rows");
    Ok(text)
}

/// What of a plan is shown.
struct Shown {
    /// Statements, policies and estimates.
    full: bool,
    pushdown: bool,
    /// What came, beside what was guessed.
    analyzed: bool,
}

fn explained(
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
    kept: &[Kept],
    shown: &Shown,
) -> Result<String, EngineError> {
    let full = shown.full;
    let mut text = String::from("Plan\n");
    for line in logical.display_indent().to_string().lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}", line.replace('\u{1}', "·"));
    }
    let mut scans = String::new();
    physical.apply(|node| {
        if let Some(scan) = node.downcast_ref::<GovernedScanExec>() {
            explain_scan(scan, shown, &mut scans);
        }
        if let Some(scan) = node.downcast_ref::<AbsorbedScanExec>() {
            explain_absorbed(scan, shown, &mut scans);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !scans.is_empty() {
        text.push_str("Sources\n");
        text.push_str(&scans);
    }
    let kept: Vec<&Kept> = kept.iter().filter(|kept| full || !kept.is_policy).collect();
    if !kept.is_empty() {
        text.push_str("Done here\n");
        for kept in kept {
            let _ = writeln!(text, "  {}: {}", kept.what.replace('\u{1}', "·"), kept.why);
        }
    }
    Ok(text)
}

/// A statement that stands for a part of the plan.
fn explain_absorbed(scan: &AbsorbedScanExec, shown: &Shown, text: &mut String) {
    let remote = &scan.remote;
    let tables: Vec<String> = remote
        .reads
        .iter()
        .map(|read| read.enforcement.name.to_string())
        .collect();
    let _ = writeln!(
        text,
        "  {}: one statement over {}",
        remote.source.name,
        tables.join(", ")
    );
    for binding in &scan.bindings {
        if let Some(field) = scan.schema().fields().get(binding.column) {
            let _ = writeln!(text, "    with the keys of a join: {}", field.name());
        }
    }
    if !shown.full {
        return;
    }
    sized(remote.estimate.rows, &scan.received, shown, text);
    for read in &remote.reads {
        for policy in &read.enforcement.policies {
            let _ = writeln!(text, "    under policy: {} ({})", policy.name, read.enforcement.name);
        }
    }
    if let Some(sql) = remote.source.connector.statement(&with_any_values(remote.query())) {
        let _ = writeln!(text, "    sent: {sql}");
    }
}

/// How many rows were guessed, and how many came.
fn sized(estimated: f64, received: &AtomicU64, shown: &Shown, text: &mut String) {
    let _ = write!(text, "    estimated: {estimated:.0} rows");
    if shown.analyzed {
        let _ = write!(text, ", received: {} rows", received.load(Ordering::Relaxed));
    }
    text.push('\n');
}

fn explain_scan(scan: &GovernedScanExec, shown: &Shown, text: &mut String) {
    let pushdown = shown.pushdown;
    let ask = scan.ask(pushdown);
    let enforcement = &scan.enforcement;
    let _ = writeln!(text, "  {}", enforcement.name);
    let local = &ask.local_filters;
    for filter in scan.filters.iter().filter(|filter| !local.contains(filter)) {
        let _ = writeln!(text, "    at the source: {filter}");
    }
    for filter in local {
        let why = if pushdown {
            "the source does not evaluate it exactly"
        } else {
            "pushdown is off"
        };
        let _ = writeln!(text, "    here: {filter} ({why})");
    }
    if let Some(limit) = scan.limit {
        let place = if ask.complete && enforcement.source.connector.capabilities().limit {
            "at the source"
        } else {
            "here"
        };
        let _ = writeln!(text, "    {place}: the first {limit} rows");
    }
    if !shown.full {
        return;
    }
    let all = estimate::of_table(&enforcement.table).rows;
    sized(scan.estimated_rows(all), &scan.received, shown, text);
    for policy in &enforcement.policies {
        let _ = writeln!(text, "    under policy: {}", policy.name);
        for admission in &policy.admissions {
            if let Admission::Keys { column, relation } = admission {
                let column = enforcement
                    .table
                    .columns
                    .get(*column)
                    .map(|c| c.name.as_str())
                    .unwrap_or_default();
                let path: Vec<String> = relation
                    .steps
                    .iter()
                    .map(|step| format!("{}.{}", step.source.name, step.table.name))
                    .collect();
                let _ = writeln!(text, "      {column} is one of the keys through {}", path.join(", "));
            }
        }
    }
    if let Some(sql) = enforcement
        .source
        .connector
        .statement(&with_any_values(shape(scan, pushdown)))
    {
        let _ = writeln!(text, "    sent: {sql}");
    }
}

/// The query with some value for each parameter: its text shows none, and is the same with any.
fn with_any_values(query: RemoteQuery) -> RemoteQuery {
    let some = |_: usize, data_type: &DataType| {
        let scalar = ScalarValue::new_one(data_type).or_else(|_| ScalarValue::new_default(data_type));
        scalar.ok().and_then(|scalar| value(&scalar))
    };
    match query.root.with_parameters(&some) {
        Some(root) => RemoteQuery::new(root),
        None => query,
    }
}

/// The query as it would be sent, with no keys yet: they are one parameter, whatever their number.
fn shape(scan: &GovernedScanExec, pushdown: bool) -> RemoteQuery {
    let ask = scan.ask(pushdown);
    let table = &scan.enforcement.table;
    let mut alternatives = Vec::new();
    let mut widened = false;
    for parts in &ask.policies {
        let conditions: Vec<Remote> = parts
            .iter()
            .filter_map(|part| match part {
                PolicyPart::Predicate(remote) => Some(remote.clone()),
                PolicyPart::Keys(policy, admission) => {
                    match scan.enforcement.policies.get(*policy)?.admissions.get(*admission)? {
                        Admission::Keys { column, .. } => {
                            let data_type = &table.columns.get(*column)?.data_type;
                            let keys = arrow::array::new_empty_array(data_type);
                            Some(Remote::InKeys { column: *column, keys })
                        }
                        Admission::Predicate(_) => None,
                    }
                }
            })
            .collect();
        match crate::absorb::raw_read::all_of(conditions) {
            Some(condition) => alternatives.push(condition),
            None => widened = true,
        }
    }
    let mut all = ask.filters;
    if !widened {
        all.splice(0..0, crate::absorb::raw_read::any_of(alternatives));
    }
    RemoteQuery::of_table(
        Arc::clone(table),
        &ask.columns,
        crate::absorb::raw_read::all_of(all),
        None,
    )
}
