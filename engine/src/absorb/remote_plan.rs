//! A sub-plan that one source runs whole, grown node by node as far as the source is exact.
//!
//! Owns: each node's translation, the check against the source's capabilities, keys and size of the result. Never: takes a
//! node in part; what is refused stays local, and says why.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::ArrayRef;
use caliber_connector_spi::{
    Aggregate as RemoteAggregate, AggregateFunction, Comparison, Expr as Remote, JoinKind, OutputColumn, Relation,
    RemoteQuery, SortKey,
};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::logical_expr::expr::AggregateFunction as Call;
use datafusion::logical_expr::{Expr, LogicalPlan, SortExpr};

use super::estimate::Estimate;
use super::key_relation::KeyRelation;
use super::translate::{Scope, Why, is_small};
use crate::engine::OpenSource;
use crate::govern::enforcement::Enforcement;

/// A sub-plan of one source.
#[derive(Clone)]
pub(crate) struct RemotePlan {
    /// Where it runs.
    pub source: Arc<OpenSource>,
    /// What it is there.
    pub relation: Relation,
    /// What it is in the plan: the same columns, by position.
    pub schema: DFSchemaRef,
    /// The governed tables it reads.
    pub reads: Vec<GovernedRead>,
    /// Keys of policies, which are known once it runs.
    pub late: Vec<LateKeys>,
    /// Sets of output columns no two rows agree on.
    pub keys: Vec<Vec<usize>>,
    /// Its guessed size.
    pub estimate: Estimate,
    /// Whether a governed scan does as much.
    pub is_plain: bool,
    /// Whether its groups may come in several rows each, which are brought together above.
    pub in_parts: bool,
    /// The sub-plan it stands for.
    pub original: LogicalPlan,
}

/// A table read under policy within a statement of a source.
#[derive(Clone)]
pub(crate) struct GovernedRead {
    /// The table and its policies.
    pub enforcement: Arc<Enforcement>,
    /// The columns the statement uses, as indices into `Enforcement::columns`.
    pub columns: BTreeSet<usize>,
}

/// A key relation of a policy within a statement.
#[derive(Clone)]
pub(crate) struct LateKeys {
    /// Stands in the relation for the keys, known by its address.
    pub token: ArrayRef,
    /// What gives them.
    pub relation: Arc<KeyRelation>,
}

/// The most tables of one statement: MariaDB joins 61, SQLite 64.
const TABLES_MAX: usize = 32;

impl RemotePlan {
    /// What its columns are, for expressions over them.
    pub fn translate(&self, expr: &Expr) -> Result<Remote, Why> {
        let columns = self.relation.columns();
        let place = |column: &Column| self.schema.maybe_index_of_column(column);
        let scope = Scope {
            columns: &columns,
            place: &place,
        };
        scope.translate(expr)
    }

    /// The same plan under other names.
    pub fn renamed(mut self, schema: DFSchemaRef, original: LogicalPlan) -> Self {
        self.schema = schema;
        self.original = original;
        self
    }

    /// A further node on top, if the source runs it exactly and gives just what the plan expects.
    fn grown(&self, relation: Relation, schema: &DFSchemaRef, original: LogicalPlan) -> Result<Self, Why> {
        let capabilities = self.source.connector.capabilities();
        capabilities.runs(&relation)?;
        fits(&relation.columns(), schema)?;
        if relation.tables().len() > TABLES_MAX {
            return Err("it is over more tables than one statement is".to_owned());
        }
        let relation = RemoteQuery::new(relation);
        if capabilities.reads_tables_only() && relation.table_read().is_none() {
            return Err("the source reads its tables one by one".to_owned());
        }
        let relation = relation.root;
        Ok(Self {
            relation,
            schema: Arc::clone(schema),
            original,
            is_plain: false,
            in_parts: false,
            ..self.clone()
        })
    }

    /// `Projection` over it.
    pub fn project(&self, exprs: &[Expr], schema: &DFSchemaRef, original: LogicalPlan) -> Result<Self, Why> {
        let columns = exprs
            .iter()
            .map(|expr| self.translate(expr))
            .collect::<Result<Vec<_>, Why>>()?;
        let is_selection = columns.iter().all(|column| column.as_column().is_some());
        let new_place = |old: usize| columns.iter().position(|column| column.as_column() == Some(old));
        let keys = self
            .keys
            .iter()
            .filter_map(|key| key.iter().map(|at| new_place(*at)).collect::<Option<Vec<usize>>>())
            .collect();
        let distinct = columns
            .iter()
            .map(|column| {
                let known = column.as_column().and_then(|at| self.estimate.distinct.get(at));
                known.copied().unwrap_or(self.estimate.rows)
            })
            .collect();
        let relation = Relation::Project {
            input: Box::new(self.relation.clone()),
            columns,
        };
        let mut grown = self.grown(relation, schema, original)?;
        grown.is_plain = self.is_plain && is_selection;
        grown.keys = keys;
        grown.estimate.distinct = distinct;
        Ok(grown)
    }

