//! Expressions that no row can make fail: what an error would say of one row of a group, no one may know.
//!
//! Owns: the list, by form and by class of type. Never: what a predicate may tell (`leakproof` is narrower).

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

/// Whether no row can make the expression fail: what an error would say of a row of a group, no one may know.
pub(crate) fn cannot_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let all = |parts: &[&Expr]| parts.iter().all(|part| cannot_fail(part, schema));
    let alike = |parts: &[&Expr]| all(parts) && are_alike(parts, schema);
    match expr {
        Expr::Column(_) | Expr::Literal(..) | Expr::Placeholder(_) => true,
        Expr::Alias(alias) => cannot_fail(&alias.expr, schema),
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::And | Operator::Or => all(&[&binary.left, &binary.right]),
            Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                alike(&[&binary.left, &binary.right])
            }
            _ => false,
        },
        Expr::Not(inner)
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsNotFalse(inner) => cannot_fail(inner, schema),
        Expr::Between(between) => alike(&[&between.expr, &between.low, &between.high]),
        Expr::InList(list) => {
            let parts: Vec<&Expr> = std::iter::once(list.expr.as_ref()).chain(&list.list).collect();
            alike(&parts)
        }
        Expr::Like(like) => {
            let fixed = matches!(like.pattern.as_ref(), Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) if !pattern.ends_with('\\'));
            fixed && alike(&[&like.expr, &like.pattern])
        }
        Expr::Case(case) => {
            let tested = case.expr.iter().map(AsRef::as_ref);
            let branches = case.when_then_expr.iter();
            let mut compared: Vec<&Expr> = tested.collect();
            compared.extend(branches.clone().map(|(when, _)| when.as_ref()));
            let values: Vec<&Expr> = branches
                .map(|(_, then)| then.as_ref())
                .chain(case.else_expr.iter().map(AsRef::as_ref))
                .collect();
            (if case.expr.is_some() {
                alike(&compared)
            } else {
                all(&compared)
            }) && alike(&values)
        }
        Expr::ScalarFunction(function) if function.name() == "coalesce" => {
            alike(&function.args.iter().collect::<Vec<_>>())
        }
        Expr::ScalarFunction(function) if function.name() == "date_part" => match function.args.as_slice() {
            [Expr::Literal(..), time] => is_temporal(time, schema) && cannot_fail(time, schema),
            _ => false,
        },
        _ => false,
    }
}

/// Whether values of these are compared without a cast that a value could fail.
fn are_alike(parts: &[&Expr], schema: &DFSchema) -> bool {
    let mut found: Option<Class> = None;
    for part in parts {
        if matches!(part, Expr::Placeholder(_)) {
            continue;
        }
        let Ok(data_type) = part.get_type(schema) else {
            return false;
        };
        let constant = matches!(part, Expr::Literal(..));
        match (Class::of(&data_type), found) {
            (Class::Null, _) => {}
            (class, None) => found = Some(class),
            (class, Some(known)) if class == known => {}
            // A constant is cast when the statement is planned.
            (Class::Text, Some(Class::Temporal)) if constant => {}
            _ => return false,
        }
    }
    found != Some(Class::Other)
}

fn is_temporal(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema)
        .is_ok_and(|data_type| Class::of(&data_type) == Class::Temporal)
}

/// Types that compare with each other whatever the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Null,
    Number,
    Text,
    Boolean,
    Temporal,
    Other,
}

impl Class {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean,
            other if other.is_numeric() => Self::Number,
            other if other.is_string() => Self::Text,
            other if other.is_temporal() => Self::Temporal,
            _ => Self::Other,
        }
    }
}
