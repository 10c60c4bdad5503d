//! `?` and `$n`.

use caliber_catalog::diagnostic::Code;

use super::{query, refusal};

fn check(sql: &str, parameters: usize, expected: &str) {
    let (_, counted, query) = query(sql);
    assert_eq!(counted, parameters, "{sql}");
    assert_eq!(query.to_string(), expected);
}

#[test]
fn question_marks_become_numbers_in_order() {
    check("SELECT ? + ?", 2, "SELECT $1 + $2");
    check("SELECT $2, $1, $2", 2, "SELECT $2, $1, $2");
    check("SELECT 1", 0, "SELECT 1");
    check("SELECT ?::INT", 1, "SELECT $1::INT");
    check(
        "SELECT 1 FROM t WHERE a=? AND b IN (?,?)",
        3,
        "SELECT 1 FROM t WHERE a = $1 AND b IN ($2, $3)",
    );
}

#[test]
fn text_names_and_comments_hold_no_parameters() {
    check("SELECT 'a?', \"b?\", ? -- ?\n", 1, "SELECT 'a?', \"b?\", $1");
    check("SELECT /* ? /* ? */ ? */ ?", 1, "SELECT $1");
    check("SELECT 'it''s $1?', ?", 1, "SELECT 'it''s $1?', $1");
    check("SELECT E'\\'?', ?", 1, "SELECT E'\\'?', $1");
    check("SELECT $$a ? b$$, $x$ ? $x$, ?", 1, "SELECT $$a ? b$$, $x$ ? $x$, $1");
    check("SELECT U&'?', X'3F', ?", 1, "SELECT U&'?', X'3F', $1");
}

#[test]
fn a_backslash_ends_no_text() {
    check("SELECT '\\', ?", 1, "SELECT '\\', $1");
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    assert_eq!(
        refusal("SELECT ?, $1", Code::SQL016),
        "`?` and `$1` are mixed in one statement | $1"
    );
    assert_eq!(
        refusal("SELECT $1, ?", Code::SQL016),
        "`?` and `$1` are mixed in one statement | $1"
    );
    assert_eq!(
        refusal("SELECT $1, $3", Code::SQL016),
        "parameter `$3` without `$2` | $3"
    );
    assert_eq!(refusal("SELECT $0", Code::SQL016), "`$0` is not a parameter | $0");
    assert_eq!(
        refusal("SELECT $name", Code::SQL016),
        "`$name` is not a parameter | $name"
    );
    assert_eq!(refusal("SELECT ?1", Code::SQL016), "`?1` is not a parameter | ?1");
    assert_eq!(
        refusal("SELECT '客户', $99999", Code::SQL016),
        "`$99999` is not a parameter | $99999"
    );
    refusal("SELECT :name", Code::SQL016);
}

#[test]
fn as_many_parameters_as_the_protocol_allows() {
    let many = |count: usize| format!("SELECT 1 IN ({})", vec!["?"; count].join(","));
    assert_eq!(query(&many(65_535)).1, 65_535);
    refusal(&many(65_536), Code::SQL016);
}
