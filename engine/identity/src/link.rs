//! A build: pairs, scores, customers, the new crosswalk.
//!
//! Owns: the order of a build, what an incremental one looks at, the explanation of a pair. Never: reads a source.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use chrono::NaiveDate;

use crate::block::{Blocks, Oversize};
use crate::compare::{compare, level};
use crate::crosswalk::{MERGED_RULE, SCORE_RULE, keep_ids};
use crate::model::{Histogram, probability};
use crate::resolve::{Constraints, Link, MERGED, Resolution, SCORED, resolve};
use crate::{Config, Crosswalk, Error, Member, Model, RecordKey, Records, Result, Review};

/// Parts of a blocking key's records, so that threads share the work evenly.
const PARTS: usize = 64;
/// Records that one value of an exact rule may link; a value of more is no key.
const EXACT_GROUP: usize = 64;

/// Records with their blocks, ready to learn, to build, to explain.
pub struct Linker<'a> {
    config: &'a Config,
    records: Records,
    blocks: Blocks,
    oversize: Vec<Oversize>,
    pairs: f64,
}

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

/// What a field says about a pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The field's name.
    pub field: String,
    /// How much the values agree.
    pub level: &'static str,
    /// How often matches show that.
    pub m: f64,
    /// How often strangers do; for an equal value with term frequency, how frequent the value is.
    pub u: f64,
    /// What it adds to the log-odds, base 2.
    pub bits: f64,
}

/// Why a pair is one customer, or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The exact rules that hold.
    pub exact: Vec<String>,
    /// The blocking keys that bring the pair together, by position.
    pub blocking: Vec<usize>,
    /// The prior's log-odds, base 2.
    pub prior_bits: f64,
    /// By compared field.
    pub evidence: Vec<Evidence>,
    /// The probability of a match.
    pub probability: f64,
    /// Whether both are of a source that has each customer once.
    pub same_unique_source: bool,
}

impl<'a> Linker<'a> {
    /// Indexes the records.
    pub fn new(config: &'a Config, mut records: Records) -> Result<Self> {
        config.check()?;
        records.finish();
        let mut seen: Vec<u32> = (0..records.len() as u32).collect();
        let place = |record: &u32| (records.source(*record), records.key(*record));
        seen.sort_unstable_by(|one, other| place(one).cmp(&place(other)));
        if let Some(twice) = seen.windows(2).find(|pair| place(&pair[0]) == place(&pair[1])) {
            let source_name = config.sources[records.source(twice[0])].name.clone();
            return Err(Error::DuplicateKey { source_name });
        }
        drop(seen);
        let (blocks, oversize) = Blocks::new(config, &records);
        let everyone: Vec<u32> = (0..records.len() as u32).collect();
        let pairs = blocks.pairs_of(&everyone) as f64;
        Ok(Self {
            config,
            records,
            blocks,
            oversize,
            pairs,
        })
    }

    /// The records.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Learns the model from the records, without labels.
    pub fn learn(&self) -> Model {
        let every = self.blocks.pairs().div_ceil(self.config.limits.sample).max(1);
        let mut candidates = Histogram::new();
        for histogram in self.scan(every, None, Histogram::new, |histogram, left, right| {
            *histogram
                .entry(compare(self.config, &self.records, left, right))
                .or_default() += every as f64;
        }) {
            for (pattern, count) in histogram {
                *candidates.entry(pattern).or_default() += count;
            }
        }
        Model::learn(self.config, &candidates, &self.random(), self.pairs)
    }

    /// Permitted pairs at random; the same ones in every run.
    fn random(&self) -> Histogram {
        let mut histogram = Histogram::new();
        let count = self.records.len() as u64;
        if self.pairs < 1.0 || self.blocks.keys() == 0 {
            return histogram;
        }
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut draw = || {
            // SplitMix64 (Steele, Lea and Flood, 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((word ^ (word >> 31)) % count) as u32
        };
        for _ in 0..(self.config.limits.sample / 4).max(1) {
            let (left, right) = (draw(), draw());
            if left != right && self.blocks.permitted(left, right) {
                *histogram
                    .entry(compare(self.config, &self.records, left, right))
                    .or_default() += 1.0;
            }
        }
        histogram
    }

