//! Random statements over the tables of a principal.
//!
//! Owns: FROM, grouping, windows, set operations, order and limit. Never: a statement whose right answer SQL leaves open
//! beyond the order of evaluation: every LIMIT stands over a total order, but for one that is compared by count.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::ast::{Body, Expr, Join, Query, Relation, Select, Sort};
use super::config::weighted;
use super::data::{Type, Value};
use super::expressions::{Flavour, binary};
use super::outcome::Order;
use super::policy::Visible;

/// A statement to compare.
#[derive(Clone, Debug)]
pub struct Statement {
    pub query: Query,
    pub parameters: Vec<Value>,
    pub order: Order,
    /// Holds an expression that fails on some row of the sources.
    pub fallible: bool,
    pub features: BTreeSet<&'static str>,
    /// Is prepared first.
    pub prepared: bool,
}

/// A column in scope.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: String,
    pub kind: Type,
    /// The table whose key it is.
    pub key_of: Option<usize>,
    pub is_word: bool,
}

/// A relation in scope.
#[derive(Clone, Debug)]
pub struct Part {
    pub alias: String,
    pub columns: Vec<Known>,
}

/// What FROM brought.
pub type Scope = Vec<Part>;

/// Draws one statement.
pub struct Draw<'a> {
    pub chance: StdRng,
    pub tables: Vec<&'a Visible>,
    pub flavour: Flavour,
    pub fallible: bool,
    pub parameters: Vec<Value>,
    pub with_parameters: bool,
    features: BTreeSet<&'static str>,
    aliases: usize,
    /// It has an ordered aggregate.
    pub lists: bool,
    with: Vec<(String, Query, Vec<Known>)>,
    home: String,
}

/// The statement of a seed over `tables`, of which those of `home` are the principal's home source.
pub fn statement(seed: u64, tables: &[Visible], home: &str) -> Statement {
    let mut chance = StdRng::seed_from_u64(seed);
    let flavour = [Flavour::Safe, Flavour::Division, Flavour::Conversion, Flavour::Range]
        [weighted(&mut chance, &[40, 26, 26, 6])];
    let with_parameters = chance.random_range(0..5) == 0;
    let mut draw = Draw {
        chance,
        tables: tables.iter().collect(),
        flavour,
        fallible: false,
        parameters: Vec::new(),
        with_parameters,
        features: BTreeSet::new(),
        aliases: 0,
        lists: false,
        with: Vec::new(),
        home: home.to_owned(),
    };
    let (query, order) = draw.top();
    let prepared = draw.one_in(6) == 0;
    if prepared {
        draw.feature("prepared");
    }
    if !draw.parameters.is_empty() {
        draw.feature("parameters");
    }
    Statement {
        query,
        parameters: draw.parameters,
        order,
        fallible: draw.fallible,
        features: draw.features,
        prepared,
    }
}

