//! Settlement's and Credit's databases: two SQLite files.
//!
//! Owns: their tables, and writing them fast. Never: decides what is in them.

use std::path::Path;

use rusqlite::{Connection, Statement, ToSql, params};

use super::days;
use super::model::{Chunk, Payment};

const SETTLEMENT: &str = "
CREATE TABLE payment (
  payment_id           INTEGER PRIMARY KEY,
  account_id           INTEGER NOT NULL,
  booked_on            DATE NOT NULL,
  kind                 TEXT NOT NULL,
  amount               DECIMAL(14,2) NOT NULL,  -- negative when money leaves the account
  balance              DECIMAL(14,2) NOT NULL,  -- of the account, after this payment
  counterparty_account INTEGER,                 -- where it is ours
  counterparty_bank    TEXT,                    -- where it is not
  counterparty_name    TEXT
);
CREATE TABLE standing_order (
  order_id             INTEGER PRIMARY KEY,
  account_id           INTEGER NOT NULL,
  purpose              TEXT NOT NULL,
  amount               DECIMAL(14,2) NOT NULL,
  day_of_month         INTEGER NOT NULL,
  starts_on            DATE NOT NULL,
  counterparty_account INTEGER,
  counterparty_bank    TEXT,
  counterparty_name    TEXT
);
CREATE TABLE term_deposit (
  deposit_id   INTEGER PRIMARY KEY,
  account_id   INTEGER NOT NULL,
  amount       DECIMAL(14,2) NOT NULL,
  rate_percent DECIMAL(6,3) NOT NULL,
  months       INTEGER NOT NULL,
  opened_on    DATE NOT NULL,
  matures_on   DATE NOT NULL,
  status       TEXT NOT NULL
);
";
const SETTLEMENT_INDEXES: &str = "
CREATE INDEX payment_account ON payment (account_id);
CREATE INDEX payment_counterparty ON payment (counterparty_account) WHERE counterparty_account IS NOT NULL;
CREATE INDEX standing_order_account ON standing_order (account_id);
CREATE INDEX term_deposit_account ON term_deposit (account_id);
";
const CREDIT: &str = "
CREATE TABLE loan (
  loan_id       INTEGER PRIMARY KEY,
  account_id    INTEGER NOT NULL,
  purpose       TEXT NOT NULL,
  granted_on    DATE NOT NULL,
  amount        DECIMAL(14,2) NOT NULL,
  months        INTEGER NOT NULL,
  rate_percent  DECIMAL(6,3) NOT NULL,
  instalment    DECIMAL(14,2) NOT NULL,
  outstanding   DECIMAL(14,2) NOT NULL,
  days_past_due INTEGER NOT NULL,
  status        TEXT NOT NULL
);
CREATE TABLE card (
  card_id      INTEGER PRIMARY KEY,
  holding_id   INTEGER NOT NULL,
  kind         TEXT NOT NULL,
  issued_on    DATE NOT NULL,
  credit_limit DECIMAL(14,2) NOT NULL,
  used         DECIMAL(14,2) NOT NULL
);
";
const CREDIT_INDEXES: &str = "
CREATE INDEX loan_account ON loan (account_id);
CREATE INDEX card_holding ON card (holding_id);
";

/// Opens a new database whose only writer we are: it is of no use until it is whole, so nothing is journalled.
fn create(path: &Path, tables: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;")?;
    connection.execute_batch("PRAGMA cache_size = -32768; BEGIN")?;
    connection.execute_batch(tables)?;
    Ok(connection)
}

fn close(connection: Connection, indexes: &str) -> rusqlite::Result<()> {
    connection.execute_batch(indexes)?;
    // Statistics let the engine choose which side of a join to read first.
    connection.execute_batch("ANALYZE; COMMIT;")?;
    connection.close().map_err(|(_, error)| error)
}

/// An amount of cents. Of up to fifteen digits, the double names exactly this decimal number.
fn money(cents: i64) -> f64 {
    // At most fifteen digits.
    let cents = cents as f64;
    cents / 100.0
}

/// A rate of thousandths of a percent.
fn percent(rate: i64) -> f64 {
    // At most six digits.
    let rate = rate as f64;
    rate / 1000.0
}

/// Writes Settlement's file from the chunks; returns the payments written.
pub(super) fn settlement<C: AsRef<Chunk>>(path: &Path, chunks: impl Iterator<Item = C>) -> rusqlite::Result<u64> {
    let connection = create(path, SETTLEMENT)?;
    let mut payments = 0;
    // The text of each day of the window, so that it is made once and not for each payment.
    let texts: Vec<String> = (days::FIRST..=days::LAST).map(days::text).collect();
    {
        let mut payment = connection.prepare("INSERT INTO payment VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
        let mut order = connection.prepare("INSERT INTO standing_order VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
        let mut deposit = connection.prepare("INSERT INTO term_deposit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for chunk in chunks {
            for row in &chunk.as_ref().payments {
                payments += 1;
                let day = usize::try_from(row.day - days::FIRST)
                    .ok()
                    .and_then(|day| texts.get(day));
                insert_payment(&mut payment, payments, day.map_or("", String::as_str), row)?;
            }
            for row in &chunk.as_ref().orders {
                let (bank, name) = row.outside.unzip();
                order.execute(params![
                    row.id,
                    row.account_id,
                    row.purpose,
                    money(row.amount),
                    row.day_of_month,
                    days::text(row.starts_on),
                    row.counterparty_account,
                    bank,
                    name
                ])?;
            }
            for row in chunk.as_ref().deposits.iter().filter(|deposit| deposit.funded) {
                deposit.execute(params![
                    row.id,
                    row.account_id,
                    money(row.amount),
                    percent(row.rate),
                    row.months,
                    days::text(row.opened),
                    days::text(row.matures),
                    if row.matures <= days::LAST { "matured" } else { "open" }
                ])?;
            }
        }
    }
    close(connection, SETTLEMENT_INDEXES)?;
    Ok(payments)
}

fn insert_payment(statement: &mut Statement<'_>, id: u64, day: &str, row: &Payment) -> rusqlite::Result<()> {
    let (bank, name) = row.outside.unzip();
    // Payments are counted from one.
    let id = id as i64;
    let (amount, balance) = (money(row.amount), money(row.balance));
    let values: [&dyn ToSql; 9] = [
        &id,
        &row.account_id,
        &day,
        &row.kind,
        &amount,
        &balance,
        &row.counterparty_account,
        &bank,
        &name,
    ];
    statement.execute(values.as_slice())?;
    Ok(())
}

/// Writes Credit's file from the chunks.
pub(super) fn credit<C: AsRef<Chunk>>(path: &Path, chunks: impl Iterator<Item = C>) -> rusqlite::Result<()> {
    let connection = create(path, CREDIT)?;
    {
        let mut loan = connection.prepare("INSERT INTO loan VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
        let mut card = connection.prepare("INSERT INTO card VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for chunk in chunks {
            for row in &chunk.as_ref().loans {
                loan.execute(params![
                    row.id,
                    row.account_id,
                    row.purpose,
                    days::text(row.granted),
                    money(row.amount),
                    row.months,
                    percent(row.rate),
                    money(row.instalment),
                    money(row.outstanding()),
                    row.missed * 30,
                    row.status()
                ])?;
            }
            for row in &chunk.as_ref().cards {
                card.execute(params![
                    row.id,
                    row.holding_id,
                    row.kind,
                    days::text(row.issued),
                    money(row.credit_limit),
                    money(row.used)
                ])?;
            }
        }
    }
    close(connection, CREDIT_INDEXES)
}
