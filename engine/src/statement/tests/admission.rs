//! What a statement may be.

use caliber_catalog::diagnostic::Code;

use super::super::{Admitted, ExplainMode, parse_expression, read_statement};
use super::{query, refusal};

fn admitted(sql: &str) -> Admitted {
    read_statement(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .admitted
}

#[test]
fn queries_are_admitted() {
    for sql in [
        "SELECT 1",
        " ; SELECT 1 ;; ",
        "select a, b as \"B\" from s.t where a = 'x' and b like '%?%' order by 1 limit 10 offset 5",
        "WITH a AS (SELECT 1 AS x), b (y) AS (SELECT x FROM a) SELECT * FROM a, b",
        "VALUES (1, 'a'), (2, 'b')",
        "(SELECT 1) UNION ALL (SELECT 2) EXCEPT SELECT 3 INTERSECT SELECT 4",
        "SELECT count(*) FILTER (WHERE a > 1), sum(b) OVER (PARTITION BY c ORDER BY d ROWS 2 PRECEDING) FROM t",
        "SELECT rank() OVER w FROM t WINDOW w AS (PARTITION BY a ORDER BY b)",
        "SELECT a, grouping(a) FROM t GROUP BY GROUPING SETS ((a), ()) HAVING count(*) > 1",
        "SELECT a FROM t GROUP BY ROLLUP (a, b)",
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a",
        "SELECT * EXCEPT (a) FROM t",
        "SELECT t.* EXCLUDE (a, b) FROM t",
        "SELECT * REPLACE (a + 1 AS a) FROM t",
        "SELECT a FROM t QUALIFY row_number() OVER (ORDER BY a) = 1",
        "SELECT EXTRACT(YEAR FROM d), POSITION('a' IN b), SUBSTRING(a FROM 1 FOR 2), TRIM(BOTH 'x' FROM a) FROM t",
        "SELECT CAST(a AS DECIMAL(10, 2)), TRY_CAST(a AS INT), a::DATE, DATE '2020-01-01', INTERVAL '1 day' FROM t",
        "SELECT a IS NOT DISTINCT FROM b, a BETWEEN 1 AND 2, a NOT IN (1), a ~ 'x', a ILIKE 'x' FROM t",
        "SELECT CASE a WHEN 1 THEN 'x' ELSE 'y' END, CASE WHEN a THEN 1 END FROM t",
        "SELECT [1, 2][1], ARRAY[1, 2], {'a': 1}, MAP {'a': 1}",
        "SELECT * FROM unnest([1, 2]) AS t(x)",
        "SELECT * FROM a LEFT JOIN b USING (x) CROSS JOIN c NATURAL JOIN d FULL OUTER JOIN e ON a.x = e.x",
        "SELECT * FROM (a JOIN b ON a.x = b.x) JOIN (SELECT 1) AS c ON true",
        "SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.x = a.x) AND x = ANY (SELECT 1)",
        "SELECT * FROM a ORDER BY x DESC NULLS LAST",
        "SELECT first_value(a) IGNORE NULLS OVER (ORDER BY b) FROM t",
    ] {
        query(sql);
    }
}

#[test]
fn fetch_is_limit() {
    let check = |sql: &str, expected: &str| assert_eq!(query(sql).2.to_string(), expected);
    check("SELECT 1 FETCH FIRST 5 ROWS ONLY", "SELECT 1 LIMIT 5");
    check(
        "SELECT 1 OFFSET 2 ROWS FETCH NEXT 3 ROWS ONLY",
        "SELECT 1 LIMIT 3 OFFSET 2 ROWS",
    );
    refusal("SELECT 1 LIMIT 1 FETCH FIRST 5 ROWS ONLY", Code::SQL002);
    refusal("SELECT 1 FETCH FIRST 5 ROWS WITH TIES", Code::SQL002);
}

#[test]
fn everything_that_changes_or_reaches_out_is_refused() {
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "CREATE SCHEMA s",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "DROP TABLE x",
        "ALTER TABLE x ADD y INT",
        "TRUNCATE TABLE x",
        "INSERT INTO x VALUES (1)",
        "UPDATE x SET a = 1",
        "DELETE FROM x",
        "MERGE INTO x USING y ON true WHEN MATCHED THEN DELETE",
        "COPY (SELECT 1) TO 'out.csv'",
        "COPY x TO 'out.csv'",
        "SET datafusion.runtime.memory_limit = '100G'",
        "set time zone 'UTC'",
        "RESET ALL",
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "GRANT SELECT ON x TO y",
        "CALL f()",
        "USE s",
        "ATTACH 'x'",
        "INSTALL httpfs",
        "LOAD 'x'",
        "VACUUM",
        "ANALYZE x",
        "KILL 1",
        "TABLE x",
        "FROM x",
        "SHOW ALL",
        "SHOW VARIABLE x",
        "SHOW datafusion.execution.batch_size",
        "SHOW CREATE TABLE x",
        "SHOW FUNCTIONS",
        "SHOW",
        "EXPLAIN ANALYZE DELETE FROM x",
        "EXPLAIN INSERT INTO x VALUES (1)",
        "EXPLAIN CREATE TABLE x (a INT)",
        "EXPLAIN EXPLAIN SELECT 1",
        "EXPLAIN FORMAT JSON SELECT 1",
        "EXPLAIN (FORMAT JSON) SELECT 1",
        "DESCRIBE SELECT 1",
        "SELECT 1 INTO x",
        "SELECT * FROM x FOR UPDATE",
        "SELECT TOP 5 * FROM x",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'x.parquet'",
        "SELECT * FROM s.'x.parquet'",
        "SELECT * FROM a, 'b.csv' AS t",
        "SELECT (SELECT 1 FROM 'x.parquet')",
        "SELECT * FROM read_csv('x')",
        "SELECT * FROM generate_series(1, 10)",
        "SELECT * FROM range(1000000000000)",
        "SELECT * FROM a, LATERAL (SELECT a.x)",
        "SELECT * FROM LATERAL f(1)",
        "SELECT * FROM TABLE(f(1))",
        "SELECT * FROM a TABLESAMPLE SYSTEM (1)",
        "WITH a AS (INSERT INTO x VALUES (1) RETURNING *) SELECT * FROM a",
        "WITH a AS (DELETE FROM x RETURNING *) SELECT * FROM a",
        "WITH a AS (SELECT 1) INSERT INTO x SELECT * FROM a",
        "WITH a AS (SELECT 1) UPDATE x SET a = 1",
        "SELECT * FROM (DELETE FROM x)",
        "SELECT * FROM a CROSS APPLY b",
    ] {
        let told = refusal(sql, Code::SQL002);
        assert!(
            told.contains("not allowed") || told.contains("takes a"),
            "{sql}: {told}"
        );
    }
}

