"""Conditions of `everymode sample --where COLUMN=VALUE`: parsed, and compared with rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.plan import Plan
from everymode.fairness.groups.conditions import MISSING
from everymode.wgan.data.schema import Column
from everymode.wgan.data.values import parse_column
from everymode.wgan.errors import DataError


def parse_conditions(
    plan: Plan, given: Mapping[str, str], sought: Mapping[str, str]
) -> dict[str, str | float | None]:
    """Parses the values of rejection-sampled columns, for `matches`, and checks all others.

    Args:
        plan: What server and sites agreed on.
        given: Values of columns that the generator is conditioned on, as text.
        sought: Values of columns that it generates, which are met by rejection sampling.

    Raises:
        DataError: Values that cannot occur, all at once.
    """
    problems: list[str] = []
    wanted: dict[str, str | float | None] = {}
    for name, value in given.items():
        try:
            plan.conditions.select({name: value})
        except DataError as error:
            problems += error.problems
    for name, value in sought.items():
        column = plan.schema[name]
        known = [*column.categories, *([MISSING] if column.missing else [])]
        told = f"--where {name}={value}"
        if value == MISSING and column.missing:
            wanted[name] = None
        elif column.numeric:
            try:
                cell = pd.Series([value], dtype=object)
                number = float(parse_column(cell, column.kind, name, told, column.form)[0])
            except DataError:
                problems.append(f"{told}: expected a value of kind {column.kind}")
                continue
            if not column.low <= number <= column.high:
                problems.append(f"{told}: lies outside the range of the data")
            wanted[name] = number
        elif value in column.categories:
            wanted[name] = value.lower() if column.kind == "boolean" else value
        else:
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""
            problems.append(
                f"{told}: the run knows no such value; write one of {', '.join(known[:20])}{more}"
            )
    if problems:
        raise DataError(problems)
    return wanted


def matches(
    series: "pd.Series[Any]", column: Column, value: str | float | None
) -> npt.NDArray[np.bool_]:
    """Which values of a column of synthetic rows, `(n,)`, equal one of `parse_conditions`."""
    if value is None:
        return series.isna().to_numpy()
    if column.numeric:
        cells = parse_column(series, column.kind, column.name, "the rows drawn", column.form)
        return np.asarray(cells == value)
    text = series.astype("str")
    text = text.str.lower() if column.kind == "boolean" else text
    return np.asarray((text == value).fillna(False))
