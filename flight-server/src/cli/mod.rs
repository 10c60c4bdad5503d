//! The `caliber` program: its commands and how each ends.
//!
//! Owns: arguments, exit codes, what is printed where. Never: what an answer is.
//!
//! Data goes to standard output, notes and progress to standard error.

mod allocator;
mod audit;
mod browse;
mod catalog;
mod check;
mod demo;
mod explain;
mod failure;
mod hash_password;
mod identity;
mod local;
mod logging;
mod metric;
mod output;
mod policy;
mod project;
mod remote;
mod rows;
mod serve;
mod shell;
mod sql;
mod statement_text;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// One governed SQL catalog over every department's live database.
#[derive(Parser, Debug)]
#[command(
    name = "caliber",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  caliber demo
  caliber sql --project bank --as anna -c 'SELECT count(*) FROM credit.loan'"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a demo bank of three departments and serve it
    Demo(demo::Demo),
    /// Check a project: every finding at once, with its place and a fix
    Check(check::Check),
    /// List the tables a user sees, or show one table's columns
    Catalog(catalog::Catalog),
    /// Serve a project over Arrow Flight SQL
    Serve(serve::Serve),
    /// Run SQL over a project in this process, or at a server; without SQL, a shell
    Sql(sql::Sql),
    /// Show how a statement would run: what each source does, what stays local
    Explain(explain::Explain),
    /// List metrics, show what they mean, and ask for their values
    Metric(metric::Metric),
    /// Find which records of several departments are one customer, and keep what stewards say
    Identity(identity::Identity),
    /// Explain what policies mean, test them, and simulate a change of them
    Policy(policy::Policy),
    /// Verify the audit log's chain, or show its newest records
    Audit(audit::Audit),
    /// Hash a password for a project's users
    HashPassword(hash_password::HashPassword),
}

/// An expression is evaluated as deep as it is nested, and the longest one admitted is 1,000 operators deep.
const WORKER_STACK_BYTES: usize = 16 << 20;

/// Runs the program on the process's arguments.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Help that nobody reads is no failure.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
    };
    logging::start();
    if matches!(cli.command, Command::Serve(_) | Command::Demo(_)) {
        allocator::one_heap();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(WORKER_STACK_BYTES)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::Io(error).report(),
    };
    let outcome = match cli.command {
        Command::Demo(command) => runtime.block_on(command.run()),
        Command::Check(command) => runtime.block_on(command.run()),
        Command::Catalog(command) => runtime.block_on(command.run()),
        Command::Serve(command) => runtime.block_on(command.run()),
        Command::Sql(command) => command.run(&runtime),
        Command::Explain(command) => runtime.block_on(command.run()),
        Command::Metric(command) => runtime.block_on(command.run()),
        Command::Identity(command) => runtime.block_on(command.run()),
        Command::Policy(command) => runtime.block_on(command.run()),
        Command::Audit(command) => runtime.block_on(command.run()),
        Command::HashPassword(command) => command.run(),
    };
    // Work that a source is slow to give up must not keep the program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_commands_help_ends_with_two_examples() {
        let mut audit = Cli::command();
        let audit = audit.find_subcommand_mut("audit").unwrap();
        let commands = Cli::command().get_subcommands().cloned().collect::<Vec<_>>();
        for mut command in commands
            .into_iter()
            .chain(audit.get_subcommands().cloned())
            .chain([Cli::command()])
        {
            let help = command.render_long_help().to_string();
            let (_, examples) = help
                .split_once("Examples:\n")
                .unwrap_or_else(|| panic!("{}: no examples", command.get_name()));
            let examples = examples
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect::<Vec<_>>();
            assert_eq!(examples.len(), 2, "{}: {examples:?}", command.get_name());
            assert!(examples.iter().all(|line| line.contains("caliber ")), "{examples:?}");
        }
    }

    #[test]
    fn passwords_are_never_arguments() {
        for command in Cli::command().get_subcommands() {
            assert!(
                command
                    .get_arguments()
                    .all(|argument| !argument.get_id().as_str().contains("password"))
            );
        }
    }
}
