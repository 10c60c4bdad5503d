//! A certificate authority for one test, made by the `openssl` program (Debian installs it with PostgreSQL).
//!
//! Owns: its keys and certificates, in a folder that goes with it. Never: an authority that anybody trusts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::server::program;

/// An authority and what it issued.
pub struct Authority {
    folder: TempDir,
    openssl: PathBuf,
}

/// A certificate and its key, PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority, that nobody trusts yet.
    pub fn new() -> Result<Self> {
        let authority = Self {
            folder: tempfile::tempdir()?,
            openssl: program("openssl", &[], "openssl")?,
        };
        let config = "[req]\ndistinguished_name=name\nx509_extensions=ca\nprompt=no\n[name]\nCN=Test authority\n\
                      [ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
        std::fs::write(authority.path("ca.cnf"), config)?;
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -config ca.cnf -keyout ca.key -out {CERTIFICATE}"
        ))?;
        Ok(authority)
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path(CERTIFICATE)
    }

    /// Issues a certificate for a host or an account of that name.
    pub fn issue(&self, name: &str) -> Result<Identity> {
        let config = format!(
            "[req]\ndistinguished_name=name\nprompt=no\n[name]\nCN={name}\n\
             [leaf]\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:{name}\n"
        );
        std::fs::write(self.path(&format!("{name}.cnf")), config)?;
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config {name}.cnf -keyout {name}.key -out {name}.csr"
        ))?;
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {CERTIFICATE} -CAkey ca.key -CAcreateserial -days 2 \
             -extfile {name}.cnf -extensions leaf -out {name}.pem"
        ))?;
        Ok(Identity {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, words: &str) -> Result<()> {
        run(&self.openssl, self.folder.path(), words)
    }
}

const CERTIFICATE: &str = "ca.pem";

fn run(program: &Path, folder: &Path, words: &str) -> Result<()> {
    let mut command = Command::new(program);
    command
        .args(words.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null());
    let output = command.output().context("`openssl` cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {words}: {}", said.trim());
    Ok(())
}
