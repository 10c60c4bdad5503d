"""TPC-H over Parquet files alone: Caliber's engine against plain DataFusion of the same version, in one process.

Owns: the statements. Never: the clock, which is in `caliber-benches parquet`.
"""

import json
import statistics
import subprocess

import project
from measures.tpch import text
from report import geometric_mean, milliseconds, ratio

RATIO_MAX = 1.1


def measure(bench):
    """All asked queries, one after the other."""
    options = bench.options
    folder = bench.folder / "project"
    bench.say(f"parquet: {len(options.queries)} queries")
    names = {table: table for table in bench.caliber.names}
    lines = [
        json.dumps({"governed": text(number, bench.caliber.file_names, options.scale), "plain": text(number, names, options.scale)})
        for number in options.queries
    ]
    command = [options.benches, "parquet", folder, project.USER, bench.data.parquet, str(options.rounds)]
    done = subprocess.run(command, input="\n".join(lines) + "\n", stdout=subprocess.PIPE, text=True, check=True)
    rows, ours, theirs = [], [], []
    for number, line in zip(options.queries, done.stdout.splitlines(), strict=True):
        found = json.loads(line)
        if "error" in found:
            bench.report.error(f"Parquet alone, TPC-H {number}: {found['error']}")
            continue
        governed, plain = (statistics.median(found[side]) / 1000 for side in ("governed", "plain"))
        ours.append(governed)
        theirs.append(plain)
        rows.append([number, milliseconds(governed), milliseconds(plain), ratio(governed / plain)])
    show(bench, rows, ours, theirs)


def show(bench, rows, ours, theirs):
    """The table and the gate."""
    report = bench.report
    report.section(
        "Parquet files alone",
        "Caliber's engine, with its policies, and plain DataFusion of the same version over the same files, in one process.",
    )
    report.table(["query", "Caliber ms", "DataFusion ms", "ratio"], rows)
    if not rows:
        return
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    total = sum(ours) / sum(theirs)
    report.gate(
        f"Parquet alone: within {RATIO_MAX} of plain DataFusion",
        f"geometric mean {geometric_mean(ratios):.2f}, total time {total:.2f}, largest {max(ratios):.2f}",
        geometric_mean(ratios) <= RATIO_MAX and len(rows) == len(bench.options.queries),
    )
