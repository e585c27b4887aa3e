"""Second moments that are asked for with noise: which products, and what one row may add to them.

A row z adds z z^T to the moments of each level that it is in. Under differential privacy every
product costs noise in all others, so that just those are summed which nothing else tells:

- not of two categories of one column: 0 in every row;
- not of two bins of numbers, nor of a bin with its own column: the joint distribution of two
  numbers is told by their correlations, and by the bins of one with the categories of others;
- not of a number with its own column's states, nor of a category with the level's own coordinate:
  they repeat first moments and shares;
- not of groups within the levels of labels: the levels of groups have them with each label.

Numbers are rounded to multiples of 2^-10, and a row whose products have a Euclidean norm above the
clip is scaled by a multiple of 2^-10 to one below it. So all sums are whole multiples of 2^-30, to
the last bit, whatever the order in which rows are added; and adding or removing a row moves the
sums of a level by at most the clip, exactly. The clip is a quantile of the norm over rows drawn
from what the schema alone says, never from data.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Span = tuple[int, int]

GRID = 2.0**10
"""Numbers and scales of rows are whole multiples of its inverse."""

QUANTILE = 0.99
"""Share of rows drawn from the schema that the clip leaves as they are."""

DRAWN = 4096
"""Rows that are drawn from the schema."""

MOST_ROWS = 2**19
"""Rows whose moments float64 adds up exactly; numbers are below 4."""


@dataclass(frozen=True)
class Coordinates:
    """What the coordinates of an encoded row beside its bins and condition are.

    Attributes:
        width: W, all of them.
        numbers: Those that are numbers.
        spans: Coordinates of each one-hot vector of a row, of its numbers' bins and of its
            condition, in this order.
        columns: Of each coordinate the column that it belongs to, `(W,)`; of a number, its states
            and its bins it is the same. -1: of a condition.
        bins: Which are bins of numbers, `(W,)`.
        blocks: Lengths of the condition's one-hot vectors: group, label.
    """

    width: int
    numbers: tuple[int, ...]
    spans: tuple[Span, ...]
    columns: tuple[int, ...]
    bins: tuple[bool, ...]
    blocks: tuple[int, int]

    @property
    def levels(self) -> int:
        """C, levels of the condition."""
        return sum(self.blocks)

    def pairs(self, level: int) -> Bools:
        """Which products are summed in a level, the upper triangle of `(W, W)`.

        The level C is that of all rows.
        """
        columns, bins = np.array(self.columns), np.array(self.bins)
        wanted: Bools = np.triu(np.ones((self.width, self.width), dtype=np.bool_))
        for first, last in self.spans:
            wanted[first:last, first:last] &= np.eye(last - first, dtype=np.bool_)
        wanted &= ~(bins[:, None] & bins[None, :]) | np.eye(self.width, dtype=np.bool_)
        own = (columns[:, None] == columns[None, :]) & (columns >= 0)[:, None]
        wanted &= ~own | np.eye(self.width, dtype=np.bool_)
        start = self.width - self.levels
        numbers = np.isin(np.arange(self.width), self.numbers)
        if level < self.levels:
            # Products with the level's own coordinate are first moments: wanted of numbers alone.
            wanted[:, start + level] &= numbers
            others = np.arange(start, self.width)
            block = 0 if level < self.blocks[0] else 1
            inside = (others - start < self.blocks[0]) == (block == 0)
            # All other coordinates of the level's own block are 0 in it.
            empty = others[inside & (others != start + level)]
            wanted[:, empty] = wanted[empty, :] = False
            wanted[start + level, start + level] = False
            if block == 1 and self.blocks[0]:
                wanted[:, start : start + self.blocks[0]] = False
                wanted[start : start + self.blocks[0], :] = False
        return wanted

    @property
    def unknown(self) -> Bools:
        """Products that are summed in no level and follow from no others, `(W, W)`, symmetric."""
        columns, bins = np.array(self.columns), np.array(self.bins)
        found: Bools = bins[:, None] & bins[None, :]
        own = (columns[:, None] == columns[None, :]) & (columns >= 0)[:, None]
        found |= own & (bins[:, None] | bins[None, :])
        for first, last in self.spans:
            found[first:last, first:last] = False
        np.fill_diagonal(found, False)
        return found


def norms(rows: Floats, pairs: Bools) -> Floats:
    """Euclidean norm of the summed products of each row `(n, W)`, `(n,)`."""
    squares = np.square(rows)
    inner = np.einsum("ij,ij->i", squares @ pairs.astype(np.float64), squares)
    found: Floats = np.sqrt(inner)
    return found


def choose_clip(coordinates: Coordinates) -> float:
    """The clip that the schema suggests; it depends on no row of any site.

    Rows are drawn with every category of a column alike, and numbers as ranks are encoded, normal
    with deviation 1/2. Of all levels the largest is taken.
    """
    rng = np.random.default_rng(0)
    rows = np.zeros((DRAWN, coordinates.width))
    for first, last in coordinates.spans:
        rows[np.arange(DRAWN), rng.integers(first, last, DRAWN)] = 1.0
    for number in coordinates.numbers:
        rows[:, number] = np.clip(rng.normal(0.0, 0.5, DRAWN), -2.0, 2.0)
    start, found = coordinates.width - coordinates.levels, []
    for first in np.cumsum([0, *coordinates.blocks])[:-1].tolist():
        if first < coordinates.levels:
            own, level = rows.copy(), int(first)
            last = level + coordinates.blocks[0 if level < coordinates.blocks[0] else 1]
            own[:, start + level : start + last] = 0.0
            own[:, start + level] = 1.0
            found.append(np.quantile(norms(own, coordinates.pairs(level)), QUANTILE))
    return float(np.ceil(max(found, default=1.0) * 16) / 16)


def clipped_moments(
    joined: npt.NDArray[np.float32],
    member: Bools,
    published: Bools,
    coordinates: Coordinates,
    clip: float,
) -> Floats:
    """Sums of clipped products, level by level, as `moments.second_moments` lays them out.

    Args:
        joined: Rows with their bins beside their conditions, `(n, W)`.
        member: Which levels each is in, `(n, C + 1)`.
        published: Coordinates of each level that are asked for: all or none, `(C + 1, W)`.
        coordinates: What they are.
        clip: Largest norm of what one row adds to a level.

    Raises:
        ValueError: Coordinates of a level are asked for in part.
    """
    if (published.any(1) != published.all(1)).any():
        raise ValueError("some coordinates of a level; expected all or none of them")
    rounded = np.rint(joined.astype(np.float64) * GRID) / GRID
    rounded = np.clip(rounded, -4.0, 4.0)
    upper = np.triu_indices(coordinates.width)
    parts: list[Floats] = [np.zeros(0)]
    for level in np.flatnonzero(published.any(1)).tolist():
        pairs = coordinates.pairs(level)
        rows = rounded[member[:, level]]
        total = np.zeros((coordinates.width, coordinates.width))
        for start in range(0, len(rows), MOST_ROWS):
            some = rows[start : start + MOST_ROWS]
            # A hair below the clip, so that no rounding of the norm lifts a row above it.
            scale = clip * (1 - 1e-12) / np.maximum(norms(some, pairs), clip / 2)
            scale = np.floor(np.minimum(scale, 1.0) * GRID) / GRID
            total += (some * scale[:, None]).T @ some
        parts.append((total * pairs)[upper])
    return np.concatenate(parts)


def symmetric(part: Floats, width: int) -> Floats:
    """The symmetric matrix `(W, W)` of an upper triangle."""
    found = np.zeros((width, width))
    found[np.triu_indices(width)] = part
    both: Floats = found + np.triu(found, 1).T
    return both
