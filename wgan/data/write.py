"""Writes tables, whole or not at all."""

from pathlib import Path
from typing import Any

import pandas as pd

from everymode.wgan.data.formats import WRITTEN
from everymode.wgan.data.packed import pack
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.sheets import write_feather, write_sheet
from everymode.wgan.data.spreadsheets import Marked, safe_table
from everymode.wgan.errors import DataError, StateError
from everymode.wgan.files import write_bytes


def write_table(
    frame: pd.DataFrame, schema: Schema, path: Path, spreadsheet_safe: bool = False
) -> Marked:
    """Writes a decoded table; the ending of `path` says in which format.

    Text has missing values as empty cells, date-times in the form and booleans in the spelling of
    the schema. A file of that name is replaced once the new one is complete.

    Args:
        frame: The table.
        schema: What its columns are.
        path: Where it goes.
        spreadsheet_safe: Whether text that a spreadsheet would run gets an apostrophe; Parquet
            needs none.

    Returns:
        What got an apostrophe.

    Raises:
        DataError: The ending is none of `WRITTEN`.
        StateError: The file cannot be written.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(WRITTEN):
        raise DataError(f"{path}: tables are not written so; end its name in {', '.join(WRITTEN)}")
    if not path.parent.is_dir():
        raise StateError(f"{path}: cannot be written: there is no folder {path.parent}")
    marked = Marked()
    if name.endswith(".parquet"):
        content = frame.to_parquet(index=False)
    elif name.endswith(".feather"):
        content = write_feather(frame)
    elif name.endswith(".jsonl"):
        text = frame.to_json(None, orient="records", lines=True, date_format="iso", index=False)
        content = text.encode()
    elif name.endswith(".xlsx"):
        table, marked = safe_table(frame) if spreadsheet_safe else (frame, marked)
        content = write_sheet(table, path)
    else:
        separator = "\t" if name.endswith((".tsv", ".tsv.gz")) else ","
        table = _as_text(frame, schema)
        if spreadsheet_safe:
            table, marked = safe_table(table)
        content = table.to_csv(sep=separator, index=False, lineterminator="\n").encode()
        content = pack(content, name)
    write_bytes(path, content)
    return marked


def _as_text(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    known = {column.name: column for column in schema.columns}
    return pd.DataFrame(
        {
            name: _spelled(frame[name], known[name]) if name in known else frame[name]
            for name in frame.columns
        }
    )


def _spelled(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        aware = series.dt.tz_localize("UTC") if series.dt.tz is None else series
        form = column.form or "%Y-%m-%d %H:%M:%S.%f"
        return pd.Series(aware.dt.tz_convert("UTC").dt.strftime(form))
    if column.kind == "boolean" and pd.api.types.is_bool_dtype(series.dtype):
        spelling: dict[Any, Any] = {c.lower() == "true": c for c in column.categories}
        return series.astype(object).map(spelling, na_action="ignore")
    return series
