"""Reads workbooks by python-calamine (the extra `excel`), files of SAS and Stata by pandas."""

import datetime as dt
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from everymode.wgan.data.packed import ALWAYS, RATIO
from everymode.wgan.errors import DataError

EXCEL = "pip install 'everymode[excel]'"

IBM_ZERO = 2.0**-260
"""What pandas (issue 50670) reads for a zero of a transport file, a number in the format of IBM."""


def read_sheet(content: bytes, path: Path, sheet: str) -> pd.DataFrame:
    """A sheet of a workbook; headers in its first row that holds something.

    Columns of one type keep it (whole numbers, numbers, booleans, dates, times of day, durations);
    others are text.

    Args:
        content: The file's bytes.
        path: Its name, for messages.
        sheet: Which one; empty: the only one that holds something.

    Raises:
        DataError: It is no workbook, needs a package, or which sheet is meant is not clear.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise DataError(
            f"{path}: workbooks need the package python-calamine; run {EXCEL}, or save the sheet "
            "as .csv"
        ) from None
    _check_size(content, path)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        names = list(book.sheet_names)
        wanted = [n for n in names if n == sheet or not sheet]
        cells = {n: book.get_sheet_by_name(n).to_python() for n in wanted}
    except (CalamineError, OSError, ValueError, zipfile.BadZipFile):
        raise DataError(
            f"{path}: not a workbook that can be read (or it has a password); save the sheet as "
            ".csv"
        ) from None
    if not wanted and sheet:
        raise DataError(f"{path}: no sheet '{sheet}'; it has {', '.join(names)}")
    held = [n for n, rows in cells.items() if any(c != "" for row in rows for c in row)]
    if len(held) > 1:
        raise DataError(
            f"{path}: {len(held)} sheets hold data ({', '.join(held)}); name one, as in "
            f"'{path.name}#{held[0]}'"
        )
    if not held:
        raise DataError(f"{path}: its sheets are empty; expected a row of headers and rows below")
    return _frame(cells[held[0]])


def _check_size(content: bytes, path: Path) -> None:
    if not content.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile:
        return  # calamine says what is wrong
    if size > max(ALWAYS, RATIO * len(content)):
        raise DataError(
            f"{path}: decompresses to {size >> 20:,} MiB, over {RATIO} times its size; save the "
            "sheet as .csv if that is right"
        )


def _frame(rows: list[list[Any]]) -> pd.DataFrame:
    rows = [row for row in rows if any(cell != "" for cell in row)]
    width = max(i for row in rows for i, cell in enumerate(row, 1) if cell != "")
    header = ["" if i >= len(rows[0]) else _text(rows[0][i]) for i in range(width)]
    columns = {
        i: _column([row[i] if i < len(row) else "" for row in rows[1:]]) for i in range(width)
    }
    frame = pd.DataFrame(columns)
    frame.columns = pd.Index(header)
    return frame


def _column(cells: list[Any]) -> "pd.Series[Any]":
    values = [None if isinstance(c, str) and not c.strip() else c for c in cells]
    kinds = {type(v) for v in values if v is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds and kinds <= {int, float}:
        if all(v is None or (float(v).is_integer() and abs(v) < 2**53) for v in values):
            whole = [None if v is None else int(v) for v in values]
            return pd.Series(whole, dtype="Int64")
        return pd.Series(values, dtype="float64")
    if kinds and kinds <= {dt.date, dt.datetime}:
        return pd.Series(pd.to_datetime(pd.Series(values)))
    if kinds == {dt.timedelta}:
        return pd.Series(values, dtype="timedelta64[us]")
    if kinds == {dt.time}:
        return pd.Series(values, dtype=object)
    return pd.Series([None if v is None else _text(v) for v in values], dtype=object)


def _text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def read_package(content: bytes, path: Path) -> pd.DataFrame:
    """A file of SAS (`.sas7bdat`, `.xpt`) or Stata (`.dta`), its codes replaced by their labels.

    What pandas only warns of stays as the file has it: Stata's times with leap seconds (`%tC`) are
    numbers.

    Raises:
        DataError: It cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _package(content, path)


def _package(content: bytes, path: Path) -> pd.DataFrame:
    file, name = io.BytesIO(content), path.name.lower()
    try:
        if name.endswith(".dta"):
            try:
                return pd.read_stata(file)
            except ValueError as error:
                if "labels" not in str(error):
                    raise
                # One label for two codes: the codes are what tells rows apart.
                return pd.read_stata(io.BytesIO(content), convert_categoricals=False)
        if name.endswith(".xpt"):
            frame: pd.DataFrame = pd.read_sas(file, format="xport", encoding="cp1252")
        else:
            frame = pd.read_sas(file, format="sas7bdat", encoding="infer")
    except Exception as error:
        # pandas raises whatever a damaged field happens to cause.
        made = "Stata" if name.endswith(".dta") else "SAS"
        if "not an XPORT file" in str(error):
            error = ValueError("a transport file of version 5 is expected")
        raise DataError(
            f"{path}: not a {made} file that can be read ({error}); save it as .csv"
        ) from None
    return frame.apply(_sas_numbers)


def _sas_numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column of SAS, whose only numbers are doubles: whole ones are whole numbers again."""
    if column.dtype != np.float64:
        return column
    column = column.mask(column == IBM_ZERO, 0.0)
    known = column.dropna()
    whole = len(known) > 0 and bool((known.abs() < 2**53).all() and (known % 1 == 0).all())
    return column.astype("Int64") if whole else column


def write_sheet(frame: pd.DataFrame, path: Path) -> bytes:
    """A table as a workbook (.xlsx) with one sheet.

    Excel knows no time zones: times that have one are written as text.

    Raises:
        DataError: The package that writes workbooks is not installed, or a sheet cannot hold the
            table.
    """
    try:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.utils.exceptions import IllegalCharacterError
    except ImportError:
        raise DataError(
            f"{path}: workbooks need the package openpyxl; run {EXCEL}, or write a .csv"
        ) from None
    if len(frame) > _MOST_ROWS or len(frame.columns) > _MOST_COLUMNS:
        raise DataError(
            f"{path}: a sheet holds {_MOST_ROWS:,} rows and {_MOST_COLUMNS:,} columns at most; "
            "write a .csv or .parquet instead"
        )
    book = Workbook(write_only=True)
    sheet = book.create_sheet("synthetic")

    def cell(value: Any) -> Any:
        if isinstance(value, dt.datetime) and value.tzinfo is not None:
            value = value.isoformat()
        made = WriteOnlyCell(sheet, value=value)
        if isinstance(value, str):
            # Text that begins with = is text.
            made.data_type = "s"
        return made

    try:
        sheet.append([cell(str(name)) for name in frame.columns])
        values = frame.astype(object).where(frame.notna(), None)
        for row in values.itertuples(index=False):
            sheet.append([cell(value) for value in row])
    except (IllegalCharacterError, ValueError) as error:
        raise DataError(f"{path}: {error}; write a .csv or .parquet instead") from None
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


_MOST_ROWS, _MOST_COLUMNS = (1 << 20) - 1, 1 << 14


def write_feather(table: pa.Table) -> bytes:
    """A table as a Feather file, types included."""
    out = pa.BufferOutputStream()
    feather.write_feather(table, out)
    content: bytes = out.getvalue().to_pybytes()
    return content
