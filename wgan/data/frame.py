"""Reads tables. Cells of CSV files stay text: what they mean is decided over all sites."""

import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from everymode.wgan.data.delimited import header_problems, parse_delimited, to_frame
from everymode.wgan.data.formats import MISSING, SUFFIXES
from everymode.wgan.data.storage import name_storage
from everymode.wgan.errors import DataError


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
    if is_delimited(path):
        return to_frame(read_delimited(path, missing))
    return _read_parquet(_content(path), path, frozenset(missing))


def table_types(path: Path) -> dict[str, str]:
    """How a typed file stores its columns, by `everymode.wgan.data.storage`; of text nothing."""
    if is_delimited(path):
        return {}
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return {}
    return {field.name.strip(): name_storage(field.type) for field in schema}


def is_delimited(path: Path) -> bool:
    """Whether a file is CSV or TSV by its name."""
    return path.name.lower().endswith(tuple(s for s in SUFFIXES if s != ".parquet"))


def read_delimited(path: Path, missing: Sequence[str] = MISSING) -> pa.Table:
    """Reads a CSV or TSV file as dictionary-encoded text; see `everymode.wgan.data.delimited`.

    Raises:
        DataError: As `read_table`.
    """
    return parse_delimited(_content(path), path, frozenset(missing))


def _content(path: Path) -> bytes:
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError(
            f"{path}: not a table by its name; expected a file ending in {', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name one table in it")
    if not path.is_file():
        raise DataError(_no_such_file(path))
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its rights") from None


def _no_such_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"{path}: no such file, nor the folder {path.parent}; check the path"
    tables = sorted(p.name for p in path.parent.iterdir() if p.name.lower().endswith(SUFFIXES))
    close = difflib.get_close_matches(path.name, tables, n=3, cutoff=0.5)
    if close:
        return f"{path}: no such file; did you mean {' or '.join(close)}?"
    held = f"holds {', '.join(tables[:5])}" if tables else "holds no table"
    return f"{path}: no such file; its folder {held}"


def _read_parquet(content: bytes, path: Path, missing: frozenset[str]) -> pd.DataFrame:
    try:
        table = pq.ParquetFile(io.BytesIO(content)).read()
    except (pa.ArrowException, OSError):
        raise DataError(f"{path}: not a Parquet file; write it again, or as .csv") from None
    nested = [f.name for f in table.schema if pa.types.is_nested(f.type)]
    # The pandas index, where it was stored, is a column like any other or (a range) nothing.
    named = [n for n in table.column_names if not n.startswith("__index_level_")]
    header = [n.strip() for n in named]
    problems = header_problems(header, path)
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
