//! Which of the user's predicates may be evaluated inside a governed scan, on rows that policy may hide.
//!
//! Owns: the list `LEAKPROOF`, and matching an expression against it. Never: pushes anything; the scan does, and only on
//! governed values.
//!
//! Leakproof is what cannot fail on any value and cannot tell anything but its own truth. The tests below evaluate every
//! line of the list over every type it names, on the extremes of that type.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

/// The form of a predicate over one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `column op constant`, or the constant first.
    Compare(Operator),
    /// `column [NOT] BETWEEN constant AND constant`.
    Between,
    /// `column [NOT] IN (constant, …)`, at least one.
    In,
    /// `column [NOT] LIKE constant`, case-sensitive, escaped by `\` and by nothing else, which is not its last character.
    Like,
    /// `column IS [NOT] NULL`.
    IsNull,
    /// `column`, which is a condition itself.
    Truth,
}

/// The types a shape is leakproof over. Every constant has exactly the column's type: a conversion could fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Types {
    /// Whole numbers, floats, decimals, truth values, texts, bytes, dates, times and timestamps.
    Plain,
    /// Texts.
    Text,
    /// Truth values.
    Boolean,
    /// Whatever there is: the value itself is not looked at.
    Any,
}

/// The whole list. AND, OR, NOT and IS [NOT] TRUE or FALSE of what is on it is leakproof too; nothing else is.
const LEAKPROOF: &[(Shape, Types)] = &[
    (Shape::Compare(Operator::Eq), Types::Plain),
    (Shape::Compare(Operator::NotEq), Types::Plain),
    (Shape::Compare(Operator::Lt), Types::Plain),
    (Shape::Compare(Operator::LtEq), Types::Plain),
    (Shape::Compare(Operator::Gt), Types::Plain),
    (Shape::Compare(Operator::GtEq), Types::Plain),
    (Shape::Between, Types::Plain),
    (Shape::In, Types::Plain),
    (Shape::Like, Types::Text),
    (Shape::IsNull, Types::Any),
    (Shape::Truth, Types::Boolean),
];

impl Types {
    fn hold(self, data_type: &DataType) -> bool {
        match self {
            Self::Any => true,
            Self::Boolean => *data_type == DataType::Boolean,
            Self::Text => *data_type == DataType::Utf8,
            Self::Plain => {
                data_type.is_numeric()
                    || data_type.is_temporal() && !matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
                    || matches!(
                        data_type,
                        DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary
                    )
            }
        }
    }
}

/// Whether `expr` is leakproof over the columns of `schema`. Another predicate without a column is not: it would be
/// evaluated where no row is visible.
pub(crate) fn is_leakproof(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
            is_leakproof(&binary.left, schema) && is_leakproof(&binary.right, schema)
        }
        Expr::Not(inner)
        | Expr::IsTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsNotFalse(inner) => is_leakproof(inner, schema),
        // What the optimizer made of a predicate that was accepted (`id <= NULL`): it can neither fail nor tell.
        Expr::Literal(ScalarValue::Boolean(_), _) => true,
        _ => one_column(expr).is_some_and(|predicate| predicate.is_listed(schema)),
    }
}

/// A predicate over one column, taken apart.
struct Predicate<'a> {
    shape: Shape,
    column: &'a Expr,
    constants: Vec<&'a Expr>,
}

impl Predicate<'_> {
    fn is_listed(&self, schema: &DFSchema) -> bool {
        let Expr::Column(_) = self.column else { return false };
        let Ok(data_type) = self.column.get_type(schema) else {
            return false;
        };
        let same = |constant: &&Expr| match constant {
            Expr::Literal(scalar, _) => scalar.data_type() == data_type,
            // A constant whose value comes when the statement runs. A pattern must be known, which `one_column` sees to.
            Expr::Placeholder(placeholder) => {
                (placeholder.field.as_ref()).is_some_and(|field| *field.data_type() == data_type)
            }
            _ => false,
        };
        let listed = |(shape, types): &(Shape, Types)| *shape == self.shape && types.hold(&data_type);
        self.constants.iter().all(same) && LEAKPROOF.iter().any(listed)
    }
}

