//! `cargo xtask`: everything a contributor or CI runs, in Rust, so that it works wherever the product does.
//!
//! Owns: the words `check`, `tidy`, `test`, `bench` and what each runs. Never: part of what ships; nothing depends on it.

mod bench;
mod check;
mod mutants;
mod proof;
mod provision;
mod run;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::run::say;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <task>

  check                     rustfmt, tidy, typos, supply chain, clippy -D warnings
  tidy                      only the rules of this workspace (also run as tests)
  test [filter] [options]   every test, with private PostgreSQL and MariaDB servers
    --no-install            install nothing; say what is missing (also CALIBER_NO_INSTALL=1)
    -- ARGS                 ARGS for the test programs
  bench --vs duckdb         side by side over the same live databases (docs/benchmarks.md)
    --scale N  --rounds N  --third sqlite|parquet  --keep FOLDER  --report FILE  --no-install
    --only tpch,lookup,segment,single,bulk,parquet,memory  --queries 1,5,9

  the proof of governance, on a release build (--dev: the everyday profile); each takes --seed S:
  fuzz       [--queries N]  governed against plain DataFusion over a filtered, masked copy
  differential [--queries N]  what sources evaluate against the same with nothing pushed
  mutants                   the fuzzer finds each of thirteen seeded leaks, differential each of five wrong answers,
                            faults an error that is swallowed
  leak       [--queries N]  two databases that differ in invisible rows only
  injection  [--strings N]  hostile text in every place, against live sources
  crash      [--kills N]    no row without a durable audit record
  caps                      every bound, reached and passed, against a running server
  cost                      what governance costs, in instructions
  faults     [--kills N]    sources cut off, killed and restarted; --offsets, --cancels, --reuses, --clients N

examples:
  cargo xtask test
  cargo xtask test barrier -- --nocapture";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((task, rest)) = arguments.split_first() else {
        bail!("no task\n\n{USAGE}");
    };
    match (task.as_str(), rest) {
        ("check", []) => check::check(&Workspace::open()?),
        ("tidy", []) => tidy::tidy(&Workspace::open()?),
        ("test", rest) => test::test(&Workspace::open()?, &test::Options::parse(rest)?),
        ("bench", rest) => bench::bench(&Workspace::open()?, &bench::Options::parse(rest)?),
        ("mutants", options) => mutants::mutants(&Workspace::open()?, options),
        (task, options) if proof::TASKS.contains(&task) => proof::prove(&Workspace::open()?, task, options),
        ("help" | "--help" | "-h", _) => {
            say(USAGE);
            Ok(())
        }
        _ => bail!("`{}` is not a task\n\n{USAGE}", arguments.join(" ")),
    }
}
