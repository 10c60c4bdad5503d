//! Random expressions of every type that sources compare and compute with.
//!
//! Owns: which are drawn, and how often. Never: FROM (`generate`).

use rand::RngExt;

use super::constant::Constant;
use super::data::{self, Kind, pick};
use super::generate::{Draw, Known, Scope, kinds_of};
use crate::proof::fuzz::ast::{Expr, Query, Reader, Select};
use crate::proof::fuzz::config::weighted;

const COMPARISONS: [&str; 8] = ["=", "=", "=", "<>", "<", "<=", ">", ">="];
const PATTERNS: [&str; 14] = [
    "a%", "%c", "%b%", "_", "A__", "%é%", "", "%", "\\%", "%\\_%", "100\\%", "% ", "__", "😀%",
];
const PARTS: [&str; 4] = ["year", "quarter", "month", "day"];

/// `left op right`.
pub fn binary(op: &'static str, left: Expr, right: Expr) -> Expr {
    Expr::Binary(op, Box::new(left), Box::new(right))
}

fn plain(constant: &Constant) -> Expr {
    Expr::Plain(constant.sql())
}

fn int(value: i64) -> Expr {
    plain(&Constant::Int(value))
}

impl Draw {
    /// A constant worth comparing a column of the kind with.
    pub fn constant(&mut self, kind: Kind) -> Constant {
        let chance = &mut self.chance;
        match kind {
            Kind::Int => match chance.random_range(0..6) {
                0 => Constant::Int(pick(chance, data::BIGS)),
                1 => Constant::Int(chance.random_range(1..70)),
                _ => Constant::Int(pick(chance, data::NARROW)),
            },
            Kind::Text => Constant::Text(pick(chance, &data::texts(60)).to_owned()),
            Kind::Decimal(precision, scale) => {
                let unscaled = pick(chance, data::AMOUNTS);
                let scale_more = u32::try_from(scale - 2).unwrap_or_default();
                match chance.random_range(0..4) {
                    0 => Constant::Decimal(unscaled, 12, 2),
                    _ => Constant::Decimal(unscaled * 10_i128.pow(scale_more), precision, scale),
                }
            }
            Kind::Float => {
                let odd = [f64::NAN, f64::INFINITY];
                let all: Vec<f64> = data::FLOATS.iter().chain(&odd).copied().collect();
                Constant::Float(pick(chance, &all))
            }
            Kind::Date => Constant::Date(pick(chance, data::DAYS)),
            Kind::Stamp => Constant::Stamp(pick(chance, data::STAMPS)),
            Kind::Utc => Constant::Utc(pick(chance, data::UTC_STAMPS)),
            Kind::Bytes => Constant::Bytes(pick(chance, data::BYTE_STRINGS).to_vec()),
            Kind::Bool => Constant::Bool(chance.random()),
        }
    }

    /// A constant in the statement, or a parameter.
    fn operand(&mut self, kind: Kind) -> Expr {
        let constant = self.constant(kind);
        if self.with_parameters && self.parameters.len() < 6 && self.one_in(2) {
            self.parameters.push((kind, constant));
            return Expr::Parameter(self.parameters.len());
        }
        plain(&constant)
    }

    /// One of the scope's columns of that kind; decimals of all widths are one kind here.
    pub fn column(&mut self, scope: &Scope, kind: Kind) -> Option<(Expr, Known)> {
        let all: Vec<(Expr, Known)> = columns(scope)
            .into_iter()
            .filter(|(_, known)| alike(known.kind, kind))
            .collect();
        (!all.is_empty()).then(|| all[self.below(all.len())].clone())
    }

    /// Any of the scope's columns.
    pub fn any_column(&mut self, scope: &Scope) -> (Expr, Known) {
        let all = columns(scope);
        all[self.below(all.len())].clone()
    }

