//! Runs other programs, and says which.
//!
//! Owns: the environment children get. Never: decides what a failure means.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Prints a line for the person who called, on standard error: standard output is the children's.
#[expect(clippy::print_stderr, reason = "xtask talks to a terminal; this is its one place")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// The value of an environment variable, if it is set to something.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask is configured by its caller's environment; this is its one place"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A command in `folder`, free of what the outer cargo set for xtask: build scripts that watch those
/// variables (ring's does) would be run again each time the caller alternates between `cargo xtask` and `cargo run`.
pub fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let of_the_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if of_the_package || matches!(&*name, "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs to the end, output shown, and fails with the command's words.
pub fn run(command: &mut Command) -> Result<()> {
    say(&format!("$ {}", words(command)));
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", words(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", words(command));
    }
    Ok(())
}

/// Runs to the end, output taken.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot run `{}`", words(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            words(command),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

/// The first of `folders`, then of PATH, that holds the program.
pub fn find_program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn words(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let arguments = command.get_args().map(|argument| {
        let argument = argument.to_string_lossy();
        if argument.len() > 60 {
            "…".to_owned()
        } else {
            argument.into_owned()
        }
    });
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}
