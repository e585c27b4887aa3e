"""Reads tables. Cells of CSV files stay text: what they mean is decided over all sites."""

import csv
import difflib
import functools
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wgan.data.formats import MISSING, SUFFIXES
from wgan.errors import DataError


def read_table(path: Path, missing: Sequence[str] = MISSING) -> pd.DataFrame:
    """Reads a table; one row a line, headers in the first.

    Args:
        path: A CSV or TSV file in UTF-8, gzipped or not, or a Parquet file.
        missing: What stands for a missing value in text, once surrounding blanks are stripped.

    Returns:
        Columns of text (objects, `None` where missing) from CSV and TSV, typed ones from Parquet.
        Headers and text are stripped of surrounding blanks.

    Raises:
        DataError: The file is missing, is no table, has no rows, or its columns are not named
            apart or not equally long.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError(
            f"{path}: not a table by its name; expected a file ending in {', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name one table in it")
    if not path.is_file():
        raise DataError(_no_such_file(path))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    if path.name.lower().endswith(".parquet"):
        return _read_parquet(content, path, frozenset(missing))
    return _read_text(content, path, frozenset(missing))


def _no_such_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"{path}: no such file, nor the folder {path.parent}; check the path"
    tables = sorted(p.name for p in path.parent.iterdir() if p.name.lower().endswith(SUFFIXES))
    close = difflib.get_close_matches(path.name, tables, n=3, cutoff=0.5)
    if close:
        return f"{path}: no such file; did you mean {' or '.join(close)}?"
    held = f"holds {', '.join(tables[:5])}" if tables else "holds no table"
    return f"{path}: no such file; its folder {held}"


def _read_text(content: bytes, path: Path, missing: frozenset[str]) -> pd.DataFrame:
    if path.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise DataError(
                f"{path}: not a whole gzip file; copy it again, or drop .gz from its name"
            ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line} is not UTF-8; save the file with the encoding UTF-8"
        ) from None
    if not text.strip():
        raise DataError(f"{path}: empty file; expected a line of headers and one line a row")
    separator = "\t" if path.name.lower().endswith((".tsv", ".tsv.gz")) else ","

    # Cells repeat: each distinct one is cleaned, and kept in memory, once.
    @functools.cache
    def clean(cell: str) -> str | None:
        cell = cell.strip()
        return None if cell in missing else cell

    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    header: list[str] = []
    rows: list[list[str | None]] = []
    uneven: list[str] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = [cell.strip() for cell in cells]
            elif len(cells) == len(header):
                rows.append(list(map(clean, cells)))
            else:
                uneven.append(f"line {reader.line_num} ({len(cells)} cells)")
    except csv.Error:
        raise DataError(
            f'{path}: the quotes of line {reader.line_num} do not pair up; write a " within a '
            'quoted cell as ""'
        ) from None
    problems = _header_problems(header, path, separator)
    if uneven:
        more = f" and {len(uneven) - 3} more" if len(uneven) > 3 else ""
        problems.append(
            f"{path}: {', '.join(uneven[:3])}{more}: expected {len(header)} cells as in the "
            "header; quote cells that hold the separator"
        )
    elif not rows:
        problems.append(f"{path}: no rows below the header; expected at least one")
    if problems:
        raise DataError(problems)
    return pd.DataFrame(rows, columns=pd.Index(header), dtype=object)


def _header_problems(header: Sequence[str], path: Path, separator: str = "") -> list[str]:
    problems = []
    empty = [str(i) for i, name in enumerate(header, 1) if not name]
    if empty:
        problems.append(
            f"{path}: no header for column {', '.join(empty)}; name it, or remove it if it only "
            "numbers the rows"
        )
    counts = Counter(header)
    twice = [str(i) for i, name in enumerate(header, 1) if name and counts[name] > 1]
    if twice:
        # Not by name: without a line of headers the first row's cells are taken for them.
        problems.append(
            f"{path}: columns {', '.join(twice)} have the same header as another; give each its "
            "own name, in the first line of the file"
        )
    others = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
    for other in set(others) - {separator}:
        if separator and len(header) == 1 and other in header[0]:
            problems.append(
                f"{path}: columns are separated by {others[other]}; expected {others[separator]} "
                "in a file with this ending"
            )
    return problems


def _read_parquet(content: bytes, path: Path, missing: frozenset[str]) -> pd.DataFrame:
    try:
        table = pq.ParquetFile(io.BytesIO(content)).read()
    except (pa.ArrowException, OSError):
        raise DataError(f"{path}: not a Parquet file; write it again, or as .csv") from None
    nested = [f.name for f in table.schema if pa.types.is_nested(f.type)]
    # The pandas index, where it was stored, is a column like any other or (a range) nothing.
    named = [n for n in table.column_names if not n.startswith("__index_level_")]
    header = [n.strip() for n in named]
    problems = _header_problems(header, path)
    if nested:
        problems.append(
            f"{path}: columns {', '.join(map(repr, nested))} hold lists or structures; expected "
            "one value a cell"
        )
    if not table.num_rows or not header:
        problems.append(f"{path}: no rows; expected at least one")
    if problems:
        raise DataError(problems)
    # Objects keep integers apart from floats where some are missing.
    frame = table.to_pandas(integer_object_nulls=True).reset_index()[named]
    frame.columns = pd.Index(header)
    return pd.DataFrame({name: _clean(frame[name], missing) for name in header})


def _clean(series: "pd.Series[Any]", missing: frozenset[str]) -> "pd.Series[Any]":
    """Strips text and drops spellings of missing values, as in a CSV file."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        kept = series.cat.categories
        if not any(isinstance(v, str) for v in kept):
            return series
        cleaned = _clean(series.astype(object), missing)
        return cleaned.astype("category")
    if not (pd.api.types.is_object_dtype(series.dtype) or isinstance(series.dtype, pd.StringDtype)):
        return series
    cells = [c.strip() if isinstance(c, str) else c for c in series.to_numpy(dtype=object)]
    gone = series.isna().to_numpy()
    cells = [
        None if g or (isinstance(c, str) and c in missing) else c
        for c, g in zip(cells, gone, strict=True)
    ]
    return pd.Series(cells, index=series.index, dtype=object)