    /// The rows for which `predicate` is TRUE.
    pub fn filter(&self, predicate: &Expr, original: LogicalPlan) -> Result<Self, Why> {
        let predicate = self.translate(predicate)?;
        self.filter_remote(predicate, original)
    }

    /// The same, translated already.
    pub fn filter_remote(&self, predicate: Remote, original: LogicalPlan) -> Result<Self, Why> {
        if !is_small(&predicate) {
            return Err("it is larger than what is sent to sources".to_owned());
        }
        let rows = self.estimate.filtered(&predicate);
        let relation = Relation::Filter {
            input: Box::new(self.relation.clone()),
            predicate,
        };
        let schema = Arc::clone(&self.schema);
        let mut grown = self.grown(relation, &schema, original)?;
        grown.estimate.rows = rows;
        Ok(grown)
    }

    /// `Aggregate` over it, without grouping sets.
    pub fn aggregate(
        &self,
        keys: &[Expr],
        calls: &[Expr],
        schema: &DFSchemaRef,
        original: LogicalPlan,
    ) -> Result<Self, Why> {
        if schema.fields().len() != keys.len() + calls.len() {
            return Err("its columns are not its keys and aggregates".to_owned());
        }
        let mut grouped = Vec::with_capacity(keys.len());
        for key in keys {
            if matches!(key, Expr::GroupingSet(_)) {
                return Err("grouping sets are computed here".to_owned());
            }
            let key = self.translate(key)?;
            let mut has_column = false;
            key.visit(&mut |part| has_column |= part.as_column().is_some());
            if !has_column {
                return Err("a key of the group is a constant".to_owned());
            }
            grouped.push(key);
        }
        let mut aggregates = Vec::with_capacity(calls.len());
        for (at, call) in calls.iter().enumerate() {
            let field = schema.field(keys.len() + at);
            aggregates.push(self.call(call, field.data_type())?);
        }
        let count = grouped.len();
        let mut distinct: Vec<f64> = grouped
            .iter()
            .map(|key| self.estimate.values_of(key).unwrap_or(100.0))
            .collect();
        let rows = distinct.iter().product::<f64>().min(self.estimate.rows).max(1.0);
        distinct.extend(aggregates.iter().map(|_| rows));
        let relation = Relation::Aggregate {
            input: Box::new(self.relation.clone()),
            keys: grouped,
            aggregates,
        };
        let mut grown = self.grown(relation, schema, original)?;
        grown.keys = vec![(0..count).collect()];
        grown.estimate = Estimate { rows, distinct };
        Ok(grown)
    }

    fn call(&self, expr: &Expr, data_type: &arrow::datatypes::DataType) -> Result<RemoteAggregate, Why> {
        let call = match expr {
            Expr::Alias(alias) => return self.call(&alias.expr, data_type),
            Expr::AggregateFunction(call) => call,
            other => return Err(format!("{} is computed here", other.variant_name())),
        };
        let Call { func, params } = call;
        if !params.order_by.is_empty() || params.null_treatment.is_some() {
            return Err(format!("`{}` with an order is computed here", func.name()));
        }
        let function = match func.name() {
            "count" => AggregateFunction::Count,
            "sum" => AggregateFunction::Sum,
            "min" => AggregateFunction::Min,
            "max" => AggregateFunction::Max,
            other => return Err(format!("`{other}` is computed here")),
        };
        let argument = match params.args.as_slice() {
            [Expr::Literal(scalar, _)] if function == AggregateFunction::Count && !scalar.is_null() => None,
            [argument] => Some(self.translate(argument)?),
            _ => return Err(format!("`{}` of several is computed here", func.name())),
        };
        let is_extreme = matches!(function, AggregateFunction::Min | AggregateFunction::Max);
        // A constant is sent in the widest type of its class.
        if let Some(argument) = argument.as_ref().filter(|_| is_extreme)
            && argument.data_type(&self.relation.columns()) != *data_type
        {
            return Err("the source gives it another type".to_owned());
        }
        if params.distinct && argument.is_none() {
            return Err("a constant is counted here".to_owned());
        }
        let filter = match &params.filter {
            Some(filter) => Some(self.translate(filter)?),
            None => None,
        };
        Ok(RemoteAggregate {
            function,
            argument,
            distinct: params.distinct && !is_extreme,
            filter,
            data_type: data_type.clone(),
        })
    }

