//! Relations as SELECTs.
//!
//! Owns: which relations share one SELECT, where a derived table is needed, which columns are selected. Never: how an
//! expression is spelt.
//!
//! A block is a SELECT that is not closed yet: nodes above it add to it as long as SQL evaluates its clauses in their
//! order. What comes too late for that closes it into a derived table.

use std::sync::Arc;

use arrow::datatypes::DataType;

use super::dialect::{Call, Dialect};
use super::names::prefix;
use super::needed::{is_needed, need, needed_by};
use super::select::{Block, Subquery};
use super::sql::chain;
use super::{Form, Operand, Sql};
use crate::{Aggregate, Expr, JoinKind, Relation, RemoteTable, SortKey};

/// An expression of more characters is not written twice.
const TWICE_MAX: usize = 200;

/// Renders with state: the aliases given out.
pub(super) struct Renderer<'a> {
    pub(super) dialect: &'a dyn Dialect,
    aliases: usize,
    /// How the names of computed columns begin, and no column's of a table does: where two columns that a SELECT can see
    /// have one name, MariaDB may take one for the other.
    prefix: String,
    /// What is computed before everything else, each under its alias.
    first: Vec<Sql>,
}

/// The whole statement.
pub(super) fn statement(root: &Relation, dialect: &dyn Dialect) -> Sql {
    let mut renderer = Renderer {
        dialect,
        aliases: 0,
        prefix: prefix(root),
        first: Vec::new(),
    };
    let everything = vec![true; root.columns().len()];
    let block = renderer.block(root, &everything);
    let name = |at: usize| {
        let is_name = block.columns.get(at).is_some_and(|operand| {
            let selected = dialect.answer(operand);
            matches!(operand.form, Form::Column(..)) && selected.is_text_of(&operand.sql)
        });
        (!is_name).then(|| format!("{}{at}", renderer.prefix))
    };
    let select = block.select(&block.names(name, dialect));
    if renderer.first.is_empty() {
        return select;
    }
    Sql::of("WITH {} {}", &[&Sql::joined(&renderer.first, ", "), &select])
}

fn has_query(expr: &Expr) -> bool {
    let mut found = false;
    expr.visit(&mut |part| found |= matches!(part, Expr::InQuery { .. }));
    found
}

/// What stands for a column that nothing uses.
fn unused() -> Operand {
    Operand::loose(Sql::text("NULL"), &DataType::Null)
}

impl<'d> Renderer<'d> {
    fn alias(&mut self) -> String {
        let alias = format!("t{}", self.aliases);
        self.aliases += 1;
        alias
    }

    /// The name of a column of the derived table `alias`: no other's of the statement.
    fn column_name(&self, alias: &str, at: usize) -> String {
        format!("{}{}_{at}", self.prefix, alias.trim_start_matches('t'))
    }

    /// The block of `relation`. Of its columns, those not in `needed` may be anything.
    fn block(&mut self, relation: &Relation, needed: &[bool]) -> Block {
        match relation {
            Relation::Scan { table } => self.scan(table),
            Relation::Filter { input, predicate } => {
                let mut below = needed.to_vec();
                need(&mut below, predicate);
                let mut block = self.block(input, &below);
                // MariaDB finds nothing for an aggregate that HAVING looks up in a subquery.
                let is_unsafe_having = block.groups.is_some() && (block.has_silent_key || has_query(predicate));
                if block.rows.is_some() || is_unsafe_having {
                    block = self.close(block, &below);
                }
                block = self.ready(block, &below, &[predicate]);
                let parts: &[Expr] = match predicate {
                    Expr::And(parts) => parts,
                    one => std::slice::from_ref(one),
                };
                let parts: Vec<Sql> = parts
                    .iter()
                    .map(|part| self.condition(part, &block.columns, false))
                    .collect();
                block.order.clear();
                if block.groups.is_some() {
                    block.having.extend(parts);
                } else {
                    block.filters.extend(parts);
                }
                block
            }
            Relation::Project { input, columns } => self.project(input, columns, needed),
            Relation::Aggregate {
                input,
                keys,
                aggregates,
            } => self.aggregate(input, keys, aggregates, needed),
            Relation::Join { left, right, kind, on } => self.join(left, right, *kind, on, needed),
            Relation::Sort { input, keys, rows } => self.sort(input, keys, *rows, needed),
            Relation::Limit { input, rows } => {
                let mut block = self.block(input, needed);
                block.rows = Some(block.rows.map_or(*rows, |known| known.min(*rows)));
                block
            }
            Relation::Union { inputs } => self.union(inputs, needed),
        }
    }

