"""Caliber against DuckDB over the same live databases: `cargo xtask bench --vs duckdb` runs this.

Owns: the order: servers, data, systems, measures, report. Never: a figure. docs/benchmarks.md says what is measured.
"""

import argparse
import contextlib
import datetime
import importlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

import measures
import project
from load import Data, load
from report import Report
from servers import MariaDb, Postgres
from systems import Caliber, DuckDb, Reference
from traffic import Counters


def options():
    """What `cargo xtask bench` passes on; it has checked the values."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--caliber", required=True, help="the program")
    parser.add_argument("--benches", required=True, help="the program `caliber-benches`")
    parser.add_argument("--report", type=Path, required=True, help="where the report goes, besides standard output")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(measures.NAMES))
    parser.add_argument("--queries", type=lambda text: sorted({int(word) for word in text.split(",")}), default=list(range(1, 23)))
    parser.add_argument("--third", choices=["sqlite", "parquet"], default="sqlite")
    parser.add_argument("--keep", type=Path)
    found = parser.parse_args()
    unknown = [name for name in found.only if name not in measures.NAMES]
    if unknown or not set(found.queries) <= set(range(1, 23)):
        parser.error(f"--only takes {', '.join(measures.NAMES)}; --queries takes 1 to 22")
    found.scale = int(found.scale) if found.scale == int(found.scale) else found.scale
    return found


class Bench:
    """What every measure has at hand."""

    def __init__(self, chosen, stack):
        self.options = chosen
        self.report = Report()
        self.load = os.getloadavg()[0]
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caliber-bench-")))
        # Two accounts besides this one run servers below it.
        self.folder.chmod(0o755)
        self.data = Data((chosen.keep or self.folder).resolve(), chosen.scale)
        self.postgres = stack.enter_context(Postgres(self.data.folder / "postgres", self.data.password))
        self.mariadb = stack.enter_context(MariaDb(self.data.folder / "mariadb", self.data.password))
        load(self.data, Path(sys.executable).parent / "tpchgen-cli", self.postgres, self.mariadb, self.say)
        self.counters = stack.enter_context(contextlib.closing(Counters(self.postgres, self.mariadb)))
        self.reference = stack.enter_context(Reference()).read_parquet(self.data, Reference.names)
        self.duck = stack.enter_context(DuckDb()).attach(self.data, self.postgres.port, self.mariadb.port, chosen.third)
        self.caliber = stack.enter_context(self.new_caliber("project"))

    def new_caliber(self, name):
        """A server of its own, not yet started."""
        folder = self.folder / name
        project.write(folder, self.data, self.postgres.port, self.mariadb.port, self.options.third, self.options.caliber)
        return Caliber(self.options.caliber, folder, self.data.password)

    def say(self, what):
        """A line for who waits."""
        print(what, file=sys.stderr, flush=True)


def head(bench):
    """The machine and the versions."""
    version = subprocess.run([bench.options.caliber, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    with bench.mariadb.connect(database=None) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        (mariadb,) = cursor.fetchone()
    with bench.postgres.connect() as connection:
        (postgres,) = connection.execute("SHOW server_version").fetchone()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return [
        "# Caliber and DuckDB over the same live databases",
        "",
        f"{datetime.date.today()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()},"
        f" load average {bench.load:.1f} when it began."
        f" TPC-H at scale {bench.options.scale}, medians of {bench.options.rounds} interleaved rounds."
        f" {version}; DuckDB {duckdb.__version__}; PostgreSQL {postgres}; MariaDB {mariadb}; third source: {bench.options.third}.",
        *([] if bench.options.scale == 1 else ["", "**The gates are meant at scale 1; this is another.**"]),
    ]


def main():
    """Fails if an answer is wrong or missing. A gate that is not met is a finding, no failure."""
    chosen = options()
    # Whoever ends this program ends its servers in order, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    with contextlib.ExitStack() as stack:
        bench = Bench(chosen, stack)
        opening = head(bench)
        for name in measures.NAMES:
            if name in chosen.only:
                importlib.import_module(f"measures.{name}").measure(bench)
                # After each: what a later one breaks off does not lose it.
                chosen.report.write_text(bench.report.text(opening))
        print(bench.report.text(opening), end="", flush=True)
        return 1 if bench.report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
