//! What policies open, over the bank's own project and over small ones.

mod random;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;

use super::*;
use crate::date::Date;
use crate::diagnostic::{Severity, render};
use crate::grant::{KeyStep, PolicyGrant, RowFilter, SqlText};
use crate::load::load;
use crate::load::tests::{KINDS, Variables, bank_project};
use crate::principal::Principal;
use crate::source_schema::{ForeignKey, RemoteColumn};

/// A table: `name: column column*` with `*` for text, the first column the key.
fn table(text: &str, foreign: &[(&str, &str, &str)]) -> RemoteTable {
    let (name, columns) = text.split_once(": ").unwrap();
    let columns: Vec<RemoteColumn> = columns
        .split(' ')
        .map(|column| RemoteColumn {
            name: column.trim_end_matches('*').into(),
            data_type: if column.ends_with('*') {
                DataType::Utf8
            } else {
                DataType::Int64
            },
            nullable: false,
            native_type: if column.ends_with('*') {
                "text".into()
            } else {
                "integer".into()
            },
            comment: None,
            comparable: true,
            distinct_estimate: None,
        })
        .collect();
    RemoteTable {
        name: name.into(),
        namespace: None,
        is_view: false,
        primary_key: vec![columns[0].name.clone()],
        columns,
        unique_keys: Vec::new(),
        foreign_keys: foreign
            .iter()
            .map(|(column, target, key)| ForeignKey {
                columns: vec![(*column).into()],
                target: (*target).into(),
                target_columns: vec![(*key).into()],
            })
            .collect(),
        comment: None,
        rows_estimate: None,
    }
}

type Schemas = BTreeMap<String, Arc<SourceSchema>>;

fn schemas(of: Vec<(&str, Vec<RemoteTable>)>) -> Schemas {
    of.into_iter()
        .map(|(name, tables)| {
            (
                name.to_string(),
                Arc::new(SourceSchema {
                    tables,
                    notices: Vec::new(),
                }),
            )
        })
        .collect()
}

/// The three departments as their dumps declare them.
fn bank_schemas() -> Schemas {
    let district = "district: A1 A2* A3* A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16";
    schemas(vec![
        (
            "accounting",
            vec![
                table(
                    "account: account_id district_id frequency* date*",
                    &[("district_id", "district", "A1")],
                ),
                table(
                    "client: client_id birth_number* district_id",
                    &[("district_id", "district", "A1")],
                ),
                table(
                    "disp: disp_id client_id account_id type*",
                    &[
                        ("client_id", "client", "client_id"),
                        ("account_id", "account", "account_id"),
                    ],
                ),
                table(district, &[]),
            ],
        ),
        (
            "credit",
            vec![
                table("card: card_id disp_id type* issued*", &[]),
                table("loan: loan_id account_id date* amount duration payments status*", &[]),
            ],
        ),
        (
            "settlement",
            vec![
                table("order: order_id account_id bank_to* account_to* amount k_symbol*", &[]),
                table(
                    "trans: trans_id account_id date* type* operation* amount balance k_symbol* bank* account*",
                    &[],
                ),
            ],
        ),
    ])
}

/// The bank's project, unless it is not beside the checkout.
fn bank() -> Option<Arc<Project>> {
    let folder = bank_project();
    if !folder.exists() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    let url = |scheme: &str| format!("{scheme}://u:p@127.0.0.1/x");
    let variables = [
        ("SETTLEMENT_URL", url("postgres")),
        ("CREDIT_URL", url("mysql")),
        ("ACCOUNTING_DB", "/tmp/accounting.db".into()),
    ];
    let loaded = load(&folder, &Variables(BTreeMap::from(variables)), &KINDS);
    let (project, warnings) =
        loaded.unwrap_or_else(|findings| panic!("{}", findings.iter().map(render).collect::<String>()));
    assert_eq!(warnings, []);
    Some(Arc::new(project))
}

