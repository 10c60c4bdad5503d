//! Turns a `RemoteQuery` into one statement with bind parameters.
//!
//! Owns: the shape of the statement and the order of its parameters. Never: a value in the text, an identifier
//! that was not introspected, edits of text already rendered.

use std::fmt::Write;

use arrow::array::ArrayRef;

use crate::{Comparison, Expr, RemoteQuery, RemoteTable, Value};

/// A bind parameter.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// One value.
    Value(Value),
    /// An array of keys, bound as one parameter.
    Keys(ArrayRef),
}

/// A statement and what to bind to it, in order.
#[derive(Clone, Debug)]
pub struct RenderedQuery {
    /// The text: identifiers, operators and placeholders only.
    pub sql: String,
    /// The parameters, in the order of their placeholders.
    pub parameters: Vec<Parameter>,
}

/// How one database spells things. Every method writes SQL; none may write a value.
///
/// A method that is given a [`Binder`] asks it for a placeholder each time it writes a value. Where placeholders
/// are positional (`?`), it must ask in the order in which it writes them; where they are numbered, it may ask
/// once and write the placeholder several times.
pub trait Dialect {
    /// A quoted identifier. The caller guarantees that it has no NUL.
    fn identifier(&self, name: &str) -> String;

    /// The placeholder of the parameter with that number, from 1, typed if the database needs it.
    fn placeholder(&self, number: usize, value: &Value) -> String;

    /// `left op right`, exact in this database for the column on either side (a collation is pinned here).
    fn compare(
        &self,
        left: Side<'_>,
        op: Comparison,
        right: Side<'_>,
        operand: Operand<'_>,
        binder: &mut Binder<'_>,
    ) -> String {
        let _ = operand;
        let left = binder.side(left);
        let right = binder.side(right);
        format!("({left} {} {right})", operator(op))
    }

    /// `column IN keys`, most often through one array parameter ([`Binder::keys`]); where the database has no
    /// such parameter, through one placeholder for each key.
    fn in_keys(&self, column: &str, keys: &ArrayRef, operand: Operand<'_>, binder: &mut Binder<'_>) -> String;

    /// `text LIKE pattern`, case-sensitive, escape `\`.
    fn like(&self, text: Side<'_>, pattern: &Value, operand: Operand<'_>, binder: &mut Binder<'_>) -> String;

    /// `operand IS NULL`, of a column or a predicate already rendered.
    fn is_null(&self, operand: &str) -> String {
        format!("({operand} IS NULL)")
    }

    /// What is selected for a column; a dialect may pin its output format here.
    fn select_column(&self, quoted: &str, table: &RemoteTable, index: usize) -> String {
        let _ = (table, index);
        quoted.to_owned()
    }
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// A column, quoted, or a predicate already rendered.
    Sql(&'a str),
    /// A value, to be bound once for each time it is written.
    Value(&'a Value),
}

/// Gathers the parameters of one statement and gives out their placeholders.
pub struct Binder<'a> {
    dialect: &'a dyn Dialect,
    parameters: Vec<Parameter>,
}

impl Binder<'_> {
    /// Binds `value` once more; its placeholder.
    pub fn value(&mut self, value: &Value) -> String {
        self.parameters.push(Parameter::Value(value.clone()));
        self.dialect.placeholder(self.parameters.len(), value)
    }

    /// Binds `keys` as one array parameter; its number, from 1.
    pub fn keys(&mut self, keys: &ArrayRef) -> usize {
        self.parameters.push(Parameter::Keys(keys.clone()));
        self.parameters.len()
    }

    /// The text of `side`, binding it if it is a value.
    pub fn side(&mut self, side: Side<'_>) -> String {
        match side {
            Side::Sql(text) => text.to_owned(),
            Side::Value(value) => self.value(value),
        }
    }
}

/// The column that a comparison is about.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its table.
    pub table: &'a RemoteTable,
    /// Its index there; `None` when two values are compared.
    pub column: Option<usize>,
}

/// The SQL operator.
pub fn operator(op: Comparison) -> &'static str {
    match op {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

/// Renders with state: the parameters gathered so far.
struct Renderer<'a> {
    dialect: &'a dyn Dialect,
    binder: Binder<'a>,
}

/// The statement for `query` in `dialect`.
pub fn render(query: &RemoteQuery, dialect: &dyn Dialect) -> RenderedQuery {
    let mut renderer = Renderer {
        dialect,
        binder: Binder {
            dialect,
            parameters: Vec::new(),
        },
    };
    let sql = renderer.query(query).unwrap_or_default();
    RenderedQuery {
        sql,
        parameters: renderer.binder.parameters,
    }
}

