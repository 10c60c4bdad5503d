//! Random groups and aggregates.
//!
//! Owns: which are drawn. Never: one whose answer depends on the order of rows.

use rand::RngExt;

use super::constant::Constant;
use super::data::{Kind, pick};
use super::expressions::binary;
use super::generate::{Draw, Known, Scope};
use crate::proof::fuzz::ast::{Expr, Reader, Select};
use crate::proof::fuzz::config::weighted;

impl Draw {
    /// Groups and aggregates of what is in scope, and the output.
    pub fn aggregated(&mut self, select: &mut Select, scope: &Scope) -> Vec<Known> {
        self.feature("aggregate");
        let mut columns = Vec::new();
        for _ in 0..weighted(&mut self.chance, &[3, 6, 2]) {
            self.feature("group by");
            let (column, known) = self.any_column(scope);
            let depth = self.below(3).saturating_sub(1);
            let key = match depth {
                0 => column,
                _ => self.expression(scope, known.kind, depth),
            };
            let is_new = |other: &Expr| other.text(Reader::Governed) != key.text(Reader::Governed);
            if select.group.iter().all(is_new) {
                select.group.push(key.clone());
                self.push(select, &mut columns, key, known.kind);
            }
        }
        for _ in 0..self.chance.random_range(1..4) {
            let (aggregate, kind) = self.aggregate(scope);
            self.push(select, &mut columns, aggregate, kind);
        }
        // A group that HAVING leaves out need not be summed up.
        if !self.fallible && self.one_in(5) {
            self.feature("having");
            let (name, kind) = pick(
                &mut self.chance,
                &[("count", Kind::Int), ("min", Kind::Text), ("max", Kind::Int)],
            );
            let argument = self.expression(scope, kind, 0);
            let aggregate = Expr::Aggregate(name, false, vec![argument], Vec::new(), None);
            let op = pick(&mut self.chance, &[">", "<=", "<>"]);
            let bound = match name {
                "count" => Constant::Int(self.chance.random_range(0..5)),
                _ => self.constant(kind),
            };
            select.having.push(binary(op, aggregate, Expr::Plain(bound.sql())));
        }
        columns
    }

    fn aggregate(&mut self, scope: &Scope) -> (Expr, Kind) {
        let filter = self.one_in(6).then(|| {
            self.feature("filter");
            Box::new(self.predicate(scope, 0))
        });
        let call =
            |name, distinct, argument| Expr::Aggregate(name, distinct, vec![argument], Vec::new(), filter.clone());
        let (column, known) = self.any_column(scope);
        match self.below(9) {
            0 => (
                Expr::Aggregate("count", false, Vec::new(), Vec::new(), filter),
                Kind::Int,
            ),
            1 => (call("count", false, column), Kind::Int),
            2 => {
                self.feature("count distinct");
                (call("count", true, column), Kind::Int)
            }
            3 | 4 => {
                self.feature("sum");
                let kind = if self.one_in(2) {
                    Kind::Int
                } else {
                    Kind::Decimal(12, 2)
                };
                let (column, known) = self.column(scope, kind).unwrap_or_else(|| self.any_number(scope));
                let (column, kind) = match self.stays_in_range(&known) {
                    true => (column, kind),
                    false => (Expr::Plain("1".to_owned()), Kind::Int),
                };
                let kind = if kind == Kind::Int { kind } else { Kind::Decimal(38, 2) };
                (call("sum", false, column), kind)
            }
            5 => match self.column(scope, Kind::Decimal(12, 2)) {
                Some((column, known)) if self.stays_in_range(&known) => {
                    self.feature("avg");
                    (call("avg", false, column), Kind::Decimal(38, 6))
                }
                _ => (call("count", false, column), Kind::Int),
            },
            6 if self.one_in(2) => {
                let (column, known) = self.any_number(scope);
                match known.name == "big" || known.computed {
                    true => (call("count", true, column), Kind::Int),
                    false => (call("avg", false, column), Kind::Float),
                }
            }
            // DataFusion's least and greatest of floats depend on the order of rows where there is a NaN or an infinity.
            _ if matches!(known.kind, Kind::Bool | Kind::Float) => (call("count", false, column), Kind::Int),
            _ => {
                self.feature("min or max");
                let depth = self.below(2);
                let argument = self.expression(scope, known.kind, depth);
                let name = pick(&mut self.chance, &["min", "max"]);
                (call(name, false, argument), known.kind)
            }
        }
    }

    /// Whether a sum of it stays within its type, or may leave it here.
    fn stays_in_range(&mut self, known: &Known) -> bool {
        if !known.computed && !matches!(known.name.as_str(), "big" | "w") {
            return true;
        }
        // A sum of decimals of 38 digits may leave 128 bits on its way here, whatever it comes to.
        if known.computed || known.name == "w" {
            return false;
        }
        self.fallible |= self.may_fail;
        self.may_fail
    }

    fn any_number(&mut self, scope: &Scope) -> (Expr, Known) {
        self.column(scope, Kind::Int).unwrap_or_else(|| {
            let known = Known {
                name: String::new(),
                kind: Kind::Int,
                computed: true,
            };
            (Expr::Plain("1".to_owned()), known)
        })
    }
}
