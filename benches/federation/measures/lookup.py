"""One customer over three departments by key: through Flight SQL, prepared, against the same statements by hand.

Owns: the statement, and what a careful program would send instead: the same reads in the same waves, at once, on warm connections.
Never: a cold connection.

Caliber is asked twice for each customer: through the ADBC driver's own statement, which is what the server is judged by, and through
the driver's DB-API, whose fixed cost (it collects the driver's garbage before each statement) no server can change. Both are shown.
"""

import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow
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


class ThroughCaliber:
    """The prepared statement, by the driver's own interface."""

    def __init__(self, cursor):
        self.statement = cursor.adbc_statement
        self.statement.set_sql_query(SQL)
        self.statement.prepare()
        self.last = None

    def release(self):
        """What the last answer holds; outside of the clock, as the other side's connections keep theirs."""
        if self.last is not None:
            self.last.close()
            self.last = None

    def look_up(self, key):
        self.statement.bind(pyarrow.record_batch([pyarrow.array([key], pyarrow.int64())], names=["1"]))
        stream, _ = self.statement.execute_query()
        self.last = pyarrow.RecordBatchReader.from_stream(stream)
        return self.last.read_all()


def measure(bench):
    """Look-ups in turns, each key once for all."""
    keys = some_keys(bench)
    by_hand = ByHand(bench)
    ours, dbapi, theirs = [], [], []
    bench.say(f"lookup: {LOOKUPS} keys")
    try:
        with bench.caliber.connection.cursor() as direct, bench.caliber.connection.cursor() as cursor:
            through_caliber = ThroughCaliber(direct)

            def through_dbapi(key):
                cursor.execute(SQL, (key,))
                return cursor.fetch_arrow_table()

            begun = time.monotonic()
            for number, key in enumerate(keys):
                if number >= WARM_UP + LEAST and time.monotonic() - begun > SECONDS_MAX:
                    break
                turns = [(ours, through_caliber.look_up), (theirs, by_hand.look_up), (dbapi, through_dbapi)]
                rows = []
                for seconds, ask in turns[number % 3 :] + turns[: number % 3]:
                    taken, found = timed(lambda ask=ask, key=key: ask(key))
                    through_caliber.release()
                    rows.append(len(found))
                    if number >= WARM_UP:
                        seconds.append(taken)
                if len(set(rows)) != 1 or not rows[0]:
                    bench.report.error(f"look-up of customer {key}: {rows} rows")
    finally:
        by_hand.close()
    show(bench, ours, dbapi, theirs)


def some_keys(bench):
    """Customers who have orders, by a fixed dice."""
    with bench.postgres.connect("hand") as connection:
        (last,) = connection.execute("SELECT max(o_custkey) FROM orders").fetchone()
        dice = random.Random(1)
        drawn = [dice.randint(1, last) for _ in range(4 * (LOOKUPS + WARM_UP))]
        found = connection.execute("SELECT DISTINCT o_custkey FROM orders WHERE o_custkey = ANY(%s)", (drawn,))
        having = {key for (key,) in found}
    return [key for key in drawn if key in having][: LOOKUPS + WARM_UP]


def show(bench, ours, dbapi, theirs):
    report = bench.report
    report.section(
        "One customer by key",
        f"`{SQL}`",
        f"{len(ours)} customers; prepared and warm, in turns. By hand: customer and orders with their lines at once, then the parts."
        " Caliber through the ADBC driver's statement (the gate), and through its DB-API.",
    )
    rows, ratios = [], []
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        one, wrapped, other = (percentile(seconds, share) for seconds in (ours, dbapi, theirs))
        ratios.append(one / other)
        rows.append(
            [name, milliseconds(one), milliseconds(other), ratio(one / other), milliseconds(wrapped), ratio(wrapped / other)]
        )
    report.table(["", "Caliber ms", "by hand ms", "ratio", "DB-API ms", "ratio"], rows)
    report.gate(
        f"look-up by key: p50 ≤ {P50_MAX} and p99 ≤ {P99_MAX} times by hand",
        f"p50 {ratios[0]:.2f}, p99 {ratios[2]:.2f}",
        ratios[0] <= P50_MAX and ratios[2] <= P99_MAX,
    )
