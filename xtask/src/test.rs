//! `cargo xtask test`: provisions what the tests need, then runs them all in the everyday profile, and the fixed part of
//! the mutation gate.
//!
//! Owns: options, the order, the closing line. Never: a test.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::mutants::{FIXED_PART, mutants};
use crate::provision::{Consent, databases, python};
use crate::run::{run, say, variable};
use crate::tally::tally;
use crate::workspace::Workspace;

/// What the caller asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Only tests whose name contains it.
    pub filter: Option<String>,
    /// Never install a package.
    pub no_install: bool,
    /// For the test programs themselves.
    pub arguments: Vec<String>,
}

impl Options {
    /// Reads the words after `test`.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--" => options.arguments = words.by_ref().cloned().collect(),
                "--no-install" => options.no_install = true,
                flag if flag.starts_with('-') => bail!("`{flag}` is not an option of `cargo xtask test`"),
                filter if options.filter.is_none() => options.filter = Some(filter.to_owned()),
                second => bail!("a second filter, `{second}`"),
            }
        }
        Ok(options)
    }
}

/// Runs the tests.
pub fn test(workspace: &Workspace, options: &Options) -> Result<()> {
    let start = Instant::now();
    let refused = options.no_install || variable("CALIBER_NO_INSTALL").is_some();
    let consent = if refused { Consent::Refused } else { Consent::Given };
    databases::provide(workspace, consent)?;
    let interpreter = match python::clients(workspace, consent) {
        Ok(interpreter) => Some(interpreter),
        // Elsewhere a person may be offline; CI has no such excuse.
        Err(error) if variable("CI").is_none() => {
            say(&format!("the Python client tests will be skipped: {error:#}"));
            None
        }
        Err(error) => return Err(error),
    };
    let registers = match python::registers(workspace, consent) {
        Ok(folder) => Some(folder),
        Err(error) if variable("CI").is_none() => {
            say(&format!("the tests on the FEBRL registers will be skipped: {error:#}"));
            None
        }
        Err(error) => return Err(error),
    };

    // Built as `cargo run` builds it: the tests start the program, and what comes next finds it ready.
    run(workspace.cargo().args(["build", "--locked", "--bin", "caliber"]))?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    if let Some(filter) = &options.filter {
        cargo.arg(filter);
    }
    cargo.arg("--").args(&options.arguments);
    let program = workspace
        .target()?
        .join("debug")
        .join(format!("caliber{}", std::env::consts::EXE_SUFFIX));
    if program.is_file() {
        cargo.env("CALIBER_PROGRAM", program);
    }
    if let Some(interpreter) = interpreter {
        cargo.env("CALIBER_PYTHON", interpreter);
    }
    if let Some(registers) = registers {
        cargo.env("CALIBER_FEBRL", registers);
    }
    say(&format!(
        "$ cargo test --workspace {}",
        options.filter.as_deref().unwrap_or_default()
    ));
    let (_, succeeded) = tally(&mut cargo)?;
    if !succeeded {
        bail!("tests failed");
    }
    if options.filter.is_none() && options.arguments.is_empty() {
        mutants(workspace, &FIXED_PART.map(str::to_owned))?;
    }
    say(&format!("all tests passed in {} s", start.elapsed().as_secs()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(words: &[&str]) -> anyhow::Result<Options> {
        Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_after_two_dashes_belong_to_the_test_program() {
        let options = parse(&["barrier", "--no-install", "--", "--nocapture", "--no-install"]).unwrap();
        assert_eq!(options.filter.as_deref(), Some("barrier"));
        assert!(options.no_install);
        assert_eq!(options.arguments, ["--nocapture", "--no-install"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(parse(&["--frobnicate"]).is_err());
        assert!(parse(&["one", "two"]).is_err());
    }
}