    /// An expression of a kind; what fails on some row is not among them.
    pub fn expression(&mut self, scope: &Scope, kind: Kind, depth: usize) -> Expr {
        let leaf = match self.column(scope, kind) {
            Some((column, _)) if !self.one_in(8) => column,
            _ => plain(&self.constant(kind)),
        };
        if depth == 0 {
            return leaf;
        }
        match kind {
            Kind::Int => self.int(scope, depth).unwrap_or(leaf),
            Kind::Text => match self.below(7) {
                0 | 1 => {
                    self.feature("substring");
                    let (start, length) = (self.chance.random_range(1..4), self.chance.random_range(0..4));
                    Expr::Call("substr", vec![leaf, int(start), int(length)])
                }
                2 => self.case(scope, kind, leaf),
                3 => Expr::Call("upper", vec![leaf]),
                _ => leaf,
            },
            Kind::Decimal(..) => match self.below(6) {
                0 | 1 => {
                    self.feature("decimal arithmetic");
                    let op = pick(&mut self.chance, &["+", "-", "*"]);
                    let right = match self.one_in(2) {
                        true => plain(&Constant::Decimal(pick(&mut self.chance, &[0, 3, -1, 150]), 4, 2)),
                        false => self.amount(scope),
                    };
                    binary(op, self.amount(scope), right)
                }
                2 => self.case(scope, kind, leaf),
                3 => match self.column(scope, Kind::Int) {
                    Some((column, known)) if known.name != "big" => {
                        self.feature("cast");
                        Expr::Cast(Box::new(column), "DECIMAL(12,2)")
                    }
                    _ => leaf,
                },
                _ => leaf,
            },
            Kind::Stamp if self.one_in(3) => {
                self.feature("date_trunc");
                let part = pick(&mut self.chance, &PARTS);
                Expr::Call("date_trunc", vec![plain(&Constant::Text(part.to_owned())), leaf])
            }
            Kind::Stamp if self.one_in(4) => match self.column(scope, Kind::Date) {
                Some((day, _)) => {
                    self.feature("cast");
                    Expr::Cast(Box::new(day), "TIMESTAMP(6)")
                }
                None => leaf,
            },
            Kind::Date if self.one_in(5) => self.case(scope, kind, leaf),
            Kind::Bool => self.predicate(scope, depth - 1),
            _ => leaf,
        }
    }

    /// An amount of few digits, which can be computed with.
    fn amount(&mut self, scope: &Scope) -> Expr {
        let all: Vec<Expr> = columns(scope)
            .into_iter()
            .filter(|(_, known)| matches!(known.kind, Kind::Decimal(12 | 14, _)))
            .map(|(expr, _)| expr)
            .collect();
        match all.is_empty() {
            true => plain(&Constant::Decimal(110, 12, 2)),
            false => all[self.below(all.len())].clone(),
        }
    }

    fn int(&mut self, scope: &Scope, depth: usize) -> Option<Expr> {
        Some(match self.below(8) {
            0 => {
                self.feature("char_length");
                Expr::Call("character_length", vec![self.expression(scope, Kind::Text, depth - 1)])
            }
            1 | 2 => {
                self.feature("date_part");
                let kind = if self.one_in(2) { Kind::Date } else { Kind::Stamp };
                let (of, _) = self.column(scope, kind)?;
                let part = pick(&mut self.chance, &PARTS);
                let part = Expr::Call("date_part", vec![plain(&Constant::Text(part.to_owned())), of]);
                Expr::Cast(Box::new(part), "BIGINT")
            }
            3 => {
                let (column, known) = self.column(scope, Kind::Int)?;
                if known.name == "big" || known.computed {
                    return None;
                }
                self.feature("integer arithmetic");
                let op = pick(&mut self.chance, &["+", "-", "*"]);
                binary(op, column, int(self.chance.random_range(-3..9)))
            }
            4 => {
                let otherwise = self.expression(scope, Kind::Int, 0);
                self.case(scope, Kind::Int, otherwise)
            }
            5 => {
                self.feature("cast");
                let (column, known) = self.column(scope, Kind::Int)?;
                let to = if known.name == "n" && !known.computed {
                    "SMALLINT"
                } else {
                    "BIGINT"
                };
                Expr::Cast(Box::new(column), to)
            }
            _ => return None,
        })
    }

