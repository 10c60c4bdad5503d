//! Broken projects: every finding has its code, place and fix, and none prints a secret.

use super::*;

#[test]
fn unknown_keys_and_connectors_suggest() {
    let text = format!(
        "{HEAD}sources:\n  a: {{ connector: postgers, url: {SECRET} }}\n  b: {{ connector: sqlite, path: b, pasword: {SECRET} }}\n  c: {{ path: x }}\nserver:\n  flihgt: {{ listen: {SECRET} }}\n"
    );
    let (_, rendered) = check(
        &[("caliber.yaml", &text)],
        &[
            "PRJ008 caliber.yaml:4:19 did you mean `postgres`?",
            "PRJ003 caliber.yaml:5:36",
            "PRJ005 caliber.yaml:6:3",
            "PRJ003 caliber.yaml:8:3 did you mean `flight`?",
        ],
    );
    assert!(
        rendered.contains("4 |   a: { connector: postgers, url: ******* }"),
        "{rendered}"
    );
    assert!(
        rendered.contains("the connectors are postgres, mysql, sqlite, files"),
        "{rendered}"
    );
}

#[test]
fn missing_variables_and_files_have_places() {
    let text = format!(
        "{HEAD}sources:\n  a:\n    connector: postgres\n    url: \"postgres://u:${{env:GONE}}@h/${{file:no/such}}\"\n  b: {{ connector: sqlite, path: \"${{evn:X}}\" }}\n"
    );
    let (_, rendered) = check(
        &[("caliber.yaml", &text)],
        &[
            "PRJ007 caliber.yaml:6:24",
            "PRJ007 caliber.yaml:6:38",
            "PRJ004 caliber.yaml:7:34",
        ],
    );
    assert!(
        rendered.contains("6 |     url: \"*************${env:GONE}***${file:no/such}\""),
        "{rendered}"
    );
}

#[test]
fn a_name_defined_twice_shows_both_places() {
    let other = "users:\n  eva: { password: x }\nname: other\n";
    let main = format!("{HEAD}users:\n  eva: {{ password: \"{HASH}\" }}\n  eva: {{ password: \"{HASH}\" }}\n");
    let (_, rendered) = check(
        &[("caliber.yaml", &main), ("m/u.yaml", other)],
        &[
            "PRJ006 caliber.yaml:5:3 defined again here",
            "PRJ006 m/u.yaml:2:3 defined again here",
            "PRJ004 m/u.yaml:2:20 not shown",
            "PRJ006 m/u.yaml:3:1 defined again here",
        ],
    );
    assert!(rendered.contains("::: caliber.yaml:4:3"), "{rendered}");
}

#[test]
fn bad_references_within_the_project() {
    let text = format!(
        "{HEAD}auth: {{ users: user.yaml }}\nsources: {{ credit: {{ connector: mysql, url: \"${{env:URL}}\" }} }}\n\
         tables:\n  credti.loan: {{ references: {{ a: accounting.x.y, b: credit.loan }} }}\n\
         entities:\n  customer: {{ table: nowhere.t, key: id, attributes: {{ ID: x }}, holdings: {{ credit.a: {{ bridge: c.b, rule: half }} }} }}\n\
         policies:\n  p:\n    roles: [r]\n    tables: [credit.*, credits.loan, caliber.audit]\n    rows: {{ costumer: a = 1 }}\n    masks: {{ unified.customer_361.x: NULL, credit.loan: NULL }}\n    columns: {{ unified.customer: [id], unified.customer_360: [id] }}\n\
         users:\n  u: {{ password: \"{HASH}\", roles: [rr] }}\n"
    );
    check(
        &[("caliber.yaml", &text), ("users.yaml", "users: {}\n")],
        &[
            "PRJ010 caliber.yaml:3:16 did you mean `users.yaml`?",
            "PRJ010 caliber.yaml:6:3 did you mean `credit.loan`?",
            "PRJ010 caliber.yaml:6:35",
            "PRJ004 caliber.yaml:6:54",
            "PRJ010 caliber.yaml:8:22",
            "PRJ006 caliber.yaml:8:56",
            "PRJ010 caliber.yaml:8:97",
            "PRJ004 caliber.yaml:8:108",
            "PRJ010 caliber.yaml:12:24 did you mean `credit.loan`?",
            "PRJ010 caliber.yaml:12:38",
            "PRJ010 caliber.yaml:13:13 did you mean `customer`?",
            "PRJ010 caliber.yaml:14:14 did you mean `unified.customer_360`?",
            "PRJ004 caliber.yaml:14:44",
            "PRJ010 caliber.yaml:15:16",
            "warning PRJ010 caliber.yaml:17:127 did you mean `r`?",
        ],
    );
}

