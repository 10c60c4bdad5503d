//! Which pairs are compared at all.
//!
//! Owns: blocking keys, the blocks they make, each permitted pair once. Never: compares a pair.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use crate::records::{Column, Records};
use crate::{BlockKey, Config, Part};

/// The key of a record that has none, because a part of it is missing.
const NONE: u64 = 0;

/// One blocking key: its value for each record, and the records in its order.
struct Index {
    hashes: Vec<u64>,
    order: Vec<u32>,
    /// Blocks of more pairs than the bound.
    oversize: HashSet<u64>,
}

/// Every blocking key of a linkage.
pub struct Blocks {
    indexes: Vec<Index>,
    unique: Vec<bool>,
    sources: Vec<u8>,
}

/// Blocks of one key that are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oversize {
    /// How many blocks.
    pub blocks: u64,
    /// The pairs in them.
    pub pairs: u64,
}

impl Blocks {
    /// Indexes the records; says for each blocking key what is left out.
    pub fn new(config: &Config, records: &Records) -> (Self, Vec<Oversize>) {
        let mut blocks = Self {
            indexes: Vec::with_capacity(config.blocking.len()),
            unique: config.sources.iter().map(|source| source.unique).collect(),
            sources: (0..records.len() as u32)
                .map(|record| records.source(record) as u8)
                .collect(),
        };
        let mut left_out = Vec::with_capacity(config.blocking.len());
        for parts in &config.blocking {
            let hashes = hashes(records, parts);
            let mut order: Vec<u32> = (0..records.len() as u32)
                .filter(|record| hashes[*record as usize] != NONE)
                .collect();
            order.sort_unstable_by_key(|record| (hashes[*record as usize], *record));
            let mut index = Index {
                hashes,
                order,
                oversize: HashSet::new(),
            };
            let mut oversize = Oversize::default();
            let mut large = HashSet::new();
            for group in index.groups(0..index.order.len()) {
                let pairs = blocks.pairs_of(&index.order[group.clone()]);
                if pairs > config.limits.block_pairs {
                    oversize.blocks += 1;
                    oversize.pairs += pairs;
                    large.insert(index.hash_at(group.start));
                }
            }
            index.oversize = large;
            blocks.indexes.push(index);
            left_out.push(oversize);
        }
        (blocks, left_out)
    }

    /// How many blocking keys there are.
    pub fn keys(&self) -> usize {
        self.indexes.len()
    }

    /// Candidate pairs, those in several blocks counted as often.
    pub fn pairs(&self) -> u64 {
        self.indexes
            .iter()
            .flat_map(|index| index.groups(0..index.order.len()).map(move |group| (index, group)))
            .filter(|(index, group)| !index.left_out(group))
            .map(|(index, group)| self.pairs_of(&index.order[group]))
            .sum()
    }

    /// Whether two records may be one customer: not two of a source that has each once.
    pub fn permitted(&self, left: u32, right: u32) -> bool {
        let source = self.sources[left as usize];
        source != self.sources[right as usize] || !self.unique[usize::from(source)]
    }

    /// All pairs of these records that may be one customer.
    pub fn pairs_of(&self, group: &[u32]) -> u64 {
        let choose = |count: u64| count * count.saturating_sub(1) / 2;
        let mut counts = vec![0u64; self.unique.len()];
        for record in group {
            counts[usize::from(self.sources[*record as usize])] += 1;
        }
        let refused: u64 = counts
            .iter()
            .zip(&self.unique)
            .filter(|(_, unique)| **unique)
            .map(|(n, _)| choose(*n))
            .sum();
        choose(group.len() as u64) - refused
    }

    /// The parts into which a key's records fall for several threads; no block is cut.
    pub fn parts(&self, key: usize, parts: usize) -> Vec<Range<usize>> {
        let index = &self.indexes[key];
        let mut ranges = Vec::with_capacity(parts);
        let mut start = 0;
        for part in 1..=parts {
            let mut end = (index.order.len() * part / parts).max(start);
            while end > start && end < index.order.len() && index.hash_at(end) == index.hash_at(end - 1) {
                end += 1;
            }
            ranges.push(start..end);
            start = end;
        }
        ranges
    }

    /// Each permitted pair of a part that no earlier key has; one block of `every`; of `only`, pairs with such a record.
    pub fn each(
        &self,
        key: usize,
        part: Range<usize>,
        every: u64,
        only: Option<&[bool]>,
        mut pair: impl FnMut(u32, u32),
    ) {
        let index = &self.indexes[key];
        let wanted = |record: u32| only.is_none_or(|only| only[record as usize]);
        for group in index.groups(part) {
            if index.left_out(&group) || (every > 1 && !index.hash_at(group.start).is_multiple_of(every)) {
                continue;
            }
            let group = &index.order[group];
            if only.is_some() && !group.iter().any(|record| wanted(*record)) {
                continue;
            }
            for (position, left) in group.iter().enumerate() {
                let all = wanted(*left);
                for right in &group[position + 1..] {
                    if (all || wanted(*right)) && self.permitted(*left, *right) && !self.earlier(key, *left, *right) {
                        pair(*left, *right);
                    }
                }
            }
        }
    }

