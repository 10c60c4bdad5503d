//! Statements as a tree, and their text.
//!
//! Owns: the shapes a generated statement can have. Never: which of them is drawn (`generate`).

use super::data::{Value, cents_text, day_text};
use super::exact::{Concatenation, exact};

/// For whom a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// The governed engine.
    Governed,
    /// Plain DataFusion, whose whole numbers wrap around: where they are added, subtracted or multiplied stands a
    /// function that fails instead.
    Functions,
    /// The same, but only where a product may leave its type.
    Operators,
}

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    Column(String, String),
    Literal(Value),
    /// A text that stands as it is: constants of types that `Value` has not.
    Plain(String),
    /// Counted from 1.
    Parameter(usize),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// `+`, `-`, `*` of whole numbers.
    Whole(&'static str, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    /// `IS NULL`, `IS NOT NULL`, `IS TRUE`…
    Is(Box<Expr>, &'static str),
    Between(Box<Expr>, Box<Expr>, Box<Expr>, bool),
    InList(Box<Expr>, Vec<Expr>, bool),
    Like(Box<Expr>, String, bool),
    Cast(Box<Expr>, &'static str),
    Call(&'static str, Vec<Expr>),
    Case(Vec<(Expr, Expr)>, Option<Box<Expr>>),
    /// Name, DISTINCT, arguments, ORDER BY inside, FILTER. Without arguments: `count(*)`.
    Aggregate(&'static str, bool, Vec<Expr>, Vec<Expr>, Option<Box<Expr>>),
    /// Name, arguments, PARTITION BY, ORDER BY.
    Window(&'static str, Vec<Expr>, Vec<Expr>, Vec<Sort>),
    Scalar(Box<Query>),
    Exists(Box<Query>, bool),
    InQuery(Box<Expr>, Box<Query>, bool),
    /// The product with a number so large that it may leave BIGINT.
    Product(Box<Expr>, i64),
}

/// One key of ORDER BY.
#[derive(Clone, Debug)]
pub struct Sort {
    pub by: Expr,
    pub order: &'static str,
}

/// A whole query.
#[derive(Clone, Debug)]
pub struct Query {
    pub with: Vec<(String, Query)>,
    pub body: Body,
    pub order: Vec<Sort>,
    pub limit: Option<usize>,
    pub offset: Option<usize>,
}

/// What a query selects.
#[derive(Clone, Debug)]
pub enum Body {
    Select(Box<Select>),
    Set(&'static str, Box<Query>, Box<Query>),
}

/// One SELECT.
#[derive(Clone, Debug, Default)]
pub struct Select {
    pub distinct: bool,
    /// Each with its name.
    pub items: Vec<(Expr, String)>,
    /// `*` in place of the items.
    pub star: bool,
    pub from: Option<Relation>,
    pub joins: Vec<Join>,
    pub filter: Vec<Expr>,
    pub group: Vec<Expr>,
    pub having: Vec<Expr>,
}

/// A joined relation.
#[derive(Clone, Debug)]
pub struct Join {
    pub kind: &'static str,
    pub relation: Relation,
    /// Empty for a cross join.
    pub on: Vec<Expr>,
}

/// What FROM names, and its alias.
#[derive(Clone, Debug)]
pub enum Relation {
    Named(String, String),
    Derived(Box<Query>, String),
}

impl Query {
    /// A query that is one SELECT.
    pub fn select(select: Select) -> Self {
        Self {
            with: Vec::new(),
            body: Body::Select(Box::new(select)),
            order: Vec::new(),
            limit: None,
            offset: None,
        }
    }

    /// Its text.
    pub fn text(&self, reader: Reader) -> String {
        let mut text = String::new();
        if !self.with.is_empty() {
            let all = self
                .with
                .iter()
                .map(|(name, query)| format!("{name} AS ({})", query.text(reader)));
            text.push_str(&format!("WITH {} ", all.collect::<Vec<_>>().join(", ")));
        }
        match &self.body {
            Body::Select(select) => text.push_str(&select.text(reader)),
            Body::Set(op, left, right) => {
                text.push_str(&format!("({}) {op} ({})", left.text(reader), right.text(reader)));
            }
        }
        if !self.order.is_empty() {
            text.push_str(&format!(" ORDER BY {}", sorts(&self.order, reader)));
        }
        if let Some(limit) = self.limit {
            text.push_str(&format!(" LIMIT {limit}"));
        }
        if let Some(offset) = self.offset {
            text.push_str(&format!(" OFFSET {offset}"));
        }
        text
    }
}

impl Select {
    fn text(&self, reader: Reader) -> String {
        let items = if self.star {
            "*".to_owned()
        } else {
            let items = self
                .items
                .iter()
                .map(|(expr, name)| format!("{} AS {name}", expr.text(reader)));
            items.collect::<Vec<_>>().join(", ")
        };
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        let mut text = format!("SELECT {distinct}{items}");
        if let Some(from) = &self.from {
            text.push_str(&format!(" FROM {}", from.text(reader)));
        }
        for join in &self.joins {
            text.push_str(&format!(" {} {}", join.kind, join.relation.text(reader)));
            if !join.on.is_empty() {
                text.push_str(&format!(" ON {}", all(&join.on, reader)));
            }
        }
        for (word, parts) in [("WHERE", &self.filter), ("HAVING", &self.having)] {
            if word == "HAVING" && !self.group.is_empty() {
                text.push_str(&format!(" GROUP BY {}", list(&self.group, reader)));
            }
            if !parts.is_empty() {
                text.push_str(&format!(" {word} {}", all(parts, reader)));
            }
        }
        text
    }
}

impl Relation {
    fn text(&self, reader: Reader) -> String {
        match self {
            Self::Named(name, alias) => format!("{name} AS {alias}"),
            Self::Derived(query, alias) => format!("({}) AS {alias}", query.text(reader)),
        }
    }
}

fn all(parts: &[Expr], reader: Reader) -> String {
    parts
        .iter()
        .map(|part| part.text(reader))
        .collect::<Vec<_>>()
        .join(" AND ")
}

fn list(parts: &[Expr], reader: Reader) -> String {
    parts
        .iter()
        .map(|part| part.text(reader))
        .collect::<Vec<_>>()
        .join(", ")
}

fn sorts(parts: &[Sort], reader: Reader) -> String {
    let parts = parts
        .iter()
        .map(|sort| format!("{} {}", sort.by.text(reader), sort.order));
    parts.collect::<Vec<_>>().join(", ")
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(value) if *value < 0 => format!("({value})"),
        Value::Int(value) => value.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Cents(cents) => format!("CAST({} AS DECIMAL(12,2))", cents_text(*cents)),
        Value::Day(day) => format!("DATE '{}'", day_text(*day)),
        Value::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
    }
}

impl Expr {
    /// Its text, in brackets wherever precedence could matter.
    pub fn text(&self, reader: Reader) -> String {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match self {
            Self::Column(relation, name) if relation.is_empty() => name.clone(),
            Self::Column(relation, name) => format!("{relation}.{name}"),
            Self::Literal(value) => literal(value),
            Self::Plain(text) => text.clone(),
            Self::Parameter(number) => format!("${number}"),
            Self::Whole(op, left, right) if reader == Reader::Functions => {
                format!(
                    "{}({}, {})",
                    exact(op).unwrap_or_default(),
                    left.text(reader),
                    right.text(reader)
                )
            }
            // The engine bounds it as a function too: DataFusion evaluates the parts of an AND in another order then.
            Self::Binary("||", left, right) if reader == Reader::Functions => {
                format!("{}({}, {})", Concatenation::NAME, left.text(reader), right.text(reader))
            }
            Self::Binary(op, left, right) | Self::Whole(op, left, right) => {
                format!("({} {op} {})", left.text(reader), right.text(reader))
            }
            Self::Not(inner) => format!("(NOT {})", inner.text(reader)),
            Self::Is(inner, what) => format!("({} IS {what})", inner.text(reader)),
            Self::Between(inner, low, high, negated) => format!(
                "({} {}BETWEEN {} AND {})",
                inner.text(reader),
                not(negated),
                low.text(reader),
                high.text(reader)
            ),
            Self::InList(inner, values, negated) => {
                format!("({} {}IN ({}))", inner.text(reader), not(negated), list(values, reader))
            }
            Self::Like(inner, pattern, negated) => {
                format!(
                    "({} {}LIKE '{}')",
                    inner.text(reader),
                    not(negated),
                    pattern.replace('\'', "''")
                )
            }
            Self::Cast(inner, to) => format!("CAST({} AS {to})", inner.text(reader)),
            Self::Call(name, arguments) => format!("{name}({})", list(arguments, reader)),
            Self::Case(branches, otherwise) => case(branches, otherwise.as_deref(), reader),
            Self::Aggregate(name, distinct, arguments, order, filter) => {
                aggregate(name, *distinct, arguments, order, filter.as_deref(), reader)
            }
            Self::Window(name, arguments, partition, order) => window(name, arguments, partition, order, reader),
            Self::Scalar(query) => format!("({})", query.text(reader)),
            Self::Exists(query, negated) => format!("({}EXISTS ({}))", not(negated), query.text(reader)),
            Self::InQuery(inner, query, negated) => {
                format!("({} {}IN ({}))", inner.text(reader), not(negated), query.text(reader))
            }
            Self::Product(inner, factor) if reader == Reader::Governed => {
                format!("({} * {factor})", inner.text(reader))
            }
            Self::Product(inner, factor) => format!("exact_product({}, {factor})", inner.text(reader)),
        }
    }
}

fn case(branches: &[(Expr, Expr)], otherwise: Option<&Expr>, reader: Reader) -> String {
    let mut text = String::from("(CASE");
    for (when, then) in branches {
        text.push_str(&format!(" WHEN {} THEN {}", when.text(reader), then.text(reader)));
    }
    if let Some(otherwise) = otherwise {
        text.push_str(&format!(" ELSE {}", otherwise.text(reader)));
    }
    text.push_str(" END)");
    text
}

fn aggregate(
    name: &str,
    distinct: bool,
    arguments: &[Expr],
    order: &[Expr],
    filter: Option<&Expr>,
    reader: Reader,
) -> String {
    let inside = if arguments.is_empty() {
        "*".to_owned()
    } else {
        list(arguments, reader)
    };
    let distinct = if distinct { "DISTINCT " } else { "" };
    let order = if order.is_empty() {
        String::new()
    } else {
        format!(" ORDER BY {}", list(order, reader))
    };
    let filter = filter.map_or(String::new(), |filter| {
        format!(" FILTER (WHERE {})", filter.text(reader))
    });
    format!("{name}({distinct}{inside}{order}){filter}")
}

fn window(name: &str, arguments: &[Expr], partition: &[Expr], order: &[Sort], reader: Reader) -> String {
    let mut over = Vec::new();
    if !partition.is_empty() {
        over.push(format!("PARTITION BY {}", list(partition, reader)));
    }
    if !order.is_empty() {
        over.push(format!("ORDER BY {}", sorts(order, reader)));
    }
    format!("{name}({}) OVER ({})", list(arguments, reader), over.join(" "))
}
