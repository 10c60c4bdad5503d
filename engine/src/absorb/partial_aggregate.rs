//! Aggregate calls taken apart: what a source computes of each of its groups, and what joins those to the call's own value.
//!
//! Owns: which calls decompose, and with which types. Never: a sum of floats, whose value depends on its order; a sum of a
//! group that might not fit though the whole does.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction as Call, AggregateFunctionParams};
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, cast, lit, when};

use super::region::lost;
use super::split_average::parts as average_parts;
use crate::evaluate::average::average;
use crate::evaluate::checked_sum::CheckedSum;
use crate::statement::aggregate_functions;

/// A decimal of at most so many digits leaves ten for its sum: as many rows as no table has.
const SUMMED_DIGITS_MAX: u8 = 28;
/// Digits that a sum has more than what it sums.
const SUM_DIGITS: u8 = 10;

/// The functions that partial values are brought together by.
pub(super) struct Functions {
    sum: Arc<AggregateUDF>,
    count: Arc<AggregateUDF>,
}

/// A call, taken apart.
pub(super) struct TakenApart {
    /// The calls whose values the source gives for each of its groups.
    pub below: Vec<Expr>,
    form: Form,
}

enum Form {
    /// A sum of sums, of this type.
    Sum(DataType),
    /// A sum of counts; a row without a partner counts as so many.
    Count { unmatched: i64 },
    /// The least of the least, the greatest of the greatest.
    Extreme(Arc<AggregateUDF>),
    /// A sum of sums, of this type, by a sum of counts.
    Average(DataType),
}

impl Functions {
    /// The session's own.
    pub fn find() -> Option<Self> {
        let functions = aggregate_functions();
        let find = |name: &str| functions.iter().find(|function| function.name() == name).cloned();
        Some(Self {
            sum: find("sum")?,
            count: find("count")?,
        })
    }

    /// `call` over columns of `schema`, taken apart; `None` where it does not decompose. `is_optional`: rows of an outer
    /// join may have no partner, and hold NULL in the columns and in the values of `below` alike.
    pub fn take_apart(&self, call: &Expr, schema: &DFSchema, is_optional: bool) -> Result<Option<TakenApart>> {
        let Some(Call { func, params }) = as_call(call) else {
            return Ok(None);
        };
        let [argument] = params.args.as_slice() else {
            return Ok(None);
        };
        if params.distinct || !params.order_by.is_empty() || params.null_treatment.is_some() {
            return Ok(None);
        }
        let counts_rows = func.name() == "count" && matches!(argument, Expr::Literal(value, _) if !value.is_null());
        if is_optional && (params.filter.is_some() || !(counts_rows || is_null_of_null(argument))) {
            return Ok(None);
        }
        let same = |form: Form| TakenApart {
            below: vec![unaliased(call).clone()],
            form,
        };
        Ok(match func.name() {
            "count" => Some(same(Form::Count {
                unmatched: i64::from(counts_rows && is_optional),
            })),
            "min" | "max" => Some(same(Form::Extreme(Arc::clone(func)))),
            "sum" => summed(argument, schema)?.map(|(argument, result)| TakenApart {
                below: vec![of(&self.sum, argument, params)],
                form: Form::Sum(result),
            }),
            "avg" => match average_parts(unaliased(call), schema, &self.sum, &self.count)? {
                Some((sum, count)) => decimal_sum(&first_argument(&sum).get_type(schema)?).map(|total| TakenApart {
                    below: vec![sum, count],
                    form: Form::Average(total),
                }),
                None => None,
            },
            _ => None,
        })
    }

    /// The calls that bring the values of `below` together, which stand in `columns`.
    pub fn above(&self, parts: &TakenApart, columns: &[Expr]) -> Result<Vec<Expr>> {
        let plain = AggregateFunctionParams {
            args: Vec::new(),
            distinct: false,
            filter: None,
            order_by: Vec::new(),
            null_treatment: None,
        };
        columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                Ok(match (&parts.form, at) {
                    (Form::Sum(total), _) | (Form::Average(total), 0) => {
                        of(&CheckedSum::of_sums(&self.sum, total.clone()), column.clone(), &plain)
                    }
                    (Form::Extreme(function), _) => of(function, column.clone(), &plain),
                    (Form::Count { unmatched: 0 } | Form::Average(_), _) => of(&self.sum, column.clone(), &plain),
                    (Form::Count { unmatched }, _) => of(&self.sum, or_else(column, *unmatched)?, &plain),
                })
            })
            .collect()
    }
}

impl TakenApart {
    /// The call's value, of the values of `above`.
    pub fn value(&self, totals: &[Expr], result: &DataType) -> Result<Expr> {
        match (&self.form, totals) {
            (Form::Sum(_) | Form::Extreme(_), [total]) => Ok(total.clone()),
            // Of no row at all the count is none, the sum of counts NULL.
            (Form::Count { .. }, [total]) => or_else(total, 0),
            (Form::Average(_), [sum, count]) => Ok(average(sum.clone(), count.clone(), result.clone())),
            _ => Err(lost()),
        }
    }
}

/// Whether more rows of the same values leave a call's value as it is.
pub(super) fn ignores_repetition(call: &Expr) -> bool {
    as_call(call).is_some_and(|Call { func, params }| match func.name() {
        "min" | "max" => true,
        "count" => params.distinct && params.order_by.is_empty(),
        _ => false,
    })
}

