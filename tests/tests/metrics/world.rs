//! A small bank of three departments, full of what goes wrong: joint accounts, accounts of nobody, NULL regions and days,
//! leap days, silent and closed accounts.
//!
//! Owns: its rows, the project over them. Never: an expectation.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result};
use caliber_catalog::principal::AttributeValue;
use caliber_engine::{Engine, EngineError, EngineOptions};
use caliber_tests::engine::{ask, open, principal};
use rand::RngExt;
use rand::rngs::StdRng;
use rusqlite::Connection;
use tempfile::TempDir;

/// The rows, as the oracle counts them.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// id, region, sex
    pub customers: Vec<(i64, Option<&'static str>, &'static str)>,
    /// account, customer, whether it is the owner
    pub holders: Vec<(i64, i64, bool)>,
    /// account, day, amount, status
    pub loans: Vec<(Option<i64>, Option<&'static str>, i64, &'static str)>,
    /// account, day, balance, closed
    pub balances: Vec<(i64, &'static str, i64, Option<&'static str>)>,
}

/// Everything at once.
pub fn all_of_it() -> Data {
    Data {
        customers: vec![
            (1, Some("north"), "F"),
            (2, Some("north"), "M"),
            (3, Some("south"), "F"),
            (4, None, "F"),
            (5, Some("south"), "M"),
        ],
        // 10 and 13 are joint; 14 has two holders of one region; 15 is nobody's; 16 is held by a customer without region.
        holders: vec![
            (10, 1, true),
            (10, 3, false),
            (11, 2, true),
            (12, 5, true),
            (13, 3, true),
            (13, 4, false),
            (14, 1, true),
            (14, 2, false),
            (16, 4, true),
        ],
        loans: vec![
            (Some(10), Some("2023-01-31"), 100, "A"),
            (Some(10), Some("2023-03-31"), 50, "B"),
            (Some(11), Some("2023-02-28"), 70, "B"),
            (Some(12), Some("2024-02-29"), 30, "A"),
            (Some(13), Some("2024-03-01"), 90, "A"),
            (Some(13), None, 11, "B"),
            (Some(14), Some("2023-12-31"), 20, "A"),
            (Some(15), Some("2023-06-15"), 7, "A"),
            (None, Some("2023-06-16"), 3, "B"),
            (Some(16), Some("2024-01-01"), 13, "B"),
        ],
        balances: vec![
            (10, "2023-01-05", 5, None),
            (10, "2023-01-31", 1000, None),
            (10, "2023-04-01", 900, None),
            (11, "2023-02-28", 200, Some("2023-05-20")),
            (11, "2023-05-10", 250, Some("2023-05-20")),
            (12, "2023-12-31", 40, None),
            (12, "2023-12-31", 44, None),
            (12, "2024-02-29", 60, None),
            (13, "2023-03-31", 500, Some("2024-02-29")),
            (14, "2023-06-30", 80, None),
            (14, "2023-07-01", 85, Some("2023-07-15")),
            (15, "2023-02-01", 9, None),
            (16, "2024-01-15", 17, None),
        ],
    }
}

/// A bank by chance: every account has at most one owner, rows of a balance stand in the order of their ids.
pub fn by_chance(random: &mut StdRng) -> Data {
    const DAYS: [&str; 16] = [
        "2022-12-31",
        "2023-01-01",
        "2023-01-30",
        "2023-01-31",
        "2023-02-28",
        "2023-03-01",
        "2023-03-31",
        "2023-04-30",
        "2023-05-01",
        "2023-05-15",
        "2023-12-31",
        "2024-01-01",
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
        "2024-03-31",
    ];
    let mut data = Data::default();
    for id in 1..=random.random_range(2..7) {
        let region = [Some("north"), Some("south"), None][random.random_range(0..3)];
        data.customers.push((id, region, ["F", "M"][random.random_range(0..2)]));
    }
    let customers = i64::try_from(data.customers.len()).unwrap_or_default();
    for account in 10..10 + random.random_range(1..9_i64) {
        let owner = random.random_range(1..=customers);
        if random.random_ratio(5, 6) {
            data.holders.push((account, owner, true));
        }
        let other = random.random_range(1..=customers);
        if other != owner && random.random_ratio(1, 2) {
            data.holders.push((account, other, false));
        }
        let closed = random.random_ratio(1, 3).then(|| DAYS[random.random_range(5..16)]);
        for _ in 0..random.random_range(0..6) {
            let day = DAYS[random.random_range(0..16)];
            let closed = closed.filter(|_| random.random_ratio(2, 3));
            data.balances
                .push((account, day, random.random_range(-3..40_i64), closed));
        }
    }
    for _ in 0..random.random_range(0..16) {
        let account = random.random_ratio(7, 8).then(|| random.random_range(10..19_i64));
        let day = random.random_ratio(7, 8).then(|| DAYS[random.random_range(0..16)]);
        data.loans.push((
            account,
            day,
            random.random_range(1..30_i64) * 10,
            ["A", "B"][random.random_range(0..2)],
        ));
    }
    data
}

