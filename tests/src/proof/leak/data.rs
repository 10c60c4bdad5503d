//! The rows of the worlds: what is visible is the same in all of them, what is hidden is not.
//!
//! Owns: which rows there are. Never: where they are kept, or who may see them beyond the two bounds below.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::canaries;

/// Nobody of the proof sees a row of `t` whose bucket is this or more, or NULL.
pub const HIDDEN_FROM_T: i64 = 50;
/// The same of `u`.
pub const HIDDEN_FROM_U: i64 = 99;
/// Nobody of the proof sees a customer of this district or a later one, or of none.
pub const HIDDEN_DISTRICT: i64 = 3;
/// Ids of rows that stand in every world.
const BASE: i64 = 400;

/// How a world's hidden rows stand to those of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// As they are.
    Base,
    /// Ten times as many more, with every extreme value; a table and a column that policy hides are absent.
    Many,
    /// Deleted, but for a few whose every value is another or NULL.
    Few,
}

/// One row of `t` or `u`.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    pub bucket: Option<i64>,
    pub region: Option<String>,
    pub kind: Option<i64>,
    pub word: Option<String>,
    pub cents: Option<i64>,
    /// Hundredths.
    pub amount: Option<i64>,
    pub score: Option<f64>,
    /// `YYYY-MM-DD`
    pub day: Option<String>,
    /// Masked by a constant text.
    pub phone: Option<String>,
    /// Masked by NULL.
    pub pin: Option<i64>,
    /// Masked by a constant number.
    pub salary: Option<i64>,
    /// Of a column that no policy of the proof grants.
    pub hid: String,
}

/// A customer: the entity's table.
#[derive(Clone, Debug)]
pub struct Customer {
    pub id: i64,
    pub district: Option<i64>,
    pub name: String,
    pub phone: Option<String>,
}

/// A row that belongs to a customer, or to none.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: i64,
    pub customer_id: Option<i64>,
    pub total: i64,
    pub memo: String,
}

/// Who holds which account.
#[derive(Clone, Debug)]
pub struct Holder {
    pub id: i64,
    pub customer_id: i64,
    pub account_id: i64,
    pub role: &'static str,
}

/// A table keyed by customers through its holders.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: i64,
    pub balance: i64,
}

/// Everything of one world.
pub struct Data {
    pub t: Vec<Row>,
    pub u: Vec<Row>,
    pub customers: Vec<Customer>,
    pub orders: Vec<Order>,
    pub accounts: Vec<Account>,
    pub holders: Vec<Holder>,
}

impl Data {
    /// The rows of a world.
    pub fn of(hidden: Hidden) -> Self {
        Self {
            t: rows(hidden, HIDDEN_FROM_T),
            u: rows(hidden, HIDDEN_FROM_U),
            customers: customers(hidden),
            orders: orders(hidden),
            accounts: accounts(hidden),
            holders: holders(hidden),
        }
    }
}

fn rows(hidden: Hidden, bound: i64) -> Vec<Row> {
    let mut random = StdRng::seed_from_u64(bound.unsigned_abs());
    let mut rows = Vec::new();
    for id in 1..=BASE {
        let row = row(id, hidden);
        let visible = row.bucket.is_some_and(|bucket| bucket < bound);
        match hidden {
            _ if visible => rows.push(row),
            Hidden::Base => rows.push(Row {
                word: Some(canaries::word(id)),
                ..row
            }),
            Hidden::Many => {
                rows.push(row);
            }
            // Two of three are deleted, the third is another row under its old key.
            Hidden::Few if id % 3 == 0 => rows.push(Row {
                bucket: None,
                region: None,
                kind: None,
                word: None,
                cents: None,
                amount: None,
                score: None,
                day: None,
                ..row
            }),
            Hidden::Few => {}
        }
        if hidden == Hidden::Many {
            // Between the visible rows, so that blocks, pages and batches fall otherwise.
            for more in 0..10 {
                rows.push(extreme(1_000 + id * 10 + more, bound, &mut random));
            }
        }
    }
    rows
}

/// A row of every world; what is masked differs from world to world, in order too.
fn row(id: i64, hidden: Hidden) -> Row {
    let bucket = if id % 20 == 1 { None } else { Some(id * 7 % 100) };
    let region = ["north", "North", "südwest", "west"][usize::try_from(id % 4).unwrap_or_default()];
    let text = |value: &str| Some(value.to_owned());
    Row {
        id,
        bucket,
        region: if id % 33 == 0 { None } else { text(region) },
        kind: Some(id % 3),
        word: if id % 41 == 0 {
            None
        } else {
            Some((id % 10).to_string())
        },
        cents: Some(id * 37 % 5_000 - 1_000),
        amount: Some(id * 53 % 90_000),
        score: Some(f64::from(i32::try_from(id % 17).unwrap_or_default()) / 4.0),
        day: Some(format!("20{:02}-{:02}-{:02}", id % 30, id % 12 + 1, id % 28 + 1)),
        phone: match hidden {
            Hidden::Base => Some(canaries::phone(id)),
            Hidden::Many => Some(format!("{:04}{}", 9_999 - id, canaries::phone(id))),
            Hidden::Few => None,
        },
        pin: match hidden {
            Hidden::Base => Some(id),
            Hidden::Many => Some(-id * 1_000),
            Hidden::Few => None,
        },
        salary: match hidden {
            Hidden::Base => Some(id * 100),
            Hidden::Many => Some(1_000_000 - id * 7),
            Hidden::Few => Some(0),
        },
        hid: canaries::hid(id),
    }
}

