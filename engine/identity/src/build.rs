//! A build: from links to the new crosswalk beside the last one.
//!
//! Owns: the order of a build, what an incremental one looks at, what the new crosswalk keeps of the last. Never: a score.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicU64;

use chrono::NaiveDate;

use crate::crosswalk::{MERGED_RULE, SCORE_RULE, keep_ids};
use crate::link::odds;
use crate::model::probability;
use crate::resolve::{Constraints, Link, MERGED, Resolution, SCORED, resolve};
use crate::{Crosswalk, Linker, Member, Model, RecordKey, Result, Review};

/// What a build did, in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Records read.
    pub records: usize,
    /// Customers they make.
    pub customers: usize,
    /// Pairs compared.
    pub compared: u64,
    /// Records looked at again; all of them in a full build.
    pub touched: usize,
    /// Pairs for review.
    pub reviews: usize,
    /// Blocks left out because they are too large, and the pairs in them.
    pub left_out: (u64, u64),
    /// Values of exact rules that too many records share to be a key.
    pub shared: u64,
    /// For each field, the values that its normalisers could not read.
    pub unreadable: Vec<u64>,
}

/// A build's result.
#[derive(Debug)]
pub struct Outcome {
    /// The new crosswalk.
    pub crosswalk: Crosswalk,
    /// What was done.
    pub report: Report,
}

