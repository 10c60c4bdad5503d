//! Records ready to be linked: what is learnt of them, which pairs score how, and why.
//!
//! Owns: scanning candidates on several threads, scores, exact rules, the explanation of a pair. Never: reads a source.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::block::{Blocks, Oversize};
use crate::compare::{compare, level};
use crate::model::{Histogram, probability};
use crate::resolve::{Link, SCORED};
use crate::{Config, Error, Model, Records, Result};

/// Parts of a blocking key's records, so that threads share the work evenly.
const PARTS: usize = 64;
/// Records that one value of an exact rule may link; a value of more is no key.
const EXACT_GROUP: usize = 64;

/// Records with their blocks, ready to learn, to build, to explain.
pub struct Linker<'a> {
    pub(crate) config: &'a Config,
    pub(crate) records: Records,
    blocks: Blocks,
    pub(crate) oversize: Vec<Oversize>,
    pairs: f64,
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
    pub(crate) fn scored(&self, model: &Model, only: Option<&[bool]>, compared: &AtomicU64) -> Result<Vec<Link>> {
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
    pub(crate) fn exact(&self, only: Option<&[bool]>, shared: &mut u64) -> Vec<Link> {
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

/// Log-odds in base 2 of a probability.
pub(crate) fn odds(probability: f64) -> f64 {
    (probability / (1.0 - probability)).log2()
}
