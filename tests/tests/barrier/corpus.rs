//! The statements. Each has one way to fail, so that which row is evaluated first cannot matter; none has an OR or a
//! CASE whose short cut depends on how rows fall into batches.

/// One statement over `{t}`, the table under policy, and `{d}`, a table all may see.
pub struct Statement {
    /// Its text.
    pub sql: &'static str,
    /// Whether its ORDER BY is total.
    pub ordered: bool,
}

impl Statement {
    /// Its text over a table of a schema.
    pub fn over(&self, schema: &str, table: &str) -> String {
        self.sql
            .replace("{t}", &format!("{schema}.{table}"))
            .replace("{d}", &format!("{schema}.d"))
    }
}

/// Every statement.
pub fn corpus() -> &'static [Statement] {
    CORPUS
}

const fn bag(sql: &'static str) -> Statement {
    Statement { sql, ordered: false }
}

const fn list(sql: &'static str) -> Statement {
    Statement { sql, ordered: true }
}

/// 777 and the words of its kind stand in rows that nobody of the test sees, 333 in one that 80 % and 99 % see.
const CORPUS: &[Statement] = &[
    // WHERE
    bag("SELECT id FROM {t} WHERE CAST(word AS INT) = 1"),
    bag("SELECT id FROM {t} WHERE 1 / (id - 777) > 0"),
    bag("SELECT id FROM {t} WHERE 1 / (id - 333) > 0"),
    bag("SELECT id FROM {t} WHERE 1 / 0 = 1"),
    bag("SELECT id FROM {t} WHERE region = 'north' AND 1 / 0 = 1"),
    bag("SELECT id FROM {t} WHERE region = 'north' AND CAST(word AS INT) >= 0"),
    bag("SELECT id FROM {t} WHERE id = 777 AND 1 / (id - 777) > 0"),
    bag("SELECT id FROM {t} WHERE id = 333 AND 1 / (id - 333) > 0"),
    bag("SELECT count(*) FROM {t} WHERE arrow_cast(word, 'Int32') < 1000"),
    bag("SELECT id FROM {t} WHERE amount / (id - 777) > 0"),
    // SELECT
    bag("SELECT id, CAST(word AS INT) FROM {t}"),
    bag("SELECT 1 / (id - 777) FROM {t}"),
    bag("SELECT 1 / (id - 333) FROM {t}"),
    bag("SELECT id, 1 / 0 FROM {t}"),
    bag("SELECT DISTINCT CAST(word AS INT) FROM {t}"),
    bag("SELECT CAST(id * 10000000 AS SMALLINT) FROM {t} WHERE id > 776"),
    // JOIN
    bag("SELECT t.id, d.label FROM {t} AS t JOIN {d} AS d ON d.id = CAST(t.word AS INT)"),
    bag("SELECT t.id, d.label FROM {t} AS t JOIN {d} AS d ON d.id = t.kind AND 1 / (t.id - 777) > 0"),
    bag("SELECT t.id, d.label FROM {t} AS t LEFT JOIN {d} AS d ON d.id = t.kind AND 1 / (t.id - 777) >= 0"),
    bag("SELECT t.id, d.label FROM {t} AS t JOIN {d} AS d ON d.id = t.kind WHERE CAST(t.word AS INT) > d.id"),
    bag("SELECT count(*) FROM {t} AS t JOIN {d} AS d ON d.id = t.kind AND 1 / 0 = 1"),
    bag("SELECT a.id FROM {t} AS a JOIN {t} AS b ON a.id = b.id AND 1 / (b.id - 777) = 0"),
    bag("SELECT t.id, d.label FROM {t} AS t JOIN {d} AS d ON d.id = t.kind WHERE d.label = 'two'"),
    // HAVING
    bag("SELECT region, count(*) FROM {t} GROUP BY region HAVING sum(1 / (id - 777)) <= 0"),
    bag("SELECT kind, count(*) FROM {t} GROUP BY kind HAVING max(CAST(word AS INT)) > 0"),
    bag("SELECT kind FROM {t} GROUP BY kind HAVING min(1 / (id - 333)) <= 0"),
    // CASE
    bag("SELECT CASE WHEN id > 0 THEN CAST(word AS INT) END FROM {t}"),
    bag("SELECT id FROM {t} WHERE CASE WHEN kind >= 0 THEN 1 / (id - 777) END = 0"),
    bag("SELECT sum(CASE WHEN id > 0 THEN 1 / (id - 777) ELSE 0 END) FROM {t}"),
    // ORDER BY
    list("SELECT id FROM {t} ORDER BY 1 / (id - 777), id"),
    list("SELECT id FROM {t} ORDER BY CAST(word AS INT), id LIMIT 3"),
    list("SELECT id, row_number() OVER (ORDER BY 1 / (id - 333), id) FROM {t} ORDER BY id"),
    // Subqueries and CTEs
    bag("SELECT id FROM {t} WHERE id IN (SELECT CAST(word AS INT) FROM {t})"),
    bag("SELECT (SELECT max(1 / (id - 777)) FROM {t})"),
    bag(
        "SELECT d.id FROM {d} AS d WHERE EXISTS (SELECT 1 FROM {t} AS t WHERE t.kind = d.id AND CAST(t.word AS INT) > 0)",
    ),
    bag("SELECT d.id FROM {d} AS d WHERE NOT EXISTS (SELECT 1 FROM {t} AS t WHERE t.kind = d.id)"),
    bag("SELECT d.id, (SELECT count(*) FROM {t} AS t WHERE t.kind = d.id AND 1 / (t.id - 777) = 0) FROM {d} AS d"),
    bag("WITH c AS (SELECT id, CAST(word AS INT) AS n FROM {t}) SELECT count(*) FROM c WHERE n > 0"),
    bag("WITH c AS (SELECT 1 / (id - 777) AS n FROM {t}) SELECT a.n FROM c AS a JOIN c AS b ON a.n = b.n LIMIT 0"),
    bag("SELECT id FROM {t} WHERE kind = 1 UNION ALL SELECT CAST(word AS INT) FROM {t}"),
    // What cannot fail: the rows themselves, and everything that counts them.
    bag("SELECT * FROM {t}"),
    bag("SELECT count(*), count(bucket), min(id), max(id), min(word), max(word), sum(amount) FROM {t}"),
    bag("SELECT region, count(*), sum(amount) FROM {t} GROUP BY region"),
    bag("SELECT count(*) FROM {t} WHERE random() >= 0"),
    bag("SELECT id FROM {t} WHERE bucket IS NULL"),
    bag("SELECT id FROM {t} WHERE bucket >= 40 OR bucket IS NULL"),
    bag("SELECT id FROM {t} WHERE NOT (bucket < 10)"),
    bag("SELECT id FROM {t} WHERE word LIKE '1%' OR word = 'x7'"),
    bag("SELECT id FROM {t} WHERE word IN ('1', 'x7', 'X7')"),
    bag("SELECT id FROM {t} WHERE amount BETWEEN 10.00 AND 20.50"),
    bag("SELECT id FROM {t} WHERE region > 'north' AND bucket <> 60"),
    list("SELECT id FROM {t} ORDER BY id DESC LIMIT 5"),
    list("SELECT id FROM {t} ORDER BY id OFFSET 3 LIMIT 4"),
    list("SELECT word, id FROM {t} ORDER BY word DESC NULLS LAST, id LIMIT 7"),
];
