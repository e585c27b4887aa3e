r"""Text in CSV files that a spreadsheet would run, and how it is written so that it does not.

Excel, LibreOffice and Google Sheets take a cell that begins with `=`, `+`, `-` or `@` for a
formula, which may fetch from the network or start a program. An apostrophe before it makes it text
(OWASP, *CSV Injection*; CWE-1236). The same holds after a semicolon, a tab or a line break within
a cell: where the list separator is another than ours, a new cell begins there.

Writing is injective, so that `read_back` restores every text. Nothing else is changed: no number
(`-5`), and no text of signs alone (`-`, `+`), in which there is nothing to run.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd

SIGNS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
"""What formulas begin with, for a class of a pattern; the last four are the same signs at full
width, which Excel takes for them where it runs in an East Asian language."""

SHOWN: Final = 8
"""Columns that `Marked.sentence` names."""

_BREAK = r"[;\t\r\n\0]"
_FORMULA = rf'(?:[^\S\t\r\n]|["\u200b\ufeff])*[{SIGNS}]'
# Apostrophes that are there already get one more, so that it can be told which one to take off.
_START = rf"\A(?='*(?:{_FORMULA}|[\t\r\n\0]))"
_WITHIN = rf"({_BREAK})(?='*{_FORMULA})"
_MARK_START, _MARK_WITHIN = re.compile(_START), re.compile(_WITHIN)
_TAKE_START = re.compile(rf"\A'(?='*(?:{_FORMULA}|[\t\r\n\0]))")
_TAKE_WITHIN = re.compile(rf"({_BREAK})'(?='*{_FORMULA})")
_HARMLESS = re.compile(rf"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[{SIGNS} ]*")


@dataclass(frozen=True)
class Marked:
    """What was written with an apostrophe.

    Attributes:
        values: Distinct values by column.
        cells: Cells by column.
        headers: Names of columns.
    """

    values: dict[str, int] = field(default_factory=dict)
    cells: dict[str, int] = field(default_factory=dict)
    headers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything was."""
        return bool(self.cells or self.headers)

    def sentence(self, file: str) -> str:
        """What was changed in a file, how much of it, and how to do without."""
        parts = [
            f"column '{name}': {self.values[name]} value{'s' * (self.values[name] > 1)} in "
            f"{cells:,} cell{'s' * (cells > 1)}"
            for name, cells in self.cells.items()
        ]
        parts += [f"the header '{name}'" for name in self.headers]
        more = [f"{len(parts) - SHOWN} more"] if len(parts) > SHOWN else []
        return (
            f"{file}: what begins like a formula has an apostrophe before it, so that a "
            f"spreadsheet does not run it ({'; '.join([*parts[:SHOWN], *more])})"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values; `table_read_back` needs to know which columns there are."""
        return {"cells": dict(self.cells), "headers": list(self.headers)}


def safe_cell(text: str) -> str:
    """The text as a spreadsheet may have it.

    >>> [safe_cell(text) for text in ("=1+1", "-1 to 0", "-5", "+", "a;=b", "'=c", "d")]
    ["'=1+1", "'-1 to 0", '-5', '+', "a;'=b", "''=c", 'd']
    """
    if _HARMLESS.fullmatch(text):
        return text
    return _MARK_WITHIN.sub(r"\1'", _MARK_START.sub("'", text))


def read_back(text: str) -> str:
    """The inverse of `safe_cell`.

    >>> [read_back(text) for text in ("'=1+1", "-5", "a;'=b", "''=c", "'d")]
    ['=1+1', '-5', 'a;=b', "'=c", "'d"]
    """
    return _TAKE_START.sub("", _TAKE_WITHIN.sub(r"\1", text))


def safe_table(frame: pd.DataFrame) -> tuple[pd.DataFrame, Marked]:
    """The table with `safe_cell` applied to headers and cells of text, and what that changed."""
    safe = SafeTexts()
    made = safe.apply(frame)
    return made, safe.marked


@dataclass
class SafeTexts:
    """`safe_table` of a table that comes in pieces."""

    _values: dict[str, set[str]] = field(default_factory=dict)
    _cells: Counter[str] = field(default_factory=Counter)
    _headers: tuple[str, ...] = ()

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The next piece with `safe_cell` applied to headers and cells of text."""
        columns: dict[str, pd.Series[Any]] = {}
        for name in map(str, frame.columns):
            columns[name] = frame[name]
            changed = {text: safe_cell(text) for text in _texts(frame[name])}
            changed = {text: safe for text, safe in changed.items() if text != safe}
            if changed:
                hit = frame[name].isin(list(changed))
                columns[name] = frame[name].astype(object).map(lambda v, c=changed: c.get(v, v))
                self._values.setdefault(name, set()).update(changed)
                self._cells[name] += int(hit.sum())
        made = pd.DataFrame(columns, index=frame.index)
        headers = {name: safe_cell(name) for name in columns}
        self._headers = tuple(name for name, safe in headers.items() if name != safe)
        return made.rename(columns=headers)

    @property
    def marked(self) -> Marked:
        """What that changed in all pieces so far."""
        values = {name: len(own) for name, own in self._values.items()}
        return Marked(values, dict(self._cells), self._headers)


def table_read_back(
    frame: pd.DataFrame, columns: Iterable[str], headers: Iterable[str]
) -> pd.DataFrame:
    """The inverse of `safe_table`, by the names of columns and headers that it changed."""
    made = frame.rename(columns={safe_cell(name): name for name in headers})
    for name in columns:
        texts = {text: read_back(text) for text in _texts(made[name])}
        made[name] = made[name].astype(object).map(lambda v, t=texts: t.get(v, v))
    return made


def guessed_marks(frame: pd.DataFrame, real: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Columns and headers of a table that `safe_table` seems to have changed.

    Those with a name, or a text among the cells, that the real table has only without the
    apostrophe. For files of which nobody knows how they were written.
    """
    known = set(map(str, real.columns))
    headers = [
        meant
        for name in map(str, frame.columns)
        if (meant := read_back(name)) != name and name not in known and meant in known
    ]
    columns = []
    for name in map(str, table_read_back(frame.iloc[:0], (), headers).columns):
        if name in known:
            there = set(_texts(real[name]))
            own = frame[safe_cell(name) if name in headers else name]
            if any(t not in there and read_back(t) in there for t in _texts(own)):
                columns.append(name)
    return columns, headers


def _texts(series: "pd.Series[Any]") -> list[str]:
    """The distinct texts among the cells; none in a column of numbers or date-times."""
    types = pd.api.types
    if types.is_numeric_dtype(series.dtype) or types.is_datetime64_any_dtype(series.dtype):
        return []
    return [value for value in series.dropna().unique() if isinstance(value, str)]
