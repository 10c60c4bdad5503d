//! Random statements of the kinds that sources take over: joins, groups, the first rows of an order, set operations.
//!
//! Owns: FROM, grouping, order and limit, parameters. Never: an expression (`expressions`); a limit inside a statement
//! that does not stand over a total order.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::constant::Constant;
use super::data::{Kind, SOURCES, TABLES, pick};
use super::expressions::binary;
use crate::proof::fuzz::ast::{Body, Expr, Join, Query, Reader, Relation, Select, Sort};
use crate::proof::fuzz::config::weighted;

/// A statement to compare.
#[derive(Clone, Debug)]
pub struct Statement {
    pub query: Query,
    /// The values of its parameters, once for each time that it is run; none where it has no parameter.
    pub runs: Vec<Vec<(Kind, Constant)>>,
    /// Whether all runs are sent at once.
    pub at_once: bool,
    /// The output columns that ORDER BY names, in its order.
    pub keys: Vec<usize>,
    pub features: BTreeSet<&'static str>,
}

/// A column in scope.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: String,
    pub kind: Kind,
    /// Not a table's own column.
    pub computed: bool,
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
pub struct Draw {
    pub chance: StdRng,
    pub with_parameters: bool,
    pub parameters: Vec<(Kind, Constant)>,
    /// Holds an expression that fails on some rows.
    pub fallible: bool,
    /// Whether an expression may fail here: nothing above it is then left out for want of need.
    pub may_fail: bool,
    features: BTreeSet<&'static str>,
    home: &'static str,
    /// Whether tables of other sources are drawn too.
    is_spread: bool,
    aliases: usize,
}

/// The statement of a seed.
pub fn statement(seed: u64) -> Statement {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut draw = Draw {
        home: pick(&mut chance, &SOURCES),
        is_spread: chance.random_range(0..3) == 0,
        with_parameters: chance.random_range(0..5) == 0,
        chance,
        parameters: Vec::new(),
        fallible: false,
        may_fail: false,
        features: BTreeSet::new(),
        aliases: 0,
    };
    let (query, keys) = draw.top();
    let mut runs = Vec::new();
    if !draw.parameters.is_empty() {
        draw.feature("parameters");
        let first = draw.parameters.clone();
        for _ in 0..2 {
            let again = first.iter().map(|(kind, _)| match draw.one_in(4) {
                true => (*kind, Constant::Null),
                false => (*kind, draw.constant(*kind)),
            });
            runs.push(again.collect());
        }
        runs.insert(0, first);
    }
    // Answers of several runs stand one after the other, so that an order or a limit holds for each alone.
    let at_once = query.limit.is_none() && keys.is_empty() && draw.one_in(2);
    Statement {
        query,
        at_once,
        runs,
        keys,
        features: draw.features,
    }
}

impl Draw {
    /// A number below `length`, which is at least 1.
    pub fn below(&mut self, length: usize) -> usize {
        self.chance.random_range(0..length.max(1))
    }

    /// Once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Notes that the statement has it.
    pub fn feature(&mut self, feature: &'static str) {
        self.features.insert(feature);
    }

    fn top(&mut self) -> (Query, Vec<usize>) {
        let (mut query, columns) = if self.one_in(10) {
            self.set_operation()
        } else {
            let (select, columns) = self.select(None, 1);
            (Query::select(select), columns)
        };
        let ordered = self.below(20);
        if ordered >= 12 || self.fallible || !is_ordered_right(&query) {
            return (query, Vec::new());
        }
        if ordered == 0 {
            self.feature("bare limit");
            query.limit = Some(pick(&mut self.chance, &[0, 1, 1, 3, 3, 7, 7]));
            return (query, Vec::new());
        }
        let mut left: Vec<usize> = (0..columns.len()).collect();
        let most = if self.one_in(2) {
            columns.len()
        } else {
            self.below(2) + 1
        };
        let mut keys = Vec::new();
        while keys.len() < most && !left.is_empty() {
            keys.push(left.swap_remove(self.below(left.len())));
        }
        self.feature(if left.is_empty() {
            "total order"
        } else {
            "order with ties"
        });
        query.order = keys.iter().map(|at| self.sort(&columns[*at].name)).collect();
        if self.below(5) < 4 {
            self.feature("limit");
            query.limit = Some(pick(&mut self.chance, &[0, 1, 1, 2, 2, 5, 5, 20, 20]));
            query.offset = self.one_in(4).then(|| self.chance.random_range(1..6));
        }
        (query, keys)
    }