/// The project's metrics.
pub const METRICS: &str = "
metrics:
  loan_count: { table: lend.loan, expr: count(*), time: day, dimensions: [status] }
  loan_amount: { table: lend.loan, expr: sum(amount), time: day, dimensions: [status] }
  bad_amount: { table: lend.loan, expr: sum(amount), where: status = 'B', time: day, dimensions: [status] }
  biggest: { table: lend.loan, expr: max(amount), time: day }
  smallest: { table: lend.loan, expr: min(amount), time: day }
  mean: { table: lend.loan, expr: avg(amount), time: day }
  borrowers: { table: lend.loan, expr: count(distinct customer), time: day }
  statuses: { table: lend.loan, expr: count(distinct status), time: day }
  bad_rate: { expr: bad_amount / loan_amount }
  about: { table: lend.loan, expr: approx_distinct(amount), time: day, dimensions: [status] }
  about_lately: { table: lend.loan, expr: approx_distinct(amount), time: day, window: { trailing: 2 months } }
  so_far: { table: lend.loan, expr: sum(amount), time: day, window: cumulative }
  quarter_mean: { table: lend.loan, expr: avg(amount), time: day, window: { trailing: 3 months } }
  year_borrowers: { table: lend.loan, expr: count(distinct customer), time: day, window: { to_date: year } }
  late_statuses: { table: lend.loan, expr: count(distinct status), time: day, window: { trailing: 45 days } }
  biggest_before: { table: lend.loan, expr: max(amount), time: day, window: { trailing: 2 quarters }, shift: 1 month }
  last_year: { table: lend.loan, expr: sum(amount), time: day, shift: 1 year }
  last_month: { table: lend.loan, expr: count(*), time: day, shift: 1 month }
  bad_rate_so_far: { expr: bad_amount / loan_amount, window: cumulative }
  carried_before: { expr: carried, shift: 1 month }
  carried:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: last, order: [day, id], missing: carry }
  strict:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: last, order: [day, id] }
  opening:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: first, order: [day, id] }
  highest:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: max }
  closing:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: last, order: [day, id], missing: carry, closed: zero_from(closed) }
  recent:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: last, order: [day, id], missing: carry(40 days) }
  largest:
    table: fin.balance
    expr: max(balance)
    time: day
    semi_additive: { per: account_id, pick: last, order: [day, id], missing: carry }
  open_accounts:
    table: fin.balance
    expr: count(*)
    time: day
    semi_additive: { per: account_id, pick: last, order: [day, id], missing: carry, closed: zero_from(closed) }
  typical:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: average }
  weighted:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: time_weighted_average, order: [day, id] }
  weighted_closing:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: time_weighted_average, order: [day, id], closed: zero_from(closed) }
  weighted_carried:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: time_weighted_average, order: [day, id], missing: carry, closed: zero_from(closed) }
  weighted_recent:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: time_weighted_average, order: [day, id], missing: carry(40 days) }
  weighted_before: { expr: weighted_carried, shift: 1 month }
  lowest_carried:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: min, order: [day, id], missing: carry, closed: zero_from(closed) }
  highest_closing:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: max, order: [day, id], closed: zero_from(closed) }
  typical_recent:
    table: fin.balance
    expr: sum(balance)
    time: day
    semi_additive: { per: account_id, pick: average, order: [day, id], missing: carry(40 days) }
  first_carried:
    table: fin.balance
    expr: max(balance)
    time: day
    semi_additive: { per: account_id, pick: first, order: [day, id], missing: carry }
";

/// Two engines over the three databases.
pub struct World {
    pub pushed: Arc<Engine>,
    pub local: Arc<Engine>,
    _folder: TempDir,
}

/// Whose account it is: the rule, and the rows of the bridge that count.
pub fn holding(rule: &str) -> String {
    let condition = if rule == "primary_holder" {
        "where: owner = 1, "
    } else {
        ""
    };
    format!("{{ bridge: crm.holder, {condition}rule: {rule} }}")
}

impl World {
    /// The world under a holdings rule, with these metrics.
    pub async fn open(data: &Data, rule: &str, metrics: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        fill(&folder, data)?;
        let project = format!(
            "version: 1\nname: world\nsources:\n  crm: {{ connector: sqlite, path: crm.db }}\n  fin: {{ connector: sqlite, path: fin.db }}\n  \
             lend: {{ connector: sqlite, path: lend.db }}\ntables:\n  \
             crm.holder: {{ references: {{ account_id: crm.account.id, customer_id: crm.customer.id }} }}\n  \
             lend.loan: {{ references: {{ account_id: crm.account.id }} }}\n  fin.balance: {{ references: {{ account_id: crm.account.id }} }}\n\
             entities:\n  customer:\n    table: crm.customer\n    key: id\n    attributes: {{ region: region, sex: sex }}\n    \
             holdings: {{ crm.account: {} }}\n\
             policies:\n  everything: {{ roles: [auditor], tables: [\"*\"] }}\n  branch:\n    roles: [branch]\n    tables: [\"*\"]\n    \
             rows: {{ customer: region = principal.region }}\n{metrics}",
            holding(rule)
        );
        fs::write(folder.path().join("caliber.yaml"), project)?;
        let engine = |pushdown: bool| {
            let options = EngineOptions {
                pushdown,
                ..EngineOptions::default()
            };
            open(folder.path(), &[], options)
        };
        Ok(Self {
            pushed: engine(true).await?.0,
            local: engine(false).await?.0,
            _folder: folder,
        })
    }

