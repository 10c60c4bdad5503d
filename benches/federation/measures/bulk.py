"""Seven columns of every line item, into Arrow batches at the client.

Owns: the statement. Never: keeps a batch.
"""

from clock import medians
from report import milliseconds, ratio
from systems import qualified

RATIO_MAX = 1.8

SQL = "SELECT l_orderkey, l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount, l_shipdate FROM {lineitem}"


def measure(bench):
    """Rounds, each to the last batch."""
    sql = qualified(SQL, bench.caliber.names)
    (wanted,) = bench.reference.ask("SELECT count(*) FROM lineitem").to_pydict().popitem()[1]

    def drained(system):
        rows = sum(batch.num_rows for batch in system.batches(sql))
        if rows != wanted:
            bench.report.error(f"bulk: {system.name} gave {rows} rows of {wanted}")

    bench.say(f"bulk: {wanted} rows")
    ours, theirs = medians([lambda: drained(bench.caliber), lambda: drained(bench.duck)], bench.options.rounds)
    report = bench.report
    report.section("Bulk", f"`{sql}`", f"{wanted:,} rows into Arrow batches at the client.")
    rows = [["ms", milliseconds(ours), milliseconds(theirs)], ["rows a second", f"{wanted / ours:,.0f}", f"{wanted / theirs:,.0f}"]]
    report.table(["", "Caliber", "DuckDB"], rows)
    report.gate(f"bulk: ≤ {RATIO_MAX} times DuckDB", ratio(ours / theirs), ours / theirs <= RATIO_MAX)
