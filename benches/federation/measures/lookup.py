"""One customer over three departments by key: through Flight SQL, prepared, against the same statements by hand.

Owns: the statement, and what a careful program would send instead: the same reads in the same waves, at once, on warm connections.
Never: a cold connection.
"""

import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

from clock import timed
from report import milliseconds, percentile, ratio

LOOKUPS = 400
WARM_UP = 20
SECONDS_MAX = 240
"""After so long no further customer is looked up; the report says how many were."""
LEAST = 20
P50_MAX = 3
P99_MAX = 5

SQL = (
    "SELECT c.c_name, c.c_phone, c.c_acctbal, o.o_orderkey, o.o_orderdate, o.o_totalprice, l.l_linenumber, l.l_quantity,"
    " l.l_extendedprice, p.p_name, p.p_brand"
    " FROM crm.customer c JOIN sales.orders o ON o.o_custkey = c.c_custkey"
    " JOIN sales.lineitem l ON l.l_orderkey = o.o_orderkey JOIN supply.part p ON p.p_partkey = l.l_partkey"
    " WHERE c.c_custkey = ?"
)


class ByHand:
    """Warm connections to the three departments, each with a thread of its own."""

    def __init__(self, bench):
        self.sales = bench.postgres.connect("hand")
        self.crm = bench.mariadb.connect("hand")
        self.supply = sqlite3.connect(f"file:{bench.data.sqlite}?mode=ro", uri=True, check_same_thread=False)
        self.threads = ThreadPoolExecutor(2)

    def close(self):
        self.threads.shutdown()
        for connection in (self.sales, self.crm, self.supply):
            connection.close()

    def orders_of(self, key):
        """The customer's orders with their lines; psycopg prepares the statement."""
        with self.sales.cursor(binary=True) as cursor:
            cursor.execute(
                "SELECT o_orderkey, o_orderdate, o_totalprice, l_linenumber, l_quantity, l_extendedprice, l_partkey"
                " FROM orders JOIN lineitem ON l_orderkey = o_orderkey WHERE o_custkey = %s",
                (key,),
                prepare=True,
            )
            return cursor.fetchall()

    def customer(self, key):
        with self.crm.cursor() as cursor:
            cursor.execute("SELECT c_name, c_phone, c_acctbal FROM customer WHERE c_custkey = %s", (key,))
            return cursor.fetchall()

    def parts(self, keys):
        marks = ", ".join("?" * len(keys))
        found = self.supply.execute(f"SELECT p_partkey, p_name, p_brand FROM part WHERE p_partkey IN ({marks})", keys)
        return {key: rest for key, *rest in found}

    def look_up(self, key):
        """First wave: customer and orders at once. Second: the parts in them."""
        orders = self.threads.submit(self.orders_of, key)
        customers = self.threads.submit(self.customer, key)
        orders, customers = orders.result(), customers.result()
        parts = self.parts(sorted({order[-1] for order in orders}))
        return [(*customer, *order[:-1], *parts[order[-1]]) for customer in customers for order in orders]


def measure(bench):
    """Look-ups in turns, each key once for both."""
    keys = some_keys(bench)
    by_hand = ByHand(bench)
    ours, theirs = [], []
    bench.say(f"lookup: {LOOKUPS} keys")
    try:
        with bench.caliber.connection.cursor() as cursor:

            def through_caliber(key):
                cursor.execute(SQL, (key,))
                return cursor.fetch_arrow_table()

            begun = time.monotonic()
            for number, key in enumerate(keys):
                if number >= WARM_UP + LEAST and time.monotonic() - begun > SECONDS_MAX:
                    break
                turns = [(ours, through_caliber), (theirs, by_hand.look_up)]
                rows = []
                for seconds, ask in turns if number % 2 else reversed(turns):
                    taken, found = timed(lambda ask=ask, key=key: ask(key))
                    rows.append(len(found))
                    if number >= WARM_UP:
                        seconds.append(taken)
                if rows[0] != rows[1] or not rows[0]:
                    bench.report.error(f"look-up of customer {key}: {rows} rows")
    finally:
        by_hand.close()
    show(bench, ours, theirs)


def some_keys(bench):
    """Customers who have orders, by a fixed dice."""
    with bench.postgres.connect("hand") as connection:
        (last,) = connection.execute("SELECT max(o_custkey) FROM orders").fetchone()
        dice = random.Random(1)
        drawn = [dice.randint(1, last) for _ in range(4 * (LOOKUPS + WARM_UP))]
        found = connection.execute("SELECT DISTINCT o_custkey FROM orders WHERE o_custkey = ANY(%s)", (drawn,))
        having = {key for (key,) in found}
    return [key for key in drawn if key in having][: LOOKUPS + WARM_UP]


def show(bench, ours, theirs):
    report = bench.report
    report.section(
        "One customer by key",
        f"`{SQL}`",
        f"{len(ours)} customers; prepared and warm. By hand: customer and orders with their lines at once, then the parts.",
    )
    rows, ratios = [], []
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        one, other = percentile(ours, share), percentile(theirs, share)
        ratios.append(one / other)
        rows.append([name, milliseconds(one), milliseconds(other), ratio(one / other)])
    report.table(["", "Caliber ms", "by hand ms", "ratio"], rows)
    report.gate(
        f"look-up by key: p50 ≤ {P50_MAX} and p99 ≤ {P99_MAX} times by hand",
        f"p50 {ratios[0]:.2f}, p99 {ratios[2]:.2f}",
        ratios[0] <= P50_MAX and ratios[2] <= P99_MAX,
    )
