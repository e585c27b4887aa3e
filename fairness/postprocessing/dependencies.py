"""Columns that follow from another: a code beside its label, a county beside its town.

Second moments hold the table of every two categories, and with bins
(`everymode.fairness.matching.binning`) that of a category and of a number of few values; so they do
of what the generator is told, sensitive features and label. Where a table shows that each category
goes with one value only, rows of a generator get that value: networks and tilts only come near to
such a tie.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.binning import Binning
from everymode.fairness.matching.moments import LevelMoments
from everymode.wgan.data.codec import TableCodec

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_COUNT = 10.0
"""Rows that a category needs for its one value to be no chance."""

TINY = 1e-12
"""Share of all rows below which there are none: what rounding leaves of a sum."""

ROUNDING = 1e-9
"""Part of a sum that rounding may take: less than one row's."""


@dataclass(frozen=True)
class FunctionalDependency:
    """One column that follows from another.

    Attributes:
        source: Entries of a row beside its condition that choose a category, first and behind the
            last.
        target: Entries that follow.
        table: What these are in rows of each category, `(options, entries)`; NaN: not known, and
            left as they are.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    table: Tensor

    def __call__(self, rows: Tensor, conditions: Tensor) -> Tensor:
        """Rows `(n, D)` for conditions `(n, C)` with the column filled in."""
        joined = torch.cat([rows, conditions], 1)
        found = self.table.to(rows.dtype)[joined[:, slice(*self.source)].argmax(1)]
        new = rows.clone()
        kept = rows[:, slice(*self.target)]
        new[:, slice(*self.target)] = torch.where(found.isnan(), kept, found)
        return new


@dataclass(frozen=True)
class _Source:
    """What others may follow from.

    Attributes:
        name: The column's.
        places: Coordinates of a row, its bins and its condition that tell its value.
        first: The first of them in a row beside its condition, without bins.
        values: Which value each stands for, `(places,)`.
    """

    name: str
    places: Ints
    first: int
    values: Ints


def find_dependencies(
    codec: TableCodec,
    binning: Binning,
    moments: LevelMoments,
    rows: int,
    conditions: ConditionSpace,
) -> dict[tuple[str, str], FunctionalDependency]:
    """What follows from what, by the names of both columns; nothing follows from what follows.

    Args:
        codec: What encodes rows.
        binning: How their numbers are cut.
        moments: What the sites' sums say of rows with bins.
        rows: How many rows these rest on.
        conditions: What the generator is told.
    """
    table = moments.means[-1]
    described = {
        column.name: _options(codec, binning, column.name) for column in codec.schema.columns
    }
    found: dict[tuple[str, str], FunctionalDependency] = {}
    for source in _sources(codec, binning, conditions):
        if source.name in {target for _, target in found}:
            continue
        # A value of a sensitive feature is told by all groups that have it.
        held = np.eye(source.values.max() + 1)[source.values]
        seen = held.T @ table.diagonal()[source.places] * rows >= MIN_COUNT
        seen &= held.T @ ~moments.known[-1, source.places] == 0
        for name, options in described.items():
            taken = {part for pair in found for part in pair}
            if name == source.name or name in taken or not options:
                continue
            shares = held.T @ np.stack([table[source.places, place] for place in options], 1)
            joint = shares > TINY
            # Pairs that are not known, of values of few rows, are missing in the sum.
            whole = shares.sum(1) > (1 - ROUNDING) * held.T @ table.diagonal()[source.places]
            known = (joint.sum(1) == 1) & whole
            values = np.stack(list(options.values()))[joint.argmax(1)]
            if known[seen].all() and len(np.unique(values[seen], axis=0)) > 1:
                target = codec.span(name)
                value = np.where(known[:, None], values, np.nan)[source.values]
                found[source.name, name] = FunctionalDependency(
                    (source.first, source.first + len(source.places)),
                    (target.start, target.stop),
                    torch.from_numpy(value.astype(np.float32)),
                )
    return found


def impute_dependents(
    followings: Sequence[FunctionalDependency], rows: Tensor, conditions: Tensor
) -> Tensor:
    """Rows `(n, D)` for conditions `(n, C)` with every column filled in that follows."""
    for following in followings:
        rows = following(rows, conditions)
    return rows


def _sources(codec: TableCodec, binning: Binning, conditions: ConditionSpace) -> Iterator[_Source]:
    """What is told first, for it is certain; then the categories that the generator makes."""
    group, label, _ = conditions.blocks
    after = codec.width + binning.width
    if group:
        for i, name in enumerate(conditions.sensitive):
            own = [values[i] for values in conditions.groups]
            _, values = np.unique(own, return_inverse=True)
            yield _Source(name, after + np.arange(group), codec.width, values)
    if label and conditions.target is not None:
        places = after + group + np.arange(label)
        yield _Source(conditions.target, places, codec.width + group, np.arange(label))
    for column in codec.schema.columns:
        span = codec.span(column.name)
        if not column.numeric and span.stop - span.start > 1:
            places = np.arange(span.start, span.stop)
            yield _Source(column.name, places, span.start, places - span.start)


def _options(codec: TableCodec, binning: Binning, name: str) -> Mapping[int, Floats]:
    """Coordinates of a binned row of which each row has one, and the column's entries there.

    None where a column's numbers have no bin for each.
    """
    span = codec.span(name)
    width = span.stop - span.start
    blocks = [b for b in codec.blocks if span.start <= b.start < span.stop]
    found: dict[int, Floats] = {}
    gate = None
    for block in blocks:
        if block.kind == "value":
            gate = block.gate
            number = binning.numbers.index(block.start) if block.start in binning.numbers else -1
            if number < 0 or not binning.values[number]:
                return {}
            first = binning.spans(codec.width)[number][0]
            for bin_, value in enumerate(binning.values[number]):
                entries = np.zeros(width)
                entries[block.start - span.start] = value
                if gate is not None:
                    entries[gate - span.start] = 1
                found[first + bin_] = entries
        else:
            for place in range(block.start, block.stop):
                if place != gate:
                    entries = np.zeros(width)
                    entries[place - span.start] = 1
                    found[place] = entries
    return found
