"""Constraints on rows: who breaks them, what is encoded in their place, and rows that fulfil them.

A constraint is met by construction where possible: what the others determine is not generated. A
hidden column is derived at the sites, agreed on like any other, and encoded instead.

==============  ==================================  ==========================================
constraint      encoded                             restored
==============  ==================================  ==========================================
`Order`         the difference, in place of `high`  `high` is `low` plus the difference
`Sum`           the parts                           the total is their sum
`OneHot`        which column is 1, as a category    1 there, 0 in the others
`Combination`   the combination, as a category      its values
`Range`         the column                          the nearest number in the range
`OnlyIf`        the column                          missing where the condition does not hold
==============  ==================================  ==========================================

`high` and a total are generated all the same where a value that they are computed from may be
missing, and are computed where it is not. Sensitive features and the target are never computed:
rows are asked for by their values. Constraints on them, and those of which another one determines
the columns, are met by moving the other columns to the nearest values that fulfil them. A row for
which there is none is replaced by one that fulfils all constraints, of the same cell if possible.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.wgan.data.codec import typed
from everymode.wgan.data.constraints import (
    Combination,
    Constraint,
    OneHot,
    OnlyIf,
    Order,
    Range,
    Sum,
)
from everymode.wgan.data.ranks import resolution
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import parse_column, parse_values
from everymode.wgan.errors import DataError

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
Cells = dict[str, npt.NDArray[Any]]
"""Values by column as `everymode.wgan.data.values.parse_column` gives them, `(n,)` each."""

PASSES = 4
"""Times that rows are moved toward all constraints, of which one may undo what another did."""

_TRUTH: Mapping[str, float] = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def hidden_columns(
    columns: Sequence[Column], constraints: Sequence[Constraint]
) -> tuple[Column, ...]:
    """The columns that constraints add, before their values are known, in their order."""
    known = {column.name: column for column in columns}
    found = []
    for i, constraint in enumerate(constraints):
        name = hidden_name(i, known)
        if isinstance(constraint, Order):
            found.append(_difference(known[constraint.low], known[constraint.high], name))
        elif isinstance(constraint, OneHot):
            gone = all(known[c].missing for c in constraint.columns)
            found.append(Column(name, "category", missing=gone))
        elif isinstance(constraint, Combination):
            found.append(Column(name, "category"))
    return tuple(found)


def number_hidden(constraints: Sequence[Constraint]) -> int:
    """How many columns constraints add."""
    return sum(isinstance(c, Order | OneHot | Combination) for c in constraints)


def hidden_name(place: int, known: Iterable[str]) -> str:
    """Name of the column that the constraint at a place adds, unlike those that are there."""
    name = f"data.constraints[{place}]"
    while name in known:
        name += "'"
    return name


def constraint_problems(columns: Sequence[Column], constraints: Sequence[Constraint]) -> list[str]:
    """What constraints ask of columns that these cannot give, in sentences."""
    known = {column.name: column for column in columns}
    problems = []
    for i, constraint in enumerate(constraints):
        place = f"data.constraints[{i}] ({constraint.words})"
        for name in constraint.columns:
            if name not in known:
                problems.append(f"{place}: the tables have no column '{name}'")
        own = [known[name] for name in constraint.columns if name in known]
        if len(own) == len(constraint.columns):
            problems += [f"{place}: {text}" for text in _unfit(constraint, own)]
    return problems


def _unfit(constraint: Constraint, own: Sequence[Column]) -> list[str]:
    def wrong(columns: Iterable[Column], what: str) -> list[str]:
        return [f"'{c.name}' holds values of kind {c.kind}; expected {what}" for c in columns]

    match constraint:
        case Order():
            dates = [c.kind == "datetime" for c in own]
            if dates[0] != dates[1]:
                return ["a number and a date cannot be compared; name two columns of one kind"]
            return wrong((c for c in own if not c.numeric), "numbers or dates")
        case Range(low=low, high=high):
            problems = wrong((c for c in own if not c.numeric), "numbers or dates")
            bounds = [bound for bound in (low, high) if bound is not None]
            if not problems and any(_bound(bound, own[0]) is None for bound in bounds):
                problems.append(f"a bound is no value of kind {own[0].kind}")
            return problems
        case Sum():
            return wrong((c for c in own if c.kind not in ("integer", "float")), "numbers")
        case OneHot():
            fit = [c.kind in ("boolean", "integer", "float") for c in own]
            return wrong((c for c, y in zip(own, fit, strict=True) if not y), "0/1 or true/false")
        case Combination():
            return wrong((c for c in own if c.kind in ("float", "datetime")), "categories")
        case OnlyIf():
            return wrong((c for c in own[1:] if c.kind in ("float", "datetime")), "categories")


def _difference(low: Column, high: Column, name: str) -> Column:
    missing = low.missing or high.missing
    if low.kind == "datetime":
        # In units of the finer of both steps, so that a day is 1.
        step = _unit(low, high)
        if step:
            return Column(name, "integer", missing=missing, decimals=0)
        return Column(name, "float", missing=missing, decimals=6)
    if low.kind == high.kind == "integer":
        return Column(name, "integer", missing=missing, decimals=0)
    decimals = max(0 if c.kind == "integer" else c.decimals for c in (low, high))
    return Column(name, "float", missing=missing, decimals=decimals)


def _unit(low: Column, high: Column) -> float:
    """Seconds of which differences of dates are counted; 0: seconds with decimals."""
    step = min(resolution(low), resolution(high))
    return step if step >= 1 else 0.0


# Which constraints are met by construction


@dataclass(frozen=True)
class Construction:
    """What is encoded of a schema with constraints.

    Attributes:
        schema: The columns to be encoded, hidden ones after the others.
        built: Which constraints are met by construction.
    """

    schema: Schema
    built: tuple[bool, ...]


def construction(schema: Schema, fixed: Sequence[str]) -> Construction:
    """How constraints are met.

    Args:
        schema: The columns, constraints and hidden columns.
        fixed: Columns whose values are not to be computed: sensitive features and the target.
    """
    needs: dict[str, set[str]] = {}
    built = []
    left_out: set[str] = set()
    used = set()
    for i, constraint in enumerate(schema.constraints):
        if isinstance(constraint, OnlyIf | Range):
            built.append(constraint.column not in fixed)
            continue
        targets, sources = _targets(constraint), _sources(constraint)
        possible = not any(t in fixed or t in needs for t in targets) and not any(
            _reaches(s, t, needs) for s in sources for t in targets
        )
        built.append(possible)
        if not possible:
            continue
        needs |= {t: set(sources) for t in targets}
        gaps = any(schema[c].missing for c in constraint.columns)
        if isinstance(constraint, Order):
            used.add(hidden_name(i, schema.names))
            left_out |= set() if schema[constraint.low].missing else {constraint.high}
        elif isinstance(constraint, Sum):
            left_out |= set() if gaps else {constraint.total}
        else:
            used.add(hidden_name(i, schema.names))
            left_out |= set(constraint.columns)
    kept = tuple(c for c in schema.columns if c.name not in left_out)
    hidden = tuple(c for c in schema.hidden if c.name in used)
    return Construction(Schema(kept + hidden, schema.samples), tuple(built))


def _reaches(source: str, target: str, needs: Mapping[str, set[str]]) -> bool:
    """Whether a column is computed from another one, whatever lies between."""
    return source == target or any(_reaches(s, target, needs) for s in needs.get(source, ()))


# At the sites


def count_broken(frame: pd.DataFrame, schema: Schema, where: str) -> npt.NDArray[np.int64]:
    """Rows that break each constraint, `(constraints,)`; 0 of combinations, which no site knows."""
    cells = _parsed(frame, schema, where)
    return np.array([int(broken(c, cells, schema).sum()) for c in schema.constraints], np.int64)


def with_hidden(
    frame: pd.DataFrame, schema: Schema, where: str, mended: bool = False
) -> pd.DataFrame:
    """The rows with the hidden columns beside the others.

    Args:
        frame: Rows of a table; not written to.
        schema: Columns by kind, constraints and hidden columns.
        where: The table's file, for messages.
        mended: Whether what breaks a range is the nearest number in it, and a value outside its
            condition is missing, as rows are encoded.
    """
    if not schema.constraints:
        return frame
    cells = _parsed(frame, schema, where)
    added: dict[str, Any] = {}
    hidden = {column.name: column for column in schema.hidden}
    for i, constraint in enumerate(schema.constraints):
        name = hidden_name(i, schema.names)
        match constraint:
            case Order(low=low, high=high):
                unit = 1.0
                if schema[low].kind == "datetime":
                    unit = _unit(schema[low], schema[high]) or 1.0
                # Rows that break it have the least difference that does not.
                size = np.maximum(np.abs(cells[low]), np.abs(cells[high])) / unit
                gap = _significant(np.maximum((cells[high] - cells[low]) / unit, 0.0), size)
                column = hidden[name]
                whole = column.kind == "integer"
                added[name] = np.rint(gap) if whole else np.round(gap, column.decimals)
            case OneHot(columns=columns):
                truth = _truth(columns, cells)
                ones = np.where(truth == 1, 1.0, 0.0)
                found = np.array(columns, dtype=object)[ones.argmax(1)]
                found[np.isnan(truth).all(1)] = None
                added[name] = found
            case Combination(columns=columns):
                added[name] = _joined(columns, cells)
            case Range(column=column_name) if mended:
                wrong = broken(constraint, cells, schema)
                if wrong.any():
                    column = schema[column_name]
                    moved = pd.Series(_inside(cells[column_name], constraint, column))
                    added[column_name] = typed(moved, column).to_numpy()
            case OnlyIf(column=column_name) if mended:
                wrong = broken(constraint, cells, schema)
                if wrong.any():
                    own = added.get(column_name, frame[column_name])
                    own = pd.Series(own, index=frame.index)
                    added[column_name] = own.astype(object).mask(wrong, None)
    kept = frame.drop(columns=[name for name in added if name in frame.columns])
    return pd.concat([kept, pd.DataFrame(added, index=frame.index)], axis=1)


def _significant(values: Numbers, size: Numbers) -> Numbers:
    """Differences of numbers of a size, to 13 digits of these: without errors of subtraction."""
    with np.errstate(divide="ignore", invalid="ignore"):
        digits = np.clip(13 - np.ceil(np.log10(size)), -300, 300)
    scale = np.power(10.0, np.where(np.isfinite(digits), digits, 0.0))
    return np.asarray(np.rint(values * scale) / scale)


def _parsed(frame: pd.DataFrame, schema: Schema, where: str) -> Cells:
    names = {name for constraint in schema.constraints for name in constraint.columns}
    known = {column.name: column for column in schema.columns}
    return {name: parse_values(frame, known[name], where) for name in sorted(names)}


# What a constraint says of rows


def broken(
    constraint: Constraint,
    cells: Cells,
    schema: Schema,
    allowed: Sequence[str] | None = None,
) -> Mask:
    """Which rows `(n,)` break a constraint.

    Args:
        constraint: The constraint.
        cells: Values of its columns.
        schema: Their columns.
        allowed: The combinations that there may be; None: all.
    """
    match constraint:
        case Order(low=low, high=high, strict=strict):
            one, other = cells[low], cells[high]
            return np.asarray((one >= other) if strict else (one > other))
        case Range(column=column):
            least, most = _bounds(constraint, schema[column])
            return np.asarray((cells[column] < least) | (cells[column] > most))
        case OneHot(columns=columns):
            truth = _truth(columns, cells)
            gone = np.isnan(truth).all(1)
            right = (truth == 1).sum(1) == 1
            return np.asarray(~gone & ~(right & ((truth == 0).sum(1) == len(columns) - 1)))
        case Sum(total=total, parts=parts):
            own = schema[total]
            wanted = _added([cells[p] for p in parts])
            size = np.abs(cells[total]) + _added([np.abs(cells[p]) for p in parts])
            narrow = "32" in own.dtype or own.storage == "float"
            slack = resolution(own) / 2 * (1 + 1e-9) + size * (1e-6 if narrow else 1e-12)
            return np.asarray(np.abs(cells[total] - wanted) > slack)
        case Combination(columns=columns):
            if allowed is None:
                return np.zeros(len(cells[columns[0]]), dtype=np.bool_)
            return ~pd.Series(_joined(columns, cells), dtype=object).isin(list(allowed)).to_numpy()
        case OnlyIf(column=column, when=when):
            there = ~pd.isna(cells[column])
            return np.asarray(there & ~_holds(constraint, cells[when], schema[when]))


def _holds(constraint: OnlyIf, values: npt.NDArray[Any], column: Column) -> Mask:
    labels = pd.Series(_labels(values), dtype=object)
    wanted = set(constraint.values)
    if column.kind == "boolean":
        labels, wanted = labels.str.lower(), {value.lower() for value in wanted}
    return labels.isin(list(wanted)).to_numpy()


def _labels(values: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """Values as text, None where missing."""
    if values.dtype == object:
        return values
    codes, uniques = pd.factorize(values)
    texts = np.array([*(f"{value:.15g}" for value in uniques), None], dtype=object)
    return texts[codes]


def _joined(columns: Sequence[str], cells: Cells) -> npt.NDArray[np.object_]:
    """The combination of values of each row as one text: a list in JSON."""
    parts = [pd.factorize(_labels(cells[name])) for name in columns]
    codes = np.stack([own for own, _ in parts], axis=1)
    kinds, place = np.unique(codes, axis=0, return_inverse=True)
    texts = [
        json.dumps(
            [None if c < 0 else names[c] for c, (_, names) in zip(kind, parts, strict=True)],
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for kind in kinds
    ]
    return np.array(texts, dtype=object)[place.reshape(-1)]


def _truth(columns: Sequence[str], cells: Cells) -> Numbers:
    """0 and 1, `(n, columns)`; NaN where missing, another number where it is neither."""
    found = []
    for name in columns:
        values = cells[name]
        if values.dtype == object:
            series = pd.Series(values, dtype=object)
            values = np.where(series.isna(), np.nan, series.str.lower().map(_TRUTH).fillna(2.0))
        found.append(values.astype(np.float64))
    return np.stack(found, axis=1)


def _added(parts: Sequence[Numbers]) -> Numbers:
    total = np.zeros(len(parts[0]))
    for part in parts:
        total = total + part
    return total


def _bound(bound: float | str | None, column: Column) -> float | None:
    """A bound as a number; None where it is none of the column's kind."""
    if isinstance(bound, float | int) and column.kind != "datetime":
        return float(bound)
    try:
        kind = "float" if column.kind == "integer" else column.kind
        value = parse_column(pd.Series([str(bound)], dtype=object), kind, column.name, "")
    except DataError:
        return None
    return None if np.isnan(value[0]) else float(value[0])