/// A hidden row of extreme values: each would change an answer, a statistic or a type if it were looked at.
fn extreme(id: i64, bound: i64, random: &mut StdRng) -> Row {
    let mut maybe = |value: &str| (!random.random_bool(0.2)).then(|| value.to_owned());
    let (region, day) = (
        maybe(&canaries::region(id)),
        maybe(["0001-01-01", "9999-12-31"][usize::try_from(id % 2).unwrap_or_default()]),
    );
    let word = maybe(&canaries::word(id));
    Row {
        id,
        bucket: if random.random_bool(0.3) {
            None
        } else {
            Some(random.random_range(bound..1_000))
        },
        region,
        kind: [None, Some(0), Some(-1), Some(i64::from(i32::MAX))][usize::try_from(id % 4).unwrap_or_default()],
        word,
        cents: [Some(i64::MAX), Some(i64::MIN), Some(0), None][usize::try_from(id % 4).unwrap_or_default()],
        amount: [Some(999_999_999_999), Some(-999_999_999_999), None][usize::try_from(id % 3).unwrap_or_default()],
        score: [Some(1e300), Some(-1e300), None][usize::try_from(id % 3).unwrap_or_default()],
        day,
        phone: Some(canaries::phone(id)),
        pin: Some(id),
        salary: Some(id),
        hid: canaries::hid(id),
    }
}

fn customers(hidden: Hidden) -> Vec<Customer> {
    let visible = (1..=60).map(|id| Customer {
        id,
        district: Some(id % 2 + 1),
        name: format!("customer {id}"),
        phone: match hidden {
            Hidden::Base => Some(canaries::phone(5_000 + id)),
            Hidden::Many => Some(canaries::phone(6_000 - id)),
            Hidden::Few => None,
        },
    });
    let count = match hidden {
        Hidden::Base => 60,
        Hidden::Many => 700,
        Hidden::Few => 2,
    };
    let unseen = (1..=count).map(|id| Customer {
        id: 1_000 + id,
        district: if id % 7 == 0 {
            None
        } else {
            Some(HIDDEN_DISTRICT + id % 9)
        },
        name: canaries::name(id),
        phone: Some(canaries::phone(7_000 + id)),
    });
    visible.chain(unseen).collect()
}

/// Three for each visible customer; of hidden ones, of nobody, and of customers that are not there, as many as the
/// world likes.
fn orders(hidden: Hidden) -> Vec<Order> {
    let visible = (1..=180).map(|id| Order {
        id,
        customer_id: Some(id % 60 + 1),
        total: id * 11 % 700,
        memo: (id % 10).to_string(),
    });
    let count = match hidden {
        Hidden::Base => 150,
        Hidden::Many => 1_500,
        Hidden::Few => 3,
    };
    let unseen = (1..=count).map(|id| Order {
        id: 10_000 + id,
        customer_id: match id % 5 {
            0 => None,
            1 => Some(900_000 + id),
            _ => Some(1_001 + id % if hidden == Hidden::Few { 2 } else { 60 }),
        },
        total: if id % 2 == 0 { i64::from(i32::MAX) } else { 0 },
        memo: canaries::memo(id),
    });
    visible.chain(unseen).collect()
}

fn accounts(hidden: Hidden) -> Vec<Account> {
    let visible = (1..=40).map(|id| Account {
        id,
        balance: id * 1_000,
    });
    let count = match hidden {
        Hidden::Base => 40,
        Hidden::Many => 900,
        Hidden::Few => 1,
    };
    let unseen = (1..=count).map(|id| Account {
        id: 2_000 + id,
        balance: -id * 1_000_000,
    });
    visible.chain(unseen).collect()
}

/// Each visible account has a visible owner; a hidden one may hold it too, and then that holder is hidden. Hidden
/// accounts have hidden owners, and visible users that are no owners.
fn holders(hidden: Hidden) -> Vec<Holder> {
    let mut holders: Vec<Holder> = (1..=40)
        .map(|id| Holder {
            id,
            customer_id: id,
            account_id: id,
            role: "OWNER",
        })
        .collect();
    let mut add = |account_id: i64, customer_id: i64, role| {
        holders.push(Holder {
            id: 500 + i64::try_from(holders.len()).unwrap_or_default(),
            customer_id,
            account_id,
            role,
        });
    };
    let (joint, count) = match hidden {
        Hidden::Base => (10, 40),
        Hidden::Many => (40, 900),
        Hidden::Few => (0, 1),
    };
    for id in 1..=joint {
        add(id, 1_000 + id, "OWNER");
    }
    for id in 1..=count {
        add(2_000 + id, 1_001 + id % 2, "OWNER");
    }
    holders
}
