"""Conditions on the rows to draw: values and ranges by column, parsed and compared with rows.

In Python a condition is a value, a list or set of values (any of them), or a range: a slice or a
tuple of two, with both ends included and None for an open end. `read_conditions` makes the same of
the text of `everymode sample --where`:

- `sex=F`: equal; `sex=F|M`: any of them; `sex=(missing)`: no value.
- `age=60..90`, `age=60..`, `age=..30`: a range of numbers or dates, ends included.
- A column that is named again is met by either condition.

Values are compared as the column's type says: `1` equals `1.0`, `TRUE` equals `True`, and `007` is
another code than `7`. A date without a time of day stands for the whole day.
"""

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.plan import Plan
from everymode.fairness.groups.conditions import MISSING, category_labels
from everymode.fairness.groups.spellings import as_number, equal_spellings
from everymode.wgan.data.date_forms import form_step
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import parse_column
from everymode.wgan.errors import DataError, SettingsError

Interval = tuple[float, float]

SHOWN = 20
"""Known values that an error lists."""

_DAY = 86_400.0

_ESCAPED = re.compile(r"\\([|.\\])")

_PIECE = re.compile(r"((?:\\.|[^|\\])*)(\||$)", re.DOTALL)

_RANGE = re.compile(r"((?:\\.|(?!\.\.)[^\\])*)\.\.(.*)", re.DOTALL)

_SEVERAL = (list, Set, range, np.ndarray, pd.Index, pd.Series)

_CLOCK = re.compile(r"\d[ T]\d{1,2}:")


@dataclass(frozen=True)
class Condition:
    """What a column's values must be: one of some values, or within one of some ranges.

    Attributes:
        column: The column.
        words: The condition as text, for messages.
        texts: Values of a column that is not numeric, in the schema's spelling.
        intervals: Ranges of a numeric column, ends included; a single number is one.
        missing: Whether rows without a value fit.
    """

    column: Column
    words: str
    texts: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ()
    missing: bool = False

    def fits(self, series: "pd.Series[Any]") -> npt.NDArray[np.bool_]:
        """Which values of the column, `(n,)`, meet the condition."""
        column = self.column
        if not column.numeric:
            labels = category_labels(series, column, "the rows drawn")
            wanted = {*self.texts, *([MISSING] if self.missing else [])}
            return np.array([label in wanted for label in labels], dtype=bool)
        cells = parse_column(series, column.kind, column.name, "the rows drawn", column.form)
        mask = np.isnan(cells) & self.missing
        for low, high in self.intervals:
            mask |= (cells >= low) & (cells <= high)
        return np.asarray(mask)


def read_conditions(schema: Schema, items: Sequence[str]) -> dict[str, list[Any]]:
    r"""The conditions that texts `COLUMN=VALUE` state, as `parse_conditions` takes them.

    Where a column's own values hold `|` or `..`, a value that is written exactly as the schema
    has it is that value. Otherwise a backslash takes the meaning from `|`, `.` and a backslash.

    Raises:
        SettingsError: A text names no column; all of them at once.

    >>> schema = Schema((Column("age", "integer"), Column("to", "category", ("a|b", "c"))))
    >>> read_conditions(schema, ["age=60..90", "to=a|b|c", "age=..30"])
    {'age': [slice('60', '90', None), slice(None, '30', None)], 'to': ['a|b', 'c']}
    >>> read_conditions(schema, [r"to=x\|y|1\..2"])
    {'to': ['x|y', '1..2']}
    """
    problems: list[str] = []
    found: dict[str, list[Any]] = {}
    for item in items:
        # A header may hold an equals sign itself.
        names = [name for name in schema.names if item.startswith(f"{name}=")]
        name = max(names, key=len) if names else item.partition("=")[0]
        if not names and "=" not in item:
            problems.append(f"--where {item}: expected COLUMN=VALUE, for instance sex=Female")
            continue
        value = item[len(name) + 1 :]
        known = _known(schema[name]) if names else frozenset()
        found.setdefault(name, []).extend(_terms(value, known))
    if problems:
        raise SettingsError(problems)
    return found


