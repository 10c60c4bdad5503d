"""What is measured, a file for each matter; each has `measure(bench)`, which adds to the report.

Owns: their order. Never: a clock.
"""

NAMES = ("tpch", "lookup", "segment", "single", "metrics", "bulk", "parquet", "memory", "transfer")
