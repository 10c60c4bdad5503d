//! `caliber catalog`: what exists for a user.
//!
//! Owns: the two forms of the command. Never: what exists; that is the user's own catalog.

use std::io::Write;

use clap::{Args, Subcommand};

use super::browse;
use super::failure::Failure;
use super::rows::Target;

/// List the tables a user sees, or show one table's columns
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber catalog ls --project bank --as anna
  caliber catalog show credit.loan --project bank --as anna")]
pub struct Catalog {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// The tables of every schema, with their descriptions
    Ls {
        #[command(flatten)]
        target: Target,
    },
    /// The columns of a table, or the tables of a schema
    Show {
        /// `schema.table`, or a schema
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

impl Catalog {
    /// Prints what is asked for.
    pub async fn run(self) -> Result<(), Failure> {
        let (target, name) = match self.what {
            What::Ls { target } => (target, None),
            What::Show { name, target } => (target, Some(name)),
        };
        let mut client = target.open().await?;
        let tables = client.tables().await;
        client.close().await;
        let mut tables = tables?;
        let text = match name {
            None => browse::tables(&tables, false, true),
            Some(name) if tables.iter().any(|table| table.schema == name) => {
                tables.retain(|table| table.schema == name);
                browse::tables(&tables, false, true)
            }
            Some(name) => browse::columns(&tables, &name, true)?,
        };
        write!(std::io::stdout(), "{text}")?;
        Ok(())
    }
}