#[test]
fn a_policys_conditions_are_whole_or_refused() {
    let text = format!(
        "{HEAD}entities: {{ customer: {{ table: s.t, key: id }} }}\nsources: {{ s: {{ connector: mysql, url: \"${{env:URL}}\" }} }}\npolicies:\n\
         \x20 a: {{ tables: [s.t] }}\n\
         \x20 b: {{ roles: [], when: principal.x }}\n\
         \x20 c: {{ roles: [r], when: }}\n\
         \x20 d: {{ roles: [r], expires: 2026-02-29 }}\n\
         \x20 e: {{ roles: [r], expires: tomorrow }}\n\
         \x20 f: {{ roles: [r], min_group: {{ costumer: 10 }} }}\n\
         \x20 g: {{ roles: [r], min_group: {{ customer: 1 }} }}\n\
         \x20 h: {{ roles: [r], min_group: {{ customer: 1000001 }} }}\n\
         \x20 i: {{ roles: [r], min_group: {{ customer: 10.5 }} }}\n\
         \x20 j: {{ roles: [r], min_group: {{}} }}\n\
         \x20 k: {{ roles: [r], min_group: 10 }}\n\
         \x20 l: {{ roles: [r], min_group: {{ customer: 10, customers: 10 }} }}\n\
         \x20 m: {{ when: [a] }}\n"
    );
    check(
        &[("caliber.yaml", &text)],
        &[
            "PRJ005 caliber.yaml:6:3",
            "PRJ004 caliber.yaml:7:3",
            "PRJ004 caliber.yaml:8:24",
            "PRJ004 caliber.yaml:9:29",
            "PRJ004 caliber.yaml:10:29",
            "PRJ010 caliber.yaml:11:33 did you mean `customer`?",
            "PRJ004 caliber.yaml:12:43",
            "PRJ004 caliber.yaml:13:43",
            "PRJ004 caliber.yaml:14:43",
            "PRJ004 caliber.yaml:15:3",
            "PRJ004 caliber.yaml:16:31",
            "PRJ010 caliber.yaml:17:47 did you mean `customer`?",
            "PRJ004 caliber.yaml:17:47",
            "PRJ004 caliber.yaml:18:14",
        ],
    );
}

#[test]
fn policies_for_nobody_and_masks_that_differ_are_warned_of() {
    let text = format!(
        "{HEAD}sources: {{ s: {{ connector: mysql, url: \"${{env:URL}}\" }} }}\npolicies:\n\
         \x20 a: {{ roles: [r, q], masks: {{ s.t.x: NULL, s.t.y: NULL }} }}\n\
         \x20 b: {{ roles: [p, q], masks: {{ s.t.x: \"'*'\", s.t.y: NULL }} }}\n\
         \x20 c: {{ roles: [p], masks: {{ s.t.x: NULL }} }}\n\
         \x20 d: {{ roles: [other], masks: {{ s.t.x: \"'-'\" }} }}\n\
         \x20 e: {{ when: principal.x, masks: {{ s.t.x: \"'-'\" }} }}\n\
         \x20 f: {{ roles: [] }}\n\
         users:\n  u: {{ password: \"{HASH}\", roles: [p, q] }}\n"
    );
    let (_, rendered) = check(
        &[("caliber.yaml", &text)],
        &[
            "warning PRJ020 caliber.yaml:6:32",
            "warning PRJ020 caliber.yaml:7:29",
            "warning PRJ019 caliber.yaml:8:3",
            "warning PRJ019 caliber.yaml:10:3",
        ],
    );
    assert!(rendered.contains("::: caliber.yaml:5:32"), "{rendered}");
}

#[test]
fn bad_yaml_says_where() {
    let (_, rendered) = check(
        &[("caliber.yaml", &format!("{HEAD}users:\n  eva: {{ password: {SECRET}\n"))],
        &["PRJ002 caliber.yaml:4:8"],
    );
    assert!(rendered.contains("4 |   eva: { ********: *******"), "{rendered}");
    check(
        &[("caliber.yaml", "version: 1\nname: a\nserver:\n\thttp: x\n")],
        &["PRJ002 caliber.yaml:4:1"],
    );
    check(
        &[
            ("caliber.yaml", HEAD),
            ("a.yaml", "- one\n- two\n"),
            ("b.yaml", "just text\n"),
        ],
        &["PRJ004 a.yaml:1:1", "PRJ004 b.yaml:1:1"],
    );
    check(
        &[("caliber.yaml", HEAD), ("a.yaml", "users: {}\n---\nusers: {}\n")],
        &["PRJ002 a.yaml:2:1"],
    );
    check(
        &[("caliber.yaml", HEAD), ("a.yaml", "users: !!map {}\n")],
        &["PRJ004 a.yaml:1:14"],
    );
    check(
        &[("caliber.yaml", HEAD), ("a.yaml", "? [a, b]\n: c\n")],
        &["PRJ004 a.yaml:1:3"],
    );
}

