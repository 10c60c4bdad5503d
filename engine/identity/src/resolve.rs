//! From links to customers.
//!
//! Owns: the order in which links are taken, what refuses one, ties. Never: a score.

use std::collections::{HashMap, HashSet};

/// That two records are, or may be, one customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The record of lower position.
    pub left: u32,
    /// The other.
    pub right: u32,
    /// Which rule says so; lower goes first.
    pub rank: u8,
    /// Log-odds in base 2; higher goes first.
    pub bits: f32,
}

/// A steward's word.
pub const MERGED: u8 = 0;
/// The score's word; exact rules stand between.
pub const SCORED: u8 = u8::MAX;

/// What may not become one customer.
pub struct Constraints<'a> {
    /// The source of a record.
    pub sources: &'a dyn Fn(u32) -> usize,
    /// Sources that have each customer once.
    pub unique: &'a [bool],
    /// Pairs that a steward split.
    pub splits: &'a [(u32, u32)],
}

/// Customers, as sets of records.
pub struct Resolution {
    /// Every customer of more than one record.
    pub clusters: Vec<Vec<u32>>,
    /// The link by which a record came to its customer.
    pub joined: HashMap<u32, Link>,
    /// Links that would match and are for review, because another says the same of another record.
    pub ties: Vec<Link>,
}

/// A forest of records, kept only for records that are linked.
struct Clusters<'a> {
    parents: HashMap<u32, u32>,
    members: HashMap<u32, Vec<u32>>,
    owned: HashMap<u32, u64>,
    apart: HashMap<u32, Vec<u32>>,
    constraints: &'a Constraints<'a>,
}

impl<'a> Clusters<'a> {
    fn new(constraints: &'a Constraints<'a>) -> Self {
        let mut apart: HashMap<u32, Vec<u32>> = HashMap::new();
        for (one, other) in constraints.splits {
            apart.entry(*one).or_default().push(*other);
            apart.entry(*other).or_default().push(*one);
        }
        Self {
            parents: HashMap::new(),
            members: HashMap::new(),
            owned: HashMap::new(),
            apart,
            constraints,
        }
    }

    fn root(&self, record: u32) -> u32 {
        // Small sets hang below large ones, so the way up is short.
        let mut root = record;
        while let Some(parent) = self.parents.get(&root) {
            root = *parent;
        }
        root
    }

    fn members(&self, root: u32) -> Vec<u32> {
        self.members.get(&root).cloned().unwrap_or_else(|| vec![root])
    }

    /// The unique sources of which a customer has a record.
    fn owned(&self, root: u32) -> u64 {
        let source = (self.constraints.sources)(root);
        let own = if self.constraints.unique[source] {
            1 << source
        } else {
            0
        };
        self.owned.get(&root).copied().unwrap_or(own)
    }

    fn size(&self, root: u32) -> usize {
        self.members.get(&root).map_or(1, Vec::len)
    }

    /// A steward's merge stands above a source's word that it has each customer once, never above a steward's split.
    fn allowed(&self, one: u32, other: u32, rank: u8) -> bool {
        if rank != MERGED && self.owned(one) & self.owned(other) != 0 {
            return false;
        }
        if self.apart.is_empty() {
            return true;
        }
        let (small, large) = if self.size(one) < self.size(other) {
            (one, other)
        } else {
            (other, one)
        };
        let members = self.members(small);
        let mut forbidden = members
            .iter()
            .flat_map(|member| self.apart.get(member).into_iter().flatten());
        !forbidden.any(|record| self.root(*record) == large)
    }

    fn join(&mut self, one: u32, other: u32) {
        let (small, large) = if self.size(one) < self.size(other) {
            (one, other)
        } else {
            (other, one)
        };
        let owned = self.owned(small) | self.owned(large);
        let moved = self.members(small);
        self.members.remove(&small);
        self.owned.remove(&small);
        self.members.entry(large).or_insert_with(|| vec![large]).extend(moved);
        self.owned.insert(large, owned);
        self.parents.insert(small, large);
    }
}

