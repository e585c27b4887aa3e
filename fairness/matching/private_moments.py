"""Second moments that are asked for with noise: which products, and what one row may add to them.

A row z adds z z^T to the moments of each level that it is in. Under differential privacy every
product costs noise in all others, so that just those are summed which nothing else tells:

- not of two categories of one column: 0 in every row;
- not of two bins of numbers, nor of a bin with its own column: the joint distribution of two
  numbers is told by their correlations, and by the bins of one with the categories of others;
- not of a number with its own column's states, nor of a category with the level's own coordinate:
  they repeat first moments and shares;
- not of the two coordinates that sum up others where a column of numbers has point masses and bins:
  the state that there is a number, and the bin of no number. So a row counts once for such a column
  with each other one, as it does for a category;
- not of groups within the levels of labels: the levels of groups have them with each label;
- in the levels of groups just those with the label, or shares and means where there is none: how
  columns depend on one another within a label is told by all rows of it. A row adds some four to
  the norm of these and more than ten to that of all pairs, so that small groups stand out from
  noise that would drown their pairs.

Numbers are rounded to multiples of 2^-10, and a row whose products have a Euclidean norm above the
clip is scaled by a multiple of 2^-10 to one below it. So all sums are whole multiples of 2^-30, to
the last bit, whatever the order in which rows are added; and adding or removing a row moves the
sums of a level by at most the clip, exactly. The clip is a quantile of the norm over rows drawn
from what the schema alone says, never from data.
"""

from dataclasses import dataclass
from functools import cached_property

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
        for gate, _, _, last in self.gated:
            wanted[[gate, last], :] = wanted[:, [gate, last]] = False
        start = self.width - self.levels
        numbers = np.isin(np.arange(self.width), self.numbers)
        if level < self.blocks[0]:
            return self._margins(level)
        if level < self.levels:
            # Products with the level's own coordinate are first moments: wanted of numbers alone.
            wanted[:, start + level] &= numbers
            # All other coordinates of the level's own block are 0 in it, and those of groups are
            # told by the levels of groups.
            empty = np.arange(start, self.width)
            empty = empty[empty != start + level]
            wanted[:, empty] = wanted[empty, :] = False
            wanted[start + level, start + level] = False
        return wanted

    def _margins(self, level: int) -> Bools:
        """Which products are summed in the level of a group."""
        wanted: Bools = np.zeros((self.width, self.width), dtype=np.bool_)
        start = self.width - self.levels
        wanted[list(self.numbers), list(self.numbers)] = True
        if self.blocks[1]:
            wanted[:start, start + self.blocks[0] :] = True
        else:
            place = np.arange(start)
            wanted[place, place] = True
            wanted[list(self.numbers), start + level] = True
        for gate, _, _, last in self.gated:
            wanted[[gate, last], :] = False
        return wanted

    @cached_property
    def gated(self) -> tuple[tuple[int, tuple[int, ...], tuple[int, ...], int], ...]:
        """Of each column of numbers with point masses or missing cells, and with bins: coordinates.

        The state that there is a number; the other states; the bins; and the bin of no number.
        """
        columns, bins, found = np.array(self.columns), np.array(self.bins), []
        for number in self.numbers:
            own = (columns == columns[number]) & (np.arange(self.width) != number)
            states, inside = np.flatnonzero(own & ~bins), np.flatnonzero(own & bins)
            if len(states) and len(inside):
                gate, *others = states.tolist()
                found.append((gate, tuple(others), tuple(inside[:-1].tolist()), int(inside[-1])))
        return tuple(found)

    def crossed(self, level: int) -> Bools:
        """Coordinates with which products are known in a level where not all are, `(W,)`.

        Of the level of a group: those of labels and its own. None of the others, which know all.
        """
        found: Bools = np.zeros(self.width, dtype=np.bool_)
        if level < self.blocks[0]:
            start = self.width - self.levels
            found[start + self.blocks[0] :] = True
            found[start + level] = True
        return found

    @cached_property
    def partitions(self) -> tuple[tuple[int, ...], ...]:
        """Coordinates of each column of which a row has just one, without those that sum up others.

        Those of the condition are left out.
        """
        merged = {gate: (*others, *inside) for gate, others, inside, _ in self.gated}
        gone = {inside[0] for _, _, inside, _ in self.gated if inside}
        gone |= {last for _, _, inside, last in self.gated if not inside}
        start = self.width - self.levels
        return tuple(
            merged.get(first, tuple(range(first, last)))
            for first, last in self.spans
            if first < start and first not in gone
        )

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


def choose_clips(coordinates: Coordinates) -> tuple[float, float]:
    """The clips that the schema suggests, of levels of groups and of all others.

    They depend on no row of any site. Rows are drawn with every category of a column alike, half of
    the rows with a number where a column has other states, and numbers as ranks are encoded, normal
    with deviation 1/2.
    """
    rng = np.random.default_rng(0)
    rows = np.zeros((DRAWN, coordinates.width))
    for first, last in coordinates.spans:
        rows[np.arange(DRAWN), rng.integers(first, last, DRAWN)] = 1.0
    for number in coordinates.numbers:
        rows[:, number] = np.clip(rng.normal(0.0, 0.5, DRAWN), -2.0, 2.0)
    columns = np.array(coordinates.columns)
    for gate, others, inside, last in coordinates.gated:
        has = rng.random(DRAWN) < 0.5
        numbers = np.intersect1d(np.flatnonzero(columns == columns[gate]), coordinates.numbers)
        rows[:, [gate, *others, *inside, last]] = 0.0
        rows[:, gate], rows[:, last] = has, ~has
        rows[np.arange(DRAWN), rng.choice(inside or [last], DRAWN)] = has if inside else ~has
        rows[np.arange(DRAWN), rng.choice(others, DRAWN)] = ~has
        rows[:, numbers] *= has[:, None]
    groups, labels = coordinates.blocks
    start = coordinates.width - coordinates.levels

    def clip(level: int, last: int) -> float:
        own = rows.copy()
        if level < coordinates.levels:
            own[:, start + level : start + last] = 0.0
            own[:, start + level] = 1.0
        found = np.quantile(norms(own, coordinates.pairs(level)), QUANTILE)
        return float(np.ceil(max(found, 1.0) * 16) / 16)

    return clip(0, groups), clip(groups, groups + labels)


def clipped_moments(
    joined: npt.NDArray[np.float32],
    member: Bools,
    published: Bools,
    coordinates: Coordinates,
    clips: tuple[float, float],
) -> Floats:
    """Sums of clipped products, level by level, as `moments.second_moments` lays them out.

    Args:
        joined: Rows with their bins beside their conditions, `(n, W)`.
        member: Which levels each is in, `(n, C + 1)`.
        published: Coordinates of each level that are asked for: all or none, `(C + 1, W)`.
        coordinates: What they are.
        clips: Largest norm of what one row adds to the level of a group, and to another one.

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
        pairs, clip = coordinates.pairs(level), clips[level >= coordinates.blocks[0]]
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
