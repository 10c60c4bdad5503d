//! Random queries over metrics against a count in plain Rust, row by row, that knows nothing of plans.
//!
//! Owns: the counting. Every metric, attribute, grain, principal, filter and holdings rule; pushed and local.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::{Data, METRICS, World, all_of_it};

/// A day, as year, month, day.
type Day = (i64, i64, i64);

/// Of a text that is one: the oracle's own test says that it is read.
fn day(text: &str) -> Day {
    let mut parts = text.split('-').map(|part| part.parse().unwrap_or_default());
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn length(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 2000-01-01, a Saturday, counted one by one.
fn number(of: Day) -> i64 {
    let years: i64 = (2000..of.0).map(|year| 365 + i64::from(is_leap(year))).sum();
    years + (1..of.1).map(|month| length(of.0, month)).sum::<i64>() + of.2 - 1
}

fn of_number(mut number: i64) -> Day {
    let (mut year, mut month) = (2000, 1);
    while number >= length(year, month) {
        number -= length(year, month);
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
    (year, month, number + 1)
}

fn first_day(grain: &str, of: Day) -> Day {
    match grain {
        "day" => of,
        "week" => of_number(number(of) - (number(of) + 5) % 7),
        "month" => (of.0, of.1, 1),
        "quarter" => (of.0, (of.1 - 1) / 3 * 3 + 1, 1),
        _ => (of.0, 1, 1),
    }
}

fn last_day(grain: &str, first: Day) -> i64 {
    let mut last = number(first);
    while first_day(grain, of_number(last + 1)) == first {
        last += 1;
    }
    last
}

fn written(of: Day) -> String {
    format!("{:04}-{:02}-{:02}", of.0, of.1, of.2)
}

/// One random question.
#[derive(Debug, Default)]
struct Question {
    metrics: Vec<&'static str>,
    by: Vec<&'static str>,
    grain: Option<&'static str>,
    female: bool,
    no_region: bool,
    from: Option<&'static str>,
    to: Option<&'static str>,
}

impl Question {
    fn random(random: &mut StdRng) -> Self {
        let all = [
            "loan_count",
            "loan_amount",
            "bad_amount",
            "biggest",
            "smallest",
            "mean",
            "borrowers",
            "statuses",
            "bad_rate",
            "carried",
            "strict",
            "opening",
            "highest",
            "closing",
            "recent",
            "so_far",
            "quarter_mean",
            "year_borrowers",
            "late_statuses",
            "biggest_before",
            "last_year",
            "last_month",
            "bad_rate_so_far",
            "carried_before",
        ];
        let mut question = Self::default();
        for _ in 0..random.random_range(1..=5) {
            let one = all[random.random_range(0..all.len())];
            if !question.metrics.contains(&one) {
                question.metrics.push(one);
            }
        }
        for attribute in ["region", "sex", "id"] {
            if random.random_ratio(1, 4) {
                question.by.push(attribute);
            }
        }
        let grains = ["day", "week", "month", "quarter", "year"];
        question.grain = random
            .random_bool(0.6)
            .then(|| grains[random.random_range(0..grains.len())]);
        question.female = random.random_ratio(1, 4);
        question.no_region = random.random_ratio(1, 8);
        let days = ["2023-01-31", "2023-03-31", "2023-05-01", "2023-12-31", "2024-02-29"];
        question.from = random.random_ratio(1, 3).then(|| days[random.random_range(0..3)]);
        question.to = random.random_ratio(1, 3).then(|| days[random.random_range(2..5)]);
        // Carried for some days only, without a last day: there is none to count from, and it is refused.
        let on_a_day = [
            "recent",
            "quarter_mean",
            "year_borrowers",
            "late_statuses",
            "biggest_before",
        ];
        if question.grain.is_none() && question.to.is_none() {
            question.metrics.retain(|name| !on_a_day.contains(name));
        }
        // A quarter is no quarter a month later.
        if question.grain.is_some_and(|grain| grain != "month") {
            question.metrics.retain(|name| *name != "carried_before");
        }
        if question.metrics.is_empty() {
            question.metrics.push("carried");
        }
        question
    }

    fn sql(&self) -> String {
        let mut selected: Vec<String> = self.by.iter().map(|name| (*name).to_owned()).collect();
        selected.extend(
            self.grain
                .map(|grain| format!("CAST(date_trunc('{grain}', metric_time) AS DATE) AS period")),
        );
        let groups: Vec<String> = (1..=selected.len()).map(|at| at.to_string()).collect();
        selected.extend(self.metrics.iter().map(|name| format!("MEASURE({name}) AS {name}")));
        let mut conditions = Vec::new();
        conditions.extend(self.female.then(|| "sex = 'F'".to_owned()));
        conditions.extend(self.no_region.then(|| "region IS NULL".to_owned()));
        conditions.extend(self.from.map(|day| format!("metric_time >= DATE '{day}'")));
        conditions.extend(self.to.map(|day| format!("metric_time <= DATE '{day}'")));
        let mut sql = format!("SELECT {} FROM unified.customer_metrics", selected.join(", "));
        if !conditions.is_empty() {
            sql += &format!(" WHERE {}", conditions.join(" AND "));
        }
        if !groups.is_empty() {
            sql += &format!(" GROUP BY {}", groups.join(", "));
        }
        sql
    }

    fn needs_customers(&self) -> bool {
        !self.by.is_empty() || self.female || self.no_region
    }

    fn in_range(&self, at: Option<Day>) -> bool {
        let from = self.from.is_none_or(|from| at.is_some_and(|at| at >= day(from)));
        from && self.to.is_none_or(|to| at.is_some_and(|at| at <= day(to)))
    }
}

/// What a principal sees, and how held rows count.
struct Visible {
    data: Data,
    rule: &'static str,
}

impl Visible {
    fn new(all: &Data, rule: &'static str, branch: bool) -> Self {
        let mut data = all.clone();
        let mine = |region: Option<&str>| !branch || region == Some("north");
        data.customers.retain(|(_, region, _)| mine(*region));
        let seen: BTreeSet<i64> = data.customers.iter().map(|(id, ..)| *id).collect();
        data.holders.retain(|(_, customer, _)| seen.contains(customer));
        let counts = |owner: bool| rule != "primary_holder" || owner;
        let held: BTreeSet<i64> = data
            .holders
            .iter()
            .filter(|(.., owner)| counts(*owner))
            .map(|(account, ..)| *account)
            .collect();
        if branch {
            data.loans
                .retain(|(account, ..)| account.is_some_and(|account| held.contains(&account)));
            data.balances.retain(|(account, ..)| held.contains(account));
        }
        data.holders.retain(|(.., owner)| counts(*owner));
        Self { data, rule }
    }

    /// The groups that a row of an account falls in, each with the customer and its share of the row.
    fn groups(&self, question: &Question, account: Option<i64>) -> Vec<(Vec<String>, Option<i64>, f64)> {
        let holders: Vec<i64> = self
            .data
            .holders
            .iter()
            .filter(|(held, ..)| Some(*held) == account)
            .map(|(_, customer, _)| *customer)
            .collect();
        let share = if self.rule == "equal_share" {
            1.0 / holders.len().max(1) as f64
        } else {
            1.0
        };
        let mut found = Vec::new();
        let nobody = holders.is_empty().then_some(None);
        for holder in holders.into_iter().map(Some).chain(nobody) {
            let known = holder.and_then(|holder| self.data.customers.iter().find(|(id, ..)| *id == holder));
            let (region, sex) = (known.and_then(|one| one.1), known.map(|one| one.2));
            if question.female && sex != Some("F") || question.no_region && region.is_some() {
                continue;
            }
            let value = |name: &str| match name {
                "region" => region.map(str::to_owned),
                "sex" => sex.map(str::to_owned),
                _ => holder.map(|holder| holder.to_string()),
            };
            let key = question
                .by
                .iter()
                .map(|name| value(name).unwrap_or_else(|| "NULL".to_owned()))
                .collect();
            found.push((key, holder, share));
        }
        found
    }

    /// How much of a row counts in each group.
    fn shares(&self, question: &Question, account: Option<i64>) -> BTreeMap<Vec<String>, f64> {
        if !question.needs_customers() {
            return BTreeMap::from([(Vec::new(), 1.0)]);
        }
        let mut shares: BTreeMap<Vec<String>, f64> = BTreeMap::new();
        for (key, _, share) in self.groups(question, account) {
            let known = shares.entry(key).or_default();
            // Each holder has it whole, and so has each group of holders: once.
            *known = if self.rule == "full_to_each" {
                1.0
            } else {
                *known + share
            };
        }
        shares
    }
}

/// The values of one metric by group: the group's key ends with the period, where time is grouped.
type Values = BTreeMap<Vec<String>, Option<f64>>;

fn key_of(question: &Question, mut key: Vec<String>, at: Option<Day>) -> Vec<String> {
    if let Some(grain) = question.grain {
        key.push(at.map_or_else(|| "NULL".to_owned(), |at| written(first_day(grain, at))));
    }
    key
}

/// Which rows count at the end of a day.
#[derive(Clone, Copy)]
enum Window {
    All,
    Months(i64),
    Days(i64),
    ThisYear,
}

/// What a metric counts, over which window, and how many months later.
fn framed(metric: &str) -> (&str, Option<Window>, i64) {
    match metric {
        "so_far" | "loan_amount so far" => ("loan_amount", Some(Window::All), 0),
        "bad_amount so far" => ("bad_amount", Some(Window::All), 0),
        "quarter_mean" => ("mean", Some(Window::Months(3)), 0),
        "year_borrowers" => ("borrowers", Some(Window::ThisYear), 0),
        "late_statuses" => ("statuses", Some(Window::Days(45)), 0),
        "biggest_before" => ("biggest", Some(Window::Months(6)), 1),
        "last_year" => ("loan_amount", None, 12),
        "last_month" => ("loan_count", None, 1),
        "carried_before" => ("carried", None, 1),
        other => (other, None, 0),
    }
}

fn months_before(of: Day, months: i64) -> Day {
    let month = of.0 * 12 + of.1 - 1 - months;
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
    (year, month, of.2.min(length(year, month)))
}

/// The one day of which the time since the day before, so many months before, holds `of`: looked for among all.
fn months_later(of: Day, months: i64) -> Day {
    let mut later = number(of);
    while months_before(of_number(later + 1), months) <= of {
        later += 1;
    }
    of_number(later)
}

/// Whether what happened on a day counts at the end of another.
fn counts(window: Window, happened: Day, end: Day) -> bool {
    let next = of_number(number(end) + 1);
    let from = match window {
        Window::All => (0, 0, 0),
        Window::Months(months) => months_before(next, months),
        Window::Days(days) => of_number(number(next) - days),
        Window::ThisYear => first_day("year", end),
    };
    (from..=end).contains(&happened)
}

/// The days whose groups a row is in, each with whether it counts there; a day for each period.
fn periods(question: &Question, metric: &str, at: Option<Day>, shown: &BTreeSet<Day>) -> Vec<(Option<Day>, bool)> {
    let (_, window, shift) = framed(metric);
    let at = at.map(|at| months_later(at, shift));
    let Some(window) = window else {
        return question.in_range(at).then_some((at, true)).into_iter().collect();
    };
    let to = question.to.map(day);
    let Some(at) = at.filter(|at| to.is_none_or(|to| *at <= to)) else {
        return Vec::new();
    };
    let Some(grain) = question.grain else {
        let end = to.unwrap_or((2100, 1, 1));
        return counts(window, at, end).then_some((None, true)).into_iter().collect();
    };
    let mut found = Vec::new();
    for period in shown {
        let end = of_number(last_day(grain, *period));
        let end = to.map_or(end, |to| to.min(end));
        let is_own = first_day(grain, at) == *period && question.in_range(Some(at));
        let counted = counts(window, at, end);
        if counted || is_own {
            found.push((Some(*period), counted));
        }
    }
    found
}

fn flow(visible: &Visible, question: &Question, metric: &str, shown: &BTreeSet<Day>) -> Values {
    let (base, ..) = framed(metric);
    let mut rows: BTreeMap<Vec<String>, Vec<(i64, f64, &str)>> = BTreeMap::new();
    let mut customers: BTreeMap<Vec<String>, BTreeSet<i64>> = BTreeMap::new();
    for (account, at, amount, status) in &visible.data.loans {
        if base == "bad_amount" && *status != "B" {
            continue;
        }
        for (at, counted) in periods(question, metric, at.map(day), shown) {
            for (key, share) in visible.shares(question, *account) {
                let rows = rows.entry(key_of(question, key, at)).or_default();
                rows.extend(counted.then_some((*amount, share, *status)));
            }
            for (key, customer, _) in visible.groups(question, *account) {
                let customers = customers.entry(key_of(question, key, at)).or_default();
                customers.extend(customer.filter(|_| counted));
            }
        }
    }
    if base == "borrowers" {
        return customers
            .into_iter()
            .map(|(key, found)| (key, Some(found.len() as f64)))
            .collect();
    }
    let shared = |rows: &[(i64, f64, &str)]| {
        rows.iter()
            .map(|(amount, share, _)| *amount as f64 * share)
            .sum::<f64>()
    };
    let count = |rows: &[(i64, f64, &str)]| rows.iter().map(|(_, share, _)| share).sum::<f64>();
    rows.into_iter()
        .map(|(key, rows)| {
            let amounts = rows.iter().map(|(amount, ..)| *amount as f64);
            let value = match base {
                "loan_count" => Some(count(&rows)),
                "biggest" => amounts.reduce(f64::max),
                "smallest" => amounts.reduce(f64::min),
                "mean" => (!rows.is_empty()).then(|| shared(&rows) / count(&rows)),
                "statuses" => Some(rows.iter().map(|(.., status)| *status).collect::<BTreeSet<_>>().len() as f64),
                _ => Some(shared(&rows)),
            };
            (key, value)
        })
        .collect()
}

/// A row that is the balance of an account in some periods.
struct Counted {
    account: i64,
    period: Option<Day>,
    value: Option<f64>,
}

fn balances(visible: &Visible, question: &Question, metric: &str, shown: &BTreeSet<Day>) -> Vec<Counted> {
    let (metric, _, shift) = framed(metric);
    let carries = matches!(metric, "carried" | "closing" | "recent");
    let upper = question.to.map(day);
    let accounts: BTreeSet<i64> = visible.data.balances.iter().map(|row| row.0).collect();
    let periods: Vec<Option<Day>> = match question.grain {
        Some(_) => shown.iter().copied().map(Some).collect(),
        None => vec![None],
    };
    let mut counted = Vec::new();
    for account in accounts {
        for period in &periods {
            let last = period.and_then(|first| Some(last_day(question.grain?, first)));
            let mut rows: Vec<(Day, i64, Option<Day>)> = visible
                .data
                .balances
                .iter()
                .filter(|row| row.0 == account)
                .map(|row| (months_later(day(row.1), shift), row.2, row.3.map(day)))
                .filter(|(at, ..)| upper.is_none_or(|to| *at <= to) && last.is_none_or(|last| number(*at) <= last))
                .filter(|(at, ..)| carries || question.in_range(Some(*at)) && period.is_none_or(|first| *at >= first))
                .collect();
            // Rows of a day stand in the order of their ids already.
            rows.sort_by_key(|row| row.0);
            let picked = match metric {
                "opening" => {
                    // The first of a day is the first by id.
                    rows.first().copied()
                }
                "highest" => rows.iter().copied().max_by_key(|row| row.1),
                _ => rows.last().copied(),
            };
            let Some((at, value, closed)) = picked else { continue };
            if let (Some(first), Some(grain)) = (*period, question.grain) {
                let own = first_day(grain, at) == first;
                let closed_from = closed
                    .filter(|closed| upper.is_none_or(|to| *closed <= to))
                    .map(|day| first_day(grain, day));
                let is_closed = metric == "closing" && closed_from.is_some_and(|from| from <= first);
                if metric == "recent" && !own && last.is_some_and(|last| last - number(at) > 40) || is_closed && !own {
                    continue;
                }
                let value = (!is_closed).then_some(value as f64);
                counted.push(Counted {
                    account,
                    period: *period,
                    value,
                });
            } else {
                let closed = closed.filter(|closed| upper.is_none_or(|to| *closed <= to));
                let late = metric == "recent" && upper.is_some_and(|to| number(to) - number(at) > 40);
                if metric == "closing" && closed.is_some() || late {
                    continue;
                }
                counted.push(Counted {
                    account,
                    period: None,
                    value: Some(value as f64),
                });
            }
        }
    }
    counted
}

fn stock(visible: &Visible, question: &Question, metric: &str, shown: &BTreeSet<Day>) -> Values {
    let mut values = Values::new();
    for one in balances(visible, question, metric, shown) {
        for (key, share) in visible.shares(question, Some(one.account)) {
            let known = values.entry(key_of(question, key, one.period)).or_default();
            if let Some(value) = one.value {
                *known = Some(known.unwrap_or(0.0) + value * share);
            }
        }
    }
    values
}

const FLOWS: [&str; 8] = [
    "loan_count",
    "loan_amount",
    "bad_amount",
    "biggest",
    "smallest",
    "mean",
    "borrowers",
    "statuses",
];

fn is_flow(metric: &str) -> bool {
    FLOWS.contains(&framed(metric).0)
}

fn parts(metric: &'static str) -> Vec<&'static str> {
    match metric {
        "bad_rate" => vec!["bad_amount", "loan_amount"],
        "bad_rate_so_far" => vec!["bad_amount so far", "loan_amount so far"],
        _ => vec![metric],
    }
}

/// The rows that the question should give: keys, then values.
fn answer(visible: &Visible, question: &Question) -> BTreeMap<Vec<String>, Vec<Option<f64>>> {
    let asked: BTreeSet<&'static str> = question.metrics.iter().flat_map(|metric| parts(metric)).collect();
    let mut shown: BTreeSet<Day> = BTreeSet::new();
    if let Some(grain) = question.grain {
        let mut own = |metric: &str, account: Option<i64>, at: Day| {
            let at = months_later(at, framed(metric).2);
            if question.in_range(Some(at)) && !visible.shares(question, account).is_empty() {
                shown.insert(first_day(grain, at));
            }
        };
        for (account, at, _, status) in &visible.data.loans {
            let counts = |metric: &&&str| is_flow(metric) && (framed(metric).0 != "bad_amount" || *status == "B");
            for metric in asked.iter().filter(counts) {
                at.iter().for_each(|at| own(metric, *account, day(at)));
            }
        }
        for metric in asked.iter().filter(|metric| !is_flow(metric)) {
            let rows = visible.data.balances.iter();
            rows.for_each(|row| own(metric, Some(row.0), day(row.1)));
        }
    }
    let mut values: BTreeMap<&str, Values> = BTreeMap::new();
    for metric in &asked {
        let of = if is_flow(metric) {
            flow(visible, question, metric, &shown)
        } else {
            stock(visible, question, metric, &shown)
        };
        values.insert(metric, of);
    }
    let mut keys: BTreeSet<Vec<String>> = values.values().flat_map(|of| of.keys().cloned()).collect();
    if question.by.is_empty() && question.grain.is_none() {
        keys.insert(Vec::new());
    }
    let value = |metric: &str, key: &Vec<String>| {
        let found = values[metric].get(key).copied().flatten();
        let is_zero = matches!(
            framed(metric).0,
            "loan_count" | "loan_amount" | "bad_amount" | "borrowers" | "statuses"
        );
        found.or(is_zero.then_some(0.0))
    };
    keys.into_iter()
        .map(|key| {
            let row = question.metrics.iter().map(|metric| match *metric {
                "bad_rate" | "bad_rate_so_far" => {
                    let [bad, all] = parts(metric)[..] else { return None };
                    let (bad, all) = (value(bad, &key), value(all, &key));
                    all.filter(|all| *all != 0.0).and_then(|all| Some(bad? / all))
                }
                metric => value(metric, &key),
            });
            let row = row.collect();
            (key, row)
        })
        .collect()
}

fn agree(found: &[Vec<String>], wanted: &BTreeMap<Vec<String>, Vec<Option<f64>>>) -> bool {
    found.len() == wanted.len()
        && found.iter().all(|row| {
            wanted.iter().any(|(key, values)| {
                row[..key.len()] == key[..]
                    && row[key.len()..].iter().zip(values).all(|(text, value)| match value {
                        None => text == "NULL",
                        Some(value) => text
                            .parse::<f64>()
                            .is_ok_and(|found| (found - value).abs() < 1e-9 * value.abs().max(1.0)),
                    })
            })
        })
}

async fn compare(rule: &'static str, questions: u64) -> Result<()> {
    let data = all_of_it();
    let world = World::open(&data, rule, METRICS).await?;
    let mut random = StdRng::seed_from_u64(0xca11be5);
    let mut wrong = Vec::new();
    for _ in 0..questions {
        let question = Question::random(&mut random);
        for who in ["auditor", "branch", "none"] {
            let asked = world.ask(who, &question.sql()).await?;
            if who == "none" {
                ensure!(
                    asked.as_ref().is_err_and(|error| error.code.as_str() == "SQL011"),
                    "none: {asked:?}"
                );
                continue;
            }
            let visible = Visible::new(&data, rule, who == "branch");
            let wanted = answer(&visible, &question);
            match asked {
                Ok(found) if agree(&found, &wanted) => {}
                found => wrong.push(format!("{who}: {}\nfound {found:?}\nwanted {wanted:?}", question.sql())),
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {questions}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(4)].join("\n\n")
    );
    Ok(())
}

#[tokio::test]
async fn inv5_the_oracle_agrees_under_primary_holder() -> Result<()> {
    compare("primary_holder", 60).await
}

#[tokio::test]
async fn inv5_the_oracle_agrees_under_equal_share() -> Result<()> {
    compare("equal_share", 40).await
}

#[tokio::test]
async fn inv5_the_oracle_agrees_under_full_to_each() -> Result<()> {
    compare("full_to_each", 40).await
}

#[test]
fn the_oracle_knows_the_calendar() {
    assert_eq!(day("2024-02-29"), (2024, 2, 29));
    assert_eq!(first_day("week", day("2024-02-29")), day("2024-02-26"));
    assert_eq!(first_day("week", day("2023-01-01")), day("2022-12-26"));
    assert_eq!(of_number(last_day("month", day("2024-02-01"))), day("2024-02-29"));
    assert_eq!(of_number(last_day("quarter", day("2023-01-01"))), day("2023-03-31"));
    assert_eq!(of_number(number(day("2024-12-31")) + 1), day("2025-01-01"));
    // The days of March are those of February a month later, none lost and none twice.
    let later = |text| months_later(day(text), 1);
    assert_eq!(later("2023-02-28"), day("2023-03-31"));
    assert_eq!(later("2023-03-31"), day("2023-04-30"));
    assert_eq!(later("2023-03-15"), day("2023-04-15"));
    assert_eq!(months_later(day("2024-02-29"), 12), day("2025-02-28"));
}
