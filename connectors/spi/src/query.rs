//! `RemoteQuery`: the small, typed relational tree a source may be asked to run.
//!
//! Owns: relations, what each of them gives. Never: SQL text; values become bind parameters.
//!
//! Columns are positions: an expression of a node names the columns of what is below it by their index there, in a join
//! those of the left side first.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::expr::{Expr, Value};
use crate::{RemoteColumn, RemoteTable};

/// A query over tables of one source.
#[derive(Clone, Debug)]
pub struct RemoteQuery {
    /// The tree.
    pub root: Relation,
    /// Whether the reader brings groups together: a group of `root` may then come in several rows, each of some of the rows
    /// it is made of. Only of a `Relation::Aggregate`.
    pub in_parts: bool,
}

/// A node of a remote query.
#[derive(Clone, Debug)]
pub enum Relation {
    /// A table: all its columns, by their index in `RemoteTable::columns`. Only those that something above uses are read.
    Scan {
        /// The table, as introspected.
        table: Arc<RemoteTable>,
    },
    /// The rows of `input` for which `predicate` is TRUE.
    Filter {
        /// Over what.
        input: Box<Relation>,
        /// Which rows.
        predicate: Expr,
    },
    /// One row for each of `input`, made of these expressions. No expression at all is legal: rows without columns.
    Project {
        /// Over what.
        input: Box<Relation>,
        /// The output columns.
        columns: Vec<Expr>,
    },
    /// One row for each distinct combination of `keys` (NULL is one value), and exactly one where there are no keys.
    /// Output: the keys, then the aggregates.
    Aggregate {
        /// Over what.
        input: Box<Relation>,
        /// What is grouped by. With no aggregates: the distinct combinations.
        keys: Vec<Expr>,
        /// What is computed of each group.
        aggregates: Vec<Aggregate>,
    },
    /// The pairs of rows for which `on` is TRUE.
    Join {
        /// The left side.
        left: Box<Relation>,
        /// The right side.
        right: Box<Relation>,
        /// Which rows come out.
        kind: JoinKind,
        /// Over the left side's columns, then the right side's.
        on: Expr,
    },
    /// `input` in the order of `keys`; with `rows`, the first of them. Rows that tie are in any order.
    Sort {
        /// Over what.
        input: Box<Relation>,
        /// At least one.
        keys: Vec<SortKey>,
        /// How many rows are wanted.
        rows: Option<u64>,
    },
    /// The first `rows` rows of `input`, in its order where it is a `Sort`, any of them otherwise.
    Limit {
        /// Over what.
        input: Box<Relation>,
        /// How many.
        rows: u64,
    },
    /// All rows of all inputs, twins included. At least one input, all with the same types.
    Union {
        /// Over what.
        inputs: Vec<Relation>,
    },
}

/// Which rows a join gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// The pairs.
    Inner,
    /// The pairs, and each left row without one beside NULLs.
    Left,
    /// The left rows that have a pair, once each. Output: the left columns.
    Semi,
    /// The left rows that have none. Output: the left columns.
    Anti,
}

/// What is computed of a group.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The function.
    pub function: AggregateFunction,
    /// What of; `None` for `count(*)` alone.
    pub argument: Option<Expr>,
    /// Whether equal arguments count once. With `Count` only.
    pub distinct: bool,
    /// Only rows for which this is TRUE.
    pub filter: Option<Expr>,
    /// The type of the result. A value that does not fit is an error of class `Range`, never another value.
    pub data_type: DataType,
}

/// A function of a group. NULL arguments are left out by all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// How many: `Int64`, 0 for none.
    Count,
    /// The exact sum of integers or decimals; NULL for none.
    Sum,
    /// The least by the engine's order; NULL for none.
    Min,
    /// The greatest by the engine's order; NULL for none.
    Max,
}

/// One key of an order.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// What is ordered by.
    pub expr: Expr,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Whether NULL comes before every value.
    pub nulls_first: bool,
}

/// What a relation gives in one column.
#[derive(Clone, Debug)]
pub struct OutputColumn {
    /// Its Arrow type.
    pub data_type: DataType,
    /// Whether it may hold NULL.
    pub nullable: bool,
    /// Whether comparing it at the source can be made exact.
    pub comparable: bool,
    /// The column of a table whose values these are, if they are just that: its table and index.
    pub origin: Option<(Arc<RemoteTable>, usize)>,
}

impl OutputColumn {
    /// The described column whose values these are.
    pub fn described(&self) -> Option<&RemoteColumn> {
        let (table, index) = self.origin.as_ref()?;
        table.columns.get(*index)
    }

    fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }
}

