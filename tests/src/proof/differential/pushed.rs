//! What statements sent to sources did there, beside reading a table.
//!
//! Owns: the words by which that is seen; names of tables and columns here hold none of them, and values are parameters.
//! Never: what should be pushed.

use std::collections::BTreeSet;

/// A kind of work, and the words that only it has.
const WORK: [(&str, &[&str]); 8] = [
    ("joins", &[" JOIN ", "EXISTS ("]),
    (
        "aggregates",
        &[" GROUP BY ", "count(", "sum(", "min(", "max(", "bool_and(", "bool_or("],
    ),
    ("orders", &[" ORDER BY "]),
    ("limits", &[" LIMIT "]),
    ("unions", &[" UNION ALL "]),
    ("keys", &["= any(", "json_each(", "json_table("]),
    ("subqueries", &[" IN (SELECT "]),
    ("conditions", &[" WHERE ", " HAVING "]),
];

/// The work of all statements of one query.
pub fn work(statements: &[(String, String)]) -> BTreeSet<&'static str> {
    let lower: Vec<String> = statements.iter().map(|(_, text)| text.to_lowercase()).collect();
    WORK.iter()
        .filter(|(_, words)| {
            let holds = |text: &String| words.iter().any(|word| text.contains(&word.to_lowercase()));
            lower.iter().any(holds)
        })
        .map(|(name, _)| *name)
        .collect()
}

/// Whether a source did more than to filter a table.
pub fn is_more_than_a_read(work: &BTreeSet<&'static str>) -> bool {
    work.iter().any(|name| *name != "conditions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let statements = [("pg".to_owned(), text.to_owned())];
        assert_eq!(work(&statements).into_iter().collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn work_is_seen_by_its_words() {
        check("SELECT t0.\"n\" FROM \"a\" AS t0", &[]);
        check(
            "SELECT t0.\"n\" FROM \"a\" AS t0 WHERE (t0.\"n\" = $1::int8)",
            &["conditions"],
        );
        check(
            "SELECT t0.`n`, COUNT(*) FROM `a` AS t0 JOIN `b` AS t1 ON (t0.`n` = t1.`n`) GROUP BY t0.`n`",
            &["aggregates", "joins"],
        );
    }
}
