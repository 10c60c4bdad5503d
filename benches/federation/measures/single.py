"""Statements over PostgreSQL alone: as many rows as a hand-written statement returns, and hardly more time.

Owns: the statements. Never: one that Caliber would spell otherwise for the user.
"""

from answers import difference
from clock import medians
from report import count, milliseconds, ratio
from systems import qualified

TIME_RATIO_MAX = 1.3
TIME_ADDED_MAX = 0.005

STATEMENTS = {
    "aggregate": (
        "SELECT l_returnflag, l_linestatus, count(*) AS n, sum(l_quantity) AS quantity FROM {lineitem}"
        " WHERE l_shipdate < DATE '1995-06-17' GROUP BY l_returnflag, l_linestatus"
    ),
    "top-N": (
        "SELECT o_orderkey, o_custkey, o_totalprice FROM {orders} WHERE o_orderdate >= DATE '1997-01-01'"
        " ORDER BY o_totalprice DESC, o_orderkey LIMIT 50"
    ),
    "join": (
        "SELECT o_orderkey, o_orderdate, l_linenumber, l_quantity FROM {orders} JOIN {lineitem} ON l_orderkey = o_orderkey"
        " WHERE o_orderdate = DATE '1996-03-12' AND l_shipmode = 'RAIL'"
    ),
    "count": "SELECT count(*) AS n FROM {lineitem} WHERE l_receiptdate > DATE '1998-10-01'",
    "LIKE": "SELECT o_orderkey, o_comment FROM {orders} WHERE o_comment LIKE '%unusual%requests%packages%'",
}


def measure(bench):
    """Each statement, by Caliber and by hand."""
    report, rows, all_rows, all_times = bench.report, [], [], []
    with bench.postgres.connect("hand") as sales:
        for name, text in STATEMENTS.items():
            bench.say(f"single: {name}")
            sql = qualified(text, bench.caliber.names)
            own = qualified(text, {"orders": "orders", "lineitem": "lineitem"})
            bench.counters.reset()
            found = bench.caliber.ask(sql)
            _, left = bench.counters.sales("caliber")
            wanted = bench.reference.ask(qualified(text, bench.reference.names))
            wrong = difference(found, wanted)
            if wrong:
                report.error(f"one source, {name}: {wrong}")
            ours, theirs = medians(
                [lambda sql=sql: bench.caliber.ask(sql), lambda own=own: by_hand(sales, own)], max(bench.options.rounds, 5)
            )
            all_rows.append(left <= wanted.num_rows)
            all_times.append(ours <= TIME_RATIO_MAX * theirs + TIME_ADDED_MAX)
            rows.append(
                [name, count(left), count(wanted.num_rows), milliseconds(ours), milliseconds(theirs), ratio(ours / theirs)]
            )
    report.section("Statements over PostgreSQL alone", "\n".join(f"- {name}: `{text}`" for name, text in STATEMENTS.items()))
    report.table(["", "rows from PostgreSQL", "by hand", "Caliber ms", "by hand ms", "ratio"], rows)
    report.gate("one source: the rows of a hand-written statement", f"{sum(all_rows)} of {len(all_rows)}", all(all_rows))
    report.gate(
        f"one source: ≤ {TIME_RATIO_MAX} times by hand plus {TIME_ADDED_MAX * 1000:.0f} ms",
        f"{sum(all_times)} of {len(all_times)}",
        all(all_times),
    )


def by_hand(sales, sql):
    """The rows as Python gets them; psycopg prepares the statement."""
    with sales.cursor(binary=True) as cursor:
        cursor.execute(sql, prepare=True)
        return cursor.fetchall()
