"""What the values of a column are, and the one array each kind is turned into.

A CSV file brings text, a Parquet file typed columns; sites may hold either. Both end up as the same
canonical values, so that sums over sites add like to like.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from everymode.wgan.data.schema import Kind
from everymode.wgan.errors import DataError

Objects = npt.NDArray[np.object_]
Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")
DATE_FORMS: Final[tuple[str, ...]] = (
    "%Y-%m-%d",
    *(f"%Y-%m-%d{t}{c}{z}" for z in ("", "Z", "%z") for t in (" ", "T") for c in _CLOCKS),
    *(
        day + clock
        for day in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y")
        for clock in ("", " %H:%M", " %H:%M:%S")
    ),
)
"""The `strftime` forms of date-times in text, in the order in which they are tried."""

EXACT: Final = 2.0**53
"""Integers beyond are no longer exact as floats; they are identifiers, hence categories."""

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:.+)?", re.ASCII)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Description:
    """What one site's column looks like.

    Attributes:
        kind: What the values are; `None` where every one is missing.
        missing: Whether any row has no value.
        decimals: Digits after the decimal point that a float column needs, 0 to 15 (15: all).
        form: The first of `DATE_FORMS` that fits all date-times; empty for other kinds.
    """

    kind: Kind | None
    missing: bool
    decimals: int = 0
    form: str = ""


def describe(series: "pd.Series[Any]") -> Description:
    """Reads kind, missingness, decimals and date form off a text or typed column.

    Text with leading zeros (`007`) is a code, hence a category, as is a categorical dtype. Text is
    an integer column only if all of it is, and `inf` counts as a number, which `canonical` refuses.

    >>> describe(pd.Series(["1", "2.50", None]))
    Description(kind='float', missing=True, decimals=1, form='')
    """
    if _is_coded(series.dtype):
        codes, values = _factorized(series)
        missing = bool((codes < 0).any())
        return _describe_text(values, missing) if values else Description(None, missing)
    missing = bool(series.isna().any())
    present = series.dropna()
    dtype = present.dtype
    if present.empty:
        return Description(None, missing)
    if isinstance(dtype, pd.CategoricalDtype):
        return Description("category", missing)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return Description("datetime", missing, form=_form_of_typed(present))
    if _is_number(dtype):
        numbers = present.to_numpy(dtype=np.float64)
        if pd.api.types.is_integer_dtype(dtype):
            exact = bool((np.abs(numbers) <= EXACT).all())
            return Description("integer" if exact else "category", missing)
        return Description("float", missing, decimals=_decimals_of_typed(present))
    return _describe_text(_factorized(present)[1], missing)


def date_forms(series: "pd.Series[Any]") -> tuple[str, ...]:
    """All of `DATE_FORMS` that every value of a column fits.

    `03/04/2021` fits day first and month first; sites that sum which forms fit can choose one that
    fits everywhere.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return DATE_FORMS
    return tuple(_fitting_forms(_factorized(series)[1]))


def widest(kinds: Iterable[Kind]) -> Kind:
    """The kind that holds all of `kinds`: of one kind itself, of numbers float, else category.

    Raises:
        ValueError: `kinds` is empty.

    >>> widest(["integer", "float"]), widest(["boolean", "integer"])
    ('float', 'category')
    """
    found = set(kinds)
    if not found:
        raise ValueError("widest() needs at least one kind")
    if len(found) == 1:
        return found.pop()
    return "float" if found == {"integer", "float"} else "category"


def parse_column(
    series: "pd.Series[Any]", kind: Kind, name: str, where: str, form: str = ""
) -> npt.NDArray[Any]:
    """The values of a column in the one form that `kind` has, `(n,)`.

    Args:
        series: The column, text or typed.
        kind: What its values shall be.
        name: Its header, for messages.
        where: Its file, for messages.
        form: How date-times in text are written; where it is empty or does not fit, the first of
            `DATE_FORMS` that fits.

    Returns:
        Numeric kinds: float64, NaN where missing; a date-time is in seconds since 1970 (UTC where
        it has a time zone). Otherwise: objects, `str` or `None`; text as it is spelled, `3` for
        an integer (and a whole float), `True` and `False` for a bool dtype.

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
            return _seconds(pd.DatetimeIndex(series))
        return _parse_dates(series, name, where, form)
    if _is_number(series.dtype):
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = np.zeros(len(numbers), dtype=np.bool_)
    else:
        numbers, wrong = _parse_numbers(series)
    infinite = np.isinf(numbers)
    if infinite.any():
        raise DataError(
            f"{where}: column {name!r} is infinite or not a number in {_rows(infinite)}; expected "
            "finite numbers, leave the cell empty where there is no value"
        )
    if kind == "integer":
        wrong |= ~np.isnan(numbers) & ((np.rint(numbers) != numbers) | (np.abs(numbers) > EXACT))
    _refuse(wrong, kind, name, where)
    return numbers


def _is_number(dtype: Any) -> bool:
    types = pd.api.types
    return types.is_integer_dtype(dtype) or types.is_float_dtype(dtype)


def _is_boolean(text: str) -> bool:
    return text.lower() in ("true", "false")


def _is_coded(dtype: Any) -> bool:
    """Whether cells are dictionary-encoded text, as `everymode.wgan.data.delimited` reads them."""
    return isinstance(dtype, pd.ArrowDtype) and pa.types.is_dictionary(dtype.pyarrow_dtype)


def _codes_of(series: "pd.Series[Any]") -> tuple[npt.NDArray[np.intp], Objects]:
    """Of dictionary-encoded text the code of each cell, -1 where missing, and what codes mean."""
    array = series.array.__arrow_array__().combine_chunks()
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.intp)
    # The last is where -1 points to.
    return codes, np.array([*array.dictionary.to_pylist(), None], dtype=object)


def _factorized(series: "pd.Series[Any]") -> tuple[npt.NDArray[np.intp], list[str]]:
    """The code of each cell's text, -1 where missing, and the distinct texts, each used."""
    if not _is_coded(series.dtype):
        codes, uniques = pd.factorize(_texts(series))
        return codes, [str(text) for text in uniques]
    codes, texts = _codes_of(series)
    used = np.bincount(codes + 1, minlength=len(texts)) > 0
    used[0] = False
    renumbered = np.where(used, np.cumsum(used) - 1, -1)
    return renumbered[codes + 1], texts[:-1][used[1:]].tolist()


