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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.wgan.data.codec import typed
from everymode.wgan.data.constraint_rules import (
    Cells,
    Numbers,
    broken,
    determined,
    determining,
    inside,
    joined_values,
    read_truth,
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
from everymode.wgan.data.ranks import resolution
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import parse_values


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


def _difference(low: Column, high: Column, name: str) -> Column:
    missing = low.missing or high.missing
    if low.kind == "datetime":
        # In units of the finer of both steps, so that a day is 1.
        step = date_unit(low, high)
        if step:
            return Column(name, "integer", missing=missing, decimals=0)
        return Column(name, "float", missing=missing, decimals=6)
    if low.kind == high.kind == "integer":
        return Column(name, "integer", missing=missing, decimals=0)
    decimals = max(0 if c.kind == "integer" else c.decimals for c in (low, high))
    return Column(name, "float", missing=missing, decimals=decimals)


def date_unit(low: Column, high: Column) -> float:
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
        targets, sources = determined(constraint), determining(constraint)
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
                    unit = date_unit(schema[low], schema[high]) or 1.0
                # Rows that break it have the least difference that does not.
                size = np.maximum(np.abs(cells[low]), np.abs(cells[high])) / unit
                gap = _significant(np.maximum((cells[high] - cells[low]) / unit, 0.0), size)
                column = hidden[name]
                whole = column.kind == "integer"
                added[name] = np.rint(gap) if whole else np.round(gap, column.decimals)
            case OneHot(columns=columns):
                truth = read_truth(columns, cells)
                ones = np.where(truth == 1, 1.0, 0.0)
                found = np.array(columns, dtype=object)[ones.argmax(1)]
                found[np.isnan(truth).all(1)] = None
                added[name] = found
            case Combination(columns=columns):
                added[name] = joined_values(columns, cells)
            case Range(column=column_name) if mended:
                wrong = broken(constraint, cells, schema)
                if wrong.any():
                    column = schema[column_name]
                    moved = pd.Series(inside(cells[column_name], constraint, column))
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