    fn scan(&mut self, table: &Arc<RemoteTable>) -> Block {
        let alias = self.alias();
        let from = format!("{} AS {alias}", self.dialect.table(table));
        let column = |(index, column): (usize, &crate::RemoteColumn)| Operand {
            sql: Sql::text(format!("{alias}.{}", self.dialect.identifier(&column.name))),
            data_type: column.data_type.clone(),
            form: Form::Column(table.clone(), index),
            nullable: column.nullable,
        };
        Block {
            from: Sql::text(from),
            columns: table.columns.iter().enumerate().map(column).collect(),
            ..Block::default()
        }
    }

    /// Closes `block` into a derived table of the needed columns.
    fn close(&mut self, block: Block, needed: &[bool]) -> Block {
        let (alias, select, columns) = self.closed(block, needed);
        let mut from = Sql::of("({})", &[&select]);
        from.push(&format!(" AS {alias}"));
        Block {
            from,
            columns,
            ..Block::default()
        }
    }

    /// The parts of a derived table: its alias, its SELECT and its columns.
    fn closed(&mut self, mut block: Block, needed: &[bool]) -> (String, Sql, Vec<Operand>) {
        if block.rows.is_none() {
            // The order of a derived table means nothing.
            block.order.clear();
        }
        let is_computed = |(at, operand): (usize, &Operand)| is_needed(needed, at) && !operand.is_name();
        if block.is_open() && !self.dialect.merges_exactly() && block.columns.iter().enumerate().any(is_computed) {
            // All rows; but with a LIMIT the table is not merged into what is around it.
            block.rows = Some(u64::MAX);
        }
        let alias = self.alias();
        let mut list = Vec::new();
        let mut columns = Vec::new();
        for (at, operand) in block.columns.iter().enumerate() {
            if !is_needed(needed, at) {
                columns.push(unused());
                continue;
            }
            let selected = self.dialect.select(operand);
            // What passes as it is remains the column of its table.
            let form = match &operand.form {
                Form::Column(table, index) if selected.is_text_of(&operand.sql) => Form::Column(table.clone(), *index),
                _ => Form::Derived,
            };
            let name = self.column_name(&alias, at);
            list.push(Sql::of("{} AS {}", &[&selected, &Sql::text(name.as_str())]));
            columns.push(Operand {
                sql: Sql::text(format!("{alias}.{name}")),
                data_type: operand.data_type.clone(),
                form,
                nullable: operand.nullable,
            });
        }
        (alias, block.select(&list), columns)
    }

    /// A side of a join. One that is grouped is computed once, where the dialect can say so.
    fn side(&mut self, relation: &Relation, needed: &[bool]) -> Block {
        let block = self.block(relation, needed);
        let is_grouped = block.groups.as_ref().is_some_and(|keys| !keys.is_empty());
        if !(is_grouped && self.dialect.computes_first()) {
            return self.opened(block, needed);
        }
        let (alias, select, columns) = self.closed(block, needed);
        let mut first = Sql::text(format!("{alias} AS MATERIALIZED ("));
        first.append(&select);
        first.push(")");
        self.first.push(first);
        Block {
            from: Sql::text(alias),
            columns,
            ..Block::default()
        }
    }

    /// `block`, closed if `exprs` would write a long expression of it more than once.
    fn ready(&mut self, block: Block, needed: &[bool], exprs: &[&Expr]) -> Block {
        let mut uses = vec![0_usize; block.columns.len()];
        for expr in exprs {
            expr.visit(&mut |part| {
                if let Expr::Column(index) | Expr::InKeys { column: index, .. } = part
                    && let Some(uses) = uses.get_mut(*index)
                {
                    *uses += 1;
                }
            });
        }
        let is_long = |(operand, uses): (&Operand, &usize)| *uses > 1 && operand.sql.len() > TWICE_MAX;
        if block.columns.iter().zip(&uses).any(is_long) {
            self.close(block, needed)
        } else {
            block
        }
    }

    fn project(&mut self, input: &Relation, columns: &[Expr], needed: &[bool]) -> Block {
        let used: Vec<&Expr> = columns
            .iter()
            .enumerate()
            .filter(|(at, _)| is_needed(needed, *at))
            .map(|(_, expr)| expr)
            .collect();
        let below = needed_by(input.columns().len(), used.iter().copied());
        let mut block = self.block(input, &below);
        // Without a key, it is the aggregates in its list that make a SELECT one row.
        let is_one_row = block.groups.as_ref().is_some_and(Vec::is_empty);
        if is_one_row && used.iter().any(|expr| expr.as_column().is_none()) {
            block = self.close(block, &below);
        }
        block = self.ready(block, &below, &used);
        let projected = columns
            .iter()
            .enumerate()
            .map(|(at, expr)| {
                if is_needed(needed, at) {
                    self.operand(expr, &block.columns)
                } else {
                    unused()
                }
            })
            .collect();
        block.columns = projected;
        block
    }

