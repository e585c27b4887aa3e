"""From encoded columns to rows that fulfil the constraints.

What is encoded: `everymode.wgan.data.constrained`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.wgan.data.calendar_steps import at_least, nearest, step_seconds
from everymode.wgan.data.codec import typed
from everymode.wgan.data.constrained import construction, date_unit, hidden_name
from everymode.wgan.data.constraint_rules import (
    TRUTH,
    Cells,
    Mask,
    added,
    broken,
    condition_holds,
    determined,
    determining,
    inside,
    on_grid,
    read_truth,
    round_up,
    value_labels,
)
from everymode.wgan.data.constraints import (
    Combination,
    Constraint,
    OneHot,
    OnlyIf,
    Order,
    Range,
    Sum,
)
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import parse_values
from everymode.wgan.errors import DataError

PASSES = 4
"""Times that rows are moved toward all constraints, of which one may undo what another did."""


@dataclass(frozen=True)
class Restored:
    """Rows that fulfil all constraints.

    Attributes:
        rows: Their columns, typed.
        moved: Rows that were not so by construction and were moved to the nearest that is.
        replaced: Rows for which there was none, replaced by others.
    """

    rows: pd.DataFrame
    moved: int = 0
    replaced: int = 0


def restored(
    frame: pd.DataFrame,
    schema: Schema,
    given: Sequence[str],
    fixed: Sequence[str],
    cells_of_rows: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> Restored:
    """The table's own columns from those that were encoded.

    Args:
        frame: Decoded columns, hidden ones among them, and those that follow from the condition.
        schema: The table's columns with constraints and hidden columns.
        given: Columns that follow from the condition: they stay as they are.
        fixed: Columns that are changed only where nothing else helps.
        cells_of_rows: The cell of each row, `(n,)`.
        rng: Chooses rows that take the place of others.

    Raises:
        DataError: No row fulfils all constraints.
    """
    if not schema.constraints:
        return Restored(frame[list(schema.names)])
    built = construction(schema, fixed).built
    rows = _Rows(schema, frame, tuple(fixed))
    rows.compute(built)
    wrong = rows.broken()
    start = wrong.copy()
    for _ in range(PASSES):
        if not wrong.any():
            break
        rows.move()
        wrong = rows.broken()
    found = rows.table(given)
    if wrong.any():
        source = _donors(wrong, cells_of_rows, rng, schema)
        found = found.iloc[source].reset_index(drop=True)
    return Restored(found, int((start & ~wrong).sum()), int(wrong.sum()))


def moved(frame: pd.DataFrame, schema: Schema, fixed: Sequence[str]) -> tuple[pd.DataFrame, Mask]:
    """Rows whose `fixed` columns were set from outside, with the others moved to fit them.

    Args:
        frame: Rows of the table's own columns, typed.
        schema: Their columns with constraints.
        fixed: Columns that stay as they are.

    Returns:
        The rows, and which of them break a constraint nevertheless, `(n,)`.
    """
    rows = _Rows(schema, frame, tuple(fixed))
    wrong = rows.broken()
    for _ in range(PASSES):
        if not wrong.any():
            break
        rows.move()
        wrong = rows.broken()
    found = rows.table(fixed)
    found.index = frame.index
    return found, wrong


def broken_rows(frame: pd.DataFrame, schema: Schema) -> dict[str, Mask]:
    """Which rows `(n,)` break each constraint, by its words.

    Args:
        frame: Rows of the table's own columns, typed or as text.
        schema: Their columns with constraints. One of a column that the schema lacks is left out.
    """
    rows = _Rows(schema, frame, ())
    return {
        constraint.words: broken(constraint, rows.cells, schema, rows.allowed(i))
        for i, constraint in enumerate(schema.constraints)
        if all(name in rows.cells for name in constraint.columns)
    }


def contradictory(frame: pd.DataFrame, schema: Schema) -> Mask:
    """Which rows `(n,)` no values of the columns that the frame lacks can make fulfil them all.

    Found are contradictions within single constraints. What several have to do with each other is
    not looked into.
    """
    return _Rows(schema, frame, ()).contradictions()


def _roomy(column: Column, values: npt.NDArray[Any]) -> Column:
    """The column, with room for missing values where a constraint made some."""
    if column.missing or not pd.isna(values).any():
        return column
    return replace(column, missing=True)


def _donors(
    wrong: Mask, cells: npt.NDArray[np.int64], rng: np.random.Generator, schema: Schema
) -> npt.NDArray[np.intp]:
    """For each row itself, or one that fulfils all constraints, of the same cell if possible."""
    right = np.flatnonzero(~wrong)
    if not len(right):
        words = "; ".join(constraint.words for constraint in schema.constraints)
        raise DataError(
            f"data.constraints: no row that was made fulfils them all ({words}); leave out those "
            "that contradict each other or the values of sensitive features and target"
        )
    source = np.arange(len(wrong))
    for cell in np.unique(cells[wrong]):
        own = np.flatnonzero(wrong & (cells == cell))
        same = right[cells[right] == cell]
        source[own] = rng.choice(same if len(same) else right, len(own))
    return source


class _Rows:
    """Values of constrained columns, moved until they fulfil the constraints."""

    def __init__(self, schema: Schema, frame: pd.DataFrame, fixed: tuple[str, ...]) -> None:
        self.schema, self.fixed, self.size = schema, fixed, len(frame)
        self.frame = frame
        self.hidden = {column.name: column for column in schema.hidden}
        names = {name for constraint in schema.constraints for name in constraint.columns}
        names &= set(schema.names)
        self.cells: Cells = {
            name: parse_values(frame, schema[name], "the rows made").copy()
            for name in sorted(names)
            if name in frame.columns
        }

    def table(self, kept: Sequence[str]) -> pd.DataFrame:
        """The rows, typed; of columns `kept` those of the frame."""
        columns = {}
        for name in self.schema.names:
            if name in self.cells and name not in kept:
                column = _roomy(self.schema[name], self.cells[name])
                columns[name] = typed(pd.Series(self.cells[name]), column)
            else:
                columns[name] = self.frame[name].reset_index(drop=True)
        return pd.DataFrame(columns)

    def allowed(self, place: int) -> tuple[str, ...] | None:
        column = self.hidden.get(hidden_name(place, self.schema.names))
        return column.categories if column is not None else None

    def broken(self) -> Mask:
        found = np.zeros(self.size, dtype=np.bool_)
        for i, constraint in enumerate(self.schema.constraints):
            found |= broken(constraint, self.cells, self.schema, self.allowed(i))
        return found

    def contradictions(self) -> Mask:
        found = np.zeros(self.size, dtype=np.bool_)
        for i, constraint in enumerate(self.schema.constraints):
            there = [j for j, name in enumerate(constraint.columns) if name in self.cells]
            match constraint:
                case _ if len(there) == len(constraint.columns):
                    found |= broken(constraint, self.cells, self.schema, self.allowed(i))
                case OneHot(columns=columns) if there:
                    truth = read_truth([columns[j] for j in there], self.cells)
                    found |= (truth == 1).sum(1) > 1
                case Combination(columns=columns) if there:
                    values = [json.loads(text) for text in self.allowed(i) or ()]
                    known = {tuple(own[j] for j in there) for own in values}
                    labels = [value_labels(self.cells[columns[j]]) for j in there]
                    found |= np.array([key not in known for key in zip(*labels, strict=True)])
        return found

    def compute(self, built: Sequence[bool]) -> None:
        """Columns that others determine, each after those that it is computed from."""
        waiting = [
            (i, c)
            for i, c in enumerate(self.schema.constraints)
            if built[i] and not isinstance(c, Range | OnlyIf)
        ]
        pending = {t for _, c in waiting for t in determined(c)}
        self._narrow(built)
        while waiting:
            ready = [w for w in waiting if not pending & set(determining(w[1]))]
            for place, own in ready:
                self._compute(place, own)
                pending -= set(determined(own))
            waiting = [w for w in waiting if w not in ready]
        self._narrow(built)
        # A column that was kept in its range moves those that are computed from it.
        for i, constraint in enumerate(self.schema.constraints):
            if built[i] and isinstance(constraint, Order | Sum):
                wrong = broken(constraint, self.cells, self.schema)
                self._move(i, constraint, wrong)

    def _narrow(self, built: Sequence[bool]) -> None:
        """Ranges and conditions of the columns that are there."""
        for i, constraint in enumerate(self.schema.constraints):
            there = all(name in self.cells for name in constraint.columns)
            if built[i] and there and isinstance(constraint, Range | OnlyIf):
                self._move(i, constraint, broken(constraint, self.cells, self.schema))

    def _compute(self, place: int, constraint: Constraint) -> None:
        name = hidden_name(place, self.schema.names)
        match constraint:
            case Order(low=low, high=high):
                column, base = self.schema[high], self.cells[low]
                gap = parse_values(self.frame, self.hidden[name], "the rows made")
                unit = 1.0
                if column.kind == "datetime":
                    unit = date_unit(self.schema[low], column) or 1.0
                found = on_grid(np.maximum(base, base + gap * unit), column)
                least = round_up(np.array([column.low]), column)[0]
                most = -round_up(np.array([-column.high]), column)[0]
                # In the range of the column, unless the constraint leads beyond.
                found = np.clip(found, least, max(least, most))
                if column.step and not step_seconds(column.step):
                    found = nearest(found, column.step)
                    # The nearest month may begin before `low`.
                    found = np.where(found < base, at_least(base, column.step), found)
                if self.schema[low].missing:
                    own = self.cells[high]
                    found = np.where(np.isnan(base), own, found)
                self.cells[high] = found
                self._move(place, constraint, broken(constraint, self.cells, self.schema))
            case Sum(total=total, parts=parts):
                found = on_grid(added([self.cells[p] for p in parts]), self.schema[total])
                if total in self.cells:
                    own = self.cells[total]
                    found = np.where(np.isnan(own) | np.isnan(found), own, found)
                self.cells[total] = found
            case OneHot(columns=columns):
                which = parse_values(self.frame, self.hidden[name], "the rows made")
                for one in columns:
                    self.cells[one] = self._flag(one, which == one, pd.isna(which))
            case Combination(columns=columns):
                texts = parse_values(self.frame, self.hidden[name], "the rows made")
                self._take(columns, texts, np.ones(self.size, dtype=np.bool_))

    def _take(self, columns: Sequence[str], texts: npt.NDArray[Any], rows: Mask) -> None:
        codes, uniques = pd.factorize(texts)
        lists = [json.loads(text) for text in uniques]
        for j, name in enumerate(columns):
            column = self.schema[name]
            options: list[Any] = [*(own[j] for own in lists), None]
            if column.numeric:
                options = [np.nan if value is None else float(value) for value in options]
            values = np.array(options, dtype=np.float64 if column.numeric else object)[codes]
            old = self.cells.get(name, values)
            self.cells[name] = np.where(rows, values, old)

    def _flag(self, name: str, ones: Mask, gone: Mask) -> npt.NDArray[Any]:
        column = self.schema[name]
        if column.numeric:
            return np.asarray(np.where(gone, np.nan, ones.astype(np.float64)))
        known = {TRUTH.get(c.lower(), 2.0): c for c in column.categories}
        one, zero = known.get(1.0, "True"), known.get(0.0, "False")
        found = np.where(ones, one, zero).astype(object)
        found[gone] = None
        return found

    def move(self) -> None:
        """Rows that break a constraint, to the nearest values that fulfil it; one by one."""
        for i, constraint in enumerate(self.schema.constraints):
            wrong = broken(constraint, self.cells, self.schema, self.allowed(i))
            if wrong.any():
                self._move(i, constraint, wrong)

    def _move(self, place: int, constraint: Constraint, wrong: Mask) -> None:
        cells, schema = self.cells, self.schema
        match constraint:
            case Order(low=low, high=high, strict=strict):
                if high in self.fixed and low not in self.fixed:
                    most = -round_up(-cells[high], schema[low], strict)
                    cells[low] = np.where(wrong, np.minimum(cells[low], most), cells[low])
                elif high not in self.fixed:
                    least = round_up(cells[low], schema[high], strict)
                    cells[high] = np.where(wrong, np.maximum(cells[high], least), cells[high])
            case Range(column=column):
                if column not in self.fixed:
                    nearest = inside(cells[column], constraint, schema[column])
                    cells[column] = np.where(wrong, nearest, cells[column])
            case Sum(total=total, parts=parts):
                if total not in self.fixed:
                    found = on_grid(added([cells[p] for p in parts]), schema[total])
                    cells[total] = np.where(wrong, found, cells[total])
                    return
                free = [p for p in parts if p not in self.fixed]
                if free:
                    # The part with the finest decimals takes the difference.
                    part = max(free, key=lambda p: schema[p].decimals)
                    rest = added([cells[p] for p in parts if p != part])
                    found = on_grid(cells[total] - rest, schema[part])
                    cells[part] = np.where(wrong, found, cells[part])
            case OneHot(columns=columns):
                truth = read_truth(columns, cells)
                held = [j for j, name in enumerate(columns) if name in self.fixed]
                score = np.where(truth == 1, 1.0, 0.0)
                score[:, held] = np.where(truth[:, held] == 1, 2.0, -1.0)
                which = score.argmax(1)
                for j, name in enumerate(columns):
                    if name not in self.fixed:
                        none = np.zeros(self.size, dtype=np.bool_)
                        cells[name] = np.where(
                            wrong, self._flag(name, which == j, none), cells[name]
                        )
            case Combination(columns=columns):
                self._combine(place, columns, wrong)
            case OnlyIf(column=column, when=when, values=values):
                away = wrong & ~condition_holds(constraint, cells[when], schema[when])
                if column not in self.fixed:
                    left = cells[column].copy()
                    left[away] = np.nan if schema[column].numeric else None
                    cells[column] = left
                elif when not in self.fixed:
                    away &= ~pd.isna(cells[column])
                    value = float(values[0]) if schema[when].numeric else values[0]
                    cells[when] = np.where(away, value, cells[when])

    def _combine(self, place: int, columns: Sequence[str], wrong: Mask) -> None:
        """Rows of other combinations take the commonest with the same values of fixed columns."""
        held = [j for j, name in enumerate(columns) if name in self.fixed]
        first: dict[tuple[Any, ...], str] = {}
        for text in self.allowed(place) or ():
            values = json.loads(text)
            first.setdefault(tuple(values[j] for j in held), text)
        labels = [value_labels(self.cells[columns[j]]) for j in held]
        keys = zip(*labels, strict=True) if held else ((),) * self.size
        found = np.array([first.get(tuple(key)) for key in keys], dtype=object)
        known = wrong & np.array([text is not None for text in found], dtype=np.bool_)
        if known.any():
            free = [name for name in columns if name not in self.fixed]
            kept = {name: self.cells[name] for name in columns if name not in free}
            usual = next(iter(first.values()))
            self._take(columns, np.where(known, found, usual), known)
            self.cells |= kept
