//! Expressions, over the columns of the block they stand in.
//!
//! Owns: where only TRUE counts and where NULL and FALSE differ, the binding of values. Never: one database's
//! spelling.

use super::block::Renderer;
use super::dialect::inverse;
use super::sql::chain;
use super::{Operand, Sql};
use crate::{Expr, Value};

impl Renderer<'_> {
    /// `expr`, or its negation, where FALSE and NULL count alike. NOT goes down to what cannot be inverted: De Morgan's
    /// laws hold in three-valued logic.
    pub(super) fn condition(&mut self, expr: &Expr, below: &[Operand], negate: bool) -> Sql {
        match expr {
            Expr::Not(part) => self.condition(part, below, !negate),
            Expr::And(parts) if !negate => self.joined(parts, below, negate, true),
            Expr::Or(parts) if negate => self.joined(parts, below, negate, true),
            Expr::And(parts) | Expr::Or(parts) => self.joined(parts, below, negate, false),
            Expr::Compare { op, left, right } => {
                let op = if negate { inverse(*op) } else { *op };
                let (left, right) = (self.operand(left, below), self.operand(right, below));
                self.dialect.compare(&left, op, &right)
            }
            Expr::InList { expr, list } => {
                let needle = self.operand(expr, below);
                let values: Vec<Operand> = list.iter().map(Operand::value).collect();
                if negate {
                    let differs = |value| self.dialect.compare(&needle, crate::Comparison::NotEqual, value);
                    chain(values.iter().map(differs).collect(), " AND ", TRUE)
                } else {
                    self.dialect.in_list(&needle, &values)
                }
            }
            Expr::InKeys { column, keys } if !negate => {
                let needle = column_of(below, *column);
                self.dialect.in_keys(&needle, keys)
            }
            Expr::InQuery { expr, query } if !negate => {
                let needle = self.operand(expr, below);
                let query = self.subquery(query);
                self.dialect.in_query(&needle, &query)
            }
            other if negate => Sql::of("(NOT {})", &[&self.truth(other, below)]),
            other => self.truth(other, below),
        }
    }

    fn joined(&mut self, parts: &[Expr], below: &[Operand], negate: bool, all: bool) -> Sql {
        let parts = parts.iter().map(|part| self.condition(part, below, negate)).collect();
        if all {
            chain(parts, " AND ", TRUE)
        } else {
            chain(parts, " OR ", FALSE)
        }
    }

    /// A predicate whose NULL is not FALSE.
    fn truth(&mut self, expr: &Expr, below: &[Operand]) -> Sql {
        match expr {
            Expr::And(parts) => {
                let parts = parts.iter().map(|part| self.truth(part, below)).collect();
                chain(parts, " AND ", TRUE)
            }
            Expr::Or(parts) => {
                let parts = parts.iter().map(|part| self.truth(part, below)).collect();
                chain(parts, " OR ", FALSE)
            }
            Expr::Not(part) => Sql::of("(NOT {})", &[&self.truth(part, below)]),
            Expr::IsNull(part) => {
                let operand = self.operand(part, below);
                self.dialect.is_null(&operand)
            }
            Expr::Compare { op, left, right } => {
                let (left, right) = (self.checked(left, below), self.checked(right, below));
                self.dialect.compare(&left, *op, &right)
            }
            Expr::InList { expr, list } => {
                let needle = self.checked(expr, below);
                let values: Vec<Operand> = list.iter().map(Operand::value).collect();
                self.dialect.in_list(&needle, &values)
            }
            Expr::InKeys { column, keys } => {
                let needle = self.dialect.checked(&column_of(below, *column));
                self.dialect.in_keys(&needle, keys)
            }
            Expr::Like { expr, pattern } => {
                let text = self.checked(expr, below);
                let pattern = Operand::value(&Value::Text(pattern.clone()));
                self.dialect.like(&text, &pattern)
            }
            Expr::InQuery { .. } => self.condition(expr, below, false),
            other => self.checked(other, below).sql,
        }
    }

    /// `expr` as a part of another expression.
    pub(super) fn checked(&mut self, expr: &Expr, below: &[Operand]) -> Operand {
        let operand = self.operand(expr, below);
        self.dialect.checked(&operand)
    }

    /// `expr` as a value.
    pub(super) fn operand(&mut self, expr: &Expr, below: &[Operand]) -> Operand {
        match expr {
            Expr::Column(index) => column_of(below, *index),
            Expr::Value(value) => Operand::value(value),
            // One without its value is a bug of whoever sent the relation, and a statement that fails.
            Expr::Parameter { data_type, .. } => Operand::typed(Sql::text("no_such_parameter"), data_type),
            Expr::Null(data_type) => Operand::typed(self.dialect.null(data_type), data_type),
            Expr::Case {
                branches,
                otherwise,
                data_type,
            } => {
                let branches: Vec<(Sql, Operand)> = branches
                    .iter()
                    .map(|(when, then)| (self.condition(when, below, false), self.checked(then, below)))
                    .collect();
                let otherwise = otherwise.as_ref().map(|value| self.checked(value, below));
                self.dialect.case(&branches, otherwise.as_ref(), data_type)
            }
            Expr::Arithmetic {
                op,
                left,
                right,
                data_type,
            } => {
                let (left, right) = (self.checked(left, below), self.checked(right, below));
                self.dialect.arithmetic(*op, &left, &right, data_type)
            }
            Expr::Cast { expr, data_type } => {
                let operand = self.checked(expr, below);
                self.dialect.cast(&operand, data_type)
            }
            Expr::DatePart { part, expr } => {
                let operand = self.checked(expr, below);
                self.dialect.date_part(*part, &operand)
            }
            Expr::DateTrunc { part, expr } => {
                let operand = self.checked(expr, below);
                self.dialect.date_trunc(*part, &operand)
            }
            Expr::Substring { expr, start, length } => {
                let text = self.checked(expr, below);
                let length = length.as_ref().map(number);
                self.dialect.substring(&text, &number(start), length.as_ref())
            }
            Expr::CharLength(expr) => {
                let text = self.checked(expr, below);
                self.dialect.char_length(&text)
            }
            Expr::Compare { .. }
            | Expr::And(_)
            | Expr::Or(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::InList { .. }
            | Expr::InKeys { .. }
            | Expr::InQuery { .. }
            | Expr::Like { .. } => {
                let truth = self.truth(expr, below);
                Operand::typed(truth, &arrow::datatypes::DataType::Boolean)
            }
        }
    }
}

const TRUE: &str = "(1 = 1)";
const FALSE: &str = "(1 = 0)";

/// No text has as many characters.
fn number(of: &u32) -> Operand {
    Operand::value(&Value::Int(i64::from((*of).min(i32::MAX.unsigned_abs()))))
}

/// The column at `index`. One that is not there is a bug of whoever made the relation, and a statement that fails.
fn column_of(below: &[Operand], index: usize) -> Operand {
    below
        .get(index)
        .cloned()
        .unwrap_or_else(|| Operand::typed(Sql::text("no_such_column"), &arrow::datatypes::DataType::Null))
}