    fn case(&mut self, scope: &Scope, kind: Kind, then: Expr) -> Expr {
        self.feature("case");
        let when = self.predicate(scope, 0);
        // The branches are of one type only where a column says which.
        let otherwise = match self.below(3) {
            0 => None,
            _ => Some(Box::new(match self.column(scope, kind) {
                Some((column, _)) => column,
                None => plain(&self.constant(kind)),
            })),
        };
        Expr::Case(vec![(when, then)], otherwise)
    }

    /// A condition. `depth` bounds how far it nests.
    pub fn predicate(&mut self, scope: &Scope, depth: usize) -> Expr {
        let deep = u32::from(depth > 0);
        match weighted(&mut self.chance, &[12, 3, 3 * deep, 3 * deep, 2 * deep]) {
            1 => self.compared_columns(scope),
            2 => {
                let op = if self.one_in(2) { "AND" } else { "OR" };
                binary(op, self.predicate(scope, depth - 1), self.predicate(scope, depth - 1))
            }
            3 => {
                let (_, known) = self.any_column(scope);
                let left = self.expression(scope, known.kind, 1);
                let right = self.operand(known.kind);
                binary(pick(&mut self.chance, &COMPARISONS), left, right)
            }
            4 => Expr::Not(Box::new(self.predicate(scope, depth - 1))),
            _ => self.simple(scope),
        }
    }

    fn compared_columns(&mut self, scope: &Scope) -> Expr {
        let (left, known) = self.any_column(scope);
        let (right, _) = self.column(scope, known.kind).unwrap_or((left.clone(), known));
        if right.text(Reader::Governed) == left.text(Reader::Governed) {
            return self.simple(scope);
        }
        binary(pick(&mut self.chance, &COMPARISONS), left, right)
    }

    /// A column against constants of its type.
    pub fn simple(&mut self, scope: &Scope) -> Expr {
        let (column, known) = self.any_column(scope);
        let negated = self.one_in(4);
        if known.kind == Kind::Bool && self.one_in(2) {
            return match self.one_in(2) {
                true => column,
                false => Expr::Is(
                    Box::new(column),
                    pick(&mut self.chance, &["TRUE", "NOT TRUE", "FALSE", "NOT FALSE"]),
                ),
            };
        }
        match weighted(&mut self.chance, &[10, 2, 3, 2, 4]) {
            1 => Expr::Is(Box::new(column), pick(&mut self.chance, &["NULL", "NOT NULL"])),
            2 => {
                self.feature("in list");
                let length = if self.one_in(6) {
                    20
                } else {
                    self.chance.random_range(1..6)
                };
                let values = (0..length).map(|_| self.operand(known.kind)).collect();
                Expr::InList(Box::new(column), values, negated)
            }
            3 => {
                self.feature("between");
                let (low, high) = (self.operand(known.kind), self.operand(known.kind));
                Expr::Between(Box::new(column), Box::new(low), Box::new(high), negated)
            }
            4 if known.kind == Kind::Text => {
                self.feature("like");
                Expr::Like(Box::new(column), pick(&mut self.chance, &PATTERNS).to_owned(), negated)
            }
            _ => {
                let right = self.operand(known.kind);
                let op = pick(&mut self.chance, &COMPARISONS);
                binary(op, column, right)
            }
        }
    }