/// A query of one table: some columns of the rows that pass, at most so many.
#[derive(Clone, Debug)]
pub struct TableRead<'a> {
    /// The table.
    pub table: &'a Arc<RemoteTable>,
    /// The columns given, as indices into the table's.
    pub columns: Vec<usize>,
    /// Predicates over the table's columns; all must be TRUE.
    pub predicates: Vec<&'a Expr>,
    /// How many rows are enough.
    pub rows: Option<u64>,
}

impl Relation {
    /// What the relation gives, by position.
    pub fn columns(&self) -> Vec<OutputColumn> {
        match self {
            Relation::Scan { table } => (0..table.columns.len())
                .filter_map(|index| {
                    let column = table.columns.get(index)?;
                    Some(OutputColumn {
                        data_type: column.data_type.clone(),
                        nullable: column.nullable,
                        comparable: column.comparable,
                        origin: Some((Arc::clone(table), index)),
                    })
                })
                .collect(),
            Relation::Filter { input, .. } | Relation::Sort { input, .. } | Relation::Limit { input, .. } => {
                input.columns()
            }
            Relation::Project { input, columns } => {
                let below = input.columns();
                columns.iter().map(|expr| expr.output(&below)).collect()
            }
            Relation::Aggregate {
                input,
                keys,
                aggregates,
            } => {
                let below = input.columns();
                let mut all: Vec<OutputColumn> = keys.iter().map(|expr| expr.output(&below)).collect();
                all.extend(aggregates.iter().map(|aggregate| OutputColumn {
                    data_type: aggregate.data_type.clone(),
                    nullable: aggregate.function != AggregateFunction::Count,
                    comparable: true,
                    origin: None,
                }));
                all
            }
            Relation::Join { left, right, kind, .. } => {
                let mut all = left.columns();
                match kind {
                    JoinKind::Inner => all.extend(right.columns()),
                    JoinKind::Left => all.extend(right.columns().into_iter().map(OutputColumn::nullable)),
                    JoinKind::Semi | JoinKind::Anti => {}
                }
                all
            }
            Relation::Union { inputs } => {
                let mut all = inputs.first().map(Relation::columns).unwrap_or_default();
                for other in inputs.iter().skip(1) {
                    for (known, more) in all.iter_mut().zip(other.columns()) {
                        known.nullable |= more.nullable;
                        known.comparable &= more.comparable;
                    }
                }
                for column in &mut all {
                    column.origin = None;
                }
                all
            }
        }
    }

    /// The tables scanned, from left to right, a table as often as it is scanned. Those of subqueries too.
    pub fn tables(&self) -> Vec<&Arc<RemoteTable>> {
        let mut found = Vec::new();
        self.gather_tables(&mut found);
        found
    }

    fn gather_tables<'a>(&'a self, found: &mut Vec<&'a Arc<RemoteTable>>) {
        if let Relation::Scan { table } = self {
            found.push(table);
        }
        for input in self.inputs() {
            input.gather_tables(found);
        }
        for expr in self.expressions() {
            expr.visit(&mut |part| {
                if let Expr::InQuery { query, .. } = part {
                    query.gather_tables(found);
                }
            });
        }
    }

    /// What the node is over.
    pub fn inputs(&self) -> Vec<&Relation> {
        match self {
            Relation::Scan { .. } => Vec::new(),
            Relation::Filter { input, .. }
            | Relation::Project { input, .. }
            | Relation::Aggregate { input, .. }
            | Relation::Sort { input, .. }
            | Relation::Limit { input, .. } => vec![input],
            Relation::Join { left, right, .. } => vec![left, right],
            Relation::Union { inputs } => inputs.iter().collect(),
        }
    }

    /// The node's own expressions.
    pub fn expressions(&self) -> Vec<&Expr> {
        match self {
            Relation::Scan { .. } | Relation::Limit { .. } | Relation::Union { .. } => Vec::new(),
            Relation::Filter { predicate, .. } => vec![predicate],
            Relation::Project { columns, .. } => columns.iter().collect(),
            Relation::Aggregate { keys, aggregates, .. } => {
                let parts = aggregates
                    .iter()
                    .flat_map(|aggregate| aggregate.argument.iter().chain(&aggregate.filter));
                keys.iter().chain(parts).collect()
            }
            Relation::Join { on, .. } => vec![on],
            Relation::Sort { keys, .. } => keys.iter().map(|key| &key.expr).collect(),
        }
    }
}

impl Relation {
    /// The same with the value of each parameter in its place; `None` where `value` gives none for one.
    pub fn with_parameters(&self, value: &dyn Fn(usize, &DataType) -> Option<Value>) -> Option<Relation> {
        let mut bound = self.clone();
        bound.bind(value)?;
        Some(bound)
    }

    fn bind(&mut self, value: &dyn Fn(usize, &DataType) -> Option<Value>) -> Option<()> {
        self.expressions_mut()
            .into_iter()
            .try_for_each(|expr| expr.bind(value))?;
        self.inputs_mut().into_iter().try_for_each(|input| input.bind(value))
    }

