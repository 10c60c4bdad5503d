//! How a row of any table finds its entity.
//!
//! Owns: the unique shortest chain of references and holdings from each table to an entity, and which tables the
//! entity itself leads to. Never: guesses between two chains of one length.

use std::collections::{BTreeMap, BTreeSet};

use super::references::{Link, References};
use crate::diagnostic::Place;
use crate::grant::{KeyStep, SqlText};
use crate::name::TableName;
use crate::project::{Entity, Holding, HoldingRule};

/// What a policy on an entity makes of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reach<'a> {
    /// Its rows belong to entities, found this way; empty for the entity's own table.
    Path(&'a [KeyStep]),
    /// The entity leads to it: reference data, open.
    Open,
    /// Nothing ties it to the entity: it does not exist under the policy.
    Closed,
    /// Two shortest chains: an error of the project, and closed.
    Ambiguous(&'a Ambiguity),
}

/// Two or more shortest chains part at `table`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ambiguity {
    pub table: TableName,
    /// The ways that lead on from it, in words, with the place where each is declared.
    pub ways: Vec<(String, Option<Place>)>,
}

/// Why a holding makes no path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BrokenHolding {
    pub place: Place,
    pub message: String,
    pub help: String,
}

/// The paths to one entity.
#[derive(Debug)]
pub(crate) struct EntityPaths {
    table: TableName,
    paths: BTreeMap<TableName, Result<Vec<KeyStep>, Ambiguity>>,
    open: BTreeSet<TableName>,
    /// Holdings whose bridge does not tie the two ends.
    pub broken: Vec<BrokenHolding>,
    /// Of the others: bridge, its column of the held key, its column of the entity's key, rule.
    held: Vec<(TableName, String, String, HoldingRule)>,
}

/// Chains are compared by their steps, then by how many of them no project declares: so a declaration can decide
/// between two chains of one length.
type Cost = (usize, usize);

/// One step of a chain, as the graph holds it.
#[derive(Clone)]
enum Edge<'a> {
    Reference(&'a Link),
    Holding(Bridge<'a>),
}

/// A holding whose two ends are tied: `held_key` of the held table = `to_held` of the bridge, whose `to_entity` =
/// `entity_key` of the entity's table.
#[derive(Clone)]
struct Bridge<'a> {
    holding: &'a Holding,
    held_key: &'a str,
    to_held: &'a str,
    to_entity: &'a str,
    entity_key: &'a str,
}

impl EntityPaths {
    pub fn new(entity: &Entity, references: &References) -> Self {
        let mut broken = Vec::new();
        let mut held = Vec::new();
        let mut incoming: BTreeMap<&TableName, Vec<(&TableName, Edge<'_>)>> = BTreeMap::new();
        for (table, link) in references.all() {
            incoming
                .entry(&link.target.table)
                .or_default()
                .push((table, Edge::Reference(link)));
        }
        for holding in &entity.holdings {
            match tie(entity, holding, references) {
                Ok(bridge) => {
                    held.push((
                        holding.bridge.clone(),
                        bridge.to_held.to_owned(),
                        bridge.to_entity.to_owned(),
                        holding.rule,
                    ));
                    incoming
                        .entry(&entity.table)
                        .or_default()
                        .push((&holding.table, Edge::Holding(bridge)));
                }
                Err(reason) => broken.push(reason),
            }
        }
        let (costs, best) = shortest(&entity.table, &incoming);
        let mut paths = BTreeMap::new();
        // By rising cost, so that what a table leads to is known before it.
        let mut order: Vec<_> = costs.iter().map(|(table, cost)| (*cost, *table)).collect();
        order.sort();
        for (_, table) in order {
            paths.insert(table.clone(), path(entity, table, &best, &paths));
        }
        Self {
            table: entity.table.clone(),
            paths,
            open: led_to(&entity.table, references),
            broken,
            held,
        }
    }

    /// The step of a path that enters the bridge of a holding, and the holding's rule.
    pub fn held_at(&self, steps: &[KeyStep]) -> Option<(usize, HoldingRule)> {
        steps
            .iter()
            .zip(steps.iter().skip(1))
            .enumerate()
            .find_map(|(at, (enters, leaves))| {
                let known = self.held.iter().find(|(bridge, to_held, to_entity, _)| {
                    enters.table == *bridge && enters.key == *to_held && leaves.column == *to_entity
                });
                known.map(|(_, _, _, rule)| (at, *rule))
            })
    }

    /// What a policy on the entity makes of `table`.
    pub fn reach(&self, table: &TableName) -> Reach<'_> {
        match self.paths.get(table) {
            _ if *table == self.table => Reach::Path(&[]),
            Some(Ok(steps)) => Reach::Path(steps),
            Some(Err(ambiguity)) => Reach::Ambiguous(ambiguity),
            None if self.open.contains(table) => Reach::Open,
            None => Reach::Closed,
        }
    }
}

type Incoming<'a> = BTreeMap<&'a TableName, Vec<(&'a TableName, Edge<'a>)>>;
/// By table, the first steps of all its shortest chains, each with the table it enters.
type Best<'a> = BTreeMap<&'a TableName, Vec<(&'a TableName, Edge<'a>)>>;