    /// The same groups, each in as many rows as the source likes.
    pub fn into_parts(mut self) -> Self {
        self.in_parts = true;
        self.keys = Vec::new();
        self
    }

    /// The first `rows` of it by these keys.
    pub fn top(&self, keys: &[SortExpr], rows: usize, original: LogicalPlan) -> Result<Self, Why> {
        let keys = keys
            .iter()
            .map(|key| {
                Ok(SortKey {
                    expr: self.translate(&key.expr)?,
                    descending: !key.asc,
                    nulls_first: key.nulls_first,
                })
            })
            .collect::<Result<Vec<_>, Why>>()?;
        let relation = Relation::Sort {
            input: Box::new(self.relation.clone()),
            keys,
            rows: Some(rows as u64),
        };
        let schema = Arc::clone(&self.schema);
        let mut grown = self.grown(relation, &schema, original)?;
        grown.estimate.rows = grown.estimate.rows.min(rows as f64);
        Ok(grown)
    }

    /// Any `rows` of it.
    pub fn limit(&self, rows: usize, original: LogicalPlan) -> Result<Self, Why> {
        let relation = Relation::Limit {
            input: Box::new(self.relation.clone()),
            rows: rows as u64,
        };
        let schema = Arc::clone(&self.schema);
        let mut grown = self.grown(relation, &schema, original)?;
        grown.estimate.rows = grown.estimate.rows.min(rows as f64);
        Ok(grown)
    }

    /// All rows of `inputs`, which are of one source.
    pub fn union(inputs: &[Self], schema: &DFSchemaRef, original: LogicalPlan) -> Result<Self, Why> {
        let (first, rest) = inputs.split_first().ok_or("it has no input")?;
        if rest.iter().any(|other| !first.is_beside(other)) {
            return Err("it is over several sources".to_owned());
        }
        let relation = Relation::Union {
            inputs: inputs.iter().map(|input| input.relation.clone()).collect(),
        };
        let mut grown = first.grown(relation, schema, original)?;
        for other in rest {
            grown.reads.extend(other.reads.iter().cloned());
            grown.late.extend(other.late.iter().cloned());
            grown.estimate.rows += other.estimate.rows;
        }
        grown.keys = Vec::new();
        Ok(grown)
    }

    /// Whether the other is in the same source, under the same credential.
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// A join with `right`, whose `schema` is the joined one. `on` holds over left columns then right columns.
    pub fn join(
        &self,
        right: &Self,
        kind: JoinKind,
        on: &[Expr],
        schema: &DFSchemaRef,
        original: LogicalPlan,
    ) -> Result<Self, Why> {
        if !self.is_beside(right) {
            return Err("its sides are of two sources".to_owned());
        }
        let left_columns = self.relation.columns();
        let count = left_columns.len();
        let mut below = left_columns;
        below.extend(right.relation.columns());
        let place = |column: &Column| {
            let left = self.schema.maybe_index_of_column(column);
            left.or_else(|| right.schema.maybe_index_of_column(column).map(|at| at + count))
        };
        let scope = Scope {
            columns: &below,
            place: &place,
        };
        let on = on
            .iter()
            .map(|condition| scope.translate(condition))
            .collect::<Result<Vec<_>, Why>>()?;
        let on = match super::raw_read::all_of(on) {
            Some(on) if is_small(&on) => on,
            Some(_) => return Err("its condition is larger than what is sent to sources".to_owned()),
            None => return Err("it has no condition".to_owned()),
        };
        let pairs = equalities(&on, count);
        let estimate = self.joined_estimate(right, kind, &pairs, &on);
        let keys = self.joined_keys(right, kind, &pairs);
        let relation = Relation::Join {
            left: Box::new(self.relation.clone()),
            right: Box::new(right.relation.clone()),
            kind,
            on,
        };
        let mut grown = self.grown(relation, schema, original)?;
        grown.reads.extend(right.reads.iter().cloned());
        grown.late.extend(right.late.iter().cloned());
        grown.estimate = estimate;
        grown.keys = keys;
        Ok(grown)
    }

