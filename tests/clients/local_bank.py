"""The bank's eight tables in DuckDB, each department a schema: the other side of every comparison.

Owns: reading the three dumps into exact types. Never: talks to Caliber.
"""

import gzip
import re
import sqlite3
from pathlib import Path

import duckdb
import pyarrow

COLUMNS = {
    "settlement.trans": "trans_id INTEGER, account_id INTEGER, date DATE, type VARCHAR, operation VARCHAR,"
    " amount DECIMAL(12,2), balance DECIMAL(12,2), k_symbol VARCHAR, bank VARCHAR, account VARCHAR",
    'settlement."order"': "order_id INTEGER, account_id INTEGER, bank_to VARCHAR, account_to VARCHAR,"
    " amount DECIMAL(12,2), k_symbol VARCHAR",
    "credit.loan": "loan_id INTEGER, account_id INTEGER, date DATE, amount DECIMAL(12,2), duration INTEGER,"
    " payments DECIMAL(12,2), status VARCHAR",
    "credit.card": "card_id INTEGER, disp_id INTEGER, type VARCHAR, issued TIMESTAMP",
    "accounting.district": ", ".join(
        f"A{at} {'VARCHAR' if at in (2, 3) else 'DOUBLE' if at in (10, 12, 13) else 'BIGINT'}" for at in range(1, 17)
    ),
    "accounting.client": "client_id BIGINT, birth_number VARCHAR, district_id BIGINT",
    "accounting.account": "account_id BIGINT, district_id BIGINT, frequency VARCHAR, date DATE",
    "accounting.disp": "disp_id BIGINT, client_id BIGINT, account_id BIGINT, type VARCHAR",
}


def load(folder):
    """A DuckDB connection that holds all eight tables."""
    folder = Path(folder)
    database = duckdb.connect()
    for department in ("settlement", "credit", "accounting"):
        database.execute(f"CREATE SCHEMA {department}")
    tables = {**postgres(folder), **mariadb(folder), **sqlite(folder)}
    for name, columns in COLUMNS.items():
        database.execute(f"CREATE TABLE {name} ({columns})")
        lines = tables[name.replace('"', "")]
        texts = pyarrow.table({f"c{at}": pyarrow.array(values, pyarrow.string()) for at, values in enumerate(zip(*lines))})
        database.register("texts", texts)
        database.execute(f"INSERT INTO {name} SELECT * FROM texts")
        database.unregister("texts")
    return database


def postgres(folder):
    """The COPY blocks of a PostgreSQL dump."""
    tables, name = {}, None
    with gzip.open(folder / "settlement.sql.gz", "rt", encoding="utf-8") as dump:
        for line in dump:
            line = line.rstrip("\n")
            begins = re.match(r'COPY "?(\w+)"? FROM stdin;', line)
            if begins:
                name = f"settlement.{begins[1]}"
                tables[name] = []
            elif line == "\\.":
                name = None
            elif name:
                assert "\\" not in line.replace("\\N", ""), "an escape that this reader does not know"
                tables[name].append([None if value == "\\N" else value for value in line.split("\t")])
    return tables


def mariadb(folder):
    """The INSERT lines of a MariaDB dump."""
    tables, name = {}, None
    with gzip.open(folder / "credit.sql.gz", "rt", encoding="utf-8") as dump:
        for line in dump:
            begins = re.match(r"INSERT INTO `(\w+)` VALUES", line)
            if begins:
                name = f"credit.{begins[1]}"
                tables.setdefault(name, [])
            elif name and line.startswith("("):
                found = re.findall(r"'((?:[^']|'')*)'|([^,();]+)", line.strip().rstrip(",;")[1:-1])
                tables[name].append([bare if bare else quoted.replace("''", "'") for quoted, bare in found])
    return tables


def sqlite(folder):
    """The tables of a SQLite dump, by running it."""
    database = sqlite3.connect(":memory:")
    with gzip.open(folder / "accounting.sql.gz", "rt", encoding="utf-8") as dump:
        database.executescript(dump.read())
    tables = {}
    for table in ("district", "client", "account", "disp"):
        found = database.execute(f"SELECT * FROM {table}").fetchall()
        tables[f"accounting.{table}"] = [[None if value is None else str(value) for value in row] for row in found]
    return tables
