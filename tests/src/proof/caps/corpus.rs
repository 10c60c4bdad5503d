//! The statements past a bound, or at it, and what each must come to.
//!
//! Owns: the list. Never: how one is run.

use super::server::ROWS;

/// What a statement must come to.
pub(super) enum Wanted {
    /// One row whose first cell is this.
    Answer(String),
    /// So many rows.
    Rows(usize),
    /// A refusal with one of these codes.
    Refused(&'static [&'static str]),
    /// That cell, or such a refusal: both are right.
    Either(String, &'static [&'static str]),
}

/// One statement.
pub(super) struct Case {
    /// What a table of outcomes calls it.
    pub name: String,
    /// Its text.
    pub sql: String,
    /// Its outcome.
    pub wanted: Wanted,
}

/// Too long, too deep, too much to read.
const SHAPE: &[&str] = &["LIM001"];
/// Too large to hold.
const MEMORY: &[&str] = &["LIM002"];
/// Not a statement Caliber knows, by its kind.
const KIND: &[&str] = &["SQL002"];

fn case(name: &str, sql: impl Into<String>, wanted: Wanted) -> Case {
    Case {
        name: name.to_owned(),
        sql: sql.into(),
        wanted,
    }
}

fn answer(value: impl ToString) -> Wanted {
    Wanted::Answer(value.to_string())
}

/// An answer, unless the machine is so busy that the time for planning ends before.
fn planned(value: impl ToString) -> Wanted {
    Wanted::Either(value.to_string(), SHAPE)
}

fn chain(operand: &str, operator: &str, operators: usize) -> String {
    vec![operand; operators + 1].join(operator)
}

fn nested(open: &str, core: &str, close: &str, depth: usize) -> String {
    format!("{}{core}{}", open.repeat(depth), close.repeat(depth))
}

/// Every statement of the proof.
pub(super) fn cases() -> Vec<Case> {
    let mut all = promised();
    all.extend(chains());
    all.extend(depths());
    all.extend(width());
    all.extend(texts());
    all.extend(doubled_texts());
    all.extend(arrays());
    all.extend(work());
    all
}

