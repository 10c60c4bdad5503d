//! An attribute is compared with values of its own class only: numbers with numbers, text with text.
//!
//! Owns: finding where type coercion would bridge two classes for an attribute's sake. Never: what becomes of the policy.
//!
//! DataFusion compares text with a number by casting one of them; a policy that says `branch = principal.branch` would
//! then admit by accident of spelling. So an attribute stays a typed placeholder until coercion is done, and the casts
//! that coercion added around it tell.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, lit};

use super::policy_expr::placeholder_number;

/// An attribute's value, or one element of it, that a placeholder stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    /// The attribute, without `principal.`.
    pub attribute: String,
    /// Its value; untyped NULL where it is not known.
    pub value: ScalarValue,
}

/// Names what the steward cast himself. Holds a character no column may have.
const EXPLICIT: &str = "\u{1}explicit";

/// Gives every placeholder its value's type, and marks the casts that were written.
pub(super) fn mark(expr: Expr, values: &[Bound]) -> Result<Expr> {
    let marked = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Placeholder(placeholder) => match bound(&placeholder, values) {
                Some(known) if known.value == ScalarValue::Null => Transformed::yes(lit(ScalarValue::Null)),
                Some(known) => {
                    let field = Field::new("", known.value.data_type(), known.value.is_null());
                    Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(
                        placeholder.id,
                        Some(Arc::new(field)),
                    )))
                }
                None => Transformed::no(Expr::Placeholder(placeholder)),
            },
            Expr::Cast(mut cast) => {
                cast.expr = Box::new(cast.expr.alias(EXPLICIT));
                Transformed::yes(Expr::Cast(cast))
            }
            Expr::TryCast(mut cast) => {
                cast.expr = Box::new(cast.expr.alias(EXPLICIT));
                Transformed::yes(Expr::TryCast(cast))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(marked.data)
}

/// The first attribute for whose sake coercion bridged two classes.
pub(super) fn mismatch<'a>(expr: &Expr, schema: &DFSchema, values: &'a [Bound]) -> Result<Option<&'a Bound>> {
    let mut found = None;
    expr.apply(|node| {
        let operands: Vec<&Expr> = match node {
            Expr::BinaryExpr(binary) if !matches!(binary.op, Operator::And | Operator::Or) => {
                vec![&binary.left, &binary.right]
            }
            Expr::InList(list) => std::iter::once(list.expr.as_ref()).chain(&list.list).collect(),
            Expr::Between(between) => vec![&between.expr, &between.low, &between.high],
            Expr::Like(like) | Expr::SimilarTo(like) => vec![&like.expr, &like.pattern],
            Expr::Case(case) => case
                .expr
                .iter()
                .map(AsRef::as_ref)
                .chain(case.when_then_expr.iter().map(|(when, _)| when.as_ref()))
                .collect(),
            _ => Vec::new(),
        };
        let mut compared = None;
        for operand in &operands {
            compared = compared.or(first_attribute(operand, values)?);
        }
        for operand in operands {
            if compared.is_some() && bridges(operand, schema, values)? {
                found = compared;
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        // Anywhere else, only the attribute itself is looked at: a function may take a column of any class.
        node.apply_children(|child| {
            if let Some(attribute) = cast_attribute(child, values)
                && bridges(child, schema, values)?
            {
                found = Some(attribute);
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Jump)
        })?;
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// Puts the values in place of their placeholders and takes the marks off.
pub(super) fn settle(expr: Expr, values: &[Bound]) -> Result<Expr> {
    let settled = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Placeholder(placeholder) => match bound(&placeholder, values) {
                Some(known) => Transformed::yes(lit(known.value.clone())),
                None => Transformed::no(Expr::Placeholder(placeholder)),
            },
            Expr::Alias(alias) if alias.name == EXPLICIT => Transformed::yes(*alias.expr),
            other => Transformed::no(other),
        })
    })?;
    Ok(settled.data)
}

fn bound<'a>(placeholder: &Placeholder, values: &'a [Bound]) -> Option<&'a Bound> {
    values.get(placeholder_number(&placeholder.id)?.checked_sub(1)?)
}

fn first_attribute<'a>(expr: &Expr, values: &'a [Bound]) -> Result<Option<&'a Bound>> {
    let mut first = None;
    expr.apply(|part| {
        if let Expr::Placeholder(placeholder) = part {
            first = bound(placeholder, values);
        }
        Ok(match first {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(first)
}

/// What a cast that coercion added is of.
fn implicit_cast(expr: &Expr) -> Option<&Expr> {
    let inner = match expr {
        Expr::Cast(cast) => cast.expr.as_ref(),
        Expr::TryCast(cast) => cast.expr.as_ref(),
        _ => return None,
    };
    let written = matches!(inner, Expr::Alias(alias) if alias.name == EXPLICIT);
    (!written).then_some(inner)
}

fn cast_attribute<'a>(expr: &Expr, values: &'a [Bound]) -> Option<&'a Bound> {
    match implicit_cast(expr)? {
        Expr::Placeholder(placeholder) => bound(placeholder, values),
        _ => None,
    }
}

/// Whether an operand is a cast from one class to another that coercion added. A date in ISO form is a date.
fn bridges(expr: &Expr, schema: &DFSchema, values: &[Bound]) -> Result<bool> {
    let Some(inner) = implicit_cast(expr) else {
        return Ok(false);
    };
    let (from, to) = (inner.get_type(schema)?, expr.get_type(schema)?);
    let (from_class, to_class) = (class(&from), class(&to));
    if from_class == to_class || from_class == Class::Null {
        return Ok(false);
    }
    if from_class == Class::Text && to_class == Class::Time {
        let text = match inner {
            Expr::Placeholder(placeholder) => bound(placeholder, values).map(|known| &known.value),
            Expr::Literal(value, _) => Some(value),
            _ => None,
        };
        return Ok(!text.is_some_and(|text| is_iso(text, &to)));
    }
    // A day and an instant are both times.
    Ok(true)
}

/// Whether text spells a value of the type in ISO form. NULL text, of nobody in particular, may.
fn is_iso(text: &ScalarValue, to: &DataType) -> bool {
    let (ScalarValue::Utf8(spelt) | ScalarValue::LargeUtf8(spelt) | ScalarValue::Utf8View(spelt)) = text else {
        return false;
    };
    let Some(spelt) = spelt else { return true };
    let day = spelt.get(..10).and_then(caliber_catalog::date::Date::parse).is_some();
    let fits = match to {
        DataType::Date32 | DataType::Date64 => spelt.len() == 10,
        _ => true,
    };
    day && fits && text.cast_to(to).is_ok_and(|value| !value.is_null())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Null,
    Bool,
    Number,
    Text,
    Time,
    Binary,
    Other,
}

/// Types that compare without changing what equal means.
fn class(of: &DataType) -> Class {
    match of {
        DataType::Null => Class::Null,
        DataType::Boolean => Class::Bool,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Class::Text,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Class::Time,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Class::Binary,
        number if number.is_numeric() => Class::Number,
        _ => Class::Other,
    }
}
