"""Which coordinates of a level may enter its moments, so that no sum rests on a handful of rows.

If one row of a level has a coordinate (one woman of a small group is a farmer), the level's moments
of that coordinate *are* that row. So a coordinate that fewer than `floor` rows of a level have is
suppressed there: none of its moments is asked for. That alone protects nothing, because sums can be
subtracted. The levels of one block (all groups, say) add up to all rows, and the coordinates of one
one-hot vector add up to the level. So further coordinates are suppressed until

- what any of these equations leaves rests on no rows or on `floor` rows at least, and
- no suppressed coordinate of few rows follows from all equations together: a linear system
  determines an unknown if and only if its unit vector lies in the span of the equations.

Levels without moments of their own are what the others leave of all rows: they count as one level.
Of the levels that have some, only those of one block may be suppressed in part: the differences
between two such blocks, groups and clusters, say, could be single rows. In the others a coordinate
is suppressed in all levels or none.

Source: Hundepool et al., "Statistical Disclosure Control", 2012, chapter 4 (primary and secondary
suppression; a suppressed cell is exactly disclosed where the margins' equations determine it).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Span = tuple[int, int]

FLOOR = 10
"""Rows of a level that must have a coordinate for its moments to be summed."""

LARGEST = 20_000_000
"""Entries of a system of equations at most: of a larger one, all unknowns are suppressed."""


def publishable(
    counts: Ints, active: Bools, blocks: Sequence[int], spans: Sequence[Span], floor: int = FLOOR
) -> Bools:
    """Which coordinates each level may publish, `(C + 1, W)`.

    Args:
        counts: Rows of each level, and last of all rows, that have each coordinate, `(C + 1, W)`.
        active: Levels that have moments, `(C + 1,)`.
        blocks: Lengths of the blocks of levels, C in all; each row has one level of every block.
        spans: Coordinates of each one-hot vector; those in none stand for themselves.
        floor: Rows that a sum must rest on.

    Examples:
        One of 40 and 60 rows has the first coordinate in the first level: the second coordinate
        would give it away there, and the other level would, given all rows.

        >>> counts = np.array([[1, 39], [30, 30], [31, 69]])
        >>> publishable(counts, np.ones(3, bool), (2,), [(0, 2)]).astype(int).tolist()
        [[0, 0], [0, 0], [1, 1]]
    """
    found = np.zeros(counts.shape, dtype=bool)
    parts = [counts[:, first:last].sum(1) for first, last in spans]
    rows = np.max([counts.max(1, initial=0), *parts], axis=0)
    levels, rest = _levels(rows, active, blocks, floor)
    if not (active[-1] and rows[-1] >= floor):
        return found
    # Published levels, what each block leaves of all rows, all rows.
    own = [level for block in levels for level in block]
    merged = [counts[own], *(counts[r].sum(0, keepdims=True) for r in rest if len(r)), counts[-1:]]
    table = np.concatenate(merged)
    places, start, extra = [], 0, len(own)
    for block, left in zip(levels, rest, strict=True):
        place = list(range(start, start + len(block)))
        start += len(block)
        if len(left):
            place.append(extra)
            extra += 1
        if place:
            places.append(np.array(place))
    hidden = np.zeros(len(table), dtype=bool)
    hidden[len(own) : -1] = True
    known = np.zeros(table.shape, dtype=bool)
    alone = sorted(set(range(counts.shape[1])) - {i for a, b in spans for i in range(a, b)})
    for first, last in [*spans, *((i, i + 1) for i in alone)]:
        part = slice(first, last)
        known[:, part] = _Table(table[:, part], places, floor, last - first > 1).known(hidden)
    found[own], found[-1] = known[: len(own)], known[-1]
    return found


def _levels(
    rows: Ints, active: Bools, blocks: Sequence[int], floor: int
) -> tuple[list[list[int]], list[list[int]]]:
    """By block, levels that publish and those that do not: none of the latter, or enough rows."""
    published, rest, start = [], [], 0
    for size in blocks:
        block = list(range(start, start + size))
        start += size
        out = [c for c in block if not (active[c] and rows[c] >= floor) and rows[c]]
        kept = [c for c in block if c not in out and rows[c]]
        while kept and out and rows[out].sum() < floor:
            smallest = min(kept, key=lambda c: rows[c])
            kept.remove(smallest)
            out.append(smallest)
        published.append(kept)
        rest.append(out)
    return published, rest


def to_text(known: Bools) -> tuple[str, ...]:
    """A row of "0" and "1" for each level.

    >>> to_text(np.eye(2, dtype=bool))
    ('10', '01')
    """
    return tuple("".join("01"[int(flag)] for flag in row) for row in known)


def of_text(rows: Sequence[str]) -> Bools:
    """The inverse of `to_text`.

    Raises:
        ValueError: Rows of different lengths, or another sign than "0" and "1".
    """
    if any(set(row) - {"0", "1"} for row in rows) or len({len(row) for row in rows}) > 1:
        raise ValueError('expected rows of "0" and "1", all of one length')
    width = len(rows[0]) if rows else 0
    found = np.array([[sign == "1" for sign in row] for row in rows], dtype=bool)
    return found.reshape(len(rows), width)


class _Table:
    """One one-hot vector over all levels: cells, and the equations between them."""

    def __init__(self, counts: Ints, blocks: Sequence[Ints], floor: int, adds_up: bool) -> None:
        """Takes counts `(L, n)`, the last level being all rows, and the levels of each block.

        `adds_up`: whether every row has just one of the coordinates.
        """
        self.counts = counts
        self.blocks = blocks
        self.floor = floor
        self.adds_up = adds_up

    def known(self, hidden: Bools) -> Bools:
        """Cells that may be published, `(L, n)`; none of those with rows in `hidden` levels."""
        small = (self.counts > 0) & (self.counts < self.floor)
        known = (self.counts == 0) | ~(small | hidden[:, None])
        while True:
            known = self._with_enough(known, hidden)
            exposed = self._determined(known) & small
            if not exposed.any():
                return known
            before = int(known.sum())
            for level, place in zip(*np.nonzero(exposed), strict=True):
                self._hide(known, int(level), int(place))
            if int(known.sum()) == before:
                return known

    def _with_enough(self, known: Bools, hidden: Bools) -> Bools:
        """Suppresses more until no equation with a known sum leaves few rows."""
        known, before = known.copy(), -1
        while (now := int(known.sum())) != before:
            before = now
            if self.adds_up:
                for level in range(len(known)):
                    self._settle(known[level], self.counts[level])
            for b, block in enumerate(self.blocks):
                for place in range(known.shape[1]):
                    column, rows = known[block, place], self.counts[block, place]
                    if b and not column[~hidden[block]].all():
                        column[:] = rows == 0
                    if known[-1, place]:
                        self._settle(column, rows)
                    known[block, place] = column
        return known

    def _settle(self, known: Bools, rows: Ints) -> None:
        """One equation: hides its smallest known cells until what is hidden has enough rows."""
        while 0 < rows[~known].sum() < self.floor:
            others = np.flatnonzero(known & (rows > 0))
            if not len(others):
                return
            known[others[rows[others].argmin()]] = False

    def _determined(self, known: Bools) -> Bools:
        """Which suppressed cells the equations determine."""
        found = np.zeros_like(known)
        cells = list(zip(*np.nonzero(~known), strict=True))
        if not cells:
            return found
        place = {cell: i for i, cell in enumerate(cells)}
        groups: list[dict[tuple[int, int], int]] = []
        levels, width = known.shape
        if self.adds_up:
            groups += [{(level, k): 1 for k in range(width)} for level in range(levels)]
        for block in self.blocks:
            for k in range(width):
                groups.append({(int(c), k): 1 for c in block} | {(levels - 1, k): -1})
        if len(groups) * len(cells) > LARGEST:
            found[~known] = True
            return found
        matrix = np.zeros((len(groups), len(cells)))
        for row, group in zip(matrix, groups, strict=True):
            for cell in group.keys() & place.keys():
                row[place[cell]] = group[cell]
        matrix = matrix[matrix.any(1)]
        if len(matrix):
            _, sizes, right = np.linalg.svd(matrix, full_matrices=False)
            span = right[sizes > 1e-9 * sizes.max()]
            for cell, share in zip(cells, (span**2).sum(0), strict=True):
                found[cell] = share > 1 - 1e-9
        return found

    def _hide(self, known: Bools, level: int, place: int) -> None:
        """Suppresses the smallest cell that is left, as near to a given one as there are any.

        First in its level, then of its coordinate, then in levels that lack its coordinate, then
        anywhere; sums over all rows last.
        """
        inner = np.arange(len(known)) < len(known) - 1
        lacking, own = inner & ~known[:, place], np.arange(known.shape[1]) == place
        everything = np.ones(known.shape[1], dtype=bool)
        for rows, columns in (
            (np.arange(len(known)) == level, everything),
            (inner, own),
            (lacking, everything),
            (inner, everything),
            (~inner, everything),
        ):
            left = known & (self.counts > 0) & rows[:, None] & columns
            if left.any():
                cost = np.where(left, self.counts, np.iinfo(np.int64).max)
                known[np.unravel_index(cost.argmin(), cost.shape)] = False
                return