impl Linker<'_> {
    /// Builds the crosswalk anew beside the last one. `changed` are the records whose values changed since then: with it,
    /// only they, new ones and whoever a link connects with them or with records gone are looked at again.
    pub fn build(&self, model: &Model, last: &Crosswalk, changed: Option<&[u32]>, date: NaiveDate) -> Result<Outcome> {
        let previous = Previous::new(self, last);
        let compared = AtomicU64::new(0);
        let mut shared = 0;
        let (links, touched) = match changed {
            None => {
                let mut links = self.scored(model, None, &compared)?;
                links.extend(self.exact(None, &mut shared));
                links.extend_from_slice(&previous.merges);
                (links, None)
            }
            Some(changed) => {
                let (links, touched) = self.reach(model, &previous, changed, &compared, &mut shared)?;
                (links, Some(touched))
            }
        };
        let certain = odds(self.config.thresholds.matches) as f32;
        let (matches, doubtful): (Vec<Link>, Vec<Link>) = links.into_iter().partition(|link| link.bits >= certain);
        let unique: Vec<bool> = self.config.sources.iter().map(|source| source.unique).collect();
        let constraints = Constraints {
            sources: &|record| self.records.source(record),
            unique: &unique,
            splits: &previous.splits,
        };
        let resolution = resolve(matches, &constraints);
        let crosswalk = self.assemble(&previous, resolution, doubtful, touched.as_deref(), date);
        let report = Report {
            records: self.records.len(),
            customers: crosswalk.customers(),
            compared: compared.into_inner(),
            touched: touched.map_or(self.records.len(), |touched| {
                touched.iter().filter(|record| **record).count()
            }),
            reviews: crosswalk.reviews.len(),
            left_out: self
                .oversize
                .iter()
                .fold((0, 0), |(blocks, pairs), key| (blocks + key.blocks, pairs + key.pairs)),
            shared,
            unreadable: self.records.unreadable(),
        };
        Ok(Outcome { crosswalk, report })
    }

    /// Everybody whom a match connects with a changed, new or missing record, and their links.
    fn reach(
        &self,
        model: &Model,
        previous: &Previous<'_>,
        changed: &[u32],
        compared: &AtomicU64,
        shared: &mut u64,
    ) -> Result<(Vec<Link>, Vec<bool>)> {
        let certain = odds(self.config.thresholds.matches) as f32;
        let mut touched = vec![false; self.records.len()];
        let mut fresh: Vec<u32> = changed.to_vec();
        fresh.extend((0..self.records.len() as u32).filter(|record| previous.of[*record as usize].is_none()));
        fresh.extend(previous.splits.iter().flat_map(|(left, right)| [*left, *right]));
        fresh.extend(previous.merges.iter().flat_map(|link| [link.left, link.right]));
        fresh.extend(previous.bereaved.iter().flat_map(|id| previous.members_of(*id)));
        let mut links: Vec<Link> = previous.merges.clone();
        while !fresh.is_empty() {
            let mut only = vec![false; self.records.len()];
            for record in std::mem::take(&mut fresh) {
                let mates =
                    previous.of[record as usize].map(|member| previous.members_of(previous.last.members[member].id));
                for mate in mates.into_iter().flatten().chain([record]) {
                    only[mate as usize] = !touched[mate as usize];
                }
            }
            let mut found = self.scored(model, Some(&only), compared)?;
            *shared = 0;
            found.extend(self.exact(Some(&only), shared));
            // A pair of a record from an earlier round was found in that round.
            found.retain(|link| !touched[link.left as usize] && !touched[link.right as usize]);
            for (record, new) in only.iter().enumerate() {
                touched[record] |= new;
            }
            for link in found.iter().filter(|link| link.bits >= certain) {
                fresh.extend(
                    [link.left, link.right]
                        .into_iter()
                        .filter(|record| !touched[*record as usize]),
                );
            }
            links.extend(found);
        }
        Ok((links, touched))
    }

    /// The new crosswalk: touched records from the resolution, the others as they were.
    fn assemble(
        &self,
        previous: &Previous<'_>,
        resolution: Resolution,
        doubtful: Vec<Link>,
        touched: Option<&[bool]>,
        date: NaiveDate,
    ) -> Crosswalk {
        let last = previous.last;
        let mut next = Crosswalk {
            next: last.next.max(1),
            verdicts: last.verdicts.clone(),
            ..Crosswalk::default()
        };
        let sources: Vec<u16> = self
            .config
            .sources
            .iter()
            .map(|source| next.source(&source.name))
            .collect();
        let is_touched = |record: u32| touched.is_none_or(|touched| touched[record as usize]);
        let mut clusters = resolution.clusters;
        let grouped: HashSet<u32> = clusters.iter().flatten().copied().collect();
        let alone = (0..self.records.len() as u32).filter(|record| is_touched(*record) && !grouped.contains(record));
        clusters.extend(alone.map(|record| vec![record]));
        let old = |record: &u32| previous.of[*record as usize].map(|member| &last.members[member]);
        let claims: Vec<Vec<Option<u64>>> = clusters
            .iter()
            .map(|members| {
                members
                    .iter()
                    .map(|record| old(record).map(|member| member.id))
                    .collect()
            })
            .collect();
        let ids = keep_ids(&claims, &mut next);
        next.members.reserve(self.records.len());
        let mut customer: HashMap<u32, u64> = HashMap::new();
        for (members, id) in clusters.iter().zip(ids) {
            for record in members {
                customer.insert(*record, id);
                let link = resolution.joined.get(record);
                let rule = link.map(|link| next.rule(self.rule_name(link.rank)));
                let score = link.and_then(|link| score_of(link.rank, link.bits));
                let kept = old(record).filter(|member| {
                    member.id == id
                        && member.rule.map(|rule| last.rules[usize::from(rule)].as_str())
                            == rule.map(|rule| next.rules[usize::from(rule)].as_str())
                });
                let date = kept.map_or(date, |member| member.date);
                let source = sources[self.records.source(*record)];
                next.members.push(Member {
                    id,
                    source,
                    key: Box::from(self.records.key(*record)),
                    rule,
                    score,
                    date,
                });
            }
        }
        for record in (0..self.records.len() as u32).filter(|record| !is_touched(*record)) {
            if let Some(member) = old(&record) {
                let rule = member.rule.map(|rule| next.rule(&last.rules[usize::from(rule)]));
                customer.insert(record, member.id);
                next.members.push(Member {
                    rule,
                    source: sources[self.records.source(record)],
                    ..member.clone()
                });
            }
        }
        let pending = doubtful.into_iter().chain(resolution.ties);
        self.reviews(previous, &mut next, pending, &customer, &is_touched, date);
        next.sort();
        next
    }

    /// Pairs that wait for a steward: new ones of touched records, old ones of the others.
    fn reviews(
        &self,
        previous: &Previous<'_>,
        next: &mut Crosswalk,
        pending: impl Iterator<Item = Link>,
        customer: &HashMap<u32, u64>,
        is_touched: &dyn Fn(u32) -> bool,
        date: NaiveDate,
    ) {
        let last = previous.last;
        let split: HashSet<(u32, u32)> = previous
            .splits
            .iter()
            .flat_map(|(one, other)| [(*one, *other), (*other, *one)])
            .collect();
        let mut since: BTreeMap<(u32, u32), &Review> = BTreeMap::new();
        for review in &last.reviews {
            if let (Some(left), Some(right)) = (previous.record(&review.left), previous.record(&review.right)) {
                since.insert((left.min(right), left.max(right)), review);
            }
        }
        let mut pairs: BTreeMap<(u32, u32), (u16, Option<f32>, NaiveDate)> = BTreeMap::new();
        for link in pending.filter(|link| !split.contains(&(link.left, link.right))) {
            let rule = next.rule(self.rule_name(link.rank));
            let date = since.get(&(link.left, link.right)).map_or(date, |review| review.date);
            pairs
                .entry((link.left, link.right))
                .or_insert((rule, score_of(link.rank, link.bits), date));
        }
        for ((left, right), review) in since {
            if !is_touched(left) && !is_touched(right) {
                let rule = next.rule(&last.rules[usize::from(review.rule)]);
                pairs.insert((left, right), (rule, review.score, review.date));
            }
        }
        for ((left, right), (rule, score, date)) in pairs {
            if customer.get(&left) != customer.get(&right) {
                let (left, right) = (self.place(left), self.place(right));
                next.reviews.push(Review {
                    left,
                    right,
                    rule,
                    score,
                    date,
                });
            }
        }
    }

    fn place(&self, record: u32) -> RecordKey {
        RecordKey::new(
            &self.config.sources[self.records.source(record)].name,
            self.records.key(record),
        )
    }

    fn rule_name(&self, rank: u8) -> &str {
        match rank {
            MERGED => MERGED_RULE,
            SCORED => SCORE_RULE,
            exact => &self.config.exact[usize::from(exact) - 1].name,
        }
    }
}