def _texts(series: "pd.Series[Any]") -> Objects:
    """The cells as text, `None` where missing."""
    cells: Iterable[Any]
    if _is_coded(series.dtype):
        codes, distinct = _codes_of(series)
        return distinct[codes]
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


def _describe_text(values: list[str], missing: bool) -> Description:
    if all(_is_boolean(v) for v in values):
        return Description("boolean", missing)
    if all(_INTEGER.fullmatch(v) for v in values):
        exact = all(len(v) < 20 and abs(int(v)) <= EXACT for v in values)
        return Description("integer" if exact else "category", missing)
    if all(_FLOAT.fullmatch(v) or _NOT_FINITE.fullmatch(v) for v in values):
        return Description("float", missing, decimals=max(map(_decimals, values)))
    form = next(_fitting_forms(values), "")
    return Description("datetime" if form else "category", missing, form=form)


def _decimals(text: str) -> int:
    """Digits after the point that the number needs: 1 for `2.50`, 3 for `1e-3`."""
    mantissa, _, exponent = text.lower().partition("e")
    digits = mantissa.partition(".")[2].rstrip("0")
    if not digits:
        whole = mantissa.partition(".")[0].lstrip("+-")
        zeros = len(whole) - len(whole.rstrip("0"))
        return _within(-zeros - int(exponent)) if exponent and whole.strip("0") else 0
    return _within(len(digits) - int(exponent or 0))


def _within(decimals: int) -> int:
    return min(max(decimals, 0), 15)


def _decimals_of_typed(present: "pd.Series[Any]") -> int:
    dtype = np.float32 if present.dtype in ("float32", "Float32") else np.float64
    values = present.to_numpy(dtype=dtype)
    values = values[np.isfinite(values)]
    with np.errstate(over="ignore", invalid="ignore"):
        for decimals in range(15):
            rounded = np.round(values.astype(np.float64), decimals)
            if (rounded.astype(dtype) == values).all():
                return decimals
    return 15


def _form_of_typed(present: "pd.Series[Any]") -> str:
    if getattr(present.dtype, "tz", None) is not None:
        return "%Y-%m-%dT%H:%M:%S.%f%z" if _fraction(present) else "%Y-%m-%dT%H:%M:%S%z"
    if bool((present == present.dt.normalize()).all()):
        return "%Y-%m-%d"
    return "%Y-%m-%d %H:%M:%S.%f" if _fraction(present) else "%Y-%m-%d %H:%M:%S"


def _fraction(present: "pd.Series[Any]") -> bool:
    if getattr(present.dtype, "tz", None) is not None:
        # Where clocks are put back, an hour of local time comes twice.
        present = present.dt.tz_convert("UTC")
    return bool((present != present.dt.floor("s")).any())


def _fitting_forms(values: list[str]) -> Iterator[str]:
    """The forms that fit all values, lazily: usually the first is all that is asked for."""
    if not values or not all(_DATE.fullmatch(v) for v in values):
        return
    for form in DATE_FORMS:
        # A few values rule out most forms; each attempt on a whole column is slow.
        if all(not _dates(v, form).hasnans for v in (values[:20], values)):
            yield form


def _dates(values: list[str] | Objects, form: str) -> pd.DatetimeIndex:
    index = pd.Index(np.asarray(values, dtype=object), dtype=object)
    return pd.DatetimeIndex(pd.to_datetime(index, format=form, errors="coerce", utc=True))


def _seconds(index: pd.DatetimeIndex) -> Numbers:
    if index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    micros = index.to_numpy().astype("datetime64[us]")
    seconds = micros.astype(np.int64) / 1e6
    seconds[np.isnat(micros)] = np.nan
    return seconds


def _parse_dates(series: "pd.Series[Any]", name: str, where: str, form: str) -> Numbers:
    codes, values = _factorized(series)
    if not values:
        return np.full(len(codes), np.nan)
    # pandas reads "now" and "today" in any form.
    dates = np.array([_DATE.fullmatch(v) is not None for v in values])

    def parse(form: str) -> Numbers:
        return np.where(dates, _seconds(_dates(values, form)), np.nan)

    parsed = parse(form) if form else np.full(len(values), np.nan)
    if np.isnan(parsed).any():
        fitting = next(_fitting_forms(values), "")
        if fitting:
            parsed = parse(fitting)
        elif not form:
            parsed = min((parse(f) for f in DATE_FORMS), key=lambda p: int(np.isnan(p).sum()))
    seconds = np.append(parsed, np.nan)[codes]
    _refuse(np.isnan(seconds) & (codes >= 0), "datetime", name, where)
    return seconds


def _parse_numbers(series: "pd.Series[Any]") -> tuple[Numbers, Mask]:
    """Numbers, NaN where missing or not a number, and where it is no number at all."""
    codes, uniques = _factorized(series)
    parsed = [
        float(v) if _NUMBER.fullmatch(v) else np.inf if _NOT_FINITE.fullmatch(v) else np.nan
        for v in uniques
    ]
    numbers = np.array([*parsed, np.nan])[codes]
    return numbers, np.isnan(numbers) & (codes >= 0)


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