/// Dijkstra from the entity's table, against the direction of references.
fn shortest<'a>(entity: &'a TableName, incoming: &Incoming<'a>) -> (BTreeMap<&'a TableName, Cost>, Best<'a>) {
    let mut costs: BTreeMap<&TableName, Cost> = BTreeMap::from([(entity, (0, 0))]);
    let mut best: Best<'a> = BTreeMap::new();
    let mut queue: BTreeSet<(Cost, &TableName)> = BTreeSet::from([((0, 0), entity)]);
    while let Some((cost, target)) = queue.pop_first() {
        for (table, edge) in incoming.get(target).into_iter().flatten() {
            let undeclared = matches!(edge, Edge::Reference(link) if link.declared.is_none());
            let new = (cost.0 + 1, cost.1 + usize::from(undeclared));
            let old = costs.get(table).copied();
            if *table == entity || old.is_some_and(|old| old < new) {
                continue;
            }
            let ways = best.entry(table).or_default();
            if old != Some(new) {
                if let Some(old) = old {
                    queue.remove(&(old, *table));
                }
                ways.clear();
                costs.insert(table, new);
                queue.insert((new, table));
            }
            ways.push((target, edge.clone()));
        }
    }
    (costs, best)
}

/// The path of one table, given those of the tables nearer to the entity.
fn path(
    entity: &Entity,
    table: &TableName,
    best: &Best<'_>,
    nearer: &BTreeMap<TableName, Result<Vec<KeyStep>, Ambiguity>>,
) -> Result<Vec<KeyStep>, Ambiguity> {
    match best.get(table).map_or(&[][..], Vec::as_slice) {
        [] => Ok(Vec::new()),
        [(_, Edge::Holding(bridge))] => Ok(vec![
            step(
                bridge.held_key,
                &bridge.holding.bridge,
                bridge.to_held,
                bridge.holding.condition.as_ref(),
            ),
            step(bridge.to_entity, &entity.table, bridge.entity_key, None),
        ]),
        [(target, Edge::Reference(link))] => {
            let rest = match nearer.get(*target) {
                Some(rest) => rest.clone()?,
                None => Vec::new(),
            };
            let enters = step(&link.column, &link.target.table, &link.target.column, None);
            Ok(match rest.split_first() {
                // The bridge holds the same key as the held table does: read it in its place.
                Some((first, more)) if held_by(first, target, best) && first.column == enters.key => {
                    let mut steps = vec![KeyStep {
                        column: enters.column,
                        ..first.clone()
                    }];
                    steps.extend_from_slice(more);
                    steps
                }
                _ => std::iter::once(enters).chain(rest).collect(),
            })
        }
        ways => Err(Ambiguity {
            table: table.clone(),
            ways: ways.iter().map(|(_, edge)| in_words(table, edge)).collect(),
        }),
    }
}

/// Whether `first` is the step from a held table into its bridge.
fn held_by(first: &KeyStep, table: &TableName, best: &Best<'_>) -> bool {
    matches!(best.get(table).map(Vec::as_slice), Some([(_, Edge::Holding(bridge))]) if bridge.holding.bridge == first.table)
}

fn step(column: &str, table: &TableName, key: &str, condition: Option<&SqlText>) -> KeyStep {
    KeyStep {
        column: column.to_string(),
        table: table.clone(),
        key: key.to_string(),
        condition: condition.cloned(),
    }
}

fn in_words(table: &TableName, edge: &Edge<'_>) -> (String, Option<Place>) {
    match edge {
        Edge::Reference(link) => (
            format!("`{table}.{}` → `{}`", link.column, link.target),
            link.declared.clone(),
        ),
        Edge::Holding(bridge) => (
            format!("held through `{}`", bridge.holding.bridge),
            Some(bridge.holding.place.clone()),
        ),
    }
}

/// The two columns of a bridge, each the only one that references its end.
fn tie<'a>(entity: &'a Entity, holding: &'a Holding, references: &'a References) -> Result<Bridge<'a>, BrokenHolding> {
    let only = |end: &TableName| {
        let mut links: Vec<&Link> = references
            .of(&holding.bridge)
            .iter()
            .filter(|link| link.target.table == *end)
            .collect();
        if links.iter().any(|link| link.declared.is_some()) {
            links.retain(|link| link.declared.is_some());
        }
        match links.as_slice() {
            [link] => Ok(*link),
            links => Err(BrokenHolding {
                place: holding.bridge_place.clone(),
                message: match links.len() {
                    0 => format!("the bridge `{}` does not reference `{end}`", holding.bridge),
                    _ => format!(
                        "the bridge `{}` references `{end}` by more than one column",
                        holding.bridge
                    ),
                },
                help: format!(
                    "declare one reference to `{end}` under `tables`, `{}`, `references`",
                    holding.bridge
                ),
            }),
        }
    };
    let (held, owner) = (only(&holding.table)?, only(&entity.table)?);
    Ok(Bridge {
        holding,
        held_key: &held.target.column,
        to_held: &held.column,
        to_entity: &owner.column,
        entity_key: &owner.target.column,
    })
}

/// Every table that references lead to from the entity's own.
fn led_to(entity: &TableName, references: &References) -> BTreeSet<TableName> {
    let mut seen = BTreeSet::new();
    let mut queue = vec![entity];
    while let Some(table) = queue.pop() {
        for link in references.of(table) {
            if seen.insert(link.target.table.clone()) {
                queue.push(&link.target.table);
            }
        }
    }
    seen.remove(entity);
    seen
}
