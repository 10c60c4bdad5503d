//! The demo's project files and users.
//!
//! Owns: the embedded project, its folder, the users' hashes. Never: a row of the bank.

use std::fs;
use std::path::Path;

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};

use super::{DemoError, DemoQuery, DemoUser};

/// Says that the folder is a demo bank and may be replaced.
const MARKER: &str = "demo-bank.txt";

/// The audit log of servers of the bank; it stays.
const AUDIT: &str = "audit";

/// What a folder of a demo bank holds; nothing else is ever removed.
const CONTENTS: &[&str] = &[
    MARKER,
    "caliber.yaml",
    "users.yaml",
    "model",
    "policies",
    "queries",
    "data",
    AUDIT,
];

const FILES: &[(&str, &str)] = &[
    ("caliber.yaml", include_str!("project/caliber.yaml")),
    ("model/customer.yaml", include_str!("project/customer.yaml")),
    ("policies/access.yaml", include_str!("project/access.yaml")),
];

macro_rules! query {
    ($name:literal) => {
        DemoQuery {
            name: $name,
            sql: include_str!(concat!("../../../queries/demo/", $name)),
        }
    };
}

pub(super) const QUERIES: &[DemoQuery] = &[
    query!("arrears-with-deposits.sql"),
    query!("branch-overview.sql"),
    query!("cross-sell-candidates.sql"),
    query!("dormant-to-wake.sql"),
    query!("first-salary.sql"),
    query!("idle-balances.sql"),
    query!("large-outflows.sql"),
    query!("maturing-deposits.sql"),
    query!("morning-list.sql"),
    query!("vips-without-credit.sql"),
    query!("who-pays-whom.sql"),
];

/// A user of the demo, as the project has it.
pub(super) struct Account {
    name: &'static str,
    role: &'static str,
    /// The branch of branch staff.
    branch_id: Option<i64>,
    sees: &'static str,
}

impl Account {
    pub(super) fn user(&self) -> DemoUser {
        DemoUser {
            name: self.name,
            sees: self.sees,
        }
    }
}

pub(super) const USERS: &[Account] = &[
    Account {
        name: "anna",
        role: "analyst",
        branch_id: None,
        sees: "all departments; names, birth dates and phones masked",
    },
    Account {
        name: "olga",
        role: "auditor",
        branch_id: None,
        sees: "all departments, everything in the clear",
    },
    Account {
        name: "petr",
        role: "branch_staff",
        branch_id: Some(1),
        sees: "the customers of branch 1, in every department",
    },
    Account {
        name: "jana",
        role: "branch_staff",
        branch_id: Some(2),
        sees: "the customers of branch 2, in every department",
    },
    Account {
        name: "karl",
        role: "credit_desk",
        branch_id: None,
        sees: "loans and cards alone, without rates and instalments",
    },
    Account {
        name: "ada",
        role: "administrator",
        branch_id: None,
        sees: "no customer; full plans",
    },
];

/// Makes the folder ready: empty but for the places of the data.
pub(super) fn clear(folder: &Path) -> Result<(), DemoError> {
    let fail = |error| DemoError::File(folder.to_owned(), error);
    fs::create_dir_all(folder).map_err(fail)?;
    let mut occupied = false;
    for entry in fs::read_dir(folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        occupied |= !CONTENTS.iter().any(|known| name == *known) || !folder.join(MARKER).is_file();
    }
    if occupied {
        return Err(DemoError::Occupied(folder.to_owned()));
    }
    // The marker stays: a bank that was cut short may be replaced too.
    for name in CONTENTS.iter().filter(|name| ![MARKER, AUDIT].contains(name)) {
        let path = folder.join(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(DemoError::File(path, error)),
            _ => {}
        }
    }
    write_file(
        folder,
        MARKER,
        "A demo bank made by `caliber demo`. It may be replaced at any time: keep nothing here.\n",
    )?;
    fs::create_dir_all(folder.join("data/accounting")).map_err(fail)
}

/// The users' file. Salts come from the seed: the passwords are no secret.
pub(super) fn users(seed: u64) -> Result<String, DemoError> {
    let params = Params::new(19_456, 2, 1, None).map_err(|_| DemoError::Password)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut text = String::from("# Each password is the user's name.\nusers:\n");
    for account in USERS {
        let salt = format!("{:<8.8}{seed:08x}", account.name);
        let hash = argon2
            .hash_password_with_salt(account.name.as_bytes(), salt.as_bytes())
            .map_err(|_| DemoError::Password)?;
        let attributes = account
            .branch_id
            .map_or_else(String::new, |id| format!(", attributes: {{ branch_id: {id} }}"));
        text.push_str(&format!(
            "  {}: {{ password: \"{hash}\", roles: [{}]{attributes} }}\n",
            account.name, account.role
        ));
    }
    Ok(text)
}

/// Writes the project around the data.
pub(super) fn write(folder: &Path, users: &str, customers: u32, seed: u64) -> Result<(), DemoError> {
    for (path, text) in FILES {
        write_file(folder, path, text)?;
    }
    for query in QUERIES {
        write_file(folder, &format!("queries/{}", query.name), query.sql)?;
    }
    write_file(folder, "users.yaml", users)?;
    let marker = format!(
        "A demo bank of {customers} customers, seed {seed}, made by `caliber demo`.\nIt may be replaced at any time: keep nothing here.\n"
    );
    write_file(folder, MARKER, &marker)
}

fn write_file(folder: &Path, path: &str, text: &str) -> Result<(), DemoError> {
    let path = folder.join(path);
    let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
    parent
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| DemoError::File(path, error))
}
