//! The query shapes: `f_leak` in every place where an expression can stand.
//!
//! Owns: the texts. Never: an answer.
//!
//! `{t}` is the table under policy, `{p}` the entity's table, `{v}` what follows it, `{u}` the entity's view.

/// Shapes over `{t}` alone, which a plain view can answer too.
pub const SHAPES: &[&str] = &[
    // WHERE
    "SELECT id FROM {t} WHERE f_leak(id) >= 0",
    "SELECT id FROM {t} WHERE f_leak(word) <> 'x'",
    "SELECT id FROM {t} WHERE kind = -1 AND f_leak(n) > 0",
    "SELECT id FROM {t} WHERE f_leak(n) > 0 AND kind = -1",
    "SELECT id FROM {t} WHERE kind = -1 OR f_leak(id) > 100",
    "SELECT id FROM {t} WHERE NOT (f_leak(word) = 'w7')",
    "SELECT id FROM {t} WHERE f_leak(phone) = '***'",
    "SELECT id FROM {t} WHERE f_leak(pin) IS NULL",
    "SELECT id FROM {t} WHERE f_leak(id) IN (1, 2, 3, 50001)",
    "SELECT id FROM {t} WHERE f_leak(id) BETWEEN 5 AND 90",
    "SELECT id FROM {t} WHERE f_leak(word) LIKE 'w1%'",
    "SELECT id FROM {t} WHERE CAST(f_leak(id) AS VARCHAR) = word",
    "SELECT id FROM {t} WHERE f_leak(bucket) IS NULL",
    "SELECT id FROM {t} WHERE bucket IS NULL AND f_leak(id) > 0",
    "SELECT id FROM {t} WHERE f_leak(f_leak(id)) % 2 = 0",
    "SELECT count(*) FROM {t} WHERE f_leak(n) = n",
    // The list of columns
    "SELECT f_leak(id), f_leak(word) FROM {t}",
    "SELECT f_leak(phone), f_leak(pin) FROM {t}",
    "SELECT f_leak(id) + f_leak(n) FROM {t}",
    "SELECT CASE WHEN kind = -1 THEN f_leak(word) ELSE f_leak(phone) END FROM {t}",
    "SELECT CASE f_leak(kind) WHEN -1 THEN id ELSE f_leak(n) END FROM {t}",
    "SELECT coalesce(f_leak(pin), f_leak(id)) FROM {t}",
    "SELECT id FROM {t} WHERE CASE WHEN f_leak(id) > 0 THEN kind = -2 ELSE false END",
    // DISTINCT, GROUP BY, HAVING, aggregates
    "SELECT DISTINCT f_leak(word) FROM {t}",
    "SELECT DISTINCT f_leak(phone) FROM {t}",
    "SELECT f_leak(kind), count(*) FROM {t} GROUP BY f_leak(kind)",
    "SELECT f_leak(phone), count(*) FROM {t} GROUP BY 1",
    "SELECT kind, max(f_leak(n)) FROM {t} GROUP BY kind",
    "SELECT kind FROM {t} GROUP BY kind HAVING sum(f_leak(id)) > 10",
    "SELECT kind FROM {t} GROUP BY kind HAVING f_leak(kind) = -1",
    "SELECT count(DISTINCT f_leak(word)), min(f_leak(phone)) FROM {t}",
    "SELECT sum(n) FILTER (WHERE f_leak(id) > 0) FROM {t}",
    "SELECT string_agg(f_leak(word), ',' ORDER BY f_leak(id)) FROM {t}",
    // ORDER BY, LIMIT
    "SELECT id FROM {t} ORDER BY f_leak(n)",
    "SELECT id FROM {t} ORDER BY f_leak(phone), f_leak(id) DESC LIMIT 3",
    "SELECT f_leak(id) FROM {t} LIMIT 5",
    "SELECT f_leak(word) FROM {t} ORDER BY id OFFSET 2 LIMIT 4",
    "SELECT id FROM (SELECT id, n FROM {t} ORDER BY id LIMIT 9) AS x WHERE f_leak(n) > 0",
    // Windows
    "SELECT id, row_number() OVER (ORDER BY f_leak(n)) FROM {t}",
    "SELECT sum(f_leak(id)) OVER (PARTITION BY f_leak(kind) ORDER BY id) FROM {t}",
    "SELECT lag(f_leak(word)) OVER (ORDER BY id) FROM {t}",
    "SELECT id FROM (SELECT id, rank() OVER (ORDER BY id) AS r FROM {t}) AS x WHERE f_leak(r) > 0",
    // Joins
    "SELECT a.id FROM {t} AS a JOIN {t} AS b ON a.id = b.id AND f_leak(b.n) > 0",
    "SELECT a.id FROM {t} AS a JOIN {t} AS b ON f_leak(a.id) = f_leak(b.id)",
    "SELECT a.id, b.n FROM {t} AS a LEFT JOIN {t} AS b ON a.id = b.id AND f_leak(b.word) <> 'x'",
    "SELECT a.id FROM {t} AS a FULL JOIN {t} AS b ON a.id = b.id + 1 AND f_leak(a.n) > 0",
    "SELECT a.id FROM {t} AS a JOIN {t} AS b USING (phone) WHERE f_leak(a.word) = b.word",
    "SELECT a.id FROM {t} AS a, {t} AS b WHERE a.id = b.id AND f_leak(a.n + b.n) > 0",
    "SELECT a.id FROM {t} AS a JOIN {t} AS b ON a.id = b.id WHERE f_leak(b.phone) = '***'",
    // Subqueries
    "SELECT id FROM {t} WHERE id IN (SELECT f_leak(id) FROM {t} WHERE kind = -2)",
    "SELECT id FROM {t} AS a WHERE EXISTS (SELECT 1 FROM {t} AS b WHERE b.id = a.id AND f_leak(b.n) > 0)",
    "SELECT id FROM {t} AS a WHERE NOT EXISTS (SELECT 1 FROM {t} AS b WHERE b.id = a.id + 1 AND f_leak(b.word) = 'x')",
    "SELECT (SELECT max(f_leak(n)) FROM {t}), (SELECT min(f_leak(phone)) FROM {t})",
    "SELECT id FROM {t} WHERE f_leak(n) > (SELECT avg(f_leak(n)) FROM {t})",
    "SELECT a.id, (SELECT count(*) FROM {t} AS b WHERE b.kind = a.kind AND f_leak(b.id) > 0) FROM {t} AS a",
    // CTEs, derived tables, set operations
    "WITH c AS (SELECT id, word FROM {t}) SELECT id FROM c WHERE f_leak(word) <> 'x'",
    "WITH c AS (SELECT f_leak(id) AS i FROM {t}) SELECT a.i FROM c AS a JOIN c AS b ON a.i = b.i",
    "WITH c AS (SELECT id, phone FROM {t} WHERE kind = -1), e AS (SELECT * FROM c) SELECT f_leak(phone) FROM e",
    "SELECT id FROM (SELECT id, n FROM {t} WHERE kind <> -3) AS x WHERE f_leak(n) > 0",
    "SELECT id FROM {t} WHERE f_leak(id) > 0 UNION SELECT f_leak(n) FROM {t}",
    "SELECT f_leak(word) FROM {t} UNION ALL SELECT phone FROM {t} WHERE f_leak(phone) = '***'",
    "SELECT f_leak(id) FROM {t} EXCEPT SELECT id FROM {t} WHERE f_leak(id) < 50",
    "SELECT id FROM {t} INTERSECT SELECT f_leak(id) FROM {t}",
    "SELECT x FROM (SELECT id AS x FROM {t} UNION ALL SELECT n FROM {t}) AS y WHERE f_leak(x) > 0",
];

/// Shapes over what an entity's policy reaches.
pub const ENTITY_SHAPES: &[&str] = &[
    "SELECT id FROM {u} WHERE f_leak(name) <> 'x'",
    "SELECT f_leak(name), f_leak(phone) FROM {u}",
    "SELECT id FROM {u} WHERE f_leak(phone) IS NULL",
    "SELECT f_leak(name) FROM {p} WHERE f_leak(id) > 0",
    "SELECT id FROM {v} WHERE f_leak(note) <> 'x'",
    "SELECT id FROM {v} WHERE f_leak(person_id) > 0 AND f_leak(id) > 0",
    "SELECT u.id FROM {u} AS u JOIN {v} AS v ON v.person_id = u.id AND f_leak(v.note) <> f_leak(u.name)",
    "SELECT u.name, max(f_leak(v.note)) FROM {u} AS u LEFT JOIN {v} AS v ON v.person_id = u.id GROUP BY u.name",
    "SELECT p.id FROM {p} AS p WHERE EXISTS (SELECT 1 FROM {v} AS v WHERE v.person_id = p.id AND f_leak(v.id) > 0)",
    "WITH c AS (SELECT person_id, note FROM {v}) SELECT f_leak(note) FROM c ORDER BY f_leak(person_id)",
];
