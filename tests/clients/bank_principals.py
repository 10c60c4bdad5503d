"""What each principal of the bank sees, in rows, errors and metadata.

usage: bank_principals.py URI BANK_FOLDER
"""

import sys

import adbc_driver_manager as adbc

import local_bank
from expect import connect, done, equal, refused, rows

# What a branch sees: its customers, and what is theirs by ownership. The same text runs over the local copy.
OWNED = """SELECT p.account_id FROM accounting.disp p JOIN accounting.client c ON c.client_id = p.client_id
           WHERE p.type = 'OWNER' AND c.district_id = {district}"""
BRANCH = {
    "accounting.client": "SELECT count(*) FROM accounting.client WHERE district_id = {district}",
    "accounting.account": f"SELECT count(*) FROM accounting.account WHERE account_id IN ({OWNED})",
    "credit.loan": f"SELECT count(*) FROM credit.loan WHERE account_id IN ({OWNED})",
    "settlement.trans": f"SELECT count(*) FROM settlement.trans WHERE account_id IN ({OWNED})",
    'settlement."order"': f'SELECT count(*) FROM settlement."order" WHERE account_id IN ({OWNED})',
    "credit.card": """SELECT count(*) FROM credit.card WHERE disp_id IN (SELECT disp_id FROM accounting.disp p
                      JOIN accounting.client c ON c.client_id = p.client_id WHERE c.district_id = {district})""",
    "unified.customer_360": "SELECT count(*) FROM accounting.client WHERE district_id = {district}",
}
# shared/bank/README.md and the design's figures for the branch of district 1.
PRAGUE = {
    "accounting.client": 663,
    "accounting.account": 547,
    "credit.loan": 79,
    "settlement.trans": 5640,
    'settlement."order"': 811,
    "credit.card": 130,
    "unified.customer_360": 663,
}


def branches(uri, local):
    for user, district in (("petr", 1), ("jana", 18)):
        with connect(uri, user) as connection:
            for table, sql in BRANCH.items():
                wanted = local.execute(sql.format(district=district)).fetchall()
                found = rows(connection, f"SELECT count(*) FROM {table}")
                equal(found, wanted, f"{user}: {table}")
                if user == "petr":
                    equal(found, [(PRAGUE[table],)], f"petr: {table}")
            equal(rows(connection, "SELECT DISTINCT birth_number FROM accounting.client"), [(None,)], f"{user}: masked")
            equal(
                rows(connection, "SELECT gender, count(*) FROM unified.customer_360 GROUP BY gender"),
                local.execute(f"SELECT NULL, count(*) FROM accounting.client WHERE district_id = {district}").fetchall(),
                f"{user}: an attribute of a masked column is NULL",
            )


def head_office(uri):
    with connect(uri, "anna") as connection:
        equal(rows(connection, "SELECT birth_number FROM accounting.client WHERE client_id = 1"), [("70****",)], "anna: mask")
        for condition in ("birth_number = '706213'", "birth_number LIKE '7062%'", "'706213' IN (birth_number)"):
            sql = f"SELECT client_id FROM accounting.client WHERE {condition}"
            equal(rows(connection, sql), [], f"anna: the true value is not there: {condition}")
    with connect(uri, "olga") as connection:
        equal(rows(connection, "SELECT birth_number FROM accounting.client WHERE client_id = 1"), [("706213",)], "olga: clear")
        genders = rows(connection, "SELECT gender, count(*) FROM unified.customer_360 GROUP BY gender ORDER BY gender")
        equal(genders, [("F", 2645), ("M", 2724)], "olga: gender")


