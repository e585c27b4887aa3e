"""What a constraint says of the values of rows, and the nearest values that fulfil it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.wgan.data.calendar_steps import nearest, step_seconds
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
from everymode.wgan.data.values import parse_column
from everymode.wgan.errors import DataError

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
Cells = dict[str, npt.NDArray[Any]]
"""Values by column as `everymode.wgan.data.values.parse_column` gives them, `(n,)` each."""

TRUTH: Mapping[str, float] = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


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
            if not problems and any(read_bound(bound, own[0]) is None for bound in bounds):
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
            least, most = range_bounds(constraint, schema[column])
            return np.asarray((cells[column] < least) | (cells[column] > most))
        case OneHot(columns=columns):
            truth = read_truth(columns, cells)
            gone = np.isnan(truth).all(1)
            right = (truth == 1).sum(1) == 1
            return np.asarray(~gone & ~(right & ((truth == 0).sum(1) == len(columns) - 1)))
        case Sum(total=total, parts=parts):
            own = schema[total]
            wanted = added([cells[p] for p in parts])
            size = np.abs(cells[total]) + added([np.abs(cells[p]) for p in parts])
            narrow = "32" in own.dtype or own.storage == "float"
            slack = resolution(own) / 2 * (1 + 1e-9) + size * (1e-6 if narrow else 1e-12)
            return np.asarray(np.abs(cells[total] - wanted) > slack)
        case Combination(columns=columns):
            if allowed is None:
                return np.zeros(len(cells[columns[0]]), dtype=np.bool_)
            return (
                ~pd.Series(joined_values(columns, cells), dtype=object)
                .isin(list(allowed))
                .to_numpy()
            )
        case OnlyIf(column=column, when=when):
            there = ~pd.isna(cells[column])
            return np.asarray(there & ~condition_holds(constraint, cells[when], schema[when]))


def condition_holds(constraint: OnlyIf, values: npt.NDArray[Any], column: Column) -> Mask:
    """Rows `(n,)` in which a column may have a value, by the values `(n,)` of `when`."""
    labels = pd.Series(value_labels(values), dtype=object)
    wanted = set(constraint.values)
    if column.kind == "boolean":
        labels, wanted = labels.str.lower(), {value.lower() for value in wanted}
    return labels.isin(list(wanted)).to_numpy()


def value_labels(values: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """Values as text, None where missing."""
    if values.dtype == object:
        return values
    codes, uniques = pd.factorize(values)
    texts = np.array([*(f"{value:.15g}" for value in uniques), None], dtype=object)
    return texts[codes]


def joined_values(columns: Sequence[str], cells: Cells) -> npt.NDArray[np.object_]:
    """The combination of values of each row as one text: a list in JSON."""
    parts = [pd.factorize(value_labels(cells[name])) for name in columns]
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


def read_truth(columns: Sequence[str], cells: Cells) -> Numbers:
    """0 and 1, `(n, columns)`; NaN where missing, another number where it is neither."""
    found = []
    for name in columns:
        values = cells[name]
        if values.dtype == object:
            series = pd.Series(values, dtype=object)
            values = np.where(series.isna(), np.nan, series.str.lower().map(TRUTH).fillna(2.0))
        found.append(values.astype(np.float64))
    return np.stack(found, axis=1)


def added(parts: Sequence[Numbers]) -> Numbers:
    """The sum of columns, `(n,)`; NaN where a part is missing."""
    total = np.zeros(len(parts[0]))
    for part in parts:
        total = total + part
    return total


def read_bound(bound: float | str | None, column: Column) -> float | None:
    """A bound as a number; None where it is none of the column's kind."""
    if isinstance(bound, float | int) and column.kind != "datetime":
        return float(bound)
    try:
        kind = "float" if column.kind == "integer" else column.kind
        value = parse_column(pd.Series([str(bound)], dtype=object), kind, column.name, "")
    except DataError:
        return None
    return None if np.isnan(value[0]) else float(value[0])


def range_bounds(constraint: Range, column: Column) -> tuple[float, float]:
    """Both bounds as numbers; infinite where there is none."""
    low = -np.inf if constraint.low is None else read_bound(constraint.low, column)
    high = np.inf if constraint.high is None else read_bound(constraint.high, column)
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def inside(values: Numbers, constraint: Range, column: Column) -> Numbers:
    """The nearest values of a column in its range, `(n,)`."""
    low, high = range_bounds(constraint, column)
    low = low if np.isinf(low) else float(round_up(np.array([low]), column)[0])
    high = high if np.isinf(high) else -float(round_up(np.array([-high]), column)[0])
    return np.clip(values, low, max(low, high))


def round_up(values: Numbers, column: Column, strict: bool = False) -> Numbers:
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


def determined(constraint: Constraint) -> tuple[str, ...]:
    """The columns that a constraint computes."""
    match constraint:
        case Order(high=high):
            return (high,)
        case Sum(total=total):
            return (total,)
    return constraint.columns


def determining(constraint: Constraint) -> tuple[str, ...]:
    """The columns of the table that they are computed from."""
    match constraint:
        case Order(low=low):
            return (low,)
        case Sum(parts=parts):
            return parts
    return ()


def on_grid(values: Numbers, column: Column) -> Numbers:
    """Values on a column's own grid."""
    step = resolution(column)
    if column.kind == "float":
        return np.round(values, column.decimals) if step else values
    if column.step and not step_seconds(column.step):
        return nearest(values, column.step)
    return np.asarray(np.rint(values / step) * step if step else np.round(values, 6))