    fn aggregate(&mut self, input: &Relation, keys: &[Expr], aggregates: &[Aggregate], needed: &[bool]) -> Block {
        let wanted = |at: usize| is_needed(needed, keys.len() + at);
        let parts = aggregates
            .iter()
            .enumerate()
            .filter(|(at, _)| wanted(*at))
            .flat_map(|(_, aggregate)| aggregate.argument.iter().chain(&aggregate.filter));
        let used: Vec<&Expr> = keys.iter().chain(parts).collect();
        let below = needed_by(input.columns().len(), used.iter().copied());
        let mut block = self.block(input, &below);
        if !block.is_open() {
            block = self.close(block, &below);
        }
        block.order.clear();
        block = self.ready(block, &below, &used);
        let mut grouped: Vec<Operand> = keys.iter().map(|key| self.checked(key, &block.columns)).collect();
        // A constant is no key in every database: it becomes a column first.
        if grouped.iter().any(|key| key.as_value().is_some()) {
            let width = block.columns.len();
            block.columns.extend(grouped);
            let mut kept = below.clone();
            kept.resize(width, false);
            kept.resize(block.columns.len(), true);
            block = self.close(block, &kept);
            grouped = block.columns.split_off(width);
        }
        let mut groups = Vec::with_capacity(keys.len());
        let mut columns = Vec::with_capacity(keys.len() + aggregates.len());
        block.has_silent_key = !grouped.iter().all(|key| self.dialect.has_key(key));
        for key in &grouped {
            let (by, value) = self.dialect.group(key);
            groups.push(by);
            columns.push(value);
        }
        for (at, aggregate) in aggregates.iter().enumerate() {
            columns.push(if wanted(at) {
                self.call(aggregate, &block.columns)
            } else {
                unused()
            });
        }
        block.columns = columns;
        block.groups = Some(groups);
        block
    }

    fn call(&mut self, aggregate: &Aggregate, below: &[Operand]) -> Operand {
        let argument = aggregate.argument.as_ref().map(|expr| self.checked(expr, below));
        let filter = aggregate.filter.as_ref().map(|expr| self.condition(expr, below, false));
        self.dialect.aggregate(&Call {
            function: aggregate.function,
            argument: argument.as_ref(),
            distinct: aggregate.distinct,
            filter: filter.as_ref(),
            data_type: &aggregate.data_type,
        })
    }

    fn sort(&mut self, input: &Relation, keys: &[SortKey], rows: Option<u64>, needed: &[bool]) -> Block {
        let exprs: Vec<&Expr> = keys.iter().map(|key| &key.expr).collect();
        let mut below = needed.to_vec();
        exprs.iter().for_each(|expr| need(&mut below, expr));
        let mut block = self.block(input, &below);
        if block.rows.is_some() {
            block = self.close(block, &below);
        }
        block = self.ready(block, &below, &exprs);
        block.order.clear();
        for key in keys {
            let operand = self.checked(&key.expr, &block.columns);
            // A constant orders nothing, and some databases take it for the number of a column.
            if operand.as_value().is_none() {
                block
                    .order
                    .push(self.dialect.order(&operand, key.descending, key.nulls_first));
            }
        }
        block.rows = rows;
        block
    }

    /// A block whose rows come one by one from FROM and WHERE.
    fn open(&mut self, relation: &Relation, needed: &[bool]) -> Block {
        let block = self.block(relation, needed);
        self.opened(block, needed)
    }

    fn opened(&mut self, mut block: Block, needed: &[bool]) -> Block {
        if !block.is_open() {
            block = self.close(block, needed);
        }
        block.order.clear();
        block
    }

