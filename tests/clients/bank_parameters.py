"""Prepared statements and parameters, alone and from sixteen threads at once.

usage: bank_parameters.py URI
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal

import adbc_driver_manager as adbc

from expect import connect, done, equal, refused, rows

CASES = [
    ("SELECT count(*) FROM credit.loan WHERE status = ?", ("A",), [(203,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = $1", ("A",), [(203,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = ? OR status = ?", ("A", "B"), [(234,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = $2 OR status = $1", ("A", "B"), [(234,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = $1 AND $1 = 'A'", ("A",), [(203,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = ?", (None,), [(0,)]),
    ("SELECT count(*) FROM credit.loan WHERE amount = ?", (Decimal("80952.00"),), None),
    ("SELECT loan_id FROM credit.loan WHERE account_id = ? AND date = ?", (2, date(1994, 1, 5)), [(4959,)]),
    ("SELECT count(*) FROM settlement.trans WHERE date < ?", (date(1993, 1, 1),), [(0,)]),
    ("SELECT count(*) FROM accounting.district WHERE A2 = ?", ("地区",), [(0,)]),
    ("SELECT ? AS said", ("客户 '\"\\ ?",), [("客户 '\"\\ ?",)]),
    ("SELECT count(*) FROM credit.loan WHERE status = ? AND '?' = '?'", ("D",), [(45,)]),
    ("SELECT count(*) /* why? */ FROM credit.loan WHERE status = ? -- really?\n", ("D",), [(45,)]),
    ('SELECT status AS "?" FROM credit.loan WHERE loan_id = ?', (4959,), [("A",)]),
    ("SELECT count(*) FROM settlement.trans WHERE k_symbol = ?", (" ",), [(1677,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = ?", ("A' OR '1'='1",), [(0,)]),
    ("SELECT count(*) FROM credit.loan WHERE status = ?", ("\\' OR 1=1 -- ",), [(0,)]),
    ("SELECT count(*) FROM accounting.client WHERE client_id BETWEEN ? AND ?", (1, 10), [(10,)]),
    ("SELECT A1 FROM accounting.district WHERE A1 IN (?, ?, ?) ORDER BY A1", (3, 1, 2), [(1,), (2,), (3,)]),
]


def cases(connection):
    for sql, parameters, wanted in CASES:
        found = rows(connection, sql, parameters)
        if wanted is None:
            wanted = rows(connection, "SELECT count(*) FROM credit.loan WHERE amount = 80952")
            assert wanted[0][0] > 0
        equal(found, wanted, f"{sql} with {parameters}")


def schemas(connection):
    with connection.cursor() as cursor:
        prepared = cursor.adbc_prepare("SELECT loan_id, amount FROM credit.loan WHERE account_id = ?")
        equal(len(prepared), 1, "one parameter")
        schema = cursor.adbc_execute_schema("SELECT loan_id, amount, date, status FROM credit.loan")
        cursor.execute("SELECT loan_id, amount, date, status FROM credit.loan")
        equal(cursor.fetch_arrow_table().schema, schema, "the schema told and the schema sent")
        empty = cursor.adbc_prepare("SELECT 1")
        assert empty is not None and len(empty) == 0, "no parameters is an empty schema"
    refused(connection, "SELECT count(*) FROM credit.loan WHERE status = ?", adbc.Error, "a missing parameter")


def concurrent(uri, connection):
    sql = "SELECT account_id, count(*) FROM settlement.trans WHERE account_id = ? GROUP BY account_id"
    accounts = [row[0] for row in rows(connection, "SELECT DISTINCT account_id FROM settlement.trans ORDER BY 1 LIMIT 64")]
    counts = dict(rows(connection, "SELECT account_id, count(*) FROM settlement.trans GROUP BY account_id"))

    def ask(offset):
        # Each thread its own connection, as a pool has it; the server's bound on one user's statements is 8.
        with connect(uri, ("olga", "anna")[offset % 2]) as own:
            return [(account, rows(own, sql, (account,))) for account in accounts[offset::16]]

    with ThreadPoolExecutor(16) as pool:
        for answers in pool.map(ask, range(16)):
            for account, found in answers:
                equal(found, [(account, counts[account])], f"account {account}")


def main(uri):
    with connect(uri, "olga") as connection:
        cases(connection)
        schemas(connection)
        concurrent(uri, connection)
    done()


if __name__ == "__main__":
    main(*sys.argv[1:])