    /// The keys whose blocks hold both records.
    pub fn found_by(&self, left: u32, right: u32) -> Vec<usize> {
        let shares = |index: &Index| index.shares(left, right);
        (0..self.indexes.len())
            .filter(|key| shares(&self.indexes[*key]))
            .collect()
    }

    fn earlier(&self, key: usize, left: u32, right: u32) -> bool {
        self.indexes[..key].iter().any(|index| index.shares(left, right))
    }
}

impl Index {
    fn hash_at(&self, position: usize) -> u64 {
        self.hashes[self.order[position] as usize]
    }

    fn left_out(&self, group: &Range<usize>) -> bool {
        !self.oversize.is_empty() && self.oversize.contains(&self.hash_at(group.start))
    }

    fn shares(&self, left: u32, right: u32) -> bool {
        let hash = self.hashes[left as usize];
        hash != NONE && hash == self.hashes[right as usize] && !self.oversize.contains(&hash)
    }

    /// The blocks within a range that cuts none.
    fn groups(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut start = range.start;
        std::iter::from_fn(move || {
            let first = start;
            if first >= range.end {
                return None;
            }
            let hash = self.hash_at(first);
            while start < range.end && self.hash_at(start) == hash {
                start += 1;
            }
            Some(first..start)
        })
    }
}

/// The key of every record.
fn hashes(records: &Records, parts: &[BlockKey]) -> Vec<u64> {
    let mut hashes = vec![1u64; records.len()];
    for part in parts {
        let column = &records.columns[part.field];
        let values = part_hashes(column, part.part);
        for (record, hash) in hashes.iter_mut().enumerate() {
            let value = values[column.code(record as u32) as usize];
            *hash = if value == NONE || *hash == NONE {
                NONE
            } else {
                digest(&(*hash, value))
            };
        }
    }
    hashes
}

fn part_hashes(column: &Column, part: Part) -> Vec<u64> {
    let text = |value: &str| match part {
        Part::Whole => value.to_owned(),
        Part::Prefix(length) => value.chars().take(length).collect(),
        Part::Suffix(length) => {
            let start = value.chars().count().saturating_sub(length);
            value.chars().skip(start).collect()
        }
        Part::Soundex => {
            // Soundex knows Latin letters only; other scripts block by the whole value.
            let latin: String = value.chars().filter(char::is_ascii_alphabetic).collect();
            if latin.is_empty() {
                value.to_owned()
            } else {
                soundex(&latin)
            }
        }
    };
    let mut hashes: Vec<u64> = column.values().iter().map(|value| digest(&text(value))).collect();
    if let Some(missing) = hashes.first_mut() {
        *missing = NONE;
    }
    hashes
}

/// American Soundex, as the National Archives describe it: the first letter, then three digits.
fn soundex(letters: &str) -> String {
    let code = |letter: char| match letter {
        'B' | 'F' | 'P' | 'V' => '1',
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => '2',
        'D' | 'T' => '3',
        'L' => '4',
        'M' | 'N' => '5',
        'R' => '6',
        // H and W do not part two letters of one code; vowels do.
        'H' | 'W' => 'h',
        _ => '0',
    };
    let mut letters = letters.chars().map(|letter| letter.to_ascii_uppercase());
    let Some(first) = letters.next() else {
        return String::new();
    };
    let (mut result, mut last) = (String::from(first), code(first));
    for digit in letters.map(code) {
        if digit.is_ascii_digit() {
            if digit != '0' && digit != last && result.len() < 4 {
                result.push(digit);
            }
            last = digit;
        }
    }
    while result.len() < 4 {
        result.push('0');
    }
    result
}

/// Equal for equal input in every build of one program; a collision only adds a candidate.
fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::soundex;

    #[test]
    fn soundex_as_the_national_archives_give_it() {
        let examples = [
            ("Robert", "R163"),
            ("Rupert", "R163"),
            ("Ashcraft", "A261"),
            ("Tymczak", "T522"),
            ("Pfister", "P236"),
            ("Honeyman", "H555"),
            ("Lee", "L000"),
            ("Washington", "W252"),
            ("Gutierrez", "G362"),
        ];
        for (name, code) in examples {
            assert_eq!(soundex(name), code, "{name}");
        }
    }
}
