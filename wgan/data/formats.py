"""What a table file is by its name, and what stands for a missing value: no pandas is needed."""

from typing import Final

MISSING: Final[tuple[str, ...]] = (
    *("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"),
    *("#N/A", "#NA", "<NA>", "NaT"),
)
"""Spellings of a missing value."""

SUFFIXES: Final[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
"""Endings of the files that are read as tables."""

ARRAYS: Final = ".npz"
"""Ending of a file with samples and their labels; see `everymode.clients.datasets.arrays`."""
