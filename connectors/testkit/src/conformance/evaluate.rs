//! Relations evaluated here, row by row.
//!
//! Owns: what the right rows are. Never: an engine, a source, an index.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;

use arrow::datatypes::DataType;
use caliber_connector_spi::{Aggregate, AggregateFunction, JoinKind, Relation, SortKey, Value};

use super::local::{Row, evaluate, holds, order};

/// The right answer is an error: a sum is out of range.
#[derive(Debug)]
pub struct OutOfRange;

/// The rows of the tables, by name.
pub struct Local {
    pub tables: HashMap<String, Vec<Row>>,
    /// What subqueries gave, by their address: they do not change while a relation is evaluated.
    looked_up: RefCell<HashMap<*const Relation, Vec<Value>>>,
}

impl Local {
    /// Over these tables.
    pub fn new(tables: HashMap<String, Vec<Row>>) -> Self {
        Self {
            tables,
            looked_up: RefCell::default(),
        }
    }

    /// The rows of `relation`; those of a `Sort` in order.
    pub fn rows(&self, relation: &Relation) -> Result<Vec<Row>, OutOfRange> {
        self.looked_up.borrow_mut().clear();
        self.relation(relation)
    }

    fn lookup(&self, query: &Relation) -> Vec<Value> {
        let address = std::ptr::from_ref(query);
        if let Some(known) = self.looked_up.borrow().get(&address) {
            return known.clone();
        }
        let rows = self.relation(query).expect("subqueries sum nothing");
        let values: Vec<Value> = rows.into_iter().filter_map(|row| row[0].clone()).collect();
        self.looked_up.borrow_mut().insert(address, values.clone());
        values
    }

    fn relation(&self, relation: &Relation) -> Result<Vec<Row>, OutOfRange> {
        let lookup = |query: &Relation| self.lookup(query);
        Ok(match relation {
            Relation::Scan { table } => self.tables[&table.name].clone(),
            Relation::Filter { input, predicate } => {
                let rows = self.relation(input)?;
                let passes = |row: &Row| holds(predicate, row, &lookup) == Some(true);
                rows.into_iter().filter(passes).collect()
            }
            Relation::Project { input, columns } => {
                let rows = self.relation(input)?;
                let project = |row: &Row| columns.iter().map(|expr| evaluate(expr, row, &lookup)).collect();
                rows.iter().map(project).collect()
            }
            Relation::Aggregate {
                input,
                keys,
                aggregates,
            } => {
                let mut groups: Vec<(Row, Vec<Row>)> = Vec::new();
                let mut places: HashMap<String, usize> = HashMap::new();
                for row in self.relation(input)? {
                    let key: Row = keys.iter().map(|key| evaluate(key, &row, &lookup)).collect();
                    let at = *places.entry(shown(&key)).or_insert(groups.len());
                    if at == groups.len() {
                        groups.push((key, Vec::new()));
                    }
                    groups[at].1.push(row);
                }
                if keys.is_empty() && groups.is_empty() {
                    groups.push((Vec::new(), Vec::new()));
                }
                let mut rows = Vec::with_capacity(groups.len());
                for (mut row, members) in groups {
                    for aggregate in aggregates {
                        row.push(self.aggregate(aggregate, &members)?);
                    }
                    rows.push(row);
                }
                rows
            }
            Relation::Join { left, right, kind, on } => {
                let (lefts, rights) = (self.relation(left)?, self.relation(right)?);
                let width = right.columns().len();
                let mut rows = Vec::new();
                for left in &lefts {
                    let pair = |right: &Row| left.iter().chain(right).cloned().collect::<Row>();
                    let pairs = rights
                        .iter()
                        .map(pair)
                        .filter(|row| holds(on, row, &lookup) == Some(true));
                    let pairs: Vec<Row> = pairs.collect();
                    match kind {
                        JoinKind::Inner => rows.extend(pairs),
                        JoinKind::Left if pairs.is_empty() => rows.push(pair(&vec![None; width])),
                        JoinKind::Left => rows.extend(pairs),
                        JoinKind::Semi if !pairs.is_empty() => rows.push(left.clone()),
                        JoinKind::Anti if pairs.is_empty() => rows.push(left.clone()),
                        JoinKind::Semi | JoinKind::Anti => {}
                    }
                }
                rows
            }
            Relation::Sort { input, keys, rows } => {
                let mut sorted = self.relation(input)?;
                sorted.sort_by(|left, right| self.by_keys(keys, left, right));
                truncated(sorted, rows.unwrap_or(u64::MAX))
            }
            Relation::Limit { input, rows } => truncated(self.relation(input)?, *rows),
            Relation::Union { inputs } => {
                let mut rows = Vec::new();
                for input in inputs {
                    rows.extend(self.relation(input)?);
                }
                rows
            }
        })
    }

