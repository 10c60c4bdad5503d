//! Puts the functions that planners write of themselves behind the bounds that those a statement names have.
//!
//! Owns: the analyzer rule, and `||` as a function. Never: how large a result may be (`statement::bounded_allocation`).
//!
//! `ARRAY[a, b]` becomes DataFusion's own `make_array`, not the registered one, and `||` stays an operator: both double
//! a value with each level of nesting, 2 to the power of 50 in a statement of a few hundred bytes.

use std::sync::Arc;

use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::statement::{bounded, bounded_concatenation};

/// The rule. Runs after type coercion, when both sides of `||` have one type.
#[derive(Debug)]
pub(crate) struct BoundCalls;

impl BoundCalls {
    fn call(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match &expr {
            Expr::ScalarFunction(call) => Ok(match bounded(&call.func) {
                Some(function) => Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(
                    function,
                    call.args.clone(),
                ))),
                None => Transformed::no(expr),
            }),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == Operator::StringConcat => {
                let bytes = match (left.get_type(schema), right.get_type(schema)) {
                    (Ok(left), Ok(right)) => left == right && is_text(&left),
                    _ => false,
                };
                Ok(if bytes {
                    Transformed::yes(chain(&expr))
                } else {
                    Transformed::no(expr)
                })
            }
            _ => Ok(Transformed::no(expr)),
        }
    }

    fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let called = expr.transform_down(|part| Self::call(part, &schema))?;
            Ok(if called.transformed {
                called.update_data(|expr| name.restore(expr))
            } else {
                called
            })
        })?
        .map_data(LogicalPlan::recompute_schema)
    }
}

impl AnalyzerRule for BoundCalls {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(Self::rewrite).data()
    }

    fn name(&self) -> &'static str {
        "bound_calls"
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    )
}

/// `a || b || c` as one call: coercion left one type all along the chain, and a cast, like everything else, ends it.
fn chain(expr: &Expr) -> Expr {
    let mut arguments = Vec::new();
    let mut node = expr;
    while let Expr::BinaryExpr(BinaryExpr { left, op, right }) = node
        && *op == Operator::StringConcat
    {
        arguments.push(right.as_ref().clone());
        node = left;
    }
    arguments.push(node.clone());
    arguments.reverse();
    let function = bounded_concatenation(ScalarUDF::from(Concatenation::new()));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))
}

/// Texts of one type one after the other; NULL if any is NULL, as `||` gives.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Concatenation {
    signature: Signature,
}

impl Concatenation {
    fn new() -> Self {
        Self {
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Concatenation {
    fn name(&self) -> &'static str {
        "concatenation"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [first, rest @ ..] if is_text(first) && rest.iter().all(|other| other == first) => Ok(first.clone()),
            _ => Err(DataFusionError::Plan("`||` takes texts of one type".to_owned())),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = arguments
            .args
            .iter()
            .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { arguments.number_rows };
        let mut texts = arguments.args.into_iter();
        let first = texts
            .next()
            .ok_or_else(|| DataFusionError::Plan("`||` takes texts".to_owned()))?;
        let joined = texts.try_fold(first.into_array(rows)?, |left, right| {
            concat_elements_dyn(&left, &right.into_array(rows)?).map_err(DataFusionError::from)
        })?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?)
        } else {
            ColumnarValue::Array(Arc::clone(&joined))
        })
    }
}