    /// What `who` (`auditor`, `branch`, `none`) is answered, by both engines alike.
    pub async fn ask(&self, who: &str, sql: &str) -> Result<Result<Vec<Vec<String>>, EngineError>> {
        let attributes = [("region", AttributeValue::Text("north".to_owned()))];
        let of = |engine: &Arc<Engine>| {
            let session = engine.session(principal(&[who], &attributes));
            async move { ask(&session, sql).await.map(sorted) }
        };
        let (pushed, local) = (of(&self.pushed).await, of(&self.local).await);
        match (&pushed, &local) {
            (Ok(pushed), Ok(local)) => {
                anyhow::ensure!(same(pushed, local), "{sql}\npushed {pushed:?}\nlocal {local:?}")
            }
            (Err(pushed), Err(local)) => anyhow::ensure!(pushed.code == local.code, "{sql}: {pushed} but {local}"),
            _ => anyhow::bail!("{sql}\npushed {pushed:?}\nlocal {local:?}"),
        }
        Ok(pushed)
    }

    /// The rows of a statement that is answered.
    pub async fn rows(&self, who: &str, sql: &str) -> Result<Vec<Vec<String>>> {
        self.ask(who, sql).await?.with_context(|| sql.to_owned())
    }

    /// `CODE: message` of a statement that is refused.
    pub async fn refused(&self, who: &str, sql: &str) -> Result<String> {
        match self.ask(who, sql).await? {
            Ok(rows) => anyhow::bail!("{sql} gave {rows:?}"),
            Err(error) => Ok(format!("{}: {}", error.code.as_str(), error.message)),
        }
    }
}

/// Whether two answers are one. Sums of fractions may be added up in another order.
fn same(one: &[Vec<String>], other: &[Vec<String>]) -> bool {
    let close = |one: &String, other: &String| {
        let fraction = |text: &String| text.contains('.').then(|| text.parse::<f64>().ok()).flatten();
        let near = |(one, other): (f64, f64)| (one - other).abs() <= 1e-12 * one.abs();
        one == other || fraction(one).zip(fraction(other)).is_some_and(near)
    };
    let alike = |(one, other): (&Vec<String>, &Vec<String>)| {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| close(one, other))
    };
    one.len() == other.len() && one.iter().zip(other).all(alike)
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

fn fill(folder: &TempDir, data: &Data) -> Result<()> {
    let database = |name: &str| Connection::open(folder.path().join(name));
    let crm = database("crm.db")?;
    crm.execute_batch(
        "CREATE TABLE customer (id INTEGER PRIMARY KEY, region TEXT, sex TEXT);
         CREATE TABLE account (id INTEGER PRIMARY KEY);
         CREATE TABLE holder (account_id INTEGER, customer_id INTEGER, owner INTEGER);",
    )?;
    for (id, region, sex) in &data.customers {
        crm.execute("INSERT INTO customer VALUES (?1, ?2, ?3)", (id, region, sex))?;
    }
    for account in 10..20_i64 {
        crm.execute("INSERT INTO account VALUES (?1)", [account])?;
    }
    for (account, customer, owner) in &data.holders {
        crm.execute(
            "INSERT INTO holder VALUES (?1, ?2, ?3)",
            (account, customer, i64::from(*owner)),
        )?;
    }
    let lend = database("lend.db")?;
    lend.execute_batch(
        "CREATE TABLE loan (id INTEGER PRIMARY KEY, account_id INTEGER, day DATE, amount INTEGER NOT NULL, status TEXT NOT NULL,
         seen DATE GENERATED ALWAYS AS (date(day, '+20 days')))",
    )?;
    for (account, day, amount, status) in &data.loans {
        let sql = "INSERT INTO loan (account_id, day, amount, status) VALUES (?1, ?2, ?3, ?4)";
        lend.execute(sql, (account, day, amount, status))?;
    }
    let fin = database("fin.db")?;
    fin.execute_batch(
        "CREATE TABLE balance (id INTEGER PRIMARY KEY NOT NULL, account_id INTEGER NOT NULL, day DATE NOT NULL, balance INTEGER NOT NULL,
         closed DATE)",
    )?;
    for (account, day, balance, closed) in &data.balances {
        let sql = "INSERT INTO balance (account_id, day, balance, closed) VALUES (?1, ?2, ?3, ?4)";
        fin.execute(sql, (account, day, balance, closed))?;
    }
    Ok(())
}