    fn inputs_mut(&mut self) -> Vec<&mut Relation> {
        match self {
            Relation::Scan { .. } => Vec::new(),
            Relation::Filter { input, .. }
            | Relation::Project { input, .. }
            | Relation::Aggregate { input, .. }
            | Relation::Sort { input, .. }
            | Relation::Limit { input, .. } => vec![input],
            Relation::Join { left, right, .. } => vec![left, right],
            Relation::Union { inputs } => inputs.iter_mut().collect(),
        }
    }

    fn expressions_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Relation::Scan { .. } | Relation::Limit { .. } | Relation::Union { .. } => Vec::new(),
            Relation::Filter { predicate, .. } => vec![predicate],
            Relation::Project { columns, .. } => columns.iter_mut().collect(),
            Relation::Aggregate { keys, aggregates, .. } => {
                let parts = aggregates
                    .iter_mut()
                    .flat_map(|aggregate| aggregate.argument.iter_mut().chain(&mut aggregate.filter));
                keys.iter_mut().chain(parts).collect()
            }
            Relation::Join { on, .. } => vec![on],
            Relation::Sort { keys, .. } => keys.iter_mut().map(|key| &mut key.expr).collect(),
        }
    }
}

impl Expr {
    fn bind(&mut self, value: &dyn Fn(usize, &DataType) -> Option<Value>) -> Option<()> {
        if let Expr::Parameter { index, data_type } = self {
            *self = Expr::Value(value(*index, data_type)?);
        }
        if let Expr::InQuery { query, .. } = self {
            query.bind(value)?;
        }
        self.children_mut().into_iter().try_for_each(|child| child.bind(value))
    }
}

impl Relation {
    /// As a read of one table, where it is no more than that.
    fn table_read(&self) -> Option<TableRead<'_>> {
        let mut rows: Option<u64> = None;
        let mut node = self;
        while let Relation::Limit { input, rows: most } = node {
            rows = Some(rows.map_or(*most, |known| known.min(*most)));
            node = input;
        }
        let mut columns = None;
        if let Relation::Project { input, columns: exprs } = node {
            let indices: Option<Vec<usize>> = exprs.iter().map(Expr::as_column).collect();
            columns = Some(indices?);
            node = input;
        }
        let mut predicates = Vec::new();
        while let Relation::Filter { input, predicate } = node {
            predicates.push(predicate);
            node = input;
        }
        predicates.reverse();
        let Relation::Scan { table } = node else {
            return None;
        };
        Some(TableRead {
            table,
            columns: columns.unwrap_or_else(|| (0..table.columns.len()).collect()),
            predicates,
            rows,
        })
    }
}

impl RemoteQuery {
    /// The rows of `root`, each group in one row.
    pub fn new(root: Relation) -> Self {
        Self { root, in_parts: false }
    }

    /// Some columns of the rows of `table` for which `predicate` is TRUE, at most `rows` of them.
    pub fn of_table(table: Arc<RemoteTable>, columns: &[usize], predicate: Option<Expr>, rows: Option<u64>) -> Self {
        let mut root = Relation::Scan { table };
        if let Some(predicate) = predicate {
            root = Relation::Filter {
                input: Box::new(root),
                predicate,
            };
        }
        root = Relation::Project {
            input: Box::new(root),
            columns: columns.iter().map(|index| Expr::Column(*index)).collect(),
        };
        if let Some(rows) = rows {
            root = Relation::Limit {
                input: Box::new(root),
                rows,
            };
        }
        Self::new(root)
    }

    /// The query as a read of one table, where it is no more than that. Every source can run those.
    pub fn table_read(&self) -> Option<TableRead<'_>> {
        self.root.table_read()
    }

    /// The read of one table whose rows are grouped, where a group may come in parts.
    pub fn grouped_read(&self) -> Option<TableRead<'_>> {
        match &self.root {
            Relation::Aggregate { input, .. } if self.in_parts => input.table_read(),
            _ => None,
        }
    }

    /// The Arrow schema of the result, exactly. A column that is a table's has its name, unless another has it too.
    pub fn schema(&self) -> SchemaRef {
        let columns = self.root.columns();
        let named: Vec<Option<&str>> = columns
            .iter()
            .map(|column| column.described().map(|described| described.name.as_str()))
            .collect();
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let own = named.get(at).copied().flatten();
                let name = match own {
                    Some(name) if named.iter().filter(|other| **other == Some(name)).count() == 1 => name.to_owned(),
                    _ => format!("c{at}"),
                };
                Field::new(name, column.data_type.clone(), column.nullable)
            })
            .collect();
        Arc::new(Schema::new(fields))
    }
}