#[test]
fn recursion_has_no_bound() {
    assert_eq!(
        refusal(
            "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT * FROM r",
            Code::LIM001
        ),
        "WITH RECURSIVE has no bound, so it is not run | WITH"
    );
}

#[test]
fn exactly_one_statement() {
    assert_eq!(
        refusal("SELECT 1; DROP TABLE x", Code::SQL003),
        "more than one statement | DROP"
    );
    assert_eq!(
        refusal("SELECT 1;;SELECT 2", Code::SQL003),
        "more than one statement | SELECT"
    );
    query("SELECT ';' ; -- ;\n ;");
    for sql in ["", "  \n", ";", ";;", "-- only a comment", "/* ; */"] {
        assert_eq!(refusal(sql, Code::SQL001), "the statement is empty | ");
    }
}

#[test]
fn syntax_errors_are_short_and_have_a_place() {
    assert_eq!(
        refusal("SELEC 1", Code::SQL001),
        "expected a statement, found `SELEC` | SELEC"
    );
    let help = read_statement("SELEC 1").unwrap_err().help;
    assert_eq!(help.as_deref(), Some("did you mean `SELECT`?"));
    assert_eq!(
        refusal("SELECT 1 FROM", Code::SQL001),
        "expected identifier, found the end of the statement | "
    );
    assert_eq!(
        refusal("SELECT 1 +", Code::SQL001),
        "expected an expression, found the end of the statement | "
    );
    assert_eq!(
        refusal("SELECT\n  客户 bad bad", Code::SQL001),
        "expected end of statement, found bad | bad"
    );
    assert_eq!(refusal("SELECT 'abc", Code::SQL001), "unterminated string literal | ");
    assert_eq!(
        refusal("SELECT 1a FROM t", Code::SQL001),
        "`1a` is neither a number nor a name | 1a"
    );
    assert_eq!(
        refusal("SELECT `a` FROM t", Code::SQL001),
        "expected an expression, found ` | `"
    );
    for sql in [
        "SELECT (1",
        "SELECT 1)",
        "SELECT * FROM",
        "WITH SELECT 1",
        "SELECT CASE WHEN 1",
        "(",
        ")",
        "SELECT \0",
    ] {
        refusal(sql, Code::SQL001);
    }
}

