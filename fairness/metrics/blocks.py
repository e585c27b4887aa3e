"""Exact squared distances between two sets of points, a block of them in memory at a time.

Products of float32 matrices give distances quickly, but not exactly; comparisons that come out
closer than the rounding error are taken again, in float64 from summed differences, so that results
are those of exact distances, and equal points tie exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]
Floats = NDArray[np.float64]
Places = NDArray[np.int64]

CELLS = 2**20
"""Distances in a block: 4 MB of float32, as much as a processor's cache holds."""

DENSE = 16
"""With more than one distance in so many to take again, all of a block are: it is quicker."""

LARGEST = np.float64(1e150)
"""Squares of larger numbers overflow."""


@dataclass
class Block:
    """Squared distances of some points `a` to all points `b`, to within `error`, `(r, c)`.

    They are 4^-exponent times the points', so that float32 holds them whatever their unit. An
    infinite one stays infinite.
    """

    a: Points
    b: Points
    exponent: int
    squared: NDArray[np.float32]
    error: np.float32

    def inside(self, limit: Floats) -> tuple[Places, Places]:
        """Rows and columns of exact squared distances of at most `limit`, which broadcasts."""
        # Beyond any distance between scaled points; float32 would overflow.
        edge = np.minimum(np.ldexp(limit, -2 * self.exponent), 1e30).astype(np.float32)
        # float32 of the limit is off by a rounding of its own.
        error = self.error + np.float32(1e-6) * np.abs(edge)
        rows, columns = _places(self.squared <= edge + error)
        if len(rows) * DENSE > self.squared.size:
            return _places(self.every <= limit)
        near = self.squared[rows, columns]
        sure = near <= np.broadcast_to(edge - error, self.squared.shape)[rows, columns]
        doubtful = np.flatnonzero(~sure)
        r, c = rows[doubtful], columns[doubtful]
        sure[doubtful] = self.exact(r, c) <= np.broadcast_to(limit, self.squared.shape)[r, c]
        return rows[sure], columns[sure]

    def smallest(self, k: int) -> Floats:
        """The k-th smallest exact squared distance of each row, `(r,)`."""
        count, width = self.squared.shape
        # The k-th smallest of minima over disjoint sets is no smaller than that of all, hardly
        # larger, and quicker to find.
        sets = width // 16
        minima = self.squared
        if sets >= 2 * k:
            minima = self.squared[:, : 16 * sets].reshape(count, 16, sets).min(axis=1)
        bound = np.partition(minima, k - 1, axis=1)[:, k - 1 : k]
        # Whatever may be among the k smallest once errors are off.
        rows, columns = _places(self.squared <= bound * np.float32(1 + 1e-6) + 2 * self.error)
        if len(rows) * DENSE > self.squared.size:
            return np.asarray(np.partition(self.every, k - 1, axis=1)[:, k - 1])
        exact = self.exact(rows, columns)
        order = np.lexsort((exact, rows))
        starts = np.searchsorted(rows, np.arange(count))
        return np.asarray(exact[order][starts + k - 1])

    def exact(self, rows: Places, columns: Places) -> Floats:
        """Squared distances of pairs in the points' own unit, `(p,)`."""
        found = np.empty(len(rows))
        step = max(1, CELLS // max(self.a.shape[1], 1))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            found[part] = summed(self.a[rows[part]], self.b[columns[part]])
        return found

    @cached_property
    def every(self) -> Floats:
        """All exact squared distances, `(r, c)`."""
        found = np.empty(self.squared.shape)
        for start in range(0, len(self.b), 2**14):
            part = self.b[start : start + 2**14].astype(np.float64, order="F")
            for i, point in enumerate(self.a):
                found[i, start : start + 2**14] = summed(point[None, :], part)
        found[np.isinf(self.squared)] = np.inf
        return found


def blocks(a: Points, b: Points) -> Iterator[tuple[int, Block]]:
    """Blocks of rows of `a`, and where each starts."""
    centre = b.mean(axis=0, dtype=np.float64) if len(b) else np.zeros(b.shape[1])
    largest = max(float(np.abs(points - centre).max(initial=0.0)) for points in (a, b))
    # A power of two: scaling rounds nothing.
    exponent = int(np.frexp(largest)[1])
    left, right = (np.ldexp(points - centre, -exponent).astype(np.float32) for points in (a, b))
    norms = [(points**2).sum(axis=1, keepdims=True) for points in (left, right)]
    # |a|^2 - 2 a.b + |b|^2 as one product of longer rows: every pass over a block costs as much.
    long = np.hstack([left, norms[0], np.ones_like(norms[0])])
    wide = np.ascontiguousarray(np.hstack([-2 * right, np.ones_like(norms[1]), norms[1]]).T)
    # Rounding of d + 2 products and of their sum, none larger than twice the squared norms.
    unit = np.float32(2 * np.finfo(np.float32).eps * (a.shape[1] + 10))
    # Products of few rows are slow: for as many as 64, up to eight times the cells.
    cells = CELLS // max(len(b), 1)
    size = max(1, cells, min(64, 8 * cells))
    for start in range(0, len(a), size):
        rows = slice(start, start + size)
        # One error for all rows keeps edges as small as limits; the last summand is for underflow.
        error = unit * (norms[0][rows].max() + norms[1].max(initial=0.0)) + np.float32(1e-30)
        yield start, Block(a[rows], b, exponent, long[rows] @ wide, error)


def _places(mask: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Rows and columns that are set; NumPy finds few set places of a flat mask much faster."""
    rows, columns = np.divmod(np.flatnonzero(mask), max(mask.shape[1], 1))
    return rows, columns


def summed(a: Points, b: Points) -> Floats:
    """Squared distances of rows of `a` and `b`, which broadcast, in float64, `(p,)`.

    Column after column whatever the shape, as SciPy's `cdist` does: equal pairs give equal bits.
    """
    found = np.zeros(max(len(a), len(b)) if len(a) and len(b) else 0)
    for one, two in zip(a.T, b.T, strict=True):
        difference = one.astype(np.float64, copy=False) - two.astype(np.float64, copy=False)
        difference *= difference
        found += difference
    return found


def check_points(a: Points, b: Points) -> None:
    """Raises `ValueError` unless the widths agree and all numbers are finite."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"points are {a.shape[1]} and {b.shape[1]} numbers long")
    if not all((np.abs(points) < LARGEST).all() for points in (a, b)):
        raise ValueError(f"expected finite points, below {LARGEST:g} in magnitude")
