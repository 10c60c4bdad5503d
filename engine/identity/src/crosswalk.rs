//! Which record is which customer, and what stewards said.
//!
//! Owns: members, stewards' verdicts, pairs for review, ids that stay. Never: a value of a record but its key.

use std::collections::HashMap;

use chrono::NaiveDate;

use crate::{Error, Result};

/// A record's place: its source and its key there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// The source's name.
    pub source: String,
    /// The record's key in it.
    pub key: String,
}

impl RecordKey {
    /// Of a source and a key.
    pub fn new(source: &str, key: &str) -> Self {
        Self {
            source: source.to_owned(),
            key: key.to_owned(),
        }
    }
}

/// One record of the crosswalk.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The customer.
    pub id: u64,
    /// The record's source, by position in [`Crosswalk::sources`].
    pub source: u16,
    /// The record's key in its source.
    pub key: Box<str>,
    /// The rule by which it came to its customer, by position in [`Crosswalk::rules`]; `None` for a record alone.
    pub rule: Option<u16>,
    /// The probability of the pair that brought it there, where the rule is the score.
    pub score: Option<f32>,
    /// Since when it is with this customer by this rule.
    pub date: NaiveDate,
}

/// A steward's word on two records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether they are one customer.
    pub same: bool,
    /// One record.
    pub left: RecordKey,
    /// The other.
    pub right: RecordKey,
    /// When.
    pub date: NaiveDate,
}

/// A pair that a steward should look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    /// One record.
    pub left: RecordKey,
    /// The other.
    pub right: RecordKey,
    /// Which rule found it, by position in [`Crosswalk::rules`].
    pub rule: u16,
    /// The probability, where the rule is the score.
    pub score: Option<f32>,
    /// Since when.
    pub date: NaiveDate,
}

/// Everything that outlives a build.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Crosswalk {
    /// The next new customer's id; no id is given twice.
    pub next: u64,
    /// Names of sources.
    pub sources: Vec<String>,
    /// Names of rules.
    pub rules: Vec<String>,
    /// Records, by source and key.
    pub members: Vec<Member>,
    /// Stewards' words, the oldest first.
    pub verdicts: Vec<Verdict>,
    /// What waits for one, the likeliest first.
    pub reviews: Vec<Review>,
}

/// The rule's name of a record that a steward merged.
pub const MERGED_RULE: &str = "merged";
/// The rule's name of a record that a steward split off.
pub const SPLIT_RULE: &str = "split";
/// The rule's name of a record that the score linked.
pub const SCORE_RULE: &str = "score";

impl Crosswalk {
    /// The position of a source's name, added where it is new.
    pub fn source(&mut self, name: &str) -> u16 {
        position(&mut self.sources, name)
    }

    /// The position of a rule's name, added where it is new.
    pub fn rule(&mut self, name: &str) -> u16 {
        position(&mut self.rules, name)
    }

    /// Brings members and reviews into their order.
    pub fn sort(&mut self) {
        let sources = &self.sources;
        let name = |member: &Member| &sources[usize::from(member.source)];
        self.members
            .sort_unstable_by(|one, other| (name(one), &one.key).cmp(&(name(other), &other.key)));
        self.reviews.sort_unstable_by(|one, other| {
            let score = |review: &Review| review.score.unwrap_or(1.0);
            score(other)
                .total_cmp(&score(one))
                .then_with(|| (&one.left, &one.right).cmp(&(&other.left, &other.right)))
        });
    }

    /// The member of a record.
    pub fn find(&self, record: &RecordKey) -> Option<usize> {
        let name = |member: &Member| self.sources[usize::from(member.source)].as_str();
        let wanted = (record.source.as_str(), record.key.as_str());
        self.members
            .binary_search_by(|member| (name(member), member.key.as_ref()).cmp(&wanted))
            .ok()
    }

    /// The customer of a record.
    pub fn id(&self, record: &RecordKey) -> Option<u64> {
        self.find(record).map(|position| self.members[position].id)
    }

