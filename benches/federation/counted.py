"""One run of a statement, counted and not timed: what each source sent for it, to Caliber and to DuckDB.

Owns: the detour through forwarders, which see bytes that no server counts. Never: a time; the detour costs.
"""

import contextlib
from dataclasses import dataclass

import project
from receipts import Receipts
from systems import DuckDb
from traffic import Forwarder

FILE_SCANS = ("SQLITE_SCAN", "READ_PARQUET", "PARQUET_SCAN")
"""What DuckDB calls its scans of the third source."""


@dataclass
class Traffic:
    """Of one statement. Of the third source, a file, each system says itself what it read."""

    sales_statements: int
    sales_rows: int
    sales_bytes: int
    crm_statements: int
    crm_rows: int
    crm_bytes: int
    supply_rows: int


class Counted:
    """Both systems over the live databases, through forwarders."""

    def __init__(self, bench):
        self.bench = bench
        self.counters = bench.counters
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        bench, enter = self.bench, self.stack.enter_context
        self.sales = enter(Forwarder(bench.postgres.port))
        self.crm = enter(Forwarder(bench.mariadb.port))
        ports = (self.sales.port, self.crm.port)
        folder = bench.folder / "counted"
        project.write(folder, bench.data, *ports, bench.options.third, bench.options.caliber)
        self.receipts = enter(Receipts(bench.options.benches, folder))
        self.rival = enter(DuckDb()).attach(bench.data, *ports, bench.options.third)
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def caliber(self, sql):
        """What the sources sent to Caliber. Fails as the statement fails."""
        with self.counting("caliber") as counted:
            receipt = self.receipts.of(sql)
        if "error" in receipt:
            raise RuntimeError(receipt["error"])
        rows = {source: counts["rows"] for source, counts in receipt["sources"].items()}
        counted.supply_rows = rows.get("supply", 0)
        if rows.get("sales", 0) != counted.sales_rows:
            self.bench.report.disagreement(f"PostgreSQL counts {counted.sales_rows:,} rows, the receipt {rows.get('sales', 0):,}: {sql}")
        return counted

    def duck(self, sql):
        """What the sources sent to DuckDB."""
        with self.counting("duck") as counted:
            plan = self.rival.profile(sql)
        counted.supply_rows = scanned(plan)
        return counted

    @contextlib.contextmanager
    def counting(self, account):
        """Fills what it gives once its block has ended."""
        counted = Traffic(0, 0, 0, 0, 0, 0, 0)
        self.counters.reset()
        before = (self.sales.received, self.crm.received)
        yield counted
        counted.sales_statements, counted.sales_rows = self.counters.sales(account)
        counted.crm_statements, counted.crm_rows = self.counters.crm(account)
        counted.sales_bytes = self.sales.received - before[0]
        counted.crm_bytes = self.crm.received - before[1]


def scanned(operator):
    """Rows that the scans of files below `operator` gave, in DuckDB's profile."""
    own = operator.get("operator_cardinality", 0) if operator.get("operator_name", "").strip() in FILE_SCANS else 0
    return own + sum(map(scanned, operator.get("children", [])))