    fn joined_estimate(&self, right: &Self, kind: JoinKind, pairs: &[(usize, usize)], on: &Remote) -> Estimate {
        let (left, other) = (&self.estimate, &right.estimate);
        let mut rows = left.rows * other.rows;
        // Several columns together have no more values than there are rows.
        let most = left.rows.max(other.rows);
        let (mut all, mut largest) = (1.0_f64, 1.0_f64);
        for (l, r) in pairs {
            let distinct = |estimate: &Estimate, at: usize| estimate.distinct.get(at).copied().unwrap_or(10.0);
            // The values of a column that references a key are among the key's.
            let values = if right.is_unique_on(&[*r]) {
                distinct(other, *r)
            } else if self.is_unique_on(&[*l]) {
                distinct(left, *l)
            } else {
                distinct(left, *l).max(distinct(other, *r))
            };
            all *= values.max(1.0);
            largest = largest.max(values);
        }
        rows /= all.min(most).max(largest);
        if pairs.is_empty() && !matches!(on, Remote::Value(_)) {
            rows *= 0.33;
        }
        let mut distinct = left.distinct.clone();
        let rows = match kind {
            JoinKind::Inner => rows,
            JoinKind::Left => rows.max(left.rows),
            JoinKind::Semi => rows.min(left.rows * 0.5),
            JoinKind::Anti => left.rows * 0.5,
        };
        if matches!(kind, JoinKind::Inner | JoinKind::Left) {
            distinct.extend(&other.distinct);
        }
        Estimate {
            rows: rows.max(1.0),
            distinct,
        }
    }

    fn joined_keys(&self, right: &Self, kind: JoinKind, pairs: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let count = self.estimate.distinct.len();
        match kind {
            JoinKind::Semi | JoinKind::Anti => self.keys.clone(),
            JoinKind::Inner | JoinKind::Left => {
                let left_on: Vec<usize> = pairs.iter().map(|pair| pair.0).collect();
                let right_on: Vec<usize> = pairs.iter().map(|pair| pair.1).collect();
                let mut keys = Vec::new();
                if right.is_unique_on(&right_on) {
                    keys.extend(self.keys.iter().cloned());
                }
                if kind == JoinKind::Inner && self.is_unique_on(&left_on) {
                    let moved = |key: &Vec<usize>| key.iter().map(|at| at + count).collect();
                    keys.extend(right.keys.iter().map(moved));
                }
                if keys.is_empty() {
                    for left in &self.keys {
                        for other in &right.keys {
                            keys.push(left.iter().copied().chain(other.iter().map(|at| at + count)).collect());
                        }
                    }
                }
                keys
            }
        }
    }

    /// Whether no two rows agree on all of `columns`.
    pub fn is_unique_on(&self, columns: &[usize]) -> bool {
        self.keys.iter().any(|key| key.iter().all(|at| columns.contains(at)))
    }

    /// The query sent, keys of policies left open.
    pub fn query(&self) -> RemoteQuery {
        RemoteQuery {
            root: self.relation.clone(),
            in_parts: self.in_parts,
        }
    }
}

/// The pairs of columns that `on` equates, left and right, each by its position on its own side.
pub(crate) fn equalities(on: &Remote, left_count: usize) -> Vec<(usize, usize)> {
    let parts: &[Remote] = match on {
        Remote::And(parts) => parts,
        one => std::slice::from_ref(one),
    };
    parts
        .iter()
        .filter_map(|part| {
            let Remote::Compare {
                op: Comparison::Equal,
                left,
                right,
            } = part
            else {
                return None;
            };
            let (a, b) = (column_through_cast(left)?, column_through_cast(right)?);
            match (a < left_count, b < left_count) {
                (true, false) => Some((a, b - left_count)),
                (false, true) => Some((b, a - left_count)),
                _ => None,
            }
        })
        .collect()
}

fn column_through_cast(expr: &Remote) -> Option<usize> {
    match expr {
        Remote::Cast { expr, .. } => column_through_cast(expr),
        other => other.as_column(),
    }
}

/// Whether what the source gives is, column by column, of the types the plan expects.
fn fits(columns: &[OutputColumn], schema: &DFSchema) -> Result<(), Why> {
    let same = columns.len() == schema.fields().len()
        && columns
            .iter()
            .zip(schema.fields())
            .all(|(column, field)| column.data_type == *field.data_type());
    if same {
        Ok(())
    } else {
        Err("the source gives it another type".to_owned())
    }
}
