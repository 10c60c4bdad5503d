//! Random expressions over what is in scope.
//!
//! Owns: which expressions are drawn, and how often; what makes one fail on a row that nobody may see. Never: FROM.
//!
//! A statement has one way to fail (`Flavour`), so that which of two failing rows is met first cannot matter. Where a
//! constant decides on which row it fails, a hidden row is the favourite.

use rand::RngExt;

use super::ast::{Expr, Query, Select};
use super::config::weighted;
use super::data::{Type, Value};
use super::generate::{Draw, Known, Scope};

/// How the expressions of a statement may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// In no way.
    Safe,
    /// By a division by zero.
    Division,
    /// By a text that is no number, a number too large for its type.
    Conversion,
    /// By a product that leaves its type.
    Range,
}

const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];
const REGIONS: [&str; 8] = ["north", "North", "südwest", "west", "o'hara", "100%", "n*", "7"];
const WORDS: [&str; 8] = ["1", "2", "5", "9", "7", "x3", "x7", "+4"];
const PATTERNS: [&str; 7] = ["n%", "%o%", "_est", "x%", "1%", "%", "%*"];

impl Draw<'_> {
    /// An expression of a type.
    pub fn expression(&mut self, scope: &Scope, kind: Type, depth: usize) -> Expr {
        match kind {
            Type::Int | Type::Narrow => self.int(scope, depth),
            Type::Text => self.text(scope, depth),
            Type::Decimal => self.decimal(scope, depth),
            Type::Date => self.date(scope, depth),
            Type::Bool => self.predicate(scope, depth.min(1)),
        }
    }

    /// One of the scope's columns of that type.
    fn column(&mut self, scope: &Scope, kind: Type) -> Option<(Expr, Known)> {
        let all: Vec<(&String, &Known)> = scope
            .iter()
            .flat_map(|part| part.columns.iter().map(move |column| (&part.alias, column)))
            .filter(|(_, column)| column.kind == kind)
            .collect();
        if all.is_empty() {
            return None;
        }
        let (alias, known) = all[self.below(all.len())];
        Some((Expr::Column(alias.clone(), known.name.clone()), known.clone()))
    }

    fn int(&mut self, scope: &Scope, depth: usize) -> Expr {
        if depth == 0 {
            return match self.column(scope, Type::Int) {
                Some((column, _)) if self.one_in(5) < 4 => column,
                _ => Expr::Literal(Value::Int(self.chance.random_range(0..12))),
            };
        }
        let literal = |draw: &mut Self| Expr::Literal(Value::Int(draw.chance.random_range(1..12)));
        match weighted(&mut self.chance, &[8, 2, 2, 1, 1, 2, 1, 1, 1, 3]) {
            1 => whole("+", self.int(scope, depth - 1), self.int(scope, depth - 1)),
            2 => whole("-", self.int(scope, depth - 1), literal(self)),
            3 => whole("*", self.int(scope, 0), literal(self)),
            4 => binary("%", self.int(scope, depth - 1), literal(self)),
            5 => {
                let when = self.predicate(scope, 0);
                let then = self.int(scope, depth - 1);
                let otherwise = (self.one_in(2) == 0).then(|| Box::new(self.int(scope, 0)));
                Expr::Case(vec![(when, then)], otherwise)
            }
            6 => Expr::Call("coalesce", vec![self.int(scope, 0), literal(self)]),
            7 => Expr::Call("character_length", vec![self.text(scope, 0)]),
            8 => match self.column(scope, Type::Narrow) {
                Some((column, _)) => column,
                None => self.int(scope, 0),
            },
            9 if self.flavour != Flavour::Range => self.fallible(scope).unwrap_or_else(|| self.int(scope, 0)),
            _ => self.int(scope, 0),
        }
    }

    fn text(&mut self, scope: &Scope, depth: usize) -> Expr {
        let leaf = |draw: &mut Self| match draw.column(scope, Type::Text) {
            Some((column, _)) if draw.one_in(5) < 4 => column,
            _ => Expr::Literal(Value::Text(draw.pick(&REGIONS).to_owned())),
        };
        if depth == 0 {
            return leaf(self);
        }
        let one = |draw: &mut Self| Expr::Literal(Value::Int(draw.chance.random_range(1..4)));
        match weighted(&mut self.chance, &[6, 1, 1, 2, 2, 1, 1, 1]) {
            1 => Expr::Call("upper", vec![self.text(scope, depth - 1)]),
            2 => Expr::Call("reverse", vec![self.text(scope, depth - 1)]),
            3 => {
                let inner = self.text(scope, depth - 1);
                Expr::Call("substr", vec![inner, one(self), one(self)])
            }
            4 => binary("||", self.text(scope, 0), self.text(scope, depth - 1)),
            5 => Expr::Cast(Box::new(self.int(scope, depth - 1)), "VARCHAR"),
            6 => {
                let when = self.predicate(scope, 0);
                Expr::Case(vec![(when, self.text(scope, 0))], None)
            }
            7 => Expr::Call("coalesce", vec![self.text(scope, 0), leaf(self)]),
            _ => leaf(self),
        }
    }

    fn decimal(&mut self, scope: &Scope, depth: usize) -> Expr {
        let leaf = |draw: &mut Self| match draw.column(scope, Type::Decimal) {
            Some((column, _)) => column,
            None => Expr::Literal(Value::Cents(draw.chance.random_range(-500..5000))),
        };
        match weighted(&mut self.chance, &[5, 1, 1, 1]) {
            1 if depth > 0 => binary("+", leaf(self), self.decimal(scope, depth - 1)),
            2 if depth > 0 => Expr::Cast(Box::new(self.int(scope, 0)), "DECIMAL(12,2)"),
            3 if depth > 0 && self.flavour == Flavour::Division => match self.divisor(scope) {
                Some(divisor) => binary("/", leaf(self), divisor),
                None => leaf(self),
            },
            _ => leaf(self),
        }
    }

    fn date(&mut self, scope: &Scope, depth: usize) -> Expr {
        if depth > 0
            && self.flavour == Flavour::Conversion
            && self.one_in(3) == 0
            && let Some(word) = self.word(scope)
        {
            let text = Expr::Call("concat", vec![Expr::Literal(Value::Text("2024-01-0".to_owned())), word]);
            return Expr::Cast(Box::new(text), "DATE");
        }
        match self.column(scope, Type::Date) {
            Some((column, _)) => column,
            None => Expr::Literal(Value::Day(self.chance.random_range(19_000..19_400))),
        }
    }

    /// A column of words, which hold no number where hardly anybody may see them.
    fn word(&mut self, scope: &Scope) -> Option<Expr> {
        let words: Vec<Expr> = scope
            .iter()
            .flat_map(|part| part.columns.iter().map(move |column| (&part.alias, column)))
            .filter(|(_, column)| column.is_word)
            .map(|(alias, column)| Expr::Column(alias.clone(), column.name.clone()))
            .collect();
        if words.is_empty() {
            return None;
        }
        self.fallible = true;
        Some(words[self.below(words.len())].clone())
    }

    /// A key minus a constant that is, likelier than not, the key of a hidden row.
    fn divisor(&mut self, scope: &Scope) -> Option<Expr> {
        let (key, poison) = self.key(scope)?;
        if self.one_in(6) == 0
            && let Some(word) = self.word(scope)
        {
            // A number has one letter here, what is no number has two.
            let length = Expr::Call("character_length", vec![word]);
            return Some(whole("-", length, Expr::Literal(Value::Int(2))));
        }
        Some(whole("-", key, Expr::Literal(Value::Int(poison))))
    }

    /// A key column, and one of its values, preferably a hidden one.
    fn key(&mut self, scope: &Scope) -> Option<(Expr, i64)> {
        let keys: Vec<(Expr, usize)> = scope
            .iter()
            .flat_map(|part| part.columns.iter().map(move |column| (&part.alias, column)))
            .filter_map(|(alias, column)| Some((Expr::Column(alias.clone(), column.name.clone()), column.key_of?)))
            .collect();
        if keys.is_empty() {
            return None;
        }
        let (column, table) = keys[self.below(keys.len())].clone();
        let value = self.key_value(table);
        Some((column, value))
    }

    /// A value of a table's key.
    fn key_value(&mut self, table: usize) -> i64 {
        let table = self.tables[table].clone();
        let visible = |draw: &mut Self| {
            let row = draw.below(table.rows.len().max(1));
            table.rows.get(row).and_then(|row| super::data::whole(row, 0))
        };
        let found = match weighted(&mut self.chance, &[7, 2, 1]) {
            0 if !table.hidden.is_empty() => Some(table.hidden[self.below(table.hidden.len())]),
            0 | 1 => visible(self),
            _ => None,
        };
        match found {
            Some(key) => {
                self.fallible = self.fallible || self.flavour == Flavour::Division;
                key
            }
            None => 5_000,
        }
    }

    /// A number whose computation can fail on some row, in the statement's way.
    pub fn fallible(&mut self, scope: &Scope) -> Option<Expr> {
        match self.flavour {
            Flavour::Safe => None,
            Flavour::Division => {
                let divisor = self.divisor(scope)?;
                let op = if self.one_in(4) == 0 { "%" } else { "/" };
                let dividend = match self.one_in(3) {
                    0 => self.int(scope, 0),
                    _ => Expr::Literal(Value::Int(self.chance.random_range(1..300))),
                };
                Some(binary(op, dividend, divisor))
            }
            Flavour::Conversion => {
                if self.one_in(8) == 0
                    && let Some((key, _)) = self.key(scope)
                {
                    self.fallible = true;
                    let large = whole("*", key, Expr::Literal(Value::Int(self.chance.random_range(60..160))));
                    return Some(Expr::Cast(Box::new(large), "SMALLINT"));
                }
                let word = self.word(scope)?;
                let word = match self.one_in(4) {
                    0 => Expr::Call(
                        "substr",
                        vec![word, Expr::Literal(Value::Int(1)), Expr::Literal(Value::Int(1))],
                    ),
                    _ => word,
                };
                let to = self.pick(&["INT", "INT", "BIGINT", "SMALLINT"]);
                Some(Expr::Cast(Box::new(word), to))
            }
            Flavour::Range => {
                let (key, _) = self.key(scope)?;
                self.fallible = true;
                let largest = self.chance.random_range(100..400);
                Some(Expr::Product(Box::new(key), i64::MAX / largest))
            }
        }
    }

    /// A condition. `depth` bounds how far it nests.
    pub fn predicate(&mut self, scope: &Scope, depth: usize) -> Expr {
        let failing = if self.flavour == Flavour::Safe { 0 } else { 7 };
        let deep = u32::from(depth > 0);
        match weighted(&mut self.chance, &[9, 4, failing, 3 * deep, 2 * deep, 1, 1, deep]) {
            1 => {
                let kind = self.pick(&[Type::Int, Type::Int, Type::Text, Type::Decimal, Type::Date]);
                let (left, right) = (self.expression(scope, kind, depth), self.expression(scope, kind, 0));
                binary(self.pick(&COMPARISONS), left, right)
            }
            2 => match self.fallible(scope) {
                Some(failing) => {
                    let other = Expr::Literal(Value::Int(self.chance.random_range(0..8)));
                    binary(self.pick(&COMPARISONS), failing, other)
                }
                None => self.simple(scope),
            },
            3 => {
                let op = if self.one_in(3) == 0 { "AND" } else { "OR" };
                binary(op, self.predicate(scope, depth - 1), self.predicate(scope, depth - 1))
            }
            4 => Expr::Not(Box::new(self.predicate(scope, depth - 1))),
            5 => Expr::Is(Box::new(self.text(scope, 1)), self.pick(&["NULL", "NOT NULL"])),
            6 => {
                let inner = self.text(scope, 1);
                Expr::Like(Box::new(inner), self.pick(&PATTERNS).to_owned(), self.one_in(4) == 0)
            }
            7 => {
                let when = self.simple(scope);
                let (then, otherwise) = (self.predicate(scope, 0), self.predicate(scope, 0));
                Expr::Case(vec![(when, then)], Some(Box::new(otherwise)))
            }
            _ => self.simple(scope),
        }
    }

    /// A column against constants of its type.
    pub fn simple(&mut self, scope: &Scope) -> Expr {
        let kinds = [
            Type::Int,
            Type::Int,
            Type::Int,
            Type::Text,
            Type::Text,
            Type::Decimal,
            Type::Date,
            Type::Bool,
            Type::Narrow,
        ];
        let kind = self.pick(&kinds);
        let Some((column, known)) = self.column(scope, kind).or_else(|| self.column(scope, Type::Int)) else {
            return binary("=", Expr::Literal(Value::Int(1)), Expr::Literal(Value::Int(1)));
        };
        if known.kind == Type::Bool {
            return match self.one_in(3) {
                0 => Expr::Is(Box::new(column), self.pick(&["TRUE", "FALSE", "NOT TRUE", "NOT FALSE"])),
                1 => Expr::Not(Box::new(column)),
                _ => column,
            };
        }
        match weighted(&mut self.chance, &[8, 2, 2, 2, 2]) {
            1 => Expr::Is(Box::new(column), self.pick(&["NULL", "NOT NULL"])),
            2 => {
                let length = if self.one_in(6) == 0 {
                    20
                } else {
                    self.chance.random_range(1..5)
                };
                let values = (0..length).map(|_| Expr::Literal(self.constant(&known))).collect();
                Expr::InList(Box::new(column), values, self.one_in(4) == 0)
            }
            3 => {
                let mut bounds = [self.constant(&known), self.constant(&known)];
                bounds.sort();
                let [low, high] = bounds.map(|value| Box::new(Expr::Literal(value)));
                Expr::Between(Box::new(column), low, high, self.one_in(4) == 0)
            }
            4 if known.kind == Type::Text => {
                Expr::Like(Box::new(column), self.pick(&PATTERNS).to_owned(), self.one_in(4) == 0)
            }
            _ => {
                let value = self.constant(&known);
                let op = self.pick(&COMPARISONS);
                if self.with_parameters && known.kind != Type::Narrow && self.one_in(5) == 0 {
                    self.parameters.push(value);
                    return binary(op, column, Expr::Parameter(self.parameters.len()));
                }
                binary(op, column, Expr::Literal(value))
            }
        }
    }

    /// A constant worth comparing a column with.
    fn constant(&mut self, known: &Known) -> Value {
        match known.kind {
            Type::Int if known.key_of.is_some() => {
                let fallible = self.fallible;
                let value = self.key_value(known.key_of.unwrap_or_default());
                // A comparison with it cannot fail.
                self.fallible = fallible;
                Value::Int(value)
            }
            Type::Int if known.name == "bucket" => Value::Int(self.chance.random_range(0..100)),
            Type::Int if matches!(known.name.as_str(), "kind" | "weight" | "rank") => {
                Value::Int(self.chance.random_range(0..6))
            }
            Type::Int => Value::Int(self.chance.random_range(0..300)),
            Type::Narrow => Value::Int(self.chance.random_range(-2..10)),
            Type::Text if known.is_word => Value::Text(self.pick(&WORDS).to_owned()),
            Type::Text => Value::Text(self.pick(&REGIONS).to_owned()),
            Type::Decimal => Value::Cents(self.chance.random_range(-300..4000)),
            Type::Date => Value::Day(self.chance.random_range(19_050..19_350)),
            Type::Bool => Value::Bool(self.one_in(2) == 0),
        }
    }

    /// A condition with a subquery, tied to the scope or not.
    pub fn subquery_predicate(&mut self, scope: &Scope) -> Expr {
        let (inner, from) = self.base();
        let negated = self.one_in(4) == 0;
        let mut select = Select {
            from: Some(from),
            ..Select::default()
        };
        let inner_scope = vec![inner];
        match self.one_in(4) {
            0 => {
                self.feature("in subquery");
                let item = match self.one_in(3) {
                    0 if self.flavour != Flavour::Range => self.fallible(&inner_scope),
                    _ => None,
                };
                let item = item.unwrap_or_else(|| self.int(&inner_scope, 0));
                select.items.push((item, "v".to_owned()));
                select.filter.push(self.predicate(&inner_scope, 1));
                let outer = self.int(scope, 0);
                Expr::InQuery(Box::new(outer), Box::new(Query::select(select)), negated)
            }
            1 => {
                self.feature("scalar subquery");
                let scalar = self.scalar(scope);
                binary(self.pick(&COMPARISONS), self.int(scope, 0), scalar)
            }
            _ => {
                self.feature("exists");
                if let Some(tie) = self.tie(scope, &inner_scope) {
                    select.filter.push(tie);
                }
                select.filter.push(self.predicate(&inner_scope, 1));
                select.items.push((Expr::Literal(Value::Int(1)), "one".to_owned()));
                Expr::Exists(Box::new(Query::select(select)), negated)
            }
        }
    }

    /// One number from a subquery, tied to the scope or not.
    pub fn scalar(&mut self, scope: &Scope) -> Expr {
        let (inner, from) = self.base();
        let inner_scope = vec![inner];
        let mut filter = Vec::new();
        if self.one_in(2) == 0
            && let Some(tie) = self.tie(scope, &inner_scope)
        {
            self.feature("correlated scalar");
            filter.push(tie);
        }
        if self.one_in(2) == 0 {
            filter.push(self.predicate(&inner_scope, 0));
        }
        let argument = match self.one_in(3) {
            0 if self.flavour != Flavour::Range => self.fallible(&inner_scope),
            _ => None,
        };
        let argument = argument.unwrap_or_else(|| self.int(&inner_scope, 0));
        let name = self.pick(&["max", "min", "count"]);
        let aggregate = Expr::Aggregate(name, false, vec![argument], Vec::new(), None);
        Expr::Scalar(Box::new(Query::select(Select {
            items: vec![(aggregate, "v".to_owned())],
            from: Some(from),
            filter,
            ..Select::default()
        })))
    }

    /// Two columns that relate rows of one scope to rows of the other.
    pub fn tie(&mut self, left: &Scope, right: &Scope) -> Option<Expr> {
        let fits = |name: &str| matches!(name, "id" | "owner" | "client_id" | "account_id" | "kind" | "rank");
        let columns = |scope: &Scope| -> Vec<(Expr, bool)> {
            scope
                .iter()
                .flat_map(|part| part.columns.iter().map(move |column| (&part.alias, column)))
                .filter(|(_, column)| column.kind == Type::Int && (fits(&column.name) || column.key_of.is_some()))
                .map(|(alias, column)| {
                    (
                        Expr::Column(alias.clone(), column.name.clone()),
                        column.key_of.is_some(),
                    )
                })
                .collect()
        };
        let (left, right) = (columns(left), columns(right));
        // One side is a key, so that the join does not multiply rows beyond what can be run.
        let pairs: Vec<(&Expr, &Expr)> = left
            .iter()
            .flat_map(|(one, key)| {
                right
                    .iter()
                    .map(move |(other, other_key)| (one, other, *key || *other_key))
            })
            .filter(|(_, _, keyed)| *keyed)
            .map(|(one, other, _)| (one, other))
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let (one, other) = pairs[self.below(pairs.len())];
        Some(binary("=", one.clone(), other.clone()))
    }
}

/// `left op right`.
pub fn binary(op: &'static str, left: Expr, right: Expr) -> Expr {
    Expr::Binary(op, Box::new(left), Box::new(right))
}

/// `left op right` of whole numbers.
fn whole(op: &'static str, left: Expr, right: Expr) -> Expr {
    Expr::Whole(op, Box::new(left), Box::new(right))
}
