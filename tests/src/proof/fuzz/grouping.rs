//! Random windows, groups and aggregates.
//!
//! Owns: which are drawn. Never: an aggregate whose answer depends on the order of rows, unless it is ordered.

use rand::RngExt;

use super::ast::{Expr, Select, Sort};
use super::config::weighted;
use super::data::{Type, Value};
use super::expressions::{Flavour, binary};
use super::generate::{Draw, Known, Scope, plain_column};

impl Draw<'_> {
    /// A window over the one relation in scope.
    pub fn window(&mut self, scope: &Scope) -> Option<Expr> {
        self.feature("window");
        let key = scope[0].columns.iter().find(|column| column.key_of.is_some())?;
        let total = vec![Sort {
            by: Expr::Column(scope[0].alias.clone(), key.name.clone()),
            order: "ASC",
        }];
        let partition = match self.one_in(2) {
            0 => vec![self.expression(scope, Type::Text, 0)],
            _ => Vec::new(),
        };
        let argument = match self.one_in(3) {
            0 if self.flavour != Flavour::Range => self.fallible(scope),
            _ => None,
        };
        let argument = argument.unwrap_or_else(|| self.expression(scope, Type::Int, 1));
        Some(match self.one_in(5) {
            0 => Expr::Window("row_number", Vec::new(), partition, total),
            1 => Expr::Window("lag", vec![argument], partition, total),
            2 => Expr::Window("sum", vec![argument], partition, Vec::new()),
            3 => {
                let by = Sort {
                    by: argument,
                    order: "DESC",
                };
                Expr::Window("rank", Vec::new(), partition, vec![by])
            }
            _ => Expr::Window("max", vec![argument], partition, total),
        })
    }

    pub fn aggregated(&mut self, select: &mut Select, scope: &Scope) -> Vec<Known> {
        self.feature("aggregate");
        let mut columns = Vec::new();
        for _ in 0..weighted(&mut self.chance, &[3, 5, 2]) {
            self.feature("group by");
            let kind = self.pick(&[Type::Int, Type::Text, Type::Text, Type::Bool]);
            let key = match self.one_in(5) {
                0 => self.fallible(scope),
                _ => None,
            };
            let key = key.unwrap_or_else(|| match kind {
                Type::Int => binary("%", self.expression(scope, Type::Int, 0), Expr::Literal(Value::Int(5))),
                kind => self.expression(scope, kind, 0),
            });
            let name = format!("c{}", columns.len() + 1);
            select.group.push(key.clone());
            select.items.push((key, name.clone()));
            columns.push(plain_column(name, kind));
        }
        for _ in 0..self.chance.random_range(1..4) {
            let (aggregate, kind) = self.aggregate(scope);
            let name = format!("c{}", columns.len() + 1);
            select.items.push((aggregate, name.clone()));
            columns.push(plain_column(name, kind));
        }
        if self.one_in(4) == 0 {
            self.feature("having");
            let argument = self
                .fallible(scope)
                .unwrap_or_else(|| self.expression(scope, Type::Int, 0));
            let name = self.pick(&["max", "min", "count"]);
            let aggregate = Expr::Aggregate(name, false, vec![argument], Vec::new(), None);
            let op = self.pick(&[">", "<=", "<>"]);
            let bound = Expr::Literal(Value::Int(self.chance.random_range(0..6)));
            select.having.push(binary(op, aggregate, bound));
        }
        columns
    }

    fn aggregate(&mut self, scope: &Scope) -> (Expr, Type) {
        let failing = match self.one_in(3) {
            0 => self.fallible(scope),
            _ => None,
        };
        let filter = (self.one_in(5) == 0).then(|| Box::new(self.predicate(scope, 0)));
        let call = |name, argument| Expr::Aggregate(name, false, vec![argument], Vec::new(), filter.clone());
        if let Some(failing) = failing {
            let name = match self.flavour {
                // A sum of products that nearly leave their type would leave it.
                Flavour::Range => self.pick(&["max", "min", "count"]),
                _ => self.pick(&["max", "min", "count", "sum", "avg"]),
            };
            return (call(name, failing), Type::Int);
        }
        let kinds = if self.lists { 6 } else { 7 };
        match self.one_in(kinds) {
            0 => (
                Expr::Aggregate("count", false, Vec::new(), Vec::new(), filter),
                Type::Int,
            ),
            1 => {
                let argument = self.expression(scope, Type::Text, 1);
                (
                    Expr::Aggregate("count", true, vec![argument], Vec::new(), filter),
                    Type::Int,
                )
            }
            2 => (call("sum", self.expression(scope, Type::Decimal, 1)), Type::Decimal),
            3 => (call("sum", self.expression(scope, Type::Int, 1)), Type::Int),
            4 => {
                let kind = self.pick(&[Type::Text, Type::Date, Type::Decimal, Type::Int]);
                let name = self.pick(&["min", "max"]);
                (call(name, self.expression(scope, kind, 1)), kind)
            }
            5 => (call("avg", self.expression(scope, Type::Decimal, 0)), Type::Decimal),
            _ => {
                // Two that are ordered differently are not supported by DataFusion.
                self.lists = true;
                let argument = self.expression(scope, Type::Text, 0);
                let comma = Expr::Literal(Value::Text(",".to_owned()));
                let aggregate = Expr::Aggregate(
                    "string_agg",
                    false,
                    vec![argument.clone(), comma],
                    vec![argument],
                    filter,
                );
                (aggregate, Type::Text)
            }
        }
    }
}
