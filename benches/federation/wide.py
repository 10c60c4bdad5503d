"""A wide table with every common type, the same rows in PostgreSQL, MariaDB and SQLite.

Owns: its columns, its rows, loading it. Never: a measurement.

PostgreSQL makes the rows; the others are given what it wrote, so that all three hold the same.
"""

import json
import os
import sqlite3

from load import READERS

ROWS = 2_000_000

TABLE = "wide"

COLUMNS = [
    # name, what makes it of the row's number g, PostgreSQL, MariaDB, SQLite
    ("id", "g", "BIGINT NOT NULL", "BIGINT NOT NULL", "INTEGER NOT NULL"),
    ("branch", "(g % 700)::int2", "SMALLINT NOT NULL", "SMALLINT NOT NULL", "SMALLINT NOT NULL"),
    ("visits", "CASE WHEN g % 10 <> 0 THEN (g * 7919 % 100003)::int4 END", "INTEGER", "INTEGER", "INTEGER"),
    ("active", "g % 3 = 0", "BOOLEAN NOT NULL", "TINYINT(1) NOT NULL", "BOOLEAN NOT NULL"),
    (
        "amount",
        "(g * 104729 % 1000000007)::numeric / 100",
        "DECIMAL(15,2) NOT NULL",
        "DECIMAL(15,2) NOT NULL",
        "DOUBLE NOT NULL",
    ),
    ("balance", "CASE WHEN g % 7 <> 0 THEN (g % 99991)::numeric / 10000 END", "DECIMAL(19,4)", "DECIMAL(19,4)", "DOUBLE"),
    ("rate", "CASE WHEN g % 11 <> 0 THEN sqrt(g) END", "DOUBLE PRECISION", "DOUBLE", "DOUBLE"),
    ("share", "(1.0 / (1 + g % 97))::float4", "REAL NOT NULL", "FLOAT NOT NULL", "REAL NOT NULL"),
    ("code", "'C-' || lpad((g % 1000000)::text, 7, '0')", "VARCHAR(12) NOT NULL", "VARCHAR(12) NOT NULL", "TEXT NOT NULL"),
    ("city", "CASE WHEN g % 5 <> 0 THEN 'Ústí nad Labem ' || g % 77 END", "VARCHAR(40)", "VARCHAR(40)", "TEXT"),
    ("note", "repeat(md5(g::text) || ' ', (g % 4)::int4)", "TEXT NOT NULL", "TEXT NOT NULL", "TEXT NOT NULL"),
    ("opened", "DATE '1993-01-01' + (g % 10000)::int4", "DATE NOT NULL", "DATE NOT NULL", "DATE NOT NULL"),
    (
        "seen",
        "TIMESTAMP '2001-01-01' + g * INTERVAL '61.000001 seconds'",
        "TIMESTAMP NOT NULL",
        "DATETIME(6) NOT NULL",
        "TIMESTAMP NOT NULL",
    ),
    (
        "booked",
        "CASE WHEN g % 13 <> 0 THEN TIMESTAMPTZ '2011-01-01 00:00:00+00' + g * INTERVAL '1 second' END",
        "TIMESTAMPTZ",
        "TIMESTAMP NULL",
        "TEXT",
    ),
    ("reference", "md5(g::text)::uuid", "UUID NOT NULL", "CHAR(36) NOT NULL", "TEXT NOT NULL"),
    ("payload", "decode(md5(g::text), 'hex')", "BYTEA NOT NULL", "VARBINARY(16) NOT NULL", "BLOB NOT NULL"),
]
"""By name: how PostgreSQL makes it, and its type in each database."""

PLAIN = {"active": "active::int4", "booked": "booked AT TIME ZONE 'UTC'", "payload": "encode(payload, 'hex')"}
"""What is written otherwise for the other two."""


def definition(at):
    return ", ".join(f"{column[0]} {column[at]}" for column in COLUMNS)


def load(data, postgres, mariadb, say):
    """Makes and loads the table, unless `data` holds it; `data.wide` is the SQLite database."""
    data.wide = data.folder / "wide.db"
    stamp = data.folder / "wide.json"
    layout = json.dumps([ROWS, COLUMNS])
    if stamp.exists() and stamp.read_text() == layout:
        return
    stamp.unlink(missing_ok=True)
    text = data.folder / "wide.txt"
    say(f"making a wide table of {ROWS:,} rows")
    load_postgres(postgres, text)
    say("loading it into MariaDB")
    load_mariadb(mariadb, text)
    say("loading it into SQLite")
    load_sqlite(data.wide, text)
    text.unlink()
    stamp.write_text(layout)


def load_postgres(server, text):
    """The table and, in `text`, its rows for the others, in the text format of COPY."""
    made = ", ".join(column[1] for column in COLUMNS)
    written = ", ".join(PLAIN.get(column[0], column[0]) for column in COLUMNS)
    with server.connect(database="postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS wide")
        connection.execute("CREATE DATABASE wide")
    with server.connect(database="wide") as connection, connection.cursor() as cursor, open(text, "wb") as file:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(f"CREATE TABLE {TABLE} ({definition(2)})")
        cursor.execute(f"INSERT INTO {TABLE} SELECT {made} FROM generate_series(1, {ROWS}::int8) AS g")
        cursor.execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (id)")
        for reader in READERS:
            cursor.execute(f"GRANT SELECT ON {TABLE} TO {reader}")
        cursor.execute(f"VACUUM ANALYZE {TABLE}")
        with cursor.copy(f"COPY (SELECT {written} FROM {TABLE} ORDER BY id) TO STDOUT") as copy:
            for block in copy:
                file.write(block)


def load_mariadb(server, text):
    """The same rows; its text format is PostgreSQL's."""
    names = ", ".join("@payload" if column[0] == "payload" else column[0] for column in COLUMNS)
    with server.connect(database=None, local_infile=True) as connection, connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS wide")
        cursor.execute("CREATE DATABASE wide CHARACTER SET utf8mb4")
        cursor.execute("USE wide")
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute(f"CREATE TABLE {TABLE} ({definition(3)}, PRIMARY KEY (id)) ENGINE=InnoDB")
        cursor.execute(
            f"LOAD DATA LOCAL INFILE '{text}' INTO TABLE {TABLE} CHARACTER SET utf8mb4 ({names}) SET payload = UNHEX(@payload)"
        )
        cursor.execute("SHOW WARNINGS")
        warnings = cursor.fetchall()
        if warnings:
            raise SystemExit(f"MariaDB did not take {TABLE} as it is: {warnings[:3]}")
        cursor.execute(f"ANALYZE TABLE {TABLE}")
        for reader in READERS:
            cursor.execute(f"GRANT SELECT ON wide.* TO '{reader}'@'127.0.0.1'")


def load_sqlite(path, text):
    """The same rows, in one transaction."""
    path.unlink(missing_ok=True)
    at = [column[0] for column in COLUMNS].index("payload")

    def rows(file):
        for line in file:
            # None of these texts holds what COPY escapes.
            row = [None if value == r"\N" else value for value in line.rstrip("\n").split("\t")]
            row[at] = bytes.fromhex(row[at])
            yield row

    database = sqlite3.connect(path)
    try:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"CREATE TABLE {TABLE} ({definition(4)}, PRIMARY KEY (id))")
        marks = ", ".join("?" for _ in COLUMNS)
        with open(text, encoding="utf-8", newline="\n") as file:
            database.executemany(f"INSERT INTO {TABLE} VALUES ({marks})", rows(file))
        database.execute("ANALYZE")
        database.commit()
    finally:
        database.close()
    os.chmod(path, 0o644)