    /// How two rows stand by the keys of an order.
    pub fn by_keys(&self, keys: &[SortKey], left: &Row, right: &Row) -> Ordering {
        let lookup = |query: &Relation| self.lookup(query);
        for key in keys {
            let sides = (evaluate(&key.expr, left, &lookup), evaluate(&key.expr, right, &lookup));
            let found = match sides {
                (None, None) => Ordering::Equal,
                (None, Some(_)) if key.nulls_first => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) if key.nulls_first => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(left), Some(right)) if key.descending => order(&right, &left),
                (Some(left), Some(right)) => order(&left, &right),
            };
            if found != Ordering::Equal {
                return found;
            }
        }
        Ordering::Equal
    }

    fn aggregate(&self, aggregate: &Aggregate, rows: &[Row]) -> Result<Option<Value>, OutOfRange> {
        let lookup = |query: &Relation| self.lookup(query);
        let counted = rows.iter().filter(|row| {
            let filter = aggregate.filter.as_ref();
            filter.is_none_or(|filter| holds(filter, row, &lookup) == Some(true))
        });
        let Some(argument) = &aggregate.argument else {
            return Ok(Some(Value::Int(i64::try_from(counted.count()).expect("fits"))));
        };
        let mut values: Vec<Value> = counted.filter_map(|row| evaluate(argument, row, &lookup)).collect();
        if aggregate.distinct {
            values.sort_by(order);
            values.dedup_by(|one, other| order(one, other) == Ordering::Equal);
        }
        Ok(match aggregate.function {
            AggregateFunction::Count => Some(Value::Int(i64::try_from(values.len()).expect("fits"))),
            AggregateFunction::Min => values.into_iter().min_by(order),
            AggregateFunction::Max => values.into_iter().max_by(order),
            AggregateFunction::Sum if values.is_empty() => None,
            AggregateFunction::Sum => Some(sum(&values, &aggregate.data_type)?),
        })
    }
}

fn sum(values: &[Value], data_type: &DataType) -> Result<Value, OutOfRange> {
    let number = |value: &Value| match value {
        Value::Int(number) => i128::from(*number),
        Value::UInt(number) => i128::from(*number),
        Value::Decimal { unscaled, .. } => *unscaled,
        other => panic!("no sum of {other:?}"),
    };
    let mut total: i128 = 0;
    for value in values {
        total = total.checked_add(number(value)).ok_or(OutOfRange)?;
    }
    match data_type {
        DataType::UInt64 => u64::try_from(total).map(Value::UInt).map_err(|_| OutOfRange),
        DataType::Decimal128(precision, scale) => {
            if total.abs() >= 10_i128.pow(u32::from(*precision)) {
                return Err(OutOfRange);
            }
            Ok(Value::Decimal {
                unscaled: total,
                precision: *precision,
                scale: *scale,
            })
        }
        _ => i64::try_from(total).map(Value::Int).map_err(|_| OutOfRange),
    }
}

fn truncated(mut rows: Vec<Row>, most: u64) -> Vec<Row> {
    rows.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    rows
}

/// A row as text, the same for the same values.
pub fn shown(row: &Row) -> String {
    let cell = |value: &Option<Value>| match value {
        // Its type is the schema's matter.
        Some(Value::Decimal { unscaled, scale, .. }) => format!("{unscaled}e-{scale}"),
        other => format!("{other:?}"),
    };
    row.iter().map(cell).collect::<Vec<_>>().join(" | ")
}
