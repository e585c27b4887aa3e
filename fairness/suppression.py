"""Which coordinates of a level may enter its moments, so that no sum rests on a handful of rows.

If one row of a level has a coordinate (one woman of a small group is a farmer), the level's moments
of that coordinate *are* that row. So a coordinate that fewer than `floor` rows of a level have is
suppressed there: none of its moments is asked for. That alone protects nothing, because sums can be
subtracted. The levels of one block (all groups, say) add up to all rows, and the coordinates of one
one-hot vector add up to the level. So further coordinates are suppressed until

- what any of these equations leaves rests on no rows or on `floor` rows at least, and
- no suppressed coordinate of few rows follows from the equations taken together.

Seen as a graph, a suppressed cell (level, coordinate) is an edge between the equation of its level
and that of its coordinate; the equations determine a cell if and only if its edge is a bridge.

Only one block may be suppressed in part: the differences between two such blocks, groups and
clusters, say, could be single rows. In the others a coordinate is suppressed in all levels or none.

Sources: Hundepool et al., "Statistical Disclosure Control", 2012, chapter 4 (primary and secondary
suppression); Gusfield, "A Graph Theoretic Approach to Statistical Data Security", 1988 (bridges).
"""

from collections.abc import Sequence

import networkx as nx
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Span = tuple[int, int]

FLOOR = 10
"""Rows of a level that must have a coordinate for its moments to be summed."""


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
    known = (counts == 0) | ((counts >= floor) & active[:, None])
    stops = np.cumsum(blocks)
    levels = [np.arange(stop - size, stop) for stop, size in zip(stops, blocks, strict=True)]
    levels = [block for block in levels if len(block)]
    alone = sorted(set(range(counts.shape[1])) - {i for a, b in spans for i in range(a, b)})
    for first, last in [*spans, *((i, i + 1) for i in alone)]:
        part = np.arange(first, last)
        known[:, part] = _Table(counts[:, part], levels, floor, last - first > 1).suppressed(
            known[:, part]
        )
    found: Bools = known & active[:, None]
    return found


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
    return np.array([[sign == "1" for sign in row] for row in rows], dtype=bool).reshape(
        len(rows), -1
    )


class _Table:
    """One one-hot vector over all levels: cells, and the equations between them."""

    def __init__(self, counts: Ints, levels: Sequence[Ints], floor: int, adds_up: bool) -> None:
        """Takes counts `(C + 1, n)`; `adds_up`: whether every row has one of the coordinates."""
        self.counts = counts
        self.levels = levels
        self.floor = floor
        self.adds_up = adds_up

    def suppressed(self, known: Bools) -> Bools:
        """`known` less what would give away what is not known."""
        small = ~known & (self.counts < self.floor)
        while True:
            known = self._without_equations(known)
            exposed = self._determined(known) & small
            if not exposed.any():
                return known
            for level, place in zip(*np.nonzero(exposed), strict=True):
                self._hide(known, level, place)

    def _without_equations(self, known: Bools) -> Bools:
        """Suppresses more until every equation leaves nothing, or enough rows of two cells."""
        known, before = known.copy(), -1
        while (hidden := int((~known).sum())) != before:
            before = hidden
            if self.adds_up:
                for level in range(len(known)):
                    self._settle(known[level], self.counts[level])
            for b, block in enumerate(self.levels):
                for place in range(known.shape[1]):
                    if not known[-1, place]:
                        continue
                    column, rows = known[block, place], self.counts[block, place]
                    if b and not column.all():
                        column[:] = rows == 0
                    self._settle(column, rows)
                    known[block, place] = column
                    # A lone cell is the total itself.
                    if not column.all() and (rows > 0).sum() == 1:
                        known[-1, place] = False
        return known

    def _settle(self, known: Bools, rows: Ints) -> None:
        """One equation with a known total: hides its smallest known cells until it is safe."""
        while not known.all():
            unknown = ~known
            if rows[unknown].sum() >= self.floor and unknown.sum() > 1:
                return
            others = np.flatnonzero(known & (rows > 0))
            if not len(others):
                return
            known[others[rows[others].argmin()]] = False

    def _determined(self, known: Bools) -> Bools:
        """Which suppressed cells the equations determine."""
        found = np.zeros_like(known)
        if not self.adds_up or known.all():
            # The cells of one coordinate share one equation a block, which holds two at least.
            return found
        graph = nx.Graph()
        cells = list(zip(*np.nonzero(~known), strict=True))
        block_of = {int(c): b for b, block in enumerate(self.levels) for c in block}
        for level, place in cells:
            total = (block_of.get(int(level), -1), int(place))
            # Where the total is not known, there is no equation: all such ends are one node.
            other = total if level < len(known) - 1 and known[-1, place] else "free"
            graph.add_edge(("level", int(level)), (int(level), int(place), "cell"))
            graph.add_edge((int(level), int(place), "cell"), other)
        bridges = {frozenset(edge) for edge in nx.bridges(graph)}
        for level, place in cells:
            ends = frozenset([("level", int(level)), (int(level), int(place), "cell")])
            found[level, place] = ends in bridges
        return found

    def _hide(self, known: Bools, level: int, place: int) -> None:
        """Suppresses one more cell in the same level; where there is none, the whole coordinate."""
        others = np.flatnonzero(known[level] & (self.counts[level] > 0))
        if len(others):
            known[level, others[self.counts[level, others].argmin()]] = False
        else:
            known[:, place] = self.counts[:, place] == 0
