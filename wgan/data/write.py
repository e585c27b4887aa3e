"""Writes tables, whole or not at all."""

import datetime as dt
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from everymode.wgan.data.dates import write_dates
from everymode.wgan.data.formats import WRITTEN
from everymode.wgan.data.numbers import write_numbers
from everymode.wgan.data.packed import pack
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.sheets import write_feather, write_sheet
from everymode.wgan.data.spreadsheets import Marked, safe_table
from everymode.wgan.data.storage import stored
from everymode.wgan.errors import DataError, StateError
from everymode.wgan.files import write_bytes


def write_table(
    frame: pd.DataFrame,
    schema: Schema,
    path: Path,
    spreadsheet_safe: bool = False,
    cells: pd.DataFrame | None = None,
) -> Marked:
    """Writes a decoded table; the ending of `path` says in which format.

    Text has missing values as the schema's mark for them, mostly empty cells, date-times in the
    form and booleans in the spelling of the schema. A file of that name is replaced once the new
    one is complete.

    Args:
        frame: The table.
        schema: What its columns are.
        path: Where it goes.
        spreadsheet_safe: Whether text that a spreadsheet would run gets an apostrophe; Parquet
            needs none.
        cells: Text to write in place of the table's own cells, in text formats: columns of as many
            rows, `None` where a cell is left as it is.

    Returns:
        What got an apostrophe.

    Raises:
        DataError: The ending is none of `WRITTEN`.
        StateError: The file cannot be written.
    """
    path = Path(path)
    name = check_place(path)
    marked = Marked()
    if name.endswith(".parquet"):
        buffer = io.BytesIO()
        pq.write_table(to_arrow(frame, schema), buffer)
        content = buffer.getvalue()
    elif name.endswith(".feather"):
        content = write_feather(to_arrow(frame, schema))
    elif name.endswith(".jsonl"):
        content = json_lines(to_arrow(frame, schema))
    elif name.endswith(".xlsx"):
        table = _as_cells(frame, schema)
        table, marked = safe_table(table) if spreadsheet_safe else (table, marked)
        content = write_sheet(table, path)
    else:
        separator = "\t" if name.endswith((".tsv", ".tsv.gz")) else ","
        table = as_text(frame, schema)
        for column, given in {} if cells is None else cells.items():
            own = table[column].astype(object)
            table[column] = own.where(given.isna().to_numpy(), given.to_numpy())
        if spreadsheet_safe:
            table, marked = safe_table(table)
        content = table.to_csv(sep=separator, index=False, lineterminator="\n").encode()
        content = pack(content, name)
    write_bytes(path, content)
    return marked


def check_place(path: Path) -> str:
    """The name of a file that a table can be written to, in lower case.

    Raises:
        DataError: The ending is none of `WRITTEN`.
        StateError: There is no such folder.
    """
    name = path.name.lower()
    if not name.endswith(WRITTEN):
        raise DataError(f"{path}: tables are not written so; end its name in {', '.join(WRITTEN)}")
    if not path.parent.is_dir():
        raise StateError(f"{path}: cannot be written: there is no folder {path.parent}")
    return name


def as_text(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A decoded table with every column as it is written in text."""
    known = {column.name: column for column in schema.columns}
    columns = {}
    for name in frame.columns:
        series = frame[name]
        if name in known:
            series = spell_column(series, known[name])
            if (gap := known[name].gap) and (gone := series.isna()).any():
                series = series.astype(object).mask(gone, gap)
        columns[name] = series
    return pd.DataFrame(columns)


def json_lines(table: pa.Table) -> bytes:
    """A JSON object a row: text is a string, a number a number, a missing value null."""
    lines = [json.dumps(row, ensure_ascii=False, default=_iso) for row in table.to_pylist()]
    return "".join(f"{line}\n" for line in lines).encode()


def _iso(value: Any) -> Any:
    """What JSON has no type for."""
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value.total_seconds() if isinstance(value, dt.timedelta) else str(value)


def _as_cells(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Columns as cells of a workbook: text as text, also where it reads as numbers or dates."""
    texts = {c.name: c for c in schema.columns if "string" in c.storage}
    times = {c.name for c in schema.columns if c.storage.startswith(("time32", "time64"))}
    durations = {c.name for c in schema.columns if c.storage.startswith("duration")}
    columns = {}
    for name in frame.columns:
        series = frame[name]
        if name in texts:
            spelled = spell_column(series, texts[name]).astype(object)
            series = spelled.map(str, na_action="ignore")
        elif pd.api.types.is_datetime64_dtype(series.dtype) and name in times:
            series = series.astype(object).map(lambda moment: moment.time(), na_action="ignore")
        elif name in durations:
            series = pd.to_timedelta(series, unit="s").astype(object)
            series = series.map(lambda span: span.to_pytimedelta(), na_action="ignore")
        elif pd.api.types.is_datetime64_dtype(series.dtype):
            days = series.dropna()
            if (days == days.dt.normalize()).all():
                # A date cell shows no time of day.
                series = series.astype(object).map(lambda day: day.date(), na_action="ignore")
        columns[name] = series
    return pd.DataFrame(columns)


def spell_column(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    """A decoded column as it is written in text: dates, numbers and truth values in their form."""
    types = pd.api.types
    if types.is_datetime64_any_dtype(series.dtype):
        form = column.form or "%Y-%m-%d %H:%M:%S.%f"
        moments = pd.DatetimeIndex(series)
        moments = moments if moments.tz is None else moments.tz_convert("UTC").tz_localize(None)
        return pd.Series(write_dates(moments, form, column.zone), series.index, dtype=object)
    if column.kind == "boolean" and types.is_bool_dtype(series.dtype):
        spelling: dict[Any, Any] = {c.lower() == "true": c for c in column.categories}
        return series.astype(object).map(spelling, na_action="ignore")
    if column.form and types.is_numeric_dtype(series.dtype):
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return pd.Series(write_numbers(numbers, column.form), series.index, dtype=object)
    return series


def to_arrow(frame: pd.DataFrame, schema: Schema) -> pa.Table:
    """A decoded table with each column in the type that its sites store it in, where it fits."""
    known = {column.name: column for column in schema.columns}
    arrays: list[pa.Array] = []
    for name in map(str, frame.columns):
        series, column = frame[name], known.get(name)
        array = None
        if column is not None and column.storage:
            text = "string" in column.storage
            array = stored(spell_column(series, column) if text else series, column.storage)
        if array is None:
            array = pa.array(series, from_pandas=True)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, names=[str(name) for name in frame.columns])
