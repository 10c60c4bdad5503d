//! `caliber explain`: how a statement would run.
//!
//! Owns: the arguments. Never: the plan's text.

use std::io::Write;

use clap::Args;

use super::failure::Failure;
use super::rows::{Client, Rows, Target};
use super::table;

/// Show how a statement would run: what each source does, what stays local
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber explain --project bank --as anna 'SELECT status, count(*) FROM credit.loan GROUP BY status'
  caliber explain --uri grpc://127.0.0.1:50051 --user anna 'SELECT * FROM unified.customer_360 LIMIT 5'")]
pub struct Explain {
    #[command(flatten)]
    target: Target,
    /// The statement
    #[arg(value_name = "SQL")]
    sql: String,
}

impl Explain {
    /// Prints the plan.
    pub async fn run(self) -> Result<(), Failure> {
        let mut client = self.target.open().await?;
        let text = match &mut client {
            // Whoever holds the project's files may see what would be sent to its sources.
            Client::Local(session, _) => session.explain(&self.sql, true).await?,
            Client::Remote(_) => last_column(client.run(&format!("EXPLAIN {}", self.sql)).await?).await?,
        };
        client.close().await;
        writeln!(std::io::stdout(), "{}", text.trim_end())?;
        Ok(())
    }
}

/// The last column of all rows, a line each.
pub async fn last_column(mut rows: Rows) -> Result<String, Failure> {
    let mut text = String::new();
    while let Some(batch) = rows.next().await {
        for value in batch?
            .columns()
            .last()
            .map(table::texts)
            .transpose()
            .map_err(std::io::Error::other)?
            .into_iter()
            .flatten()
        {
            text.push_str(&value.unwrap_or_default());
            text.push('\n');
        }
    }
    Ok(text)
}
