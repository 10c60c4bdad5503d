"""The eight tables of TPC-H: generated once, loaded into PostgreSQL, MariaDB, SQLite and Parquet files.

Owns: who holds which table, its types, keys and indexes. Never: a measurement.

Fixed-width text is VARCHAR: what a blank at the end means differs between databases, and is not what is measured. SQLite
declares DECIMAL(15,2), which Caliber reads as that exact decimal; what SQLite stores for it has at most 12 digits.
"""

import csv
import fcntl
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pyarrow.parquet

LAYOUT = 3
"""Raised when what is loaded changes, so that data kept from before is made again."""

SALES, CRM, SUPPLY = "sales", "crm", "supply"
"""The three departments: PostgreSQL; MariaDB; SQLite or Parquet files."""

TABLES = {
    "orders": (
        SALES,
        "o_orderkey BIGINT NOT NULL, o_custkey BIGINT NOT NULL, o_orderstatus VARCHAR(1) NOT NULL,"
        " o_totalprice DECIMAL(15,2) NOT NULL, o_orderdate DATE NOT NULL, o_orderpriority VARCHAR(15) NOT NULL,"
        " o_clerk VARCHAR(15) NOT NULL, o_shippriority INTEGER NOT NULL, o_comment VARCHAR(79) NOT NULL",
        "o_orderkey",
        ["o_custkey"],
    ),
    "lineitem": (
        SALES,
        "l_orderkey BIGINT NOT NULL, l_partkey BIGINT NOT NULL, l_suppkey BIGINT NOT NULL, l_linenumber INTEGER NOT NULL,"
        " l_quantity DECIMAL(15,2) NOT NULL, l_extendedprice DECIMAL(15,2) NOT NULL, l_discount DECIMAL(15,2) NOT NULL,"
        " l_tax DECIMAL(15,2) NOT NULL, l_returnflag VARCHAR(1) NOT NULL, l_linestatus VARCHAR(1) NOT NULL,"
        " l_shipdate DATE NOT NULL, l_commitdate DATE NOT NULL, l_receiptdate DATE NOT NULL,"
        " l_shipinstruct VARCHAR(25) NOT NULL, l_shipmode VARCHAR(10) NOT NULL, l_comment VARCHAR(44) NOT NULL",
        "l_orderkey, l_linenumber",
        ["l_partkey, l_suppkey", "l_suppkey"],
    ),
    "region": (
        CRM,
        "r_regionkey BIGINT NOT NULL, r_name VARCHAR(25) NOT NULL, r_comment VARCHAR(152) NOT NULL",
        "r_regionkey",
        [],
    ),
    "nation": (
        CRM,
        "n_nationkey BIGINT NOT NULL, n_name VARCHAR(25) NOT NULL, n_regionkey BIGINT NOT NULL,"
        " n_comment VARCHAR(152) NOT NULL",
        "n_nationkey",
        ["n_regionkey"],
    ),
    "customer": (
        CRM,
        "c_custkey BIGINT NOT NULL, c_name VARCHAR(25) NOT NULL, c_address VARCHAR(40) NOT NULL, c_nationkey BIGINT NOT NULL,"
        " c_phone VARCHAR(15) NOT NULL, c_acctbal DECIMAL(15,2) NOT NULL, c_mktsegment VARCHAR(10) NOT NULL,"
        " c_comment VARCHAR(117) NOT NULL",
        "c_custkey",
        ["c_nationkey"],
    ),
    "part": (
        SUPPLY,
        "p_partkey BIGINT NOT NULL, p_name VARCHAR(55) NOT NULL, p_mfgr VARCHAR(25) NOT NULL, p_brand VARCHAR(10) NOT NULL,"
        " p_type VARCHAR(25) NOT NULL, p_size INTEGER NOT NULL, p_container VARCHAR(10) NOT NULL,"
        " p_retailprice DECIMAL(15,2) NOT NULL, p_comment VARCHAR(23) NOT NULL",
        "p_partkey",
        [],
    ),
    "supplier": (
        SUPPLY,
        "s_suppkey BIGINT NOT NULL, s_name VARCHAR(25) NOT NULL, s_address VARCHAR(40) NOT NULL, s_nationkey BIGINT NOT NULL,"
        " s_phone VARCHAR(15) NOT NULL, s_acctbal DECIMAL(15,2) NOT NULL, s_comment VARCHAR(101) NOT NULL",
        "s_suppkey",
        ["s_nationkey"],
    ),
    "partsupp": (
        SUPPLY,
        "ps_partkey BIGINT NOT NULL, ps_suppkey BIGINT NOT NULL, ps_availqty INTEGER NOT NULL,"
        " ps_supplycost DECIMAL(15,2) NOT NULL, ps_comment VARCHAR(199) NOT NULL",
        "ps_partkey, ps_suppkey",
        ["ps_suppkey"],
    ),
}
"""By table: its department, columns, primary key, and the foreign keys to index."""

READERS = ("caliber", "duck", "hand")
"""Accounts that may only read, one for each who asks, so that the servers count for each."""


def of_department(department):
    """Its tables."""
    return [name for name, (held_by, *_) in TABLES.items() if held_by == department]


