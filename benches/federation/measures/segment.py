"""A segment of about 110 customers with their orders: the two statements by hand against one.

Owns: the segment. Never: a key list in the text; Caliber finds the keys itself.
"""

from clock import medians
from report import milliseconds, ratio

CUSTOMERS = 110
STATEMENTS_MAX = 4
RATIO_MAX = 4
SEGMENT, NATION = "BUILDING", 3

SQL = (
    "SELECT c.c_custkey, c.c_name, c.c_acctbal, o.o_orderkey, o.o_orderdate, o.o_totalprice"
    " FROM crm.customer c JOIN sales.orders o ON o.o_custkey = c.c_custkey"
    " WHERE c.c_mktsegment = '{segment}' AND c.c_nationkey = {nation} AND c.c_acctbal >= {least}"
)


def measure(bench):
    """Traffic of one run, then rounds."""
    with bench.mariadb.connect("hand") as crm, bench.postgres.connect("hand") as sales:
        least = least_balance(crm)
        sql = SQL.format(segment=SEGMENT, nation=NATION, least=least)
        customers, orders = by_hand(crm, sales, least)
        bench.say(f"segment: {len(customers)} customers, {len(orders)} orders")
        # Once before: what a connection asks when it opens is not the statement's.
        bench.caliber.ask(sql)
        bench.counters.reset()
        found = bench.caliber.ask(sql)
        sales_statements, sales_rows = bench.counters.sales("caliber")
        crm_statements, crm_rows = bench.counters.crm("caliber")
        if found.num_rows != len(orders):
            bench.report.error(f"segment: {found.num_rows} rows, not {len(orders)}")
        rounds = max(bench.options.rounds, 9)
        ours, theirs = medians([lambda: bench.caliber.ask(sql), lambda: by_hand(crm, sales, least)], rounds)
    report = bench.report
    report.section("A segment with its orders", f"`{sql}`", "By hand: the customers, then their orders by `= ANY(keys)`.")
    report.table(
        ["", "Caliber", "by hand"],
        [
            ["ms", milliseconds(ours), milliseconds(theirs)],
            ["rows from PostgreSQL", f"{sales_rows:,}", f"{len(orders):,}"],
            ["rows from MariaDB", f"{crm_rows:,}", f"{len(customers):,}"],
            ["statements", sales_statements + crm_statements, 2],
        ],
    )
    report.gate(
        f"segment: only its orders leave PostgreSQL, ≤ {STATEMENTS_MAX} statements",
        f"{sales_rows:,} rows of {len(orders):,}, {sales_statements + crm_statements} statements",
        sales_rows <= len(orders) and sales_statements + crm_statements <= STATEMENTS_MAX,
    )
    report.gate(f"segment: ≤ {RATIO_MAX} times by hand", ratio(ours / theirs), ours / theirs <= RATIO_MAX)


def least_balance(crm):
    """The balance above which the segment has so many customers, or all of them."""
    with crm.cursor() as cursor:
        cursor.execute(
            "SELECT c_acctbal FROM customer WHERE c_mktsegment = %s AND c_nationkey = %s ORDER BY c_acctbal DESC LIMIT %s",
            (SEGMENT, NATION, CUSTOMERS),
        )
        return cursor.fetchall()[-1][0]


def by_hand(crm, sales, least):
    """Customers, then their orders."""
    with crm.cursor() as cursor:
        cursor.execute(
            "SELECT c_custkey, c_name, c_acctbal FROM customer"
            " WHERE c_mktsegment = %s AND c_nationkey = %s AND c_acctbal >= %s",
            (SEGMENT, NATION, least),
        )
        customers = {key: rest for key, *rest in cursor.fetchall()}
    with sales.cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT o_custkey, o_orderkey, o_orderdate, o_totalprice FROM orders WHERE o_custkey = ANY(%s)",
            (list(customers),),
            prepare=True,
        )
        return customers, [(key, *customers[key], *rest) for key, *rest in cursor.fetchall()]
