//! Puts keys into the middle of a source's statement: below its joins and groups, where that leaves the rows that hold one
//! of the keys as they are.
//!
//! Owns: where a condition on an output column may go. Never: a place where it would change a row that stays.

use std::sync::Arc;

use arrow::array::ArrayRef;
use caliber_connector_spi::{Capabilities, Comparison, Expr as Remote, JoinKind, Relation};

use super::key_relation::{Keys, comparable};
use super::remote_plan::equalities;

/// `relation` without the rows whose `column` is none of `keys`; `None` where they cannot be sent.
pub(crate) fn restrict(
    relation: &Relation,
    column: usize,
    keys: &Keys,
    capabilities: &Capabilities,
) -> Option<Relation> {
    match relation {
        Relation::Scan { .. } => filtered(relation, column, keys, capabilities),
        Relation::Filter { input, predicate } => Some(Relation::Filter {
            input: Box::new(restrict(input, column, keys, capabilities)?),
            predicate: predicate.clone(),
        }),
        Relation::Project { input, columns } => {
            let below = through_cast(columns.get(column)?)?;
            Some(Relation::Project {
                input: Box::new(restrict(input, below, keys, capabilities)?),
                columns: columns.clone(),
            })
        }
        Relation::Aggregate {
            input,
            keys: groups,
            aggregates,
        } => {
            let below = groups.get(column)?.as_column()?;
            Some(Relation::Aggregate {
                input: Box::new(restrict(input, below, keys, capabilities)?),
                keys: groups.clone(),
                aggregates: aggregates.clone(),
            })
        }
        Relation::Join { left, right, kind, on } => {
            let count = left.columns().len();
            let pairs = equalities(on, count);
            let (mut at_left, mut at_right) = (None, None);
            if column < count {
                at_left = Some(column);
                at_right = pairs.iter().find(|pair| pair.0 == column).map(|pair| pair.1);
            } else if *kind == JoinKind::Inner {
                at_right = Some(column - count);
                at_left = pairs.iter().find(|pair| pair.1 == column - count).map(|pair| pair.0);
            }
            if at_left.is_none() && at_right.is_none() {
                return None;
            }
            let side = |side: &Relation, at: Option<usize>| at.and_then(|at| restrict(side, at, keys, capabilities));
            let (new_left, new_right) = (side(left, at_left), side(right, at_right));
            // An outer or anti join keeps left rows: those must be restricted themselves.
            let is_enough = match kind {
                JoinKind::Inner => new_left.is_some() || new_right.is_some(),
                JoinKind::Left | JoinKind::Semi | JoinKind::Anti => new_left.is_some(),
            };
            is_enough.then(|| Relation::Join {
                left: new_left.map_or_else(|| left.clone(), Box::new),
                right: new_right.map_or_else(|| right.clone(), Box::new),
                kind: *kind,
                on: on.clone(),
            })
        }
        Relation::Union { inputs } => {
            let inputs: Option<Vec<Relation>> = inputs
                .iter()
                .map(|input| restrict(input, column, keys, capabilities))
                .collect();
            inputs.map(|inputs| Relation::Union { inputs })
        }
        // The first rows of fewer are others.
        Relation::Sort { rows: Some(_), .. } | Relation::Limit { .. } => None,
        Relation::Sort {
            input,
            keys: order,
            rows: None,
        } => Some(Relation::Sort {
            input: Box::new(restrict(input, column, keys, capabilities)?),
            keys: order.clone(),
            rows: None,
        }),
    }
}

fn filtered(relation: &Relation, column: usize, keys: &Keys, capabilities: &Capabilities) -> Option<Relation> {
    let below = relation.columns();
    let data_type = &below.get(column)?.data_type;
    if !comparable(keys.array.data_type(), data_type) {
        return None;
    }
    let predicate = Remote::InKeys {
        column,
        keys: keys.as_type(data_type).ok()?,
    };
    capabilities.evaluates(&predicate, &below).then(|| Relation::Filter {
        input: Box::new(relation.clone()),
        predicate,
    })
}