/// The last crosswalk in positions of this build's records.
struct Previous<'a> {
    last: &'a Crosswalk,
    records: HashMap<(&'a str, &'a str), u32>,
    /// By record, its member of the last crosswalk.
    of: Vec<Option<usize>>,
    /// By id, the records that had it.
    customers: HashMap<u64, Vec<u32>>,
    /// Customers of whom a record is gone.
    bereaved: Vec<u64>,
    splits: Vec<(u32, u32)>,
    merges: Vec<Link>,
}

impl<'a> Previous<'a> {
    fn new(linker: &'a Linker<'_>, last: &'a Crosswalk) -> Self {
        let mut records = HashMap::with_capacity(linker.records.len());
        for record in 0..linker.records.len() as u32 {
            let source = linker.config.sources[linker.records.source(record)].name.as_str();
            records.insert((source, linker.records.key(record)), record);
        }
        let mut previous = Self {
            last,
            records,
            of: vec![None; linker.records.len()],
            customers: HashMap::new(),
            bereaved: Vec::new(),
            splits: Vec::new(),
            merges: Vec::new(),
        };
        for (position, member) in last.members.iter().enumerate() {
            let place = (last.sources[usize::from(member.source)].as_str(), member.key.as_ref());
            match previous.records.get(&place) {
                Some(record) => {
                    previous.of[*record as usize] = Some(position);
                    previous.customers.entry(member.id).or_default().push(*record);
                }
                None => previous.bereaved.push(member.id),
            }
        }
        for verdict in &last.verdicts {
            if let (Some(one), Some(other)) = (previous.record(&verdict.left), previous.record(&verdict.right)) {
                let (left, right) = (one.min(other), one.max(other));
                if verdict.same {
                    previous.merges.push(Link {
                        left,
                        right,
                        rank: MERGED,
                        bits: f32::INFINITY,
                    });
                } else {
                    previous.splits.push((left, right));
                }
            }
        }
        previous
    }

    fn record(&self, key: &RecordKey) -> Option<u32> {
        self.records.get(&(key.source.as_str(), key.key.as_str())).copied()
    }

    fn members_of(&self, id: u64) -> Vec<u32> {
        self.customers.get(&id).cloned().unwrap_or_default()
    }
}

fn score_of(rank: u8, bits: f32) -> Option<f32> {
    (rank == SCORED).then(|| probability(f64::from(bits)) as f32)
}
