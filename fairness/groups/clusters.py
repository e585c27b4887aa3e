"""Latent clusters of encoded rows, found from sums over sites alone.

Where sites differ in what no column names, a generator cannot be told what it shall make. Clusters
name it. The k-means algorithm needs, for given centres, only how many rows lie nearest to each and
their sum (Lloyd, "Least Squares Quantization in PCM", 1982), and both add up over sites. Centres
start by splitting (Linde, Buzo, Gray, "An Algorithm for Vector Quantizer Design", 1980): the
cluster with the largest sum of squares is parted along its widest coordinate, which sums of squares
tell. Nothing is drawn at random, so sites find what the pooled rows would give, to rounding.

What this reveals. The server learns the sums over all sites around every centre it tries, however
few rows lie there; sites, and whoever gets the generator, learn the last centres and the number of
rows of each cell, over all sites. A centre is the mean of its rows, and the mean of few rows is
near each of them: clusters of fewer rows than the floor are dissolved, and no site is ever told the
centre of one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.floating[Any]]

AFTER_SPLIT = 2
"""Steps after each split."""

SETTLING = 14
"""Steps at the end, at most."""

_DIGITS = 6
"""Of a centre's coordinates: it is told no more precisely."""

_TIE = 9
"""Digits of squared distances that count: rows midway go the same way on every machine."""

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Tally:
    """What k-means has to know of rows; adds up over sites, entry by entry.

    Attributes:
        counts: Rows nearest to each centre, `(K,)`.
        sums: Their sums, `(K, D)`.
        squares: Sums of their squares, coordinate by coordinate, `(K, D)`.
    """

    counts: Floats
    sums: Floats
    squares: Floats

    def __len__(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def centres(self) -> "Centres":
        """The mean of each cluster's rows."""
        return Centres((self.sums / np.maximum(self.counts, 1)[:, None]).round(_DIGITS))

    @property
    def spread(self) -> Floats:
        """Summed squared distances from the cluster's mean, by coordinate, `(K, D)`."""
        counts = np.maximum(self.counts, 1)[:, None]
        spread: Floats = np.maximum(self.squares - self.sums**2 / counts, 0.0)
        return spread

    def without_small(self, floor: int) -> "Tally":
        """Only the clusters of `floor` rows or more."""
        large = self.counts >= floor
        return Tally(self.counts[large], self.sums[large], self.squares[large])

    def parted(self, floor: int) -> "Centres | None":
        """The centres with one more: the widest cluster's moved apart by a deviation each way.

        None where no cluster of twice `floor` rows has any width.
        """
        spread = self.spread
        width = np.where(self.counts >= 2 * floor, spread.sum(1), 0.0)
        # Below this is what rounding leaves of rows that are all alike.
        if not len(self) or width.max() <= 1e-6 * self.counts.max():
            return None
        widest = int(width.argmax())
        axis = int(spread[widest].argmax())
        points = self.centres.points
        deviation = np.zeros(points.shape[1])
        deviation[axis] = np.sqrt(spread[widest, axis] / self.counts[widest])
        more = np.vstack([points, points[widest] + deviation])
        more[widest] -= deviation
        return Centres(more.round(_DIGITS))


@dataclass(frozen=True, eq=False)
class Centres:
    """Points in code space; every row belongs to the nearest.

    Attributes:
        points: `(K, D)`.
    """

    points: Floats

    def nearest(self, rows: Rows, allowed: Bools | None = None) -> Ints:
        """The nearest centre of each row, `(n,)`; the first of equally near ones.

        Args:
            rows: Encoded rows, `(n, D)`.
            allowed: Which centres each row may belong to, `(n, K)`; None: all.
        """
        found = np.zeros(len(rows), dtype=np.int64)
        for part, values in _blocks(rows):
            distance = self._distance(values)
            if allowed is not None:
                distance[~allowed[part]] = np.inf
            found[part] = distance.argmin(1)
        return found

    def sums(self, rows: Rows) -> Tally:
        """What rows `(n, D)` contribute: one site's part, or all of it where they are pooled."""
        tally = Tally(np.zeros(len(self.points)), *np.zeros((2, *self.points.shape)))
        for _, values in _blocks(rows):
            member = np.eye(len(self.points))[self._distance(values).argmin(1)]
            tally.counts[:] += member.sum(0)
            tally.sums[:] += member.T @ values
            tally.squares[:] += member.T @ values**2
        return tally

    def _distance(self, rows: Floats) -> Floats:
        """Squared distances but for the row's own square, `(n, K)`."""
        squares = (self.points**2).sum(1)
        distance: Floats = (squares - 2 * rows @ self.points.T).round(_TIE)
        return distance


Ask = Callable[[Centres], Tally]
"""Brings the sums over all sites: one exchange."""


def find(ask: Ask, width: int, wanted: int, floor: int) -> Centres:
    """K-means from sums, in 2 K + 13 exchanges at most.

    Args:
        ask: Brings the sums.
        width: D.
        wanted: K; fewer come back where rows have no more to tell apart.
        floor: Rows that a cluster must have; those of smaller ones go to the nearest other.

    Returns:
        The centres of clusters that had `floor` rows when last counted.
    """
    found = _settled(ask, Centres(np.zeros((1, width))), 1, floor)
    while len(found) < wanted and (parted := found.parted(floor)) is not None:
        more = _settled(ask, parted, AFTER_SPLIT, floor)
        if len(more) <= len(found):
            break
        found = more
    if len(found) > 1:
        found = _settled(ask, found.centres, SETTLING, floor)
    return found.centres


def _settled(ask: Ask, centres: Centres, steps: int, floor: int) -> Tally:
    """Lloyd's steps until no centre moves, `steps` at most."""
    found = ask(centres).without_small(floor)
    for _ in range(steps - 1):
        moved = found.centres
        if np.array_equal(moved.points, centres.points):
            break
        centres, found = moved, ask(moved).without_small(floor)
    return found


def _blocks(rows: Rows) -> Iterator[tuple[slice, Floats]]:
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        yield part, rows[part].astype(np.float64)
