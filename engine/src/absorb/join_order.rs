//! The order in which sides of several sources are joined, by guessed sizes.
//!
//! Owns: what equal columns say of a join's size, the search. Never: an order that changes an answer: inner joins may be made
//! in any.

use std::collections::BTreeSet;

use datafusion::common::{Column, TableReference};

use super::absorb_plan::Node;
use super::region::{Place, column};

/// Sides already joined with each other.
pub(super) struct Unit {
    /// The plan.
    pub node: Node,
    /// The sides in it: each with its alias and where its columns begin.
    pub sides: Vec<(usize, String, usize)>,
}

/// Columns that are equal.
pub(super) struct Class {
    members: BTreeSet<Place>,
    /// How many different values there may be.
    distinct: f64,
}

/// Up to so many units every order is looked at.
const EXHAUSTIVE_MAX: usize = 6;
/// More keys than this do not travel.
const KEYS_MAX: f64 = 50_000.0;

impl Unit {
    /// Its guessed rows.
    pub fn rows(&self) -> f64 {
        self.node.rows().max(1.0)
    }

    /// Names it among the units of a region.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.sides.iter().map(|(_, alias, _)| alias.as_str()).collect();
        names.join(" ")
    }

    /// Whether a column is one of its sides'.
    pub fn has(&self, column: &Column) -> bool {
        let table = column.relation.as_ref().map(TableReference::table);
        self.sides.iter().any(|(_, alias, _)| table == Some(alias.as_str()))
    }

    /// Both, as `node`: the columns of this one first.
    pub fn with(&self, other: &Unit, node: Node) -> Unit {
        let width = self.width();
        let moved = other
            .sides
            .iter()
            .map(|(side, alias, begin)| (*side, alias.clone(), begin + width));
        Unit {
            node,
            sides: self.sides.iter().cloned().chain(moved).collect(),
        }
    }

    fn width(&self) -> usize {
        self.node.schema().fields().len()
    }

    fn position(&self, place: Place) -> Option<usize> {
        let (_, _, begin) = self.sides.iter().find(|(side, ..)| *side == place.0)?;
        Some(begin + place.1)
    }
}

impl Class {
    /// The class of these columns.
    pub fn new(members: BTreeSet<Place>) -> Self {
        Self { members, distinct: 1.0 }
    }

    /// Guesses how many values there are: as many as the largest table has rows whose key it is, else as many as any side
    /// may hold.
    pub fn measure(&mut self, units: &[Unit]) {
        let mut key: Option<f64> = None;
        let mut most: f64 = 1.0;
        for (side, at) in &self.members {
            let Some(unit) = units.get(*side) else { continue };
            match &unit.node {
                Node::Remote(remote) => {
                    let distinct = remote.estimate.distinct.get(*at).copied().unwrap_or(10.0);
                    if remote.is_unique_on(&[*at]) {
                        key = Some(key.map_or(distinct, |known: f64| known.max(distinct)));
                    }
                    most = most.max(distinct);
                }
                Node::Local(_) if unit.node.is_unique_on(&[*at]) => {
                    let rows = unit.rows();
                    key = Some(key.map_or(rows, |known: f64| known.max(rows)));
                }
                Node::Local(_) => most = most.max(unit.rows() / 10.0),
            }
        }
        self.distinct = key.unwrap_or(most).max(1.0);
    }

    /// Its columns in a unit.
    pub fn columns_in(&self, unit: &Unit) -> Vec<Column> {
        let mut found = Vec::new();
        for (side, at) in &self.members {
            if let Some((_, alias, _)) = unit.sides.iter().find(|(known, ..)| known == side) {
                found.push(column(alias, *at));
            }
        }
        found
    }

    /// A position of it in each of two units that share it.
    pub fn positions(&self, a: &Unit, b: &Unit) -> (usize, usize) {
        let first = |unit: &Unit| self.members.iter().find_map(|place| unit.position(*place));
        (first(a).unwrap_or(usize::MAX), first(b).unwrap_or(usize::MAX))
    }

