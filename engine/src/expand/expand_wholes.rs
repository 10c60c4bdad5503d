//! Whole views in a plan become plans over governed tables, with what the statement reads of them alone.
//!
//! Owns: which columns of a whole view a statement reads. Never: what they are made of (`whole_view`).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, TableType, lit};
use datafusion::physical_plan::ExecutionPlan;

use crate::EngineError;
use crate::metrics::plan_parts::bare;
use crate::resolve::governed_catalog::GovernedCatalog;

/// The provider that a whole view's name leads to.
#[derive(Debug)]
pub(crate) struct WholeTable {
    /// Its name in `unified`.
    pub name: String,
    pub schema: SchemaRef,
}

#[async_trait]
impl TableProvider for WholeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(EngineError::internal("a whole view was not expanded", &self.name).into())
    }
}

/// The plan with every whole view expanded.
pub(crate) fn expand_wholes(
    plan: LogicalPlan,
    catalog: &GovernedCatalog,
) -> std::result::Result<LogicalPlan, EngineError> {
    let mut wanted: BTreeSet<String> = outputs(&plan);
    let mut concerned = false;
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                concerned |= source_as_provider(&scan.source)
                    .is_ok_and(|provider| provider.downcast_ref::<WholeTable>().is_some());
            }
            LogicalPlan::Subquery(subquery) => wanted.extend(outputs(&subquery.subquery)),
            LogicalPlan::Union(union) => union.inputs.iter().for_each(|input| wanted.extend(outputs(input))),
            LogicalPlan::Distinct(Distinct::All(input)) => wanted.extend(outputs(input)),
            _ => {}
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                match part {
                    Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => {
                        wanted.insert(column.name.clone());
                    }
                    Expr::ScalarSubquery(subquery) => wanted.extend(outputs(&subquery.subquery)),
                    Expr::InSubquery(list) => wanted.extend(outputs(&list.subquery.subquery)),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if !concerned {
        return Ok(plan);
    }
    let expanded = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = &node else {
            return Ok(Transformed::no(node));
        };
        let Ok(provider) = source_as_provider(&scan.source) else {
            return Ok(Transformed::no(node));
        };
        let Some(whole) = provider.downcast_ref::<WholeTable>() else {
            return Ok(Transformed::no(node));
        };
        let view = catalog.whole(&whole.name, Some(&wanted))?;
        let view = view.ok_or_else(|| EngineError::internal("a whole view is not there", &whole.name))?;
        let mut columns = Vec::new();
        for (qualifier, field) in scan.projected_schema.iter() {
            let column = match view.plan().schema().has_column_with_unqualified_name(field.name()) {
                true => bare(field.name()),
                false => lit(ScalarValue::try_from(field.data_type())?),
            };
            columns.push(column.alias_qualified(qualifier.cloned(), field.name()));
        }
        let plan = LogicalPlanBuilder::from(view.plan().clone())
            .project(columns)?
            .build()?;
        Ok(Transformed::yes(plan))
    })?;
    Ok(expanded.data)
}

/// The names of a relation's columns.
fn outputs(plan: &LogicalPlan) -> BTreeSet<String> {
    plan.schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}
