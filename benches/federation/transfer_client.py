"""Reads one table with one tool into Arrow, in a process of its own: `transfer_client.py TOOL ADDRESS PARALLEL`.

Owns: how each tool is asked, as its own documentation says. Never: keeps a batch of a tool that streams; decides what is
compared. Prints one line: rows and seconds, from opening the connection to the last row.
"""

import json
import sys
import time
from pathlib import Path

TABLE = "wide"
PARTS = 4
BATCH_ROWS = 65_536


def adbc(address, parallel):
    """Arrow's own drivers. They read through one connection."""
    if parallel:
        raise SystemExit("one connection only")
    if address["kind"] == "postgres":
        from adbc_driver_postgresql import dbapi as driver

        connection = driver.connect(address["url"])
    elif address["kind"] == "sqlite":
        from adbc_driver_sqlite import dbapi as driver

        connection = driver.connect(address["path"])
    else:
        raise SystemExit("no driver on PyPI")
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {TABLE}")
        yield from cursor.fetch_record_batch()


def connectorx(address, parallel):
    """Partitioned on the key where parallel, as its documentation does it."""
    import connectorx as cx

    url = f"sqlite://{address['path']}" if address["kind"] == "sqlite" else address["url"]
    parts = {"partition_on": "id", "partition_num": PARTS} if parallel else {}
    yield from cx.read_sql(url, f"SELECT * FROM {TABLE}", return_type="arrow", **parts).to_batches()


def duckdb(address, parallel):
    """Its scanners, attached read-only."""
    import duckdb

    connection = duckdb.connect()
    scanner = {"postgres": "postgres_scanner", "mysql": "mysql_scanner", "sqlite": "sqlite_scanner"}[address["kind"]]
    wheel = __import__(f"duckdb_extension_{scanner}")
    (binary,) = Path(wheel.__file__).parent.glob(f"extensions/*/{scanner}.duckdb_extension")
    connection.execute(f"LOAD '{binary}'")
    if not parallel:
        connection.execute("SET threads = 1")
    connection.execute(f"ATTACH '{address['attach']}' AS db (TYPE {address['kind']}, READ_ONLY)")
    yield from connection.execute(f"SELECT * FROM db.{TABLE}").to_arrow_reader(BATCH_ROWS)


def main():
    tool, address, parallel = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "parallel"
    import pyarrow

    assert pyarrow.__version__
    reader = {"adbc": adbc, "connectorx": connectorx, "duckdb": duckdb}[tool]
    begun = time.perf_counter()
    rows = sum(batch.num_rows for batch in reader(address, parallel))
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()
