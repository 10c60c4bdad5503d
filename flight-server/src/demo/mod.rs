//! The demo bank: a whole project over three departments' files, drawn from a seed.
//!
//! Owns: the order of work and its threads. Never: prints, downloads, or touches a folder that holds anything else.
//!
//! The bank is drawn a chunk of customers at a time, so that a million of them take no more memory than a few
//! thousand; three threads write the departments meanwhile. Money moves within a chunk, and to and from other banks.

mod accounting;
mod activity;
mod days;
mod departments;
mod dice;
mod ledger;
mod model;
mod names;
mod people;
mod project;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;

use dice::Dice;
use model::{Branch, Chunk, Numbers};

/// Customers drawn at a time.
const CHUNK_CUSTOMERS: u32 = 4_000;
/// The most customers of a bank.
const CUSTOMERS_MAX: u32 = 10_000_000;
/// Chunks that a department may lag behind.
const CHUNKS_AHEAD: usize = 1;

/// Told how far the work is.
pub trait Progress: Sync {
    /// `done` of `total` steps of a phase, named for people. Phases follow one another.
    fn step(&self, phase: &'static str, done: u64, total: u64);
}

/// Somebody who may log in to the demo. The password is the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoUser {
    /// The user's name, and password.
    pub name: &'static str,
    /// What the user sees, in a few words.
    pub sees: &'static str,
}

/// A question that comes with the demo.
#[derive(Clone, Copy, Debug)]
pub struct DemoQuery {
    /// The file's name in `queries/demo/`.
    pub name: &'static str,
    /// The SQL, whose first lines are comments that say what it answers.
    pub sql: &'static str,
}

/// A bank that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoBank {
    /// The project's folder, with `caliber.yaml`.
    pub folder: PathBuf,
    /// Rows, by department's table.
    pub rows: Vec<(&'static str, u64)>,
    /// Who may log in.
    pub users: Vec<DemoUser>,
}

/// The questions that come with the demo, also written to `queries/` of its folder.
pub const QUERIES: &[DemoQuery] = project::QUERIES;

/// Why no bank was made.
#[derive(Debug)]
pub enum DemoError {
    /// The folder holds something that is not a demo bank.
    Occupied(PathBuf),
    /// More or fewer customers than can be.
    Customers(u32),
    /// A file could not be written.
    File(PathBuf, std::io::Error),
    /// A database could not be written.
    Database(rusqlite::Error),
    /// A Parquet file could not be written.
    Parquet(datafusion::parquet::errors::ParquetError),
    /// A password could not be hashed.
    Password,
    /// A thread ended early.
    Thread,
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(folder) => {
                write!(
                    f,
                    "`{}` holds files that are not a demo bank; choose an empty folder with --dir",
                    folder.display()
                )
            }
            Self::Customers(asked) => write!(f, "{asked} customers; the demo bank has 1 to {CUSTOMERS_MAX}"),
            Self::File(path, error) => write!(f, "cannot write `{}`: {error}", path.display()),
            Self::Database(error) => write!(f, "cannot write a department's database: {error}"),
            Self::Parquet(error) => write!(f, "cannot write a department's Parquet file: {error}"),
            Self::Password => f.write_str("cannot hash a demo user's password"),
            Self::Thread => f.write_str("a department's thread ended early"),
        }
    }
}

impl std::error::Error for DemoError {}

/// Makes a bank of `customers` customers in `folder`, which is created, or must be empty or hold an older demo bank
/// (then replaced). Equal seeds and numbers make equal banks.
pub fn generate(folder: &Path, customers: u32, seed: u64, progress: &dyn Progress) -> Result<DemoBank, DemoError> {
    if !(1..=CUSTOMERS_MAX).contains(&customers) {
        return Err(DemoError::Customers(customers));
    }
    project::clear(folder)?;
    let mut rows = std::thread::scope(|scope| {
        // Hashing passwords takes as long as drawing thousands of customers: a thread of its own.
        let users = scope.spawn(|| project::users(seed));
        let rows = fill(folder, customers, seed, progress);
        let users = users.join().map_err(|_| DemoError::Thread)??;
        project::write(folder, &users, customers, seed)?;
        rows
    })?;
    rows.sort_unstable();
    Ok(DemoBank {
        folder: folder.to_owned(),
        rows,
        users: project::USERS.iter().map(project::Account::user).collect(),
    })
}