#[test]
fn explain_show_and_describe() {
    let mode = |sql: &str| match admitted(sql) {
        Admitted::Explain { mode, .. } => mode,
        other => panic!("{other:?}"),
    };
    assert_eq!(mode("EXPLAIN SELECT 1"), ExplainMode::Plan);
    assert_eq!(mode("explain verbose select 1"), ExplainMode::Verbose);
    assert_eq!(mode("EXPLAIN ANALYZE SELECT 1"), ExplainMode::Analyze);
    assert_eq!(mode("EXPLAIN ANALYZE VERBOSE SELECT 1"), ExplainMode::Analyze);
    assert_eq!(mode("EXPLAIN (ANALYZE, VERBOSE) SELECT 1"), ExplainMode::Analyze);
    assert_eq!(mode("EXPLAIN (SELECT 1)"), ExplainMode::Plan);
    assert!(matches!(
        admitted("SHOW TABLES;"),
        Admitted::ShowTables { schema: None }
    ));
    assert!(
        matches!(admitted("show tables from credit"), Admitted::ShowTables { schema: Some(name) } if name.value == "credit")
    );
    assert!(matches!(admitted("SHOW SCHEMAS"), Admitted::ShowSchemas));
    for sql in [
        "SHOW COLUMNS FROM credit.loan",
        "DESCRIBE credit.loan",
        "desc table credit.loan",
    ] {
        assert!(
            matches!(admitted(sql), Admitted::Describe { table } if table.to_string() == "credit.loan"),
            "{sql}"
        );
    }
}

#[test]
fn an_expression_of_the_project_is_one_expression() {
    assert_eq!(
        parse_expression("a1 = principal.branch").unwrap().1.to_string(),
        "a1 = principal.branch"
    );
    assert_eq!(parse_expression("a; DROP").unwrap_err().code, Code::SQL001);
    assert_eq!(parse_expression("").unwrap_err().code, Code::SQL001);
}

/// What must never run, wherever in a statement it stands: behind EXPLAIN, in a CTE, in a subquery, behind a query.
#[test]
fn what_is_refused_is_refused_wherever_it_stands() {
    let kinds = [
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE UNBOUNDED EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE DATABASE x",
        "CREATE INDEX i ON x (a)",
        "DROP VIEW x",
        "DROP FUNCTION f",
        "DROP SCHEMA s",
        "COPY x TO 'o.csv'",
        "INSERT INTO x VALUES (1)",
        "UPDATE x SET a = 1",
        "DELETE FROM x",
        "MERGE INTO x USING y ON true WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE x",
        "SET datafusion.explain.show_statistics = true",
        "RESET datafusion.execution.batch_size",
        "SHOW ALL",
        "SHOW datafusion.runtime.memory_limit",
        "SHOW CREATE TABLE x",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN",
        "COMMIT",
    ];
    for kind in kinds {
        for place in [
            "{}",
            "; {} ;",
            "EXPLAIN {}",
            "EXPLAIN VERBOSE {}",
            "EXPLAIN ANALYZE {}",
            "EXPLAIN (ANALYZE) {}",
            "WITH a AS ({}) SELECT * FROM a",
            "SELECT * FROM ({}) AS t",
            "SELECT (({}))",
            "SELECT 1 WHERE EXISTS ({})",
            "SELECT 1 UNION ALL {}",
            "SELECT 1; {}",
            "{}; SELECT 1",
            "/* SELECT */ {} -- SELECT 1",
        ] {
            // In brackets behind FROM two words are a table and its alias, which then do not exist.
            let is_name = kind.split(' ').count() < 3 && place.contains('(');
            if is_name {
                continue;
            }
            let sql = place.replace("{}", kind);
            let error = read_statement(&sql).expect_err(&sql);
            let codes = [Code::SQL001, Code::SQL002, Code::SQL003];
            assert!(codes.contains(&error.code), "{sql}: {error}");
            // Alone it is refused for what it is.
            assert!(place != "{}" || error.code == Code::SQL002, "{sql}: {error}");
        }
    }
}

/// No option of the session can be changed or read by a statement, whichever it is.
#[test]
fn no_option_can_be_set_reset_or_shown() {
    let options = datafusion::config::ConfigOptions::new().entries();
    assert!(options.len() > 100, "{}", options.len());
    for option in options {
        let name = option.key;
        for sql in [
            format!("SET {name} = '1'"),
            format!("SET {name} TO DEFAULT"),
            format!("RESET {name}"),
            format!("SHOW {name}"),
            format!("EXPLAIN SET {name} = '1'"),
        ] {
            refusal(&sql, Code::SQL002);
        }
    }
}
