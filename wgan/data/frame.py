"""Reads tables. Cells of CSV files stay text: what they mean is decided over all sites."""

import datetime as dt
import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from pyarrow import feather

from everymode.wgan.data.delimited import (
    first_cells,
    header_problems,
    parse_delimited,
    to_frame,
)
from everymode.wgan.data.dialect import DecodedText, read_text
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import (
    COLUMNAR,
    DELIMITED,
    KINDS,
    LINES,
    MISSING,
    SHEETS,
    SUFFIXES,
    find_suffix,
    split_sheet,
)
from everymode.wgan.data.packed import unpack
from everymode.wgan.data.sheets import read_package, read_sheet
from everymode.wgan.data.storage import name_storage
from everymode.wgan.errors import DataError

_DEEP = 64
"""Brackets that may be open at once in JSON lines; cells with brackets of their own count too."""


def read_table(
    path: Path, missing: Sequence[str] = MISSING, form: FileForm = RECOGNISED
) -> pd.DataFrame:
    """Reads a table; one row a line, headers in the first unless `form` says otherwise.

    Args:
        path: A file with an ending of `everymode.wgan.data.formats.SUFFIXES`; `book.xlsx#Sheet`
            names a sheet. How text is written (separator, encoding, compression) is recognised.
        missing: What stands for a missing value in text, once surrounding blanks are stripped.
        form: How CSV and TSV are declared to be written.

    Returns:
        Columns of text (objects, `None` where missing) from CSV and TSV, typed ones from others.
        Headers and text are stripped of surrounding blanks.

    Raises:
        DataError: The file is missing, is no table, has no rows, or its columns are not named
            apart or not equally long.
    """
    path = Path(path)
    if is_delimited(path):
        return to_frame(read_delimited(path, missing, form))
    table = read_arrow(path)
    if table is not None:
        return _typed(table, path, frozenset(missing))
    file, sheet = split_sheet(path)
    content = _content(file)
    if file.name.lower().endswith(SHEETS):
        frame = read_sheet(content, file, sheet)
    else:
        frame = read_package(content, file)
    return _checked(frame, file, frozenset(missing))


def table_types(path: Path) -> dict[str, str]:
    """How a typed file stores its columns, by `everymode.wgan.data.storage`; of text nothing.

    Of workbooks only text, times of day and durations are named: other cells keep their kind as it
    is.
    """
    file, sheet = split_sheet(path)
    name = file.name.lower()
    if name.endswith(SHEETS):
        frame = read_sheet(_content(file), file, sheet)
        found = {str(name).strip(): _cell_type(frame[name]) for name in frame.columns}
        return {name: stored for name, stored in found.items() if stored}
    if not name.endswith((*COLUMNAR, *LINES)):
        return {}
    schema = pq.read_schema(path) if name.endswith(".parquet") else _arrow_schema(path)
    return {field.name.strip(): name_storage(field.type) for field in schema}


def _cell_type(series: "pd.Series[Any]") -> str:
    """The type of a workbook's cells where they are text, times of day or durations."""
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        return "duration[us]"
    if not pd.api.types.is_object_dtype(series.dtype):
        return ""
    first = next((cell for cell in series if cell is not None), None)
    return "time64[us]" if isinstance(first, dt.time) else "string"


def _arrow_schema(path: Path) -> pa.Schema:
    table = read_arrow(path)
    return pa.schema([]) if table is None else table.schema


def is_delimited(path: Path) -> bool:
    """Whether a file is CSV or TSV by its name."""
    return path.name.lower().endswith(DELIMITED)


def read_headers(path: Path, form: FileForm = RECOGNISED) -> tuple[str, ...]:
    """The headers of a table whose file says them without its cells; else none.

    They are those of CSV, TSV, Parquet, Feather and Arrow files, stripped of surrounding blanks.

    Raises:
        DataError: As `read_table`.
    """
    name = path.name.lower()
    if is_delimited(path):
        return tuple(cell.strip() for cell in first_cells(read_lines(path, form)))
    if not name.endswith(COLUMNAR) or not path.is_file():
        return ()
    try:
        if name.endswith(".parquet"):
            schema = pq.read_schema(path)
        else:
            with pa.memory_map(str(path)) as file:
                schema = pa.ipc.open_file(file).schema
    except (pa.ArrowException, OSError):
        return ()  # Who reads the cells says what is wrong.
    return tuple(header.strip() for header in schema.names)


