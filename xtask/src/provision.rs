//! What the tests need from the machine: database servers and a Python with the client libraries.
//!
//! Owns: finding, and with consent installing. Never: starts a server (`connectors/testkit` does), or touches one that runs.

pub mod databases;
pub mod python;

use std::process::Stdio;

use anyhow::{Result, bail};

use crate::run::{find_program, output, run, say};
use crate::workspace::Workspace;

/// Whether packages may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// The caller did not refuse.
    Given,
    /// `--no-install` or `CALIBER_NO_INSTALL`.
    Refused,
}

/// Installs Debian packages without letting them start a service.
const INSTALL: &str = include_str!("provision/install.sh");

/// Installs `packages` with apt-get, or fails with the command that a person would run.
pub fn install(workspace: &Workspace, packages: &[&str], consent: Consent) -> Result<()> {
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if consent == Consent::Refused {
        bail!("missing, and installing is refused; on Debian: {by_hand}");
    }
    if find_program("apt-get", &[]).is_none() {
        bail!("missing, and this is not Debian; install what there corresponds to: {by_hand}");
    }
    let mut command = if output(workspace.command("id").arg("-u"))?.trim() == "0" {
        workspace.command("sh")
    } else {
        let mut sudo = workspace.command("sudo");
        let allowed = sudo
            .args(["-n", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !allowed.is_ok_and(|status| status.success()) {
            bail!("missing, and this is neither root nor allowed `sudo -n`; run: sudo {by_hand}");
        }
        let mut sudo = workspace.command("sudo");
        sudo.args(["-n", "sh"]);
        sudo
    };
    say(&format!(
        "installing {} with apt-get (refuse with --no-install or CALIBER_NO_INSTALL=1)",
        packages.join(", ")
    ));
    run(command.args(["-c", INSTALL, "install"]).args(packages))
}
