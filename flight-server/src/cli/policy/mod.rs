//! `caliber policy`: what policies mean, whether they do what is expected, and what a change of them opens.
//!
//! Owns: the three forms of the command and their exit codes. Never: decides; the engine's `policy_tools` say what is so.

mod explain;
mod report;
mod simulate;
mod subject;
mod test;
mod words;

use std::io::Write;

use clap::{Args, Subcommand};

use super::failure::{self, Failure, note};

/// The answer is one that a script must notice.
const FOUND: u8 = 1;
/// There is no answer: the arguments or the project are wrong, or a source is down.
const NO_ANSWER: u8 = 2;

/// Explain what policies mean, test them, and simulate a change of them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber policy explain credit.loan --project bank --as karl
  caliber policy simulate --project bank --change changed/access.yaml")]
pub struct Policy {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Say which policies apply to a table or a statement, what they show, and why
    Explain(explain::Explain),
    /// Run expectation files: who asks what, and what must come back
    Test(test::Test),
    /// Say what a changed project would newly open, and to whom, before it is applied
    Simulate(simulate::Simulate),
}

impl Policy {
    /// Runs what is asked for. Exit codes: 0, 1 for a finding, 2 where there is no answer.
    pub async fn run(self) -> Result<(), Failure> {
        let outcome = match self.what {
            What::Explain(command) => command.run().await,
            What::Test(command) => command.run().await,
            What::Simulate(command) => command.run().await,
        };
        outcome.map_err(no_answer)
    }
}

/// A gate must tell "something opens" from "this could not be found out".
fn no_answer(failure: Failure) -> Failure {
    match failure {
        Failure::Findings(findings) => {
            failure::print(&findings);
            Failure::Said(NO_ANSWER)
        }
        Failure::Connect(diagnostic) => {
            failure::print(&[*diagnostic]);
            Failure::Said(NO_ANSWER)
        }
        Failure::Io(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            note!("error: {error}");
            Failure::Said(NO_ANSWER)
        }
        other => other,
    }
}