/// What `sum` is to sum at the source, and the type of the whole: that of the sum as it was written.
fn summed(argument: &Expr, schema: &DFSchema) -> Result<Option<(Expr, DataType)>> {
    let data_type = argument.get_type(schema)?;
    if let DataType::Decimal128(..) = data_type {
        return Ok(decimal_sum(&data_type).map(|total| (argument.clone(), total)));
    }
    if !matches!(data_type, DataType::Int64 | DataType::UInt64) {
        return Ok(None);
    }
    if let Expr::Cast(widened) = argument {
        let narrow = widened.expr.get_type(schema)?;
        if narrow.is_integer() && narrow.primitive_width().is_some_and(|width| width <= 4) {
            return Ok(Some((argument.clone(), data_type)));
        }
    }
    // Some groups' sums may not fit though all of them together do: they travel wider.
    Ok(Some((cast(argument.clone(), DataType::Decimal128(20, 0)), data_type)))
}

/// The type of a sum of decimals that has room for any number of rows.
fn decimal_sum(summed: &DataType) -> Option<DataType> {
    match summed {
        DataType::Decimal128(digits, scale) if *digits <= SUMMED_DIGITS_MAX => {
            Some(DataType::Decimal128(digits + SUM_DIGITS, *scale))
        }
        _ => None,
    }
}

fn of(function: &Arc<AggregateUDF>, argument: Expr, params: &AggregateFunctionParams) -> Expr {
    Expr::AggregateFunction(Call {
        func: Arc::clone(function),
        params: AggregateFunctionParams {
            args: vec![argument],
            ..params.clone()
        },
    })
}

/// `count`, or `otherwise` where it is NULL; written so that DataFusion sees that it never is.
fn or_else(count: &Expr, otherwise: i64) -> Result<Expr> {
    when(count.clone().is_not_null(), count.clone()).otherwise(lit(otherwise))
}

/// Whether the expression is NULL where every column of it is.
pub(super) fn is_null_of_null(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Cast(cast) => is_null_of_null(&cast.expr),
        _ => false,
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn as_call(expr: &Expr) -> Option<&Call> {
    match unaliased(expr) {
        Expr::AggregateFunction(call) => Some(call),
        _ => None,
    }
}

fn first_argument(call: &Expr) -> &Expr {
    as_call(call).and_then(|call| call.params.args.first()).unwrap_or(call)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use datafusion::functions_aggregate::expr_fn::{avg, count, count_distinct, max, sum};
    use datafusion::logical_expr::{ExprFunctionExt, col};

    use super::*;

    fn columns() -> DFSchema {
        let field = |name, data_type| Field::new(name, data_type, true);
        let fields = vec![
            field("short", DataType::Int16),
            field("long", DataType::Int64),
            field("money", DataType::Decimal128(28, 2)),
            field("wide", DataType::Decimal128(29, 2)),
            field("ratio", DataType::Float64),
            field("word", DataType::Utf8),
        ];
        DFSchema::try_from(Schema::new(fields)).unwrap()
    }

    fn parts(call: &Expr, is_optional: bool) -> Option<Vec<String>> {
        let functions = Functions::find().unwrap();
        let parts = functions.take_apart(call, &columns(), is_optional).unwrap()?;
        let below: Vec<String> = parts.below.iter().map(ToString::to_string).collect();
        assert_eq!(functions.above(&parts, &parts.below).unwrap().len(), below.len());
        Some(below)
    }

    #[track_caller]
    fn check(call: Expr, wanted: &[&str]) {
        let found = parts(&call, false).unwrap_or_default();
        assert_eq!(found, wanted, "{call}");
    }

    #[test]
    fn a_call_is_taken_apart_where_its_parts_always_fit() {
        let wide = |name| cast(col(name), DataType::Int64);
        check(count(lit(1)), &["count(Int32(1))"]);
        check(max(col("word")), &["max(word)"]);
        check(sum(wide("short")), &["sum(CAST(short AS Int64))"]);
        check(sum(col("long")), &["sum(CAST(long AS Decimal128(20, 0)))"]);
        check(sum(col("money")), &["sum(money)"]);
        check(avg(col("money")), &["sum(money)", "count(money)"]);
        check(sum(col("wide")), &[]);
        check(avg(col("wide")), &[]);
        check(sum(col("ratio")), &[]);
        check(avg(col("ratio")), &[]);
        check(count_distinct(col("word")), &[]);
    }

    #[test]
    fn a_row_without_a_partner_adds_nothing_or_itself() {
        assert!(parts(&count(lit(1)), true).is_some());
        assert!(parts(&count(col("word")), true).is_some());
        assert!(parts(&sum(cast(col("short"), DataType::Int64)), true).is_some());
        let or_one = when(col("money").is_null(), lit(1)).otherwise(col("money")).unwrap();
        assert!(parts(&max(or_one.clone()), true).is_none());
        assert!(parts(&max(or_one), false).is_some());
        let some = count(lit(1)).filter(col("word").is_null()).build().unwrap();
        assert!(parts(&some, true).is_none());
        assert!(parts(&some, false).is_some());
    }
}