/// What the promise names one by one.
fn promised() -> Vec<Case> {
    vec![
        case(
            "20,000 × 1+1",
            format!("SELECT {}", chain("1", "+", 20_000)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "30,000 × OR",
            format!("SELECT {}", chain("1 = 1", " OR ", 30_000)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "100,000 brackets",
            format!("SELECT {}", nested("(", "1", ")", 100_000)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "1,000 nested subqueries",
            nested("SELECT * FROM (", "SELECT 1 AS x", ") AS t", 1_000),
            Wanted::Refused(SHAPE),
        ),
        // Beyond what one message may be, the server never sees the text: the transport refuses.
        case(
            "10 MiB statement",
            format!("SELECT '{}'", "x".repeat(10 << 20)),
            Wanted::Refused(&["Error, decoded message length too large"]),
        ),
        case(
            "3 MiB statement",
            format!("SELECT '{}'", "x".repeat(3 << 20)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "repeat('x', 1e9)",
            "SELECT repeat('x', CAST(1e9 AS BIGINT))",
            Wanted::Refused(MEMORY),
        ),
        case(
            "array_repeat(1, 3e8)",
            "SELECT array_repeat(1, CAST(3e8 AS BIGINT))",
            Wanted::Refused(MEMORY),
        ),
        case(
            "endless recursive CTE",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
            Wanted::Refused(SHAPE),
        ),
        case(
            "100,000 in IN",
            format!(
                "SELECT count(*) FROM shop.n WHERE id IN ({})",
                vec!["7"; 100_000].join(",")
            ),
            planned(1),
        ),
        case(
            "30,000 different in IN",
            format!(
                "SELECT count(*) FROM shop.n WHERE id IN ({})",
                (0..30_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
            ),
            planned(ROWS),
        ),
    ]
}

/// At the cap and past it.
fn chains() -> Vec<Case> {
    vec![
        case(
            "1,000 × +",
            format!("SELECT {}", chain("1", "+", 1_000)),
            planned(1_001),
        ),
        case(
            "1,001 × +",
            format!("SELECT {}", chain("1", "+", 1_001)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "1,000 × OR over a column",
            format!("SELECT count(*) FROM shop.n WHERE {}", chain("id = 5", " OR ", 499)),
            answer(1),
        ),
        case(
            "1,000 × AND over a column",
            format!("SELECT count(*) FROM shop.n WHERE {}", chain("id > 0", " AND ", 999)),
            answer(ROWS),
        ),
        case(
            "1,000 × || of a literal",
            format!("SELECT length({})", chain("'a'", "||", 1_000)),
            planned(1_001),
        ),
        case(
            "1,000 × || of a column",
            format!(
                "SELECT sum(length({})) FROM shop.n WHERE id = 1",
                chain("text", "||", 1_000)
            ),
            planned(6 * 1_001),
        ),
        case("NOT × 40", format!("SELECT {}true", "NOT ".repeat(40)), answer("true")),
        case(
            "NOT × 20,000",
            format!("SELECT {}true", "NOT ".repeat(20_000)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "- × 20,000",
            format!("SELECT {}1", "- ".repeat(20_000)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "UNION ALL × 256",
            format!(
                "SELECT count(*) FROM ({}) AS t",
                chain("SELECT 1 AS x", " UNION ALL ", 256)
            ),
            answer(257),
        ),
        case(
            "UNION ALL × 20,000",
            chain("SELECT 1", " UNION ALL ", 20_000),
            Wanted::Refused(SHAPE),
        ),
        case(
            "CTE chain of 1,000",
            format!(
                "WITH {} SELECT 1",
                (0..1_000)
                    .map(|n| format!("c{n} AS (SELECT 1)"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            Wanted::Refused(SHAPE),
        ),
    ]
}

/// What is inside itself.
fn depths() -> Vec<Case> {
    let mut all = vec![
        case(
            "50 brackets",
            format!("SELECT {}", nested("(", "1", ")", 50)),
            answer(1),
        ),
        case(
            "51 brackets",
            format!("SELECT {}", nested("(", "1", ")", 51)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "45 nested subqueries",
            nested("SELECT * FROM (", "SELECT 1 AS x", ") AS t", 45),
            answer(1),
        ),
        case(
            "1,000 nested arrays",
            format!("SELECT {}", nested("[", "1", "]", 1_000)),
            Wanted::Refused(SHAPE),
        ),
        case(
            "256 KiB",
            format!("SELECT length('{}')", "x".repeat(262_144 - 17)),
            answer(262_144 - 17),
        ),
        case(
            "256 KiB + 1",
            format!("SELECT length('{}')", "x".repeat(262_144 - 16)),
            Wanted::Refused(SHAPE),
        ),
    ];
    let doubling: Vec<String> = (1..=20)
        .map(|n| format!("c{n} AS (SELECT a.x FROM c{} AS a, c{} AS b)", n - 1, n - 1))
        .collect();
    all.push(case(
        "CTEs that double 20 times",
        format!(
            "WITH c0 AS (SELECT 1 AS x), {} SELECT count(*) FROM c20",
            doubling.join(", ")
        ),
        Wanted::Refused(SHAPE),
    ));
    all
}

fn width() -> Vec<Case> {
    vec![
        case(
            "10,000 columns selected",
            format!("SELECT {}", vec!["1"; 10_000].join(",")),
            Wanted::Either("1".to_owned(), SHAPE),
        ),
        case(
            "1,600 columns of a table",
            format!("SELECT {} FROM shop.n WHERE id = 1", vec!["id"; 1_600].join(",")),
            Wanted::Either("1".to_owned(), SHAPE),
        ),
        case(
            "CASE with 10,000 WHEN",
            format!(
                "SELECT sum(CASE id {} END) FROM shop.n",
                "WHEN 7 THEN 3 ".repeat(10_000)
            ),
            Wanted::Either("3".to_owned(), SHAPE),
        ),
        case(
            "1,000 window specifications",
            format!(
                "SELECT {} FROM shop.n LIMIT 1",
                (0..1_000)
                    .map(|n| format!("sum(id) OVER (PARTITION BY id % {} ORDER BY id)", n + 1))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            Wanted::Either("500500".to_owned(), &["LIM001", "LIM002"]),
        ),
        case(
            "64-way join",
            format!(
                "SELECT count(*) FROM shop.n AS t0 {}",
                (1..=64)
                    .map(|n| format!("JOIN shop.n AS t{n} ON t{n}.id = t{}.id", n - 1))
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
            Wanted::Either(ROWS.to_string(), MEMORY),
        ),
        case(
            "65-way join",
            format!("SELECT 1 FROM shop.n AS t0{}", " CROSS JOIN shop.n".repeat(65)),
            Wanted::Refused(SHAPE),
        ),
        case("$65536", "SELECT $65536", Wanted::Refused(&["SQL016", "LIM001"])),
        case(
            "30,000 rows of VALUES",
            format!(
                "SELECT count(*) FROM (VALUES {}) AS v(a)",
                vec!["(1)"; 30_000].join(",")
            ),
            planned(30_000),
        ),
        case(
            "a filter over arithmetic doubled 45 times",
            format!(
                "SELECT count(*) FROM ({}) AS t WHERE x > 1",
                nested("SELECT x + x AS x FROM (", "SELECT id AS x FROM shop.n", ") AS t", 45)
            ),
            Wanted::Refused(SHAPE),
        ),
        case(
            "a filter over CASE doubled 45 times",
            format!(
                "SELECT count(*) FROM ({}) AS t WHERE x",
                nested(
                    "SELECT CASE WHEN x THEN NOT x ELSE x END AS x FROM (",
                    "SELECT id > 1 AS x FROM shop.n",
                    ") AS t",
                    45
                )
            ),
            Wanted::Refused(SHAPE),
        ),
        case("all rows", "SELECT id FROM shop.n", Wanted::Rows(ROWS)),
    ]
}

fn texts() -> Vec<Case> {
    let mib = 1 << 20;
    vec![
        case(
            "repeat at the cap",
            format!("SELECT length(repeat('x', {}))", 16 * mib),
            answer(16 * mib),
        ),
        case(
            "repeat past the cap",
            format!("SELECT length(repeat('x', {}))", 16 * mib + 1),
            Wanted::Refused(MEMORY),
        ),
        case(
            "repeat in each row",
            "SELECT sum(length(repeat(text, 10000000))) FROM shop.n",
            Wanted::Refused(MEMORY),
        ),
        case("repeat × −1", "SELECT length(repeat('x', -1))", answer(0)),
        case(
            "repeat × NULL",
            "SELECT coalesce(repeat('x', NULL), 'none')",
            answer("none"),
        ),
        case(
            "lpad to 10^9",
            "SELECT lpad('x', 1000000000)",
            Wanted::Refused(&["LIM002", "SQL023"]),
        ),
        case(
            "rpad to 10^18",
            "SELECT rpad('x', 1000000000000000000)",
            Wanted::Refused(&["LIM002", "SQL023", "SQL022"]),
        ),
        case(
            "replace that grows",
            "SELECT length(replace(repeat('a', 100000), 'a', repeat('b', 100000)))",
            Wanted::Refused(MEMORY),
        ),
        case(
            "regexp_replace that grows",
            "SELECT length(regexp_replace(repeat('a', 100000), 'a', repeat('b', 100000), 'g'))",
            Wanted::Refused(MEMORY),
        ),
        case(
            "a long constant in each row",
            "SELECT max(length(t || text)) FROM (SELECT repeat('x', 10000000) AS t, text FROM shop.n) AS n",
            Wanted::Refused(MEMORY),
        ),
        case(
            "a long constant in CASE",
            "SELECT max(CASE WHEN id % 2 = 0 THEN repeat('x', 10000000) ELSE text END) FROM shop.n",
            Wanted::Refused(MEMORY),
        ),
        case(
            "a constant of 60,000 in each row",
            format!("SELECT max(length(concat('{}', text))) FROM shop.n", "x".repeat(60_000)),
            Wanted::Either((60_000 + 9).to_string(), MEMORY),
        ),
        case(
            "regexp bomb",
            "SELECT regexp_like(text, '(a{1,1000}){1,1000}') FROM shop.n LIMIT 1",
            Wanted::Refused(&["SQL023"]),
        ),
        case(
            "regexp that backtracks elsewhere",
            "SELECT count(*) FROM shop.n WHERE regexp_like(repeat('a', 5000), '(a+)+b')",
            answer(0),
        ),
        case(
            "to_char, a bad format",
            "SELECT to_char(DATE '2024-01-01', '%')",
            Wanted::Refused(&["SQL023", "SQL020"]),
        ),
        case(
            "to_char, a format of 16 MiB",
            "SELECT length(to_char(DATE '2024-01-01', repeat('%A', 8000000)))",
            Wanted::Refused(MEMORY),
        ),
        case(
            "levenshtein of long texts",
            "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
            Wanted::Refused(MEMORY),
        ),
        case(
            "string_agg of 1,000,000",
            "SELECT length(string_agg(a.text || b.text, ',')) FROM shop.n a, shop.n b",
            Wanted::Refused(MEMORY),
        ),
        case(
            "string_agg by group",
            "SELECT max(length(t)) FROM (SELECT string_agg(repeat(a.text, 2000), ',') AS t FROM shop.n a, shop.n b GROUP BY a.id % 3) AS x",
            Wanted::Refused(MEMORY),
        ),
    ]
}

/// Texts that double with each query around them.
fn doubled_texts() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, grown) in [
        ("||", "x || x"),
        ("concat", "concat(x, x)"),
        ("concat_ws", "concat_ws(x, x, x)"),
        ("overlay", "overlay(x placing x from 1 for 0)"),
        ("encode", "encode(x, 'hex')"),
    ] {
        all.push(case(
            &format!("{name}, doubled 45 times"),
            nested(
                &format!("SELECT {grown} AS x FROM ("),
                "SELECT text AS x FROM shop.n WHERE id = 1",
                ") AS t",
                45,
            ),
            Wanted::Refused(&["LIM001", "LIM002"]),
        ));
    }
    all
}

fn arrays() -> Vec<Case> {
    let mut all = vec![
        case("range to 10^9", "SELECT range(1000000000)", Wanted::Refused(MEMORY)),
        case(
            "range to 10^18",
            "SELECT cardinality(range(0, 1000000000000000000, 1))",
            Wanted::Refused(MEMORY),
        ),
        case("range backwards", "SELECT cardinality(range(10, 1))", answer(0)),
        case(
            "generate_series, extremes",
            "SELECT generate_series(-9223372036854775807, 9223372036854775807)",
            Wanted::Refused(MEMORY),
        ),
        case(
            "generate_series of NULL",
            "SELECT coalesce(cardinality(generate_series(1, NULL)), 0)",
            answer(0),
        ),
        case(
            "generate_series as a table",
            "SELECT * FROM generate_series(1, 10)",
            Wanted::Refused(KIND),
        ),
        case(
            "array_resize to 10^9",
            "SELECT array_resize([1], 1000000000)",
            Wanted::Refused(MEMORY),
        ),
        case(
            "array_repeat × −1",
            "SELECT cardinality(array_repeat(1, -1))",
            answer(0),
        ),
        case(
            "array_agg of 4,000,000",
            "SELECT cardinality(array_agg(a.id + b.id)) FROM shop.n a, shop.n b, (VALUES (1), (2), (3), (4)) AS c(v)",
            Wanted::Refused(MEMORY),
        ),
        case(
            "unnest of a long series",
            "SELECT count(*) FROM (SELECT unnest(range(1000000)) FROM shop.n) AS t",
            Wanted::Refused(MEMORY),
        ),
        case(
            "unnest beside a long text",
            "SELECT max(length(t)) FROM (SELECT unnest(range(1000000)) AS u, repeat(text, 100000) AS t FROM shop.n WHERE id = 1) AS x WHERE u < 10",
            Wanted::Refused(MEMORY),
        ),
        case(
            "unnest beside a short text",
            "SELECT count(*) FROM (SELECT unnest(range(10000)) AS u, text FROM shop.n) AS x",
            Wanted::Either((10_000 * ROWS).to_string(), MEMORY),
        ),
        case(
            "string_to_array of 16 MiB",
            "SELECT cardinality(string_to_array(repeat('a,', 8000000), ','))",
            Wanted::Refused(MEMORY),
        ),
        case(
            "an array of 10,000",
            format!("SELECT cardinality([{}])", vec!["1"; 10_000].join(",")),
            answer(10_000),
        ),
    ];
    for (name, grown) in [
        ("an array literal", "[x, x]"),
        ("make_array", "make_array(x, x)"),
        ("array_concat", "array_concat(x, x)"),
        ("array || array", "x || x"),
        ("a struct", "struct(x, x)"),
        ("a struct literal", "{a: x, b: x}"),
        ("a named struct", "named_struct('a', x, 'b', x)"),
        ("arrays_zip", "arrays_zip(x, x)"),
    ] {
        all.push(case(
            &format!("{name}, doubled 40 times"),
            format!(
                "SELECT arrow_typeof(x) FROM ({}) AS t",
                nested(
                    &format!("SELECT {grown} AS x FROM ("),
                    "SELECT [text] AS x FROM shop.n WHERE id = 1",
                    ") AS t",
                    40,
                )
            ),
            Wanted::Refused(&["LIM001", "LIM002", "SQL015"]),
        ));
    }
    all
}

/// Memory, and numbers that do not fit.
fn work() -> Vec<Case> {
    vec![
        case(
            "a million distinct texts",
            "SELECT count(DISTINCT repeat(a.text, 30) || b.text) FROM shop.n a, shop.n b",
            Wanted::Refused(MEMORY),
        ),
        case(
            "a cross join out of memory",
            "SELECT count(*) FROM (SELECT a.id + b.id + c.id AS s FROM shop.n a, shop.n b, shop.n c) AS x, \
             (SELECT a.id + b.id + c.id AS s FROM shop.n a, shop.n b, shop.n c) AS y WHERE x.s > y.s",
            Wanted::Refused(MEMORY),
        ),
        case(
            "sum beyond 64 bits",
            "SELECT sum(id + 9223372036854775000) FROM shop.n WHERE id < 10",
            Wanted::Refused(&["SQL022"]),
        ),
        case(
            "% 0",
            "SELECT id % (id - 1) FROM shop.n WHERE id = 1",
            Wanted::Refused(&["SQL021"]),
        ),
        case(
            "the smallest number / −1",
            "SELECT (-9223372036854775807 - id) / (id - 2) FROM shop.n WHERE id = 1",
            Wanted::Refused(&["SQL022"]),
        ),
        case(
            "minus the smallest number",
            "SELECT -(-9223372036854775807 - id) FROM shop.n WHERE id = 1",
            Wanted::Refused(&["SQL022"]),
        ),
    ]
}

/// Statements that each want all the memory there is.
pub(super) fn heavy() -> Vec<String> {
    [
        "SELECT count(*) FROM (SELECT DISTINCT repeat(a.text, 20) || b.text AS t FROM shop.n a, shop.n b) AS x",
        "SELECT max(t) FROM (SELECT a.text || b.text AS t, row_number() OVER (ORDER BY b.text || a.text) AS r FROM shop.n a, shop.n b) AS x",
        "SELECT cardinality(array_agg(a.text || b.text)) FROM shop.n a, shop.n b",
        "SELECT length(string_agg(a.text || b.text, ',')) FROM shop.n a, shop.n b",
        "SELECT sum(length(repeat(a.text, 2000))) FROM shop.n a, (VALUES (1), (2), (3), (4), (5)) AS v(x)",
        "SELECT count(*) FROM (SELECT a.id * b.id AS k, max(repeat(b.text, 50)) FROM shop.n a, shop.n b GROUP BY 1) AS x",
        "SELECT count(*) FROM (SELECT repeat('x', 1000000) AS t FROM shop.n ORDER BY t || text) AS x",
        "SELECT count(*) FROM shop.n a JOIN shop.n b ON a.id < b.id JOIN shop.n c ON repeat(c.text, 500) < a.text || b.text",
    ]
    .map(str::to_owned)
    .to_vec()
}
