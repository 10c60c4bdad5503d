"""The known answers of a real bank, and joins over three live databases equal to the same SQL over local copies.

usage: bank_figures.py URI BANK_FOLDER
"""

import sys
from decimal import Decimal

import local_bank
from expect import connect, done, equal, rows, same_rows

# The same text runs here and in DuckDB. What has a total order is compared in order.
QUERIES = [
    """SELECT d.A3 AS region, l.status, count(*) AS loans, sum(l.amount) AS lent
       FROM credit.loan l JOIN accounting.account a ON a.account_id = l.account_id
       JOIN accounting.district d ON d.A1 = a.district_id
       GROUP BY d.A3, l.status ORDER BY d.A3, l.status""",
    """SELECT t.trans_id, t.date, t.amount, t.balance, l.loan_id, l.status, c.client_id, d.A2
       FROM settlement.trans t
       JOIN credit.loan l ON l.account_id = t.account_id
       JOIN accounting.disp p ON p.account_id = t.account_id AND p.type = 'OWNER'
       JOIN accounting.client c ON c.client_id = p.client_id
       JOIN accounting.district d ON d.A1 = c.district_id
       WHERE t.amount > 20000 AND l.status IN ('B', 'D')""",
    """SELECT c.client_id, count(DISTINCT a.account_id), count(DISTINCT k.card_id), sum(o.amount)
       FROM accounting.client c
       LEFT JOIN accounting.disp p ON p.client_id = c.client_id
       LEFT JOIN accounting.account a ON a.account_id = p.account_id
       LEFT JOIN credit.card k ON k.disp_id = p.disp_id
       LEFT JOIN settlement."order" o ON o.account_id = a.account_id
       WHERE c.district_id IN (1, 18, 70) GROUP BY c.client_id""",
    """SELECT a.account_id FROM accounting.account a
       WHERE EXISTS (SELECT 1 FROM credit.loan l WHERE l.account_id = a.account_id AND l.status = 'D')
         AND NOT EXISTS (SELECT 1 FROM settlement.trans t WHERE t.account_id = a.account_id)
       ORDER BY a.account_id""",
    """WITH inward AS (SELECT account_id, sum(amount) AS amount FROM settlement.trans WHERE type = 'PRIJEM' GROUP BY account_id),
            outward AS (SELECT account_id, sum(amount) AS amount FROM settlement.trans WHERE type <> 'PRIJEM' GROUP BY account_id)
       SELECT a.account_id, i.amount, o.amount, i.amount - coalesce(o.amount, 0) AS net
       FROM accounting.account a JOIN inward i ON i.account_id = a.account_id
       LEFT JOIN outward o ON o.account_id = a.account_id ORDER BY a.account_id""",
    """SELECT d."A1", d.A2, d.a3, d."A11", count(c.client_id) FROM accounting.district d
       LEFT JOIN accounting.client c ON c.district_id = d.a1 GROUP BY d."A1", d.A2, d.a3, d."A11" ORDER BY d."A1" """,
    """SELECT k.type, extract(year FROM k.issued) AS year, count(*) FROM credit.card k
       JOIN accounting.disp p ON p.disp_id = k.disp_id GROUP BY k.type, extract(year FROM k.issued)""",
    """SELECT account_id, date, balance FROM (
         SELECT t.account_id, t.date, t.balance,
                row_number() OVER (PARTITION BY t.account_id ORDER BY t.date DESC, t.trans_id DESC) AS place
         FROM settlement.trans t JOIN credit.loan l ON l.account_id = t.account_id) AS last
       WHERE place = 1 ORDER BY account_id""",
    """SELECT client_id, 'loan' AS what FROM accounting.disp p JOIN credit.loan l ON l.account_id = p.account_id
       UNION ALL
       SELECT client_id, 'card' FROM accounting.disp p JOIN credit.card k ON k.disp_id = p.disp_id""",
    """SELECT o.bank_to, count(*), sum(o.amount) FROM settlement."order" o
       WHERE o.account_id IN (SELECT account_id FROM accounting.account WHERE frequency LIKE 'POPLATEK%')
       GROUP BY o.bank_to HAVING count(*) > 100 ORDER BY o.bank_to""",
    """SELECT status, CASE WHEN amount >= 100000 THEN 'large' ELSE 'small' END AS size, count(*), min(date), max(date),
              sum(payments * duration) FROM credit.loan GROUP BY 1, 2 ORDER BY 1, 2""",
    "SELECT trans_id, bank, account FROM settlement.trans WHERE bank IS NULL OR account = '' ORDER BY trans_id LIMIT 500",
]