/// The form of `expr` and its parts; `None` for a form that is not on the list.
fn one_column(expr: &Expr) -> Option<Predicate<'_>> {
    let (shape, column, constants) = match expr {
        Expr::BinaryExpr(binary) => {
            let (column, constant) = match (&*binary.left, &*binary.right) {
                (column @ Expr::Column(_), constant) | (constant, column) => (column, constant),
            };
            (Shape::Compare(binary.op), column, vec![constant])
        }
        Expr::Between(between) => (Shape::Between, &*between.expr, vec![&*between.low, &*between.high]),
        Expr::InList(list) if !list.list.is_empty() => (Shape::In, &*list.expr, list.list.iter().collect()),
        Expr::Like(like) if !like.case_insensitive && like.escape_char.is_none() && is_whole(&like.pattern) => {
            (Shape::Like, &*like.expr, vec![&*like.pattern])
        }
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => (Shape::IsNull, &**inner, Vec::new()),
        Expr::Column(_) => (Shape::Truth, expr, Vec::new()),
        _ => return None,
    };
    Some(Predicate {
        shape,
        column,
        constants,
    })
}

/// Whether a pattern escapes a character wherever it escapes.
fn is_whole(pattern: &Expr) -> bool {
    matches!(pattern, Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) if !pattern.ends_with('\\'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch};
    use arrow::datatypes::{Field, IntervalUnit, Schema, TimeUnit};
    use datafusion::execution::SessionStateBuilder;
    use datafusion::logical_expr::{binary_expr, cast, col, lit, not};

    use super::*;

    fn check(expr: &Expr, expected: bool) {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("open", DataType::Boolean, true),
        ]);
        let schema = DFSchema::try_from(schema).expect("a schema");
        assert_eq!(is_leakproof(expr, &schema), expected, "{expr}");
    }

    #[test]
    fn comparisons_with_literals_of_the_same_type_pass() {
        check(&col("id").eq(lit(1_i64)), true);
        check(&lit(1_i64).lt(col("id")), true);
        check(&col("id").between(lit(1_i64), lit(2_i64)), true);
        check(&col("id").in_list(vec![lit(1_i64), lit(2_i64)], true), true);
        check(&col("name").is_null().or(not(col("open"))), true);
        check(&col("name").like(lit("a%")), true);
        check(&lit(false), true);
        check(&lit(ScalarValue::Boolean(None)), true);
    }

    #[test]
    fn what_can_fail_or_tell_stays_above() {
        check(&(lit(1_i64) / col("id")).gt(lit(0_i64)), false);
        check(&cast(col("name"), DataType::Int64).eq(lit(1_i64)), false);
        check(&col("id").eq(lit(1_i32)), false);
        check(&col("id").eq(col("id")), false);
        check(&lit(1_i64).eq(lit(1_i64)), false);
        check(&col("name").like(lit("a\\")), false);
        check(&col("name").ilike(lit("a")), false);
        check(&col("id").in_list(Vec::new(), false), false);
        check(&col("name"), false);
        check(
            &col("id").eq(lit(1_i64)).and((lit(1_i64) / col("id")).gt(lit(0_i64))),
            false,
        );
        check(&col("absent").eq(lit(1_i64)), false);
    }

    /// Every binary operator that is not one of the six stays above, whatever its type.
    #[test]
    fn no_other_operator_is_listed() {
        use Operator::*;
        for op in [
            Plus,
            Minus,
            Multiply,
            Divide,
            Modulo,
            IsDistinctFrom,
            IsNotDistinctFrom,
            RegexMatch,
            RegexIMatch,
            RegexNotMatch,
            RegexNotIMatch,
            LikeMatch,
            ILikeMatch,
            NotLikeMatch,
            NotILikeMatch,
            BitwiseAnd,
            BitwiseOr,
            BitwiseXor,
            BitwiseShiftLeft,
            BitwiseShiftRight,
            StringConcat,
            AtArrow,
            ArrowAt,
            IntegerDivide,
        ] {
            check(&binary_expr(col("id"), op, lit(1_i64)), false);
            check(&binary_expr(col("name"), op, lit("a")), false);
        }
    }

    /// The extremes of a type, NULL among them.
    fn extremes(data_type: &DataType) -> Vec<ScalarValue> {
        let text = |text: &str| match data_type {
            DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(text.to_owned())),
            DataType::Binary => ScalarValue::Binary(Some(text.as_bytes().to_vec())),
            _ => ScalarValue::Utf8(Some(text.to_owned())),
        };
        let mut all = vec![ScalarValue::try_from(data_type).expect("a NULL")];
        match data_type {
            DataType::Boolean => all.extend([true, false].map(|value| ScalarValue::Boolean(Some(value)))),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary => all.extend(
                [
                    "",
                    "%",
                    "_",
                    "\\",
                    "a\\",
                    "'",
                    "\0",
                    "\u{feff}",
                    "客户",
                    "bob-secret",
                    &"x".repeat(70_000),
                ]
                .map(text),
            ),
            DataType::Float32 => all.extend(
                [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, f32::MIN_POSITIVE]
                    .map(|value| ScalarValue::Float32(Some(value))),
            ),
            DataType::Float64 => all.extend(
                [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::MIN_POSITIVE]
                    .map(|value| ScalarValue::Float64(Some(value))),
            ),
            DataType::Decimal128(precision, scale) => all.extend(
                [
                    10_i128.pow(u32::from(*precision)) - 1,
                    0,
                    1 - 10_i128.pow(u32::from(*precision)),
                ]
                .map(|value| ScalarValue::Decimal128(Some(value), *precision, *scale)),
            ),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => all.extend(
                [i64::MIN, 0, i64::MAX].map(|value| ScalarValue::TimestampMicrosecond(Some(value), zone.clone())),
            ),
            DataType::Time64(_) => {
                all.extend([0, i64::MAX].map(|value| ScalarValue::Time64Microsecond(Some(value))));
            }
            DataType::Date32 => all.extend([i32::MIN, 0, i32::MAX].map(|value| ScalarValue::Date32(Some(value)))),
            _ => all.extend(
                [
                    ScalarValue::min(data_type),
                    ScalarValue::max(data_type),
                    ScalarValue::new_zero(data_type).ok(),
                ]
                .into_iter()
                .flatten(),
            ),
        }
        all
    }

    fn predicates(shape: Shape, one: &ScalarValue, other: &ScalarValue) -> Vec<Expr> {
        let constant = |scalar: &ScalarValue| Expr::Literal(scalar.clone(), None);
        let column = || col("c");
        match shape {
            Shape::Compare(op) => vec![
                binary_expr(column(), op, constant(one)),
                binary_expr(constant(one), op, column()),
            ],
            Shape::Between => vec![
                column().between(constant(one), constant(other)),
                column().not_between(constant(one), constant(other)),
            ],
            Shape::In => [true, false]
                .map(|negated| column().in_list(vec![constant(one), constant(other)], negated))
                .to_vec(),
            Shape::Like => vec![column().like(constant(one)), column().not_like(constant(one))],
            Shape::IsNull => vec![column().is_null(), column().is_not_null()],
            Shape::Truth => vec![column(), not(column()), column().is_true(), column().is_not_false()],
        }
    }

    fn types() -> Vec<DataType> {
        use DataType::*;
        vec![
            Boolean,
            Int8,
            Int16,
            Int32,
            Int64,
            UInt8,
            UInt16,
            UInt32,
            UInt64,
            Float32,
            Float64,
            Decimal128(38, 10),
            Decimal128(5, 2),
            Utf8,
            LargeUtf8,
            Binary,
            Date32,
            Time64(TimeUnit::Microsecond),
            Timestamp(TimeUnit::Microsecond, None),
            Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ]
    }

    /// For each line of the list and each type: what `is_leakproof` lets through evaluates on every value.
    #[test]
    fn nothing_on_the_list_fails_on_any_value() {
        let state = SessionStateBuilder::new().with_default_features().build();
        let mut evaluated = 0;
        for data_type in types() {
            let values = extremes(&data_type);
            let array: ArrayRef = ScalarValue::iter_to_array(values.clone()).expect("an array");
            let schema = Arc::new(Schema::new(vec![Field::new("c", data_type.clone(), true)]));
            let df_schema = DFSchema::try_from(schema.as_ref().clone()).expect("a schema");
            let batch = RecordBatch::try_new(schema, vec![array]).expect("a batch");
            for (shape, types) in LEAKPROOF {
                for (one, other) in values.iter().zip(values.iter().rev()) {
                    for predicate in predicates(*shape, one, other) {
                        let listed = is_leakproof(&predicate, &df_schema);
                        if *shape != Shape::Like {
                            assert_eq!(listed, types.hold(&data_type), "{predicate} over {data_type}");
                        }
                        if listed {
                            let compiled = state.create_physical_expr(predicate.clone(), &df_schema);
                            let found = compiled.and_then(|compiled| compiled.evaluate(&batch));
                            assert!(found.is_ok(), "{predicate} over {data_type}: {found:?}");
                            evaluated += 1;
                        }
                    }
                }
            }
        }
        assert!(evaluated > 1_000, "{evaluated}");
    }

    #[test]
    fn types_that_compare_by_their_parts_stay_above() {
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        for data_type in [
            DataType::List(Arc::clone(&item)),
            DataType::Struct(vec![item].into()),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Duration(TimeUnit::Second),
        ] {
            let schema = DFSchema::try_from(Schema::new(vec![Field::new("c", data_type.clone(), true)])).expect("one");
            let null = Expr::Literal(ScalarValue::try_from(&data_type).expect("a NULL"), None);
            assert!(!is_leakproof(&col("c").eq(null), &schema), "{data_type}");
            assert!(is_leakproof(&col("c").is_null(), &schema), "{data_type}");
        }
    }
}
