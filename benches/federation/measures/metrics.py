"""Metrics by region: one statement for each department, and hardly more time than the slowest of them.

Owns: the questions, what each department would be asked by hand. Never: a slow hand: DuckDB passes the statements on, in C++, and
reads their rows into Arrow.
"""

from answers import difference
from clock import medians
from report import count, milliseconds, ratio
from systems import qualified

TIME_RATIO_MAX = 1.2
TIME_ADDED_MAX = 0.020

WHERE_FROM = "FROM {customer} JOIN {nation} ON n_nationkey = c_nationkey JOIN {region} ON r_regionkey = n_regionkey"
CUSTOMERS = f"SELECT c_custkey, r_name {WHERE_FROM}"
VALUE_BY_CUSTOMER = "SELECT o_custkey, sum(o_totalprice) AS value FROM {orders} GROUP BY o_custkey"

QUESTIONS = {
    "one metric": (
        "SELECT region, MEASURE(order_value) AS value FROM unified.customer_metrics GROUP BY region",
        f"SELECT r_name, sum(o_totalprice) AS value {WHERE_FROM} JOIN {{orders}} ON o_custkey = c_custkey GROUP BY r_name",
        {"sales": VALUE_BY_CUSTOMER, "crm": CUSTOMERS},
    ),
    "of two departments": (
        "SELECT region, MEASURE(order_value) AS value, MEASURE(order_count) AS number, MEASURE(balance) AS balance"
        " FROM unified.customer_metrics GROUP BY region",
        "SELECT r_name, sum(value) AS value, sum(number) AS number, sum(c_acctbal) AS balance"
        f" {WHERE_FROM} LEFT JOIN (SELECT o_custkey, sum(o_totalprice) AS value, count(*) AS number FROM {{orders}} GROUP BY o_custkey)"
        " ON o_custkey = c_custkey GROUP BY r_name",
        {
            "sales": "SELECT o_custkey, sum(o_totalprice) AS value, count(*) AS number FROM {orders} GROUP BY o_custkey",
            "crm": CUSTOMERS,
        },
    ),
    "a year by month": (
        "SELECT region, date_trunc('month', metric_time) AS month, MEASURE(order_value) AS value FROM unified.customer_metrics"
        " WHERE metric_time BETWEEN DATE '1995-01-01' AND DATE '1995-12-31' GROUP BY region, month",
        f"SELECT r_name, date_trunc('month', o_orderdate) AS month, sum(o_totalprice) AS value {WHERE_FROM}"
        " JOIN {orders} ON o_custkey = c_custkey"
        " WHERE o_orderdate BETWEEN DATE '1995-01-01' AND DATE '1995-12-31' GROUP BY r_name, month",
        {
            "sales": (
                "SELECT o_custkey, date_trunc('month', o_orderdate)::date AS month, sum(o_totalprice) AS value FROM {orders}"
                " WHERE o_orderdate BETWEEN DATE '1995-01-01' AND DATE '1995-12-31' GROUP BY o_custkey, month"
            ),
            "crm": CUSTOMERS,
        },
    ),
    "over two steps": (
        "SELECT region, MEASURE(revenue) AS value FROM unified.customer_metrics GROUP BY region",
        f"SELECT r_name, sum(l_extendedprice * (1 - l_discount)) AS value {WHERE_FROM} JOIN {{orders}} ON o_custkey = c_custkey"
        " JOIN {lineitem} ON l_orderkey = o_orderkey GROUP BY r_name",
        {
            "sales": (
                "SELECT o_custkey, sum(l_extendedprice * (1 - l_discount)) AS value FROM {orders} JOIN {lineitem} ON l_orderkey = o_orderkey"
                " GROUP BY o_custkey"
            ),
            "crm": CUSTOMERS,
        },
    ),
}


def measure(bench):
    """Each question, and each of its statements by hand, in turns."""
    report, rows, all_met = bench.report, [], []
    plain = {table: table for table in bench.caliber.names}
    for name, (sql, own, by_department) in QUESTIONS.items():
        bench.say(f"metrics: {name}")
        bench.caliber.ask(sql)
        bench.counters.reset()
        found = bench.caliber.ask(sql)
        _, sales_rows = bench.counters.sales("caliber")
        _, crm_rows = bench.counters.crm("caliber")
        wrong = difference(found, bench.reference.ask(qualified(own, bench.reference.names)))
        if wrong:
            report.error(f"metrics, {name}: {wrong}")
        statements = {department: qualified(text, plain) for department, text in by_department.items()}
        runs = [lambda sql=sql: bench.caliber.ask(sql)]
        runs += [lambda at=at, text=text: by_hand(bench, at, text) for at, text in statements.items()]
        ours, *hands = medians(runs, max(bench.options.rounds, 7))
        all_met.append(ours <= TIME_RATIO_MAX * max(hands) + TIME_ADDED_MAX)
        rows.append(
            [
                name, milliseconds(ours), *map(milliseconds, hands), ratio(ours / max(hands)), ratio((ours - TIME_ADDED_MAX) / max(hands)),
                count(sales_rows), count(crm_rows),
            ]
        )
    report.section(
        "Metrics by region",
        "\n".join(f"- {name}: `{sql}`" for name, (sql, *_) in QUESTIONS.items()),
        "By hand: what each department alone would be asked, a row for each customer and period, passed on by DuckDB"
        " (`postgres_query`, `mysql_query`) into Arrow.",
    )
    report.table(
        ["", "Caliber ms", "PostgreSQL by hand ms", "MariaDB by hand ms", "ratio to the slowest", "less 20 ms", "rows from PostgreSQL", "rows from MariaDB"],
        rows,
    )
    report.gate(
        f"metrics: ≤ {TIME_RATIO_MAX} times the slowest statement by hand plus {TIME_ADDED_MAX * 1000:.0f} ms",
        f"{sum(all_met)} of {len(all_met)}",
        all(all_met),
    )


def by_hand(bench, department, text):
    """One department's rows."""
    function = {"sales": "postgres_query", "crm": "mysql_query"}[department]
    quoted = text.replace("'", "''")
    return bench.duck.ask(f"FROM {function}('{department}', '{quoted}')")
