"""The systems that are compared, each behind the same two calls: ask a text, get an Arrow table or its batches.

Owns: how each is started, connected and asked. Never: a clock; who measures holds it.
"""

import json
import re
import signal
import subprocess
import threading
from pathlib import Path

import adbc_driver_flightsql.dbapi as flightsql
import duckdb

import project
from load import CRM, SALES, SUPPLY, TABLES, of_department
from servers import ends_with_us

BATCH_ROWS = 65_536

QUERY_SECONDS_MAX = 600
"""After so long a query of DuckDB is interrupted; Caliber's project says the same."""


def qualified(text, names, **others):
    """`text` with each `{table}` as `names` calls it."""
    return re.sub(r"\{(\w+)\}", lambda found: {**names, **others}[found[1]], text)


LIVE_NAMES = {table: f"{department}.{table}" for table, (department, *_) in TABLES.items()}
"""In Caliber a source is a schema, in DuckDB an attached catalog: one spelling serves both."""


class Caliber:
    """`caliber serve` over a project, asked through Flight SQL by ADBC."""

    name = "Caliber"
    names = LIVE_NAMES
    file_names = {table: f"files.{table}" for table in TABLES}

    def __init__(self, program, folder, password):
        self.program, self.folder, self.password = program, Path(folder), password
        self.process = None
        self.uri = None
        self.connection = None

    def __enter__(self):
        log = self.folder / "server.log"
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(
                [self.program, "serve", "--project", self.folder],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=ends_with_us(signal.SIGTERM),
            )
        first = self.process.stdout.readline().strip()
        self.uri = first.removeprefix("flight-sql listening on ")
        if self.uri == first:
            raise SystemExit(f"caliber serve did not start:\n{log.read_text(errors='replace')[-4000:]}")
        self.connection = self.connect()
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.process.stdout.close()

    def connect(self):
        """One more connection."""
        login = {"username": project.USER, "password": self.password}
        return flightsql.connect(self.uri, db_kwargs=login, autocommit=True)

    def ask(self, sql):
        """The whole answer."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()

    def batches(self, sql):
        """The answer's batches, as they come."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            yield from cursor.fetch_record_batch()


class DuckDb:
    """DuckDB in this process, over the same live databases or over Parquet files."""

    name = "DuckDB"
    names = LIVE_NAMES

    def __init__(self):
        self.connection = duckdb.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def load_extensions(self):
        """Loads what the wheels brought; the network is not asked."""
        for scanner in ("postgres_scanner", "mysql_scanner", "sqlite_scanner"):
            wheel = __import__(f"duckdb_extension_{scanner}")
            (binary,) = Path(wheel.__file__).parent.glob(f"extensions/*/{scanner}.duckdb_extension")
            self.connection.execute(f"LOAD '{binary}'")

    def attach(self, data, postgres_port, mariadb_port, third):
        """The three departments, under the names they have in Caliber."""
        self.load_extensions()
        login = f"host=127.0.0.1 user=duck password={data.password}"
        run = self.connection.execute
        run(f"ATTACH '{login} port={postgres_port} dbname=bench' AS {SALES} (TYPE postgres, READ_ONLY)")
        run(f"ATTACH '{login} port={mariadb_port} database=crm' AS {CRM} (TYPE mysql, READ_ONLY)")
        if third == "sqlite":
            run(f"ATTACH '{data.sqlite}' AS {SUPPLY} (TYPE sqlite, READ_ONLY)")
        else:
            run(f"CREATE SCHEMA {SUPPLY}")
            self.read_parquet(data, {table: f"{SUPPLY}.{table}" for table in of_department(SUPPLY)})
        return self

    def read_parquet(self, data, names):
        """A view over the Parquet file of each table of `names`."""
        for table, name in names.items():
            self.connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{data.parquet / table}.parquet')")
        return self

    def ask(self, sql):
        """The whole answer."""
        timer = threading.Timer(QUERY_SECONDS_MAX, self.connection.interrupt)
        timer.start()
        try:
            return self.connection.execute(sql).to_arrow_table()
        finally:
            timer.cancel()

    def profile(self, sql):
        """The operators of a run and what each gave; the answer is thrown away."""
        ((_, plan),) = self.connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}").fetchall()
        return json.loads(plan)

    def batches(self, sql):
        """The answer's batches, as they come."""
        yield from self.connection.execute(sql).to_arrow_reader(BATCH_ROWS)


class Reference(DuckDb):
    """DuckDB over local Parquet files alone: what an answer has to be."""

    names = {table: table for table in TABLES}