/// Whether every row of `relation` has one and the same value in `column`: keys would drop all of them or none.
pub(crate) fn is_fixed(relation: &Relation, column: usize) -> bool {
    match relation {
        Relation::Scan { .. } => false,
        Relation::Filter { input, predicate } => equals_constant(predicate, column) || is_fixed(input, column),
        Relation::Project { input, columns } => {
            let below = columns.get(column).and_then(through_cast);
            below.is_some_and(|below| is_fixed(input, below))
        }
        Relation::Aggregate { input, keys, .. } => {
            let below = keys.get(column).and_then(Remote::as_column);
            below.is_some_and(|below| is_fixed(input, below))
        }
        Relation::Join { left, right, kind, on } => {
            let count = left.columns().len();
            let pairs = equalities(on, count);
            if column < count {
                let partner = pairs.iter().find(|pair| pair.0 == column).map(|pair| pair.1);
                let by_partner = *kind == JoinKind::Inner && partner.is_some_and(|at| is_fixed(right, at));
                by_partner || is_fixed(left, column)
            } else {
                let partner = pairs.iter().find(|pair| pair.1 == column - count).map(|pair| pair.0);
                *kind == JoinKind::Inner
                    && (is_fixed(right, column - count) || partner.is_some_and(|at| is_fixed(left, at)))
            }
        }
        Relation::Sort { input, .. } | Relation::Limit { input, .. } => is_fixed(input, column),
        Relation::Union { .. } => false,
    }
}

/// Whether the predicate is TRUE only of rows with one constant in `column`.
pub(crate) fn equals_constant(predicate: &Remote, column: usize) -> bool {
    match predicate {
        Remote::And(parts) => parts.iter().any(|part| equals_constant(part, column)),
        Remote::Compare {
            op: Comparison::Equal,
            left,
            right,
        } => left.as_column() == Some(column) && matches!(**right, Remote::Value(_) | Remote::Parameter { .. }),
        _ => false,
    }
}

fn through_cast(expr: &Remote) -> Option<usize> {
    match expr {
        Remote::Cast { expr, .. } => through_cast(expr),
        other => other.as_column(),
    }
}

/// `relation` with `keys` where `token` stood.
pub(crate) fn with_keys(relation: &Relation, token: &ArrayRef, keys: &ArrayRef) -> Relation {
    let mut relation = relation.clone();
    put_keys(&mut relation, token, keys);
    relation
}

fn put_keys(relation: &mut Relation, token: &ArrayRef, keys: &ArrayRef) {
    let put = |expr: &mut Remote| put_in_expr(expr, token, keys);
    match relation {
        Relation::Scan { .. } => {}
        Relation::Filter { input, predicate } => {
            put(predicate);
            put_keys(input, token, keys);
        }
        Relation::Project { input, columns } => {
            columns.iter_mut().for_each(put);
            put_keys(input, token, keys);
        }
        // Policy is part of what is scanned, so tokens stand in filters alone.
        Relation::Aggregate { input, .. } | Relation::Sort { input, .. } | Relation::Limit { input, .. } => {
            put_keys(input, token, keys);
        }
        Relation::Join { left, right, .. } => {
            put_keys(left, token, keys);
            put_keys(right, token, keys);
        }
        Relation::Union { inputs } => inputs.iter_mut().for_each(|input| put_keys(input, token, keys)),
    }
}

fn put_in_expr(expr: &mut Remote, token: &ArrayRef, keys: &ArrayRef) {
    if let Remote::InKeys { keys: known, .. } = expr
        && Arc::ptr_eq(known, token)
    {
        *known = Arc::clone(keys);
    }
    for child in expr.children_mut() {
        put_in_expr(child, token, keys);
    }
}
