"""Whether two answers are equal, and if not, where they differ.

Owns: the comparison. Never: an answer.

Whole numbers, decimals, text and dates are equal or not. Where one side computed a quotient or an average in binary
floating point, both may differ by 1e-9 of the value, or, where the other side gave a decimal, by one unit of its last place:
engines give an average of DECIMAL(15,2) so many decimal places and round there.
"""

from decimal import Decimal

RELATIVE = 1e-9


def difference(found, wanted, order_by=(), limit=None):
    """What differs between two Arrow tables, in words; `None` if nothing does.

    `order_by` are the positions of the columns that the statement sorts by: their values must come in the same order. Rows that
    tie on all of them may come in any order. At the end of a result that `limit` cut, tied rows may be others.
    """
    found, wanted = rows(found), rows(wanted)
    if len(found) != len(wanted):
        return f"{len(found)} rows, not {len(wanted)}"
    for at, (left, right) in enumerate(zip(found, wanted, strict=True)):
        if len(left) != len(right):
            return f"{len(left)} columns, not {len(right)}"
        for column in order_by:
            if not same(left[column], right[column]):
                return f"row {at + 1} in order, column {column + 1}: {left[column]}, not {right[column]}"
    if limit is not None and len(wanted) == limit:
        last = wanted[-1]
        found, wanted = beside_ties(found, last, order_by), beside_ties(wanted, last, order_by)
        if len(found) != len(wanted):
            return "the rows that tie with the last one are not as many"
    for left, right in zip(arranged(found), arranged(wanted), strict=True):
        for column, (one, other) in enumerate(zip(left, right, strict=True)):
            if not same(one, other):
                return f"a row with column {column + 1} {one}, not {other}"
    return None


def rows(table):
    """The table's rows as tuples."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True)) if table.num_columns else []


def beside_ties(all_rows, last, order_by):
    return [row for row in all_rows if not all(same(row[column], last[column]) for column in order_by)]


def arranged(all_rows):
    """In an order that both answers share: by what is no number first, then by the numbers, to nine digits."""
    return sorted(all_rows, key=lambda row: ([text_key(value) for value in row], [number_key(value) for value in row]))


def text_key(value):
    return "" if value is None or isinstance(value, int | float | Decimal) else str(value)


def number_key(value):
    return float(f"{value:.9g}") if isinstance(value, int | float | Decimal) else float("-inf")


def same(one, other):
    """Whether two values are the same value."""
    if one is None or other is None:
        return one is None and other is None
    if isinstance(one, float) or isinstance(other, float):
        return close(one, other)
    return one == other


def close(one, other):
    places = [abs(value.as_tuple().exponent) for value in (one, other) if isinstance(value, Decimal)]
    unit = 10.0 ** -min(places) if places else 0.0
    return abs(float(one) - float(other)) <= max(RELATIVE * abs(float(other)), unit)
