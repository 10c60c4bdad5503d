//! The ten queries: as a principal asks them, and with filter and masks written by hand.
//!
//! Owns: the pairs. Never: runs one.

/// One query, twice.
pub(super) struct Query {
    pub name: &'static str,
    /// Whose policy governs it.
    pub role: &'static str,
    pub governed: &'static str,
    /// The same with that policy in the SQL.
    pub by_hand: &'static str,
}

pub(super) const QUERIES: &[Query] = &[
    Query {
        name: "scan with masks",
        role: "teller",
        governed: "SELECT id, account_id, day, amount, kind, partner, note FROM bank.trans",
        by_hand: "SELECT id, account_id, day, CASE WHEN kind = 'SALARY' THEN NULL ELSE amount END AS amount, kind, \
                  substr(partner, 1, 2) || '****' AS partner, '***' AS note FROM bank.trans WHERE branch < 50",
    },
    Query {
        name: "filter",
        role: "teller",
        governed: "SELECT id, day, amount FROM bank.trans WHERE day BETWEEN 1000 AND 1999 AND kind = 'CARD' AND amount % 7 = 3",
        by_hand: "SELECT id, day, amount FROM (SELECT id, day, kind, CASE WHEN kind = 'SALARY' THEN NULL ELSE amount END \
                  AS amount FROM bank.trans WHERE branch < 50) AS t \
                  WHERE day BETWEEN 1000 AND 1999 AND kind = 'CARD' AND amount % 7 = 3",
    },
    Query {
        name: "group by",
        role: "teller",
        governed: "SELECT kind, branch, count(*) AS n, sum(amount) AS total FROM bank.trans GROUP BY kind, branch",
        by_hand: "SELECT kind, branch, count(*) AS n, sum(CASE WHEN kind = 'SALARY' THEN NULL ELSE amount END) AS total \
                  FROM bank.trans WHERE branch < 50 GROUP BY kind, branch",
    },
    Query {
        name: "join",
        role: "teller",
        governed: "SELECT a.opened % 100 AS age, count(*) AS n, max(t.amount) AS most FROM bank.trans AS t \
                   JOIN bank.account AS a ON a.id = t.account_id GROUP BY 1",
        by_hand: "SELECT a.opened % 100 AS age, count(*) AS n, max(CASE WHEN t.kind = 'SALARY' THEN NULL ELSE t.amount END) \
                  AS most FROM bank.trans AS t JOIN bank.account AS a ON a.id = t.account_id \
                  WHERE t.branch < 50 AND a.branch < 50 GROUP BY 1",
    },
    Query {
        name: "entity filter through holdings",
        role: "district",
        governed: "SELECT kind, count(*) AS n, sum(amount) AS total FROM bank.trans GROUP BY kind",
        by_hand: "SELECT kind, count(*) AS n, sum(amount) AS total FROM bank.trans WHERE account_id IN \
                  (SELECT d.account_id FROM bank.disp AS d JOIN bank.client AS c ON c.id = d.client_id \
                  WHERE d.type = 'OWNER' AND c.district < 50) GROUP BY kind",
    },
    Query {
        name: "top-N",
        role: "teller",
        governed: "SELECT id, partner, amount FROM bank.trans ORDER BY amount DESC NULLS LAST, id LIMIT 20",
        by_hand: "SELECT id, substr(partner, 1, 2) || '****' AS partner, CASE WHEN kind = 'SALARY' THEN NULL ELSE amount END \
                  AS amount FROM bank.trans WHERE branch < 50 ORDER BY amount DESC NULLS LAST, id LIMIT 20",
    },
    Query {
        name: "point look-up",
        role: "teller",
        governed: "SELECT id, day, amount, partner FROM bank.trans WHERE id IN (7, 77, 777, 7777, 77777)",
        by_hand: "SELECT id, day, CASE WHEN kind = 'SALARY' THEN NULL ELSE amount END AS amount, \
                  substr(partner, 1, 2) || '****' AS partner FROM bank.trans \
                  WHERE branch < 50 AND id IN (7, 77, 777, 7777, 77777)",
    },
    Query {
        name: "window",
        role: "teller",
        governed: "SELECT id, sum(amount) OVER (PARTITION BY account_id ORDER BY day, id) AS running FROM bank.trans",
        by_hand: "SELECT id, sum(amount) OVER (PARTITION BY account_id ORDER BY day, id) AS running FROM \
                  (SELECT id, account_id, day, CASE WHEN kind = 'SALARY' THEN NULL ELSE amount END AS amount \
                  FROM bank.trans WHERE branch < 50) AS t",
    },
    Query {
        name: "distinct",
        role: "teller",
        governed: "SELECT DISTINCT account_id, kind FROM bank.trans",
        by_hand: "SELECT DISTINCT account_id, kind FROM bank.trans WHERE branch < 50",
    },
    Query {
        name: "unified view",
        role: "district",
        governed: "SELECT district, count(*) AS n, sum(age) AS years FROM unified.customer_360 GROUP BY district",
        by_hand: "SELECT district, count(*) AS n, sum(2026 - birth_year) AS years FROM bank.client \
                  WHERE district < 50 GROUP BY district",
    },
];
