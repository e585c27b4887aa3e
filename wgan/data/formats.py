"""What a table file is by its name, and what stands for a missing value: no pandas is needed."""

from pathlib import Path
from typing import Final

from everymode.wgan.data.database_source import is_database

MISSING: Final[tuple[str, ...]] = (
    *("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"),
    *("#N/A", "#NA", "<NA>", "NaT"),
)
"""Spellings of a missing value."""

COMPRESSED: Final[tuple[str, ...]] = (".gz", ".zip", ".xz", ".zst")
"""Endings of compressed text files."""


def _packed(*stems: str) -> tuple[str, ...]:
    return tuple(stem + packed for stem in stems for packed in ("", *COMPRESSED))


DELIMITED: Final = _packed(".csv", ".tsv")
"""Endings of text files with one row a line."""

LINES: Final = _packed(".jsonl", ".ndjson")
"""Endings of text files with one JSON object a line."""

SHEETS: Final[tuple[str, ...]] = (".xlsx", ".xls", ".ods")
"""Endings of workbooks; `book.xlsx#Sheet` names one of their sheets."""

COLUMNAR: Final[tuple[str, ...]] = (".parquet", ".feather", ".arrow")
"""Endings of files that Arrow reads with their types."""

PACKAGES: Final[tuple[str, ...]] = (".sas7bdat", ".xpt", ".dta")
"""Endings of files of SAS and Stata."""

SUFFIXES: Final[tuple[str, ...]] = (*DELIMITED, *COLUMNAR, *LINES, *SHEETS, *PACKAGES)
"""Endings of the files that are read as tables."""

WRITTEN: Final[tuple[str, ...]] = (
    *(".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".feather", ".jsonl", ".xlsx"),
)
"""Endings of the files that synthetic tables are written to."""

ARRAYS: Final = ".npz"
"""Ending of a file with samples and their labels; see `everymode.clients.datasets.arrays`."""

KINDS: Final = (
    ".csv and .tsv (also .gz, .zip, .xz, .zst), .parquet, .feather, .arrow, .jsonl, .ndjson, "
    ".xlsx, .xls, .ods, .sas7bdat, .xpt or .dta"
)
"""`SUFFIXES` in words, for messages."""


def find_suffix(name: str) -> str:
    """The ending of a table's name, as it is written; empty where it is none.

    >>> find_suffix("A.CSV.gz"), find_suffix("notes.txt")
    ('.CSV.gz', '')
    """
    low = name.lower()
    longest = max((s for s in SUFFIXES if low.endswith(s)), key=len, default="")
    return name[len(name) - len(longest) :] if longest else ""


def split_sheet(path: Path) -> tuple[Path, str]:
    """A workbook's file and the sheet that a path names after `#`; empty where it names none.

    >>> split_sheet(Path("a/book.xlsx#June 2024"))[1]
    'June 2024'
    """
    text = str(path)
    for ending in SHEETS:
        place = text.lower().find(f"{ending}#")
        if place >= 0 and not path.exists():
            end = place + len(ending)
            return Path(text[:end]), text[end + 1 :]
    return path, ""


def is_table(path: str) -> bool:
    """Whether a path names one table, not a folder, by its ending; one in a database counts.

    >>> is_table("T.CSV"), is_table("book.xlsx#June"), is_table("tables")
    (True, True, False)
    """
    return is_database(path) or bool(find_suffix(split_sheet(Path(path))[0].name))
