"""Cells of group and label: which could occur, and which hold enough rows; all from sums."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.sketch import log_edges
from everymode.clients.protocol.sums import SiteSums
from everymode.fairness.groups.conditions import MISSING, ConditionSpace
from everymode.server.schema.table_spec import TableSpec
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError

LABEL_BINS = 4
"""Bins that stand for the labels of a numeric target: quarters of its rows."""

LABEL_CLASSES = 50
GROUPS = 4096
SENSITIVE_VALUES = 50


def possible_cells(
    schema: Schema, data: TableSpec, found: SiteSums, shifts: Mapping[str, int] | None = None
) -> ConditionSpace:
    """All cells of group and label that could occur, without counts.

    Args:
        schema: Candidates for the columns.
        data: Names the sensitive features and the target.
        found: The sums of the values, for the quarters of a numeric target.
        shifts: Powers of two that the grids of numbers are scaled by, by column; None: 0.

    Raises:
        DataError: More groups or labels than can be told apart; both at once.
    """
    problems = []
    values = [
        [*schema[name].categories, *([MISSING] if schema[name].missing else [])]
        for name in data.sensitive
    ]
    size = math.prod(map(len, values))
    if size > GROUPS:
        problems.append(
            f"data.sensitive: {', '.join(data.sensitive)} make {size} groups, more than {GROUPS}; "
            "name fewer columns, or columns with fewer values"
        )
    labels: tuple[str, ...] = ("all",)
    edges: tuple[float, ...] = ()
    if data.target:
        column = schema[data.target]
        if column.numeric:
            position = schema.names.index(data.target)
            shift = (shifts or {}).get(column.name, 0)
            edges = _quantiles(found[f"histogram.{position}"], shift)
            labels = tuple(f"bin {b + 1}" for b in range(len(edges) + 1))
        else:
            labels = column.categories
            if len(labels) > LABEL_CLASSES:
                problems.append(
                    f"data.target: '{data.target}' has {len(labels)} classes, more than "
                    f"{LABEL_CLASSES}; name another column or none"
                )
        labels += (MISSING,) if column.missing else ()
    if problems:
        raise DataError(problems)
    groups = tuple(product(*values))
    blank = tuple((0,) * len(labels) for _ in groups)
    return ConditionSpace(
        data.sensitive, data.target, groups, labels, edges, blank, conditioned_on=data.condition
    )


def _quantiles(histogram: npt.NDArray[np.float64], shift: int) -> tuple[float, ...]:
    cumulative = np.cumsum(histogram) / max(histogram.sum(), 1.0)
    inner = np.arange(1, LABEL_BINS) / LABEL_BINS
    upper = log_edges(shift)[1:]
    return tuple(sorted({float(upper[np.searchsorted(cumulative, q)]) for q in inner}))


def check_declared(proposal: ConditionSpace, counted: SiteSums, data: TableSpec) -> None:
    """Raises `DataError` where a declared value of a sensitive feature is on no site."""
    rows = counted["cells"].sum(1)
    problems = []
    for i, name in enumerate(data.sensitive):
        declared = data.columns.get(name)
        for value in declared.categories if declared else ():
            held = sum(
                n for group, n in zip(proposal.groups, rows, strict=True) if group[i] == value
            )
            if not held:
                problems.append(
                    f"data.columns.{name}.categories: no site holds a row of '{value}', so there "
                    "is no such group to cover; leave the value out"
                )
    if problems:
        raise DataError(problems)


def counted_cells(proposal: ConditionSpace, counted: SiteSums, data: TableSpec) -> ConditionSpace:
    """Keeps the groups and labels that hold enough rows.

    A group with enough rows is kept whole if they are spread so thinly over labels that no cell of
    its own has enough: the floor must not make a group vanish.

    Raises:
        DataError: No group has enough.
    """
    found = counted.units("cells")
    cells = np.where(found < data.floor, 0, found)
    thin = (cells.sum(1) == 0) & (found.sum(1) >= data.floor)
    cells[thin] = found[thin]
    groups = cells.sum(1) > 0
    labels = cells.sum(0) > 0
    # Dropping an empty bin of a numeric target would shift the others.
    labels |= bool(proposal.label_edges)
    if not groups.any() and not data.sensitive:
        raise DataError(
            f"the sites hold {int(found.sum())} rows to learn from, fewer than data.floor = "
            f"{data.floor}; add rows or lower data.floor"
        )
    if not groups.any():
        raise DataError(
            f"no group holds {data.floor} rows (data.floor) over all sites; name other sensitive "
            "features or lower data.floor"
        )
    return replace(
        proposal,
        groups=tuple(g for g, kept in zip(proposal.groups, groups, strict=True) if kept),
        labels=tuple(n for n, kept in zip(proposal.labels, labels, strict=True) if kept),
        counts=tuple(tuple(int(n) for n in row[labels]) for row in cells[groups]),
    )
