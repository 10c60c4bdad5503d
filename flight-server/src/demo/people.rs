//! Who banks here: customers, their accounts, who holds them, and cards.
//!
//! Owns: the population of a chunk. Never: moves money.

use super::days;
use super::dice::Dice;
use super::model::{Account, Branch, Card, Chunk, Customer, Holding, Numbers};
use super::names;

/// How a customer lives, which decides what happens on the main account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Salaried,
    Retired,
    Student,
    SelfEmployed,
    /// Nothing has happened for years.
    Dormant,
    Company,
}

/// An account and what goes on in it.
pub(super) struct Use {
    /// Its index in the chunk.
    pub(super) account: usize,
    pub(super) life: Life,
    /// Whether it is its owner's first.
    pub(super) main: bool,
}

/// The branches: one for each city.
pub(super) fn branches() -> Vec<Branch> {
    let mut dice = Dice::new(0, u64::MAX);
    let mut branches = Vec::with_capacity(names::CITIES.len());
    for (id, (city, region)) in (1..).zip(names::CITIES) {
        let opened = days::day(dice.whole(1987, 2012), dice.whole(1, 12), 1);
        branches.push(Branch {
            id,
            city: *city,
            region: *region,
            opened,
        });
    }
    branches
}

/// Draws `customers` customers with all that they hold.
pub(super) fn populate(
    dice: &mut Dice,
    branches: &[Branch],
    numbers: &mut Numbers,
    customers: u32,
) -> (Chunk, Vec<Use>) {
    let mut chunk = Chunk::default();
    let mut uses = Vec::new();
    for _ in 0..customers {
        let life = life(dice);
        // Branches are not equally busy.
        let branch = dice.index(branches.len()).min(dice.index(branches.len() + 6));
        let Some(branch) = branches.get(branch) else { continue };
        let customer = customer(dice, branch, Numbers::take(&mut numbers.customer), life);
        let count = match life {
            Life::Company => 1 + dice.times(0.3),
            _ => 1 + i32::from(dice.chance(0.12)),
        };
        for nth in 0..count {
            let account = account(dice, &customer, Numbers::take(&mut numbers.account), life, nth);
            let owner = Holding {
                id: Numbers::take(&mut numbers.holding),
                customer_id: customer.id,
                account_id: account.id,
                role: "owner",
            };
            uses.push(Use {
                account: chunk.accounts.len(),
                life,
                main: nth == 0,
            });
            chunk.holdings.push(owner);
            chunk.accounts.push(account);
        }
        chunk.customers.push(customer);
    }
    share(dice, &mut chunk, numbers);
    issue_cards(dice, &mut chunk, numbers);
    (chunk, uses)
}

fn life(dice: &mut Dice) -> Life {
    match dice.whole(1, 100) {
        ..=12 => Life::Company,
        13..=63 => Life::Salaried,
        64..=80 => Life::Retired,
        81..=87 => Life::Student,
        88..=95 => Life::SelfEmployed,
        _ => Life::Dormant,
    }
}

fn customer(dice: &mut Dice, branch: &Branch, id: i64, life: Life) -> Customer {
    let since = if dice.chance(0.08) {
        dice.whole(days::FIRST, days::LAST - 60)
    } else {
        let bank_opened = branch.opened.max(days::day(1998, 1, 1));
        dice.whole(bank_opened, days::FIRST - 1)
    };
    let since = if life == Life::Dormant {
        since.min(days::FIRST - 400)
    } else {
        since
    };
    let phone = names::phone(dice);
    if life == Life::Company {
        let (name_en, name_zh, industry) = names::company(dice, branch.city);
        let registration_no = Some(format!(
            "9131{:06}MA{:06}",
            dice.whole(0, 999_999),
            id.rem_euclid(1_000_000)
        ));
        return Customer {
            id,
            kind: "company",
            name_en,
            name_zh,
            gender: None,
            birth_date: None,
            registration_no,
            industry: Some(industry),
            phone,
            branch_id: branch.id,
            since,
        };
    }
    let woman = dice.chance(0.49);
    let (name_en, name_zh) = names::person(dice, woman);
    let age = match life {
        Life::Retired => dice.whole(60, 88),
        Life::Student => dice.whole(18, 24),
        _ => dice.whole(22, 59),
    };
    let birth_date = days::day(2025 - age, dice.whole(1, 12), dice.whole(1, 31));
    Customer {
        id,
        kind: "person",
        name_en,
        name_zh,
        gender: Some(if woman { "F" } else { "M" }),
        birth_date: Some(birth_date),
        registration_no: None,
        industry: None,
        phone,
        branch_id: branch.id,
        // Nobody banks here before the age of sixteen.
        since: since.max(days::months_after(birth_date, 16 * 12)),
    }
}

fn account(dice: &mut Dice, customer: &Customer, id: i64, life: Life, nth: i32) -> Account {
    let opened = if nth == 0 {
        customer.since
    } else {
        dice.whole(customer.since, days::LAST - 30)
    };
    Account {
        id,
        branch_id: customer.branch_id,
        kind: if nth == 0 || life == Life::Company {
            "current"
        } else {
            "savings"
        },
        opened,
        status: if life == Life::Dormant { "dormant" } else { "active" },
        balance: 0,
    }
}

/// Gives some persons' accounts a second holder, often of another branch.
fn share(dice: &mut Dice, chunk: &mut Chunk, numbers: &mut Numbers) {
    let persons: Vec<(i64, i32)> = chunk
        .customers
        .iter()
        .filter(|customer| customer.kind == "person")
        .map(|customer| (customer.id, customer.since))
        .collect();
    let mut joint = Vec::new();
    for owner in &chunk.holdings {
        let is_person = persons.binary_search_by_key(&owner.customer_id, |(id, _)| *id).is_ok();
        let (second, _) = dice.pick(&persons);
        if is_person && dice.chance(0.11) && second != owner.customer_id && second != 0 {
            let id = Numbers::take(&mut numbers.holding);
            joint.push(Holding {
                id,
                customer_id: second,
                account_id: owner.account_id,
                role: "joint",
            });
        }
    }
    chunk.holdings.extend(joint);
}

/// Credit cards, also of second holders.
fn issue_cards(dice: &mut Dice, chunk: &mut Chunk, numbers: &mut Numbers) {
    let first_account = chunk.accounts.first().map_or(0, |account| account.id);
    for holding in &chunk.holdings {
        let probability = if holding.role == "owner" { 0.4 } else { 0.3 };
        let index = usize::try_from(holding.account_id - first_account).unwrap_or(usize::MAX);
        let Some(account) = chunk.accounts.get(index).filter(|account| account.status == "active") else {
            continue;
        };
        if !dice.chance(probability) {
            continue;
        }
        let (kind, limit) = match dice.whole(1, 100) {
            ..=70 => ("classic", dice.amount(12_000.0, 0.3, 100_000)),
            71..=94 => ("gold", dice.amount(40_000.0, 0.3, 500_000)),
            _ => ("platinum", dice.amount(150_000.0, 0.3, 1_000_000)),
        };
        let used = if dice.chance(0.35) {
            0
        } else {
            limit / 1000 * i64::from(dice.whole(1, 970))
        };
        let issued = dice.whole(account.opened.max(days::day(2016, 1, 1)), days::LAST);
        let id = Numbers::take(&mut numbers.card);
        chunk.cards.push(Card {
            id,
            holding_id: holding.id,
            kind,
            issued,
            credit_limit: limit,
            used,
        });
    }
}