def credit_desk(uri):
    with connect(uri, "karl") as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM credit.loan")
            table = cursor.fetch_arrow_table()
        equal(table.column_names, ["loan_id", "account_id", "date", "amount", "status"], "karl: columns")
        equal(table.num_rows, 682, "karl: rows")
        hidden = [
            ("SELECT {} FROM credit.loan", "duration", "absentia"),
            ("SELECT {} FROM credit.loan", "payments", "absentia"),
            ("SELECT loan_id FROM credit.loan WHERE {} > 1", "duration", "absentia"),
            ("SELECT count(*) FROM credit.{}", "card", "void"),
            ("SELECT count(*) FROM accounting.{}", "client", "absent"),
            ('SELECT count(*) FROM settlement."{}"', "order", "absen"),
            ("SELECT count(*) FROM {}.trans", "settlement", "absentment"),
            ("SELECT count(*) FROM unified.{}", "customer_360", "absentee_360"),
        ]
        for sql, there, nowhere in hidden:
            errors = [refused(connection, sql.format(name), adbc.Error, f"karl: {name}") for name in (there, nowhere)]
            equal(errors[0].replace(there, "NAME"), errors[1].replace(nowhere, "NAME"), f"karl: {there} looks absent")
        equal(tables(connection), {("credit", "loan")}, "karl: metadata")
    with connect(uri, "nobody") as connection:
        equal(tables(connection), set(), "nobody: metadata")
        refused(connection, "SELECT count(*) FROM credit.loan", adbc.ProgrammingError, "nobody: sees nothing")


def tables(connection):
    """(schema, table) of every table of a source or of `unified` that the metadata calls list."""
    found = set()
    for catalog in connection.adbc_get_objects(depth="tables").read_all().to_pylist():
        for schema in catalog["catalog_db_schemas"] or []:
            for table in schema["db_schema_tables"] or []:
                found.add((schema["db_schema_name"], table["table_name"]))
    return {(schema, table) for schema, table in found if schema not in ("caliber", "information_schema")}


def metadata(uri):
    everything = {
        ("accounting", "account"), ("accounting", "client"), ("accounting", "disp"), ("accounting", "district"),
        ("credit", "card"), ("credit", "loan"), ("settlement", "order"), ("settlement", "trans"),
        ("unified", "customer_360"),
    }  # fmt: skip
    for user in ("olga", "anna", "petr"):
        with connect(uri, user) as connection:
            equal(tables(connection), everything, f"{user}: metadata")
    with connect(uri, "karl") as connection:
        schema = connection.adbc_get_table_schema("loan", db_schema_filter="credit")
        equal(schema.names, ["loan_id", "account_id", "date", "amount", "status"], "karl: table schema")
        objects = connection.adbc_get_objects(depth="columns", table_name_filter="loan").read_all().to_pylist()
        found = [table for schema in objects[0]["catalog_db_schemas"] for table in schema["db_schema_tables"] or []]
        columns = [column for table in found if table["table_name"] == "loan" for column in table["table_columns"]]
        equal([column["column_name"] for column in columns], schema.names, "karl: columns of the metadata call")
    with connect(uri, "olga") as connection:
        equal(connection.adbc_current_catalog, "berka", "current catalog")
        assert set(connection.adbc_get_table_types()) >= {"TABLE", "VIEW"}
        info = connection.adbc_get_info()
        assert info["vendor_name"], "the server names itself"


def log_in(uri):
    for user, password in (("petr", "anna"), ("petr", ""), ("absent", "absent")):
        try:
            connect(uri, user, password).close()
        except adbc.Error as error:
            assert "UNAUTHENTICATED" in str(error).upper(), error
        else:
            raise AssertionError(f"{user} logged in with a wrong password")
        equal(True, True, "refused")


def refusals(uri):
    statements = [
        "CREATE TABLE t (a INT)",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "DROP TABLE credit.loan",
        "INSERT INTO credit.loan (loan_id) VALUES (1)",
        "UPDATE credit.loan SET amount = 0",
        "DELETE FROM credit.loan",
        "COPY credit.loan TO '/tmp/loan.csv'",
        "SET datafusion.execution.batch_size = 1",
        "SELECT 1; SELECT 2",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT read_file('/etc/passwd')",
        "SELECT no_such_function(amount) FROM credit.loan",
        "SELECT * FROM generate_series(1, 10)",
        "EXPLAIN ANALYZE SELECT * FROM credit.loan",
    ]
    with connect(uri, "anna") as connection:
        for sql in statements:
            text = refused(connection, sql, adbc.Error, sql)
            assert "SQL0" in text or "LIM0" in text or "SRV0" in text, f"{sql}: no code in {text}"
        equal(rows(connection, "SELECT count(*), sum(amount) FROM credit.loan")[0][0], 682, "nothing was touched")


def main(uri, folder):
    local = local_bank.load(folder)
    log_in(uri)
    branches(uri, local)
    head_office(uri)
    credit_desk(uri)
    metadata(uri)
    refusals(uri)
    done()


if __name__ == "__main__":
    main(*sys.argv[1:])