    fn sort(&mut self, name: &str) -> Sort {
        Sort {
            by: Expr::Column(String::new(), name.to_owned()),
            order: pick(
                &mut self.chance,
                &["ASC", "DESC", "ASC NULLS FIRST", "DESC NULLS LAST", "DESC NULLS FIRST"],
            ),
        }
    }

    fn set_operation(&mut self) -> (Query, Vec<Known>) {
        let op = pick(
            &mut self.chance,
            &["UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT"],
        );
        self.feature(match op {
            "UNION ALL" => "union all",
            "UNION" => "union",
            _ => "intersect or except",
        });
        let (left, columns) = self.select(None, 0);
        let kinds: Vec<Kind> = columns.iter().map(|column| column.kind).collect();
        let (right, _) = self.select(Some(&kinds), 0);
        let mut query = Query::select(Select::default());
        query.body = Body::Set(op, Box::new(Query::select(left)), Box::new(Query::select(right)));
        (query, columns)
    }

    /// A table, under an alias.
    pub fn base(&mut self) -> (Part, Relation) {
        let source = match self.is_spread && self.one_in(2) {
            true => pick(&mut self.chance, &SOURCES),
            false => self.home,
        };
        if source != self.home {
            self.feature("two sources");
        }
        let (table, columns, _) = TABLES[weighted(&mut self.chance, &[6, 5, 5, 3, 1])];
        let alias = self.alias();
        let columns = columns
            .iter()
            .map(|column| Known {
                name: column.name.to_owned(),
                kind: column.kind(source),
                computed: false,
            })
            .collect();
        let part = Part {
            alias: alias.clone(),
            columns,
        };
        (part, Relation::Named(format!("{source}.{table}"), alias))
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    fn relation(&mut self, depth: usize) -> (Part, Relation) {
        if depth == 0 || !self.one_in(8) {
            return self.base();
        }
        self.feature("derived table");
        let (mut query, columns) = {
            let (select, columns) = self.select(None, 0);
            (Query::select(select), columns)
        };
        if self.one_in(3) && !self.fallible {
            self.feature("limit inside");
            query.order = columns.iter().map(|column| self.sort(&column.name)).collect();
            query.limit = Some(pick(&mut self.chance, &[1, 4, 15]));
        }
        let alias = self.alias();
        let part = Part {
            alias: alias.clone(),
            columns,
        };
        (part, Relation::Derived(Box::new(query), alias))
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
            ("LEFT SEMI JOIN", "semi join"),
            ("LEFT ANTI JOIN", "anti join"),
        ][weighted(&mut self.chance, &[9, 7, 2, 1, 2, 2])];
        self.feature(feature);
        let mut on = vec![tie];
        if self.one_in(5)
            && let Some(second) = self.tie(scope, &right)
        {
            on.push(second);
        }
        let mut both = scope.clone();
        both.push(part.clone());
        if self.one_in(4) {
            on.push(self.predicate(&both, 0));
        }
        if !kind.contains("SEMI") && !kind.contains("ANTI") {
            scope.push(part);
        }
        Some(Join { kind, relation, on })
    }

