//! `caliber hash-password`: what goes into a project's `users`.
//!
//! Owns: reading a password without showing it. Never: stores it.

use std::io::{BufRead, IsTerminal, Write};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::failure::Failure;

/// Hash a password for a project's users
#[derive(Args, Debug)]
#[command(
    long_about = "Hash a password for a project's users: argon2id, as PHC text. The password is asked for, or read as the first line of standard input.",
    after_help = "\
Examples:
  caliber hash-password
  pass show bank/anna | caliber hash-password"
)]
pub struct HashPassword {}

impl HashPassword {
    /// Prints the hash.
    pub fn run(self) -> Result<(), Failure> {
        let password = if std::io::stdin().is_terminal() {
            asked()?
        } else {
            piped()?
        };
        if password.expose_secret().is_empty() {
            return Err(Failure::Usage("the password is empty".to_owned()));
        }
        let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
        let hash = hash.map_err(|error| Failure::Io(std::io::Error::other(error.to_string())))?;
        writeln!(std::io::stdout(), "{hash}")?;
        Ok(())
    }
}

fn asked() -> Result<SecretString, Failure> {
    let first = SecretString::from(rpassword::prompt_password("Password: ")?);
    let again = SecretString::from(rpassword::prompt_password("Again: ")?);
    if first.expose_secret() == again.expose_secret() {
        Ok(first)
    } else {
        Err(Failure::Usage("the two passwords differ".to_owned()))
    }
}

fn piped() -> Result<SecretString, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let line = SecretString::from(line);
    Ok(line.expose_secret().trim_end_matches(['\r', '\n']).into())
}