def parse_conditions(plan: Plan, where: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Conditions by column, checked against what the run knows.

    Args:
        plan: What server and sites agreed on.
        where: Conditions by column; see the module.

    Raises:
        DataError: Columns there are not, and values that cannot occur, all at once.
    """
    problems: list[str] = []
    found = []
    schema = plan.schema
    for name, value in where.items():
        if name not in schema.names:
            problems.append(f"--where {name}: no such column; there are {', '.join(schema.names)}")
            continue
        terms = list(value) if isinstance(value, _SEVERAL) else [value]
        if not terms:
            problems.append(f"--where {name}: an empty list, which no row fits; name a value")
        found.append(_condition(schema[name], terms, known_values(plan, name), problems))
    if problems:
        raise DataError(problems)
    return tuple(found)


def _number(value: str, column: Column, words: str, end: bool = False) -> Interval:
    """The numbers that a text stands for: one, or those of a whole day.

    The end of a range of whole numbers need not be whole.

    Raises:
        DataError: It is none of the column's kind.
    """
    try:
        cell = pd.Series([value], dtype=object)
        kind = "float" if end and column.kind == "integer" else column.kind
        found = float(parse_column(cell, kind, column.name, words, column.form)[0])
    except DataError:
        found = float("nan")
    if np.isnan(found):
        raise DataError(f"{words}: expected a value of kind {column.kind}")
    timed = column.kind == "datetime" and form_step(column.form) < _DAY
    return found, found + _DAY - 1e-6 if timed and not _CLOCK.search(value) else found


def known_values(plan: Plan, name: str) -> tuple[str, ...]:
    """The values that a column can have: of one that follows from the cell, those of the cells."""
    if name in plan.conditions.given:
        return plan.conditions.values(name)
    return (*plan.schema[name].categories, *([MISSING] if plan.schema[name].missing else []))


def _known(column: Column) -> frozenset[str]:
    return frozenset((*column.categories, MISSING))


def _terms(value: str, known: frozenset[str]) -> list[Any]:
    """Values and ranges that a text states; the longest pieces that are known values come whole."""
    pieces = []
    position = 0
    while True:
        found = _PIECE.match(value, position)
        if found is None:
            # A lone backslash at the end.
            pieces.append(value[position:])
            break
        pieces.append(found[1])
        position = found.end()
        if not found[2]:
            break
    terms: list[Any] = []
    start = 0
    while start < len(pieces):
        stops = range(len(pieces), start, -1)
        stop = next((s for s in stops if "|".join(pieces[start:s]) in known), None)
        if stop is not None:
            terms.append("|".join(pieces[start:stop]))
            start = stop
            continue
        ends = _RANGE.fullmatch(pieces[start])
        if ends is None:
            terms.append(_plain(pieces[start]))
        else:
            terms.append(slice(*(_plain(end.strip()) or None for end in ends.groups())))
        start += 1
    return terms


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _condition(
    column: Column, terms: Iterable[Any], values: Sequence[str], problems: list[str]
) -> Condition:
    """The condition that terms state together; what is wrong is added to `problems`."""
    words: list[str] = []
    texts: list[str] = []
    intervals: list[Interval] = []
    missing = False
    for term in terms:
        try:
            ends = _ends(term, column.name)
            shown = _spelled(term) if ends is None else f"{ends[0] or ''}..{ends[1] or ''}"
            told = f"--where {column.name}={shown}"
            words.append(shown)
            if ends is None and shown == MISSING and (column.missing or MISSING in values):
                missing = True
            elif ends is None and column.numeric:
                intervals.append(_within(_number(shown, column, told), column, told))
            elif ends is None:
                texts += _equal(shown, values, told, column)
            elif column.numeric:
                intervals.append(_range(ends, column, told))
            else:
                texts += _between(ends, values, told, column)
        except DataError as error:
            problems += error.problems
    said = f"--where {column.name}={'|'.join(words)}"
    return Condition(column, said, tuple(dict.fromkeys(texts)), tuple(intervals), missing)


def _ends(term: Any, name: str) -> tuple[str | None, str | None] | None:
    """The ends of a range as text; None where the term is a value."""
    if isinstance(term, slice):
        if term.step is not None:
            raise DataError(f"--where {name}: a range has no step; write slice(low, high)")
        term = (term.start, term.stop)
    if not isinstance(term, tuple):
        return None
    if len(term) != 2:
        raise DataError(
            f"--where {name}: a tuple is a range and holds two ends, this one has {len(term)}; "
            "write a list for several values"
        )
    low, high = (None if end is None else _spelled(end) for end in term)
    if low is None and high is None:
        raise DataError(f"--where {name}=..: a range needs an end; write 60.., ..90 or 60..90")
    return low, high


def _spelled(value: Any) -> str:
    """A value of Python as text."""
    if isinstance(value, str):
        return value
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return MISSING
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, datetime.datetime):
        moment = pd.Timestamp(value)
        moment = moment if moment.tz is None else moment.tz_convert("UTC").tz_localize(None)
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _equal(text: str, values: Sequence[str], told: str, column: Column) -> tuple[str, ...]:
    found = equal_spellings(text, values)
    if found:
        return found
    if not text:
        raise DataError(f"{told}: names no value; write one of {listed(values)}")
    raise DataError(f"{told}: the run knows no such value; write one of {listed(values)}")


def listed(values: Sequence[str]) -> str:
    """Known values, for messages: the first of them, and how many more."""
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return f"{', '.join(values[:SHOWN])}{more}"


def _range(ends: tuple[str | None, str | None], column: Column, told: str) -> Interval:
    low, high = ends
    problems: list[str] = []
    bounds = [-np.inf, np.inf]
    for side, end in enumerate((low, high)):
        if end is not None:
            try:
                bounds[side] = _number(end, column, told, end=True)[side]
            except DataError as error:
                problems += error.problems
    if problems:
        raise DataError(dict.fromkeys(problems))
    if bounds[0] > bounds[1]:
        raise DataError(f"{told}: ends before it begins; write {high}..{low}")
    return _within((bounds[0], bounds[1]), column, told)


def _within(bounds: Interval, column: Column, told: str) -> Interval:
    """The interval, if values of the column can lie inside."""
    low, high = bounds
    if high < column.low or low > column.high:
        raise DataError(f"{told}: lies outside the range of the data")
    if column.kind == "integer" and np.ceil(low) > np.floor(high):
        raise DataError(f"{told}: holds no whole number, and the column holds nothing else")
    return bounds


def _between(
    ends: tuple[str | None, str | None], values: Sequence[str], told: str, column: Column
) -> tuple[str, ...]:
    """The categories within a range, where all of them are numbers."""
    numbers = {value: as_number(value) for value in values if value != MISSING}
    given = [None if end is None else as_number(end) for end in ends]
    if any(found is None for found in numbers.values()):
        raise DataError(
            f"{told}: the values of '{column.name}' have no order; name them, "
            f"{column.name}={'|'.join([*numbers][:2])}, say"
        )
    if any(end is not None and found is None for end, found in zip(ends, given, strict=True)):
        raise DataError(f"{told}: expected numbers as the ends of the range")
    low, high = given
    if low is not None and high is not None and low > high:
        raise DataError(f"{told}: ends before it begins; write {ends[1]}..{ends[0]}")
    found = tuple(
        value
        for value, at in numbers.items()
        if at is not None and (low is None or at >= low) and (high is None or at <= high)
    )
    if not found:
        raise DataError(f"{told}: no value lies inside; there are {listed(values)}")
    return found