    /// One SELECT, of those kinds if they are given, and its output.
    fn select(&mut self, kinds: Option<&[Kind]>, depth: usize) -> (Select, Vec<Known>) {
        self.may_fail = false;
        let (first, from) = self.relation(depth);
        let mut scope = vec![first];
        let mut select = Select {
            from: Some(from),
            ..Select::default()
        };
        for _ in 0..weighted(&mut self.chance, &[4, 11, 2]) {
            let join = self.join(&mut scope, depth);
            select.joins.extend(join);
        }
        self.may_fail = depth > 0;
        // A condition of a derived table is evaluated beside this one.
        let is_table = matches!(select.from, Some(Relation::Named(..)));
        if select.joins.is_empty()
            && is_table
            && self.may_fail
            && self.one_in(40)
            && let Some(failing) = self.failing(&scope)
        {
            // Alone, so that no order of evaluation can spare it.
            let bound = Expr::Plain("5".to_owned());
            select.filter.push(binary(">", failing, bound));
        } else {
            for _ in 0..weighted(&mut self.chance, &[6, 6, 2]) {
                let depth = self.below(3);
                let part = self.predicate(&scope, depth);
                select.filter.push(part);
            }
            if depth > 0 && self.one_in(5) {
                let part = self.subquery_predicate(&scope);
                select.filter.push(part);
            }
        }
        self.may_fail = depth > 0;
        if kinds.is_none() && self.one_in(2) {
            let columns = self.aggregated(&mut select, &scope);
            return (select, columns);
        }
        let columns = self.items(&mut select, &scope, kinds);
        if self.one_in(8) {
            self.feature("distinct");
            select.distinct = true;
        }
        (select, columns)
    }

    fn items(&mut self, select: &mut Select, scope: &Scope, kinds: Option<&[Kind]>) -> Vec<Known> {
        let there = kinds_of(scope);
        let drawn: Vec<Kind> = match kinds {
            Some(kinds) => kinds.to_vec(),
            None => (0..self.chance.random_range(1..5))
                .map(|_| there[self.below(there.len())])
                .collect(),
        };
        let mut columns = Vec::new();
        for kind in drawn {
            let depth = self.below(3);
            let item = match kind {
                Kind::Int if self.may_fail && self.one_in(14) => self.failing(scope),
                _ => None,
            };
            let item = item.unwrap_or_else(|| self.fresh(select, scope, kind, depth));
            self.push(select, &mut columns, item, kind);
        }
        columns
    }

    /// An expression that the output does not have yet, if one is found: DataFusion does not plan every order of twins.
    fn fresh(&mut self, select: &Select, scope: &Scope, kind: Kind, depth: usize) -> Expr {
        let text = |expr: &Expr| expr.text(Reader::Governed);
        let known: Vec<String> = select.items.iter().map(|(item, _)| text(item)).collect();
        for _ in 0..6 {
            let drawn = self.expression(scope, kind, depth);
            if !known.contains(&text(&drawn)) {
                return drawn;
            }
        }
        Expr::Plain(self.constant(kind).sql())
    }

    /// Puts `item` into the output.
    pub fn push(&mut self, select: &mut Select, columns: &mut Vec<Known>, item: Expr, kind: Kind) {
        let name = format!("c{}", columns.len() + 1);
        let computed = !matches!(item, Expr::Column(..));
        select.items.push((item, name.clone()));
        columns.push(Known { name, kind, computed });
    }
}

/// Whether DataFusion orders it right. It takes a column that is constant in each branch of a union for one that is constant
/// in all.
fn is_ordered_right(query: &Query) -> bool {
    match &query.body {
        Body::Select(_) => true,
        Body::Set("UNION ALL", left, right) => [left, right].iter().all(|branch| match &branch.body {
            Body::Select(select) => {
                let varies = |(item, _): &(Expr, String)| matches!(item, Expr::Column(..) | Expr::Aggregate(..));
                let is_one_row = select.group.is_empty() && select.items.iter().any(|(item, _)| is_aggregate(item));
                !is_one_row && select.items.iter().all(varies)
            }
            Body::Set(..) => false,
        }),
        Body::Set("UNION", ..) => false,
        Body::Set(..) => true,
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    matches!(expr, Expr::Aggregate(..))
}

/// The kinds of the columns in scope, each as often as it is there.
pub fn kinds_of(scope: &Scope) -> Vec<Kind> {
    scope
        .iter()
        .flat_map(|part| part.columns.iter().map(|column| column.kind))
        .collect()
}
