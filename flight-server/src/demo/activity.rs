//! What customers do over two years: salaries, shopping, rent, invoices, deposits, loans.
//!
//! Owns: the events of a chunk, drawn with fixed salary days, busy weekends and seasons. Never: a balance (`ledger`).

use super::days;
use super::dice::Dice;
use super::ledger::{Effect, Event, Party};
use super::model::{Chunk, Deposit, Loan, Numbers, StandingOrder};
use super::names::{self, Word};
use super::people::{Life, Use};

/// How busy shops are on each weekday from Monday, of two.
const WEEKDAYS: [f64; 7] = [0.8, 0.8, 0.9, 1.0, 1.3, 1.9, 1.6];
/// How busy each month is from January: the spring festival, November's sales, the year's end.
const SEASONS: [f64; 12] = [1.3, 1.25, 0.85, 0.9, 1.0, 1.0, 0.9, 0.9, 1.0, 1.1, 1.3, 1.2];

/// Draws the events of a chunk and the orders, deposits and loans behind them.
pub(super) struct Activity<'a> {
    dice: &'a mut Dice,
    chunk: &'a mut Chunk,
    numbers: &'a mut Numbers,
    /// Indices of companies' main accounts.
    companies: Vec<usize>,
    /// Indices of persons' main accounts that are in use.
    persons: Vec<usize>,
    events: Vec<Event>,
}

/// Everything that should happen to the accounts of `chunk`.
pub(super) fn events(dice: &mut Dice, chunk: &mut Chunk, numbers: &mut Numbers, uses: &[Use]) -> Vec<Event> {
    let main = |wanted: &dyn Fn(Life) -> bool| -> Vec<usize> {
        uses.iter()
            .filter(|account| account.main && wanted(account.life))
            .map(|account| account.account)
            .collect()
    };
    let companies = main(&|life| life == Life::Company);
    let persons = main(&|life| !matches!(life, Life::Company | Life::Dormant));
    let mut activity = Activity {
        dice,
        chunk,
        numbers,
        companies,
        persons,
        events: Vec::new(),
    };
    for account in uses {
        activity.account(account);
    }
    activity.events
}