def _bounds(constraint: Range, column: Column) -> tuple[float, float]:
    low = -np.inf if constraint.low is None else _bound(constraint.low, column)
    high = np.inf if constraint.high is None else _bound(constraint.high, column)
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def _inside(values: Numbers, constraint: Range, column: Column) -> Numbers:
    low, high = _bounds(constraint, column)
    low = low if np.isinf(low) else float(_upward(np.array([low]), column)[0])
    high = high if np.isinf(high) else -float(_upward(np.array([-high]), column)[0])
    return np.clip(values, low, max(low, high))


def _upward(values: Numbers, column: Column, strict: bool = False) -> Numbers:
    """The smallest values of a column that are not below (`strict`: are above) others."""
    step = resolution(column)
    if not step:
        return np.nextafter(values, np.inf) if strict else values
    scale = 10.0**column.decimals if column.kind == "float" else 1.0 / step
    places = values * scale
    near = np.rint(places)
    # Rounding errors of a product are no reason for the next step.
    close = np.abs(places - near) <= 1e-9 + 4e-16 * np.abs(places)
    whole = np.where(close, near, np.ceil(places))
    found = (whole + strict * (whole <= near) * (np.abs(places - near) <= 1e-6)) / scale
    return np.round(found, column.decimals) if column.kind == "float" else found


