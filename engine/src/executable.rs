//! Step 4 of a query's life: from a checked logical plan to one that can run.
//!
//! Owns: optimising, handing sub-plans to sources, the physical plan. Never: runs it, or knows a value of this run.

use std::sync::Arc;

use datafusion::execution::session_state::SessionState;
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
    let plan = state.query_planner().create_physical_plan(&counted, state).await?;
    Ok(Executable {
        plan,
        kept: absorber.kept,
    })
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
