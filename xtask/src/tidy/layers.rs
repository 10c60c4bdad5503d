//! Which package may import which: the arrows of ARCHITECTURE.md.
//!
//! Owns: the table of arrows, and of libraries that some packages must not know. Never: versions (`packages`).

use anyhow::{Context, Result};

use super::Finding;
use crate::workspace::{Packages, Workspace};

/// What a package may import of the workspace. A missing pair is a refusal.
struct Layer {
    name: &'static str,
    imports: &'static [&'static str],
    /// In its tests, besides.
    test_imports: &'static [&'static str],
    /// Libraries it must never know, by name or `prefix*`.
    foreign: &'static [&'static str],
}

const DRIVERS: &[&str] = &[
    "tokio-postgres*",
    "postgres-types",
    "mysql_async",
    "rusqlite",
    "tonic*",
    "arrow-flight",
];

const LAYERS: &[Layer] = &[
    Layer {
        name: "caliber-catalog",
        imports: &[],
        test_imports: &[],
        foreign: &[
            "datafusion*",
            "tokio*",
            "mysql_async",
            "rusqlite",
            "tonic*",
            "arrow-flight",
            "arrow",
        ],
    },
    Layer {
        name: "caliber-connector-spi",
        imports: &["caliber-catalog"],
        test_imports: &[],
        foreign: &[
            "datafusion*",
            "tokio-postgres*",
            "mysql_async",
            "rusqlite",
            "tonic*",
            "arrow-flight",
        ],
    },
    Layer {
        name: "caliber-connectors",
        imports: &["caliber-catalog", "caliber-connector-spi"],
        test_imports: &["caliber-testkit"],
        foreign: &[],
    },
    Layer {
        name: "caliber-identity",
        imports: &[],
        test_imports: &[],
        foreign: &["datafusion*", "arrow*", "tokio*", "mysql_async", "rusqlite", "tonic*"],
    },
    Layer {
        name: "caliber-engine",
        imports: &["caliber-catalog", "caliber-connector-spi"],
        test_imports: &["caliber-testkit"],
        foreign: DRIVERS,
    },
    Layer {
        name: "caliber-testkit",
        imports: &["caliber-catalog", "caliber-connector-spi"],
        test_imports: &[],
        foreign: &["datafusion*", "tonic*"],
    },
    Layer {
        name: "caliber-server",
        imports: &[
            "caliber-catalog",
            "caliber-connector-spi",
            "caliber-connectors",
            "caliber-engine",
            "caliber-identity",
        ],
        test_imports: &["caliber-testkit"],
        foreign: &["tokio-postgres*", "mysql_async"],
    },
    Layer {
        name: "caliber-tests",
        imports: EVERYTHING,
        test_imports: EVERYTHING,
        foreign: &[],
    },
    Layer {
        name: "caliber-benches",
        imports: EVERYTHING,
        test_imports: EVERYTHING,
        foreign: &[],
    },
    Layer {
        name: "xtask",
        imports: &[],
        test_imports: &[],
        foreign: &["datafusion*", "arrow*", "tokio*", "clap*"],
    },
];

const EVERYTHING: &[&str] = &[
    "caliber-catalog",
    "caliber-connector-spi",
    "caliber-connectors",
    "caliber-engine",
    "caliber-identity",
    "caliber-server",
    "caliber-testkit",
];

/// Compares every manifest with the table.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let metadata = workspace.metadata(Packages::Members)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let wanted = dependency["name"].as_str().unwrap_or_default();
            let in_tests = dependency["kind"].as_str() == Some("dev");
            if let Some(message) = refusal(name, wanted, in_tests) {
                findings.push(Finding::file(format!("{name}'s Cargo.toml"), message));
            }
        }
    }
    Ok(findings)
}

fn refusal(package: &str, wanted: &str, in_tests: bool) -> Option<String> {
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == package) else {
        return Some("not in the table of layers (xtask/src/tidy/layers.rs)".to_owned());
    };
    if LAYERS.iter().any(|layer| layer.name == wanted) {
        let allowed = layer.imports.contains(&wanted) || (in_tests && layer.test_imports.contains(&wanted));
        return (!allowed).then(|| format!("must not import `{wanted}` (ARCHITECTURE.md, the arrows)"));
    }
    let banned = !in_tests && layer.foreign.iter().any(|pattern| matches(pattern, wanted));
    banned.then(|| format!("must not know the library `{wanted}` (xtask/src/tidy/layers.rs)"))
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn engine_and_connectors_never_see_each_other() {
        assert!(refusal("caliber-engine", "caliber-connectors", false).is_some());
        assert!(refusal("caliber-engine", "caliber-connectors", true).is_some());
        assert!(refusal("caliber-connectors", "caliber-engine", false).is_some());
        assert!(refusal("caliber-server", "caliber-engine", false).is_none());
    }

    #[test]
    fn the_catalog_knows_no_engine_library() {
        assert!(refusal("caliber-catalog", "datafusion-common", false).is_some());
        assert!(refusal("caliber-catalog", "arrow-schema", false).is_none());
        assert!(refusal("caliber-engine", "tonic", false).is_some());
    }

    #[test]
    fn a_package_without_a_layer_is_refused() {
        assert!(refusal("caliber-newcomer", "serde", false).is_some());
    }
}