impl Activity<'_> {
    fn account(&mut self, used: &Use) {
        let account = used.account;
        let opened = self
            .chunk
            .accounts
            .get(account)
            .map_or(days::LAST, |account| account.opened);
        let start = opened.max(days::FIRST);
        let median = match used.life {
            Life::Company => 600_000.0,
            Life::Student => 2_500.0,
            _ if !used.main => 30_000.0,
            _ => 14_000.0,
        };
        let opening = self.dice.amount(median, 1.1, 1);
        self.push(start, "opening", Party::Bank, Party::Inside(account), opening);
        for half_year in [5, 11, 17, 23] {
            let day = days::in_month(half_year, 21);
            if day > start {
                let (bank, holder) = (Party::Bank, Party::Inside(account));
                self.events.push(Event {
                    day,
                    kind: "interest",
                    from: bank,
                    to: holder,
                    amount: 0,
                    effect: Effect::Interest,
                });
            }
        }
        if used.life == Life::Dormant || !used.main {
            return;
        }
        let income = self.income(account, used.life, start);
        self.spending(account, used.life, start, income);
        self.standing_orders(account, used.life, start, income);
        self.deposits(account, used.life, opened);
        self.loan(account, used.life, opened, income);
    }

    fn push(&mut self, day: i32, kind: &'static str, from: Party, to: Party, amount: i64) {
        if (days::FIRST..=days::LAST).contains(&day) {
            self.events.push(Event {
                day,
                kind,
                from,
                to,
                amount,
                effect: Effect::Nothing,
            });
        }
    }

    /// Regular income in cents a month; its payments become events.
    fn income(&mut self, account: usize, life: Life, start: i32) -> i64 {
        let to = Party::Inside(account);
        match life {
            Life::Salaried => {
                let salary = self.dice.amount(9_500.0, 0.45, 1_000);
                let employer = self.partner(names::EMPLOYERS, 0.3);
                let payday = self.dice.pick(&[8, 10, 15, 25]);
                self.monthly(start, payday, "salary", employer, to, salary);
                for year_end in [12, 24] {
                    let day = days::business_day(days::in_month(year_end - 1, 28));
                    let bonus = salary / 100 * i64::from(self.dice.whole(40, 180));
                    if day > start {
                        self.push(day, "salary", employer, to, bonus);
                    }
                }
                salary
            }
            Life::Retired => {
                let pension = self.dice.amount(4_200.0, 0.3, 1_000);
                let fund = names::PUBLIC.first().copied().unwrap_or_default();
                self.monthly(start, 15, "pension", Party::Outside(fund), to, pension);
                pension
            }
            Life::Student => {
                let allowance = self.dice.amount(1_600.0, 0.3, 1_000);
                let parent = self.somebody(account);
                self.monthly(start, 1, "transfer", parent, to, allowance);
                allowance
            }
            Life::SelfEmployed => self.invoices(account, start, 9_000.0, 1.2),
            Life::Company => self.invoices(account, start, 70_000.0, 1.9),
            Life::Dormant => 0,
        }
    }

    /// What others pay to a business: irregular. Returns what it comes to in a month.
    fn invoices(&mut self, account: usize, start: i32, median: f64, a_month: f64) -> i64 {
        let mut total = 0;
        for month in 0..days::MONTHS {
            for _ in 0..self.dice.times(a_month) {
                let day = days::business_day(days::in_month(month, self.dice.whole(1, 31)));
                let amount = self.dice.amount(median, 0.9, 100);
                let payer = self.partner(names::PARTNERS, 0.25);
                if day > start {
                    self.push(day, "invoice", payer, Party::Inside(account), amount);
                    total += amount;
                }
            }
        }
        total / i64::from(days::MONTHS)
    }

    fn spending(&mut self, account: usize, life: Life, start: i32, income: i64) {
        let from = Party::Inside(account);
        let (a_month, share) = match life {
            Life::Salaried => (0.9, 18),
            Life::Student => (0.9, 35),
            Life::SelfEmployed => (0.7, 20),
            Life::Retired => (0.5, 30),
            Life::Company => (1.2, 45),
            Life::Dormant => return,
        };
        let typical = income.max(50_000) / 100 * share;
        for month in 0..days::MONTHS {
            let season = SEASONS
                .get(usize::try_from(month % 12).unwrap_or(0))
                .copied()
                .unwrap_or(1.0);
            for _ in 0..self.dice.times(a_month * season) {
                // An amount to draw around.
                let amount = self.dice.amount(typical as f64 / 100.0, 0.7, 1);
                let (day, kind, to) = match (life, self.dice.whole(1, 100)) {
                    (Life::Company, ..=80) => (
                        days::business_day(days::in_month(month, self.dice.whole(1, 31))),
                        "invoice",
                        self.partner(names::PARTNERS, 0.3),
                    ),
                    (Life::Company, _) => {
                        let tax = names::PUBLIC.last().copied().unwrap_or_default();
                        (
                            days::business_day(days::in_month(month, 15)),
                            "tax",
                            Party::Outside(tax),
                        )
                    }
                    (_, ..=60) => (
                        self.shopping_day(month),
                        "card",
                        Party::Outside(self.dice.pick(names::SHOPS)),
                    ),
                    (_, ..=80) => (self.shopping_day(month), "cash", Party::Bank),
                    _ => (self.shopping_day(month), "transfer", self.somebody(account)),
                };
                if day > start {
                    self.push(day, kind, from, to, amount);
                }
            }
        }
        // Now and then a large part leaves at once, mostly towards the end.
        if self.dice.chance(0.02) {
            let day = days::LAST - self.dice.whole(0, 100);
            let to = Party::Outside(self.dice.pick(names::PARTNERS));
            if day > start {
                let amount = income.max(100_000) * i64::from(self.dice.whole(3, 9));
                self.push(day, "transfer", from, to, amount);
            }
        }
    }

    fn shopping_day(&mut self, month: i32) -> i32 {
        loop {
            let day = days::in_month(month, self.dice.whole(1, 31));
            let busy = WEEKDAYS
                .get(usize::try_from(days::weekday(day)).unwrap_or(0))
                .copied()
                .unwrap_or(1.0);
            if self.dice.chance(busy / 2.0) {
                return day;
            }
        }
    }

    fn standing_orders(&mut self, account: usize, life: Life, start: i32, income: i64) {
        let (probability, purpose) = match life {
            Life::Salaried => (0.3, self.dice.pick(&["rent", "rent", "insurance", "savings plan"])),
            Life::Retired => (0.15, "insurance"),
            Life::SelfEmployed | Life::Company => (0.25, "rent"),
            Life::Student | Life::Dormant => return,
        };
        if !self.dice.chance(probability) {
            return;
        }
        let amount = (income / 100 * i64::from(self.dice.whole(8, 28)) / 1_000 * 1_000).max(10_000);
        let to = if purpose == "rent" && self.dice.chance(0.4) {
            self.somebody(account)
        } else {
            Party::Outside(self.dice.pick(names::LANDLORDS))
        };
        let day_of_month = self.dice.pick(&[1, 1, 3, 5, 10, 20]);
        let (counterparty_account, outside) = match to {
            Party::Inside(other) => (self.chunk.accounts.get(other).map(|account| account.id), None),
            Party::Outside(word) => (None, Some(word)),
            Party::Bank => (None, None),
        };
        let account_id = self.chunk.accounts.get(account).map_or(0, |account| account.id);
        let id = Numbers::take(&mut self.numbers.order);
        self.chunk.orders.push(StandingOrder {
            id,
            account_id,
            purpose,
            amount,
            day_of_month,
            starts_on: start,
            counterparty_account,
            outside,
        });
        self.monthly(
            start,
            day_of_month,
            "standing order",
            Party::Inside(account),
            to,
            amount,
        );
    }

    fn deposits(&mut self, account: usize, life: Life, opened: i32) {
        if !self.dice.chance(if life == Life::Retired { 0.3 } else { 0.14 }) {
            return;
        }
        let median = if life == Life::Company { 400_000.0 } else { 20_000.0 };
        let amount = self.dice.amount(median, 0.8, 100_000);
        let months = self.dice.pick(&[3, 6, 12, 12, 24, 36]);
        let first = opened.max(days::day(2022, 6, 1)) + 30;
        let begins = self.dice.whole(first, days::LAST - 10);
        let matures = days::months_after(begins, months);
        if matures <= days::FIRST || begins <= opened {
            return;
        }
        let rate = 1_100 + i64::from(months) * 40;
        let account_id = self.chunk.accounts.get(account).map_or(0, |account| account.id);
        let index = self.chunk.deposits.len();
        let id = Numbers::take(&mut self.numbers.deposit);
        // Before the window the money had left already.
        let funded = begins < days::FIRST;
        self.chunk.deposits.push(Deposit {
            id,
            account_id,
            amount,
            rate,
            months,
            opened: begins,
            matures,
            funded,
        });
        let holder = Party::Inside(account);
        if !funded {
            let effect = Effect::Deposit(index);
            self.events.push(Event {
                day: begins,
                kind: "deposit opened",
                from: holder,
                to: Party::Bank,
                amount,
                effect,
            });
        }
        if matures <= days::LAST {
            let back = amount + amount * rate * i64::from(months) / 1_200_000;
            let effect = Effect::Matured(index);
            let kind = "deposit matured";
            self.events.push(Event {
                day: matures,
                kind,
                from: Party::Bank,
                to: holder,
                amount: back,
                effect,
            });
        }
    }

    fn loan(&mut self, account: usize, life: Life, opened: i32, income: i64) {
        let (probability, median, purposes): (f64, f64, &[&'static str]) = match life {
            Life::Company => (0.2, 900_000.0, &["working capital", "equipment"]),
            Life::Salaried => (0.15, 130_000.0, &["car", "home", "consumption"]),
            Life::SelfEmployed => (0.15, 90_000.0, &["working capital", "car"]),
            Life::Retired | Life::Student | Life::Dormant => return,
        };
        if !self.dice.chance(probability) || income < 100_000 {
            return;
        }
        let months = self.dice.pick(&[12, 24, 36, 60]);
        let affordable = income / 100 * 30 * i64::from(months);
        let amount = (self.dice.amount(median, 0.7, 100_000).min(affordable) / 100_000 * 100_000).max(100_000);
        let granted = self.dice.whole(opened.max(days::day(2021, 1, 1)) + 60, days::LAST - 40);
        if granted <= opened || days::months_after(granted, months) < days::FIRST {
            return;
        }
        let rate = i64::from(self.dice.whole(3_600, 7_200));
        let interest = amount * rate * i64::from(months) / 1_200_000 / 2;
        let instalment = (amount + interest) / i64::from(months);
        let index = self.chunk.loans.len();
        let id = Numbers::take(&mut self.numbers.loan);
        let account_id = self.chunk.accounts.get(account).map_or(0, |account| account.id);
        let purpose = self.dice.pick(purposes);
        let holder = Party::Inside(account);
        self.push(granted, "loan paid out", Party::Bank, holder, amount);
        // A few stop paying at some time.
        let stops = if self.dice.chance(0.05) {
            self.dice.whole(days::day(2024, 9, 1), days::LAST)
        } else {
            i32::MAX
        };
        let mut paid = 0;
        for month in 1..=months {
            let day = days::months_after(granted, month);
            match day {
                _ if day < days::FIRST => paid += 1,
                _ if day > days::LAST => break,
                _ => {
                    let effect = if day >= stops {
                        Effect::Missed(index)
                    } else {
                        Effect::Instalment(index)
                    };
                    let kind = "loan instalment";
                    self.events.push(Event {
                        day,
                        kind,
                        from: holder,
                        to: Party::Bank,
                        amount: instalment,
                        effect,
                    });
                }
            }
        }
        self.chunk.loans.push(Loan {
            id,
            account_id,
            purpose,
            granted,
            amount,
            months,
            rate,
            instalment,
            paid,
            missed: 0,
        });
    }

    fn monthly(&mut self, start: i32, day_of_month: i32, kind: &'static str, from: Party, to: Party, amount: i64) {
        for month in 0..days::MONTHS {
            let day = days::business_day(days::in_month(month, day_of_month));
            if day > start {
                self.push(day, kind, from, to, amount);
            }
        }
    }

    /// A company of this chunk, or somebody outside.
    fn partner(&mut self, outside: &[Word], inside: f64) -> Party {
        if self.dice.chance(inside) && !self.companies.is_empty() {
            Party::Inside(self.dice.pick(&self.companies))
        } else {
            Party::Outside(self.dice.pick(outside))
        }
    }

    /// Another person of this chunk.
    fn somebody(&mut self, not: usize) -> Party {
        let other = self.dice.pick(&self.persons);
        if other == not || self.persons.is_empty() {
            Party::Outside(self.dice.pick(names::LANDLORDS))
        } else {
            Party::Inside(other)
        }
    }
}
