//! Long constants are counted where they are written out for every row.
//!
//! Owns: the function that counts, and putting it around long constants once a plan is final. Never: shortens one.
//!
//! `SELECT range(1000000) FROM t` is computed once, and then written out row by row: eight megabytes for each of
//! thousands. Neither the memory pool nor a function's own bound sees that.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::statement::bounded_allocation::BATCH_BYTES;

/// A constant of fewer bytes is nothing even in the longest batch.
const SHORT_BYTES: usize = 4 << 10;

/// The optimised plan with every long constant counted, but for those that are compared and never written out.
pub(crate) fn spread_literals(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| {
        // What a scan takes is leakproof and stays as it is.
        if matches!(node, LogicalPlan::TableScan(_) | LogicalPlan::Limit(_)) {
            return Ok(Transformed::no(node));
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let counted = expr.transform_down(|part| Ok(counted(part)))?;
            Ok(if counted.transformed {
                counted.update_data(|expr| name.restore(expr))
            } else {
                counted
            })
        })
    })
    .data()
}

fn counted(expr: Expr) -> Transformed<Expr> {
    match &expr {
        Expr::Literal(scalar, _) if scalar.size() > SHORT_BYTES => {
            let function = Arc::new(ScalarUDF::from(Spread::new()));
            let call = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![expr]));
            Transformed::new(call, true, TreeNodeRecursion::Jump)
        }
        // Compared with each row as they are.
        Expr::Like(_) | Expr::SimilarTo(_) | Expr::InList(_) => Transformed::new(expr, false, TreeNodeRecursion::Jump),
        Expr::BinaryExpr(binary)
            if binary.op.supports_propagation() && matches!(*binary.right, Expr::Literal(_, _)) =>
        {
            Transformed::new(expr, false, TreeNodeRecursion::Jump)
        }
        _ => Transformed::no(expr),
    }
}

/// Gives its argument, if that may be written out for so many rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Spread {
    signature: Signature,
}

impl Spread {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Spread {
    fn name(&self) -> &'static str {
        "spread"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        arguments
            .first()
            .cloned()
            .ok_or_else(|| DataFusionError::Plan("a constant is missing".to_owned()))
    }

    /// As nullable as the constant is: the plan's schemas stay as they were.
    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        arguments
            .arg_fields
            .first()
            .cloned()
            .ok_or_else(|| DataFusionError::Plan("a constant is missing".to_owned()))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows as u64;
        let value = arguments
            .args
            .into_iter()
            .next()
            .ok_or_else(|| DataFusionError::Plan("a constant is missing".to_owned()))?;
        if let ColumnarValue::Scalar(scalar) = &value
            && rows > 1
            && (scalar.size() as u64).saturating_mul(rows) > BATCH_BYTES
        {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "a constant in each of {rows} rows would take more than {} MiB",
                BATCH_BYTES >> 20
            )));
        }
        Ok(value)
    }
}