    fn is_in(&self, sides: &BTreeSet<usize>) -> bool {
        self.members.iter().any(|(side, _)| sides.contains(side))
    }
}

/// The classes with columns in both, each with its number of values.
pub(super) fn shared<'a>(a: &Unit, b: &Unit, classes: &'a [Class]) -> Vec<(&'a Class, f64)> {
    let (left, right) = (sides_of(a), sides_of(b));
    classes
        .iter()
        .filter(|class| class.is_in(&left) && class.is_in(&right))
        .map(|class| (class, class.distinct))
        .collect()
}

fn sides_of(unit: &Unit) -> BTreeSet<usize> {
    unit.sides.iter().map(|(side, ..)| *side).collect()
}

/// The order in which to join: what is first is read first, and its keys travel to the next.
pub(super) fn order(units: &[Unit], classes: &[Class]) -> Vec<usize> {
    let mut best = (f64::INFINITY, (0..units.len()).collect::<Vec<_>>());
    let search = Search { units, classes };
    if units.len() <= EXHAUSTIVE_MAX {
        search.every(&mut Vec::new(), &BTreeSet::new(), 0.0, 0.0, &mut best);
    } else {
        best.1 = search.greedy();
    }
    best.1
}

struct Search<'a> {
    units: &'a [Unit],
    classes: &'a [Class],
}

impl Search<'_> {
    /// Joins one more unit to `rows` rows of `sides`: the rows then, and what that costs.
    fn step(&self, sides: &BTreeSet<usize>, rows: f64, next: usize) -> (f64, f64) {
        let Some(unit) = self.units.get(next) else {
            return (rows, f64::INFINITY);
        };
        let size = unit.rows();
        if sides.is_empty() {
            return (size, size);
        }
        let own = sides_of(unit);
        let mut joined = rows * size;
        let mut fraction: f64 = 1.0;
        let mut is_connected = false;
        for class in self
            .classes
            .iter()
            .filter(|class| class.is_in(sides) && class.is_in(&own))
        {
            is_connected = true;
            joined /= class.distinct;
            let keys = rows.min(class.distinct);
            if keys <= KEYS_MAX && matches!(unit.node, Node::Remote(_)) {
                fraction = fraction.min(keys / class.distinct);
            }
        }
        let penalty = if is_connected { 1.0 } else { 1_000.0 };
        (joined.max(1.0), (size * fraction + 0.2 * joined) * penalty)
    }

    fn every(
        &self,
        taken: &mut Vec<usize>,
        sides: &BTreeSet<usize>,
        rows: f64,
        cost: f64,
        best: &mut (f64, Vec<usize>),
    ) {
        if cost >= best.0 {
            return;
        }
        if taken.len() == self.units.len() {
            *best = (cost, taken.clone());
            return;
        }
        for next in 0..self.units.len() {
            if taken.contains(&next) {
                continue;
            }
            let (joined, more) = self.step(sides, rows, next);
            let mut with = sides.clone();
            with.extend(self.units.get(next).map(sides_of).unwrap_or_default());
            taken.push(next);
            self.every(taken, &with, joined, cost + more, best);
            taken.pop();
        }
    }

    fn greedy(&self) -> Vec<usize> {
        let mut taken: Vec<usize> = Vec::new();
        let mut sides = BTreeSet::new();
        let mut rows = 0.0;
        while taken.len() < self.units.len() {
            let candidates = (0..self.units.len()).filter(|at| !taken.contains(at));
            let steps = candidates.map(|at| (at, self.step(&sides, rows, at)));
            let Some((next, (joined, _))) = steps.min_by(|a, b| a.1.1.total_cmp(&b.1.1)) else {
                break;
            };
            sides.extend(self.units.get(next).map(sides_of).unwrap_or_default());
            rows = joined;
            taken.push(next);
        }
        taken
    }
}
