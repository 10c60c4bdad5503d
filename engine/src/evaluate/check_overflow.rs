//! Makes `+`, `-` and `*` of whole numbers fail on overflow, as decimals do and SQL demands (ISO/IEC 9075-2, 6.29: an
//! exact numeric result outside its type's range is an exception). DataFusion 55 wraps around.
//!
//! Owns: the analyzer rule and the three functions it puts in. Never: other types, or the names of columns.

use std::sync::Arc;

use arrow::compute::kernels::numeric;
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
    ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

/// The rule. Runs after type coercion, when both sides of an operator have one type.
///
/// A chain `a + b - c` becomes one call: a call for each operator would nest as deep as the chain is long, and every
/// rule that asks a nested call for its type walks it to the bottom.
#[derive(Debug)]
pub(crate) struct CheckOverflow;

impl CheckOverflow {
    /// The expression with the chain it starts, if it starts one, made checked. For `transform_down`.
    pub fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        if let Expr::Negative(inner) = &expr {
            return Self::negation(inner, schema).map(|negated| match negated {
                Some(negated) => Transformed::yes(negated),
                None => Transformed::no(expr),
            });
        }
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
            return Ok(Transformed::no(expr));
        };
        if Operation::of(*op).is_none() {
            return Ok(Transformed::no(expr));
        }
        let whole = match (left.get_type(schema), right.get_type(schema)) {
            (Ok(left), Ok(right)) => left == right && left.is_integer(),
            _ => false,
        };
        if !whole {
            return Ok(Transformed::no(expr));
        }
        let mut operations = Vec::new();
        let mut arguments = Vec::new();
        // Coercion left one type all along the chain: a cast, like everything else, ends it.
        let mut node = &expr;
        while let Expr::BinaryExpr(BinaryExpr { left, op, right }) = node
            && let Some(operation) = Operation::of(*op)
        {
            operations.push(operation);
            arguments.push(right.as_ref().clone());
            node = left;
        }
        arguments.push(node.clone());
        operations.reverse();
        arguments.reverse();
        let function = Arc::new(ScalarUDF::from(CheckedArithmetic::new(operations)));
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(
            function, arguments,
        ))))
    }

    /// `-x` as `0 - x`: the smallest number has no counterpart.
    fn negation(inner: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
        let Some(data_type) = inner.get_type(schema).ok().filter(DataType::is_integer) else {
            return Ok(None);
        };
        let zero = lit(ScalarValue::new_zero(&data_type)?);
        let function = Arc::new(ScalarUDF::from(CheckedArithmetic::new(vec![Operation::Subtract])));
        let arguments = vec![zero, inner.clone()];
        Ok(Some(Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))))
    }

    fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let checked = expr.transform_down(|part| Self::checked(part, &schema))?;
            Ok(if checked.transformed {
                checked.update_data(|expr| name.restore(expr))
            } else {
                checked
            })
        })?
        .map_data(|plan| plan.recompute_schema())
    }
}

impl AnalyzerRule for CheckOverflow {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(Self::rewrite).data()
    }

    fn name(&self) -> &'static str {
        "check_overflow"
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
}

impl Operation {
    fn of(op: Operator) -> Option<Self> {
        match op {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            _ => None,
        }
    }
}

/// A chain of checked operations, left to right, over whole numbers of one type; NULL if any is NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedArithmetic {
    operations: Vec<Operation>,
    signature: Signature,
}

impl CheckedArithmetic {
    fn new(operations: Vec<Operation>) -> Self {
        let signature = Signature::any(operations.len() + 1, Volatility::Immutable);
        Self { operations, signature }
    }
}

impl ScalarUDFImpl for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [first, rest @ ..] if first.is_integer() && rest.iter().all(|other| other == first) => Ok(first.clone()),
            _ => Err(DataFusionError::Plan(
                "checked arithmetic takes whole numbers of one type".to_owned(),
            )),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut values = arguments.args.into_iter();
        let first = values
            .next()
            .ok_or_else(|| DataFusionError::Plan("checked arithmetic takes numbers".to_owned()))?;
        self.operations
            .iter()
            .zip(values)
            .try_fold(first, |left, (operation, right)| match operation {
                Operation::Add => apply(&left, &right, numeric::add),
                Operation::Subtract => apply(&left, &right, numeric::sub),
                Operation::Multiply => apply(&left, &right, numeric::mul),
            })
    }
}