/// A path in one line: `account_id = accounting.disp.account_id where type = 'OWNER', …`.
/// Where conditions never hold.
fn standing(snapshot: &CatalogSnapshot, principal: Principal) -> Standing {
    Standing::new(&snapshot.project, principal, day("2026-11-22"), |_, _| false)
}

fn day(text: &str) -> Date {
    Date::parse(text).unwrap()
}

fn in_words(path: &[KeyStep]) -> String {
    let step = |step: &KeyStep| {
        let condition = step
            .condition
            .as_ref()
            .map(|sql| format!(" where {}", sql.text))
            .unwrap_or_default();
        format!("{} = {}.{}{condition}", step.column, step.table, step.key)
    };
    path.iter().map(step).collect::<Vec<_>>().join(", ")
}

fn name(text: &str) -> TableName {
    let (schema, table) = text.split_once('.').unwrap();
    TableName::new(schema, table)
}

fn only(grant: Option<TableGrant>) -> PolicyGrant {
    let mut policies = grant.unwrap().policies;
    assert_eq!(policies.len(), 1);
    policies.remove(0)
}

#[test]
fn the_banks_branch_sees_every_department_through_its_customers() {
    let Some(project) = bank() else { return };
    let (snapshot, findings) = CatalogSnapshot::resolve(project.clone(), bank_schemas());
    assert_eq!(findings, []);
    let petr = standing(&snapshot, project.users["petr"].principal());
    let held = "account_id = accounting.disp.account_id where type = 'OWNER', client_id = accounting.client.client_id";
    for (table, path) in [
        ("accounting.account", held),
        ("accounting.client", ""),
        ("accounting.disp", "client_id = accounting.client.client_id"),
        (
            "credit.card",
            "disp_id = accounting.disp.disp_id, client_id = accounting.client.client_id",
        ),
        ("credit.loan", held),
        ("settlement.order", held),
        ("settlement.trans", held),
    ] {
        let grant = only(snapshot.decide(&petr, &name(table)));
        let [RowFilter::Entity(filter)] = grant.rows.as_slice() else {
            panic!("{table}: {:?}", grant.rows)
        };
        assert_eq!(in_words(&filter.path), path, "{table}");
        assert_eq!(
            (filter.entity.as_str(), filter.entity_key.as_str()),
            ("customer", "client_id")
        );
        assert_eq!(
            (filter.entity_table.to_string().as_str(), filter.predicate.text.as_str()),
            ("accounting.client", "district_id = principal.district_id")
        );
    }
    assert_eq!(only(snapshot.decide(&petr, &name("accounting.district"))).rows, []);
    assert_eq!(
        only(snapshot.decide(&petr, &name("accounting.client"))).masks["birth_number"].text,
        "NULL"
    );
    assert_eq!(snapshot.tables(&petr).len(), 8);
    assert!(snapshot.decide_view(&petr, &name("unified.customer_360")).is_some());
    assert_eq!(
        snapshot.references(&name("accounting.client"))["district_id"].to_string(),
        "accounting.district.A1"
    );
}

#[test]
fn the_banks_other_users_see_what_their_roles_open() {
    let Some(project) = bank() else { return };
    let (snapshot, _) = CatalogSnapshot::resolve(project.clone(), bank_schemas());
    let of = |user: &str| project.users[user].principal();
    let loan = snapshot
        .decide(&standing(&snapshot, of("karl")), &name("credit.loan"))
        .unwrap();
    assert_eq!(loan.columns, ["loan_id", "account_id", "date", "amount", "status"]);
    assert_eq!(snapshot.tables(&standing(&snapshot, of("karl"))), [name("credit.loan")]);
    assert!(
        snapshot
            .decide_view(&standing(&snapshot, of("karl")), &name("unified.customer_360"))
            .is_none()
    );
    assert_eq!(snapshot.tables(&standing(&snapshot, of("nobody"))), []);
    assert!(
        snapshot
            .decide_view(&standing(&snapshot, of("nobody")), &name("unified.customer_360"))
            .is_none()
    );
    let anna = only(snapshot.decide(&standing(&snapshot, of("anna")), &name("accounting.client")));
    assert_eq!(
        (anna.rows.len(), anna.masks.into_keys().collect::<Vec<_>>()),
        (0, vec!["birth_number".to_string()])
    );
    assert_eq!(
        only(snapshot.decide(&standing(&snapshot, of("olga")), &name("accounting.client"))).masks,
        BTreeMap::new()
    );
    assert!(
        ["anna", "olga", "petr", "karl", "nobody"]
            .iter()
            .all(|user| !snapshot.is_admin(&standing(&snapshot, of(user))))
    );
    assert_eq!(
        snapshot.decide(&standing(&snapshot, of("olga")), &name("caliber.audit")),
        None
    );
    assert_eq!(
        snapshot.decide(&standing(&snapshot, of("olga")), &name("credit.Loan")),
        None
    );
}

