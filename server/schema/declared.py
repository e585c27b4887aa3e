"""The schema of a private run: columns are declared, and one question with noise counts the rest.

Nothing is asked that a vocabulary is found from. The counts come with noise, so they are made those
of some table first: cells of group and label and the values of a column are not negative and add up
to one number of rows.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.noise import Noise
from everymode.clients.protocol.schema_messages import CountHistograms, HeldOut
from everymode.clients.protocol.sensitivity import of_histograms
from everymode.clients.protocol.sums import Layout, SiteSums
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.consistency import onto_simplex, whole
from everymode.server.schema.agreement import Agreement, check_names
from everymode.server.schema.bins import settle_column
from everymode.server.schema.cells import possible_cells
from everymode.server.schema.table_spec import DeclaredColumn, TableSpec
from everymode.server.transport.exchange import Exchange
from everymode.wgan.data.ranks import jitter
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.errors import DataError

SINGLE = 128
"""Whole numbers in a range up to which each is counted by itself."""

BINS = 64
"""Bins of equal width that a wider range is cut into."""

KEPT = 3.0
"""Standard deviations of the noise that a group, a bin or a point mass must hold to be there."""


def agree_privately(
    exchange: Exchange, columns: Sequence[str], data: TableSpec, noise: Noise, seed: int = 0
) -> Agreement:
    """Counts with noise over declared columns.

    Args:
        exchange: The way to the sites.
        columns: Headers that every table must have, in order; `data.drop` taken off already.
        data: What is declared, of every column.
        noise: What sites add.
        seed: The run's, which a plan names although no rows are held out.

    Raises:
        DataError: Columns are not declared, or what was found cannot be modelled.
    """
    check_names(columns, data)
    candidates = [declared_column(name, data.columns[name]) for name in columns]
    drafted = Schema(tuple(candidates))
    proposal = possible_cells(drafted, data, Layout(()).zero())
    order = CountHistograms(
        drafted.to_json(),
        proposal.to_json(),
        data.missing,
        HeldOut(0.0, seed),
        form=data.form,
        noise=noise,
    )
    cells, *numbers = of_histograms(order).total_deviations(noise)
    deviation = max(numbers, default=cells)
    counted = made_consistent(exchange(Request(order)), drafted)
    rows = int(counted.units("cells").sum())
    # What holds fewer rows than chance and noise could make of none is none.
    floor = max(data.floor, math.ceil(KEPT * deviation))
    conditions = noisy_cells(proposal, counted.units("cells"), data.floor, cells)
    settled: list[Column] = []
    notes: list[str] = []
    problems: list[str] = []
    for i, candidate in enumerate(candidates):
        try:
            column, note = settle_column(candidate, i, counted, rows, replace(data, floor=floor))
        except DataError as error:
            problems += error.problems
            continue
        settled.append(column)
        notes += [note] if note else []
    if problems:
        raise DataError(problems)
    notes.append(
        f"counts of cells have noise of {cells:,.0f} rows (standard deviation), those of numbers "
        f"of {deviation:,.0f}: numbers that hold fewer than {floor:,} are taken for chance"
    )
    lost = [", ".join(g) for g in proposal.groups if g and g not in conditions.groups]
    if lost:
        notes.append(
            f"groups with too few rows for this noise, which the table will not have: "
            f"{'; '.join(lost)}"
        )
    return Agreement(Schema(tuple(settled)), conditions, rows, tuple(notes))


def noisy_cells(
    proposal: ConditionSpace, cells: npt.NDArray[np.int64], floor: int, deviation: float
) -> ConditionSpace:
    """Keeps the groups and labels that hold more rows than noise could make of none.

    Their cells stay as they are, few rows or none: to take those of few rows for empty would bend
    the rates of small groups by more than the noise does.

    Args:
        proposal: All cells that could occur.
        cells: Their counts, consistent, `(groups, labels)`.
        floor: Rows that a group or label needs in any case.
        deviation: Of the noise on each cell.

    Raises:
        DataError: No group or no label has enough.
    """
    least = [max(floor, math.ceil(KEPT * deviation * math.sqrt(n))) for n in cells.shape]
    groups = cells.sum(1) >= least[1]
    labels = cells[groups].sum(0) >= least[0]
    if not groups.any() or not labels.any():
        raise DataError(
            f"no group holds {least[1]:,} rows, or no label {least[0]:,}, as this noise would make "
            "of none; write a larger privacy.epsilon, or name other data.sensitive"
        )
    return replace(
        proposal,
        groups=tuple(g for g, kept in zip(proposal.groups, groups, strict=True) if kept),
        labels=tuple(n for n, kept in zip(proposal.labels, labels, strict=True) if kept),
        counts=tuple(tuple(int(n) for n in row[labels]) for row in cells[groups]),
    )


def declared_column(name: str, declared: DeclaredColumn) -> Column:
    """A column from its declaration alone; cells that are none of its kind are missing."""
    kind = declared.kind if declared.kind != "id" else None
    if kind in ("integer", "float"):
        assert declared.low is not None and declared.high is not None
        low, high = declared.low, declared.high
        column = Column(
            name,
            kind,
            low=low,
            high=high,
            missing=declared.missing,
            decimals=15 if kind == "float" else 0,
            form=declared.format,
            lenient=True,
        )
        half = jitter(column) / 2
        if kind == "integer" and high - low < SINGLE:
            values = np.arange(math.ceil(low), math.floor(high) + 1, dtype=np.float64)
            edges = np.append(values - 0.5, values[-1] + 0.5)
            return replace(column, atoms=tuple(values.tolist()), edges=tuple(edges.tolist()))
        edges = np.linspace(low - half, high + half, BINS + 1)
        if half:
            # Between whole numbers.
            edges = np.unique([edges[0], *(np.floor(edges[1:-1]) + 0.5), edges[-1]])
        return replace(column, atoms=tuple(declared.atoms), edges=tuple(edges.tolist()))
    return Column(
        name,
        kind or "category",
        categories=tuple(declared.categories),
        missing=declared.missing,
    )


def made_consistent(counted: SiteSums, schema: Schema) -> SiteSums:
    """The counts of some table: none negative, and those of each column add up to the cells'."""
    cells = counted["cells"]
    total = max(float(cells.sum()), 1.0)
    values: dict[str, npt.NDArray[Any]] = {f.name: counted[f.name] for f in counted.layout.fields}
    values["cells"] = whole(onto_simplex(cells.reshape(-1), total)).reshape(cells.shape)
    rows = float(values["cells"].sum())
    for i, column in enumerate(schema.columns):
        if column.numeric:
            atoms, bins = values[f"atoms.{i}"], values[f"bins.{i}"]
            both = np.concatenate([atoms, bins])
            single = len(atoms) > 0 and len(atoms) == len(bins)
            # Rows without a value are as many as the sum lacks, which has noise of its own.
            found = float((atoms if single else both).sum())
            own = float(np.clip(found, 0.0, rows)) if column.missing else rows
            if single:
                # Each value is a point mass: nothing is left for the bins.
                atoms, bins = onto_simplex(atoms, own), np.zeros(len(bins))
            else:
                both = onto_simplex(both, own)
                atoms, bins = both[: len(atoms)], both[len(atoms) :]
            values[f"atoms.{i}"], values[f"bins.{i}"] = whole(atoms), whole(bins)
    plain = Layout(tuple(replace(field, bits=0) for field in counted.layout.fields))
    packed = plain.pack({name: np.rint(v).astype(np.int64) for name, v in values.items()})
    return replace(packed, mechanisms=counted.mechanisms)