class Data:
    """The folder of one scale factor: Parquet files, a SQLite database, and the folders of the two servers."""

    def __init__(self, folder, scale):
        self.folder = Path(folder) / f"scale-{scale}"
        self.scale = scale
        self.parquet = self.folder / "parquet"
        self.sqlite = self.folder / "supply.db"
        self.stamp = self.folder / "loaded.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        # Held as long as this process lives: two runs over the same data would measure each other.
        self.lock = open(f"{self.folder}.lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"another run uses {self.folder}") from None
        kept = json.loads(self.stamp.read_text()) if self.stamp.exists() else {}
        self.loaded = kept.get("layout") == LAYOUT
        if not self.loaded:
            # What an unfinished run left: there is no way to tell how far it came.
            shutil.rmtree(self.folder)
            self.folder.mkdir()
        self.password = kept["password"] if self.loaded else secrets.token_hex(16)

    def finish(self):
        """Says that all is loaded."""
        self.stamp.touch(mode=0o600)
        self.stamp.write_text(json.dumps({"layout": LAYOUT, "scale": self.scale, "password": self.password}))
        self.loaded = True


def load(data, generator, postgres, mariadb, say):
    """Generates and loads everything, unless `data` holds it."""
    if data.loaded:
        return
    texts = data.folder / "csv"
    for kind, folder in (("parquet", data.parquet), ("csv", texts)):
        say(f"generating TPC-H at scale {data.scale} as {kind}")
        subprocess.run([generator, kind, "-s", str(data.scale), "-q", "-o", folder], check=True)
    say("loading PostgreSQL")
    load_postgres(postgres, texts)
    say("loading MariaDB")
    load_mariadb(mariadb, texts)
    say("loading SQLite")
    load_sqlite(data.sqlite, texts)
    require_all_rows(data, postgres, mariadb)
    shutil.rmtree(texts)
    data.finish()


def require_all_rows(data, postgres, mariadb):
    """Fails unless each table holds as many rows as its Parquet file says."""
    with postgres.connect() as sales, mariadb.connect() as crm, sqlite3.connect(data.sqlite) as supply:
        asked = {SALES: sales.cursor(), CRM: crm.cursor(), SUPPLY: supply.cursor()}
        for table, (department, *_) in TABLES.items():
            asked[department].execute(f"SELECT count(*) FROM {table}")
            (found,) = asked[department].fetchone()
            wanted = pyarrow.parquet.read_metadata(data.parquet / f"{table}.parquet").num_rows
            if found != wanted:
                raise SystemExit(f"{department}.{table} holds {found} rows of {wanted}")


def load_postgres(server, texts):
    """Roles, tables, rows by COPY, then keys, indexes and statistics."""
    with server.connect(database="postgres") as connection:
        connection.execute("CREATE DATABASE bench")
    with server.connect() as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        for table in of_department(SALES):
            _, columns, key, foreign = TABLES[table]
            connection.execute(f"CREATE TABLE {table} ({columns})")
            with connection.cursor() as cursor, open(texts / f"{table}.csv", "rb") as rows:
                with cursor.copy(f"COPY {table} FROM STDIN (FORMAT csv, HEADER)") as copy:
                    while block := rows.read(1 << 20):
                        copy.write(block)
            connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({key})")
            for index in foreign:
                connection.execute(f"CREATE INDEX ON {table} ({index})")
        connection.execute("ALTER TABLE lineitem ADD FOREIGN KEY (l_orderkey) REFERENCES orders")
        for reader in READERS:
            connection.execute(f"CREATE ROLE {reader} LOGIN PASSWORD '{server.password}'")
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def load_mariadb(server, texts):
    """Accounts, tables with their keys, rows by LOAD DATA, statistics."""
    with server.connect(database=None, local_infile=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE crm CHARACTER SET utf8mb4")
        cursor.execute("USE crm")
        for table in of_department(CRM):
            _, columns, key, foreign = TABLES[table]
            indexes = "".join(f", KEY ({index})" for index in foreign)
            cursor.execute(f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}){indexes}) ENGINE=InnoDB")
            cursor.execute(
                f"LOAD DATA LOCAL INFILE '{texts / f'{table}.csv'}' INTO TABLE {table} CHARACTER SET utf8mb4"
                " FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' IGNORE 1 LINES"
            )
            cursor.execute("SHOW WARNINGS")
            warnings = cursor.fetchall()
            if warnings:
                raise SystemExit(f"MariaDB did not take {table} as it is: {warnings[:3]}")
        cursor.execute("ALTER TABLE customer ADD FOREIGN KEY (c_nationkey) REFERENCES nation (n_nationkey)")
        cursor.execute("ALTER TABLE nation ADD FOREIGN KEY (n_regionkey) REFERENCES region (r_regionkey)")
        for table in of_department(CRM):
            cursor.execute(f"ANALYZE TABLE {table}")
        for reader in READERS:
            cursor.execute(f"CREATE USER '{reader}'@'127.0.0.1' IDENTIFIED BY '{server.password}'")
            cursor.execute(f"GRANT SELECT ON crm.* TO '{reader}'@'127.0.0.1'")


def load_sqlite(path, texts):
    """Tables, rows in one transaction, indexes and statistics."""
    database = sqlite3.connect(path)
    try:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        for table in of_department(SUPPLY):
            _, columns, key, foreign = TABLES[table]
            database.execute(f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}))")
            with open(texts / f"{table}.csv", newline="", encoding="utf-8") as file:
                rows = csv.reader(file)
                marks = ", ".join("?" for _ in next(rows))
                database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            for index in foreign:
                database.execute(f"CREATE INDEX {table}_{index} ON {table} ({index})")
        database.execute("ANALYZE")
        database.commit()
    finally:
        database.close()
    os.chmod(path, 0o644)