/// Takes links by rank, then by score; a link that would break a constraint is left out, a tie goes to review.
pub fn resolve(mut links: Vec<Link>, constraints: &Constraints<'_>) -> Resolution {
    links.sort_unstable_by(|one, other| {
        let key = |link: &Link| (link.rank, -link.bits, link.left, link.right);
        let ((rank, bits, left, right), (rank2, bits2, left2, right2)) = (key(one), key(other));
        rank.cmp(&rank2)
            .then(bits.total_cmp(&bits2))
            .then((left, right).cmp(&(left2, right2)))
    });
    let mut clusters = Clusters::new(constraints);
    let mut joined = HashMap::new();
    let mut ties = Vec::new();
    for run in links.chunk_by(|one, other| one.rank == other.rank && one.bits == other.bits) {
        let ambiguous = ambiguous(&clusters, run);
        for link in run {
            let (one, other) = (clusters.root(link.left), clusters.root(link.right));
            if one == other || !clusters.allowed(one, other, link.rank) {
                continue;
            }
            if ambiguous.contains(&(link.left, link.right)) {
                ties.push(*link);
                continue;
            }
            clusters.join(one, other);
            joined.entry(link.left).or_insert(*link);
            joined.entry(link.right).or_insert(*link);
        }
    }
    let mut sets: Vec<Vec<u32>> = clusters.members.into_values().collect();
    for set in &mut sets {
        set.sort_unstable();
    }
    sets.sort_unstable();
    Resolution {
        clusters: sets,
        joined,
        ties,
    }
}

/// Links of one strength that pull a customer towards two records of a source that has each customer once.
fn ambiguous(clusters: &Clusters<'_>, run: &[Link]) -> HashSet<(u32, u32)> {
    let constraints = clusters.constraints;
    if run.len() < 2 || run[0].rank == MERGED {
        return HashSet::new();
    }
    let mut partners: HashMap<(u32, usize), u32> = HashMap::new();
    let mut torn: HashSet<(u32, usize)> = HashSet::new();
    let ends = |link: &Link| {
        let (one, other) = (clusters.root(link.left), clusters.root(link.right));
        let sources = ((constraints.sources)(link.left), (constraints.sources)(link.right));
        [((one, sources.1), other), ((other, sources.0), one)]
    };
    for link in run {
        let [(one, _), (other, _)] = ends(link);
        if one.0 == other.0 || !clusters.allowed(one.0, other.0, link.rank) {
            continue;
        }
        for (end, partner) in ends(link) {
            if constraints.unique[end.1] && *partners.entry(end).or_insert(partner) != partner {
                torn.insert(end);
            }
        }
    }
    if torn.is_empty() {
        return HashSet::new();
    }
    let undecided = run
        .iter()
        .filter(|link| ends(link).iter().any(|(end, _)| torn.contains(end)));
    undecided.map(|link| (link.left, link.right)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Constraints, Link, MERGED, Resolution, SCORED, resolve};

    /// Records 0 to 9 are of source 0, 10 to 19 of source 1, 20 to 29 of source 2.
    fn check(
        unique: [bool; 3],
        splits: &[(u32, u32)],
        links: &[(u32, u32, u8, f32)],
        clusters: &[&[u32]],
    ) -> Resolution {
        let sources = |record: u32| record as usize / 10;
        let list = links.iter().map(|&(left, right, rank, bits)| Link {
            left,
            right,
            rank,
            bits,
        });
        let constraints = Constraints {
            sources: &sources,
            unique: &unique,
            splits,
        };
        let resolution = resolve(list.collect(), &constraints);
        assert_eq!(resolution.clusters, clusters);
        resolution
    }

    #[test]
    fn the_better_partner_wins() {
        let links = [(0, 10, SCORED, 9.0), (0, 11, SCORED, 8.0), (1, 11, SCORED, 7.0)];
        check([true; 3], &[], &links, &[&[0, 10], &[1, 11]]);
        check([false; 3], &[], &links, &[&[0, 1, 10, 11]]);
    }

    #[test]
    fn rules_go_before_scores() {
        let links = [(0, 10, SCORED, 90.0), (0, 11, 1, 0.0)];
        check([true; 3], &[], &links, &[&[0, 11]]);
    }

    #[test]
    fn a_tie_is_not_guessed() {
        let links = [(0, 10, 1, 0.0), (0, 11, 1, 0.0), (1, 12, 1, 0.0)];
        let resolution = check([true; 3], &[], &links, &[&[1, 12]]);
        assert_eq!(resolution.ties.len(), 2);
        // A stronger rule has decided: no tie is left.
        let decided = [(0, 10, 1, 0.0), (0, 10, 2, 0.0), (0, 11, 2, 0.0)];
        assert!(check([true; 3], &[], &decided, &[&[0, 10]]).ties.is_empty());
    }

    #[test]
    fn a_unique_source_holds_across_a_third() {
        let links = [(0, 20, SCORED, 9.0), (1, 20, SCORED, 8.0)];
        check([true, true, false], &[], &links, &[&[0, 20]]);
    }

    #[test]
    fn splits_hold_through_others_and_merges_do_not_break_them() {
        let links = [(0, 10, SCORED, 9.0), (10, 20, SCORED, 8.0)];
        check([false; 3], &[(0, 20)], &links, &[&[0, 10]]);
        check([true; 3], &[], &[(0, 1, MERGED, 0.0)], &[&[0, 1]]);
        check([true; 3], &[(0, 1)], &[(0, 1, MERGED, 0.0)], &[]);
    }
}