    /// Calls `pair` for every candidate, on several threads; gives what each gathered.
    fn scan<T: Send>(
        &self,
        every: u64,
        only: Option<&[bool]>,
        start: impl Fn() -> T + Sync,
        pair: impl Fn(&mut T, u32, u32) + Sync,
    ) -> Vec<T> {
        let parts: Vec<_> = (0..self.blocks.keys())
            .flat_map(|key| self.blocks.parts(key, PARTS).into_iter().map(move |part| (key, part)))
            .collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut gathered = start();
            while let Some((key, part)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.blocks.each(*key, part.clone(), every, only, |left, right| {
                    pair(&mut gathered, left, right)
                });
            }
            gathered
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.config.limits.threads).map(|_| scope.spawn(work)).collect();
            let mut results = vec![work()];
            for thread in others {
                match thread.join() {
                    Ok(result) => results.push(result),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            results
        })
    }

    /// The log-odds of a pair, base 2, with term frequencies.
    fn score(&self, model: &Model, left: u32, right: u32) -> f64 {
        let pattern = compare(self.config, &self.records, left, right);
        let fields = 0..self.config.fields.len();
        model.prior_bits()
            + fields
                .map(|field| self.evidence(model, field, level(pattern, field), left).0)
                .sum::<f64>()
    }

    /// What a field at a level adds, with m and u as they count for this value.
    fn evidence(&self, model: &Model, field: usize, level: u8, left: u32) -> (f64, f64, f64) {
        let Some(Some(learnt)) = model.fields.get(field).filter(|_| level != crate::MISSING) else {
            return (0.0, 0.0, 0.0);
        };
        let (m, mut u) = (learnt.m[usize::from(level)], learnt.u[usize::from(level)]);
        let declared = &self.config.fields[field];
        if declared.term_frequency && declared.compare.is_some_and(|comparison| comparison.equal() == level) {
            let column = &self.records.columns[field];
            u = column.frequency(column.code(left));
        }
        ((m / u).log2(), m, u)
    }

    /// Links by score from the review threshold on; of `only`, those with such a record. Counts the pairs compared.
    fn scored(&self, model: &Model, only: Option<&[bool]>, compared: &AtomicU64) -> Result<Vec<Link>> {
        let lowest = odds(self.config.thresholds.review);
        let limit = self.config.limits.links;
        let held = AtomicU64::new(0);
        let gathered = self.scan(
            1,
            only,
            || (Vec::new(), 0u64),
            |(links, count), left, right| {
                *count += 1;
                let bits = self.score(model, left, right);
                if bits >= lowest && held.fetch_add(1, Ordering::Relaxed) < limit {
                    links.push(Link {
                        left,
                        right,
                        rank: SCORED,
                        bits: bits as f32,
                    });
                }
            },
        );
        if held.load(Ordering::Relaxed) > limit {
            return Err(Error::Limit {
                what: "links",
                limit,
                advice: "the fields say too little; add a field, or narrow the blocking",
            });
        }
        let mut links = Vec::new();
        for (part, count) in gathered {
            compared.fetch_add(count, Ordering::Relaxed);
            links.extend(part);
        }
        Ok(links)
    }

    /// Links by exact rules; a value that too many records share is counted and links nobody.
    fn exact(&self, only: Option<&[bool]>, shared: &mut u64) -> Vec<Link> {
        let mut links = Vec::new();
        for (position, rule) in self.config.exact.iter().enumerate() {
            let codes = |record: u32| {
                rule.fields
                    .iter()
                    .map(move |field| self.records.columns[*field].code(record))
            };
            let complete = |record: &u32| codes(*record).all(|code| code != 0);
            let mut order: Vec<u32> = (0..self.records.len() as u32).filter(complete).collect();
            order.sort_unstable_by(|one, other| codes(*one).cmp(codes(*other)).then(one.cmp(other)));
            for group in order.chunk_by(|one, other| codes(*one).eq(codes(*other))) {
                if group.len() > EXACT_GROUP {
                    *shared += 1;
                    continue;
                }
                if only.is_some_and(|only| group.iter().all(|record| !only[*record as usize])) {
                    continue;
                }
                for (place, left) in group.iter().enumerate() {
                    let permitted = group[place + 1..]
                        .iter()
                        .filter(|right| self.blocks.permitted(*left, **right));
                    links.extend(permitted.map(|right| Link {
                        left: *left,
                        right: *right,
                        rank: position as u8 + 1,
                        bits: f32::INFINITY,
                    }));
                }
            }
        }
        links
    }

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
                since.insert((left, right), review);
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

    /// Why two records are one customer, or not.
    pub fn explain(&self, model: &Model, left: u32, right: u32) -> Explanation {
        let (left, right) = (left.min(right), left.max(right));
        let pattern = compare(self.config, &self.records, left, right);
        let compared = self.config.fields.iter().enumerate().filter_map(|(field, declared)| {
            let level = level(pattern, field);
            let (bits, m, u) = self.evidence(model, field, level, left);
            declared.compare.map(|comparison| Evidence {
                field: declared.name.clone(),
                level: comparison.name(level),
                m,
                u,
                bits,
            })
        });
        let holds = |fields: &[usize]| {
            let code = |field: &usize, record| self.records.columns[*field].code(record);
            fields
                .iter()
                .all(|field| code(field, left) != 0 && code(field, left) == code(field, right))
        };
        let exact = self
            .config
            .exact
            .iter()
            .filter(|rule| holds(&rule.fields))
            .map(|rule| rule.name.clone());
        Explanation {
            exact: exact.collect(),
            blocking: self.blocks.found_by(left, right),
            prior_bits: model.prior_bits(),
            evidence: compared.collect(),
            probability: probability(self.score(model, left, right)),
            same_unique_source: !self.blocks.permitted(left, right),
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

fn odds(probability: f64) -> f64 {
    (probability / (1.0 - probability)).log2()
}
