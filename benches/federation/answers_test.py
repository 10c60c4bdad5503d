"""What `answers` tells apart, and what it does not.

Owns: its corners. Never: an answer of a system.
"""

import unittest
from decimal import Decimal

import pyarrow

from answers import difference


def table(*columns):
    return pyarrow.table({f"c{at}": pyarrow.array(column) for at, column in enumerate(columns)})


class Difference(unittest.TestCase):
    def test_rows_may_come_in_any_order_unless_the_statement_sorts(self):
        found, wanted = table([1, 2], ["a", "b"]), table([2, 1], ["b", "a"])
        self.assertIsNone(difference(found, wanted))
        self.assertIn("row 1 in order", difference(found, wanted, order_by=[0]))

    def test_a_row_more_a_row_twice_and_another_value_differ(self):
        self.assertEqual(difference(table([1, 1]), table([1])), "2 rows, not 1")
        self.assertIsNotNone(difference(table([1, 1, 2]), table([1, 2, 2])))
        self.assertIsNotNone(difference(table(["a"]), table(["b"])))
        self.assertIsNotNone(difference(table([None], ["x"]), table([0], ["x"])))
        self.assertIsNotNone(difference(table([1], [2]), table([1])))

    def test_decimals_are_equal_or_not_whatever_their_scale(self):
        self.assertIsNone(difference(table([Decimal("1.50")]), table([Decimal("1.5000")])))
        self.assertIsNotNone(difference(table([Decimal("1.5000")]), table([Decimal("1.5001")])))

    def test_large_numbers_are_not_compared_as_floats(self):
        self.assertIsNotNone(difference(table([2**62]), table([2**62 + 1])))
        one, other = Decimal("12345678901234567890.01"), Decimal("12345678901234567890.02")
        self.assertIsNotNone(difference(table([one]), table([other])))

    def test_floats_may_differ_by_a_part_in_a_billion(self):
        self.assertIsNone(difference(table([1e6]), table([1e6 + 1e-4])))
        self.assertIsNotNone(difference(table([1e6]), table([1e6 + 1e-2])))

    def test_an_average_is_compared_to_the_last_place_of_the_decimal(self):
        self.assertIsNone(difference(table([Decimal("0.049985")]), table([0.0499854])))
        self.assertIsNotNone(difference(table([Decimal("0.049985")]), table([0.0499871])))

    def test_only_rows_that_tie_with_the_last_may_be_others(self):
        found, wanted = table([9, 5, 5], ["a", "b", "c"]), table([9, 5, 5], ["a", "b", "d"])
        self.assertIsNone(difference(found, wanted, order_by=[0], limit=3))
        self.assertIsNotNone(difference(found, wanted, order_by=[0], limit=4))
        self.assertIsNotNone(difference(table([9, 5], ["x", "b"]), table([9, 5], ["a", "b"]), order_by=[0], limit=2))

    def test_nearly_equal_floats_do_not_hide_a_swap(self):
        found, wanted = table([1.0, 1.0 + 1e-12], ["a", "b"]), table([1.0 + 1e-12, 1.0], ["a", "b"])
        self.assertIsNone(difference(found, wanted))
        self.assertIsNotNone(difference(table([1.0, 2.0], ["a", "b"]), table([2.0, 1.0], ["a", "b"])))


if __name__ == "__main__":
    unittest.main()