FIGURES = [
    ("SELECT count(*), sum(amount) FROM credit.loan", [(682, Decimal("103261740.00"))]),
    (
        "SELECT status, count(*), sum(amount) FROM credit.loan GROUP BY status ORDER BY status",
        [
            ("A", 203, Decimal("18603216.00")),
            ("B", 31, Decimal("4362348.00")),
            ("C", 403, Decimal("69078372.00")),
            ("D", 45, Decimal("11217804.00")),
        ],
    ),
    # The fan-out trap: SQL says what it says.
    (
        "SELECT count(*), sum(amount) FROM credit.loan l JOIN accounting.disp p ON p.account_id = l.account_id",
        [(827, Decimal("125539872.00"))],
    ),
    ("SELECT count(*) FROM accounting.client WHERE district_id = 1", [(663,)]),
    ("SELECT count(*) FROM accounting.account WHERE district_id = 1", [(554,)]),
    ('SELECT count(*), sum(amount) FROM settlement."order"', [(6471, Decimal("21228993.60"))]),
    ("SELECT count(*), min(date), max(date) FROM settlement.trans", None),
    ("SELECT count(*) FROM credit.card", [(892,)]),
    ("SELECT count(*) FROM accounting.district", [(77,)]),
    ("SELECT count(*) FROM accounting.disp", [(5369,)]),
    ("SELECT count(*) FROM unified.customer_360", [(5369,)]),
    # Bytewise and without padding, whatever the source's collation says.
    ("SELECT count(*) FROM settlement.trans WHERE k_symbol = ' '", [(1677,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = 'a'", [(0,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = 'A '", [(0,)]),
    ("SELECT count(*) FROM credit.loan WHERE status IN ('a', 'b', 'C')", [(403,)]),
]


def main(uri, folder):
    local = local_bank.load(folder)
    with connect(uri, "olga") as connection:
        for sql, wanted in FIGURES:
            equal(rows(connection, sql), wanted or local.execute(sql).fetchall(), sql)
        for sql in QUERIES:
            same_rows(rows(connection, sql), local.execute(sql).fetchall(), sql, in_order="ORDER BY" in sql.split(")")[-1])
        equal(last_day_balances(connection), (1229, 0), "money in less money out is a last-day balance")
        spellings = [rows(connection, f"SELECT {name} FROM accounting.district ORDER BY 1 LIMIT 3") for name in ("A1", "a1", '"A1"')]
        equal(spellings, [[(1,), (2,), (3,)]] * 3, "a mixed-case column in three spellings")
        empty = "SELECT * FROM credit.loan WHERE loan_id < 0"
        equal(rows(connection, empty), [], empty)
        equal(rows(connection, "SELECT count(*) FROM credit.loan LIMIT 0"), [], "LIMIT 0")
    done()


def last_day_balances(connection):
    """Accounts, and how many of them have no last-day balance within a crown of money in less money out: amounts are rounded."""
    sql = """
      WITH net AS (SELECT account_id, sum(CASE WHEN type = 'PRIJEM' THEN amount ELSE -amount END) AS net, max(date) AS last
                   FROM settlement.trans GROUP BY account_id)
      SELECT count(*), sum(CASE WHEN found > 0 THEN 0 ELSE 1 END) FROM (
        SELECT n.account_id, sum(CASE WHEN abs(t.balance - n.net) <= 1 THEN 1 ELSE 0 END) AS found
        FROM net n JOIN settlement.trans t ON t.account_id = n.account_id AND t.date = n.last GROUP BY n.account_id) AS accounts"""
    return rows(connection, sql)[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