#[test]
fn binary_and_empty_files_are_named() {
    let text = |bytes: &'static [u8]| ("x/a.yaml", bytes);
    let main = ("caliber.yaml", HEAD.as_bytes());
    check_bytes(&[main, text(b"a: \0b\n")], &["PRJ002 x/a.yaml:1:1"]);
    check_bytes(&[main, text(b"a: \xff\xfe\n")], &["PRJ002 x/a.yaml:1:1"]);
    check_bytes(&[main, text(b"\xff\xfea\0")], &["PRJ002 x/a.yaml:1:1"]);
    for empty in ["", "\n\n", "# only a remark\n", "---\n"] {
        check_bytes(
            &[main, ("x/a.yaml", empty.as_bytes())],
            &["PRJ002 x/a.yaml:1:1 nothing is written here"],
        );
    }
    check_bytes(
        &[("caliber.yaml", b"")],
        &["PRJ002 caliber.yaml:1:1 nothing is written here"],
    );
    check_bytes(
        &[("caliber.yaml", b"server: {}\n")],
        &["PRJ005 caliber.yaml:1:1", "PRJ005 caliber.yaml:1:1"],
    );
    check_bytes(&[("other.yaml", HEAD.as_bytes())], &["PRJ001"]);
    check_bytes(&[("caliber.yaml", b"\xef\xbb\xbfversion: 1\nname: bank\n")], &[]);
}

#[test]
fn bombs_are_refused() {
    let mut bomb = String::from("users: {}\na0: &a0 [x, x]\n");
    for level in 1..30 {
        bomb.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1));
    }
    check(
        &[("caliber.yaml", HEAD), ("bomb.yaml", &bomb)],
        &["PRJ009 bomb.yaml:3:10"],
    );
    check(
        &[
            ("caliber.yaml", HEAD),
            ("deep.yaml", &format!("a: {}{}\n", "[".repeat(1000), "]".repeat(1000))),
        ],
        &["PRJ009 deep.yaml:1:68"],
    );
    let block: String = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    check(
        &[("caliber.yaml", HEAD), ("deep.yaml", &block)],
        &["PRJ009 deep.yaml:65:65"],
    );
    let wide = format!("users: [{}]\n", "1,".repeat(200_001));
    check(
        &[("caliber.yaml", HEAD), ("wide.yaml", &wide)],
        &["PRJ009 wide.yaml:1:400007"],
    );
    let large = format!("# {}\n", "x".repeat(4 << 20));
    check(
        &[("caliber.yaml", HEAD), ("large.yaml", &large)],
        &["PRJ009 large.yaml:1:1"],
    );
    let many: String = (0..2000).map(|key| format!("k{key}: 1\n")).collect();
    let Err(findings) = load_bytes(&[("caliber.yaml", HEAD.as_bytes()), ("many.yaml", many.as_bytes())]) else {
        panic!("not refused")
    };
    assert_eq!(
        (findings.len(), findings.last().unwrap().message.as_str()),
        (501, "1500 more findings are not shown")
    );
}

#[test]
fn what_a_later_version_brings_is_refused_by_name() {
    let text =
        format!("{HEAD}auth: {{ jwt: {{ issuer: x }} }}\nentities: {{ c: {{ table: s.t, key: id, identity: x }} }}\n");
    let (_, rendered) = check(
        &[("caliber.yaml", &text)],
        &[
            "PRJ017 caliber.yaml:3:9",
            "PRJ010 caliber.yaml:4:25",
            "PRJ004 caliber.yaml:4:49",
        ],
    );
    assert!(
        rendered.contains("`jwt` is not supported by this version"),
        "{rendered}"
    );
}

#[test]
fn mistakes_in_several_files_show_all_at_once() {
    let main = format!("{HEAD}sources:\n  a: {{ connector: postgers }}\n");
    check(
        &[
            ("caliber.yaml", &main),
            ("p.yaml", "policies:\n  p: { rols: [x], roles: [x] }\n"),
            ("u.yaml", "users:\n  u: { password: \"${env:GONE}\" }\n"),
        ],
        &[
            "PRJ008 caliber.yaml:4:19 did you mean `postgres`?",
            "PRJ003 p.yaml:2:8 did you mean `roles`?",
            "PRJ007 u.yaml:2:19",
        ],
    );
}

