//! Whole projects, and the `check` through which broken ones go too.

mod broken;
mod whole;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::diagnostic::{Severity, render};
use crate::principal::AttributeValue;
use crate::source::{OptionKind, OptionSpec};

const fn option(name: &'static str, kind: OptionKind, required: bool) -> OptionSpec {
    OptionSpec {
        name,
        kind,
        required,
        description: "An option.",
    }
}

/// Connectors as a build might have them.
pub(crate) static KINDS: [ConnectorKind; 4] = [
    ConnectorKind {
        kind: "postgres",
        options: &[
            option("url", OptionKind::Secret, true),
            option("schema", OptionKind::Text, false),
            option("tls", OptionKind::Bool, false),
        ],
    },
    ConnectorKind {
        kind: "mysql",
        options: &[option("url", OptionKind::Secret, true)],
    },
    ConnectorKind {
        kind: "sqlite",
        options: &[
            option("path", OptionKind::Path, true),
            option("retries", OptionKind::Integer, false),
        ],
    },
    ConnectorKind {
        kind: "files",
        options: &[
            option("url", OptionKind::Text, true),
            option("tables", OptionKind::Tables, false),
        ],
    },
];

/// An environment of a test's own.
pub(crate) struct Variables(pub BTreeMap<&'static str, String>);

impl Environment for Variables {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// A hash that no password has.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$VRIYgwJigDGBn+Qif9JRrg$aQnMv3i55jRFzaOPfNLc7FgTDfaVuuEVPKDx6nkNNnE";
/// What no diagnostic may hold.
const SECRET: &str = "hunter2";

type Loaded = Result<(Project, Vec<Diagnostic>), Vec<Diagnostic>>;

fn load_bytes(files: &[(&str, &[u8])]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let variables = [
        ("PW", SECRET.to_string()),
        ("DB", "accounting.db".into()),
        ("URL", format!("postgres://u:{SECRET}@h/d")),
    ];
    load(folder.path(), &Variables(BTreeMap::from(variables)), &KINDS)
}

/// `CODE file:line:column marked label`, with `warning` before it if it is one.
fn brief(finding: &Diagnostic) -> String {
    let mut brief = String::new();
    if finding.severity == Severity::Warning {
        brief.push_str("warning ");
    }
    brief.push_str(finding.code.as_str());
    if let Some(place) = &finding.place {
        let (line, column) = place.line_column();
        brief.push_str(&format!(" {}:{line}:{column}", place.source.name));
    }
    if let Some(label) = &finding.label {
        brief.push_str(&format!(" {label}"));
    }
    brief
}

/// Loads `files` and compares all findings, by code, place and label. No finding may print the secret.
fn check(files: &[(&str, &str)], expected: &[&str]) -> (Option<Project>, String) {
    let bytes: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    check_bytes(&bytes, expected)
}

fn check_bytes(files: &[(&str, &[u8])], expected: &[&str]) -> (Option<Project>, String) {
    let (project, findings) = match load_bytes(files) {
        Ok((project, findings)) => (Some(project), findings),
        Err(findings) => (None, findings),
    };
    let rendered: String = findings.iter().map(render).collect();
    let briefs: Vec<String> = findings.iter().map(brief).collect();
    assert_eq!(briefs, expected, "\n{rendered}");
    assert!(!rendered.contains(SECRET), "a secret printed:\n{rendered}");
    assert!(
        !format!("{findings:?}{project:?}").contains(SECRET),
        "a secret printed by Debug"
    );
    assert_eq!(
        project.is_none(),
        expected.iter().any(|brief| !brief.starts_with("warning"))
    );
    assert!(
        findings.iter().all(|finding| finding.help.is_some()),
        "a finding says what to do:\n{rendered}"
    );
    (project, rendered)
}

const HEAD: &str = "version: 1\nname: bank\n";

#[test]
fn the_least_project_has_defaults() {
    let (project, _) = check(&[("caliber.yaml", HEAD)], &[]);
    let project = project.unwrap();
    assert_eq!(
        (project.name.as_str(), project.server.flight_listen.as_str()),
        ("bank", "127.0.0.1:50051")
    );
    let limits = &project.server.limits;
    assert_eq!(
        (limits.query_timeout, limits.memory_bytes, limits.query_memory_bytes),
        (Duration::from_secs(60), 2 << 30, 256 << 20)
    );
    assert_eq!(
        (
            limits.result_rows,
            limits.result_bytes,
            limits.concurrent_per_user,
            limits.sessions_per_user
        ),
        (10_000_000, 1 << 30, 8, 16)
    );
    assert!(project.root.is_absolute() && project.server.http_listen.is_none());
}

#[test]
fn every_section_is_read() {
    let main = format!(
        "{HEAD}server:\n  flight: {{ listen: \"[::1]:0\", tls: {{ cert: tls/c.pem, key: tls/k.pem }} }}\n  limits: {{ query_timeout: 5s, memory: 1GiB, result_rows: 10 }}\n\
         auth: {{ users: people/users.yaml }}\n\
         sources:\n  pg: {{ connector: postgres, url: \"${{env:URL}}\", tls: true, label: {{ en: A, zh: 甲 }}, limits: {{ connections: 2, timeout: 3s }} }}\n\
         \x20 lite: {{ connector: sqlite, path: \"data/${{env:DB}}\", retries: 3 }}\n\
         \x20 lake: {{ connector: files, url: ./lake, tables: {{ t: {{ path: t.csv, options: {{ header: true }} }} }} }}\n"
    );
    let users = format!(
        "users:\n  eva:\n    password: \"{HASH}\"\n    roles: [b, a, b]\n    attributes: {{ n: 1, t: '1', l: [1, x], z: ~, d: \"${{env:DB}}\" }}\n"
    );
    let model = "tables:\n  pg.t:\n    key: [a, b]\n    columns: { s: { values: { A: { en: ended }, 1: one } } }\n    references: { a: lite.u.id }\n\
                 entities:\n  thing: { table: lite.u, key: id, attributes: { x: a + 1, y: { expr: b, label: B } } }\n\
                 policies:\n  one: { roles: [a, b], tables: ['*'], rows: { thing: a = 1, pg.t: b = 2 }, masks: { lite.u.b: NULL }, columns: { lite.u: [id, b] } }\n  two: { when: principal.level > 2, expires: 2026-12-31, min_group: { thing: 1_000 }, tables: [pg.t] }\n";
    let (project, _) = check(
        &[
            ("caliber.yaml", &main),
            ("people/users.yaml", &users),
            ("model/m.yaml", model),
        ],
        &[],
    );
    let project = project.unwrap();
    let pg = &project.sources["pg"];
    assert_eq!(pg.options.secret("url"), Some("postgres://u:hunter2@h/d"));
    assert_eq!(
        (pg.options.bool("tls"), pg.connections_max, pg.statement_timeout),
        (Some(true), 2, Some(Duration::from_secs(3)))
    );
    assert_eq!(pg.label.text("zh"), Some("甲"));
    assert_eq!(
        project.sources["lite"].options.path("path"),
        Some(project.root.join("data/accounting.db").as_path())
    );
    assert_eq!(project.sources["lite"].options.integer("retries"), Some(3));
    let lake = project.sources["lake"].options.tables("tables").unwrap();
    assert_eq!(
        lake["t"],
        BTreeMap::from([
            ("path".into(), "t.csv".into()),
            ("options.header".into(), "true".into())
        ])
    );
    assert_eq!(
        project.server.flight_tls.as_ref().unwrap().key,
        project.root.join("tls/k.pem")
    );
    let eva = &project.users["eva"];
    assert_eq!(eva.roles, ["a", "b"]);
    let list = AttributeValue::List(vec![AttributeValue::Int(1), AttributeValue::Text("x".into())]);
    let text = |text: &str| AttributeValue::Text(text.into());
    assert_eq!(
        eva.attributes,
        BTreeMap::from([
            ("n".into(), AttributeValue::Int(1)),
            ("t".into(), text("1")),
            ("l".into(), list),
            ("z".into(), AttributeValue::Null),
            ("d".into(), text("accounting.db")),
        ])
    );
    let policy = &project.policies[0];
    assert_eq!(
        (
            policy.entity_rows["thing"].text.as_str(),
            policy.masks.values().next().unwrap().text.as_str()
        ),
        ("a = 1", "NULL")
    );
    assert_eq!(policy.columns.values().next().unwrap().0.len(), 2);
    assert_eq!(
        (policy.when.as_ref(), policy.expires.as_ref(), policy.min_group.as_ref()),
        (None, None, None)
    );
    let conditional = &project.policies[1];
    assert_eq!(
        (
            conditional.roles.len(),
            conditional.when.as_ref().unwrap().text.as_str(),
            conditional.expires.as_ref().unwrap().0.to_string().as_str()
        ),
        (0, "principal.level > 2", "2026-12-31")
    );
    let group = conditional.min_group.as_ref().unwrap();
    assert_eq!((group.entity.as_str(), group.size), ("thing", 1_000));
    assert_eq!(
        project.entities["thing"]
            .attributes
            .iter()
            .map(|a| (a.name.as_str(), a.expr.text.as_str()))
            .collect::<Vec<_>>(),
        [("x", "a + 1"), ("y", "b")]
    );
    assert_eq!(project.tables.values().next().unwrap().columns["s"].values.len(), 2);
}

#[test]
fn sql_stands_where_its_place_says() {
    let text = format!(
        "{HEAD}sources: {{ s: {{ connector: mysql, url: \"${{env:URL}}\" }} }}\npolicies:\n  p:\n    roles: [r]\n    tables: [s.t]\n    rows: {{ s.t: 'a = 1' }}\n    masks:\n      s.t.a: \"concat(a, 'x')\"\n      s.t.b: a + 1  # why\n      s.t.c: |\n        a +\n        2\n"
    );
    let (project, _) = check(&[("caliber.yaml", &text)], &[]);
    let policy = &project.unwrap().policies[0];
    for (sql, expected) in policy.table_rows.values().chain(policy.masks.values()).zip([
        "a = 1",
        "concat(a, 'x')",
        "a + 1",
        "a +\n        2",
    ]) {
        assert_eq!(&sql.place.source.text[sql.place.range.clone()], expected);
    }
    let masks: Vec<_> = policy.masks.values().collect();
    let part = |place: Place| place.source.text[place.range].to_string();
    assert_eq!(part(masks[0].place_of(7..8)), "a");
    assert_eq!(
        part(masks[2].place_of(0..1)),
        "a +\n        2",
        "YAML took the indentation away"
    );
}

#[test]
fn secrets_in_files_are_warned_of_and_covered() {
    let text = format!(
        "{HEAD}sources:\n  a: {{ connector: mysql, url: \"mysql://u:{SECRET}@h/d\" }} # {SECRET}\n  b: {{ connector: mysql, url: \"mysql://u:${{env:PW}}@h/d\" }}\n  c: {{ connector: mysql, url: mysql://h/d }}\n\
         \x20 d: {{ connector: mysql, url: \"host=h password={SECRET}\" }}\n"
    );
    let (_, rendered) = check(
        &[("caliber.yaml", &text)],
        &["warning PRJ018 caliber.yaml:4:32", "warning PRJ018 caliber.yaml:7:32"],
    );
    assert!(
        rendered.contains("4 |   a: { connector: mysql, url: \"*********************\" }\n"),
        "{rendered}"
    );
}

#[test]
fn files_outside_and_hidden_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("outside.yaml", "users: {}\n");
    write("project/caliber.yaml", HEAD);
    write("project/.git/x.yaml", "nonsense: 1\n");
    write("project/old.yml", "nonsense: 1\n");
    std::os::unix::fs::symlink("../outside.yaml", folder.path().join("project/link.yaml")).unwrap();
    std::os::unix::fs::symlink("caliber.yaml", folder.path().join("project/same.yaml")).unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("project/up")).unwrap();
    let Err(findings) = load(&folder.path().join("project"), &Variables(BTreeMap::new()), &KINDS) else {
        panic!("loaded")
    };
    let briefs: Vec<String> = findings.iter().map(brief).collect();
    assert_eq!(briefs, ["warning PRJ001", "warning PRJ001", "PRJ001 link.yaml:1:1"]);
}

