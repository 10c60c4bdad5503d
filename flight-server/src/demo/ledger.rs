//! What happens to the accounts, in the order of days: the running balances of the demo bank.
//!
//! Owns: booking, both sides of a transfer at once, and what an account without the money does not do. Never: draws.

use super::model::{Chunk, Payment};
use super::names::Word;

/// Where money comes from or goes to.
#[derive(Clone, Copy)]
pub(super) enum Party {
    /// The account with that index in the chunk.
    Inside(usize),
    /// Somebody at another bank.
    Outside(Word),
    /// The bank itself: interest, fees, loans, cash.
    Bank,
}

/// What a booking means beyond the money.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    Nothing,
    /// Interest on the balance of that day; the amount is computed.
    Interest,
    /// An instalment of the loan with that index, and those missed before if there is money for them.
    Instalment(usize),
    /// An instalment that its debtor does not pay.
    Missed(usize),
    /// Opens the deposit with that index.
    Deposit(usize),
    /// Pays the deposit with that index back, if it was opened.
    Matured(usize),
}

/// One thing that should happen.
pub(super) struct Event {
    pub(super) day: i32,
    pub(super) kind: &'static str,
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) amount: i64,
    pub(super) effect: Effect,
}

/// Books the events in the order of days and sets every account's balance.
pub(super) fn book(chunk: &mut Chunk, mut events: Vec<Event>) {
    // Openings come first on their day; the order is otherwise that of drawing, so equal seeds book equally.
    events.sort_by_key(|event| (event.day, event.kind != "opening"));
    for event in &events {
        if let Some(amount) = due(chunk, event)
            && can_pay(chunk, event, amount)
        {
            transfer(chunk, event, amount);
            succeeded(chunk, event, amount);
        } else if let Effect::Instalment(loan) | Effect::Missed(loan) = event.effect
            && let Some(loan) = chunk.loans.get_mut(loan)
        {
            loan.missed += 1;
        }
    }
}

fn balance(chunk: &Chunk, party: Party) -> i64 {
    match party {
        Party::Inside(account) => chunk.accounts.get(account).map_or(0, |account| account.balance),
        Party::Outside(_) | Party::Bank => i64::MAX,
    }
}

/// How much is to move; `None` if nothing is.
fn due(chunk: &Chunk, event: &Event) -> Option<i64> {
    let amount = match event.effect {
        // 0.2 percent a year, paid twice a year.
        Effect::Interest => balance(chunk, event.to) / 1000,
        Effect::Missed(_) => return None,
        Effect::Instalment(loan) => {
            let missed = chunk.loans.get(loan).map_or(0, |loan| i64::from(loan.missed));
            let all = event.amount * (1 + missed);
            if balance(chunk, event.from) >= all {
                all
            } else {
                event.amount
            }
        }
        Effect::Matured(deposit) if !chunk.deposits.get(deposit).is_some_and(|deposit| deposit.funded) => return None,
        _ => event.amount,
    };
    (amount > 0).then_some(amount)
}

fn can_pay(chunk: &Chunk, event: &Event, amount: i64) -> bool {
    let open = |party| match party {
        Party::Inside(account) => chunk
            .accounts
            .get(account)
            .is_some_and(|account| account.opened <= event.day),
        Party::Outside(_) | Party::Bank => true,
    };
    let itself = matches!((event.from, event.to), (Party::Inside(from), Party::Inside(to)) if from == to);
    !itself && open(event.from) && open(event.to) && balance(chunk, event.from) >= amount
}

fn transfer(chunk: &mut Chunk, event: &Event, amount: i64) {
    for (side, other, amount) in [(event.from, event.to, -amount), (event.to, event.from, amount)] {
        let Party::Inside(index) = side else { continue };
        let counterparty_account = match other {
            Party::Inside(other) => chunk.accounts.get(other).map(|account| account.id),
            Party::Outside(_) | Party::Bank => None,
        };
        let outside = if let Party::Outside(word) = other {
            Some(word)
        } else {
            None
        };
        if let Some(account) = chunk.accounts.get_mut(index) {
            account.balance += amount;
            chunk.payments.push(Payment {
                account_id: account.id,
                day: event.day,
                kind: event.kind,
                amount,
                balance: account.balance,
                counterparty_account,
                outside,
            });
        }
    }
}

fn succeeded(chunk: &mut Chunk, event: &Event, amount: i64) {
    match event.effect {
        Effect::Instalment(loan) => {
            if let Some(loan) = chunk.loans.get_mut(loan) {
                let times = i32::try_from(amount / event.amount.max(1)).unwrap_or(1);
                loan.paid += times;
                loan.missed -= times - 1;
            }
        }
        Effect::Deposit(deposit) => {
            if let Some(deposit) = chunk.deposits.get_mut(deposit) {
                deposit.funded = true;
            }
        }
        Effect::Nothing | Effect::Interest | Effect::Missed(_) | Effect::Matured(_) => {}
    }
}
