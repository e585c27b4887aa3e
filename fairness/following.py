"""Columns that follow from another: a code beside its label, a county beside its town.

Second moments hold the table of every two categories, and with bins (`fairness.binning`) that of a
category and of a number of few values. Where it shows that each category goes with one value only,
rows of a generator get that value: networks and tilts only come near to such a tie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairness.binning import Binning
from fairness.matching import LevelMoments
from wgan.data.codec import TableCodec

Floats = npt.NDArray[np.float64]

SEEN = 10.0
"""Rows that a category needs for its one value to be no chance."""

TINY = 1e-12
"""Share of all rows below which there are none: what rounding leaves of a sum."""


@dataclass(frozen=True)
class Following:
    """One column that follows from another.

    Attributes:
        source: Entries of a row that choose a category, first and behind the last.
        target: Entries that follow.
        table: What these are in rows of each category, `(options, entries)`; NaN: not known, and
            left as they are.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    table: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows `(n, D)` with the column filled in."""
        found = self.table.to(rows.dtype)[rows[:, slice(*self.source)].argmax(1)]
        new = rows.clone()
        kept = rows[:, slice(*self.target)]
        new[:, slice(*self.target)] = torch.where(found.isnan(), kept, found)
        return new


def followings(
    codec: TableCodec, binning: Binning, moments: LevelMoments, rows: int
) -> dict[tuple[str, str], Following]:
    """What follows from what, by the names of both columns; nothing follows from what follows.

    Args:
        codec: What encodes rows.
        binning: How their numbers are cut.
        moments: What the sites' sums say of rows with bins.
        rows: How many rows these rest on.
    """
    table = moments.means[-1]
    described = {
        column.name: _options(codec, binning, column.name) for column in codec.schema.columns
    }
    found: dict[tuple[str, str], Following] = {}
    for column in codec.schema.columns:
        span = codec.span(column.name)
        followed = {target for _, target in found}
        if column.numeric or span.stop - span.start < 2 or column.name in followed:
            continue
        seen = table.diagonal()[span] * rows >= SEEN
        for name, options in described.items():
            taken = {part for pair in found for part in pair}
            if name == column.name or name in taken or not options:
                continue
            joint = np.stack([table[span, place] for place in options], 1) > TINY
            known = joint.sum(1) == 1
            values = np.stack(list(options.values()))[joint.argmax(1)]
            if known[seen].all() and len(np.unique(values[seen], axis=0)) > 1:
                target = codec.span(name)
                value = np.where(known[:, None], values, np.nan)
                found[column.name, name] = Following(
                    (span.start, span.stop),
                    (target.start, target.stop),
                    torch.from_numpy(value.astype(np.float32)),
                )
    return found


def filled(followings: Sequence[Following], rows: Tensor) -> Tensor:
    """Rows `(n, D)` with every column filled in that follows."""
    for following in followings:
        rows = following(rows)
    return rows


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