def read_delimited(
    path: Path, missing: Sequence[str] = MISSING, form: FileForm = RECOGNISED
) -> pa.Table:
    """Reads a CSV or TSV file as dictionary-encoded text; see `everymode.wgan.data.delimited`.

    Raises:
        DataError: As `read_table`.
    """
    return parse_delimited(_content(path), path, frozenset(missing), form)


def read_lines(path: Path, form: FileForm = RECOGNISED) -> DecodedText:
    """The text of a CSV or TSV file and how it is written; `form` is what is declared of it.

    Raises:
        DataError: As `read_table`.
    """
    return read_text(_content(path), path, form)


def notes(path: Path, form: FileForm = RECOGNISED) -> list[str]:
    """What was recognised of a file, or of the tables of a folder, that its name does not say."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if find_suffix(p.name) and p.name[0] != ".")
    else:
        files = [path]
    texts = ((p, read_lines(p, form).dialect) for p in files if is_delimited(p))
    found = [note for p, dialect in texts if (note := dialect.note(p, form))]
    more = [f"{path}: {len(found) - 3} more files are written so"] if len(found) > 4 else []
    return found[:3] + more if more else found


def read_arrow(path: Path) -> pa.Table | None:
    """A file that Arrow reads with its types, as it is; `None` where it is of another kind.

    Raises:
        DataError: It cannot be read.
    """
    name = path.name.lower()
    if not name.endswith((*COLUMNAR, *LINES)):
        return None
    content = _content(path)
    if name.endswith(LINES):
        return _json_lines(unpack(content, path)[0], path)
    what = "a Parquet" if name.endswith(".parquet") else "an Arrow"
    try:
        if name.endswith(".parquet"):
            return pq.ParquetFile(io.BytesIO(content)).read()
        try:
            return feather.read_table(io.BytesIO(content), memory_map=False)
        except pa.ArrowException:
            return pa.ipc.open_stream(io.BytesIO(content)).read_all()
    except (pa.ArrowException, OSError):
        raise DataError(f"{path}: not {what} file; write it again, or as .csv") from None


def _json_lines(content: bytes, path: Path) -> pa.Table:
    # A parser that descends into what it reads could run out of stack.
    data = np.frombuffer(content, np.uint8)
    steps = np.isin(data, list(b"[{")).astype(np.int32) - np.isin(data, list(b"]}"))
    if len(data) and int(np.abs(np.cumsum(steps)).max()) > _DEEP:
        raise DataError(
            f"{path}: its objects are nested, or their brackets do not pair up; expected one flat "
            "object a line"
        )
    try:
        table = _parse_json(content)
        # A JSON string that looks like a date is text: its form is voted on like that of others.
        dated = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
        return _parse_json(content, dated).select(table.column_names) if dated else table
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not one JSON object a line with values of one type a column ({error}); "
            "write it again, or as .csv"
        ) from None


def _parse_json(content: bytes, texts: Sequence[str] = ()) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in texts])
    return pa_json.read_json(
        pa.BufferReader(content),
        pa_json.ReadOptions(block_size=1 << 24),
        pa_json.ParseOptions(explicit_schema=schema),
    )


def _content(path: Path) -> bytes:
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError(f"{path}: not a table by its name; expected a file ending in {KINDS}")
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


def _typed(table: pa.Table, path: Path, missing: frozenset[str]) -> pd.DataFrame:
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
    if raw := [f.name for f in table.schema if _is_binary(f.type)]:
        problems.append(
            f"{path}: columns {', '.join(map(repr, raw))} hold bytes, which stand for nothing that "
            "can be modelled; leave them out, or write what they mean as text or numbers"
        )
    if not table.num_rows or not header:
        problems.append(f"{path}: no rows; expected at least one")
    if problems:
        raise DataError(problems)
    # Objects keep integers apart from floats where some are missing.
    frame = table.to_pandas(integer_object_nulls=True).reset_index()[named]
    return _checked(frame, path, missing)


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = pa.types
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _checked(frame: pd.DataFrame, path: Path, missing: frozenset[str]) -> pd.DataFrame:
    header = [str(n).strip() for n in frame.columns]
    problems = header_problems(header, path)
    if not problems and not len(frame):
        problems.append(f"{path}: no rows; expected at least one")
    if problems:
        raise DataError(problems)
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
