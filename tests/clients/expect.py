"""What the scripts beside this file share: log in, ask, compare, count.

Owns: connections that are always closed, comparisons that say what differed. Never: an expectation of its own.
"""

import math
from collections import Counter

import adbc_driver_flightsql.dbapi as flightsql
import adbc_driver_manager

CHECKS = Counter()


def connect(uri, user, password=None):
    """A connection as `user`, whose password in every project of the tests is the user's name."""
    login = {"username": user, "password": user if password is None else password}
    return flightsql.connect(uri, db_kwargs=login, autocommit=True)


def rows(connection, sql, parameters=None):
    """All rows, as tuples."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def equal(found, wanted, what):
    """Fails unless both are equal."""
    assert found == wanted, f"{what}: found {found!r}, wanted {wanted!r}"
    CHECKS["passed"] += 1


def same_rows(found, wanted, what, in_order=False):
    """Fails unless both hold the same rows, each as often; floats may differ in the last places of a sum."""
    if not in_order:
        found, wanted = sorted(found, key=repr_key), sorted(wanted, key=repr_key)
    assert len(found) == len(wanted), f"{what}: found {len(found)} rows, wanted {len(wanted)}"
    for at, (left, right) in enumerate(zip(found, wanted)):
        alike = len(left) == len(right) and all(map(same_value, left, right))
        assert alike, f"{what}: row {at}: found {left!r}, wanted {right!r}"
    CHECKS["passed"] += 1


def same_value(left, right):
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-12)
    return left == right


def repr_key(row):
    """Orders rows of one shape, NULL first, whatever the numeric type."""
    return [(value is not None, str(value) if not isinstance(value, float) else f"{value:.6f}") for value in row]


def refused(connection, sql, kind, what, parameters=None):
    """The error of a statement that must fail with the DB-API class `kind`; its text."""
    try:
        rows(connection, sql, parameters)
    except kind as error:
        CHECKS["passed"] += 1
        return str(error)
    except adbc_driver_manager.Error as error:
        raise AssertionError(f"{what}: failed as {type(error).__name__}: {error}") from error
    raise AssertionError(f"{what}: was answered")


def done():
    """The closing line, which the Rust test looks for."""
    print(f"{CHECKS['passed']} checks passed")