# From encoded columns to rows that fulfil the constraints


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

    def compute(self, built: Sequence[bool]) -> None:
        """Columns that others determine, each after those that it is computed from."""
        waiting = [
            (i, c)
            for i, c in enumerate(self.schema.constraints)
            if built[i] and not isinstance(c, Range | OnlyIf)
        ]
        pending = {t for _, c in waiting for t in _targets(c)}
        self._narrow(built)
        while waiting:
            ready = [w for w in waiting if not pending & set(_sources(w[1]))]
            for place, determined in ready:
                self._compute(place, determined)
                pending -= set(_targets(determined))
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
                    unit = _unit(self.schema[low], column) or 1.0
                found = _nearest(np.maximum(base, base + gap * unit), column)
                least = _upward(np.array([column.low]), column)[0]
                most = -_upward(np.array([-column.high]), column)[0]
                # In the range of the column, unless the constraint leads beyond.
                found = np.clip(found, least, max(least, most))
                if self.schema[low].missing:
                    own = self.cells[high]
                    found = np.where(np.isnan(base), own, found)
                self.cells[high] = found
                self._move(place, constraint, broken(constraint, self.cells, self.schema))
            case Sum(total=total, parts=parts):
                found = _nearest(_added([self.cells[p] for p in parts]), self.schema[total])
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
        known = {_TRUTH.get(c.lower(), 2.0): c for c in column.categories}
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
                    most = -_upward(-cells[high], schema[low], strict)
                    cells[low] = np.where(wrong, np.minimum(cells[low], most), cells[low])
                elif high not in self.fixed:
                    least = _upward(cells[low], schema[high], strict)
                    cells[high] = np.where(wrong, np.maximum(cells[high], least), cells[high])
            case Range(column=column):
                if column not in self.fixed:
                    inside = _inside(cells[column], constraint, schema[column])
                    cells[column] = np.where(wrong, inside, cells[column])
            case Sum(total=total, parts=parts):
                if total not in self.fixed:
                    found = _nearest(_added([cells[p] for p in parts]), schema[total])
                    cells[total] = np.where(wrong, found, cells[total])
                    return
                free = [p for p in parts if p not in self.fixed]
                if free:
                    # The part with the finest decimals takes the difference.
                    part = max(free, key=lambda p: schema[p].decimals)
                    rest = _added([cells[p] for p in parts if p != part])
                    found = _nearest(cells[total] - rest, schema[part])
                    cells[part] = np.where(wrong, found, cells[part])
            case OneHot(columns=columns):
                truth = _truth(columns, cells)
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
                away = wrong & ~_holds(constraint, cells[when], schema[when])
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
        labels = [_labels(self.cells[columns[j]]) for j in held]
        keys = zip(*labels, strict=True) if held else ((),) * self.size
        found = np.array([first.get(tuple(key)) for key in keys], dtype=object)
        known = wrong & np.array([text is not None for text in found], dtype=np.bool_)
        if known.any():
            free = [name for name in columns if name not in self.fixed]
            kept = {name: self.cells[name] for name in columns if name not in free}
            usual = next(iter(first.values()))
            self._take(columns, np.where(known, found, usual), known)
            self.cells |= kept


def _targets(constraint: Constraint) -> tuple[str, ...]:
    match constraint:
        case Order(high=high):
            return (high,)
        case Sum(total=total):
            return (total,)
    return constraint.columns


def _sources(constraint: Constraint) -> tuple[str, ...]:
    match constraint:
        case Order(low=low):
            return (low,)
        case Sum(parts=parts):
            return parts
    return ()


def _nearest(values: Numbers, column: Column) -> Numbers:
    """Values on a column's own grid."""
    step = resolution(column)
    if column.kind == "float":
        return np.round(values, column.decimals) if step else values
    return np.asarray(np.rint(values / step) * step if step else np.round(values, 6))