#[test]
fn a_policy_applies_by_role_condition_and_day() {
    let model = "policies:\n  role: { roles: [r], tables: [s.log] }\n  condition: { when: principal.level > 2, tables: [s.log] }\n  \
        both: { roles: [r], when: principal.level > 2, tables: [s.log] }\n  short: { roles: [r], expires: 2026-11-22, tables: [s.log] }\n  \
        none: { roles: [], tables: [s.log] }\n";
    let (snapshot, _) = CatalogSnapshot::resolve(project(model), schemas(vec![("s", small())]));
    let opens = |roles: &[&str], today: &str, level: bool| {
        let holds = |_: &Principal, when: &SqlText| level && when.text == "principal.level > 2";
        let standing = Standing::new(&snapshot.project, principal(roles), day(today), holds);
        let grant = snapshot.decide(&standing, &name("s.log"));
        let policies = grant.map(|grant| grant.policies).unwrap_or_default();
        policies
            .into_iter()
            .map(|policy| policy.policy)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(opens(&["r"], "2026-11-22", true), "role condition both short");
    assert_eq!(opens(&["r"], "2026-11-23", true), "role condition both");
    assert_eq!(opens(&["r"], "2026-11-22", false), "role short");
    assert_eq!(opens(&["other"], "2026-11-22", true), "condition");
    assert_eq!(opens(&["other"], "2026-11-22", false), "");
}

#[test]
fn an_unreachable_source_takes_only_its_own_tables() {
    let Some(project) = bank() else { return };
    let mut schemas = bank_schemas();
    schemas.remove("accounting");
    let (snapshot, findings) = CatalogSnapshot::resolve(project.clone(), schemas);
    assert_eq!(findings, []);
    let petr = standing(&snapshot, project.users["petr"].principal());
    assert_eq!(snapshot.tables(&petr).len(), 4);
    let grant = only(snapshot.decide(&petr, &name("credit.loan")));
    let [RowFilter::Entity(filter)] = grant.rows.as_slice() else {
        panic!("{:?}", grant.rows)
    };
    assert_eq!(filter.path.len(), 2, "what the project declares still leads there");
}

#[test]
fn the_version_names_project_and_schemas() {
    let Some(project) = bank() else { return };
    let version = |schemas: Schemas| CatalogSnapshot::resolve(project.clone(), schemas).0.version;
    let change = |change: &dyn Fn(&mut RemoteTable)| {
        let mut schemas = bank_schemas();
        let schema = Arc::make_mut(schemas.get_mut("credit").unwrap());
        change(&mut schema.tables[0]);
        version(schemas)
    };
    assert_eq!(version(bank_schemas()), version(bank_schemas()));
    assert_eq!(version(bank_schemas()), change(&|table| table.rows_estimate = Some(5)));
    assert_ne!(
        version(bank_schemas()),
        change(&|table| table.columns[1].nullable = true)
    );
    assert_ne!(
        version(bank_schemas()),
        change(&|table| table.columns[1].data_type = DataType::Int32)
    );
}

/// A project over one SQLite source `s`, with `model` below its head.
fn project(model: &str) -> Arc<Project> {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("version: 1\nname: t\nsources: {{ s: {{ connector: sqlite, path: x }} }}\n{model}");
    std::fs::write(folder.path().join("caliber.yaml"), text).unwrap();
    let loaded = load(folder.path(), &Variables(BTreeMap::new()), &KINDS);
    Arc::new(
        loaded
            .unwrap_or_else(|findings| panic!("{}", findings.iter().map(render).collect::<String>()))
            .0,
    )
}

fn principal(roles: &[&str]) -> Principal {
    Principal {
        name: "p".into(),
        roles: roles.iter().map(|role| (*role).to_string()).collect(),
        attributes: BTreeMap::new(),
    }
}

/// Resolves `model` over the tables and compares findings: `CODE line message`.
fn check(model: &str, tables: Vec<RemoteTable>, expected: &[&str]) -> CatalogSnapshot {
    let (snapshot, findings) = CatalogSnapshot::resolve(project(model), schemas(vec![("s", tables)]));
    let brief: Vec<String> = findings
        .iter()
        .map(|finding| {
            assert!(finding.help.is_some());
            let warning = if finding.severity == Severity::Warning {
                "warning "
            } else {
                ""
            };
            let label = finding
                .label
                .as_ref()
                .map(|label| format!(" | {label}"))
                .unwrap_or_default();
            format!(
                "{warning}{} {} {}{label}",
                finding.code.as_str(),
                finding.place.as_ref().unwrap().line_column().0,
                finding.message
            )
        })
        .collect();
    assert_eq!(brief, expected, "\n{}", findings.iter().map(render).collect::<String>());
    snapshot
}

/// Customers, their accounts, payments of accounts.
fn small() -> Vec<RemoteTable> {
    vec![
        table("account: id owner* branch", &[]),
        table("customer: id region", &[]),
        table(
            "holder: id customer account",
            &[("customer", "customer", "id"), ("account", "account", "id")],
        ),
        table("log: id said*", &[]),
        table(
            "payment: id from_account to_account",
            &[("from_account", "account", "id")],
        ),
        table("region: id name*", &[]),
    ]
}

const POLICY: &str = "policies: { p: { roles: [r], tables: ['s.*'], rows: { customer: region = 1 } } }\n";
const ENTITY: &str = "entities: { customer: { table: s.customer, key: id, holdings: { s.account: { bridge: s.holder, rule: equal_share } } } }\n";

fn path(snapshot: &CatalogSnapshot, table: &str) -> Option<String> {
    let grant = snapshot.decide(&standing(snapshot, principal(&["r"])), &name(table))?;
    match only(Some(grant)).rows.as_slice() {
        [] => Some("open".into()),
        [RowFilter::Entity(filter)] => Some(in_words(&filter.path)),
        rows => panic!("{rows:?}"),
    }
}

#[test]
fn a_table_is_filtered_open_or_absent() {
    let model = format!("tables: {{ s.customer: {{ references: {{ region: s.region.id }} }} }}\n{ENTITY}{POLICY}");
    let snapshot = check(
        &model,
        small(),
        &["warning PRJ016 6 `s.log` does not exist under this policy: nothing ties its rows to `customer`"],
    );
    assert_eq!(path(&snapshot, "s.region").as_deref(), Some("open"));
    assert_eq!(path(&snapshot, "s.log"), None);
    assert_eq!(
        path(&snapshot, "s.payment").as_deref(),
        Some("from_account = s.holder.account, customer = s.customer.id")
    );
    assert_eq!(path(&snapshot, "s.holder").as_deref(), Some("customer = s.customer.id"));
    assert_eq!(path(&snapshot, "s.customer").as_deref(), Some(""));
}

#[test]
fn a_bridge_keyed_by_another_column_is_not_a_shortcut() {
    let model = format!(
        "tables:\n  s.account: {{ key: branch }}\n  s.payment: {{ references: {{ from_account: s.account.branch }} }}\n{ENTITY}policies: {{ p: {{ roles: [r], tables: [s.payment], rows: {{ customer: region = 1 }} }} }}\n"
    );
    let snapshot = check(&model, small(), &[]);
    assert_eq!(
        path(&snapshot, "s.payment").as_deref(),
        Some("from_account = s.account.branch, id = s.holder.account, customer = s.customer.id")
    );
}

#[test]
fn two_chains_of_one_length_are_an_error_and_closed() {
    let both = "tables: { s.payment: { references: { from_account: s.account.id, to_account: s.account.id } } }\n";
    let policy = "policies: { p: { roles: [r], tables: ['s.p*'], rows: { customer: region = 1 } } }\n";
    let ways = "PRJ012 6 two chains of one length lead from `s.payment` to `customer` | `s.payment.from_account` → `s.account.id`, or `s.payment.to_account` → `s.account.id`";
    let snapshot = check(&format!("{both}{ENTITY}{policy}"), small(), &[ways]);
    assert_eq!(path(&snapshot, "s.payment"), None);
    // The foreign keys of a source are found, not chosen: one declared reference decides between them.
    let mut tables = small();
    tables[4] = table(
        "payment: id from_account to_account",
        &[("from_account", "account", "id"), ("to_account", "account", "id")],
    );
    let declared = "tables: { s.payment: { references: { to_account: s.account.id } } }\n";
    let snapshot = check(&format!("{declared}{ENTITY}{policy}"), tables, &[]);
    assert_eq!(
        path(&snapshot, "s.payment").as_deref(),
        Some("to_account = s.holder.account, customer = s.customer.id")
    );
}

#[test]
fn names_that_sources_do_not_have_are_found_all_at_once() {
    let model = "tables:\n  s.acount: { key: id }\n  s.account: { key: idd, columns: { brunch: {} }, references: { owner: s.customer.id, branch: s.region.nam } }\n  s.payment: { references: { to_account: s.account.branch } }\n\
        entities:\n  customer: { table: s.customer, key: regoin, time: born, holdings: { s.account: { bridge: s.log, rule: equal_share } } }\n\
        policies:\n  p:\n    roles: [r]\n    tables: [s.logs, s.log, unified.customer_361, 's.x*', 's.*nt']\n    columns: { s.log: [id, sad], s.lok: [id] }\n    rows: { s.region: a = 1 }\n    masks: { s.log.said: 'NULL', s.log.sayd: 'NULL' }\n";
    check(
        model,
        small(),
        &[
            "PRJ010 5 no table `s.acount` | did you mean `s.account`?",
            "PRJ010 6 no column `idd` in `s.account` | did you mean `id`?",
            "PRJ010 6 no column `brunch` in `s.account` | did you mean `branch`?",
            "PRJ015 6 `owner` is text and `s.customer.id` is integer",
            "PRJ010 6 no column `nam` in `s.region` | did you mean `name`?",
            "warning PRJ015 7 `s.account.branch` is not known to be a key",
            "PRJ010 9 no column `regoin` in `s.customer` | did you mean `region`?",
            "PRJ010 9 no column `born` in `s.customer`",
            "PRJ010 9 the bridge `s.log` does not reference `s.account`",
            "PRJ010 13 no table `s.logs` | did you mean `s.log`?",
            "PRJ010 13 no view `unified.customer_361` | did you mean `unified.customer_360`?",
            "warning PRJ010 13 `s.x*` matches no table",
            "PRJ013 14 no column `sad` in `s.log` | did you mean `said`?",
            "warning PRJ013 14 `s.lok` is not among the tables of this policy",
            "PRJ013 14 no table `s.lok` | did you mean `s.log`?",
            "warning PRJ013 15 `s.region` is not among the tables of this policy",
            "PRJ013 16 no column `sayd` in `s.log` | did you mean `said`?",
        ],
    );
}
