"""The 22 queries of TPC-H over three departments: right, and against DuckDB over the same live databases.

Owns: the queries' parameters and keys of order. Never: another text for one system than for another.
"""

from pathlib import Path

import duckdb
from adbc_driver_manager import Error

from answers import difference
from clock import medians, timed
from counted import Counted
from report import count, first_line, geometric_mean, megabytes, milliseconds, ratio
from systems import qualified

NUMBERS = range(1, 23)
SECONDS_MAX = 120
RATIO_MEAN_MAX = 0.8
RATIO_MAX = 2
SALES_ROWS_MAX = 10_000_000

ORDER_BY = {
    1: [0, 1], 2: [0, 2, 1, 3], 3: [1, 2], 4: [0], 5: [1], 7: [0, 1, 2], 8: [0], 9: [0, 1], 10: [2], 11: [1], 12: [0],
    13: [1, 0], 15: [0], 16: [3, 0, 1, 2], 18: [4, 3], 20: [0], 21: [1, 0], 22: [0],
}
"""The columns that each query sorts by."""

LIMITS = {2: 100, 3: 10, 10: 20, 18: 100, 21: 100}

FOLDER = Path(__file__).parent.parent / "tpch"


def text(number, names, scale):
    """The query with a system's names for the tables."""
    # Query 11 asks for a share of all stock that shrinks with the scale (TPC-H 2.4.11.3).
    fraction = f"{0.0001 / scale:.10f}".rstrip("0")
    return qualified((FOLDER / f"{number:02}.sql").read_text(), names, fraction=fraction)


class Found:
    """What was found of one query."""

    def __init__(self, number):
        self.number = number
        self.problem = None
        self.first = None
        self.rival_problem = None
        self.seconds = None
        self.caliber = None
        self.duck = None

    @property
    def ratio(self):
        """Caliber's time over DuckDB's, or `None` where one has no right answer."""
        return self.seconds[0] / self.seconds[1] if self.seconds else None


def measure(bench):
    """Answers first, compared and counted; then rounds against DuckDB."""
    found = [Found(number) for number in bench.options.queries]
    for query in found:
        bench.say(f"tpch {query.number}: answer")
        answer(bench, query)
    with Counted(bench) as counted:
        for query in found:
            bench.say(f"tpch {query.number}: traffic")
            count_traffic(bench, counted, query)
    for query in found:
        if query.caliber and query.duck:
            bench.say(f"tpch {query.number}: {bench.options.rounds} rounds")
            race(bench, query)
    show(bench, found)


def answer(bench, query):
    """Compares Caliber's answer with the reference."""
    scale = bench.options.scale
    wanted = bench.reference.ask(text(query.number, bench.reference.names, scale))
    sql = text(query.number, bench.caliber.names, scale)
    try:
        query.first, found = timed(lambda: bench.caliber.ask(sql))
    except Error as error:
        query.problem = f"failed: {first_line(error)}"
    else:
        query.problem = difference(found, wanted, ORDER_BY.get(query.number, ()), LIMITS.get(query.number))
    if query.problem:
        bench.report.error(f"TPC-H {query.number}: {query.problem}")


def count_traffic(bench, counted, query):
    """What the sources send for it, to each system that answers."""
    sql = text(query.number, bench.caliber.names, bench.options.scale)
    if query.first is not None:
        query.caliber = counted.caliber(sql)
    try:
        query.duck = counted.duck(sql)
    except duckdb.Error as error:
        bench.report.error(f"TPC-H {query.number}: DuckDB over the live databases failed: {first_line(error)}")


def race(bench, query):
    """Rounds of both systems. Caliber has answered before; DuckDB does now."""
    sql = text(query.number, bench.caliber.names, bench.options.scale)
    wanted = bench.reference.ask(text(query.number, bench.reference.names, bench.options.scale))
    query.rival_problem = difference(bench.duck.ask(sql), wanted, ORDER_BY.get(query.number, ()), LIMITS.get(query.number))
    query.seconds = medians([lambda: bench.caliber.ask(sql), lambda: bench.duck.ask(sql)], bench.options.rounds)


def show(bench, found):
    """The table and the gates."""
    report = bench.report
    report.section(
        "TPC-H over three departments",
        "Time from the statement's text to the last row in Arrow at the client: Caliber through Flight SQL, DuckDB in the client's"
        " process, over the same live databases.",
    )
    head = ["query", "right", "Caliber ms", "DuckDB ms", "ratio", "PostgreSQL rows", "DuckDB", "PostgreSQL MB", "DuckDB"]
    report.table([*head, "MariaDB rows", "DuckDB", "third source rows", "DuckDB"], map(row, found))
    for query in found:
        if query.rival_problem:
            report.note(f"DuckDB over the live databases differs in query {query.number}: {query.rival_problem}")
    right = [query for query in found if not query.problem]
    slowest = max((query.first for query in found if query.first is not None), default=0)
    all_asked = len(found) == len(NUMBERS)
    report.gate(
        f"22 TPC-H queries right, none over {SECONDS_MAX} s",
        f"{len(right)} of {len(found)} right, the slowest {slowest:.1f} s",
        len(right) == len(found) and slowest <= SECONDS_MAX if all_asked else None,
    )
    ratios = [query.ratio for query in found if query.ratio]
    complete = all_asked and len(ratios) == len(found)
    report.gate(
        f"TPC-H: geometric mean of Caliber / DuckDB ≤ {RATIO_MEAN_MAX}, none over {RATIO_MAX}",
        f"mean {geometric_mean(ratios):.2f}, largest {max(ratios):.2f}, of {len(ratios)} queries" if ratios else "none",
        geometric_mean(ratios) <= RATIO_MEAN_MAX and max(ratios) <= RATIO_MAX if complete else False if all_asked else None,
    )
    left = sum(query.caliber.sales_rows for query in found if query.caliber)
    rival = sum(query.duck.sales_rows for query in found if query.duck)
    report.gate(
        f"TPC-H: rows that leave PostgreSQL ≤ {SALES_ROWS_MAX:,}",
        f"{left:,} to Caliber, {rival:,} to DuckDB",
        left <= SALES_ROWS_MAX and all(query.caliber for query in found) if all_asked else None,
    )


def row(query):
    """A query's line."""
    ours, theirs = query.caliber, query.duck
    seconds = query.seconds or (query.first, None)
    return [
        query.number,
        "**no**" if query.problem else "yes",
        *("–" if taken is None else milliseconds(taken) for taken in seconds),
        ratio(query.ratio),
        *(count(traffic and traffic.sales_rows) for traffic in (ours, theirs)),
        *(megabytes(traffic and traffic.sales_bytes) for traffic in (ours, theirs)),
        *(count(traffic and traffic.crm_rows) for traffic in (ours, theirs)),
        *(count(traffic and traffic.supply_rows) for traffic in (ours, theirs)),
    ]
