//! Shorter statements, to find the part of one that matters.
//!
//! Owns: what can be left out. Never: whether the difference is still there (`world`).

use super::ast::{Body, Expr, Query, Select};

/// Statements that lack one part of `query` each.
pub fn simpler(query: &Query) -> Vec<Query> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Query)| {
        let mut other = query.clone();
        change(&mut other);
        all.push(other);
    };
    if !query.with.is_empty() {
        add(&|other| other.with.clear());
    }
    if !query.order.is_empty() && query.limit.is_none() {
        add(&|other| other.order.clear());
    }
    if query.limit.is_some() {
        add(&|other| (other.limit, other.offset) = (None, None));
    }
    match &query.body {
        Body::Set(_, left, right) => all.extend([left.as_ref().clone(), right.as_ref().clone()]),
        Body::Select(select) => {
            for select in simpler_select(select) {
                let mut other = query.clone();
                other.body = Body::Select(Box::new(select));
                all.push(other);
            }
        }
    }
    all
}

fn simpler_select(select: &Select) -> Vec<Select> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Select)| {
        let mut other = select.clone();
        change(&mut other);
        all.push(other);
    };
    if !select.having.is_empty() {
        add(&|other| other.having.clear());
    }
    if select.distinct {
        add(&|other| other.distinct = false);
    }
    for at in 0..select.joins.len() {
        add(&|other| {
            other.joins.remove(at);
        });
        if select.joins[at].on.len() > 1 {
            add(&|other| {
                other.joins[at].on.pop();
            });
        }
    }
    for at in 0..select.filter.len() {
        add(&|other| {
            other.filter.remove(at);
        });
        for part in parts(&select.filter[at]) {
            add(&|other| other.filter[at] = part.clone());
        }
    }
    if select.items.len() > 1 {
        for at in 0..select.items.len() {
            add(&|other| {
                other.items.remove(at);
            });
        }
    }
    all
}

/// The conditions that a condition is made of.
fn parts(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::Binary("AND" | "OR", left, right) => vec![left.as_ref().clone(), right.as_ref().clone()],
        Expr::Not(inner) => vec![inner.as_ref().clone()],
        _ => Vec::new(),
    }
}