impl Renderer<'_> {
    /// One SELECT of a read of one table.
    fn query(&mut self, query: &RemoteQuery) -> Option<String> {
        let read = query.table_read()?;
        Some(self.select(read.table, &read.columns, &read.predicates, read.rows, None))
    }

    fn select(
        &mut self,
        table: &RemoteTable,
        columns: &[usize],
        predicates: &[&Expr],
        limit: Option<u64>,
        derived: Option<String>,
    ) -> String {
        let mut sql = String::from("SELECT ");
        if columns.is_empty() {
            sql.push('1');
        }
        for (at, index) in columns.iter().enumerate() {
            if at > 0 {
                sql.push_str(", ");
            }
            let quoted = self.column(table, *index);
            let selected = match derived {
                Some(_) => quoted.clone(),
                None => self.dialect.select_column(&quoted, table, *index),
            };
            sql.push_str(&selected);
            if selected != quoted {
                write_to(&mut sql, format_args!(" AS {quoted}"));
            }
        }
        match derived {
            Some(inner) => write_to(&mut sql, format_args!(" FROM ({inner}) t")),
            None => write_to(&mut sql, format_args!(" FROM {}", self.table(table))),
        }
        for (at, predicate) in predicates.iter().enumerate() {
            sql.push_str(if at == 0 { " WHERE " } else { " AND " });
            let text = self.expr(predicate, table);
            sql.push_str(&text);
        }
        if let Some(rows) = limit {
            write_to(&mut sql, format_args!(" LIMIT {rows}"));
        }
        sql
    }

    fn table(&self, table: &RemoteTable) -> String {
        let name = self.dialect.identifier(&table.name);
        match &table.namespace {
            Some(namespace) => format!("{}.{name}", self.dialect.identifier(namespace)),
            None => name,
        }
    }

    fn column(&self, table: &RemoteTable, index: usize) -> String {
        table
            .columns
            .get(index)
            .map_or_else(|| "NULL".to_owned(), |column| self.dialect.identifier(&column.name))
    }

    fn expr(&mut self, expr: &Expr, table: &RemoteTable) -> String {
        match expr {
            Expr::Column(index) => self.column(table, *index),
            Expr::Value(value) => self.binder.value(value),
            Expr::Null(_)
            | Expr::InQuery { .. }
            | Expr::Case { .. }
            | Expr::Arithmetic { .. }
            | Expr::Cast { .. }
            | Expr::DatePart { .. }
            | Expr::DateTrunc { .. }
            | Expr::Substring { .. }
            | Expr::CharLength(_) => "NULL".to_owned(),
            Expr::Compare { op, left, right } => self.compare(left, *op, right, table),
            Expr::And(parts) => self.joined(parts, " AND ", table),
            Expr::Or(parts) => self.joined(parts, " OR ", table),
            Expr::Not(part) => format!("(NOT {})", self.expr(part, table)),
            Expr::IsNull(part) => {
                let operand = self.expr(part, table);
                self.dialect.is_null(&operand)
            }
            Expr::InList { expr, list } => {
                let parts: Vec<String> = list
                    .iter()
                    .map(|value| self.compare(expr, Comparison::Equal, &Expr::Value(value.clone()), table))
                    .collect();
                format!("({})", parts.join(" OR "))
            }
            Expr::InKeys { column, keys } => {
                let quoted = self.column(table, *column);
                let operand = Operand {
                    table,
                    column: Some(*column),
                };
                self.dialect.in_keys(&quoted, keys, operand, &mut self.binder)
            }
            Expr::Like { expr, pattern } => {
                let pattern = Value::Text(pattern.clone());
                let operand = operand(table, &[expr]);
                let dialect = self.dialect;
                match &**expr {
                    Expr::Value(value) => dialect.like(Side::Value(value), &pattern, operand, &mut self.binder),
                    other => {
                        let text = self.expr(other, table);
                        dialect.like(Side::Sql(&text), &pattern, operand, &mut self.binder)
                    }
                }
            }
        }
    }

    fn compare(&mut self, left: &Expr, op: Comparison, right: &Expr, table: &RemoteTable) -> String {
        let operand = operand(table, &[left, right]);
        // Values are bound by the dialect, since it may have to write one twice.
        let (left_sql, right_sql) = (self.unbound(left, table), self.unbound(right, table));
        let left = side(left, left_sql.as_deref());
        let right = side(right, right_sql.as_deref());
        self.dialect.compare(left, op, right, operand, &mut self.binder)
    }

    /// The text of what is not a value.
    fn unbound(&mut self, expr: &Expr, table: &RemoteTable) -> Option<String> {
        match expr {
            Expr::Value(_) => None,
            other => Some(self.expr(other, table)),
        }
    }

    fn joined(&mut self, parts: &[Expr], word: &str, table: &RemoteTable) -> String {
        let parts: Vec<String> = parts.iter().map(|part| self.expr(part, table)).collect();
        format!("({})", parts.join(word))
    }
}

fn operand<'a>(table: &'a RemoteTable, sides: &[&Expr]) -> Operand<'a> {
    let column = sides.iter().find_map(|side| {
        if let Expr::Column(index) = side {
            Some(*index)
        } else {
            None
        }
    });
    Operand { table, column }
}

fn side<'a>(expr: &'a Expr, sql: Option<&'a str>) -> Side<'a> {
    match expr {
        Expr::Value(value) => Side::Value(value),
        _ => Side::Sql(sql.unwrap_or("NULL")),
    }
}

fn write_to(sql: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = sql.write_fmt(text);
}

#[cfg(test)]
mod tests;
