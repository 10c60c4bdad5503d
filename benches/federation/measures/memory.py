"""What the server's memory grows by while every line item streams through it.

Owns: the two clients, one that reads as fast as it can and one that stalls. Never: a time.
"""

import re
import threading
import time
from pathlib import Path

from report import megabytes
from systems import qualified

GROWTH_MAX = 300 << 20
STALL_SECONDS = 20
SAMPLE_SECONDS = 0.02

SQL = "SELECT * FROM {lineitem}"


class Watch:
    """The largest resident set of a process between two moments."""

    def __init__(self, process):
        self.status = Path(f"/proc/{process.pid}/status")
        self.largest = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def now(self):
        """Bytes that the process holds."""
        return int(re.search(r"^VmRSS:\s+(\d+) kB", self.status.read_text(), re.MULTILINE)[1]) << 10

    def sample(self):
        while not self.over.wait(SAMPLE_SECONDS):
            self.largest = max(self.largest, self.now())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def measure(bench):
    """A server of its own for each client, so that what one left does not serve the other."""
    rows = []
    for name, read in (("reads it all", read_all), (f"stalls for {STALL_SECONDS} s after the first batch", stall)):
        bench.say(f"memory: a client that {name}")
        with bench.new_caliber(f"memory-{len(rows)}") as server:
            server.ask(qualified("SELECT count(*) FROM {lineitem} WHERE l_orderkey = 1", server.names))
            with Watch(server.process) as watch:
                idle = watch.now()
                count = read(server)
            rows.append((name, count, idle, watch.largest))
    report = bench.report
    report.section("Memory of the server", f"`{qualified(SQL, bench.caliber.names)}`")
    report.table(
        ["a client that", "rows read", "idle MB", "largest MB", "growth MB"],
        [[name, f"{count:,}", megabytes(idle), megabytes(largest), megabytes(largest - idle)] for name, count, idle, largest in rows],
    )
    for name, _, idle, largest in rows:
        report.gate(
            f"memory: < {GROWTH_MAX >> 20} MiB over idle for a client that {name}",
            f"{(largest - idle) / (1 << 20):.0f} MiB",
            largest - idle < GROWTH_MAX,
        )


def read_all(server):
    """Reads to the end and keeps nothing."""
    return sum(batch.num_rows for batch in server.batches(qualified(SQL, server.names)))


def stall(server):
    """Reads one batch, waits, and leaves."""
    batches = server.batches(qualified(SQL, server.names))
    count = next(batches).num_rows
    time.sleep(STALL_SECONDS)
    batches.close()
    return count
