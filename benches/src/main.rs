//! What Caliber costs, measured in this process. `cargo xtask bench --vs duckdb` runs all but the first, beside the
//! scripts of `federation/`.
//!
//!     caliber-benches [bank [CUSTOMERS [ROUNDS]]]              governance and pushdown on the demo bank
//!     caliber-benches receipts PROJECT USER                    what sources sent for each statement
//!     caliber-benches parquet PROJECT USER FOLDER ROUNDS       Parquet files, against plain DataFusion
//!     caliber-benches transfer PROJECT USER SQL                one statement's rows into Arrow batches
//!
//! Owns: the words of the command line. Never: a measurement.

mod bank;
mod parquet;
mod project;
mod receipts;
mod transfer;

use std::path::Path;

use anyhow::{Context, Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["receipts", folder, user] => receipts::receipts(Path::new(folder), user).await,
        ["parquet", project, user, folder, rounds] => {
            let rounds = rounds.parse().context("ROUNDS is a number")?;
            parquet::parquet(Path::new(project), user, Path::new(folder), rounds).await
        }
        ["transfer", project, user, sql] => transfer::transfer(Path::new(project), user, sql).await,
        ["bank", rest @ ..] => bank::bank(rest).await,
        rest if rest.iter().all(|word| word.parse::<u32>().is_ok()) => bank::bank(rest).await,
        _ => bail!(
            "caliber-benches [bank [CUSTOMERS [ROUNDS]]] | receipts PROJECT USER | parquet PROJECT USER FOLDER ROUNDS | transfer PROJECT USER SQL"
        ),
    }
}
