//! Step 4 of a query's life: from a checked logical plan to one that can run.
//!
//! Owns: optimising, handing sub-plans to sources, the physical plan. Never: runs it, or knows a value of this run.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use crate::EngineError;
use crate::absorb::absorb_plan::{Absorber, Kept};
use crate::absorb::bind_join::Pushdown;
use crate::absorb::infer_parameters::infer_parameters;
use crate::evaluate::spread_literals::spread_literals;
use crate::govern::require_governed::require_governed_plan;
use crate::plan::Planned;
use crate::rules::ready;

/// A plan that can run.
pub(crate) struct Executable {
    /// The plan.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What of it stays here though a source was asked whether it does that, and why.
    pub kept: Vec<Kept>,
}

/// The executable plan of an optimized one. The last physical rule has checked it; `rules::ready` binds its joins.
pub(crate) async fn physical_plan(state: &SessionState, optimized: &LogicalPlan) -> Result<Executable, EngineError> {
    require_governed_plan(optimized)?;
    let mut absorber = Absorber::default();
    let absorbed = if pushdown(state) {
        absorber.absorb(optimized)?
    } else {
        optimized.clone()
    };
    let counted = spread_literals(absorbed)?;
    let planner = state.query_planner();
    let plan = match planner.create_physical_plan(&counted, state).await {
        // DataFusion 55 may lose between two rules what is constant, and then finds that a merge of parts is not of the order
        // asked for (`SanityCheckPlan`). A plan in one piece merges nothing.
        Err(error) if matches!(error.find_root(), DataFusionError::Plan(_)) => {
            tracing::debug!(%error, "planned in one piece");
            planner.create_physical_plan(&counted, &in_one_piece(state)).await?
        }
        made => made?,
    };
    Ok(Executable {
        plan,
        kept: absorber.kept,
    })
}

/// The same state for plans that are not spread over processors.
pub(crate) fn in_one_piece(state: &SessionState) -> SessionState {
    let config = state
        .config()
        .clone()
        .with_target_partitions(1)
        .with_repartition_sorts(false);
    SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .build()
}

/// A plan with open parameters, optimized.
pub(crate) fn optimize_open(state: &SessionState, open: &LogicalPlan) -> Result<LogicalPlan, EngineError> {
    let optimized = state.optimize(open)?;
    let inferred = infer_parameters(optimized)?;
    Ok(if inferred.transformed {
        state.optimizer().optimize(inferred.data, state, |_, _| {})?
    } else {
        inferred.data
    })
}

/// The optimized and the executable plan with the parameters open, or NULL where the plan depends on them.
pub(crate) async fn open_plan(
    state: &SessionState,
    planned: &Planned,
) -> Result<(LogicalPlan, Executable), EngineError> {
    let options = state.config_options();
    if let Some(open) = planned.open()?
        && let Ok(optimized) = optimize_open(state, &open)
        && let Ok(made) = physical_plan(state, &optimized).await
    {
        let plan = ready(made.plan, options, pushdown(state))?;
        return Ok((optimized, Executable { plan, ..made }));
    }
    let optimized = state.optimize(&planned.bind(planned.null_parameters()?)?)?;
    let made = physical_plan(state, &optimized).await?;
    let plan = ready(made.plan, options, pushdown(state))?;
    Ok((optimized, Executable { plan, ..made }))
}

/// Whether sources do what they can for statements of this state.
fn pushdown(state: &SessionState) -> bool {
    let found = state.config().get_extension::<Pushdown>();
    found.is_some_and(|pushdown| pushdown.0)
}