    /// How many customers there are.
    pub fn customers(&self) -> usize {
        let mut ids: Vec<u64> = self.members.iter().map(|member| member.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }

    /// A steward says that two records are one customer: the customers become one at once, under the older id, and
    /// stay so in later builds. A split of the same pair is taken back.
    pub fn merge(&mut self, left: &RecordKey, right: &RecordKey, date: NaiveDate) -> Result<()> {
        let (one, other) = self.pair(left, right)?;
        let ids = (self.members[one].id, self.members[other].id);
        self.say(true, left, right, date);
        let rule = self.rule(MERGED_RULE);
        let (kept, gone) = (ids.0.min(ids.1), ids.0.max(ids.1));
        if kept != gone {
            for member in self.members.iter_mut().filter(|member| member.id == gone) {
                *member = Member {
                    id: kept,
                    rule: Some(rule),
                    score: None,
                    date,
                    ..member.clone()
                };
            }
        }
        Ok(())
    }

    /// A steward says that two records are two customers: the second leaves with a new id at once, if they were one,
    /// and they stay apart in later builds, which also find where the others belong. A merge of the same pair is taken back.
    pub fn split(&mut self, left: &RecordKey, right: &RecordKey, date: NaiveDate) -> Result<()> {
        let (one, other) = self.pair(left, right)?;
        self.say(false, left, right, date);
        if self.members[one].id == self.members[other].id {
            let (rule, id) = (self.rule(SPLIT_RULE), self.new_id());
            let member = &mut self.members[other];
            *member = Member {
                id,
                rule: Some(rule),
                score: None,
                date,
                ..member.clone()
            };
        }
        Ok(())
    }

    /// An id that no customer had.
    pub fn new_id(&mut self) -> u64 {
        self.next = self.next.max(1) + 1;
        self.next - 1
    }

    fn pair(&self, left: &RecordKey, right: &RecordKey) -> Result<(usize, usize)> {
        if left == right {
            return Err(Error::Config(
                "a record cannot be merged with itself, or split from itself".to_owned(),
            ));
        }
        let find = |record: &RecordKey| {
            self.find(record)
                .ok_or_else(|| Error::UnknownRecord(record.source.clone()))
        };
        Ok((find(left)?, find(right)?))
    }

    /// The last word counts: an earlier one on the pair goes, and the pair no longer waits.
    fn say(&mut self, same: bool, left: &RecordKey, right: &RecordKey, date: NaiveDate) {
        let about = |one: &RecordKey, other: &RecordKey| (one, other) == (left, right) || (other, one) == (left, right);
        self.verdicts.retain(|verdict| !about(&verdict.left, &verdict.right));
        self.reviews.retain(|review| !about(&review.left, &review.right));
        self.verdicts.push(Verdict {
            same,
            left: left.clone(),
            right: right.clone(),
            date,
        });
    }
}

fn position(names: &mut Vec<String>, name: &str) -> u16 {
    let found = names.iter().position(|known| known == name);
    found.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    }) as u16
}

/// Gives each new customer (its members' old ids) the id that most of its members had, each old id at most once.
pub fn keep_ids(customers: &[Vec<Option<u64>>], crosswalk: &mut Crosswalk) -> Vec<u64> {
    let mut claims = Vec::new();
    for (customer, members) in customers.iter().enumerate() {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for id in members.iter().flatten() {
            *counts.entry(*id).or_default() += 1;
        }
        claims.extend(
            counts
                .into_iter()
                .map(|(id, count)| (std::cmp::Reverse(count), id, customer)),
        );
    }
    // The largest claim first; between equals the older id, then the customer that stands first.
    claims.sort_unstable();
    let mut taken = std::collections::HashSet::new();
    let mut ids: Vec<Option<u64>> = vec![None; customers.len()];
    for (_, id, customer) in claims {
        if ids[customer].is_none() && taken.insert(id) {
            ids[customer] = Some(id);
        }
    }
    ids.into_iter()
        .map(|id| id.unwrap_or_else(|| crosswalk.new_id()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Crosswalk, keep_ids};

    #[test]
    fn ids_stay_with_most_of_their_members_and_are_never_given_twice() {
        let mut crosswalk = Crosswalk {
            next: 10,
            ..Crosswalk::default()
        };
        let customers = [
            vec![Some(4), Some(4)],
            vec![Some(4)],
            vec![None],
            vec![Some(7), Some(8)],
        ];
        assert_eq!(keep_ids(&customers, &mut crosswalk), [4, 10, 11, 7]);
        assert_eq!(crosswalk.next, 12);
    }
}
