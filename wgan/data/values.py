"""What the values of a column are, and the one array each kind is turned into.

A CSV file brings text, a Parquet file typed columns; sites may hold either. Both end up as the same
canonical values, so that sums over sites add like to like.
"""

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from everymode.wgan.data.calendar_steps import on_steps
from everymode.wgan.data.cell_counts import DIGITS, MISSING_NUMBERS, CellCounts
from everymode.wgan.data.coded import (
    Codes,
    DistinctTexts,
    distinct_dates,
    distinct_numbers,
    distinct_ranks,
    factorize_cells,
    is_coded,
    odd_numbers,
    used_texts,
)
from everymode.wgan.data.date_forms import (
    DATE_FORMS,
    READING_FORMS,
    form_step,
    is_date_form,
    reading_form,
)
from everymode.wgan.data.dates import find_offset, to_seconds, zone_name
from everymode.wgan.data.readings import Reading, read_counts
from everymode.wgan.data.schema import Column, Kind
from everymode.wgan.errors import DataError

Objects = npt.NDArray[np.object_]
Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def describe(series: "pd.Series[Any]") -> Reading:
    """How a text or typed column would be read if it were the only one of its name.

    Text with leading zeros (`007`) is a code, hence a category, as is a categorical dtype. `inf`
    counts as a number, which `parse_column` refuses.

    >>> describe(pd.Series(["1", "2.5", None]))
    Reading(kind='float', missing=True, form='', decimals=1, strays=0, bounds=0, alike=0.0)
    """
    return read_counts(count_cells(series))


