"""The Caliber project of a benchmark: three departments and the Parquet files, one user who may see everything.

Owns: its text, limits included. Never: another's password; the one in it is of this run's private servers.
"""

import json
import subprocess

from load import SUPPLY, TABLES, of_department

USER = "analyst"

LIMITS = {
    # As long as it takes: a query over the gate is measured, not cut off.
    "query_timeout": "600s",
    "memory": "12GiB",
    "query_memory": "8GiB",
    "result_rows": 100_000_000,
    "result_bytes": "16GiB",
}

REFERENCES = {
    "sales.orders": {"o_custkey": "crm.customer.c_custkey"},
    "sales.lineitem": {
        "l_orderkey": "sales.orders.o_orderkey",
        "l_partkey": "supply.part.p_partkey",
        "l_suppkey": "supply.supplier.s_suppkey",
    },
    "crm.customer": {"c_nationkey": "crm.nation.n_nationkey"},
    "crm.nation": {"n_regionkey": "crm.region.r_regionkey"},
    "supply.supplier": {"s_nationkey": "crm.nation.n_nationkey"},
    "supply.partsupp": {"ps_partkey": "supply.part.p_partkey", "ps_suppkey": "supply.supplier.s_suppkey"},
}

ENTITIES = {
    "customer": {
        "table": "crm.customer",
        "key": "c_custkey",
        "attributes": {"segment": "c_mktsegment", "nation": "crm.nation.n_name", "region": "crm.region.r_name"},
    }
}

METRICS = {
    "order_value": {"table": "sales.orders", "expr": "sum(o_totalprice)", "time": "o_orderdate"},
    "order_count": {"table": "sales.orders", "expr": "count(*)", "time": "o_orderdate"},
    "revenue": {"table": "sales.lineitem", "expr": "sum(l_extendedprice * (1 - l_discount))", "time": "l_shipdate"},
    "balance": {"table": "crm.customer", "expr": "sum(c_acctbal)"},
}


def source_of_files(data, tables):
    """A source that reads `tables` from their Parquet files."""
    named = {table: {"path": f"{table}.parquet", "format": "parquet"} for table in tables}
    return {"connector": "files", "path": str(data.parquet), "tables": named}


def write(folder, data, postgres_port, mariadb_port, third, caliber):
    """Writes the project into `folder`. JSON is YAML, so the text needs no library."""
    bounds = {"limits": {"connections": 8, "timeout": "600s"}}
    third_source = (
        {"connector": "sqlite", "path": str(data.sqlite)} if third == "sqlite" else source_of_files(data, of_department(SUPPLY))
    )
    text = {
        "version": 1,
        "name": "bench",
        "server": {"flight": {"listen": "127.0.0.1:0"}, "limits": LIMITS},
        "sources": {
            "sales": {
                "connector": "postgres",
                "url": f"postgres://caliber:{data.password}@127.0.0.1:{postgres_port}/bench",
                "tls": "disable",
                **bounds,
            },
            "crm": {
                "connector": "mysql",
                "url": f"mysql://caliber:{data.password}@127.0.0.1:{mariadb_port}/crm",
                "tls": "disable",
                **bounds,
            },
            "supply": {**third_source, **bounds},
            "files": {**source_of_files(data, TABLES), **bounds},
        },
        "tables": {table: {"references": columns} for table, columns in REFERENCES.items()},
        "entities": ENTITIES,
        "metrics": METRICS,
        "policies": {"analysts read everything": {"roles": ["analyst"], "tables": ["*"]}},
        "users": users(data, caliber),
    }
    return save(folder, text)


def write_wide(folder, data, postgres_port, mariadb_port, kind, connections, caliber):
    """Writes a project of one source, the database of `kind` that holds the wide table."""
    login = f"caliber:{data.password}@127.0.0.1"
    source = {
        "postgres": {"url": f"postgres://{login}:{postgres_port}/wide", "tls": "disable"},
        "mysql": {"url": f"mysql://{login}:{mariadb_port}/wide", "tls": "disable"},
        "sqlite": {"path": str(data.wide)},
    }[kind]
    limits = {"connections": connections, "timeout": "600s"}
    text = {
        "version": 1,
        "name": "transfer",
        "server": {"limits": LIMITS},
        "sources": {kind: {"connector": kind, **source, "limits": limits}},
        "policies": {"analysts read everything": {"roles": ["analyst"], "tables": ["*"]}},
        "users": users(data, caliber),
    }
    return save(folder, text)


def users(data, caliber):
    """The one user."""
    asked = subprocess.run([caliber, "hash-password"], input=data.password, capture_output=True, text=True, check=True)
    return {USER: {"password": asked.stdout.strip(), "roles": ["analyst"]}}


def save(folder, text):
    """Writes `text` where only its owner reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "caliber.yaml"
    file.touch(mode=0o600)
    file.write_text(json.dumps(text, indent=2))
    return folder