impl Draw<'_> {
    /// A number below `length`, which is at least 1.
    pub fn below(&mut self, length: usize) -> usize {
        self.chance.random_range(0..length.max(1))
    }

    /// A number below `length`.
    pub fn one_in(&mut self, length: usize) -> usize {
        self.below(length)
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Notes that the statement has it.
    pub fn feature(&mut self, feature: &'static str) {
        self.features.insert(feature);
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    fn top(&mut self) -> (Query, Order) {
        if self.one_in(40) == 0 {
            return (self.count(), Order::Any);
        }
        if self.one_in(7) == 0 {
            self.feature("with");
            let (query, columns) = self.inner();
            self.with.push(("w".to_owned(), query, columns));
        }
        let (mut query, columns, base) = match self.one_in(9) {
            0 => self.set_operation(),
            _ => {
                let (select, columns, scope) = self.select(None, 2);
                (Query::select(select), columns, scope)
            }
        };
        query.with = self
            .with
            .iter()
            .map(|(name, query, _)| (name.clone(), query.clone()))
            .collect();
        if self.flavour == Flavour::Safe && self.one_in(6) == 0 {
            self.feature("bare limit");
            let limit = self.pick(&[0, 1, 2, 5, 50]);
            let offset = if self.one_in(3) == 0 { self.below(6) } else { 0 };
            return (query, Order::Some { limit, offset });
        }
        if self.one_in(5) < 2 {
            let base = base.filter(|_| self.one_in(3) == 0);
            self.order(&mut query, &columns, base.as_ref());
            return (query, Order::Total);
        }
        (query, Order::Any)
    }

    /// How many rows a table has: what statistics could tell without reading one.
    fn count(&mut self) -> Query {
        self.feature("count");
        let (_, from) = self.base();
        let count = Expr::Aggregate("count", false, Vec::new(), Vec::new(), None);
        Query::select(Select {
            items: vec![(count, "c1".to_owned())],
            from: Some(from),
            ..Select::default()
        })
    }

    /// A total order over the output, and maybe a limit. With `base`, a first key over what FROM brought.
    fn order(&mut self, query: &mut Query, columns: &[Known], base: Option<&Scope>) {
        self.feature("order by");
        if let Some(failing) = base.and_then(|scope| self.fallible(scope)) {
            query.order.push(Sort {
                by: failing,
                order: "ASC",
            });
        }
        let mut left: Vec<&Known> = columns.iter().collect();
        while !left.is_empty() {
            let column = left.swap_remove(self.below(left.len()));
            query.order.push(Sort {
                by: Expr::Column(String::new(), column.name.clone()),
                order: self.pick(&["ASC", "DESC", "ASC NULLS FIRST", "DESC NULLS LAST"]),
            });
        }
        if self.one_in(2) == 0 {
            self.feature("limit");
            query.limit = Some(self.pick(&[0, 1, 3, 10, 100]));
            if self.one_in(3) == 0 {
                self.feature("offset");
                query.offset = Some(self.below(8));
            }
        }
    }

    fn set_operation(&mut self) -> (Query, Vec<Known>, Option<Scope>) {
        self.feature("set operation");
        let (left, columns, _) = self.select(None, 1);
        let kinds: Vec<Type> = columns.iter().map(|column| column.kind).collect();
        let (right, _, _) = self.select(Some(&kinds), 1);
        let op = self.pick(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
        let mut query = Query::select(Select::default());
        query.body = Body::Set(op, Box::new(Query::select(left)), Box::new(Query::select(right)));
        (query, columns, None)
    }

    /// A query to stand in FROM or WITH: some of a table's columns under other names, some computed.
    fn inner(&mut self) -> (Query, Vec<Known>) {
        let (part, from) = self.base();
        let scope = vec![part];
        let mut select = Select {
            from: Some(from),
            ..Select::default()
        };
        let mut columns = Vec::new();
        for column in &scope[0].columns {
            if column.key_of.is_some() || column.is_word || self.one_in(3) == 0 {
                let name = format!("n{}", columns.len() + 1);
                select
                    .items
                    .push((Expr::Column(scope[0].alias.clone(), column.name.clone()), name.clone()));
                columns.push(Known { name, ..column.clone() });
            }
        }
        if self.one_in(2) == 0
            && self.flavour != Flavour::Range
            && let Some(failing) = self.fallible(&scope)
        {
            let name = format!("n{}", columns.len() + 1);
            select.items.push((failing, name.clone()));
            columns.push(plain_column(name, Type::Int));
        }
        if self.one_in(2) == 0 {
            select.filter.push(self.predicate(&scope, 1));
        }
        let mut query = Query::select(select);
        if self.one_in(6) == 0 {
            let order: Vec<Known> = columns.clone();
            self.order(&mut query, &order, None);
        }
        (query, columns)
    }

    /// A table of the principal's, under an alias. Governed ones are likelier than the open one.
    pub fn base(&mut self) -> (Part, Relation) {
        let home = self.home.clone();
        let weights: Vec<u32> = self
            .tables
            .iter()
            .map(|table| {
                let near = if table.schema == home || table.table.contains(&home) {
                    3
                } else {
                    1
                };
                near * if table.table == "d" {
                    1
                } else if table.schema == "unified" {
                    2
                } else {
                    4
                }
            })
            .collect();
        let at = weighted(&mut self.chance, &weights);
        let table = self.tables[at];
        if table.schema == "unified" {
            self.feature("unified");
        } else if table.schema != home {
            self.feature("other source");
        }
        let alias = self.alias();
        let columns = table
            .columns
            .iter()
            .map(|(name, data_type)| Known {
                name: name.clone(),
                kind: kind_of(data_type),
                key_of: (name == "id").then_some(at),
                is_word: matches!(name.as_str(), "word" | "tag"),
            })
            .collect();
        let part = Part {
            alias: alias.clone(),
            columns,
        };
        (part, Relation::Named(table.name(), alias))
    }

    fn relation(&mut self, depth: usize) -> (Part, Relation) {
        let alias = self.alias();
        if depth > 0 && self.one_in(8) == 0 {
            self.feature("derived table");
            let (query, columns) = self.inner();
            let part = Part {
                alias: alias.clone(),
                columns,
            };
            return (part, Relation::Derived(Box::new(query), alias));
        }
        if !self.with.is_empty() && self.one_in(2) == 0 {
            let (name, _, columns) = self.with[0].clone();
            let part = Part {
                alias: alias.clone(),
                columns,
            };
            return (part, Relation::Named(name, alias));
        }
        self.base()
    }

    fn join(&mut self, scope: &mut Scope, depth: usize) -> Option<Join> {
        let (part, relation) = self.relation(depth);
        let right = vec![part.clone()];
        let tie = self.tie(scope, &right)?;
        let (kind, feature) = [
            ("JOIN", "inner join"),
            ("LEFT JOIN", "left join"),
            ("RIGHT JOIN", "right join"),
            ("FULL JOIN", "full join"),
            ("CROSS JOIN", "cross join"),
            ("LEFT SEMI JOIN", "semi join"),
            ("LEFT ANTI JOIN", "anti join"),
        ][weighted(&mut self.chance, &[8, 5, 2, 2, 1, 2, 1])];
        self.feature(feature);
        let mut on = vec![tie];
        let mut both = scope.clone();
        both.push(part.clone());
        if kind != "CROSS JOIN" && self.one_in(3) == 0 {
            on.push(self.predicate(&both, 0));
        }
        if kind == "CROSS JOIN" {
            on.clear();
        }
        if !kind.contains("SEMI") && !kind.contains("ANTI") {
            scope.push(part);
        }
        Some(Join { kind, relation, on })
    }

    /// One SELECT, of those types if they are given. Gives its output, and what ORDER BY may name of FROM.
    fn select(&mut self, kinds: Option<&[Type]>, depth: usize) -> (Select, Vec<Known>, Option<Scope>) {
        let (first, from) = self.relation(depth);
        let mut scope = vec![first];
        let mut select = Select {
            from: Some(from.clone()),
            ..Select::default()
        };
        for _ in 0..weighted(&mut self.chance, &[11, 6, 2]) {
            let before = scope.clone();
            if let Some(join) = self.join(&mut scope, depth) {
                self.note_tables(&from, &join.relation);
                // A product of two tables is kept small by what ties them in WHERE.
                if join.kind == "CROSS JOIN"
                    && let Some(tie) = scope.last().cloned().and_then(|last| self.tie(&before, &vec![last]))
                {
                    select.filter.push(tie);
                }
                select.joins.push(join);
            }
        }
        for _ in 0..weighted(&mut self.chance, &[6, 6, 3, 1]) {
            let depth = self.below(3);
            let part = self.predicate(&scope, depth);
            select.filter.push(part);
        }
        if depth > 1 && self.one_in(6) == 0 {
            let part = self.subquery_predicate(&scope);
            let part = if self.one_in(5) == 0 {
                binary("OR", part, self.predicate(&scope, 0))
            } else {
                part
            };
            select.filter.push(part);
        }
        if kinds.is_none() && self.one_in(3) == 0 {
            let columns = self.aggregated(&mut select, &scope);
            return (select, columns, None);
        }
        if kinds.is_none() && self.one_in(14) == 0 && select.joins.is_empty() {
            self.feature("star");
            select.star = true;
            return (select, scope[0].columns.clone(), Some(scope));
        }
        let columns = self.items(&mut select, &scope, kinds, depth);
        if self.one_in(8) == 0 {
            self.feature("distinct");
            select.distinct = true;
            return (select, columns, None);
        }
        (select, columns, Some(scope))
    }

    fn note_tables(&mut self, left: &Relation, right: &Relation) {
        if let (Relation::Named(left, _), Relation::Named(right, _)) = (left, right) {
            if left == right {
                self.feature("self join");
            }
            let schema = |name: &str| name.split('.').next().map(str::to_owned);
            if schema(left) != schema(right) && !left.starts_with("unified") && !right.starts_with("unified") {
                self.feature("two sources");
            }
        }
    }

    fn items(&mut self, select: &mut Select, scope: &Scope, kinds: Option<&[Type]>, depth: usize) -> Vec<Known> {
        let drawn: Vec<Type> = match kinds {
            Some(kinds) => kinds.to_vec(),
            None => (0..self.chance.random_range(1..5))
                .map(|_| {
                    self.pick(&[
                        Type::Int,
                        Type::Int,
                        Type::Int,
                        Type::Text,
                        Type::Text,
                        Type::Decimal,
                        Type::Date,
                        Type::Bool,
                    ])
                })
                .collect(),
        };
        let mut columns = Vec::new();
        for kind in drawn {
            let name = format!("c{}", columns.len() + 1);
            let item = match kind {
                Type::Int if self.one_in(4) == 0 => self.fallible(scope),
                Type::Int if kinds.is_none() && depth > 1 && self.one_in(10) == 0 => {
                    self.feature("scalar subquery");
                    Some(self.scalar(scope))
                }
                Type::Int if kinds.is_none() && select.joins.is_empty() && self.one_in(6) == 0 => self.window(scope),
                _ => None,
            };
            let depth = self.below(3);
            let item = item.unwrap_or_else(|| self.expression(scope, kind, depth));
            select.items.push((item, name.clone()));
            columns.push(plain_column(name, kind));
        }
        columns
    }
}

/// A computed column.
pub(super) fn plain_column(name: String, kind: Type) -> Known {
    Known {
        name,
        kind,
        key_of: None,
        is_word: false,
    }
}

fn kind_of(data_type: &DataType) -> Type {
    match data_type {
        DataType::Utf8 => Type::Text,
        DataType::Decimal128(..) => Type::Decimal,
        DataType::Date32 => Type::Date,
        DataType::Boolean => Type::Bool,
        DataType::Int64 => Type::Int,
        _ => Type::Narrow,
    }
}