    /// Two columns that relate rows of one scope to rows of the other.
    pub fn tie(&mut self, left: &Scope, right: &Scope) -> Option<Expr> {
        let keyed = |known: &Known| matches!(known.name.as_str(), "id" | "a_id" | "b_id") && !known.computed;
        let (left, right) = (columns(left), columns(right));
        let mut pairs: Vec<(&Expr, &Expr, Kind)> = Vec::new();
        let by_key = self.one_in(2);
        for (one, known) in &left {
            for (other, other_known) in &right {
                let fits = alike(known.kind, other_known.kind)
                    && !matches!(known.kind, Kind::Bool)
                    && (known.name != "flag" && other_known.name != "flag");
                if fits && (!by_key || (keyed(known) && keyed(other_known))) {
                    pairs.push((one, other, known.kind));
                }
            }
        }
        if pairs.is_empty() {
            return None;
        }
        // Each kind as likely, whatever its number of columns.
        let mut kinds: Vec<Kind> = pairs.iter().map(|(.., kind)| *kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let kind = kinds[self.below(kinds.len())];
        let of_kind: Vec<_> = pairs.iter().filter(|(.., other)| *other == kind).collect();
        let (one, other, _) = of_kind[self.below(of_kind.len())];
        self.feature(match kind {
            Kind::Text => "key text",
            Kind::Decimal(..) => "key decimal",
            Kind::Date => "key date",
            Kind::Stamp | Kind::Utc => "key timestamp",
            Kind::Bytes => "key bytes",
            _ => "key number",
        });
        Some(binary("=", (*one).clone(), (*other).clone()))
    }

    /// A condition with a subquery, tied to the scope or not.
    pub fn subquery_predicate(&mut self, scope: &Scope) -> Expr {
        let (inner, from) = self.base();
        let negated = self.one_in(3);
        let mut select = Select {
            from: Some(from),
            ..Select::default()
        };
        let inner_scope = vec![inner];
        if self.one_in(2) {
            select.filter.push(self.predicate(&inner_scope, 0));
        }
        match self.below(5) {
            0 | 1 => {
                self.feature(if negated { "not in" } else { "in subquery" });
                let shared: Vec<Kind> = kinds_of(&inner_scope)
                    .into_iter()
                    .filter(|kind| kinds_of(scope).iter().any(|other| alike(*kind, *other)))
                    .collect();
                let kind = match shared.is_empty() {
                    true => Kind::Int,
                    false => shared[self.below(shared.len())],
                };
                let item = self.expression(&inner_scope, kind, 0);
                let outer = self.expression(scope, kind, 0);
                select.items.push((item, "v".to_owned()));
                Expr::InQuery(Box::new(outer), Box::new(Query::select(select)), negated)
            }
            2 => {
                self.feature("scalar subquery");
                let name = pick(&mut self.chance, &["max", "min", "count"]);
                let item = self.expression(&inner_scope, Kind::Int, 0);
                if self.one_in(2)
                    && let Some(tie) = self.tie(scope, &inner_scope)
                {
                    select.filter.push(tie);
                }
                select.items.push((
                    Expr::Aggregate(name, false, vec![item], Vec::new(), None),
                    "v".to_owned(),
                ));
                let outer = self.expression(scope, Kind::Int, 0);
                binary(
                    pick(&mut self.chance, &COMPARISONS),
                    outer,
                    Expr::Scalar(Box::new(Query::select(select))),
                )
            }
            _ => {
                self.feature(if negated { "not exists" } else { "exists" });
                if let Some(tie) = self.tie(scope, &inner_scope) {
                    select.filter.push(tie);
                }
                select.items.push((int(1), "one".to_owned()));
                Expr::Exists(Box::new(Query::select(select)), negated)
            }
        }
    }

    /// A number whose computation fails on some rows.
    pub fn failing(&mut self, scope: &Scope) -> Option<Expr> {
        self.feature("failing");
        self.fallible = true;
        let (column, _) = self.column(scope, Kind::Int)?;
        Some(match self.below(3) {
            0 => binary(
                "/",
                int(100),
                binary("-", column, int(pick(&mut self.chance, &[3, 5, 70_000]))),
            ),
            1 => Expr::Cast(Box::new(self.column(scope, Kind::Text)?.0), "INT"),
            _ => binary("+", self.column(scope, Kind::Int)?.0, int(1)),
        })
    }
}

/// Whether columns of these kinds are compared.
pub fn alike(one: Kind, other: Kind) -> bool {
    one == other || matches!((one, other), (Kind::Decimal(..), Kind::Decimal(..)))
}

fn columns(scope: &Scope) -> Vec<(Expr, Known)> {
    scope
        .iter()
        .flat_map(|part| part.columns.iter().map(move |column| (&part.alias, column)))
        .map(|(alias, known)| (Expr::Column(alias.clone(), known.name.clone()), known.clone()))
        .collect()
}
