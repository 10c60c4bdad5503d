"""Two million rows of every common type out of each database into Arrow, each tool in a process of its own.

Owns: who is compared, the turns. Never: a tool's own way of reading (`transfer_client.py`).
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import project
import wide
from report import first_line, megabytes, ratio

CLIENT = Path(__file__).parent.parent / "transfer_client.py"
TOOLS = ("adbc", "connectorx", "duckdb")
MODES = ("single", "parallel")
SHARES = {"postgres": 1.0, "mysql": 1.0, "sqlite": 0.8}
"""At least this share of the fastest other tool's rate."""
GROWTH_MAX = 150 << 20
CONNECTIONS = {"single": 1, "parallel": 4}


def measure(bench):
    """Rounds in which all tools take turns, for each database and mode."""
    wide.load(bench.data, bench.postgres, bench.mariadb, bench.say)
    addresses = addresses_of(bench)
    report = bench.report
    report.section(
        "Transfer",
        f"`SELECT * FROM {wide.TABLE}`: {wide.ROWS:,} rows of {len(wide.COLUMNS)} columns into Arrow batches. Seconds from"
        " the statement to the last row, medians; a dash is a tool that cannot, with its own words below.",
    )
    rows, words, growth = [], [], 0
    for kind, address in addresses.items():
        for mode in MODES:
            bench.say(f"transfer: {kind}, {mode}")
            found = turns(bench, address, mode, words)
            growth = max([growth, *(run["largest"] - run["idle"] for run in found["caliber"] if "largest" in run)])
            seconds = {name: statistics.median(run["seconds"] for run in runs) if runs else None for name, runs in found.items()}
            others = [taken for name, taken in seconds.items() if name != "caliber" and taken]
            rows.append([f"{kind}, {mode}", *(f"{taken:.2f}" if taken else "–" for taken in seconds.values())])
            if not others or not seconds["caliber"]:
                report.error(f"transfer: {kind}, {mode}: nothing to compare")
                continue
            rate = min(others) / seconds["caliber"]
            report.gate(f"transfer: {kind}, {mode}: ≥ {SHARES[kind]} of the fastest other's rate", ratio(rate), rate >= SHARES[kind])
    report.table(["", "Caliber", "ADBC", "ConnectorX", "DuckDB"], rows)
    for text in dict.fromkeys(words):
        report.note(text)
    report.note(f"Caliber's process grew by at most {megabytes(growth)} MB while the rows came.")
    report.gate(f"transfer: < {GROWTH_MAX >> 20} MiB over idle", f"{growth / (1 << 20):.0f} MiB", growth < GROWTH_MAX)


def addresses_of(bench):
    """How each database is reached, for every tool."""
    login, postgres, mariadb = f"duck:{bench.data.password}@127.0.0.1", bench.postgres.port, bench.mariadb.port
    attach = f"host=127.0.0.1 user=duck password={bench.data.password}"
    return {
        "postgres": {
            "kind": "postgres",
            "url": f"postgresql://{login}:{postgres}/wide",
            "attach": f"{attach} port={postgres} dbname=wide",
        },
        "mysql": {"kind": "mysql", "url": f"mysql://{login}:{mariadb}/wide", "attach": f"{attach} port={mariadb} database=wide"},
        "sqlite": {"kind": "sqlite", "path": str(bench.data.wide), "attach": str(bench.data.wide)},
    }


def turns(bench, address, mode, words):
    """By tool: what each of its runs found. One that cannot is asked once."""
    kind, able = address["kind"], ["caliber", *TOOLS]
    found = {name: [] for name in able}
    for number in range(bench.options.rounds):
        for name in able if number % 2 == 0 else list(reversed(able)):
            command = by_caliber(bench, kind, mode) if name == "caliber" else [sys.executable, CLIENT, name, json.dumps(address), mode]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                able = [other for other in able if other != name]
                said = first_line((done.stderr.strip() or "it ended").rsplit("\n", maxsplit=1)[-1])
                words.append(f"{name}, {kind}, {mode}: {said.replace(bench.data.password, '…')}")
                continue
            run = json.loads(done.stdout)
            found[name].append(run)
            if run["rows"] != wide.ROWS:
                bench.report.error(f"transfer: {name}, {kind}, {mode}: {run['rows']} rows of {wide.ROWS}")
    return found


def by_caliber(bench, kind, mode):
    """The engine in a process of its own, over a project of this one source."""
    folder = bench.folder / f"transfer-{kind}-{mode}"
    if not folder.exists():
        ports = bench.postgres.port, bench.mariadb.port
        project.write_wide(folder, bench.data, *ports, kind, CONNECTIONS[mode], bench.options.caliber)
    return [bench.options.benches, "transfer", folder, project.USER, f"SELECT * FROM {kind}.{wide.TABLE}"]
