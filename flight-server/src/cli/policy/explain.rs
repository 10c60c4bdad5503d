//! `caliber policy explain`: what policies make of a table or a statement for somebody, and why.
//!
//! Owns: the arguments, which form is printed. Never: the words (`words`), the reasons (the engine).

use std::io::Write;
use std::path::PathBuf;

use caliber_catalog::diagnostic::{Code, Diagnostic, did_you_mean, render};
use caliber_catalog::name::TableName;
use caliber_engine::Session;
use caliber_engine::policy_tools::StatementExplanation;
use clap::Args;

use super::super::failure::Failure;
use super::super::project;
use super::subject::{self, ByHand};
use super::{FOUND, words};

/// Say which policies apply to a table or a statement, what they show, and why
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber policy explain settlement.trans --project bank --as petr
  caliber policy explain --project bank --role branch_staff --attribute district_id=1 -c 'SELECT * FROM credit.loan'")]
pub struct Explain {
    /// The project's folder; by default the nearest upward that holds caliber.yaml
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// The user of the project it is explained for
    #[arg(long = "as", value_name = "USER", conflicts_with_all = ["roles", "attributes"])]
    user: Option<String>,
    #[command(flatten)]
    by_hand: ByHand,
    /// The table, `schema.table`; without it and without a statement, every table in short
    #[arg(value_name = "TABLE", conflicts_with = "command")]
    table: Option<String>,
    /// A statement: each table it reads is explained, and if it is refused, why
    #[arg(short = 'c', long, value_name = "SQL")]
    command: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// Prints the explanation; exit code 1 for a statement that is refused.
    pub async fn run(self) -> Result<(), Failure> {
        let given = self.by_hand.principal()?;
        if self.user.is_none() && given.is_none() {
            let message = "say for whom: `--as USER`, or `--role ROLE` with `--attribute NAME=VALUE`";
            return Err(Failure::Usage(message.to_owned()));
        }
        let engine = project::open(self.project.as_deref()).await?;
        let principal = match (&self.user, given) {
            (Some(user), _) => subject::user(&engine.snapshot().project, user)?,
            (None, Some(given)) => given,
            (None, None) => return Ok(()),
        };
        let session = engine.session(principal);
        match (&self.table, &self.command) {
            (Some(table), _) => self.table(&session, table).await,
            (None, Some(sql)) => {
                let explanation = session.explain_statement(sql).await?;
                self.statement(&session, &explanation)
            }
            (None, None) => self.everything(&session),
        }
    }

    async fn table(&self, session: &Session, written: &str) -> Result<(), Failure> {
        let name = find(session, written)?;
        if let Some(view) = session.explain_view(&name) {
            // A view is explained as the statement that reads all of it, where it exists.
            let tables = if view.exists {
                let sql = format!("SELECT * FROM {}.\"{}\"", name.schema, name.table);
                session.explain_statement(&sql).await?.tables
            } else {
                session.explain_table(&view.table)?.into_iter().collect()
            };
            if self.json {
                let json = serde_json::json!({
                    "principal": subject::json(session.principal()), "view": view, "tables": tables });
                return printed_json(&json);
            }
            let mut text = format!(
                "{name} for {}\n\n{}",
                words::who(session.principal()),
                words::view(&view)
            );
            for table in &tables {
                text.push_str(&format!("\n{}", words::table(table, session.principal())));
            }
            return printed(&text);
        }
        let Some(table) = session.explain_table(&name)? else {
            return Ok(());
        };
        if self.json {
            let json = serde_json::json!({ "principal": subject::json(session.principal()), "table": table });
            return printed_json(&json);
        }
        printed(&words::table(&table, session.principal()))
    }

    fn statement(&self, session: &Session, explanation: &StatementExplanation) -> Result<(), Failure> {
        let principal = session.principal();
        if self.json {
            let json = serde_json::json!({ "principal": subject::json(principal), "statement": explanation });
            printed_json(&json)?;
        } else {
            let refused = explanation.refused.as_ref().map(|error| render(&error.diagnostic()));
            printed(&words::statement(explanation, refused.as_deref(), principal))?;
        }
        match explanation.refused {
            Some(_) => Err(Failure::Said(FOUND)),
            None => Ok(()),
        }
    }

    fn everything(&self, session: &Session) -> Result<(), Failure> {
        let (tables, views) = (session.explain_all()?, session.explain_views());
        if self.json {
            let json = serde_json::json!({
                "principal": subject::json(session.principal()), "admin": session.is_admin(),
                "tables": tables, "views": views });
            return printed_json(&json);
        }
        printed(&words::everything(&tables, &views, session))
    }
}

/// The table or view that is meant, whether or not it exists for the principal.
fn find(session: &Session, written: &str) -> Result<TableName, Failure> {
    let written = written.replace('"', "");
    let mut names: Vec<TableName> = session.explain_all()?.into_iter().map(|table| table.table).collect();
    names.extend(session.explain_views().into_iter().map(|view| view.view));
    let exact = names
        .iter()
        .find(|name| name.to_string() == written || name.table == written);
    let folded = || {
        let alike = |name: &&TableName| {
            name.to_string().eq_ignore_ascii_case(&written) || name.table.eq_ignore_ascii_case(&written)
        };
        names.iter().find(alike)
    };
    if let Some(found) = exact.or_else(folded) {
        return Ok(found.clone());
    }
    let mut absent = Diagnostic::error(Code::SQL010, format!("no source holds a table `{written}`"));
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    absent.help =
        did_you_mean(&written, names.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
    Err(Failure::of(absent))
}

fn printed(text: &str) -> Result<(), Failure> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn printed_json(json: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(json).map_err(std::io::Error::other)?;
    printed(&format!("{text}\n"))
}