def count_cells(series: "pd.Series[Any]", form: str = "") -> CellCounts:
    """How the cells of a text or typed column are written.

    Args:
        series: The column.
        form: How its dates or numbers are declared to be written; empty: not.
    """
    if is_coded(series.dtype):
        return _counted(*_factorized(series), form)
    present = series.dropna()
    dtype, size = present.dtype, len(present)
    counts = CellCounts.blank()
    counts["missing"], counts["present"] = len(series) - size, size
    if isinstance(dtype, pd.CategoricalDtype):
        counts["kept"] = size
    elif pd.api.types.is_bool_dtype(dtype):
        counts["boolean"] = size
    elif pd.api.types.is_datetime64_any_dtype(dtype):
        if size:
            _count_typed_dates(counts, present)
    elif _is_number(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        if size:
            _count_typed_numbers(counts, present)
    else:
        return _counted(*_factorized(series), form)
    counts["declared"] = size
    return counts


def _counted(codes: Codes, texts: DistinctTexts, form: str) -> CellCounts:
    codes, texts = used_texts(codes, texts)
    rows = np.bincount(codes + 1, minlength=len(texts) + 1).astype(np.int64)
    return texts.counts(rows[1:], int(rows[0]), form)


def _count_typed_numbers(counts: CellCounts, present: "pd.Series[Any]") -> None:
    size = len(present)
    whole = pd.api.types.is_integer_dtype(present.dtype)
    decimals = 0 if whole else _decimals_of_typed(present)
    for name in ("numbers", "written", "needed"):
        array = counts[name].copy()
        if name == "numbers":
            array[:] = size
        else:
            array[:, decimals if name == "needed" else 0 if whole else DIGITS] = size
        counts[name] = array
    affixes = counts["affixes"].copy()
    affixes[0] = size
    counts["affixes"] = affixes


def _count_typed_dates(counts: CellCounts, present: "pd.Series[Any]") -> None:
    """Of typed moments any form is right that loses nothing."""
    aware = getattr(present.dtype, "tz", None) is not None
    needed = _step_of_typed(present)
    finest = needed == 0 and bool((present != present.dt.floor("us")).any())
    dates, spelled = counts["dates"].copy(), counts["spelled"].copy()
    for d, form in enumerate(DATE_FORMS):
        whole = "%Y" in form and re.search("%-?d", form) is not None
        whole = whole and ("%9f" in form) == (finest and form_step(form) == 0)
        step = form_step(form)
        fine = step == needed or (needed == 86400 and not aware)
        if not (whole and fine and ("%z" in reading_form(form)) == aware) or form.endswith("Z"):
            continue
        dates[READING_FORMS.index(reading_form(form))] = len(present)
        if not aware or ("T" in form and "%:z" in form):
            spelled[d] = len(present)
    counts["dates"], counts["spelled"] = dates, spelled
    if not aware:
        there = on_steps(to_seconds(pd.DatetimeIndex(present))).sum(0)
        counts["stepped"] = np.where(dates[:, None] > 0, there, 0)


def find_zone(series: "pd.Series[Any]", reading: Reading) -> str:
    """The time zone, or the one offset, that a column's date-times are written in; may be empty."""
    zone = getattr(series.dtype, "tz", None)
    if zone is not None:
        return zone_name(zone)
    if reading.kind != "datetime" or "%z" not in reading_form(reading.form):
        return ""
    _, texts = used_texts(*_factorized(series))
    return find_offset([t for t in texts.array.to_pylist() if t not in MISSING_NUMBERS])


def parse_values(frame: pd.DataFrame, column: Column, where: str) -> npt.NDArray[Any]:
    """The values of one of a schema's columns, as `parse_column` gives them.

    Raises:
        DataError: A value is infinite, or is none of the column's kind in a column of which no
            such cell was known.
    """
    return parse_column(
        frame[column.name], column.kind, column.name, where, column.form, column.lenient
    )


def parse_column(
    series: "pd.Series[Any]",
    kind: Kind,
    name: str,
    where: str,
    form: str = "",
    lenient: bool = False,
) -> npt.NDArray[Any]:
    """The values of a column in the one form that `kind` has, `(n,)`.

    Args:
        series: The column, text or typed.
        kind: What its values shall be.
        name: Its header, for messages.
        where: Its file, for messages.
        form: How date-times or numbers in text are written; where it is empty or does not fit, as
            they are read alone.
        lenient: Whether what is none of `kind` is missing, instead of an error.

    Returns:
        Numeric kinds: float64, NaN where missing; a date-time is in seconds since 1970 (UTC where
        it has a time zone), a duration in seconds. Otherwise: objects, `str` or `None`; text as it
        is spelled, `3` for an integer (and a whole float), `True` and `False` for a bool dtype.

    Raises:
        DataError: A value is infinite or does not parse as `kind`.
    """
    if kind in ("category", "boolean"):
        texts = _texts(series)
        if kind == "boolean":
            _refuse([t is not None and not _is_boolean(t) for t in texts], kind, name, where)
        return texts
    if kind == "datetime":
        if pd.api.types.is_datetime64_any_dtype(series.dtype):
            return to_seconds(pd.DatetimeIndex(series))
        return _parse_dates(series, name, where, form if is_date_form(form) else "", lenient)
    form = "" if is_date_form(form) else form
    numbers, wrong = _typed_numbers(series)
    if numbers is None:
        numbers, wrong = _parse_numbers(series, form)
    _refuse_infinite(np.isinf(numbers), name, where)
    if kind == "integer":
        odd = odd_numbers(numbers)
        numbers, wrong = np.where(odd, np.nan, numbers), wrong | odd
    if not lenient:
        _refuse(wrong, kind, name, where)
    return numbers


def parse_distinct(
    series: "pd.Series[Any]", column: Column, where: str
) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """The distinct numbers of a numeric column, ascending, and their rows; `(n,)` each.

    They are those of `parse_values`, less what is missing; a column of coded text is read by its
    distinct cells.

    Raises:
        DataError: As `parse_values`.
    """
    if not is_coded(series.dtype):
        return _tallied(
            parse_column(series, column.kind, column.name, where, column.form, column.lenient)
        )
    codes, texts = factorize_cells(series)
    own = column.form if is_date_form(column.form) == (column.kind == "datetime") else ""
    read = distinct_dates if column.kind == "datetime" else distinct_numbers
    numbers, wrong = read(texts, own)
    rows = np.bincount(codes + 1, minlength=len(texts) + 1)[1:]
    whole = column.kind == "integer"
    if whole:
        wrong = wrong | odd_numbers(numbers)
    if (np.isinf(numbers) & (rows > 0)).any() or (
        (wrong & (rows > 0)).any() and not column.lenient
    ):
        # Says in which rows.
        parse_values(series.to_frame(column.name), column, where)
    found, places = distinct_ranks(texts, own, column.kind == "datetime", whole)
    read_as = places >= 0
    counts = np.bincount(places[read_as], rows[read_as], len(found)).astype(np.int64)
    return found[counts > 0], counts[counts > 0]


def _tallied(numbers: Numbers) -> tuple[Numbers, npt.NDArray[np.int64]]:
    found, counts = np.unique(numbers[~np.isnan(numbers)], return_counts=True)
    return found, counts.astype(np.int64)


def factorize_texts(series: "pd.Series[Any]") -> tuple[Codes, list[str]]:
    """The place of each cell's text among the distinct ones, `(n,)`, and these; -1: missing."""
    codes, texts = used_texts(*_factorized(series))
    return codes, texts.array.to_pylist()


def blank_cells(series: "pd.Series[Any]") -> dict[str, int]:
    """Rows of each text that stands for no value among numbers and dates."""
    codes, texts = used_texts(*_factorized(series))
    blank = np.flatnonzero(texts.among(MISSING_NUMBERS))
    rows = np.bincount(codes + 1, minlength=len(texts) + 1)[1:]
    return {texts.array[int(i)].as_py(): int(rows[i]) for i in blank}


def count_values(series: "pd.Series[Any]") -> dict[str, int]:
    """Rows of each distinct text in a column; what is missing is not counted."""
    codes, texts = factorize_texts(series)
    rows = np.bincount(codes + 1, minlength=len(texts) + 1)[1:]
    return dict(zip(texts, rows.tolist(), strict=True))


def _typed_numbers(series: "pd.Series[Any]") -> tuple[Numbers | None, Mask]:
    wrong = np.zeros(len(series), dtype=np.bool_)
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        return series.dt.total_seconds().to_numpy(dtype=np.float64), wrong
    if _is_number(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan), wrong
    return None, wrong


def _is_number(dtype: Any) -> bool:
    types = pd.api.types
    return types.is_integer_dtype(dtype) or types.is_float_dtype(dtype)


def _is_boolean(text: str) -> bool:
    return text.lower() in ("true", "false")


def _factorized(series: "pd.Series[Any]") -> tuple[Codes, DistinctTexts]:
    """The code of each cell's text, -1 where missing, and the distinct texts."""
    if is_coded(series.dtype):
        return factorize_cells(series)
    codes, uniques = pd.factorize(_texts(series))
    texts = pa.array([str(text) for text in uniques], pa.large_string())
    return codes, DistinctTexts(texts)


def _texts(series: "pd.Series[Any]") -> Objects:
    """The cells as text, `None` where missing."""
    cells: Iterable[Any]
    if is_coded(series.dtype):
        codes, distinct = factorize_cells(series)
        # The last is where -1 points to.
        return np.array([*distinct.array.to_pylist(), None], dtype=object)[codes]
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        cells = series.dt.strftime(_form_of_typed(series.dropna()))
    elif isinstance(series.dtype, np.dtype):
        # Iterated as NumPy scalars: a float32 spells itself 0.1, as a float 0.10000000149011612.
        cells = series.to_numpy()
    else:
        cells = series.to_numpy(dtype=object)
    texts = np.empty(len(series), dtype=object)
    texts[:] = [
        None if gone else cell if type(cell) is str else _spell(cell)
        for cell, gone in zip(cells, series.isna().to_numpy(), strict=True)
    ]
    return texts


def _spell(cell: Any) -> str:
    if isinstance(cell, float | np.floating) and cell.is_integer():
        return str(int(cell))
    # A datetime drops its microseconds where they are zero, which would mix two forms.
    return cell.isoformat(" ", "microseconds") if isinstance(cell, datetime) else str(cell)


def _decimals_of_typed(present: "pd.Series[Any]") -> int:
    if pd.api.types.is_timedelta64_dtype(present.dtype):
        present = present.dt.total_seconds()
    narrow = {"float32": np.float32, "Float32": np.float32, "float16": np.float16}
    dtype = narrow.get(str(present.dtype), np.float64)
    values = present.to_numpy(dtype=dtype)
    values = values[np.isfinite(values)]
    with np.errstate(over="ignore", invalid="ignore"):
        for decimals in range(15):
            rounded = np.round(values.astype(np.float64), decimals)
            if (rounded.astype(dtype) == values).all():
                return decimals
    return 15


def _form_of_typed(present: "pd.Series[Any]") -> str:
    step = _step_of_typed(present)
    if getattr(present.dtype, "tz", None) is not None:
        return "%Y-%m-%dT%H:%M:%S%z" if step == 1 else "%Y-%m-%dT%H:%M:%S.%f%z"
    forms = {86400.0: "%Y-%m-%d", 1.0: "%Y-%m-%d %H:%M:%S"}
    return forms.get(step, "%Y-%m-%d %H:%M:%S.%f")


def _step_of_typed(present: "pd.Series[Any]") -> float:
    """The coarsest of day, second, millisecond and finer (0) that loses nothing, in seconds.

    Moments with a time zone are never days: where clocks are changed, a day has another length.
    """
    if getattr(present.dtype, "tz", None) is not None:
        # Where clocks are put back, an hour of local time comes twice.
        present = present.dt.tz_convert("UTC")
    elif bool((present == present.dt.normalize()).all()):
        return 86400.0
    for step, unit in ((1.0, "s"), (1e-3, "ms")):
        if bool((present == present.dt.floor(unit)).all()):
            return step
    return 0.0


def _parse_dates(
    series: "pd.Series[Any]", name: str, where: str, form: str, lenient: bool
) -> Numbers:
    codes, texts = _factorized(series)
    moments, wrong = distinct_dates(texts, form)
    if not lenient:
        _refuse(np.append(wrong, False)[codes], "datetime", name, where)
    return np.append(moments, np.nan)[codes]


def _parse_numbers(series: "pd.Series[Any]", form: str) -> tuple[Numbers, Mask]:
    """Numbers, NaN where missing or not a number, and where it is no number at all."""
    codes, texts = _factorized(series)
    numbers, wrong = distinct_numbers(texts, form)
    return np.append(numbers, np.nan)[codes], np.append(wrong, False)[codes]


def _refuse_infinite(infinite: Mask, name: str, where: str) -> None:
    if infinite.any():
        raise DataError(
            f"{where}: column {name!r} is infinite or not a number in {_rows(infinite)}; expected "
            "finite numbers, leave the cell empty where there is no value"
        )


def _rows(mask: Mask) -> str:
    rows = np.flatnonzero(mask) + 1
    named = ", ".join(str(r) for r in rows[:3])
    more = f" (and {len(rows) - 3} more)" if len(rows) > 3 else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {named}{more}"


def _refuse(wrong: Iterable[bool], kind: Kind, name: str, where: str) -> None:
    mask = np.asarray(wrong, dtype=np.bool_)
    if mask.any():
        expected = {
            "integer": "whole numbers",
            "float": "numbers",
            "boolean": "true or false",
            "datetime": "dates in one form, such as 2024-01-31 or 2024-01-31 13:45:00",
        }[kind]
        key = name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)
        raise DataError(
            f"{where}: column {name!r} of kind {kind} does not parse in {_rows(mask)}; expected "
            f'{expected}, correct the cells or set data.columns.{key}.kind = "category"'
        )
