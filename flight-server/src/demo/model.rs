//! The rows of the demo bank, before they are written.
//!
//! Owns: one struct for each table, amounts in cents, days since 1970-01-01. Never: draws or writes them.

use super::names::Word;

/// `accounting.branch`
pub(super) struct Branch {
    pub(super) id: i64,
    pub(super) city: Word,
    pub(super) region: Word,
    pub(super) opened: i32,
}

/// `accounting.customer`
pub(super) struct Customer {
    pub(super) id: i64,
    /// `person` or `company`.
    pub(super) kind: &'static str,
    pub(super) name_en: String,
    pub(super) name_zh: String,
    pub(super) gender: Option<&'static str>,
    pub(super) birth_date: Option<i32>,
    pub(super) registration_no: Option<String>,
    pub(super) industry: Option<&'static str>,
    pub(super) phone: String,
    pub(super) branch_id: i64,
    pub(super) since: i32,
}

/// `accounting.account`
pub(super) struct Account {
    pub(super) id: i64,
    pub(super) branch_id: i64,
    /// `current` or `savings`.
    pub(super) kind: &'static str,
    pub(super) opened: i32,
    /// `active` or `dormant`.
    pub(super) status: &'static str,
    pub(super) balance: i64,
}

/// `accounting.holding`
pub(super) struct Holding {
    pub(super) id: i64,
    pub(super) customer_id: i64,
    pub(super) account_id: i64,
    /// `owner` or `joint`.
    pub(super) role: &'static str,
}

/// `settlement.payment`
pub(super) struct Payment {
    pub(super) account_id: i64,
    pub(super) day: i32,
    pub(super) kind: &'static str,
    /// Negative when money leaves the account.
    pub(super) amount: i64,
    pub(super) balance: i64,
    pub(super) counterparty_account: Option<i64>,
    /// Bank and name of a counterparty outside.
    pub(super) outside: Option<Word>,
}

/// `settlement.standing_order`
pub(super) struct StandingOrder {
    pub(super) id: i64,
    pub(super) account_id: i64,
    pub(super) purpose: &'static str,
    pub(super) amount: i64,
    pub(super) day_of_month: i32,
    pub(super) starts_on: i32,
    pub(super) counterparty_account: Option<i64>,
    pub(super) outside: Option<Word>,
}

/// `settlement.term_deposit`
pub(super) struct Deposit {
    pub(super) id: i64,
    pub(super) account_id: i64,
    pub(super) amount: i64,
    /// In thousandths of a percent a year.
    pub(super) rate: i64,
    pub(super) months: i32,
    pub(super) opened: i32,
    pub(super) matures: i32,
    /// Whether the money was there to open it.
    pub(super) funded: bool,
}

/// `credit.loan`
pub(super) struct Loan {
    pub(super) id: i64,
    pub(super) account_id: i64,
    pub(super) purpose: &'static str,
    pub(super) granted: i32,
    pub(super) amount: i64,
    pub(super) months: i32,
    /// In thousandths of a percent a year.
    pub(super) rate: i64,
    pub(super) instalment: i64,
    /// Instalments paid.
    pub(super) paid: i32,
    /// Instalments due and not paid.
    pub(super) missed: i32,
}

impl Loan {
    /// What is still owed of the amount lent.
    pub(super) fn outstanding(&self) -> i64 {
        let left = i64::from((self.months - self.paid).max(0));
        self.amount / i64::from(self.months.max(1)) * left
    }

    /// `repaid`, `current`, `arrears` (one or two instalments late) or `default`.
    pub(super) fn status(&self) -> &'static str {
        match self.missed {
            0 if self.paid >= self.months => "repaid",
            0 => "current",
            1 | 2 => "arrears",
            _ => "default",
        }
    }
}

/// `credit.card`
pub(super) struct Card {
    pub(super) id: i64,
    pub(super) holding_id: i64,
    /// `classic`, `gold` or `platinum`.
    pub(super) kind: &'static str,
    pub(super) issued: i32,
    pub(super) credit_limit: i64,
    pub(super) used: i64,
}

/// A part of the bank: customers and everything that is theirs.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) customers: Vec<Customer>,
    pub(super) accounts: Vec<Account>,
    pub(super) holdings: Vec<Holding>,
    pub(super) payments: Vec<Payment>,
    pub(super) orders: Vec<StandingOrder>,
    pub(super) deposits: Vec<Deposit>,
    pub(super) loans: Vec<Loan>,
    pub(super) cards: Vec<Card>,
}

/// The next free number of each table.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub(super) customer: i64,
    pub(super) account: i64,
    pub(super) holding: i64,
    pub(super) order: i64,
    pub(super) deposit: i64,
    pub(super) loan: i64,
    pub(super) card: i64,
}

impl Numbers {
    /// From 1.
    pub(super) const FIRST: Self = Self {
        customer: 1,
        account: 1,
        holding: 1,
        order: 1,
        deposit: 1,
        loan: 1,
        card: 1,
    };

    /// Takes the next number of a table.
    pub(super) fn take(number: &mut i64) -> i64 {
        let taken = *number;
        *number += 1;
        taken
    }
}