#[test]
fn the_hash_is_of_meaning() {
    let hash = |text: &str| check(&[("caliber.yaml", text)], &[]).0.unwrap().hash;
    let one = hash("version: 1\nname: bank\nserver: { limits: { memory: 1GiB } }\n");
    assert_eq!(
        one,
        hash("# remark\nname: 'bank'\nversion: 1\nserver:\n  limits:\n    memory: 1024MiB\n")
    );
    assert_ne!(
        one,
        hash("version: 1\nname: bank\nserver: { limits: { memory: 2GiB } }\n")
    );
    assert_eq!(one.len(), 64);
}

/// Every key of `node`'s mappings is one that the schema allows there.
fn keys_in_schema(node: &node::Node, schema: &serde_json::Value, seen: &mut usize) {
    let alternatives: Vec<&serde_json::Value> = match schema
        .get("anyOf")
        .or(schema.get("oneOf"))
        .and_then(|any| any.as_array())
    {
        Some(any) => any.iter().collect(),
        None => vec![schema],
    };
    let node::Kind::Mapping(entries) = &node.kind else {
        return;
    };
    for node::Entry { key, value } in entries {
        let of =
            |schema: &&serde_json::Value| match schema.pointer("/properties").and_then(|known| known.get(&key.text)) {
                Some(known) => Some(known.clone()),
                None => schema
                    .get("additionalProperties")
                    .filter(|more| more.is_object())
                    .cloned(),
            };
        // Sources are told apart by their connector, so a key may stand in any of the alternatives.
        let found: Vec<serde_json::Value> = alternatives.iter().filter_map(of).collect();
        assert!(!found.is_empty(), "`{}` is not in the schema", key.text);
        *seen += 1;
        found
            .iter()
            .take(1)
            .for_each(|schema| keys_in_schema(value, schema, seen));
    }
}

/// Where the bank's project is, if it is there: beside the checkout that cargo tests, which need not be the one that
/// this was built from.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a test this way where its package is"
)]
pub(crate) fn bank_project() -> PathBuf {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    PathBuf::from(package).join("../../shared/bank/project")
}

#[test]
fn the_schema_knows_every_key_of_a_whole_project() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema(&KINDS)).unwrap();
    assert_eq!(schema.pointer("/properties/version/const"), Some(&1.into()));
    assert!(schema.pointer("/properties/metrics").is_some());
    assert!(schema.pointer("/properties/tags").is_some());
    assert!(schema.pointer("/properties/auth/properties/jwt").is_none());
    let bank = bank_project();
    if !bank.exists() {
        println!("skipped: {} is not there", bank.display());
        return;
    }
    let mut findings = Findings::default();
    let mut seen = 0;
    for text in files::read(&bank.canonicalize().unwrap(), &mut findings) {
        keys_in_schema(&yaml::parse(&text, &mut findings).unwrap(), &schema, &mut seen);
    }
    assert!(seen > 100, "{seen} keys");
}
