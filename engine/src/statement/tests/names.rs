//! Names in a query become exact, among those that are visible.

use caliber_catalog::diagnostic::Code;

use super::super::{name_outputs, resolve_identifiers, written_names};
use super::{Bank, query};

fn check(sql: &str, expected: &str) {
    let (text, _, mut query) = query(sql);
    if let Err(error) = resolve_identifiers(&text, &mut query, &Bank) {
        panic!("{sql}: {error}");
    }
    assert_eq!(query.to_string(), expected);
}

/// The code, the message, the text at the place and the remark beside it.
fn refuse(sql: &str, code: Code, expected: &str) {
    let (text, _, mut query) = query(sql);
    let Err(error) = resolve_identifiers(&text, &mut query, &Bank) else {
        panic!("{sql}: {query}")
    };
    assert_eq!(error.code, code, "{sql}: {error}");
    let at = error.place.map(|place| sql[place.range].to_owned()).unwrap_or_default();
    assert_eq!(
        format!("{} | {at} | {}", error.message, error.label.unwrap_or_default()),
        expected
    );
}

#[test]
fn tables_are_found_by_one_two_and_three_parts() {
    check("SELECT 1 FROM loan", r#"SELECT 1 FROM "unified"."loan""#);
    check("SELECT 1 FROM credit.loan", r#"SELECT 1 FROM "credit"."loan""#);
    check("SELECT 1 FROM BANK.Credit.LOAN", r#"SELECT 1 FROM "credit"."loan""#);
    check(
        "SELECT 1 FROM settlement.trans2",
        r#"SELECT 1 FROM "settlement"."Trans2""#,
    );
    check(
        r#"SELECT 1 FROM accounting."order""#,
        r#"SELECT 1 FROM "accounting"."order""#,
    );
    check(
        "SELECT 1 FROM accounting.order",
        r#"SELECT 1 FROM "accounting"."order""#,
    );
}

#[test]
fn columns_are_found_with_and_without_case() {
    check(
        "SELECT A1, a2, \"A3\" FROM accounting.district",
        r#"SELECT "A1", "A2", "A3" FROM "accounting"."district""#,
    );
    check(
        "SELECT a1 FROM accounting.district d WHERE D.A2 = 'x'",
        r#"SELECT "A1" FROM "accounting"."district" "d" WHERE "d"."A2" = 'x'"#,
    );
    check(
        "SELECT a3, A3 FROM accounting.district",
        r#"SELECT "a3", "A3" FROM "accounting"."district""#,
    );
    check(
        "SELECT grösse, 客户 FROM accounting.order"
            .replace("grösse", "gröSSe")
            .replace("gröSSe", "GRÖßE")
            .as_str(),
        r#"SELECT "Größe", "客户" FROM "accounting"."order""#,
    );
    refuse(
        r#"SELECT "a1" FROM accounting.district"#,
        Code::SQL012,
        r#"column `a1` not found in `accounting.district` | "a1" | did you mean `A1`?"#,
    );
    refuse(
        "SELECT amont FROM credit.loan",
        Code::SQL012,
        "column `amont` not found in `credit.loan` | amont | did you mean `amount`?",
    );
    refuse(
        "SELECT l.amont FROM credit.loan l",
        Code::SQL012,
        "column `amont` not found in `l` | amont | did you mean `amount`?",
    );
    refuse(
        "SELECT x.amount FROM credit.loan l",
        Code::SQL012,
        "`x` is neither a table of this query nor a column | x | did you mean `l`?",
    );
}

#[test]
fn columns_are_qualified_by_table_schema_or_catalog() {
    let expected = r#"SELECT "settlement"."trans"."amount" FROM "settlement"."trans""#;
    check("SELECT trans.amount FROM settlement.trans", expected);
    check("SELECT SETTLEMENT.trans.AMOUNT FROM settlement.trans", expected);
    check("SELECT bank.settlement.trans.amount FROM settlement.trans", expected);
    check(
        "SELECT trans.* FROM settlement.trans",
        r#"SELECT "settlement"."trans".* FROM "settlement"."trans""#,
    );
    check(
        "SELECT T.* EXCLUDE (INFO) FROM settlement.trans AS t",
        r#"SELECT "t".* EXCLUDE ("info") FROM "settlement"."trans" AS "t""#,
    );
    check(
        "SELECT * EXCEPT (a1, A2) FROM accounting.district",
        r#"SELECT * EXCEPT ("A1", "A2") FROM "accounting"."district""#,
    );
    check(
        "SELECT * REPLACE (upper(a2) AS a2) FROM accounting.district",
        r#"SELECT * REPLACE (upper("A2") AS "A2") FROM "accounting"."district""#,
    );
}

#[test]
fn every_clause_is_walked() {
    check(
        "SELECT count(A1) AS n FROM accounting.district d JOIN accounting.client c USING (DISTRICT_ID)"
            .replace("USING (DISTRICT_ID)", "ON d.a1 = c.District_Id")
            .as_str(),
        r#"SELECT count("A1") AS "n" FROM "accounting"."district" "d" JOIN "accounting"."client" "c" ON "d"."A1" = "c"."district_id""#,
    );
    check(
        "SELECT 1 FROM credit.loan JOIN settlement.trans USING (ACCOUNT_ID)",
        r#"SELECT 1 FROM "credit"."loan" JOIN "settlement"."trans" USING("account_id")"#,
    );
    check(
        "SELECT A2, max(A1) FROM accounting.district WHERE a1 > 1 GROUP BY a2 HAVING max(a1) > 2 ORDER BY a2, max(a1)",
        r#"SELECT "A2", max("A1") FROM "accounting"."district" WHERE "A1" > 1 GROUP BY "A2" HAVING max("A1") > 2 ORDER BY "A2", max("A1")"#,
    );
    check(
        "SELECT rank() OVER (PARTITION BY a1 ORDER BY a2), sum(a1) OVER w FROM accounting.district WINDOW w AS (ORDER BY a1)",
        r#"SELECT rank() OVER (PARTITION BY "A1" ORDER BY "A2"), sum("A1") OVER w FROM "accounting"."district" WINDOW w AS (ORDER BY "A1")"#,
    );
    check(
        "SELECT CASE WHEN a1 IN (1, A1) THEN a2 END, CAST(a1 AS TEXT), a1 BETWEEN a1 AND a1, EXTRACT(YEAR FROM a2) FROM accounting.district",
        r#"SELECT CASE WHEN "A1" IN (1, "A1") THEN "A2" END, CAST("A1" AS TEXT), "A1" BETWEEN "A1" AND "A1", EXTRACT(YEAR FROM "A2") FROM "accounting"."district""#,
    );
    check(
        "SELECT a2[a1], a2['X'] FROM accounting.district",
        r#"SELECT "A2"["A1"], "A2"['X'] FROM "accounting"."district""#,
    );
    check(
        "SELECT sum(a1) FILTER (WHERE a2 = 'x'), array_agg(a1 ORDER BY a2) FROM accounting.district GROUP BY GROUPING SETS ((a1), ())",
        r#"SELECT sum("A1") FILTER (WHERE "A2" = 'x'), array_agg("A1" ORDER BY "A2") FROM "accounting"."district" GROUP BY GROUPING SETS (("A1"), ())"#,
    );
}

#[test]
fn subqueries_see_inner_names_before_outer_ones() {
    check(
        "SELECT 1 FROM accounting.district d WHERE EXISTS (SELECT 1 FROM accounting.client WHERE DISTRICT_ID = a1 AND d.A2 = 'x')",
        r#"SELECT 1 FROM "accounting"."district" "d" WHERE EXISTS (SELECT 1 FROM "accounting"."client" WHERE "district_id" = "A1" AND "d"."A2" = 'x')"#,
    );
    check(
        "SELECT (SELECT max(AMOUNT) FROM settlement.trans) FROM credit.loan WHERE amount IN (SELECT amount FROM unified.loan)",
        r#"SELECT (SELECT max("amount") FROM "settlement"."trans") FROM "credit"."loan" WHERE "amount" IN (SELECT "amount" FROM "unified"."loan")"#,
    );
    refuse(
        "SELECT 1 FROM (SELECT amount FROM credit.loan) AS x WHERE status = 'A'",
        Code::SQL012,
        "column `status` not found in `x` | status | ",
    );
}

#[test]
fn ctes_and_aliases_shadow_tables() {
    check(
        "WITH loan AS (SELECT 1 AS x) SELECT X FROM loan",
        r#"WITH "loan" AS (SELECT 1 AS "x") SELECT "x" FROM "loan""#,
    );
    // The query of a CTE sees what stands before it: here the table of the same name.
    check(
        "WITH loan AS (SELECT ID FROM loan) SELECT Id FROM LOAN",
        r#"WITH "loan" AS (SELECT "id" FROM "unified"."loan") SELECT "id" FROM "loan""#,
    );
    check(
        "WITH loan AS (SELECT 1 AS x) SELECT amount FROM credit.loan",
        r#"WITH "loan" AS (SELECT 1 AS "x") SELECT "amount" FROM "credit"."loan""#,
    );
    check(
        "WITH Big (N) AS (SELECT amount FROM credit.loan) SELECT n FROM big b",
        r#"WITH "Big" ("N") AS (SELECT "amount" FROM "credit"."loan") SELECT "N" FROM "Big" "b""#,
    );
    check(
        "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT (WITH a AS (SELECT 2 AS y) SELECT y FROM a), x FROM b",
        r#"WITH "a" AS (SELECT 1 AS "x"), "b" AS (SELECT "x" FROM "a") SELECT (WITH "a" AS (SELECT 2 AS "y") SELECT "y" FROM "a"), "x" FROM "b""#,
    );
    check(
        "SELECT Loan.N FROM (SELECT 1 AS n) AS loan",
        r#"SELECT "loan"."n" FROM (SELECT 1 AS "n") AS "loan""#,
    );
    check(
        "SELECT b FROM (VALUES (1, 2)) AS v(A, B)",
        r#"SELECT "B" FROM (VALUES (1, 2)) AS "v" ("A", "B")"#,
    );
    check(
        "SELECT COLUMN2 FROM (VALUES (1, 2)) AS v",
        r#"SELECT "column2" FROM (VALUES (1, 2)) AS "v""#,
    );
    check(
        "SELECT X FROM unnest([1]) AS t(x)",
        r#"SELECT "x" FROM UNNEST([1]) AS "t" ("x")"#,
    );
}

#[test]
fn an_alias_keeps_its_case_and_is_found_without_it() {
    check(
        "SELECT amount AS Total FROM credit.loan ORDER BY total",
        r#"SELECT "amount" AS "Total" FROM "credit"."loan" ORDER BY "Total""#,
    );
    check(
        "SELECT sum(amount) Total FROM credit.loan GROUP BY status HAVING TOTAL > 1",
        r#"SELECT sum("amount") AS "Total" FROM "credit"."loan" GROUP BY "status" HAVING "Total" > 1"#,
    );
    // In ORDER BY the result's column comes first, elsewhere the table's.
    check(
        "SELECT 0 - amount AS Amount FROM credit.loan ORDER BY amount",
        r#"SELECT 0 - "amount" AS "Amount" FROM "credit"."loan" ORDER BY "Amount""#,
    );
    check(
        "SELECT 0 - amount AS Amount FROM credit.loan GROUP BY amount",
        r#"SELECT 0 - "amount" AS "Amount" FROM "credit"."loan" GROUP BY "amount""#,
    );
    check(
        "SELECT amount AS N FROM credit.loan UNION ALL SELECT 1 ORDER BY n",
        r#"SELECT "amount" AS "N" FROM "credit"."loan" UNION ALL SELECT 1 ORDER BY "N""#,
    );
    refuse(
        "SELECT amount AS n FROM credit.loan WHERE n > 1",
        Code::SQL012,
        "column `n` not found in `credit.loan` | n | ",
    );
    refuse(
        "SELECT text FROM (SELECT 1 AS \"Ab\", 2 AS \"aB\") AS t WHERE ab = 1",
        Code::SQL014,
        "column `ab` is ambiguous | ab | ",
    );
}

#[test]
fn what_is_not_there_and_what_is_hidden_read_the_same() {
    refuse(
        "SELECT 1 FROM settlement.tranz",
        Code::SQL010,
        "table `settlement.tranz` not found | settlement.tranz | did you mean `settlement.trans`?",
    );
    refuse(
        "SELECT 1 FROM SETTLEMENT.nothing",
        Code::SQL010,
        "table `settlement.nothing` not found | SETTLEMENT.nothing | ",
    );
    refuse(
        "SELECT 1 FROM trans",
        Code::SQL010,
        "table `trans` not found | trans | did you mean `settlement.trans`?",
    );
    refuse(
        "SELECT 1 FROM setlement.trans",
        Code::SQL011,
        "schema `setlement` not found | setlement | did you mean `settlement`?",
    );
    refuse(
        "SELECT 1 FROM other.credit.loan",
        Code::SQL011,
        "catalog `other` not found | other | ",
    );
    refuse(
        "SELECT 1 FROM a.b.c.d",
        Code::SQL010,
        "table `a.b.c.d` not found | a.b.c.d | ",
    );
    refuse(
        r#"SELECT 1 FROM "Credit".loan"#,
        Code::SQL011,
        r#"schema `Credit` not found | "Credit" | did you mean `credit`?"#,
    );
    refuse(
        "SELECT 客 FROM credit.loan",
        Code::SQL012,
        "column `客` not found in `credit.loan` | 客 | ",
    );
    refuse(
        "SELECT a",
        Code::SQL012,
        "column `a` not found: there is no table | a | ",
    );
}

#[test]
fn the_tables_that_are_read_are_told_once() {
    let (text, _, mut query) = query(
        "WITH a AS (SELECT 1 FROM credit.loan) SELECT 1 FROM a, CREDIT.loan, settlement.trans WHERE EXISTS (SELECT 1 FROM loan)",
    );
    let tables = resolve_identifiers(&text, &mut query, &Bank).unwrap();
    let tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
    assert_eq!(tables, ["credit.loan", "settlement.trans", "unified.loan"]);
}

#[test]
fn repeated_outputs_get_a_name_of_their_own() {
    let check = |sql: &str, expected: &str| {
        let (_, _, mut query) = query(sql);
        name_outputs(&mut query);
        assert_eq!(query.to_string(), expected);
    };
    check(
        "SELECT amount, amount FROM t",
        r#"SELECT amount, amount AS "amount_1" FROM t"#,
    );
    check(
        "SELECT a.id, b.id, c.id FROM t",
        r#"SELECT a.id, b.id AS "id_1", c.id AS "id_2" FROM t"#,
    );
    check("SELECT a, a, a_1 FROM t", r#"SELECT a, a AS "a_2", a_1 FROM t"#);
    check(
        "SELECT count(*), count(*) FROM t",
        r#"SELECT count(*), count(*) AS "count(*)_1" FROM t"#,
    );
    check(
        "SELECT 1 AS x, 2 AS x UNION SELECT 3, 3",
        r#"SELECT 1 AS x, 2 AS "x_1" UNION SELECT 3, 3 AS "3_1""#,
    );
    check(
        "SELECT a, b FROM (SELECT c, c FROM t)",
        "SELECT a, b FROM (SELECT c, c FROM t)",
    );
    check("SELECT *, a FROM t", "SELECT *, a FROM t");
}

#[test]
fn unnamed_columns_are_called_as_they_were_written() {
    let names = |sql: &str| written_names(&query(sql).2);
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(
        names("SELECT amount, count(*), A1 + 1, sum(amount) AS total FROM credit.loan"),
        Some(vec![None, some("count(*)"), some("A1 + 1"), None])
    );
    assert_eq!(names("SELECT *, amount + 1 FROM credit.loan"), None);
    assert_eq!(names("(SELECT 1) UNION SELECT 2"), Some(vec![some("1")]));
    let long = format!("SELECT {}1 FROM credit.loan", "1 + ".repeat(100));
    assert_eq!(
        names(&long).and_then(|all| all[0].as_ref().map(|name| name.chars().count())),
        Some(100)
    );
}
