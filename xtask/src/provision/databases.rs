//! PostgreSQL and MariaDB server programs.
//!
//! Owns: where they may lie, which packages hold them. Never: starts them (`connectors/testkit` does, on private data).

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Consent, install};
use crate::run::find_program;
use crate::workspace::Workspace;

/// Programs, any name of which will do, and the Debian packages that hold them.
struct Server {
    name: &'static str,
    programs: &'static [&'static [&'static str]],
    packages: &'static [&'static str],
}

/// MariaDB's core packages have no service at all; `postgresql` has one, which `install.sh` keeps from starting.
const SERVERS: [Server; 2] = [
    Server {
        name: "PostgreSQL",
        programs: &[&["postgres"], &["initdb"]],
        packages: &["postgresql"],
    },
    Server {
        name: "MariaDB",
        programs: &[&["mariadbd"], &["mariadb-install-db"], &["my_print_defaults"]],
        packages: &["mariadb-server-core", "mariadb-client-core"],
    },
];

/// Makes sure that both servers' programs are on the machine.
pub fn provide(workspace: &Workspace, consent: Consent) -> Result<()> {
    let missing: Vec<&Server> = SERVERS.iter().filter(|server| !is_installed(server)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing
        .iter()
        .map(|server| server.name)
        .collect::<Vec<_>>()
        .join(" and ");
    let packages: Vec<&str> = missing.iter().flat_map(|server| server.packages).copied().collect();
    install(workspace, &packages, consent).with_context(|| format!("the tests need the servers of {names}"))?;
    match missing.into_iter().find(|server| !is_installed(server)) {
        None => Ok(()),
        Some(server) => anyhow::bail!(
            "{} is installed, but its programs are not where they are looked for",
            server.name
        ),
    }
}

fn is_installed(server: &Server) -> bool {
    let folders = folders();
    server
        .programs
        .iter()
        .all(|names| names.iter().any(|name| find_program(name, &folders).is_some()))
}

/// Debian keeps servers out of PATH, each major version in a folder of its own; Homebrew likewise.
fn folders() -> Vec<PathBuf> {
    let mut folders = vec![
        PathBuf::from("/usr/sbin"),
        PathBuf::from("/usr/local/sbin"),
        PathBuf::from("/usr/libexec"),
    ];
    for parent in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let Ok(entries) = std::fs::read_dir(parent) else {
            continue;
        };
        folders.extend(entries.flatten().map(|entry| entry.path().join("bin")));
    }
    folders
}