    fn join(&mut self, left: &Relation, right: &Relation, kind: JoinKind, on: &Expr, needed: &[bool]) -> Block {
        let (left_width, right_width) = (left.columns().len(), right.columns().len());
        let mut all = needed.to_vec();
        all.resize(left_width + right_width, false);
        need(&mut all, on);
        let right_needed = all.split_off(left_width);
        let mut block = self.side(left, &all);
        let mut other = self.side(right, &right_needed);
        let is_lasting = |(at, operand): (usize, &Operand)| operand.is_name() || !is_needed(&right_needed, at);
        if kind == JoinKind::Left && !other.columns.iter().enumerate().all(is_lasting) {
            // An expression over NULLs may be something: it has to be computed before the join.
            other = self.close(other, &right_needed);
        }
        let filters_before_join = match kind {
            JoinKind::Inner => false,
            // Else they would stand in ON, subqueries among them.
            JoinKind::Left => !self.dialect.looks_up_in_on(),
            JoinKind::Semi | JoinKind::Anti => self.dialect.has_half_joins(),
        };
        if filters_before_join && !other.filters.is_empty() {
            other = self.close(other, &right_needed);
        }
        let width = block.columns.len();
        block.columns.append(&mut other.columns);
        let on: &[Expr] = match on {
            Expr::And(parts) => parts,
            one => std::slice::from_ref(one),
        };
        let mut on: Vec<Sql> = on
            .iter()
            .map(|part| self.condition(part, &block.columns, false))
            .collect();
        let table = if other.joins {
            Sql::of("({})", &[&other.from])
        } else {
            other.from.clone()
        };
        match kind {
            JoinKind::Inner => {
                let on = chain(on, " AND ", "(1 = 1)");
                block.from = Sql::of("{} JOIN {} ON {}", &[&block.from, &table, &on]);
                block.filters.append(&mut other.filters);
                block.joins = true;
            }
            JoinKind::Left => {
                on.append(&mut other.filters);
                let on = chain(on, " AND ", "(1 = 1)");
                block.from = Sql::of("{} LEFT JOIN {} ON {}", &[&block.from, &table, &on]);
                block.joins = true;
                let given = block.columns.iter_mut().skip(width);
                given.for_each(|operand| operand.nullable = true);
            }
            JoinKind::Semi | JoinKind::Anti if self.dialect.has_half_joins() => {
                let on = chain(on, " AND ", "(1 = 1)");
                let join = if kind == JoinKind::Semi { "SEMI" } else { "ANTI" };
                let join = Sql::text(join);
                block.from = Sql::of("{} LEFT {} JOIN {} ON {}", &[&block.from, &join, &table, &on]);
                block.joins = true;
                block.columns.truncate(width);
            }
            JoinKind::Semi | JoinKind::Anti => {
                other.filters.append(&mut on);
                let rows = other.select(&[]);
                block.filters.push(if kind == JoinKind::Semi {
                    Sql::of("EXISTS ({})", &[&rows])
                } else {
                    Sql::of("NOT EXISTS ({})", &[&rows])
                });
                block.columns.truncate(width);
            }
        }
        block
    }

    fn union(&mut self, inputs: &[Relation], needed: &[bool]) -> Block {
        let alias = self.alias();
        let mut members = Vec::with_capacity(inputs.len());
        let mut columns: Vec<Operand> = Vec::new();
        for input in inputs {
            let mut block = self.block(input, needed);
            if block.rows.is_some() || !block.order.is_empty() {
                // ORDER BY and LIMIT would be the whole union's.
                block = self.close(block, needed);
            }
            let mut list = Vec::new();
            for (at, operand) in block.columns.iter().enumerate() {
                if is_needed(needed, at) {
                    let operand = self.dialect.checked(operand);
                    let selected = self.dialect.united(&operand);
                    list.push(Sql::of(
                        "{} AS {}",
                        &[&selected, &Sql::text(self.column_name(&alias, at))],
                    ));
                }
                match columns.get_mut(at) {
                    Some(known) => known.nullable |= operand.nullable,
                    None => columns.push(Operand {
                        sql: Sql::text(format!("{alias}.{}", self.column_name(&alias, at))),
                        data_type: operand.data_type.clone(),
                        form: Form::Derived,
                        nullable: operand.nullable,
                    }),
                }
            }
            members.push(block.select(&list));
        }
        let mut from = Sql::of("({})", &[&Sql::joined(&members, " UNION ALL ")]);
        from.push(&format!(" AS {alias}"));
        Block {
            from,
            columns,
            ..Block::default()
        }
    }

    /// The relation of an `InQuery`.
    pub(super) fn subquery(&mut self, relation: &Relation) -> Subquery<'d> {
        let mut needed = vec![false; relation.columns().len()];
        if let Some(first) = needed.first_mut() {
            *first = true;
        }
        let block = self.open(relation, &needed);
        let column = block.columns.first().cloned().unwrap_or_else(unused);
        Subquery {
            dialect: self.dialect,
            block,
            column,
        }
    }
}
