//! Bounds: each at the cap and one past it, and what once crashed a server. All on a 2 MiB stack, as a worker has.

use std::time::{Duration, Instant};

use caliber_catalog::diagnostic::Code;

use super::super::bound_text::STATEMENT_BYTES;
use super::super::nesting::{CHAIN, JOINS, NESTING, SET_OPERATIONS};
use super::super::resolve_identifiers;
use super::{Bank, query, refusal};

/// Runs on a stack of 2 MiB, whatever the test harness gives, and within five seconds.
fn on_a_worker(test: impl FnOnce() + Send + 'static) {
    let started = Instant::now();
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap();
    if let Err(panic) = worker.join() {
        std::panic::resume_unwind(panic);
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
}

fn admits(sql: String) {
    on_a_worker(move || {
        let (text, _, mut read) = query(&sql);
        resolve_identifiers(&text, &mut read, &Bank).unwrap();
    });
}

fn refuses(sql: String, message: &'static str) {
    on_a_worker(move || {
        let told = refusal(&sql, Code::LIM001);
        assert!(told.starts_with(message), "{told}");
    });
}

fn nested(open: &str, core: &str, close: &str, depth: usize) -> String {
    format!("{}{core}{}", open.repeat(depth), close.repeat(depth))
}

fn chain(operand: &str, operator: &str, operators: usize) -> String {
    vec![operand; operators + 1].join(operator)
}

#[test]
fn length() {
    let padded = |bytes: usize| format!("SELECT 1{}", " ".repeat(bytes - 8));
    admits(padded(STATEMENT_BYTES));
    refuses(padded(STATEMENT_BYTES + 1), "the statement has 262145 bytes");
    refuses(padded(10 << 20), "the statement has 10485760 bytes");
}

#[test]
fn brackets() {
    for depth in [49, NESTING] {
        admits(format!("SELECT {}", nested("(", "1", ")", depth)));
        admits(format!("SELECT {}", nested("abs(", "1", ")", depth)));
        admits(format!("SELECT {}", nested("CASE WHEN true THEN ", "1", " END", depth)));
        admits(format!("SELECT {}", nested("[", "1", "]", depth)));
        admits(format!("SELECT {}", nested("CAST(", "1", " AS INT)", depth)));
        admits(format!("SELECT {}", nested("NOT (1 + (2 * ", "1", "))", depth / 2)));
        admits(nested("SELECT * FROM (", "SELECT 1", ") AS t", depth));
        admits(format!("SELECT {}", nested("(SELECT ", "1", ")", depth)));
    }
    for depth in [NESTING + 1, 1_000, 100_000] {
        refuses(
            format!("SELECT {}", nested("(", "1", ")", depth)),
            "the statement is nested more than 50 deep",
        );
    }
    for (open, close) in [
        ("abs(", ")"),
        ("CASE WHEN true THEN ", " END"),
        ("[", "]"),
        ("(SELECT ", ")"),
    ] {
        refuses(
            format!("SELECT {}", nested(open, "1", close, NESTING + 1)),
            "the statement is nested more than 50 deep",
        );
    }
    refuses(
        nested("SELECT * FROM (", "SELECT 1", ") AS t", 1_000),
        "the statement is nested more than 50 deep",
    );
    refuses("(".repeat(100_000), "the statement is nested more than 50 deep");
}

#[test]
fn chains() {
    for operator in ["+", "-", "*", "/", "%", "||", " AND ", " OR ", "=", "<", " <> "] {
        let message = "more than 1000 operators in a row";
        refuses(format!("SELECT {}", chain("1", operator, CHAIN + 1)), message);
        refuses(format!("SELECT {}", chain("1", operator, 20_000)), message);
    }
    for operator in ["+", "*", "||", " AND ", " OR "] {
        admits(format!("SELECT {}", chain("1", operator, CHAIN)));
        admits(format!("SELECT {}", chain("1", operator, 999)));
    }
    admits(format!(
        "SELECT 1 FROM credit.loan AS l WHERE {}",
        chain("l.amount = 1", " OR ", 999)
    ));
    refuses(
        format!("SELECT {}", chain("1", " OR ", 30_000)),
        "more than 1000 operators in a row",
    );
    refuses(
        format!("SELECT {}1", "NOT ".repeat(20_000)),
        "more than 1000 operators in a row",
    );
    refuses(
        format!("SELECT {}1", "- ".repeat(20_000)),
        "more than 1000 operators in a row",
    );
    refuses(
        format!("SELECT 1{}", "::INT".repeat(20_000)),
        "more than 1000 operators in a row",
    );
    refuses(
        format!("SELECT a{}", "[1]".repeat(20_000)),
        "more than 1000 operators in a row",
    );
    refuses(
        format!("SELECT 1::INT{}", "[]".repeat(20_000)),
        "more than 1000 operators in a row",
    );
    refuses(
        format!("SELECT {}", vec!["a"; 20_000].join(".")),
        "more than 1000 operators in a row",
    );
}

#[test]
fn chains_inside_chains() {
    let two_levels = |inner: usize, outer: usize| format!("SELECT ({}){}", chain("1", "+", inner), "+1".repeat(outer));
    admits(two_levels(500, 500));
    refuses(two_levels(900, 900), "an expression is more than 1200 operators deep");
    refuses(
        format!(
            "SELECT {}",
            nested(
                "(",
                "1",
                "+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1)",
                49
            )
        ),
        "an expression is more than",
    );
    let many = vec![chain("1", "+", 900); 20].join(",");
    refuses(format!("SELECT {many}"), "the statement would take too long to read");
}

#[test]
fn joins_and_set_operations() {
    let joined = |joins: usize| {
        format!(
            "SELECT 1 FROM credit.loan AS t{}",
            " CROSS JOIN credit.loan".repeat(joins)
        )
    };
    admits(joined(JOINS));
    refuses(joined(JOINS + 1), "more than 64 joins");
    refuses(
        format!("SELECT 1 FROM {}", vec!["credit.loan"; JOINS + 2].join(",")),
        "more than 64 joins",
    );
    for operator in [" UNION ALL ", " EXCEPT ", " INTERSECT "] {
        admits(chain("SELECT 1", operator, SET_OPERATIONS));
        refuses(
            chain("SELECT 1", operator, SET_OPERATIONS + 1),
            "more than 256 set operations",
        );
        refuses(chain("SELECT 1", operator, 10_000), "more than 256 set operations");
    }
}

#[test]
fn types_inside_types() {
    refuses(
        format!("SELECT 1::{}INT", "ARRAY<".repeat(30_000)),
        "more than 50 nested types",
    );
}

#[test]
fn ctes_that_multiply() {
    let doubling = |count: usize| {
        let first = "c0 AS (SELECT 1 AS x FROM credit.loan)".to_owned();
        let rest = (1..=count).map(|n| format!("c{n} AS (SELECT a.x FROM c{} AS a, c{} AS b)", n - 1, n - 1));
        let all: Vec<String> = std::iter::once(first).chain(rest).collect();
        format!("WITH {} SELECT * FROM c{count}", all.join(", "))
    };
    admits(doubling(9));
    on_a_worker(move || {
        let sql = doubling(10);
        let (text, _, mut read) = query(&sql);
        let error = resolve_identifiers(&text, &mut read, &Bank).unwrap_err();
        assert_eq!(error.code, Code::LIM001, "{error}");
    });
    let ctes = |count: usize| {
        let all: Vec<String> = (0..count).map(|n| format!("c{n} AS (SELECT 1)")).collect();
        format!("WITH {} SELECT 1", all.join(", "))
    };
    admits(ctes(64));
    refuses(ctes(65), "more than 64 queries in one WITH");
    refuses(ctes(1_000), "more than 64 queries in one WITH");
}

#[test]
fn wide_is_not_deep() {
    admits(format!("SELECT 1 IN ({})", vec!["1"; 100_000].join(",")));
    admits(format!("SELECT {}", vec!["1"; 4_096].join(",")));
    refuses(
        format!("SELECT {}", vec!["1"; 4_097].join(",")),
        "more than 4096 columns in one SELECT",
    );
    let windows = |count: usize| format!("SELECT {}", vec!["rank() OVER (ORDER BY 1)"; count].join(","));
    admits(windows(256));
    refuses(windows(257), "more than 256 window functions in a statement");
    admits(format!("VALUES {}", vec!["(1,'a')"; 30_000].join(",")));
    admits(format!("SELECT CASE {} END", "WHEN 1 = 2 THEN 3 ".repeat(10_000)));
    admits(format!("SELECT 1{}", "\n--\n".repeat(60_000)));
}

/// The parser tries these twice at each level: 2 to the power of the depth.
#[test]
fn what_the_parser_reads_twice() {
    let in_from = |depth: usize| {
        nested(
            "SELECT * FROM ((",
            "SELECT 1",
            ") AS a JOIN credit.loan AS b ON true)",
            depth,
        )
    };
    admits(in_from(5));
    refuses(in_from(25), "the statement would take too long to read");
    for (open, core, close) in [
        ("CAST(", "1", ")"),
        ("POSITION(", "'a'", ", 1)"),
        ("SUBSTRING(", "1", " FROM FROM)"),
        ("EXTRACT(", "1", ")"),
        ("CEIL(", "1", " TO TO)"),
        ("1 IN ((SELECT ", "1 1 1", "), 1)"),
        ("EXISTS ((SELECT ", "1 1 1", "))"),
        ("{fn abs(", "1 1 1", ")}"),
        ("CASE WHEN CAST(", "1 1 1", ") THEN"),
        ("OVERLAY(", "1", " PLACING)"),
        ("TRIM(", "1", " 1)"),
        ("CONVERT(", "1", " 1)"),
        ("INTERVAL (", "1 1", ")"),
        ("ARRAY(SELECT ", "1 1 1", ")"),
        ("f(SELECT (", "1 1 1", "))"),
    ] {
        for depth in [12, 24, 49] {
            let sql = format!("SELECT {}", nested(open, core, close, depth));
            on_a_worker(move || {
                let _: Result<_, _> = super::super::read_statement(&sql);
            });
        }
    }
    for (open, core, close) in [
        ("SELECT * FROM (SELECT (", "1 1 1", "))"),
        ("SELECT * FROM ((SELECT * FROM (", "1", ") x) y)"),
        ("WITH a AS (SELECT * FROM (", "SELECT 1 1 1", ")) SELECT 1"),
        ("SELECT * FROM (a JOIN (", "SELECT 1 1 1", "))"),
        ("SELECT * FROM ((a JOIN (", "b", ") ON true) JOIN c ON true)"),
        ("SELECT * FROM a, ((", "SELECT 1 1 1", ")) "),
        ("(SELECT 1 UNION (", "SELECT 1 1 1", "))"),
    ] {
        for depth in [8, 16, 24] {
            let sql = nested(open, core, close, depth);
            on_a_worker(move || {
                let _: Result<_, _> = super::super::read_statement(&sql);
            });
        }
    }
}