/// Draws the chunks and hands each to the three departments.
fn fill(
    folder: &Path,
    customers: u32,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<(&'static str, u64)>, DemoError> {
    let branches = people::branches();
    let data = folder.join("data");
    let files = data.join("accounting");
    std::thread::scope(|scope| {
        let (settlement_in, chunks) = channel();
        let path = data.join("settlement.db");
        let settlement =
            scope.spawn(move || departments::settlement(&path, chunks.into_iter()).map_err(DemoError::Database));
        let (credit_in, chunks) = channel();
        let path = data.join("credit.db");
        let credit = scope.spawn(move || departments::credit(&path, chunks.into_iter()).map_err(DemoError::Database));
        let (accounting_in, chunks) = channel();
        let branches = &branches;
        let accounting =
            scope.spawn(move || accounting::write(&files, branches, chunks.into_iter()).map_err(DemoError::Parquet));
        let counted = draw(
            branches,
            customers,
            seed,
            progress,
            [settlement_in, credit_in, accounting_in],
        );
        progress.step("indexes", 0, 1);
        let payments = end(settlement)?;
        end(credit)?;
        end(accounting)?;
        progress.step("indexes", 1, 1);
        let mut rows = counted;
        rows.push(("settlement.payment", payments));
        rows.push(("accounting.branch", branches.len() as u64));
        Ok(rows)
    })
}

fn channel() -> (SyncSender<Arc<Chunk>>, Receiver<Arc<Chunk>>) {
    sync_channel(CHUNKS_AHEAD)
}

fn end<T>(department: ScopedJoinHandle<'_, Result<T, DemoError>>) -> Result<T, DemoError> {
    department.join().map_err(|_| DemoError::Thread)?
}

/// Returns the rows drawn. Stops early when a department is gone; its error is the one to report.
fn draw(
    branches: &[Branch],
    customers: u32,
    seed: u64,
    progress: &dyn Progress,
    departments: [SyncSender<Arc<Chunk>>; 3],
) -> Vec<(&'static str, u64)> {
    let mut numbers = Numbers::FIRST;
    let mut deposits = 0;
    let mut done = 0;
    progress.step("customers", 0, u64::from(customers));
    for stream in 0.. {
        let wanted = (customers - done).min(CHUNK_CUSTOMERS);
        if wanted == 0 {
            break;
        }
        let chunk = Arc::new(chunk(branches, &mut numbers, &mut Dice::new(seed, stream), wanted));
        deposits += chunk.deposits.iter().filter(|deposit| deposit.funded).count() as u64;
        if departments
            .iter()
            .any(|department| department.send(chunk.clone()).is_err())
        {
            break;
        }
        done += wanted;
        progress.step("customers", u64::from(done), u64::from(customers));
    }
    let count = |next: i64| u64::try_from(next - 1).unwrap_or(0);
    vec![
        ("accounting.customer", count(numbers.customer)),
        ("accounting.account", count(numbers.account)),
        ("accounting.holding", count(numbers.holding)),
        ("settlement.standing_order", count(numbers.order)),
        ("settlement.term_deposit", deposits),
        ("credit.loan", count(numbers.loan)),
        ("credit.card", count(numbers.card)),
    ]
}

fn chunk(branches: &[Branch], numbers: &mut Numbers, dice: &mut Dice, customers: u32) -> Chunk {
    let (mut chunk, uses) = people::populate(dice, branches, numbers, customers);
    let events = activity::events(dice, &mut chunk, numbers, &uses);
    ledger::book(&mut chunk, events);
    chunk
}
