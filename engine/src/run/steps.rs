//! A statement under way: for each row of its parameters a plan, and that plan's rows.
//!
//! Owns: whether a kept plan is used or another made. Never: the bounds of the result, its receipt (`result_stream`).

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::parameters::ParameterRows;
use super::plan_cache::KeptStatement;
use super::plan_template::{PlanTemplate, is_small};
use super::query_run::QueryRun;
use crate::EngineError;
use crate::absorb::absorbed_scan::AbsorbedScanExec;
use crate::executable::{in_one_piece, optimize_open, physical_plan};
use crate::explain::explain_analyzed;
use crate::govern::enforcement::{Admission, Enforcement};
use crate::govern::governed_scan::GovernedScanExec;
use crate::limits::on_large_stack;
use crate::plan::explanation_of;
use crate::rules::ready;
use crate::session::Session;

/// What the stream of a statement goes through: one plan for each row of parameters.
pub(crate) struct Steps {
    session: Session,
    run: Arc<QueryRun>,
    context: Arc<TaskContext>,
    /// The statement.
    pub kept: Arc<KeptStatement>,
    rows: ParameterRows,
    /// The plan for the first row of parameters, once it is made.
    pub first: Option<Arc<dyn ExecutionPlan>>,
}

impl Steps {
    /// A statement with its parameters, planned for the first row of them.
    pub async fn begin(
        session: &Session,
        run: Arc<QueryRun>,
        kept: Arc<KeptStatement>,
        parameters: Option<RecordBatch>,
    ) -> Result<Self, EngineError> {
        let mut steps = Self {
            rows: ParameterRows::new(&kept.planned.parameters, parameters)?,
            context: session.context(&run)?,
            session: session.clone(),
            run,
            kept,
            first: None,
        };
        if steps.rows.is_several() {
            steps.run.expect_more();
        }
        if !steps.kept.planned.is_analyzed
            && let Some(values) = steps.rows.next_row()?
        {
            steps.first = Some(steps.plan(values).await?);
        }
        Ok(steps)
    }

    /// The plan with `values` for its parameters: the one kept, or one made for them.
    async fn plan(&self, values: Vec<ScalarValue>) -> Result<Arc<dyn ExecutionPlan>, EngineError> {
        let pushdown = self.run.pushdown;
        let ready = |plan| {
            let plan = ready(plan, self.context.session_config().options(), pushdown)?;
            note_sources(&plan, &self.run)?;
            Ok(plan)
        };
        if let Some(template) = self.template().await
            && let Some(plan) = template.bound(&values)?
        {
            return ready(plan);
        }
        let (session, run) = (self.session.clone(), Arc::clone(&self.run));
        let kept = Arc::clone(&self.kept);
        let planned = on_large_stack(async move {
            let state = session.state(Some(run))?;
            let bound = kept.planned.bind(values)?;
            Ok(physical_plan(&state, &state.optimize(&bound)?).await?.plan)
        });
        ready(planned.await?)
    }

    /// Runs the statement with `values` for its parameters to its end, and explains what happened.
    async fn analyzed(&self, values: Vec<ScalarValue>) -> Result<RecordBatch, EngineError> {
        let (session, run) = (self.session.clone(), Arc::clone(&self.run));
        let kept = Arc::clone(&self.kept);
        let (optimized, made) = on_large_stack(async move {
            let state = session.state(Some(run))?;
            let optimized = state.optimize(&kept.planned.bind(values)?)?;
            let made = physical_plan(&state, &optimized).await?;
            Ok((optimized, made))
        })
        .await?;
        let plan = ready(made.plan, self.context.session_config().options(), self.run.pushdown)?;
        note_sources(&plan, &self.run)?;
        let mut stream = execute_stream(Arc::clone(&plan), Arc::clone(&self.context))?;
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await? {
            rows += batch.num_rows() as u64;
        }
        explanation_of(&explain_analyzed(&optimized, &plan, &made.kept, &self.run, rows)?)
    }

    /// The statement's plan, made when it first runs; `None` where each run needs its own.
    async fn template(&self) -> Option<&PlanTemplate> {
        let make = async || {
            let (session, kept) = (self.session.clone(), Arc::clone(&self.kept));
            let made = on_large_stack(async move {
                let Some(open) = kept.planned.open()? else {
                    return Ok(None);
                };
                let state = session.state(None)?;
                let optimized = optimize_open(&state, &open)?;
                let plan = physical_plan(&state, &optimized).await?.plan;
                if !is_small(&plan)? {
                    return Ok(PlanTemplate::of(plan)?);
                }
                let plan = physical_plan(&in_one_piece(&state), &optimized).await?.plan;
                Ok(PlanTemplate::of(plan)?)
            });
            // What stands in the way, if it stands in the way of a run too, is told when that one is planned.
            made.await.unwrap_or_else(|error| {
                tracing::debug!(%error, "a plan is not kept");
                None
            })
        };
        self.kept.template.get_or_init(make).await.as_ref()
    }

    /// The rows, one row of parameters after the other. The first plan begins at once.
    pub fn stream(mut self) -> Result<BoxStream<'static, Result<RecordBatch, EngineError>>, EngineError> {
        let begun = match self.first.take() {
            Some(plan) => Some(execute_stream(plan, Arc::clone(&self.context))?),
            None => None,
        };
        let inner = futures::stream::try_unfold((self, begun), |(mut steps, begun)| async move {
            let rows = match begun {
                Some(rows) => rows,
                None => {
                    let Some(values) = steps.rows.next_row()? else {
                        return Ok::<_, EngineError>(None);
                    };
                    if steps.kept.planned.is_analyzed {
                        let explanation = steps.analyzed(values).await?;
                        return Ok(Some((futures::stream::iter([Ok(explanation)]).boxed(), (steps, None))));
                    }
                    execute_stream(steps.plan(values).await?, Arc::clone(&steps.context))?
                }
            };
            Ok(Some((rows.map_err(EngineError::from).boxed(), (steps, None))))
        })
        .try_flatten();
        let inner = std::panic::AssertUnwindSafe(inner).catch_unwind().map(|item| {
            item.unwrap_or_else(|_| {
                Err(EngineError::internal(
                    "an operator broke off",
                    &"a panic while rows were made",
                ))
            })
        });
        Ok(inner.boxed())
    }
}

/// Tells the run the sources of a plan's scans, and of the keys that their policies need.
fn note_sources(plan: &Arc<dyn ExecutionPlan>, run: &QueryRun) -> Result<(), EngineError> {
    let note = |enforcement: &Enforcement, reads: usize| {
        run.note(&enforcement.source.name, reads);
        for admission in enforcement.policies.iter().flat_map(|policy| &policy.admissions) {
            if let Admission::Keys { relation, .. } = admission {
                relation.steps.iter().for_each(|step| run.note(&step.source.name, 1));
            }
        }
    };
    plan.apply(|node| {
        if let Some(scan) = node.downcast_ref::<GovernedScanExec>() {
            note(&scan.enforcement, 1);
        }
        if let Some(scan) = node.downcast_ref::<AbsorbedScanExec>() {
            // One statement over all of its tables; one for each of them where a policy has too many keys.
            let each = usize::from(scan.otherwise.is_some());
            scan.remote.reads.iter().for_each(|read| note(&read.enforcement, each));
            run.note(&scan.remote.source.name, 1);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