#[test]
fn wrong_values_say_what_to_write() {
    let text = "version: 2\nname: my bank\nserver: { limits: { query_timeout: 30, memory: lots, result_rows: -1 }, flight: { listen: here } }\nusers:\n  u: { password: , roles: r }\npolicies:\n  p: { roles: [r], tables: [loan], rows: , admin: maybe }\nsources:\n  unified: { connector: sqlite, path: x }\n  a-b: { connector: sqlite, path: x }\n  lite: { connector: sqlite, path: x }\n  Lite: { connector: sqlite, path: x }\n";
    check(
        &[("caliber.yaml", text)],
        &[
            "PRJ004 caliber.yaml:1:10",
            "PRJ004 caliber.yaml:2:7",
            "PRJ004 caliber.yaml:3:36",
            "PRJ004 caliber.yaml:3:48",
            "PRJ004 caliber.yaml:3:67",
            "PRJ004 caliber.yaml:3:91",
            "PRJ004 caliber.yaml:5:16",
            "PRJ004 caliber.yaml:5:27",
            "PRJ004 caliber.yaml:7:29",
            "PRJ004 caliber.yaml:7:40",
            "PRJ004 caliber.yaml:7:51",
            "PRJ004 caliber.yaml:9:3",
            "PRJ004 caliber.yaml:10:3",
            "PRJ006 caliber.yaml:12:3",
        ],
    );
}

#[test]
fn no_slip_of_one_character_prints_a_secret() {
    let text = format!(
        "{HEAD}sources:\n  a: {{ connector: mysql, url: \"mysql://u:{SECRET}@h/d\" }}\n  b:\n    connector: postgres\n    url: postgres://u:{SECRET}@h\n    schema: s\n\
         users:\n  eva: {{ password: {SECRET}, roles: [r] }}\n  ann:\n    password: '{SECRET}'\n    roles: [r]\n  tom:\n    password: |\n      {SECRET}\n"
    );
    let slips = [
        "", " ", ":", "\"", "'", ",", "{", "}", "[", "\n", "\t", "#", "x", "-", "\u{85}", "界", "$", "${",
    ];
    let mut wrong = 0;
    for (at, original) in text.char_indices() {
        // Each place takes every sixth slip, so that all slips meet all kinds of places.
        for slip in slips.iter().skip(at % 6).step_by(6) {
            let slipped = format!("{}{slip}{}", &text[..at], &text[at + original.len_utf8()..]);
            let Err(findings) = load_bytes(&[("caliber.yaml", slipped.as_bytes())]) else {
                continue;
            };
            wrong += 1;
            let rendered: String = findings.iter().map(render).collect();
            assert!(!rendered.contains(SECRET), "{slipped}\n{rendered}");
        }
    }
    assert!(wrong > 500, "{wrong} broken projects");
}

#[test]
fn an_identity_that_cannot_be_built() {
    let text = format!(
        "{HEAD}sources: {{ s: {{ connector: postgres, url: \"${{env:URL:-x}}\" }} }}\nentities:\n  c:\n    table: s.t\n    key: id\n    identity:\n      role: builder\n      \
         sources:\n        s.t: {{ key: id, fields: {{ nam: name }} }}\n      fields:\n        name: {{ normalise: [fold, date], compare: text }}\n        \
         phone: {{ normalise: phone, country: \"+44\" }}\n      exact: {{ number: nmae }}\n      review: 96\n"
    );
    let (_, rendered) = check(
        &[("caliber.yaml", &text)],
        &[
            "PRJ010 caliber.yaml:11:35 did you mean `name`?",
            "PRJ023 caliber.yaml:13:9",
            "PRJ023 caliber.yaml:14:9",
            "PRJ010 caliber.yaml:15:24 did you mean `name`?",
        ],
    );
    assert!(rendered.contains("add `formats`"), "{rendered}");
    let text = format!(
        "{HEAD}sources: {{ s: {{ connector: postgres, url: \"${{env:URL:-x}}\" }} }}\nentities:\n  c:\n    table: s.t\n    key: id\n    identity:\n      role: builder\n      \
         sources:\n        s.t: {{ key: id, fields: {{ name: name }} }}\n      fields:\n        name: {{ compare: text }}\n      review: 96\n"
    );
    check(
        &[("caliber.yaml", &text)],
        &["PRJ023 caliber.yaml:9:13", "PRJ023 caliber.yaml:9:13"],
    );
    let blocking = format!("{text}      blocking: [[\"first(name, 0)\"], name]\n");
    check(&[("caliber.yaml", &blocking)], &["PRJ004 caliber.yaml:15:20"]);
}
