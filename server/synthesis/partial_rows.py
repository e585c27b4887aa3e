"""Partial rows: their given cells parsed, checked against a schema, and put over drawn rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.plan import Plan
from everymode.fairness.groups.conditions import MISSING, category_labels
from everymode.fairness.groups.spellings import equal_spellings
from everymode.server.synthesis.conditions import known_values, listed
from everymode.wgan.data.ranks import to_scores
from everymode.wgan.data.schema import Column
from everymode.wgan.data.values import parse_column
from everymode.wgan.errors import DataError, suggest

PROBLEMS = 20
"""Problems that an error lists."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True)
class CellStates:
    """CellStates of one column, given or drawn.

    Attributes:
        state: Which category, atom or missing value each is, `(n,)`; 0 for other numbers, -1 where
            no value is given.
        score: The normal score of other numbers, `(n,)`, else 0.
        value: Numbers themselves, `(n,)`; else 0.
    """

    state: Ints
    score: Floats
    value: Floats

    def __getitem__(self, index: Any) -> "CellStates":
        """Those at some places."""
        return CellStates(self.state[index], self.score[index], self.value[index])


def parse_partial_rows(plan: Plan, given: pd.DataFrame, where: str) -> dict[str, Texts]:
    """Cells as the schema spells them, `(n,)` of each column; `None` where none is given.

    Numbers and dates keep their own spelling.

    Raises:
        DataError: What the run does not know; all of it at once.
    """
    schema = plan.schema
    problems = [
        f"{where}: column '{name}': the run has no such column; {suggest(str(name), schema.names)}"
        for name in given.columns
        if name not in schema.names
    ]
    found: dict[str, Texts] = {}
    for name in (n for n in schema.names if n in given.columns):
        column, values = schema[name], known_values(plan, name)
        cells = parse_column(given[name], "category", name, where)
        codes, distinct = pd.factorize(cells)
        meant: list[Any] = []
        for code, text in enumerate(map(str, distinct)):
            spelled, problem = _meant(text, column, values)
            meant.append(spelled)
            if problem:
                rows = np.flatnonzero(codes == code) + 1
                more = f" (and {len(rows) - 1:,} more)" if len(rows) > 1 else ""
                problems.append(f"{where}: row {rows[0]:,}{more}, column '{name}': {problem}")
        found[name] = np.array([*meant, None], dtype=object)[codes]
    if len(problems) > PROBLEMS:
        left = len(problems) - PROBLEMS
        problems = [*problems[:PROBLEMS], f"{where}: {left:,} more such problems"]
    if problems:
        raise DataError(problems)
    return found


def _meant(text: str, column: Column, values: Sequence[str]) -> tuple[str | None, str]:
    """A cell as the schema spells it; or what is wrong with it."""
    if text == MISSING and MISSING in values:
        return MISSING, ""
    if not column.numeric:
        found = (text,) if text in values else equal_spellings(text, values)
        if found:
            return found[0], ""
        return None, f"the run knows no value '{text}'; write one of {listed(values)}"
    try:
        cell = pd.Series([text], dtype=object)
        number = float(parse_column(cell, column.kind, column.name, "", column.form)[0])
    except DataError:
        return None, f"'{text}' is not of kind {column.kind}"
    if not column.low <= number <= column.high:
        return None, f"{text} lies outside the range of the data"
    return text, ""


def values_in(column: Column, series: Any) -> CellStates:
    """The values of a column as states, scores and numbers."""
    values = pd.Series(series)
    zeros = np.zeros(len(values))
    if not column.numeric:
        # Categories that share a state cannot be told apart in what the generator makes.
        states = column.states or range(len(column.categories))
        known = dict(zip(column.categories, states, strict=True))
        for text in (*([column.rare] if column.rare else []), MISSING):
            known[text] = len(column.categories) + (text == MISSING)
        gone = values.isna().to_numpy()
        labels = category_labels(values, column, "the rows")
        if isinstance(series, np.ndarray):
            # Of partial rows None is a cell to fill in, and a missing value is spelled.
            codes = [-1 if g else known[text] for text, g in zip(labels, gone, strict=True)]
        else:
            codes = [known[text] for text in labels]
        return CellStates(np.array(codes, dtype=np.int64), zeros, zeros)
    missing = values.isna().to_numpy()
    ungiven = np.zeros(len(values), dtype=bool)
    if isinstance(series, np.ndarray):
        ungiven, missing = missing, (values == MISSING).to_numpy()
        values = values.mask(missing, None)
    numbers = parse_column(values, column.kind, column.name, "the rows", column.form)
    state = np.zeros(len(values), dtype=np.int64)
    for index, atom in enumerate(column.atoms, 1):
        state[numbers == atom] = index
    state[missing] = 1 + len(column.atoms)
    state[ungiven] = -1
    dense = state == 0
    score = np.zeros(len(values))
    if column.edges:
        score[dense] = to_scores(numbers[dense], column)
    else:
        score[dense] = (numbers[dense] - column.low) / ((column.high - column.low) or 1.0)
    return CellStates(state, score, np.where(dense, numbers, 0.0))


def overwritten(series: "pd.Series[Any]", column: Column, texts: Texts) -> "pd.Series[Any]":
    """A column of drawn rows with given values in place of its own, in its type."""
    places = np.flatnonzero(pd.notna(texts))
    gone = texts[places] == MISSING
    values = pd.Series(texts[places], dtype=object).mask(gone, None)
    cells = series.astype(object).to_numpy(copy=True)
    given: Sequence[Any]
    if column.kind == "datetime":
        seconds = parse_column(values, column.kind, column.name, "the rows", column.form)
        zone = getattr(series.dtype, "tz", None)
        moments = pd.to_datetime((seconds * 1e6).round(), unit="us", utc=True)
        given = list(moments.tz_localize(None) if zone is None else moments.tz_convert(zone))
    elif column.numeric:
        numbers = parse_column(values, column.kind, column.name, "the rows", column.form)
        whole = column.kind == "integer"
        given = [None if np.isnan(n) else int(n) if whole else float(n) for n in numbers.tolist()]
    elif pd.api.types.is_bool_dtype(series.dtype):
        given = [None if text is None else str(text).lower() == "true" for text in values]
    else:
        given = list(values)
    for place, value in zip(places, given, strict=True):
        cells[place] = value
    return pd.Series(cells, index=series.index, dtype=object).astype(series.dtype)


def text_as_given(series: "pd.Series[Any]", texts: Texts) -> Texts:
    """The text of given cells, `None` where a cell was drawn; a typed column has none."""
    cells = np.full(len(series), None, dtype=object)
    if isinstance(series.dtype, pd.StringDtype) or series.dtype == object:
        for place, cell in enumerate(series.to_numpy(dtype=object)):
            if isinstance(cell, str) and texts[place] is not None:
                cells[place] = "" if texts[place] == MISSING else cell
    return cells
